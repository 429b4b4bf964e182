// Direct evaluation (no JAX) and the registry that the FFI handlers read.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "phasic/evaluate.h"
#include "phasic/eliminated.h"
#include "program_registry.h"
#include "py_trace.h"
#include "record_store.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;

constexpr std::pair<const char*, Quantity> kQuantities[] = {
    {"moments", Quantity::moments},
    {"cross_moments", Quantity::cross_moments},
    {"sojourn", Quantity::sojourn},
    {"absorption", Quantity::absorption},
    {"pdf", Quantity::pdf},
    {"cdf", Quantity::cdf},
    {"sf", Quantity::sf},
    {"state_probability", Quantity::state_probability},
    {"accumulated_occupancy", Quantity::accumulated_occupancy},
    {"logpdf", Quantity::logpdf},
    {"logsf", Quantity::logsf},
    {"hazard", Quantity::hazard},
};
constexpr std::pair<const char*, KernelKind> kKernels[] = {
    {"auto", KernelKind::automatic}, {"reference", KernelKind::reference},
    {"baseline", KernelKind::baseline}, {"avx2", KernelKind::avx2}, {"avx512", KernelKind::avx512},
};

constexpr std::pair<const char*, DensityMethod> kMethods[] = {
    {"auto", DensityMethod::automatic},
    {"uniformization", DensityMethod::uniformization},
    {"squaring", DensityMethod::squaring},
    {"krylov", DensityMethod::krylov},
    {"exact", DensityMethod::exact},
};

template <class Table>
auto look_up(const Table& table, const std::string& name, const char* what) {
  std::string known;
  for (const auto& [key, value] : table) {
    if (name == key) {
      return value;
    }
    known += (known.empty() ? "" : ", ") + std::string(key);
  }
  fail(std::string(what) + " is '" + name + "', expected one of " + known);
}

// (rows, size), rows 1 or the batch.
Operand operand_of(const Array& array, Index n_rows, const char* name) {
  if (array.ndim() != 2 || (array.shape(0) != 1 && array.shape(0) != n_rows)) {
    fail(std::string(name) + " must have shape (1 or " + std::to_string(n_rows) + ", size)");
  }
  const Index size = array.shape(1);
  return {array.data(), false, size, {array.shape(0) == 1 ? 0 : size}};
}

struct Evaluated {
  std::optional<Array> value, gradient;
  py::array_t<std::uint8_t> status;
};

Evaluated run(const Program& program, const Request& request, Index n_rows,
              const std::vector<Array>& arrays) {
  std::vector<Operand> operands;
  for (const Array& array : arrays) {
    operands.push_back(operand_of(array, n_rows, "an operand"));
  }
  Evaluated out;
  std::vector<Result> results;
  if (request.value) {
    out.value = Array({n_rows, output_size(program, request)});
    results.push_back({out.value->mutable_data(), false});
  }
  if (request.gradient >= 0) {
    out.gradient =
        Array({n_rows, part_size(program, request, static_cast<Part>(request.gradient))});
    results.push_back({out.gradient->mutable_data(), false});
  }
  out.status = py::array_t<std::uint8_t>(n_rows);
  static_assert(sizeof(RowStatus) == 1);
  const Span<RowStatus> status(reinterpret_cast<RowStatus*>(out.status.mutable_data()), n_rows);
  const py::gil_scoped_release release;
  evaluate(program, request, Span<const Index>(&n_rows, 1), operands, results, status);
  return out;
}

