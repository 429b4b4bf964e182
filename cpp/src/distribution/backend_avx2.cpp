// The kernels compiled for machines with AVX2 and FMA.
#define PHASIC_ISA isa_avx2
#include "distribution/runner.h"

namespace phasic::detail {

Backend avx2_backend() { return {&isa_avx2::run_rows<isa_avx2::Vec<4>>, 4}; }

}  // namespace phasic::detail
