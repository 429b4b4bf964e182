// The graph of an accumulated reward.
//
// 1. Keep vertices with reward, absorbing ones, and those that lead to neither (traps).
// 2. From each entry into the rest, search which kept vertices it can lead to.
// 3. Each kept vertex gets one weight for every kept vertex that it leads to, directly or through
//    the rest; the terms of the sum are listed. A way back to itself is dropped (continuous), or is
//    part of the rest of its row (discrete).
// 4. In discrete time a vertex with reward k becomes a row of k vertices.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "phasic/transform.h"

namespace phasic {
namespace {

constexpr Index kMaxTerms = 200'000'000;
constexpr double kMaxSteps = 1e8;

// One out-edge of a vertex of the new graph.
struct NewEdge {
  std::int32_t target;
  std::int64_t weight;  // parameter, or -1: a constant
  double constant;
};

class Planner {
 public:
  Planner(const Graph& graph, Span<const double> rewards) : g_(graph), rewards_(rewards) {}

  RewardGraph run() {
    check_rewards();
    choose_kept();
    number_vertices();
    find_entries();
    begin_graph();
    for (Index u = 0; u < g_.n_vertices(); ++u) {
      if (kept_[at(u)]) add_vertex(u);
    }
    if (extra_ >= 0) end_row({});
    out_.graph = graph_;
    graph_->param_length = ssize(out_.terms.scale);
    if (!out_.entry.empty()) make_zero_graph();
    return std::move(out_);
  }

 private:
  // A term of a row before its weights are numbered: an edge, and where it goes on from there.
  struct Term {
    std::int32_t target;
    Index edge;
    Index entry;  // -1: direct
  };

  [[nodiscard]] bool transient(Index v) const { return v > 0 && !absorbing_[at(v)]; }

  [[nodiscard]] bool possible(Index e) const {
    return g_.constant[at(e)] > 0 || g_.coef_begin[at(e)] < g_.coef_begin[at(e + 1)];
  }

  template <class Visit>
  void for_each_edge(Index v, Visit visit) const {
    for (Index e = g_.row_begin[at(v)]; e < g_.row_begin[at(v + 1)]; ++e) {
      if (g_.target[at(e)] != v) visit(e, Index{g_.target[at(e)]});
    }
  }

  void check_rewards() {
    if (rewards_.size() != g_.n_vertices()) {
      fail("rewards has " + detail::number_text(rewards_.size()) + " entries but the model has " +
           detail::number_text(g_.n_vertices()) + " vertices");
    }
    double steps = 0;
    for (Index v = 0; v < g_.n_vertices(); ++v) {
      absorbing_.push_back(g_.is_absorbing(v));
      const double r = rewards_[v];
      const bool counts = transient(v);
      const bool whole = !g_.discrete || r == std::floor(r);
      if (!std::isfinite(r) || (counts && (r < 0 || !whole))) {
        fail("rewards[" + detail::number_text(v) + "], of state " + g_.state_text(v) + ", is " +
             detail::number_text(r) + ", expected a finite " +
             (g_.discrete ? "whole number >= 0 (steps)" : "number >= 0"));
      }
      steps += counts ? r : 0;
    }
    if (g_.discrete && steps > kMaxSteps) {
      throw Error(ErrorCode::budget, "rewards sum to " + detail::number_text(steps) +
                                         ", expected at most 1e8 vertices, one for each step");
    }
  }

  void choose_kept() {
    const Index n = g_.n_vertices();
    std::vector<std::vector<std::int32_t>> sources(at(n));
    std::vector<Index> stack;
    std::vector<bool> leads(at(n));  // to reward or absorption
    for (Index v = 0; v < n; ++v) {
      for_each_edge(v, [&](Index e, Index z) {
        if (possible(e)) sources[at(z)].push_back(static_cast<std::int32_t>(v));
      });
      leads[at(v)] = absorbing_[at(v)] || (transient(v) && rewards_[v] > 0);
      if (leads[at(v)]) stack.push_back(v);
    }
    kept_ = leads;
    kept_[0] = true;
    while (!stack.empty()) {
      const Index v = stack.back();
      stack.pop_back();
      for (const std::int32_t u : sources[at(v)]) {
        if (leads[at(Index{u})]) continue;
        leads[at(Index{u})] = true;
        stack.push_back(u);
      }
    }
    for (Index v = 1; v < n; ++v) kept_[at(v)] = kept_[at(v)] || !leads[at(v)];
  }

