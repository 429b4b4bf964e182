// Values and gradients in two registers of lanes, see backend_avx512.cpp.
#define PHASIC_ISA isa_avx512_wide
#include "distribution/runner.h"

namespace phasic::detail {

void run_avx512_wide(const Job& job, Index begin, Index end) {
  using namespace isa_avx512_wide;
  Runner<Vec<16>, EliminationEngine<Vec<16>>>(job).run(begin, end);
}

}  // namespace phasic::detail
