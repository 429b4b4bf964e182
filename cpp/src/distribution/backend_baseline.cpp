// The kernels compiled for any x86-64 or AArch64 machine.
#define PHASIC_ISA isa_baseline
#include "distribution/runner.h"

namespace phasic::detail {

Backend baseline_backend() { return {&isa_baseline::run_rows<isa_baseline::Vec<4>>, 4}; }

}  // namespace phasic::detail
