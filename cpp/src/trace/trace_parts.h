// Steps shared by recording and decoding.
#pragma once

#include "phasic/trace.h"

namespace phasic::detail {

// A component trace from the two things that decide it; derives the fill.
[[nodiscard]] ComponentTracePtr make_component(Pattern pattern, std::string digest,
                                               std::string ordering,
                                               std::vector<std::int32_t> order,
                                               const RecordOptions& options);

// A program from a graph and one trace a component, aligned with the decomposition.
[[nodiscard]] ProgramPtr link_components(const Decomposition& decomposition,
                                         std::vector<ComponentTracePtr> components,
                                         const RecordOptions& options);

}  // namespace phasic::detail
