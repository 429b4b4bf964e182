// Values and gradients compiled for machines with AVX-512 F, DQ and VL. Dual numbers have no use for
// wider registers, so derivatives along directions are left to the AVX2 code.
#define PHASIC_ISA isa_avx512
#include "distribution/runner.h"

namespace phasic::detail {

Backend avx512_backend() { return {&isa_avx512::run_values<isa_avx512::Vec<8>>, 8}; }

}  // namespace phasic::detail
