// Quantiles of one parameter vector, without JAX, and the explanation of a row that has none.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "phasic/quantile.h"
#include "py_trace.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;

Span<const double> vector(const Array& array, const char* name, Index expected) {
  if (array.ndim() != 1 || (expected >= 0 && array.size() != expected)) {
    fail(std::string(name) + " has " + std::to_string(array.size()) + " entries on " +
         std::to_string(array.ndim()) + " axes, expected one axis" +
         (expected >= 0 ? " of " + std::to_string(expected) : ""));
  }
  return {array.data(), array.size()};
}

py::tuple quantile_for_python(const PyTrace& trace, const Array& theta, const Array& levels,
                              double max_operations, int threads) {
  const Program& program = *trace.program();
  const Span<const double> parameters = vector(theta, "theta", program.graph->param_length);
  const Span<const double> q = vector(levels, "q", -1);
  QuantileRequest request;
  request.n_levels = q.size();
  request.max_operations = max_operations;
  request.threads = threads;
  Array value(q.size());
  QuantileStatus status{};
  double* found = value.mutable_data();
  {
    const py::gil_scoped_release release;
    quantile(program, request, {}, {parameters.data(), false, parameters.size(), {}},
             {q.data(), false, q.size(), {}}, {found, false}, &status);
  }
  return py::make_tuple(value, static_cast<int>(status));
}

std::string explain_for_python(const PyTrace& trace, int status, const Array& theta,
                               const Array& levels, double max_operations) {
  const Program& program = *trace.program();
  QuantileRequest request;
  request.max_operations = max_operations;
  return explain(program, request, static_cast<QuantileStatus>(status),
                 vector(theta, "theta", program.graph->param_length), vector(levels, "q", -1));
}

}  // namespace

void bind_quantile(py::module_& module) {
  const QuantileRequest defaults;
  module.def("quantile", &quantile_for_python, py::arg("trace"), py::arg("theta"), py::arg("q"),
             py::kw_only(), py::arg("max_operations") = defaults.max_operations,
             py::arg("threads") = 0, "Quantiles of one parameter vector: (value, status).");
  module.def("explain_quantile", &explain_for_python, py::arg("trace"), py::arg("status"),
             py::arg("theta"), py::arg("q"), py::kw_only(),
             py::arg("max_operations") = defaults.max_operations,
             "Say why a parameter vector has no quantiles.");
}

}  // namespace phasic::python