  [[nodiscard]] Index steps_of(Index v) const {
    return g_.discrete && transient(v) && rewards_[v] > 1 ? static_cast<Index>(rewards_[v]) : 1;
  }

  void number_vertices() {
    place_.assign(at(g_.n_vertices()), -1);
    Index next = 0;
    for (Index v = 0; v < g_.n_vertices(); ++v) {
      if (!kept_[at(v)]) continue;
      place_[at(v)] = narrow32(next, "the number of vertices");
      next += steps_of(v);
      if (absorbing_[at(v)] && refuge_ < 0) refuge_ = place_[at(v)];
    }
    if (refuge_ < 0) refuge_ = extra_ = narrow32(next, "the number of vertices");
  }

  // The kept vertices that each entry leads to through vertices without reward.
  void find_entries() {
    const Index n = g_.n_vertices();
    entry_of_.assign(at(n), -1);
    for (Index u = 0; u < n; ++u) {
      if (!kept_[at(u)]) continue;
      for_each_edge(u, [&](Index e, Index v) {
        if (possible(e) && !kept_[at(v)]) entry_of_[at(v)] = 0;
      });
    }
    std::vector<Index> stamp(at(n), -1);
    std::vector<Index> stack;
    Index n_terms = 0;
    for (Index v = 0; v < n; ++v) {
      if (entry_of_[at(v)] < 0) continue;
      const Index entry = ssize(out_.entry);
      entry_of_[at(v)] = entry;
      out_.entry.push_back(v);
      leads_to_.emplace_back();
      stack.assign(1, v);
      stamp[at(v)] = entry;
      while (!stack.empty()) {
        const Index u = stack.back();
        stack.pop_back();
        for_each_edge(u, [&](Index e, Index z) {
          if (!possible(e) || stamp[at(z)] == entry) return;
          stamp[at(z)] = entry;
          if (kept_[at(z)]) {
            leads_to_.back().push_back(static_cast<std::int32_t>(z));
          } else {
            stack.push_back(z);
          }
        });
      }
      count(n_terms, ssize(leads_to_.back()));
    }
  }

  static void count(Index& total, Index more) {
    total += more;
    if (total > kMaxTerms) {
      throw Error(ErrorCode::budget,
                  "eliminating the vertices without reward takes more than 2e8 terms; give fewer "
                  "vertices the reward 0");
    }
  }

  void begin_graph() {
    graph_ = std::make_shared<Graph>();
    graph_->state_length = g_.state_length;
    graph_->discrete = g_.discrete;
    graph_->row_begin.push_back(0);
    graph_->coef_begin.push_back(0);
  }

  void add_vertex(Index u) {
    const Index n_steps = steps_of(u);
    const std::int32_t first = place_[at(u)];
    for (Index step = 1; step < n_steps; ++step) {
      push_state(u);
      end_row({{first + static_cast<std::int32_t>(step), -1, 1.0}});
    }
    push_state(u);
    if (u > 0 && absorbing_[at(u)]) return end_row({});
    std::vector<NewEdge> row = number_weights(u);
    if (n_steps > 1) {
      const Index rest = ssize(out_.terms.scale);
      for (const NewEdge& edge : row) {
        out_.terms.rest_weight.push_back(rest);
        out_.terms.rest_of.push_back(edge.weight);
      }
      out_.terms.scale.push_back(1.0);
      row.push_back({first, rest, 0.0});
    }
    end_row(std::move(row));
  }

  void push_state(Index u) {
    const Span<const std::int32_t> state = g_.state(u);
    graph_->states.insert(graph_->states.end(), state.begin(), state.end());
    out_.origin.push_back(u);
  }

