// The acyclic graph that elimination leaves at one theta.
//
// Row u of a transient vertex lists the vertices it leads to once its predecessors in the order of
// elimination are gone. rate[u] is chosen so that x[u] = 1 / rate[u] + sum_v probability[u, v] x[v]
// gives the expected absorption time x exactly (for acyclic models: the total rate of u).
#pragma once

#include <vector>

#include "phasic/trace.h"

namespace phasic {

struct EliminatedGraph {
  std::vector<double> rate;               // (n_vertices) 0 for starting, absorbing, unreachable rows
  std::vector<std::int64_t> row_begin;    // (n_vertices + 1)
  std::vector<std::int64_t> target;       // graph vertices
  std::vector<double> probability;        // rows sum to 1 (row 0: to the start mass)
};

// Throws Error{invalid_argument} for a theta that explain() would describe.
[[nodiscard]] EliminatedGraph eliminated_graph(const Program& program, Span<const double> theta);

// Expected reward accumulated from each vertex on, (n_vertices); x[0] is that of the start
// distribution. Rewards, (n_vertices), are >= 0 per unit of time (visit, if discrete). +inf where a
// trap that earns is reached; 0 for absorbing vertices and those that no edge, even one of weight 0,
// leads to from the start.
[[nodiscard]] std::vector<double> expected_rewards(const Program& program,
                                                   Span<const double> theta,
                                                   Span<const double> rewards);

}  // namespace phasic
