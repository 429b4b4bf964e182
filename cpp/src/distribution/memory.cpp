#include "distribution/memory.h"

#include <algorithm>

namespace phasic::detail {
namespace {

constexpr double kNearBytes = 4 << 20;

}  // namespace

Keep kept(const Program& program, const Request& request, std::size_t element_bytes) noexcept {
  const double bytes = static_cast<double>(program.slot_base.back()) *
                       static_cast<double>(element_bytes);
  return uses_solves(request)                                  ? Keep::all
         : request.gradient >= 0 && bytes <= kNearBytes ? Keep::factors
                                                               : Keep::one_block;
}

double elimination_bytes(const Program& program, const Request& request,
                         std::size_t element_bytes) noexcept {
  const Keep keep = kept(program, request, element_bytes);
  const bool adjoint = request.gradient >= 0;
  const Index n = program.n_positions, n_rewards = std::max<Index>(request.n_rewards, 1);
  const Index all_slots = program.slot_base.back(), one_block = program.max_block_slots;
  Index elements = keep == Keep::one_block ? one_block : all_slots;  // slots
  elements += 3 * program.n_places;                                  // reciprocal pivots, y and z
  elements += request.n_rewards >= 0 || uses_solves(request) ? n_rewards * n : 0;
  if (uses_solves(request)) {
    elements += 3 * request.order * n;
  }
  if (adjoint) {
    elements += keep == Keep::all ? all_slots : one_block;
    elements += 2 * program.n_places;
    elements += request.n_rewards >= 0 || uses_solves(request) ? n_rewards * n : 0;
    if (uses_solves(request)) {
      elements += 3 * request.order * n + ssize(program.outflow.term);
    }
  }
  return static_cast<double>(elements) * static_cast<double>(element_bytes);
}

}  // namespace phasic::detail