py::tuple evaluate_for_python(const PyTrace& trace, const std::string& quantity, const Array& theta,
                              const std::optional<Array>& rewards,
                              const std::optional<Array>& times, Index order, Index n_rewards,
                              const std::vector<int>& levels, const std::vector<Array>& tangents,
                              const std::optional<Array>& cotangent, int gradient, bool value,
                              double truncation, double max_operations, int threads,
                              const std::string& kernel, const std::string& density) {
  const Program& program = *trace.program();
  Request request;
  request.quantity = look_up(kQuantities, quantity, "quantity");
  request.kernel = look_up(kKernels, kernel, "kernel");
  request.density = look_up(kMethods, density, "density");
  request.order = order;
  request.n_rewards = rewards ? n_rewards : -1;
  request.gradient = gradient;
  request.value = value;
  request.truncation = truncation;
  request.max_operations = max_operations;
  request.threads = threads;
  std::vector<Array> arrays{theta};
  Index n_rows = theta.ndim() == 2 ? theta.shape(0) : 1;
  for (const auto& part : {rewards, times}) {
    if (part) {
      arrays.push_back(*part);
    }
  }
  request.n_times = times && times->ndim() == 2 ? times->shape(1) : 0;
  arrays.insert(arrays.end(), tangents.begin(), tangents.end());
  if (cotangent) {
    arrays.push_back(*cotangent);
  }
  for (const Array& array : arrays) {
    n_rows = array.ndim() == 2 ? std::max<Index>(n_rows, array.shape(0)) : n_rows;
  }
  for (const int level : levels) {
    request.levels.push_back(static_cast<Part>(level));
  }
  const Evaluated out = run(program, request, n_rows, arrays);
  return py::make_tuple(out.value, out.gradient, out.status);
}

std::string explain_for_python(const PyTrace& trace, const std::string& quantity, int status,
                               const Array& theta, const std::optional<Array>& rewards,
                               const std::optional<Array>& times, double max_operations,
                               const std::string& density) {
  const auto view = [](const std::optional<Array>& array) {
    return array ? Span<const double>(array->data(), array->size()) : Span<const double>();
  };
  Request request;
  request.quantity = look_up(kQuantities, quantity, "quantity");
  request.max_operations = max_operations;
  request.density = look_up(kMethods, density, "density");
  const Program& program = *trace.program();
  if (theta.size() != program.graph->param_length) {
    fail("theta has " + std::to_string(theta.size()) + " entries but the model has " +
         std::to_string(program.graph->param_length) + " parameters");
  }
  return explain(program, request, static_cast<RowStatus>(status), view(theta), view(rewards),
                 view(times));
}

void require_memory_for_python(const PyTrace& trace, const std::string& quantity, Index order,
                               Index n_rewards, Index n_levels, bool gradient,
                               const std::string& kernel, double max_bytes) {
  Request request;
  request.quantity = look_up(kQuantities, quantity, "quantity");
  request.kernel = look_up(kKernels, kernel, "kernel");
  request.order = order;
  request.n_rewards = n_rewards;
  request.levels.assign(at(n_levels), Part::theta);
  request.gradient = gradient ? static_cast<int>(Part::theta) : -1;
  require_memory(*trace.program(), request, max_bytes);
}

// The fields of DensityPlan, in order, of every row of theta (rows, n) and times (rows, n).
py::list plans_for_python(const PyTrace& trace, const std::string& quantity, const Array& theta,
                          const Array& times, const std::vector<int>& levels, int gradient,
                          double max_operations, const std::string& density) {
  Request request;
  request.quantity = look_up(kQuantities, quantity, "quantity");
  request.density = look_up(kMethods, density, "density");
  request.max_operations = max_operations;
  request.gradient = gradient;
  for (const int level : levels) {
    request.levels.push_back(static_cast<Part>(level));
  }
  const Index n_rows = theta.shape(0);
  request.n_times = operand_of(times, n_rows, "times").size;
  const auto row = [](const Array& array, Index i) {
    const Index size = array.shape(1);
    return Span<const double>(array.data() + (array.shape(0) == 1 ? 0 : i * size), size);
  };
  py::list plans;
  for (Index i = 0; i < n_rows; ++i) {
    const DensityPlan plan = density_plan(*trace.program(), request, row(theta, i), row(times, i));
    for (const auto& [name, method] : kMethods) {
      if (method == plan.method) {
        plans.append(py::make_tuple(name, plan.steps, plan.operations, plan.within_budget,
                                    plan.dimension, plan.error, plan.exact_times));
      }
    }
  }
  return plans;
}

py::tuple eliminated_for_python(const PyTrace& trace, const Array& theta) {
  const EliminatedGraph graph =
      eliminated_graph(*trace.program(), Span<const double>(theta.data(), theta.size()));
  const auto array = [](const auto& values) {
    using V = typename std::decay_t<decltype(values)>::value_type;
    return py::array_t<V>(static_cast<py::ssize_t>(values.size()), values.data());
  };
  return py::make_tuple(array(graph.rate), array(graph.row_begin), array(graph.target),
                        array(graph.probability));
}

