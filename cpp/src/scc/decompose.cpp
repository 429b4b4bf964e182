// Strongly connected components of the transient vertices.
//
// 1. A vertex with an edge to another vertex is transient; the starting vertex is not.
// 2. Depth-first search with an explicit stack; a vertex whose low link is its own number closes a
//    component, which is then on top of the component stack. Components close sinks first.
// 3. The pattern of each component is read off the rows, its vertices are put into canonical order
//    (canonical.h), so that isomorphic components have one pattern, and it is hashed. A component
//    that is too large for that keeps the order of the graph.
//
// Source: R. Tarjan, Depth-first search and linear graph algorithms, SIAM J. Comput. 1 (1972).
#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "phasic/scc.h"
#include "scc/canonical.h"
#include "scc/pattern.h"

namespace phasic {
namespace {

class Search {
 public:
  explicit Search(const Graph& graph);
  void run(std::vector<Component>& components, std::vector<std::int32_t>& component_of);

 private:
  struct Frame {
    std::int32_t vertex;
    Index next_edge;
  };
  void enter(std::int32_t vertex);
  void advance();
  void close(std::int32_t root);

  const Graph& graph_;
  std::vector<char> transient_;
  std::vector<std::int32_t> number_;  // order of discovery, -1 before
  std::vector<std::int32_t> low_;
  std::vector<Frame> frames_;
  std::vector<std::int32_t> open_;    // discovered, not yet in a component
  std::int32_t n_discovered_ = 0;
  std::vector<Component>* components_ = nullptr;
  std::vector<std::int32_t>* component_of_ = nullptr;
};

Search::Search(const Graph& graph)
    : graph_(graph),
      transient_(at(graph.n_vertices()), 0),
      number_(at(graph.n_vertices()), -1),
      low_(at(graph.n_vertices()), 0) {
  for (Index v = 1; v < graph.n_vertices(); ++v) transient_[at(v)] = graph.is_absorbing(v) ? 0 : 1;
}

void Search::enter(std::int32_t vertex) {
  number_[at(vertex)] = low_[at(vertex)] = n_discovered_++;
  open_.push_back(vertex);
  frames_.push_back({vertex, graph_.row_begin[at(vertex)]});
}

// Follows the next edge of the top frame, or leaves the frame when there is none.
void Search::advance() {
  const std::int32_t v = frames_.back().vertex;
  const Index end = graph_.row_begin[at(Index{v} + 1)];
  Index& e = frames_.back().next_edge;
  while (e < end) {
    const std::int32_t z = graph_.target[at(e++)];
    if (transient_[at(z)] == 0 || (*component_of_)[at(z)] >= 0) continue;
    if (number_[at(z)] < 0) {
      enter(z);
      return;
    }
    low_[at(v)] = std::min(low_[at(v)], number_[at(z)]);
  }
  frames_.pop_back();
  if (!frames_.empty()) {
    const std::int32_t parent = frames_.back().vertex;
    low_[at(parent)] = std::min(low_[at(parent)], low_[at(v)]);
  }
  if (low_[at(v)] == number_[at(v)]) close(v);
}

void Search::close(std::int32_t root) {
  Component component;
  const auto first = std::find(open_.rbegin(), open_.rend(), root).base() - 1;
  component.vertices.assign(first, open_.end());
  open_.erase(first, open_.end());
  std::sort(component.vertices.begin(), component.vertices.end());
  const auto index = static_cast<std::int32_t>(components_->size());
  for (const std::int32_t v : component.vertices) (*component_of_)[at(v)] = index;
  components_->push_back(std::move(component));
}

void Search::run(std::vector<Component>& components, std::vector<std::int32_t>& component_of) {
  components_ = &components;
  component_of_ = &component_of;
  component_of.assign(at(graph_.n_vertices()), -1);
  for (Index v = 1; v < graph_.n_vertices(); ++v) {
    if (transient_[at(v)] == 0 || number_[at(v)] >= 0) continue;
    enter(static_cast<std::int32_t>(v));
    while (!frames_.empty()) advance();
  }
}

// row_of: scratch, (n_vertices), the pattern row of each vertex of the component.
Pattern read_pattern(const Decomposition& decomposition, Index index,
                     std::vector<std::int32_t>& row_of) {
  const Graph& graph = *decomposition.graph;
  const std::vector<std::int32_t>& vertices = decomposition.components[at(index)].vertices;
  for (std::size_t i = 0; i < vertices.size(); ++i) {
    row_of[at(vertices[i])] = static_cast<std::int32_t>(i);
  }
  Pattern pattern;
  pattern.row_begin.reserve(vertices.size() + 1);
  pattern.row_begin.push_back(0);
  for (const std::int32_t v : vertices) {
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(Index{v} + 1)]; ++e) {
      const std::int32_t z = graph.target[at(e)];
      if (z == v || decomposition.component_of[at(z)] != index) continue;
      pattern.column.push_back(row_of[at(z)]);
    }
    pattern.row_begin.push_back(narrow32(ssize(pattern.column), "edges of one component"));
  }
  return pattern;
}

// Puts components into canonical order and names them. A pattern met before, in the same order, is not
// searched again.
class Namer {
 public:
  void name(Component& component) {
    const auto [entry, is_new] = known_.try_emplace(component.pattern);
    Named& named = entry->second;
    if (is_new) find(component.pattern, named);
    std::vector<std::int32_t> vertices;
    vertices.reserve(named.order.size());
    for (const std::int32_t row : named.order) vertices.push_back(component.vertices[at(row)]);
    component.vertices = std::move(vertices);
    component.pattern = named.pattern;
    component.digest = named.digest;
  }

 private:
  struct Named {
    std::vector<std::int32_t> order;  // canonical row i is row order[i] of the pattern as it was met
    Pattern pattern;
    std::string digest;
  };
  struct Hash {
    std::size_t operator()(const Pattern& pattern) const noexcept {
      std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a on whole numbers
      for (const std::int32_t x : pattern.row_begin) hash = (hash ^ static_cast<std::uint32_t>(x)) * 0x100000001b3U;
      for (const std::int32_t x : pattern.column) hash = (hash ^ static_cast<std::uint32_t>(x)) * 0x100000001b3U;
      return static_cast<std::size_t>(hash);
    }
  };

  void find(const Pattern& pattern, Named& named) {
    named.order.resize(at(pattern.n()));
    std::iota(named.order.begin(), named.order.end(), 0);
    named.pattern = pattern;
    // Of one or two vertices there is one pattern only.
    if (pattern.n() > 2 && pattern.n() <= detail::kMaxCanonicalVertices) {
      const std::vector<std::int32_t> order = canoniser_.order(pattern);
      named.pattern = detail::permuted(pattern, order);
      const std::vector<std::int32_t> banded = detail::banded_order(named.pattern);
      named.pattern = detail::permuted(named.pattern, banded);
      for (std::size_t i = 0; i < order.size(); ++i) named.order[i] = order[at(banded[i])];
    }
    named.digest = pattern_digest(named.pattern);
  }

  detail::Canoniser canoniser_;
  std::unordered_map<Pattern, Named, Hash> known_;
};

}  // namespace

Decomposition decompose(GraphPtr graph) {
  Decomposition result;
  result.graph = std::move(graph);
  Search(*result.graph).run(result.components, result.component_of);
  std::vector<std::int32_t> row_of(at(result.graph->n_vertices()), -1);
  Namer namer;
  for (Index c = 0; c < ssize(result.components); ++c) {
    Component& component = result.components[at(c)];
    component.pattern = read_pattern(result, c, row_of);
    namer.name(component);
  }
  return result;
}

}  // namespace phasic
