// A graph as a flat list of the terms of its weights: sparse in the parameters, however many.
//
// The serialized format and the builder hold dense coefficient rows, which is right for models that
// people write. Graphs that are derived from a model have a parameter for each vertex or edge; as
// terms they take memory in proportion to their edges.
#pragma once

#include "phasic/graph.h"

namespace phasic {

struct GraphTerms {
  Index state_length = 0, param_length = 0;
  bool discrete = false;
  std::vector<std::int32_t> states;  // (n_vertices, state_length); row 0 is the starting vertex
  // (n_terms): the weight of an edge is the sum of its terms, value * theta[parameter], or value
  // where parameter is -1.
  std::vector<std::int32_t> source, target, parameter;
  std::vector<double> value;
};

// Terms in any order; those of one edge and parameter add. Throws Error{invalid_argument} naming the
// term. A coefficient of 0 makes an edge, as in the serialized format.
[[nodiscard]] GraphPtr graph_from_terms(const GraphTerms& terms);
// The inverse: sorted by source, target and parameter.
[[nodiscard]] GraphTerms graph_to_terms(const Graph& graph);

}  // namespace phasic