py::array_t<double> expected_rewards_for_python(const PyTrace& trace, const Array& theta,
                                                const Array& rewards) {
  const std::vector<double> found =
      expected_rewards(*trace.program(), Span<const double>(theta.data(), theta.size()),
                       Span<const double>(rewards.data(), rewards.size()));
  return py::array_t<double>(static_cast<py::ssize_t>(found.size()), found.data());
}

}  // namespace

void bind_evaluate(py::module_& module) {
  const Request defaults;
  module.def("evaluate", &evaluate_for_python, py::arg("trace"), py::arg("quantity"),
             py::arg("theta"), py::arg("rewards") = py::none(), py::arg("times") = py::none(),
             py::kw_only(), py::arg("order") = 1, py::arg("n_rewards") = -1,
             py::arg("levels") = std::vector<int>(), py::arg("tangents") = std::vector<Array>(),
             py::arg("cotangent") = py::none(), py::arg("gradient") = -1, py::arg("value") = true,
             py::arg("truncation") = defaults.truncation,
             py::arg("max_operations") = defaults.max_operations, py::arg("threads") = 0,
             py::arg("kernel") = "auto", py::arg("density") = "auto");
  module.def("explain", &explain_for_python, py::arg("trace"), py::arg("quantity"),
             py::arg("status"), py::arg("theta"), py::arg("rewards") = py::none(),
             py::arg("times") = py::none(), py::arg("max_operations") = defaults.max_operations,
             py::arg("density") = "auto");
  module.def("density_plans", &plans_for_python, py::arg("trace"), py::arg("quantity"),
             py::arg("theta"), py::arg("times"), py::kw_only(),
             py::arg("levels") = std::vector<int>(), py::arg("gradient") = -1,
             py::arg("max_operations") = defaults.max_operations, py::arg("density") = "auto");
  module.def("require_memory", &require_memory_for_python, py::arg("trace"), py::arg("quantity"),
             py::kw_only(), py::arg("order"), py::arg("n_rewards"), py::arg("n_levels"),
             py::arg("gradient"), py::arg("kernel"), py::arg("max_bytes"));
  module.def("eliminated_graph", &eliminated_for_python, py::arg("trace"), py::arg("theta"));
  module.def("expected_rewards", &expected_rewards_for_python, py::arg("trace"), py::arg("theta"),
             py::arg("rewards"));
  module.def(
      "output_size",
      [](const PyTrace& trace, const std::string& quantity, Index order, Index n_rewards,
         Index n_times) {
        Request request;
        request.quantity = look_up(kQuantities, quantity, "quantity");
        request.order = order;
        request.n_rewards = n_rewards;
        request.n_times = n_times;
        return output_size(*trace.program(), request);
      },
      py::arg("trace"), py::arg("quantity"), py::arg("order") = 1, py::arg("n_rewards") = -1,
      py::arg("n_times") = 0);
  module.def("available_kernels", &available_kernels);
  module.def("register_program",
             [](const PyTrace& trace) { ProgramRegistry::instance().add(trace.program()); });
  module.def("unregister_program",
             [](const std::string& digest) { ProgramRegistry::instance().remove(digest); });
  module.def("next_recorded", [](std::int64_t ticket) {
    const py::gil_scoped_release release;
    return RecordStore::instance().next(ticket);
  });
  module.def("take_recorded", [](std::int64_t ticket, const std::string& digest) {
    Recorded recorded = RecordStore::instance().take(ticket, digest);
    if (recorded.fault) {
      std::rethrow_exception(recorded.fault);
    }
    auto trace = std::make_shared<PyTrace>();
    trace->held = std::move(recorded.trace);
    return std::pair(std::move(trace), py::bytes(recorded.bytes));
  });
  module.def("close_recorded", [](std::int64_t ticket) { RecordStore::instance().close(ticket); });
  module.def("stop_recording", [](std::int64_t ticket) { RecordStore::instance().stop(ticket); });
  module.def("drop_recorded", [](std::int64_t ticket) { RecordStore::instance().drop(ticket); });
}

}  // namespace phasic::python
