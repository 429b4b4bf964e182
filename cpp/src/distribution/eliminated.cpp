// The eliminated acyclic graph, by plain elimination that also carries the edges out of components.

#include "phasic/eliminated.h"

#include <map>

#include "distribution/row_check.h"
#include "kernel/elimination.h"
#include "phasic/evaluate.h"

namespace phasic {
namespace {

using Row = std::map<std::int64_t, double>;  // target vertex -> weight

void require_valid(const Program& program, const isa_generic::Elimination<double>& weights,
                   Span<const double> theta) {
  isa_generic::RowCheck<double> check;
  check.begin();
  check.require_finite(theta.data(), theta.size());
  check.require_weights(program, weights, theta);
  if (check.status[0] != RowStatus::ok) {
    fail(explain(program, Request{}, check.status[0], theta, {}, {}));
  }
}

std::vector<Row> weight_rows(const Program& program,
                             const isa_generic::Elimination<double>& weights) {
  std::vector<Row> rows(at(program.graph->n_vertices()));
  const auto vertex = [&](std::int32_t target) -> std::int64_t {
    return target < 0 ? -1 - target : program.vertex_of[at(target)];
  };
  for (Index e = 0; e < ssize(program.start_target); ++e) {
    rows[0][vertex(program.start_target[at(e)])] = weights.start[at(e)];
  }
  for (Index k = 0; k < program.n_positions; ++k) {
    for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
      rows[at(program.vertex_of[at(k)])][vertex(program.out_target[at(e)])] =
          weights.edge[at(e)];
    }
  }
  return rows;
}

}  // namespace

EliminatedGraph eliminated_graph(const Program& program, Span<const double> theta) {
  const Graph& graph = *program.graph;
  if (theta.size() != graph.param_length) {
    fail("theta has " + std::to_string(theta.size()) + " entries but the model has " +
         std::to_string(graph.param_length) + " parameters");
  }
  isa_generic::Elimination<double> weights;
  weights.resize(program, false);
  weights.load_weights(theta);
  require_valid(program, weights, theta);
  std::vector<Row> rows = weight_rows(program, weights);
  EliminatedGraph out;
  out.rate.assign(at(graph.n_vertices()), 0.0);
  std::vector<double> reward(at(graph.n_vertices()), 1.0);
  for (Index k = 0; k < program.n_positions; ++k) {
    const std::int64_t v = program.vertex_of[at(k)];
    double pivot = 0;
    for (const auto& [target, weight] : rows[at(v)]) {
      pivot += weight;
    }
    out.rate[at(v)] = pivot / reward[at(v)];
    const Index lower = program.slot_begin[at(k)] + program.upper_count[at(k)];
    for (Index s = lower; s < program.slot_begin[at(k + 1)]; ++s) {
      const std::int64_t i = program.vertex_of[at(program.slot_position[at(s)])];
      const auto to_v = rows[at(i)].find(v);
      const double f = pivot > 0 ? to_v->second / pivot : 0.0;
      rows[at(i)].erase(to_v);
      reward[at(i)] += f * reward[at(v)];
      for (const auto& [target, weight] : rows[at(v)]) {
        if (target != i) {
          rows[at(i)][target] += f * weight;
        }
      }
    }
    for (auto& [target, weight] : rows[at(v)]) {
      weight = pivot > 0 ? weight / pivot : 0.0;
    }
  }
  out.row_begin.push_back(0);
  for (const Row& row : rows) {
    for (const auto& [target, probability] : row) {
      out.target.push_back(target);
      out.probability.push_back(probability);
    }
    out.row_begin.push_back(ssize(out.target));
  }
  return out;
}

}  // namespace phasic
