#include "phasic/graph.h"

#include "base/text.h"

namespace phasic {

bool Graph::is_absorbing(Index vertex) const noexcept {
  if (vertex == 0) return false;
  for (Index e = row_begin[at(vertex)]; e < row_begin[at(vertex + 1)]; ++e) {
    if (target[at(e)] != vertex) return false;
  }
  return true;
}

std::string Graph::state_text(Index vertex) const { return detail::state_text(state(vertex)); }

std::vector<EdgeView> out_edges(const Graph& graph, Index vertex) {
  if (vertex < 0 || vertex >= graph.n_vertices()) {
    fail("vertex is " + detail::number_text(vertex) + ", expected a vertex index from 0 to " +
         detail::number_text(graph.n_vertices() - 1));
  }
  const Index begin = graph.row_begin[at(vertex)];
  const Index end = graph.row_begin[at(vertex + 1)];
  std::vector<EdgeView> edges(at(end - begin));
  for (Index e = begin; e < end; ++e) {
    EdgeView& edge = edges[at(e - begin)];
    edge.target = graph.target[at(e)];
    edge.has_constant = graph.has_constant[at(e)] != 0;
    edge.constant = graph.constant[at(e)];
    if (graph.has_param[at(e)] == 0) continue;
    edge.coefficients.assign(at(graph.param_length), 0.0);
    for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
      edge.coefficients[at(graph.coef_param[at(c)])] = graph.coef_value[at(c)];
    }
  }
  return edges;
}

}  // namespace phasic
