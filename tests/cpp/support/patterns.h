// Patterns of components, and equality of traces by what is public.
#pragma once

#include <vector>

#include "phasic/trace.h"
#include "support/models.h"

namespace patterns {

using phasic::at;
using phasic::Index;
using phasic::Pattern;

// A cycle through all vertices, and each further edge with the given probability.
inline Pattern random_pattern(Index n, double density, unsigned seed) {
  std::mt19937 random(seed);
  Pattern pattern;
  pattern.row_begin.push_back(0);
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < n; ++j) {
      if (i != j && (j == (i + 1) % n || models::chance(random, density))) {
        pattern.column.push_back(static_cast<std::int32_t>(j));
      }
    }
    pattern.row_begin.push_back(static_cast<std::int32_t>(pattern.column.size()));
  }
  return pattern;
}

// A model with this one component, unit weights, an exit of weight 1 at the last vertex.
inline phasic::GraphPtr model_of(const Pattern& pattern) {
  phasic::GraphBuilder builder(1);
  const Index n = pattern.n();
  for (std::int32_t v = 1; v <= n + 1; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  for (Index i = 0; i < n; ++i) {
    for (Index e = pattern.row_begin[at(i)]; e < pattern.row_begin[at(i + 1)]; ++e) {
      builder.add_edge(i + 1, pattern.column[at(e)] + 1, 1.0 + 0.01 * static_cast<double>(e));
    }
  }
  builder.add_edge(n, n + 1, 1.0);
  return builder.freeze();
}

inline bool same(const phasic::ComponentTrace& a, const phasic::ComponentTrace& b) {
  return a.pattern == b.pattern && a.digest == b.digest && a.ordering == b.ordering &&
         a.order == b.order && a.upper_begin == b.upper_begin && a.upper == b.upper &&
         a.lower_begin == b.lower_begin && a.lower == b.lower && a.n_operations == b.n_operations;
}

}  // namespace patterns
