// Small random models for the density tests, with times from far left to far right.
#pragma once

#include <algorithm>
#include <vector>

#include "phasic/evaluate.h"
#include "support/models.h"

namespace density {

using models::Family;
using phasic::at;
using phasic::Graph;
using phasic::Index;

// Every feature, few vertices (the oracle is dense), in continuous and in discrete time.
inline std::vector<Family> families() {
  std::vector<Family> list(8);
  list[0].name = "acyclic";
  list[1].name = "one component", list[1].group = 5;
  list[2].name = "many components", list[2].group = 2;
  list[3].name = "self loops and duplicates", list[3].group = 3, list[3].self_loops = true;
  list[3].duplicates = true;
  list[4].name = "unreachable parts", list[4].group = 3, list[4].unreachable = true;
  list[5].name = "zero weights", list[5].group = 3, list[5].zeros = true, list[5].n_params = 3;
  list[6].name = "defect and atoms", list[6].group = 3, list[6].defect = true, list[6].atoms = true;
  list[7].name = "stiff", list[7].group = 3, list[7].decades = 8;
  const std::size_t n = list.size();
  for (std::size_t i = 0; i < n; ++i) {
    list[i].n = 5;
    Family discrete = list[i];
    discrete.discrete = true;
    discrete.name += ", discrete";
    list.push_back(discrete);
  }
  return list;
}

// The largest exit rate.
inline double rate_of(const Graph& graph, const std::vector<double>& theta) {
  double largest = 0;
  for (Index v = 1; v < graph.n_vertices(); ++v) {
    double sum = 0;
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      sum += graph.constant[at(e)];
      for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
        sum += graph.coef_value[at(c)] * theta[at(graph.coef_param[at(c)])];
      }
    }
    largest = std::max(largest, sum);
  }
  return largest;
}

// Rate times time from 0 over the far left and the middle to the far right; whole numbers that
// meet both ends of chunks if discrete.
inline std::vector<double> times_for(const Graph& graph, const std::vector<double>& theta) {
  if (graph.discrete) return {0, 1, 2, 15, 16, 17, 60};
  const double rate = rate_of(graph, theta);
  return {0.0, 1e-5 / rate, 0.3 / rate, 4.0 / rate, 50.0 / rate, 600.0 / rate};
}

inline const std::vector<phasic::Quantity>& quantities() {
  using phasic::Quantity;
  static const std::vector<Quantity> all{Quantity::pdf, Quantity::cdf, Quantity::sf,
                                         Quantity::state_probability,
                                         Quantity::accumulated_occupancy};
  return all;
}

}  // namespace density
