// Krylov spaces compiled for any x86-64 or AArch64 machine.
#define PHASIC_ISA isa_baseline
#include "distribution/krylov_quantity.h"

namespace phasic::detail {

KrylovReport krylov_row_baseline(const KrylovInput& in, Span<double> out) {
  return isa_baseline::krylov_row(in, out);
}

}  // namespace phasic::detail
