// GraphBuilder and Graph for Python. Graph is immutable, so it may be read from any thread; a
// GraphBuilder is not locked, its owner (phasic.Graph) serialises access.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "convert.h"
#include "phasic/json.h"
#include "phasic/terms.h"
#include "py_graph.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

std::shared_ptr<Graph> for_python(const GraphPtr& graph) {
  return std::const_pointer_cast<Graph>(graph);  // the Python class offers no mutation
}

py::array_t<std::int32_t> states_array(Span<const std::int32_t> states, Index state_length) {
  py::array_t<std::int32_t> result({states.size() / state_length, state_length});
  std::copy(states.begin(), states.end(), result.mutable_data());
  return result;
}

py::array_t<std::int64_t> state_array(Span<const std::int32_t> state) {
  py::array_t<std::int64_t> result(state.size());
  std::copy(state.begin(), state.end(), result.mutable_data());
  return result;
}

// [(target, constant part or 0.0, coefficients (param_length) or None)]
py::list edges_list(const std::vector<EdgeView>& edges) {
  py::list result;
  for (const EdgeView& edge : edges) {
    py::object coefficients = py::none();
    if (!edge.coefficients.empty()) {
      coefficients = py::array_t<double>(static_cast<py::ssize_t>(edge.coefficients.size()),
                                         edge.coefficients.data());
    }
    result.append(py::make_tuple(edge.target, edge.constant, std::move(coefficients)));
  }
  return result;
}

std::vector<std::int32_t> read_vertex_state(const GraphBuilder& builder, const py::object& value) {
  std::vector<std::int32_t> state;
  read_state(value, builder.state_length(), [] { return std::string("state"); }, state);
  return state;
}

void add_edge(GraphBuilder& builder, Index source, Index target, const py::object& value) {
  Weight weight;
  const Where where = [&] {
    return "the edge from vertex " + std::to_string(source) + " to vertex " +
           std::to_string(target);
  };
  read_weight(value, where, weight);
  if (weight.parameterised) {
    builder.add_edge(source, target, Span<const double>(weight.coefficients));
  } else {
    builder.add_edge(source, target, weight.constant);
  }
}

void bind_builder(py::module_& module) {
  py::class_<GraphBuilder>(module, "GraphBuilder", "Collects the vertices and edges of a graph.")
      .def(py::init<Index, bool>(), py::arg("state_length"), py::arg("discrete") = false)
      .def_static(
          "from_graph", [](const Graph& graph) { return GraphBuilder(graph); }, py::arg("graph"))
      .def_static(
          "explore",
          [](const py::object& callback, const py::object& ipv, bool discrete, Index max_states,
             const py::object& progress) {
            return explore(callback, ipv, {discrete, max_states, progress});
          },
          py::arg("callback"), py::arg("ipv"), py::arg("discrete"), py::arg("max_states"),
          py::arg("progress") = py::none())
      .def_static(
          "explore_batched",
          [](const py::object& callback, const py::object& ipv, bool discrete, Index max_states,
             Index batch_size, const py::object& progress) {
            return explore_batched(callback, ipv, {discrete, max_states, progress}, batch_size);
          },
          py::arg("callback"), py::arg("ipv"), py::arg("discrete"), py::arg("max_states"),
          py::arg("batch_size"), py::arg("progress") = py::none())
      .def_property_readonly("n_vertices", &GraphBuilder::n_vertices)
      .def_property_readonly("state_length", &GraphBuilder::state_length)
      .def_property_readonly("param_length", &GraphBuilder::param_length)
      .def_property_readonly("is_discrete", &GraphBuilder::discrete)
      .def("find_or_create_vertex",
           [](GraphBuilder& builder, const py::object& state) {
             return builder.find_or_create_vertex(read_vertex_state(builder, state));
           },
           py::arg("state"))
      .def("find_vertex",
           [](const GraphBuilder& builder, const py::object& state) {
             return builder.find_vertex(read_vertex_state(builder, state));
           },
           py::arg("state"))
      .def("add_vertex",
           [](GraphBuilder& builder, const py::object& state) {
             return builder.add_vertex(read_vertex_state(builder, state));
           },
           py::arg("state"))
      .def("add_edge", &add_edge, py::arg("source"), py::arg("target"), py::arg("weight"))
      .def("states",
           [](const GraphBuilder& builder) {
             return states_array(builder.states(), builder.state_length());
           })
      .def("state",
           [](const GraphBuilder& builder, Index vertex) {
             return state_array(builder.state(vertex));
           },
           py::arg("vertex"))
      .def("out_edges",
           [](const GraphBuilder& builder, Index vertex) {
             return edges_list(builder.out_edges(vertex));
           },
           py::arg("vertex"))
      .def("copy", [](const GraphBuilder& builder) { return GraphBuilder(builder); })
      .def("freeze", [](const GraphBuilder& builder) { return for_python(builder.freeze()); });
}

