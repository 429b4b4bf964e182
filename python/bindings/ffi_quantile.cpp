// The XLA FFI handler that searches for quantiles. Stateless, like all of them.
#include <string>
#include <vector>

#include "bindings.h"
#include "ffi_operands.h"
#include "phasic/quantile.h"
#include "program_registry.h"

namespace ffi = xla::ffi;
namespace py = pybind11;

namespace phasic::python {
namespace {

// Operands: theta, q; results: value, status.
ffi::Error search(ffi::AnyBuffer theta, ffi::AnyBuffer levels, ffi::Result<ffi::AnyBuffer> value,
                  ffi::Result<ffi::AnyBuffer> status, std::string_view digest, double truncation,
                  double max_operations, std::int64_t threads, std::int64_t kernel) {
  const ProgramPtr program = ProgramRegistry::instance().find(std::string(digest));
  if (program == nullptr) {
    return no_program(std::string(digest));
  }
  try {
    const auto dims = value->dimensions();
    const std::vector<Index> batch(dims.begin(), dims.end() - 1);
    QuantileRequest request;
    request.n_levels = dims[dims.size() - 1];
    request.truncation = truncation;
    request.max_operations = max_operations;
    request.threads = static_cast<int>(threads);
    request.kernel = static_cast<KernelKind>(kernel);
    quantile(*program, request, batch, operand_of(theta, batch), operand_of(levels, batch),
             {value->untyped_data(), value->element_type() == ffi::F32},
             static_cast<QuantileStatus*>(status->untyped_data()));
  } catch (const std::exception& fault) {
    return error(XLA_FFI_Error_Code_INVALID_ARGUMENT, fault.what());
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(search_target, search,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<std::string_view>("digest")
                           .Attr<double>("truncation")
                           .Attr<double>("max_operations")
                           .Attr<std::int64_t>("threads")
                           .Attr<std::int64_t>("kernel"));

}  // namespace

py::capsule quantile_target() {
  XLA_FFI_Handler* handler = search_target;
  return py::capsule(reinterpret_cast<void*>(handler));
}

}  // namespace phasic::python
