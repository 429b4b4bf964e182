// The reference kernel: the same templates on plain double, one parameter vector at a time, compiled
// without vector instructions and without contraction. The oracle of the fast kernels.
#define PHASIC_ISA isa_reference
#include "distribution/runner.h"

namespace phasic::detail {

Backend reference_backend() { return {&isa_reference::run_rows<double>, 1}; }

}  // namespace phasic::detail
