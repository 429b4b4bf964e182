// The weights of a program and what flows between its blocks.
#pragma once

#include "phasic/trace.h"

namespace phasic::detail {

// Sets out_coef, out_param and the combinations, then places and flows. Needs positions, blocks,
// out-edges and the start's edges.
void attach_flows(Program& program);

}  // namespace phasic::detail
