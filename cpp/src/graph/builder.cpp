// Building a graph by hand.
//
// 1. States live in one flat array; an open-addressing table maps a state to its vertex.
// 2. The edges of one vertex form a linked list in order of arrival, so that both one row and all
//    rows can be compressed without an index over all edges.
// 3. freeze() adds parallel edges up and checks the rules that need whole rows.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "graph/compress.h"
#include "phasic/graph.h"

namespace phasic {
namespace {

constexpr Index kMaxVertices = std::numeric_limits<std::int32_t>::max();
constexpr Index kMaxParamLength = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kFirstSlots = 16;
constexpr Index kLookupBlock = 32;

// The finaliser of MurmurHash3 (Appleby, 2011), applied to each coordinate in turn.
std::uint64_t hash_state(Span<const std::int32_t> state) noexcept {
  std::uint64_t h = 0x9e3779b97f4a7c15U;
  for (const std::int32_t coordinate : state) {
    h ^= static_cast<std::uint32_t>(coordinate);
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdU;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53U;
    h ^= h >> 33;
  }
  return h;
}

Index checked_state_length(Index state_length) {
  constexpr Index kMaxLength = std::numeric_limits<std::int32_t>::max();
  if (state_length < 1 || state_length > kMaxLength) {
    fail("state_length is " + detail::number_text(state_length) + ", expected 1 to " +
         detail::number_text(kMaxLength));
  }
  return state_length;
}

}  // namespace

GraphBuilder::GraphBuilder(Index state_length, bool discrete)
    : state_length_(checked_state_length(state_length)),
      discrete_(discrete),
      states_(at(state_length), 0),
      first_edge_(1, -1),
      last_edge_(1, -1),
      slots_(kFirstSlots, -1) {}

GraphBuilder::GraphBuilder(const Graph& graph)
    : state_length_(graph.state_length),
      param_length_(graph.param_length > 0 ? graph.param_length : -1),
      discrete_(graph.discrete),
      states_(graph.states.begin(),
              graph.states.begin() + static_cast<std::ptrdiff_t>(graph.state_length)),
      first_edge_(1, -1),
      last_edge_(1, -1),
      slots_(kFirstSlots, -1) {
  for (Index v = 1; v < graph.n_vertices(); ++v) {
    if (find_vertex(graph.state(v)) < 0) {
      find_or_create_vertex(graph.state(v));
    } else {
      add_vertex(graph.state(v));
    }
  }
  std::vector<double> dense;
  for (Index v = 0; v < graph.n_vertices(); ++v) {
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      if (graph.has_constant[at(e)] != 0) add_edge(v, graph.target[at(e)], graph.constant[at(e)]);
      if (graph.has_param[at(e)] == 0) continue;
      dense.assign(at(graph.param_length), 0.0);
      for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
        dense[at(graph.coef_param[at(c)])] = graph.coef_value[at(c)];
      }
      add_edge(v, graph.target[at(e)], Span<const double>(dense));
    }
  }
}

std::size_t GraphBuilder::find_slot(Span<const std::int32_t> state,
                                    std::uint64_t hash) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    if (slots_[i] < 0) return i;
    const std::int32_t* found = states_.data() + slots_[i] * state_length_;
    Index n_equal = 0;  // states are short: a loop beats std::equal, which calls memcmp
    while (n_equal < state_length_ && state[n_equal] == found[n_equal]) ++n_equal;
    if (n_equal == state_length_) return i;
  }
}

void GraphBuilder::reserve_slots(Index n_new) {
  std::size_t n_slots = slots_.size();
  while (2 * (n_slots_used_ + at(n_new)) > n_slots) n_slots *= 2;
  if (n_slots == slots_.size()) return;
  std::vector<std::int32_t> old(n_slots, -1);
  old.swap(slots_);
  for (const std::int32_t vertex : old) {
    if (vertex < 0) continue;
    const Span<const std::int32_t> state(states_.data() + vertex * state_length_, state_length_);
    slots_[find_slot(state, hash_state(state))] = vertex;
  }
}

Index GraphBuilder::find_vertex(Span<const std::int32_t> state) const {
  return state.size() == state_length_ ? slots_[find_slot(state, hash_state(state))] : -1;
}

Index GraphBuilder::find_or_create_vertex(Span<const std::int32_t> state) {
  const Index found = find_vertex(state);
  if (found >= 0) return found;
  const Index vertex = add_vertex(state);
  reserve_slots(1);
  slots_[find_slot(state, hash_state(state))] = static_cast<std::int32_t>(vertex);
  ++n_slots_used_;
  return vertex;
}

// In blocks: hash all states, then fetch their slots, then the states that the slots name, so that
// the cache misses of a block overlap; only then compare.
void GraphBuilder::find_or_create_vertices(Span<const std::int32_t> states,
                                           Span<std::int32_t> vertices) {
  std::array<std::uint64_t, kLookupBlock> hashes{};
  for (Index begin = 0; begin < vertices.size(); begin += kLookupBlock) {
    const Index n = std::min(kLookupBlock, vertices.size() - begin);
    const auto state = [&](Index i) {
      return states.subspan((begin + i) * state_length_, state_length_);
    };
    reserve_slots(n);
    const std::size_t mask = slots_.size() - 1;
    for (Index i = 0; i < n; ++i) {
      hashes[at(i)] = hash_state(state(i));
      __builtin_prefetch(&slots_[hashes[at(i)] & mask]);
    }
    for (Index i = 0; i < n; ++i) {
      const std::int32_t candidate = slots_[hashes[at(i)] & mask];
      if (candidate >= 0) __builtin_prefetch(states_.data() + candidate * state_length_);
    }
    for (Index i = 0; i < n; ++i) {
      std::int32_t& vertex = slots_[find_slot(state(i), hashes[at(i)])];
      if (vertex < 0) {
        vertex = static_cast<std::int32_t>(add_vertex(state(i)));
        ++n_slots_used_;
      }
      vertices[begin + i] = vertex;
    }
  }
}

