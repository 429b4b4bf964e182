// Traps at one parameter vector, by graph search over the edges of positive weight.
#pragma once

#include <vector>

#include "phasic/trace.h"

namespace phasic::detail {

struct Traps {
  std::vector<bool> reached;   // (n_positions) the start leads here
  std::vector<bool> absorbs;   // (n_positions) leads to absorption; a trap does not
  // Parameters of edges whose weight is 0 at this theta but not at every theta, where a derivative
  // with respect to them is infinite because the edge would lead
  std::vector<std::int32_t> way_in;   // from a reached position that absorbs to one that may be trapped
  std::vector<std::int32_t> way_out;  // from a reached trap to what absorbs
};

// start: (n_start), weight: (n_out).
[[nodiscard]] Traps find_traps(const Program& program, Span<const double> start,
                               Span<const double> weight);

}  // namespace phasic::detail