std::shared_ptr<Graph> graph_from_dict(const py::dict& fields) {
  const GraphArrays arrays = arrays_from_dict(fields);
  const py::gil_scoped_release release;
  return for_python(graph_from_arrays(arrays));
}

py::dict graph_to_dict(const Graph& graph) { return dict_from_arrays(graph_to_arrays(graph)); }

std::shared_ptr<Graph> graph_from_text(const py::object& text) {
  std::string_view view;
  if (PyUnicode_Check(text.ptr()) != 0) {
    Py_ssize_t size = 0;
    const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (bytes == nullptr) {
      PyErr_Clear();
      fail("the JSON text holds a lone surrogate, which UTF-8 cannot encode");
    }
    view = {bytes, static_cast<std::size_t>(size)};
  } else if (PyBytes_Check(text.ptr()) != 0) {
    view = {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
  } else {
    fail("the JSON text is " + found_text(text) + ", expected str or bytes");
  }
  const py::gil_scoped_release release;  // str and bytes are immutable, and `text` is held
  return for_python(graph_from_json(view));
}

const Graph& checked_vertex(const Graph& graph, Index vertex) {
  if (vertex < 0 || vertex >= graph.n_vertices()) {
    fail("vertex is " + std::to_string(vertex) + ", expected a vertex index from 0 to " +
         std::to_string(graph.n_vertices() - 1));
  }
  return graph;
}

py::array_t<bool> absorbing_array(const Graph& graph) {
  py::array_t<bool> result(graph.n_vertices());
  for (Index v = 0; v < graph.n_vertices(); ++v) result.mutable_data()[v] = graph.is_absorbing(v);
  return result;
}

template <class T>
using DenseArray = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
std::vector<T> vector_of(const DenseArray<T>& array) {
  return {array.data(), array.data() + array.size()};
}

template <class T>
py::array_t<T> array_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// (source, target, parameter or -1, value)
py::tuple terms_of_graph(const Graph& graph) {
  const GraphTerms terms = graph_to_terms(graph);
  return py::make_tuple(array_of(terms.source), array_of(terms.target), array_of(terms.parameter),
                        array_of(terms.value));
}

std::shared_ptr<Graph> graph_of_terms(const DenseArray<std::int32_t>& states,
                                      const DenseArray<std::int32_t>& source,
                                      const DenseArray<std::int32_t>& target,
                                      const DenseArray<std::int32_t>& parameter,
                                      const DenseArray<double>& value, Index param_length,
                                      bool is_discrete) {
  if (states.ndim() != 2) {
    fail("states has " + std::to_string(states.ndim()) + " axes, expected (n_vertices, state_length)");
  }
  GraphTerms terms;
  terms.state_length = states.shape(1);
  terms.param_length = param_length;
  terms.discrete = is_discrete;
  terms.states = vector_of(states);
  terms.source = vector_of(source);
  terms.target = vector_of(target);
  terms.parameter = vector_of(parameter);
  terms.value = vector_of(value);
  const py::gil_scoped_release release;
  return for_python(graph_from_terms(terms));
}

void bind_frozen(py::module_& module) {
  py::class_<Graph, std::shared_ptr<Graph>>(module, "Graph", "A finished graph. Immutable.")
      .def_property_readonly("n_vertices", &Graph::n_vertices)
      .def_property_readonly("n_edges", &Graph::n_edges)
      .def_property_readonly("state_length", [](const Graph& graph) { return graph.state_length; })
      .def_property_readonly("param_length", [](const Graph& graph) { return graph.param_length; })
      .def_property_readonly("is_discrete", [](const Graph& graph) { return graph.discrete; })
      .def("states",
           [](const Graph& graph) { return states_array(graph.states, graph.state_length); })
      .def("state",
           [](const Graph& graph, Index vertex) {
             return state_array(checked_vertex(graph, vertex).state(vertex));
           },
           py::arg("vertex"))
      .def("out_edges",
           [](const Graph& graph, Index vertex) { return edges_list(out_edges(graph, vertex)); },
           py::arg("vertex"))
      .def("is_absorbing", &absorbing_array)
      .def("to_arrays", &graph_to_dict)
      .def_static("from_arrays", &graph_from_dict, py::arg("fields"))
      .def("to_json",
           [](const Graph& graph) {
             const py::gil_scoped_release release;
             return graph_to_json(graph);
           })
      .def_static("from_json", &graph_from_text, py::arg("text"))
      .def("terms", &terms_of_graph)
      .def_static("from_terms", &graph_of_terms, py::arg("states"), py::arg("source"),
                  py::arg("target"), py::arg("parameter"), py::arg("value"),
                  py::arg("param_length"), py::arg("is_discrete") = false)
      .def(py::pickle(&graph_to_dict, &graph_from_dict));
}

}  // namespace

void bind_graph(py::module_& module) {
  bind_frozen(module);
  bind_builder(module);
}

}  // namespace phasic::python
