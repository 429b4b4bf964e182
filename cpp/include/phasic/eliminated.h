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

}  // namespace phasic
