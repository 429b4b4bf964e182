// The XLA FFI handler that draws samples. Stateless, like all of them.
#include <string>
#include <vector>

#include "bindings.h"
#include "ffi_operands.h"
#include "phasic/sample.h"
#include "program_registry.h"

namespace ffi = xla::ffi;
namespace py = pybind11;

namespace phasic::python {
namespace {

IntegerOperand integers_of(const ffi::AnyBuffer& buffer, const std::vector<Index>& batch,
                           ffi::DataType type) {
  if (buffer.element_type() != type) {
    fail("an operand of integers has another type than expected");
  }
  const auto dims = buffer.dimensions();
  std::vector<Index> strides = strides_of(buffer, batch);
  return {buffer.untyped_data(), dims[dims.size() - 1], std::move(strides)};
}

// Operands: seed, theta, [rewards], [horizon], [starts]; results: value, vertex, [length], status.
ffi::Error sample_handler(ffi::RemainingArgs args, ffi::RemainingRets rets, std::string_view digest,
                          std::int64_t n_draws, std::int64_t n_rewards, std::int64_t max_length,
                          std::int64_t has_horizon, std::int64_t has_starts,
                          ffi::Span<const std::int64_t> given, double max_operations,
                          std::int64_t threads) {
  const ProgramPtr program = ProgramRegistry::instance().find(std::string(digest));
  if (program == nullptr) {
    return no_program(std::string(digest));
  }
  try {
    SampleRequest request;
    request.n_draws = n_draws;
    request.n_rewards = n_rewards;
    request.max_length = max_length;
    request.has_horizon = has_horizon != 0;
    request.has_starts = has_starts != 0;
    for (const std::int64_t vertex : given) {
      request.given.push_back(narrow32(vertex, "given"));
    }
    request.max_operations = max_operations;
    request.threads = static_cast<int>(threads);
    const auto argument = [&](std::size_t i) { return args.get<ffi::AnyBuffer>(i).value(); };
    const auto result = [&](std::size_t i) { return rets.get<ffi::AnyBuffer>(i).value(); };
    const auto dims = result(0)->dimensions();
    const std::vector<Index> batch(dims.begin(), dims.end() - 1);
    std::size_t next = 0;
    SampleOperands operands;
    operands.seed = integers_of(argument(next++), batch, ffi::U32);
    operands.theta = operand_of(argument(next++), batch);
    if (n_rewards >= 0) {
      operands.rewards = operand_of(argument(next++), batch);
    }
    if (request.has_horizon) {
      operands.horizon = operand_of(argument(next++), batch);
    }
    if (request.has_starts) {
      operands.starts = integers_of(argument(next++), batch, ffi::S32);
    }
    const auto integers = [&](std::size_t i) {
      return static_cast<std::int32_t*>(result(i)->untyped_data());
    };
    SampleResults results;
    results.value = {result(0)->untyped_data(), result(0)->element_type() == ffi::F32};
    results.vertex = integers(1);
    results.length = max_length > 0 ? integers(2) : nullptr;
    results.status = reinterpret_cast<DrawStatus*>(integers(max_length > 0 ? 3 : 2));
    sample(*program, request, batch, operands, results);
  } catch (const std::exception& fault) {
    return error(XLA_FFI_Error_Code_INVALID_ARGUMENT, fault.what());
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(sample_handler_target, sample_handler,
                       ffi::Ffi::Bind()
                           .RemainingArgs()
                           .RemainingRets()
                           .Attr<std::string_view>("digest")
                           .Attr<std::int64_t>("n_draws")
                           .Attr<std::int64_t>("n_rewards")
                           .Attr<std::int64_t>("max_length")
                           .Attr<std::int64_t>("has_horizon")
                           .Attr<std::int64_t>("has_starts")
                           .Attr<ffi::Span<const std::int64_t>>("given")
                           .Attr<double>("max_operations")
                           .Attr<std::int64_t>("threads"));

}  // namespace

py::capsule sample_target() {
  XLA_FFI_Handler* handler = sample_handler_target;
  return py::capsule(reinterpret_cast<void*>(handler));
}

}  // namespace phasic::python
