// The kernels compiled for machines with AVX-512 F, DQ and VL.
#define PHASIC_ISA isa_avx512
#include "distribution/runner.h"

namespace phasic::detail {

Backend avx512_backend() { return {&isa_avx512::run_rows<isa_avx512::Vec<8>>, 8}; }

}  // namespace phasic::detail
