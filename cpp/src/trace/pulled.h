// Elimination entry by entry: the code of a component, and what a program loads for it.
#pragma once

#include "phasic/trace.h"

namespace phasic::detail {

// Gives the component its pulled code if it is small and its fronts but the last are single steps. The
// update lists and empty slots must be there.
void attach_pulled(ComponentCode& code);

// Fills in program.loads; the flows must be there.
void attach_loads(Program& program);

}  // namespace phasic::detail
