// The XLA FFI handlers. Stateless: a program is found by its digest, recordings go to a store.
//
// Handlers run on XLA's threads, without the GIL, several at a time. They never report an error for
// what is in the data (such rows hold NaN), only for a call that could not be made at all.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "bindings.h"
#include "ffi_operands.h"
#include "kernel/float_state.h"
#include "kernel/thread_pool.h"
#include "phasic/evaluate.h"
#include "phasic/trace.h"
#include "program_registry.h"
#include "record_store.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
namespace py = pybind11;

namespace phasic::python {
namespace {

Request request_of(const std::string& levels, std::int64_t quantity, std::int64_t order,
                   std::int64_t n_rewards, std::int64_t value, std::int64_t gradient) {
  Request request;
  request.quantity = static_cast<Quantity>(quantity);
  request.order = order;
  request.n_rewards = n_rewards;
  request.value = value != 0;
  request.gradient = static_cast<int>(gradient);
  for (const char level : levels) {
    request.levels.push_back(static_cast<Part>(level - '0'));
  }
  return request;
}

ffi::Error evaluate_handler(ffi::RemainingArgs args, ffi::RemainingRets rets,
                            std::string_view digest, std::int64_t quantity, std::int64_t order,
                            std::int64_t n_rewards, std::string_view levels, std::int64_t value,
                            std::int64_t gradient, double truncation, double max_operations,
                            std::int64_t threads, std::int64_t kernel, std::int64_t density) {
  const ProgramPtr program = ProgramRegistry::instance().find(std::string(digest));
  if (program == nullptr) {
    return no_program(std::string(digest));
  }
  try {
    Request request =
        request_of(std::string(levels), quantity, order, n_rewards, value, gradient);
    request.truncation = truncation;
    request.max_operations = max_operations;
    request.threads = static_cast<int>(threads);
    request.kernel = static_cast<KernelKind>(kernel);
    request.density = static_cast<DensityMethod>(density);
    auto first = rets.get<ffi::AnyBuffer>(0).value();
    const auto dims = first->dimensions();
    const std::vector<Index> batch(dims.begin(), dims.end() - 1);
    std::vector<Operand> operands;
    for (std::size_t i = 0; i < args.size(); ++i) {
      operands.push_back(operand_of(args.get<ffi::AnyBuffer>(i).value(), batch));
    }
    if (quantity >= static_cast<std::int64_t>(Quantity::pdf)) {
      request.n_times = operands.at(1).size;
    }
    std::vector<Result> results;
    for (std::size_t i = 0; i < rets.size(); ++i) {
      auto buffer = rets.get<ffi::AnyBuffer>(i).value();
      results.push_back({buffer->untyped_data(), buffer->element_type() == ffi::F32});
    }
    evaluate(*program, request, batch, operands, results);
  } catch (const std::exception& fault) {
    return error(XLA_FFI_Error_Code_INVALID_ARGUMENT, fault.what());
  }
  return ffi::Error::Success();
}

constexpr int kOk = 0, kFailed = 1, kPadding = 2, kStopped = 3;

ffi::Error record_handler(ffi::Buffer<ffi::U8> json, ffi::Buffer<ffi::S32> lengths,
                          ffi::Buffer<ffi::U8> digests, ffi::ResultBuffer<ffi::S32> status,
                          ffi::ResultBuffer<ffi::S32> sizes, std::int64_t ticket,
                          double max_operations, std::int64_t threads) {
  const auto dims = json.dimensions();
  const auto digest_dims = digests.dimensions();
  if (dims.size() != 2 || digest_dims.size() != 2 || digest_dims[0] != dims[0] ||
      static_cast<Index>(lengths.element_count()) != dims[0]) {
    return error(XLA_FFI_Error_Code_INVALID_ARGUMENT,
                 "record expects json (n, width), lengths (n,), digests (n, 64)");
  }
  const Index width = dims[1], digest_width = digest_dims[1];
  const auto record_row = [&](Index row) {
    status->typed_data()[row] = kPadding;
    sizes->typed_data()[row] = 0;
    const Index length = lengths.typed_data()[row];
    if (length <= 0) {
      return;
    }
    if (RecordStore::instance().is_stopped(ticket)) {
      status->typed_data()[row] = kStopped;
      return;
    }
    const std::string digest(
        reinterpret_cast<const char*>(digests.typed_data()) + row * digest_width,
        at(digest_width));
    Recorded recorded;
    try {
      if (length > width) {
        fail("the length " + std::to_string(length) + " exceeds the row width " +
             std::to_string(width));
      }
      const std::string_view text(reinterpret_cast<const char*>(json.typed_data()) + row * width,
                                  at(length));
      recorded.trace = record_work_unit(digest, text, RecordOptions{max_operations});
      recorded.bytes = encode(*recorded.trace);
    } catch (...) {
      recorded.fault = std::current_exception();
    }
    status->typed_data()[row] = recorded.fault ? kFailed : kOk;
    sizes->typed_data()[row] = static_cast<std::int32_t>(recorded.bytes.size());
    RecordStore::instance().put(ticket, digest, std::move(recorded));
  };
  try {
    const FloatState state;
    parallel_for(dims[0], static_cast<int>(threads), record_row);
  } catch (const std::exception& fault) {
    return error(XLA_FFI_Error_Code_RESOURCE_EXHAUSTED, fault.what());
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(evaluate_target, evaluate_handler,
                       ffi::Ffi::Bind()
                           .RemainingArgs()
                           .RemainingRets()
                           .Attr<std::string_view>("digest")
                           .Attr<std::int64_t>("quantity")
                           .Attr<std::int64_t>("order")
                           .Attr<std::int64_t>("n_rewards")
                           .Attr<std::string_view>("levels")
                           .Attr<std::int64_t>("value")
                           .Attr<std::int64_t>("gradient")
                           .Attr<double>("truncation")
                           .Attr<double>("max_operations")
                           .Attr<std::int64_t>("threads")
                           .Attr<std::int64_t>("kernel")
                           .Attr<std::int64_t>("density"));

XLA_FFI_DEFINE_HANDLER(record_target, record_handler,
                       ffi::Ffi::Bind()
                           .Arg<ffi::Buffer<ffi::U8>>()
                           .Arg<ffi::Buffer<ffi::S32>>()
                           .Arg<ffi::Buffer<ffi::U8>>()
                           .Ret<ffi::Buffer<ffi::S32>>()
                           .Ret<ffi::Buffer<ffi::S32>>()
                           .Attr<std::int64_t>("ticket")
                           .Attr<double>("max_operations")
                           .Attr<std::int64_t>("threads"));

py::capsule capsule_of(XLA_FFI_Handler* handler) {
  return py::capsule(reinterpret_cast<void*>(handler));
}

}  // namespace

py::dict ffi_targets() {
  py::dict targets;
  targets["phasic_evaluate"] = capsule_of(evaluate_target);
  targets["phasic_record"] = capsule_of(record_target);
  targets["phasic_sample"] = sample_target();
  targets["phasic_quantile"] = quantile_target();
  return targets;
}

}  // namespace phasic::python
