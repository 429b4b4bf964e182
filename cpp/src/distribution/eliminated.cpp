// The eliminated acyclic graph, by plain elimination that also carries the edges out of components.

#include "phasic/eliminated.h"

#include <limits>
#include <map>

#include "distribution/row_check.h"
#include "kernel/weights.h"
#include "phasic/evaluate.h"

namespace phasic {
namespace {

using Row = std::map<std::int64_t, double>;  // target vertex -> weight

void require_valid(const Program& program, const isa_generic::Weights<double>& weights,
                   Span<const double> theta) {
  isa_generic::RowCheck<double> check;
  check.begin();
  check.require_finite(theta.data(), theta.size());
  check.require_weights(program, weights, theta, true);
  if (check.status[0] != RowStatus::ok) {
    fail(explain(program, Request{}, check.status[0], theta, {}, {}));
  }
}

std::vector<Row> weight_rows(const Program& program,
                             const isa_generic::Weights<double>& weights) {
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
          weights.weight(e);
    }
  }
  return rows;
}

// Leaves transition probabilities in the rows, and what a visit earns, times its pivot, in reward.
void eliminate_block(const Program& program, Index b, std::vector<Row>& rows,
                     std::vector<double>& reward, std::vector<double>& pivots) {
  const ComponentTrace& trace = *program.block_trace[at(b)];
  const std::int32_t* vertex_of = program.vertex_of.data() + program.block_begin[at(b)];
  for (Index k = 0; k < trace.pattern.n(); ++k) {
    const std::int64_t v = vertex_of[k];
    double pivot = 0;
    for (const auto& [target, weight] : rows[at(v)]) {
      pivot += weight;
    }
    pivots[at(v)] = pivot;
    if (pivot == 0) {  // a trap: edges into it stay
      continue;
    }
    for (Index l = trace.lower_begin[at(k)]; l < trace.lower_begin[at(k + 1)]; ++l) {
      const std::int64_t i = vertex_of[trace.lower[at(l)]];
      const auto to_v = rows[at(i)].find(v);
      const double f = to_v->second / pivot;
      rows[at(i)].erase(to_v);
      reward[at(i)] += f * reward[at(v)];
      for (const auto& [target, weight] : rows[at(v)]) {
        if (target != i) {
          rows[at(i)][target] += f * weight;
        }
      }
    }
    for (auto& [target, weight] : rows[at(v)]) {
      weight /= pivot;
    }
  }
}

// All blocks eliminated at one theta.
struct Eliminated {
  std::vector<Row> rows;
  std::vector<double> reward, pivot;  // (n_vertices) pivot 0: not transient, not reached, or a trap
};

Eliminated eliminate(const Program& program, Span<const double> theta,
                     std::vector<double> reward) {
  const Graph& graph = *program.graph;
  if (theta.size() != graph.param_length) {
    fail("theta has " + std::to_string(theta.size()) + " entries but the model has " +
         std::to_string(graph.param_length) + " parameters");
  }
  isa_generic::Weights<double> weights;
  weights.resize(program, false);
  weights.set_theta(theta);
  require_valid(program, weights, theta);
  Eliminated out;
  out.rows = weight_rows(program, weights);
  out.reward = std::move(reward);
  out.pivot.assign(at(graph.n_vertices()), 0.0);
  for (Index b = 0; b < program.n_blocks(); ++b) {
    eliminate_block(program, b, out.rows, out.reward, out.pivot);
  }
  return out;
}

double weighted_sum(const Row& row, const std::vector<double>& x) {
  double sum = 0;
  for (const auto& [target, probability] : row) {
    if (probability > 0) {
      sum += probability * x[at(target)];
    }
  }
  return sum;
}

}  // namespace

EliminatedGraph eliminated_graph(const Program& program, Span<const double> theta) {
  const Eliminated eliminated =
      eliminate(program, theta, std::vector<double>(at(program.graph->n_vertices()), 1.0));
  EliminatedGraph out;
  for (Index v = 0; v < ssize(eliminated.pivot); ++v) {
    out.rate.push_back(eliminated.pivot[at(v)] / eliminated.reward[at(v)]);
  }
  out.row_begin.push_back(0);
  for (const Row& row : eliminated.rows) {
    for (const auto& [target, probability] : row) {
      out.target.push_back(target);
      out.probability.push_back(probability);
    }
    out.row_begin.push_back(ssize(out.target));
  }
  return out;
}

std::vector<double> expected_rewards(const Program& program, Span<const double> theta,
                                     Span<const double> rewards) {
  if (rewards.size() != program.graph->n_vertices()) {
    fail("rewards has " + std::to_string(rewards.size()) + " entries but the model has " +
         std::to_string(program.graph->n_vertices()) + " vertices");
  }
  const Eliminated eliminated =
      eliminate(program, theta, std::vector<double>(rewards.begin(), rewards.end()));
  std::vector<double> x(at(rewards.size()), 0.0);
  for (const Index v : program.vertex_of) {  // traps first: any row of their block may lead to them
    const bool earns = eliminated.reward[at(v)] > 0;
    if (eliminated.pivot[at(v)] == 0 && earns) x[at(v)] = std::numeric_limits<double>::infinity();
  }
  for (Index b = 0; b < program.n_blocks(); ++b) {  // blocks sinks first, each from its last vertex
    for (Index k = program.block_begin[at(b + 1)]; k-- > program.block_begin[at(b)];) {
      const Index v = program.vertex_of[at(k)];
      const double pivot = eliminated.pivot[at(v)];
      if (pivot == 0) continue;
      x[at(v)] = eliminated.reward[at(v)] / pivot + weighted_sum(eliminated.rows[at(v)], x);
    }
  }
  x[0] = weighted_sum(eliminated.rows[0], x);
  return x;
}

}  // namespace phasic
