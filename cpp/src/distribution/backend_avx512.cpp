// Values and gradients compiled for machines with AVX-512 F, DQ and VL. Dual numbers have no use for
// wider registers, so derivatives along directions are left to the AVX2 code.
//
// Small components are bound by the latency of one pivot after the other: two registers of lanes then
// overlap. Which width is used depends on the program alone, so results never depend on the batch.
#define PHASIC_ISA isa_avx512
#include "distribution/runner.h"

namespace phasic::detail {
namespace {

constexpr Index kWideSlots = 2500;  // beyond it two registers of lanes no longer fit a core's cache

void run_narrow(const Job& job, Index begin, Index end) {
  using namespace isa_avx512;
  if (is_density(job.request->quantity)) {
    run_with<Vec<8>>(job, begin, end);
  } else {
    Runner<Vec<8>, EliminationEngine<Vec<8>>>(job).run(begin, end);
  }
}

}  // namespace

Backend avx512_backend(const Program& program, Quantity quantity) {
  const bool wide = !is_density(quantity) && program.max_general_slots <= kWideSlots;
  return wide ? Backend{&run_avx512_wide, 16} : Backend{&run_narrow, 8};
}

}  // namespace phasic::detail
