#include <cmath>

#include "base/text.h"
#include "graph/compress.h"
#include "phasic/transform.h"

namespace phasic {
namespace {

std::string place_text(const Graph& graph, Index vertex) {
  if (vertex == 0) return "the starting vertex";
  return "state " + graph.state_text(vertex) + " (vertex " + detail::number_text(vertex) + ")";
}

void check_theta(const Graph& graph, Span<const double> theta) {
  if (theta.size() != graph.param_length) {
    fail("theta has " + detail::number_text(theta.size()) + " entries but the model has " +
         detail::number_text(graph.param_length) + " parameters");
  }
  for (Index k = 0; k < theta.size(); ++k) {
    if (!std::isfinite(theta[k])) {
      fail("theta[" + detail::number_text(k) + "] is " + detail::number_text(theta[k]) +
           ", expected a finite number");
    }
  }
}

}  // namespace

GraphPtr instantiate(const Graph& graph, Span<const double> theta) {
  check_theta(graph, theta);
  auto result = std::make_shared<Graph>();
  result->state_length = graph.state_length;
  result->discrete = graph.discrete;
  result->states = graph.states;
  result->row_begin = graph.row_begin;
  result->target = graph.target;
  for (Index u = 0; u < graph.n_vertices(); ++u) {
    for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u + 1)]; ++e) {
      double weight = graph.constant[at(e)];
      for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
        weight += graph.coef_value[at(c)] * theta[graph.coef_param[at(c)]];
      }
      if (!(weight >= 0) || std::isinf(weight)) {
        fail("theta gives the edge from " + place_text(graph, u) + " to " +
             place_text(graph, graph.target[at(e)]) + " the weight " +
             detail::number_text(weight) + ", expected a finite weight >= 0");
      }
      result->constant.push_back(weight + 0.0);
    }
  }
  result->has_constant.assign(at(graph.n_edges()), 1);
  result->has_param.assign(at(graph.n_edges()), 0);
  result->coef_begin.assign(at(graph.n_edges() + 1), 0);
  detail::check_rows(*result);
  return result;
}

}  // namespace phasic
