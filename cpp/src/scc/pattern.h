// Patterns turned round and renumbered.
#pragma once

#include "phasic/scc.h"

namespace phasic::detail {

// The pattern with every edge reversed.
[[nodiscard]] Pattern transposed(const Pattern& pattern);
// The pattern whose row i is row order[i] of the given one.
[[nodiscard]] Pattern permuted(const Pattern& pattern, Span<const std::int32_t> order);

}  // namespace phasic::detail
