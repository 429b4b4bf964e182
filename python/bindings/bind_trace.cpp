// Decomposition, recording, linking and traces for Python.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "phasic/json.h"
#include "py_trace.h"

namespace py = pybind11;

namespace phasic::python {

const ProgramPtr& PyTrace::program() const {
  if (!is_program()) {
    fail("expected the trace of a whole graph (kind 'program'), found one component's trace with digest " +
         digest() + "; link component traces with stitch_scc_traces first");
  }
  return std::get<ProgramPtr>(held);
}

const ComponentTracePtr& PyTrace::component() const {
  if (is_program()) {
    fail("expected a component's trace (kind 'component'), found the trace of a whole graph with digest " +
         digest());
  }
  return std::get<ComponentTracePtr>(held);
}

const std::string& PyTrace::digest() const {
  return is_program() ? std::get<ProgramPtr>(held)->digest
                      : std::get<ComponentTracePtr>(held)->digest;
}

namespace {

std::shared_ptr<Graph> for_python(const GraphPtr& graph) {
  return std::const_pointer_cast<Graph>(graph);  // the Python class offers no mutation
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

const Component& component_at(const Decomposition& decomposition, Index i) {
  if (i < 0 || i >= ssize(decomposition.components)) {
    throw py::index_error("component " + std::to_string(i) + " of " +
                          std::to_string(decomposition.components.size()));
  }
  return decomposition.components[at(i)];
}

void bind_decomposition(py::module_& module) {
  py::class_<Decomposition, std::shared_ptr<Decomposition>>(
      module, "Decomposition", "Strongly connected components of a graph, sinks first.")
      .def_property_readonly("graph",
                             [](const Decomposition& d) { return for_python(d.graph); })
      .def_property_readonly("n_components",
                             [](const Decomposition& d) { return ssize(d.components); })
      .def_property_readonly("sizes",
                             [](const Decomposition& d) {
                               std::vector<std::int64_t> sizes;
                               for (const Component& c : d.components) {
                                 sizes.push_back(c.pattern.n());
                               }
                               return to_array(sizes);
                             })
      .def_property_readonly("digests",
                             [](const Decomposition& d) {
                               std::vector<std::string> digests;
                               for (const Component& c : d.components) {
                                 digests.push_back(c.digest);
                               }
                               return digests;
                             })
      .def("vertices",
           [](const Decomposition& d, Index i) {
             const auto& vertices = component_at(d, i).vertices;
             return to_array(std::vector<std::int64_t>(vertices.begin(), vertices.end()));
           })
      .def("component_graph",
           [](const Decomposition& d, Index i) {
             static_cast<void>(component_at(d, i));
             return for_python(component_graph(d, i));
           })
      .def("work_unit", [](const Decomposition& d, Index i) {
        static_cast<void>(component_at(d, i));
        const py::gil_scoped_release release;
        return graph_to_json(*component_graph(d, i));
      });
  module.def("decompose", [](const std::shared_ptr<Graph>& graph) {
    const py::gil_scoped_release release;
    return std::make_shared<Decomposition>(decompose(graph));
  });
}

std::shared_ptr<PyTrace> trace_from_bytes(const py::bytes& bytes) {
  const std::string_view view(bytes);
  const py::gil_scoped_release release;
  auto trace = std::make_shared<PyTrace>();
  if (kind_of_bytes(view) == 'P') {
    trace->held = decode_program(view);
  } else {
    trace->held = decode_component(view);
  }
  return trace;
}

py::bytes trace_to_bytes(const PyTrace& trace) {
  return trace.is_program() ? encode(*trace.program()) : encode(*trace.component());
}

void bind_trace_class(py::module_& module) {
  py::class_<PyTrace, std::shared_ptr<PyTrace>>(
      module, "Trace", "Recorded elimination of a component or of a whole graph. Immutable.")
      .def_property_readonly(
          "kind", [](const PyTrace& t) { return t.is_program() ? "program" : "component"; })
      .def_property_readonly("digest", &PyTrace::digest)
      .def_property_readonly("n_operations",
                             [](const PyTrace& t) {
                               return t.is_program() ? t.program()->n_operations
                                                     : t.component()->n_operations;
                             })
      .def_property_readonly("n_vertices",
                             [](const PyTrace& t) {
                               return t.is_program() ? t.program()->graph->n_vertices()
                                                     : t.component()->pattern.n();
                             })
      .def_property_readonly("param_length",
                             [](const PyTrace& t) {
                               return t.is_program() ? t.program()->graph->param_length : Index{0};
                             })
      .def_property_readonly(
          "is_discrete",
          [](const PyTrace& t) { return t.is_program() && t.program()->graph->discrete; })
      .def_property_readonly(
          "ordering",
          [](const PyTrace& t) { return t.is_program() ? std::string() : t.component()->ordering; })
      .def("graph", [](const PyTrace& t) { return for_python(t.program()->graph); })
      .def("to_bytes", &trace_to_bytes)
      .def_static("from_bytes", &trace_from_bytes)
      .def("dump",
           [](const PyTrace& t) {
             return t.is_program() ? dump(*t.program()) : dump(*t.component());
           })
      .def("__repr__",
           [](const PyTrace& t) {
             return "<phasic.Trace " + std::string(t.is_program() ? "program " : "component ") +
                    t.digest().substr(0, 12) + ">";
           })
      .def(py::pickle(&trace_to_bytes, &trace_from_bytes));
}

std::shared_ptr<PyTrace> link_for_python(
    const std::shared_ptr<Decomposition>& decomposition,
    const std::unordered_map<std::string, std::shared_ptr<PyTrace>>& traces, Index min_size) {
  ComponentTraceMap components;
  for (const auto& [digest, trace] : traces) {
    if (trace == nullptr) {
      fail("traces[" + digest + "] is None, expected a Trace");
    }
    if (trace->component()->digest != digest) {
      fail("traces[" + digest + "] holds the trace of another component, with digest " +
           trace->digest());
    }
    components.emplace(digest, trace->component());
  }
  const py::gil_scoped_release release;
  auto result = std::make_shared<PyTrace>();
  result->held = link(*decomposition, components, min_size);
  return result;
}

}  // namespace

void bind_trace(py::module_& module) {
  bind_decomposition(module);
  bind_trace_class(module);
  module.def(
      "record_work_unit",
      [](const std::string& digest, const std::string& json, double max_operations) {
        const py::gil_scoped_release release;
        auto trace = std::make_shared<PyTrace>();
        trace->held = record_work_unit(digest, json, RecordOptions{max_operations});
        return trace;
      },
      py::arg("digest"), py::arg("json"), py::arg("max_operations") = RecordOptions{}.max_operations);
  module.def("link", &link_for_python, py::arg("decomposition"), py::arg("traces"),
             py::arg("min_size") = 1);
}

}  // namespace phasic::python
