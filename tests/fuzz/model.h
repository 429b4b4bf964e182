// A small model off the input: three bytes make an edge (from, to, weight over 12 decades); a repeated
// pair ends the model.
#pragma once

#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "input.h"
#include "phasic/graph.h"

namespace fuzz {

using phasic::Index;

inline double weight_of(std::uint8_t code) { return std::pow(10.0, (code % 97 - 48) / 8.0); }

inline void fill(std::vector<double>& values, Index count, double first, double step) {
  for (Index i = 0; i < count; ++i) values.push_back(first + step * static_cast<double>(i % 7));
}

inline void read_edges(Input& input, phasic::GraphArrays& arrays) {
  std::set<std::pair<Index, Index>> known;
  const Index n = arrays.n_vertices;
  while (!input.is_empty() && known.size() < 60) {
    const Index from = 1 + input.below(n - 1), to = 1 + input.below(n - 1);
    const std::uint8_t code = input.byte();
    if (!known.emplace(from, to).second) break;
    // Rows of a discrete model must not exceed 1, whatever theta <= 1 is.
    const double weight =
        arrays.discrete ? (1 + code % 16) / (16.0 * static_cast<double>(n)) : weight_of(code);
    const bool linear = arrays.param_length > 0 && code % 2 == 1;
    std::vector<double>& rows = linear ? arrays.param_edges : arrays.edges;
    rows.insert(rows.end(), {static_cast<double>(from), static_cast<double>(to)});
    if (linear) {
      for (Index k = 0; k < arrays.param_length; ++k) {
        rows.push_back(k == code / 2 % arrays.param_length ? weight : 0.0);
      }
    } else {
      rows.push_back(weight);
    }
  }
}

// Null if the bytes describe no valid model.
inline phasic::GraphPtr read_graph(Input& input) {
  phasic::GraphArrays arrays;
  arrays.discrete = input.below(2) == 1;
  arrays.n_vertices = 3 + input.below(10);
  arrays.state_length = 1;
  arrays.start_vertex = 0;
  arrays.param_length = input.below(4);
  for (Index v = 0; v < arrays.n_vertices; ++v) {
    arrays.states.push_back(static_cast<std::int32_t>(v));
  }
  arrays.start_edges = {1.0, 0.75, 2.0, 0.25};
  read_edges(input, arrays);
  try {
    return graph_from_arrays(arrays);
  } catch (const phasic::Error& error) {
    expect(error.code() == phasic::ErrorCode::invalid_argument, "a model is refused as an argument");
    return nullptr;
  }
}

}  // namespace fuzz
