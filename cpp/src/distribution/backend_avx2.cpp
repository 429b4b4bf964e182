// The kernels compiled for machines with AVX2 and FMA.
#define PHASIC_ISA isa_avx2
#include "distribution/runner.h"

namespace phasic::detail {

// One parameter vector alone leaves three lanes of four idle; a sweep is bound by what it loads.
Backend avx2_single_density_backend() { return {&isa_avx2::run_with<double>, 1}; }

Backend avx2_backend() { return {&isa_avx2::run_rows<isa_avx2::Vec<4>>, 4}; }

}  // namespace phasic::detail