  // The weights of a kept vertex, numbered by target.
  std::vector<NewEdge> number_weights(Index u) {
    std::vector<Term> terms;
    for_each_edge(u, [&](Index e, Index v) {
      if (kept_[at(v)]) {
        terms.push_back({static_cast<std::int32_t>(v), e, -1});
      } else if (possible(e)) {
        const Index entry = entry_of_[at(v)];
        for (const std::int32_t z : leads_to_[at(entry)]) {
          if (z != u) terms.push_back({z, e, entry});
        }
      }
    });
    count(n_terms_, ssize(terms));
    std::stable_sort(terms.begin(), terms.end(),
                     [](const Term& a, const Term& b) { return a.target < b.target; });
    std::vector<NewEdge> row;
    RewardTerms& all = out_.terms;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      const Term& term = terms[i];
      if (i == 0 || terms[i - 1].target != term.target) {
        row.push_back({place_[at(Index{term.target})], ssize(all.scale), 0.0});
        const bool timed = !g_.discrete && transient(u) && rewards_[u] > 0;
        all.scale.push_back(timed ? 1.0 / rewards_[u] : 1.0);
      }
      (term.entry < 0 ? all.direct_weight : all.through_weight).push_back(row.back().weight);
      (term.entry < 0 ? all.direct_edge : all.through_edge).push_back(term.edge);
      if (term.entry >= 0) {
        all.through_entry.push_back(term.entry);
        all.through_vertex.push_back(term.target);
      }
    }
    // A vertex that leads nowhere but back to itself traps; without an edge it would absorb.
    if (row.empty()) row.push_back({refuge_, -1, 0.0});
    return row;
  }

  void end_row(std::vector<NewEdge> row) {
    if (ssize(graph_->row_begin) - 1 == extra_) {
      graph_->states.insert(graph_->states.end(), at(g_.state_length), -1);
      out_.origin.push_back(-1);
    }
    std::sort(row.begin(), row.end(),
              [](const NewEdge& a, const NewEdge& b) { return a.target < b.target; });
    for (const NewEdge& edge : row) {
      const bool constant = edge.weight < 0;
      graph_->target.push_back(edge.target);
      graph_->constant.push_back(edge.constant);
      graph_->has_constant.push_back(constant ? 1 : 0);
      graph_->has_param.push_back(constant ? 0 : 1);
      if (!constant) {
        graph_->coef_param.push_back(narrow32(edge.weight, "the number of weights"));
        graph_->coef_value.push_back(1.0);
      }
      graph_->coef_begin.push_back(ssize(graph_->coef_param));
    }
    graph_->row_begin.push_back(graph_->n_edges());
  }

  void make_zero_graph() {
    auto zero = std::make_shared<Graph>();
    zero->state_length = g_.state_length;
    zero->param_length = g_.param_length + ssize(out_.entry);
    zero->discrete = g_.discrete;
    zero->states = g_.states;
    zero->coef_begin.push_back(0);
    for (Index i = 0; i < ssize(out_.entry); ++i) {
      zero->target.push_back(static_cast<std::int32_t>(out_.entry[at(i)]));
      zero->constant.push_back(0.0);
      zero->has_constant.push_back(0);
      zero->has_param.push_back(1);
      zero->coef_param.push_back(narrow32(g_.param_length + i, "the number of parameters"));
      zero->coef_value.push_back(1.0);
      zero->coef_begin.push_back(ssize(zero->coef_param));
    }
    zero->row_begin = {0, zero->n_edges()};
    for (Index v = 1; v < g_.n_vertices(); ++v) {
      if (!kept_[at(v)]) copy_row(*zero, v);
      zero->row_begin.push_back(zero->n_edges());
    }
    out_.zero_graph = zero;
  }

  void copy_row(Graph& zero, Index v) const {
    for (Index e = g_.row_begin[at(v)]; e < g_.row_begin[at(v + 1)]; ++e) {
      zero.target.push_back(g_.target[at(e)]);
      zero.constant.push_back(g_.constant[at(e)]);
      zero.has_constant.push_back(g_.has_constant[at(e)]);
      zero.has_param.push_back(g_.has_param[at(e)]);
      for (Index c = g_.coef_begin[at(e)]; c < g_.coef_begin[at(e + 1)]; ++c) {
        zero.coef_param.push_back(g_.coef_param[at(c)]);
        zero.coef_value.push_back(g_.coef_value[at(c)]);
      }
      zero.coef_begin.push_back(ssize(zero.coef_param));
    }
  }

  const Graph& g_;
  Span<const double> rewards_;
  std::vector<bool> absorbing_, kept_;
  std::vector<std::int32_t> place_;                   // (n_vertices) in the new graph, or -1
  std::vector<Index> entry_of_;                       // (n_vertices) or -1
  std::vector<std::vector<std::int32_t>> leads_to_;   // (n_entries) kept vertices
  std::int32_t refuge_ = -1, extra_ = -1;             // an absorbing vertex; one that was added
  Index n_terms_ = 0;
  std::shared_ptr<Graph> graph_;
  RewardGraph out_;
};

}  // namespace

RewardGraph reward_graph(const Graph& graph, Span<const double> rewards) {
  return Planner(graph, rewards).run();
}

}  // namespace phasic
