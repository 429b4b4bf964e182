// Densities of one parameter vector from rational Krylov spaces: the face of krylov_row.h.
#pragma once

#include <vector>

#include "phasic/evaluate.h"
#include "phasic/trace.h"

namespace phasic::detail {

inline constexpr Index kKrylovLevels = 2;         // derivatives in theta, at most
inline constexpr Index kKrylovDimension = 96;     // of a space, at most
inline constexpr double kKrylovWindow = 512;      // longest over shortest time of one space
inline constexpr double kKrylovError = 1e-10;     // of the largest value of the row
inline constexpr double kKrylovSlopeError = 1e-8; // of the largest derivative, see KrylovRow
// Beyond these shares of a result itself it is weak; for a derivative, of it or of value / change.
inline constexpr double kKrylovOwnError = 1e-10, kKrylovOwnSlopeError = 1e-8;

struct KrylovInput {
  const Program* program = nullptr;            // continuous
  Quantity quantity = Quantity::pdf;           // pdf, cdf or sf
  Index n_levels = 0;                          // directions in theta
  Span<const double> theta;                    // (1 + n_levels, param_length): values, tangents
  Span<const double> times;                    // (n_times) >= 0
  Index time_order = 0;                        // derivatives in t that are wanted
  bool own_digits = false;                     // spend more windows so that fewer results are weak
};

struct KrylovReport {
  bool converged = false;  // to the stated errors
  Index dimension = 0;     // the largest of the spaces
  double error = 0;        // estimated, as a share of the largest value
  std::vector<char> weak;  // (n_times) results with a larger error or share of their own, and those at 0
};

// out: (time_order + 1, 2^n_levels, n_times): the derivatives in t of the coefficients of the
// products of levels.
using KrylovFunction = KrylovReport (*)(const KrylovInput& in, Span<double> out);
[[nodiscard]] KrylovReport krylov_row_baseline(const KrylovInput& in, Span<double> out);
[[nodiscard]] KrylovReport krylov_row_avx2(const KrylovInput& in, Span<double> out);
// What this machine runs for a kernel: the same for both wide ones, so that no batch tells them apart.
[[nodiscard]] KrylovFunction krylov_function(KernelKind kind);

// Whether there is a Krylov path for a request, else why not.
[[nodiscard]] const char* krylov_obstacle(const Program& program, const Request& request);

}  // namespace phasic::detail
