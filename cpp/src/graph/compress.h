// From loose edges to compressed rows, the step that the builder and the serialized format share.
#pragma once

#include <vector>

#include "phasic/graph.h"

namespace phasic::detail {

// Start weights and discrete rows may exceed 1 by this much; it covers rounding in the caller.
inline constexpr double kSumTolerance = 1e-12;

struct LooseEdge {
  std::int32_t to;
  bool parameterised;
  Index row;                   // order of arrival; the row of a serialized array
  double weight;               // constant edges
  const double* coefficients;  // parameterised edges, (param_length)
};

// Appends rows, in vertex order, to a graph whose state_length, param_length and states are set.
class RowCompressor {
 public:
  explicit RowCompressor(Graph& graph);
  // Sorts the edges of the next vertex by target and adds parallel ones up in order of arrival.
  void append_row(std::vector<LooseEdge>& edges);

 private:
  void append_edge(Span<const LooseEdge> parallel);
  Graph& graph_;
  std::vector<double> sum_;  // (param_length) once a parameterised edge was seen
};

// A graph needs an edge out of its starting vertex.
void check_start_edge(bool exists);

// The checks that need whole rows: a start edge exists, start weights and discrete rows that are
// all constant sum to at most 1.
void check_rows(const Graph& graph);

}  // namespace phasic::detail
