// Krylov spaces compiled for machines with AVX2 and FMA.
#define PHASIC_ISA isa_avx2
#include "distribution/krylov_quantity.h"

namespace phasic::detail {

KrylovReport krylov_row_avx2(const KrylovInput& in, Span<double> out) {
  return isa_avx2::krylov_row(in, out);
}

}  // namespace phasic::detail
