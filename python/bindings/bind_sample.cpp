// Drawing samples directly, without JAX, and the explanation of a row that could not be drawn.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "phasic/sample.h"
#include "py_trace.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Seeds = py::array_t<std::uint32_t, py::array::c_style>;
using Vertices = py::array_t<std::int32_t, py::array::c_style>;

template <class V>
Span<const V> view(const py::array_t<V, py::array::c_style | py::array::forcecast>& array) {
  return {array.data(), array.size()};
}
Span<const std::int32_t> view(const Vertices& array) { return {array.data(), array.size()}; }

// One row: every operand is a vector.
template <class A>
void require_vector(const A& array, const char* name) {
  if (array.ndim() != 1) {
    fail(std::string(name) + " has " + std::to_string(array.ndim()) + " axes, expected 1");
  }
}

SampleRequest request_of(Index n_draws, Index n_rewards, Index max_length,
                         const std::vector<std::int32_t>& given, bool has_horizon, bool has_starts,
                         double max_operations) {
  SampleRequest request;
  request.n_draws = n_draws;
  request.n_rewards = n_rewards;
  request.max_length = max_length;
  request.given = given;
  request.has_horizon = has_horizon;
  request.has_starts = has_starts;
  request.max_operations = max_operations;
  return request;
}

py::tuple sample_for_python(const PyTrace& trace, const Seeds& seed, const Array& theta,
                            const std::optional<Array>& rewards,
                            const std::optional<double>& horizon,
                            const std::optional<Vertices>& starts, Index n_draws, Index n_rewards,
                            Index max_length, const std::vector<std::int32_t>& given,
                            double max_operations, int threads) {
  SampleRequest request = request_of(n_draws, rewards ? n_rewards : -1, max_length, given,
                                     horizon.has_value(), starts.has_value(), max_operations);
  request.threads = threads;
  require_vector(seed, "seed");
  require_vector(theta, "theta");
  SampleOperands operands;
  operands.seed = {seed.data(), seed.size(), {}};
  operands.theta = {theta.data(), false, theta.size(), {}};
  if (rewards) {
    require_vector(*rewards, "rewards");
    operands.rewards = {rewards->data(), false, rewards->size(), {}};
  }
  const double limit = horizon.value_or(0);
  operands.horizon = {&limit, false, 1, {}};
  if (starts) {
    require_vector(*starts, "starts");
    operands.starts = {starts->data(), starts->size(), {}};
  }
  if (n_draws < 0 || max_length < 0) {
    fail("n_draws and max_length must be >= 0");
  }
  const Index n_values = max_length > 0 ? max_length : std::max<Index>(request.n_rewards, 1);
  Array value({n_draws, n_values});
  Vertices vertex({n_draws, std::max<Index>(max_length, 1)});
  Vertices length(max_length > 0 ? n_draws : 0);
  DrawStatus status{};
  SampleResults results;
  results.value = {value.mutable_data(), false};
  results.vertex = vertex.mutable_data();
  results.length = max_length > 0 ? length.mutable_data() : nullptr;
  results.status = &status;
  {
    const py::gil_scoped_release release;
    sample(*trace.program(), request, {}, operands, results);
  }
  return py::make_tuple(value, vertex, length, static_cast<int>(status));
}

std::string explain_for_python(const PyTrace& trace, int status, const Array& theta,
                               const std::optional<Array>& rewards,
                               const std::optional<double>& horizon,
                               const std::optional<Vertices>& starts, Index n_draws,
                               Index n_rewards, const std::vector<std::int32_t>& given,
                               double max_operations) {
  const SampleRequest request = request_of(n_draws, rewards ? n_rewards : -1, 0, given,
                                           horizon.has_value(), starts.has_value(), max_operations);
  const double limit = horizon.value_or(0);
  if (theta.size() != trace.program()->graph->param_length) {
    fail("theta has " + std::to_string(theta.size()) + " entries, expected " +
         std::to_string(trace.program()->graph->param_length));
  }
  return explain(*trace.program(), request, static_cast<DrawStatus>(status), view(theta),
                 rewards ? view(*rewards) : Span<const double>(),
                 horizon ? Span<const double>(&limit, 1) : Span<const double>(),
                 starts ? view(*starts) : Span<const std::int32_t>());
}

}  // namespace

void bind_sample(py::module_& module) {
  const SampleRequest defaults;
  module.def("sample", &sample_for_python, py::arg("trace"), py::arg("seed"), py::arg("theta"),
             py::arg("rewards") = py::none(), py::arg("horizon") = py::none(),
             py::arg("starts") = py::none(), py::kw_only(), py::arg("n_draws") = 1,
             py::arg("n_rewards") = -1, py::arg("max_length") = 0,
             py::arg("given") = std::vector<std::int32_t>(),
             py::arg("max_operations") = defaults.max_operations, py::arg("threads") = 0,
             "Draw from one parameter vector: (value, vertex, length, status).");
  module.def("explain_sample", &explain_for_python, py::arg("trace"), py::arg("status"),
             py::arg("theta"), py::arg("rewards") = py::none(), py::arg("horizon") = py::none(),
             py::arg("starts") = py::none(), py::kw_only(), py::arg("n_draws") = 1,
             py::arg("n_rewards") = -1, py::arg("given") = std::vector<std::int32_t>(),
             py::arg("max_operations") = defaults.max_operations,
             "Say why a parameter vector could not be drawn from.");
}

}  // namespace phasic::python
