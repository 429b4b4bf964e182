// What the XLA FFI handlers share: operands with batch axes, and errors of calls that cannot be made.
#pragma once

#include <string>
#include <vector>

#include "phasic/evaluate.h"
#include "xla/ffi/api/ffi.h"

namespace phasic::python {

inline xla::ffi::Error error(XLA_FFI_Error_Code code, const std::string& text) {
  return xla::ffi::Error(code, "phasic: " + text);
}

inline xla::ffi::Error no_program(const std::string& digest) {
  return error(XLA_FFI_Error_Code_NOT_FOUND,
               "no program with digest " + digest +
                   " is loaded in this process; build the PhaseType of the same graph first");
}

// Leading dimensions of each operand are 1 or the batch (expand_dims); the last one is the item.
inline std::vector<Index> strides_of(const xla::ffi::AnyBuffer& buffer,
                                     const std::vector<Index>& batch) {
  const auto dims = buffer.dimensions();
  if (dims.size() != batch.size() + 1) {
    fail("an operand has rank " + std::to_string(dims.size()) + ", expected " +
         std::to_string(batch.size() + 1));
  }
  std::vector<Index> strides(batch.size());
  Index stride = dims[dims.size() - 1];
  for (std::size_t d = batch.size(); d-- > 0;) {
    if (dims[d] != 1 && dims[d] != batch[d]) {
      fail("batch dimension " + std::to_string(d) + " of an operand is " + std::to_string(dims[d]) +
           ", expected 1 or " + std::to_string(batch[d]));
    }
    strides[d] = dims[d] == 1 ? 0 : stride;
    stride *= dims[d];
  }
  return strides;
}

inline Operand operand_of(const xla::ffi::AnyBuffer& buffer, const std::vector<Index>& batch) {
  if (buffer.element_type() != xla::ffi::F64 && buffer.element_type() != xla::ffi::F32) {
    fail("operands must be float32 or float64");
  }
  std::vector<Index> strides = strides_of(buffer, batch);
  const auto dims = buffer.dimensions();
  return {buffer.untyped_data(), buffer.element_type() == xla::ffi::F32, dims[dims.size() - 1],
          std::move(strides)};
}

}  // namespace phasic::python