Index GraphBuilder::add_vertex(Span<const std::int32_t> state) {
  if (state.size() != state_length_) {
    fail("state " + detail::state_text(state) + " has " + detail::number_text(state.size()) +
         " entries, expected " + detail::number_text(state_length_) + " (state_length)");
  }
  if (n_vertices() >= kMaxVertices) {
    throw Error(ErrorCode::budget, "the graph has " + detail::number_text(n_vertices()) +
                                       " vertices, expected at most 2147483647");
  }
  const Index vertex = n_vertices();
  states_.insert(states_.end(), state.begin(), state.end());
  first_edge_.push_back(-1);
  last_edge_.push_back(-1);
  return vertex;
}

Span<const std::int32_t> GraphBuilder::state(Index vertex) const {
  check_vertex(vertex, "vertex");
  return {states_.data() + vertex * state_length_, state_length_};
}

void GraphBuilder::check_vertex(Index vertex, const char* role) const {
  if (vertex < 0 || vertex >= n_vertices()) {
    fail(std::string(role) + " is " + detail::number_text(vertex) +
         ", expected a vertex index from 0 to " + detail::number_text(n_vertices() - 1));
  }
}

void GraphBuilder::append_edge(Index from, const Edge& edge) {
  const Index index = ssize(edges_);
  edges_.push_back(edge);
  Index& last = last_edge_[at(from)];
  (last < 0 ? first_edge_[at(from)] : edges_[at(last)].next) = index;
  last = index;
}

void GraphBuilder::check_edge(Index from, Index to) const {
  check_vertex(from, "from");
  check_vertex(to, "to");
  if (to == 0) {
    fail("the edge from state " + detail::state_text(state(from)) +
         " leads to the starting vertex, which no edge may enter");
  }
}

void GraphBuilder::add_edge(Index from, Index to, double weight) {
  check_edge(from, to);
  if (!(weight >= 0.0) || std::isinf(weight)) {
    fail("the weight of the edge from state " + detail::state_text(state(from)) + " to state " +
         detail::state_text(state(to)) + " is " + detail::number_text(weight) +
         ", expected a finite number >= 0");
  }
  append_edge(from, {static_cast<std::int32_t>(to), false, -1, -1, weight + 0.0});
}

void GraphBuilder::add_edge(Index from, Index to, Span<const double> coefficients) {
  check_edge(from, to);
  const auto edge_text = [&] {
    return "the edge from state " + detail::state_text(state(from)) + " to state " +
           detail::state_text(state(to));
  };
  const Index n = coefficients.size();
  if (n < 1 || n > kMaxParamLength) {
    fail(edge_text() + " has " + detail::number_text(n) + " coefficients, expected 1 to " +
         detail::number_text(kMaxParamLength));
  }
  if (param_length_ >= 0 && n != param_length_) {
    fail(edge_text() + " has " + detail::number_text(n) + " coefficients, but earlier edges have " +
         detail::number_text(param_length_) + "; every edge needs one coefficient per parameter");
  }
  for (Index k = 0; k < n; ++k) {
    if (!std::isfinite(coefficients[k])) {
      fail("coefficient " + detail::number_text(k) + " of " + edge_text() + " is " +
           detail::number_text(coefficients[k]) + ", expected a finite number");
    }
  }
  param_length_ = n;
  const Index begin = ssize(coefficients_);
  coefficients_.insert(coefficients_.end(), coefficients.begin(), coefficients.end());
  append_edge(from, {static_cast<std::int32_t>(to), true, -1, begin, 0.0});
}

void GraphBuilder::gather_row(Index vertex, std::vector<detail::LooseEdge>& row) const {
  row.clear();
  for (Index i = first_edge_[at(vertex)]; i >= 0; i = edges_[at(i)].next) {
    const Edge& edge = edges_[at(i)];
    row.push_back({edge.to, edge.parameterised, i, edge.weight,
                   edge.parameterised ? coefficients_.data() + edge.coef_begin : nullptr});
  }
}

std::vector<EdgeView> GraphBuilder::out_edges(Index vertex) const {
  check_vertex(vertex, "vertex");
  Graph scratch;
  scratch.state_length = state_length_;
  scratch.param_length = param_length();
  detail::RowCompressor compressor(scratch);
  std::vector<detail::LooseEdge> row;
  gather_row(vertex, row);
  compressor.append_row(row);
  return phasic::out_edges(scratch, 0);
}

GraphPtr GraphBuilder::freeze() const {
  auto graph = std::make_shared<Graph>();
  graph->state_length = state_length_;
  graph->param_length = param_length();
  graph->discrete = discrete_;
  graph->states = states_;
  graph->row_begin.reserve(at(n_vertices() + 1));
  detail::RowCompressor compressor(*graph);
  std::vector<detail::LooseEdge> row;
  for (Index v = 0; v < n_vertices(); ++v) {
    gather_row(v, row);
    compressor.append_row(row);
  }
  detail::check_rows(*graph);
  return graph;
}

}  // namespace phasic
