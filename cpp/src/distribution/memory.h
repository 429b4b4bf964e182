// What one thread keeps while it evaluates quantities that come from elimination.
#pragma once

#include "kernel/keep.h"
#include "phasic/evaluate.h"

namespace phasic::detail {

// Quantities that need more than one transposed solve.
[[nodiscard]] inline bool uses_solves(const Request& request) noexcept {
  return request.quantity == Quantity::cross_moments ||
         (request.quantity == Quantity::moments && request.order > 1);
}

// Slots of all components are kept when solves need them again, or when the gradient does and they
// stay near; else components stream through one buffer and the gradient factors each a second time.
[[nodiscard]] Keep kept(const Program& program, const Request& request,
                        std::size_t element_bytes) noexcept;

// Bytes of slots, vectors and their adjoints at that many bytes an element.
[[nodiscard]] double elimination_bytes(const Program& program, const Request& request,
                                       std::size_t element_bytes) noexcept;

}  // namespace phasic::detail
