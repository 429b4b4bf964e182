// Graphs made from graphs, and the edge weights of a model as sparse linear forms.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "phasic/transform.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;

template <class T>
py::array_t<T> array_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::object for_python(const GraphPtr& graph) {
  if (graph == nullptr) return py::none();
  return py::cast(std::const_pointer_cast<Graph>(graph));  // the Python class offers no mutation
}

py::dict reward_graph_for_python(const Graph& graph, const Array& rewards) {
  const RewardGraph found = [&] {
    const Span<const double> values(rewards.data(), rewards.size());
    const py::gil_scoped_release release;
    return reward_graph(graph, values);
  }();
  py::dict out;
  out["graph"] = for_python(found.graph);
  out["zero_graph"] = for_python(found.zero_graph);
  out["origin"] = array_of(found.origin);
  out["entry"] = array_of(found.entry);
  out["direct_weight"] = array_of(found.terms.direct_weight);
  out["direct_edge"] = array_of(found.terms.direct_edge);
  out["through_weight"] = array_of(found.terms.through_weight);
  out["through_edge"] = array_of(found.terms.through_edge);
  out["through_entry"] = array_of(found.terms.through_entry);
  out["through_vertex"] = array_of(found.terms.through_vertex);
  out["rest_weight"] = array_of(found.terms.rest_weight);
  out["rest_of"] = array_of(found.terms.rest_of);
  out["scale"] = array_of(found.terms.scale);
  return out;
}

// Of each edge: source, target, constant; of each coefficient: edge, parameter, value.
py::tuple linear_forms(const Graph& graph) {
  std::vector<std::int64_t> edge, param(graph.coef_param.begin(), graph.coef_param.end());
  std::vector<std::int64_t> source, target(graph.target.begin(), graph.target.end());
  for (Index u = 0; u < graph.n_vertices(); ++u) {
    source.insert(source.end(), at(graph.row_begin[at(u + 1)] - graph.row_begin[at(u)]), u);
  }
  for (Index e = 0; e < graph.n_edges(); ++e) {
    edge.insert(edge.end(), at(graph.coef_begin[at(e + 1)] - graph.coef_begin[at(e)]), e);
  }
  return py::make_tuple(array_of(source), array_of(target), array_of(graph.constant),
                        array_of(edge), array_of(param), array_of(graph.coef_value));
}

}  // namespace

void bind_transform(py::module_& module) {
  module.def("reward_graph", &reward_graph_for_python, py::arg("graph"), py::arg("rewards"));
  module.def(
      "instantiate",
      [](const Graph& graph, const Array& theta) {
        return for_python(instantiate(graph, Span<const double>(theta.data(), theta.size())));
      },
      py::arg("graph"), py::arg("theta"));
  module.def("linear_forms", &linear_forms, py::arg("graph"));
}

}  // namespace phasic::python
