// What is asked for at one parameter vector, in terms of rows of Krylov spaces (krylov_row.h).
#pragma once

#include <algorithm>
#include <functional>

#include "distribution/krylov_row.h"

namespace phasic::PHASIC_ISA {

inline phasic::detail::KrylovReport with_slopes(const phasic::detail::KrylovInput& in, Span<double> out);

inline phasic::detail::KrylovReport krylov_row(const phasic::detail::KrylovInput& in, Span<double> out) {
  if (in.quantity != Quantity::pdf && in.time_order > 0) {
    return with_slopes(in, out);
  }
  switch (in.n_levels) {
    case 0:
      return KrylovRow<double>().run(in, out);
    case 1:
      return KrylovRow<Dual<double>>().run(in, out);
    default:
      return KrylovRow<Dual<Dual<double>>>().run(in, out);
  }
}

// cdf and sf with their slopes, which are those of the density.
inline phasic::detail::KrylovReport with_slopes(const phasic::detail::KrylovInput& in, Span<double> out) {
  phasic::detail::KrylovInput value = in, slope = in;
  value.time_order = 0;
  slope.quantity = Quantity::pdf;
  slope.time_order = in.time_order - 1;
  const Index size = out.size() / (in.time_order + 1);
  const phasic::detail::KrylovReport of_slope = krylov_row(slope, out.subspan(size, out.size() - size));
  phasic::detail::KrylovReport report = krylov_row(value, out.subspan(0, size));
  if (in.quantity == Quantity::sf) {
    std::transform(out.begin() + size, out.end(), out.begin() + size, std::negate<>());
  }
  report.converged = report.converged && of_slope.converged;
  report.dimension = std::max(report.dimension, of_slope.dimension);
  std::transform(report.weak.begin(), report.weak.end(), of_slope.weak.begin(), report.weak.begin(),
                 std::bit_or<char>());
  return report;
}

}  // namespace phasic::PHASIC_ISA
