// From the fill of a component to the fronts and slots that a kernel executes.
#pragma once

#include "phasic/trace.h"

namespace phasic::detail {

[[nodiscard]] ComponentCodePtr make_code(const ComponentTrace& trace,
                                         const RecordOptions& options);

// Slot of the edge from step `from` to step `to` of a component; -1 if elimination never fills it.
[[nodiscard]] std::int32_t slot_between(const ComponentCode& code,
                                        Span<const std::int32_t> front_of, Index from, Index to);
// Which front each step belongs to.
[[nodiscard]] std::vector<std::int32_t> fronts_of_steps(const ComponentCode& code);

}  // namespace phasic::detail
