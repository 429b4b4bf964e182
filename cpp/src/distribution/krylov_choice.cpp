// Which requests have a Krylov path, and which of its compiled forms this machine runs.
#include <algorithm>

#include "distribution/job.h"
#include "distribution/krylov.h"

namespace phasic::detail {

KrylovFunction krylov_function(KernelKind kind) {
#if defined(__x86_64__)
  if (kind != KernelKind::reference && kind != KernelKind::baseline && machine_has(KernelKind::avx2)) {
    return &krylov_row_avx2;
  }
#else
  (void)kind;
#endif
  return &krylov_row_baseline;
}

const char* krylov_obstacle(const Program& program, const Request& request) {
  const auto in_theta = [](int part) { return part == static_cast<int>(Part::theta); };
  const auto order = std::count_if(request.levels.begin(), request.levels.end(),
                                   [&](Part part) { return in_theta(static_cast<int>(part)); }) +
                     (in_theta(request.gradient) ? 1 : 0);
  if (program.graph->discrete) {
    return "is for continuous models";
  }
  if (request.quantity != Quantity::pdf && request.quantity != Quantity::cdf &&
      request.quantity != Quantity::sf) {
    return "gives pdf, cdf and sf: its error is a share of the largest value, which is not enough for "
           "logarithms and quotients";
  }
  return order <= kKrylovLevels ? nullptr : "gives derivatives in theta up to order 2";
}

}  // namespace phasic::detail
