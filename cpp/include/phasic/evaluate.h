// Batched evaluation of a linked program: the one entry point of the numeric side.
//
// A request is D^k f(x)[t1, .., tk] (a value) or the gradient of <ct, D^k f(x)[t1, .., tk]> with
// respect to one part of x, where x = (theta, rewards, times) and f is one Quantity. This family is
// closed under differentiation, transposition and batching, which is all that JAX needs.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "phasic/base.h"
#include "phasic/trace.h"

namespace phasic {

enum class Quantity : int {
  moments = 0,         // (n_rewards, order) raw moments 1..order
  cross_moments = 1,   // (n_rewards, n_rewards) E[Yi Yj]
  sojourn = 2,         // (n_vertices) expected time (visits if discrete) in each vertex
  absorption = 3,      // (n_vertices) probability of ending in each absorbing vertex
  pdf = 4,             // (n_times); pmf if discrete
  cdf = 5,             // (n_times)
  sf = 6,              // (n_times)
  state_probability = 7,      // (n_times, n_vertices)
  accumulated_occupancy = 8,  // (n_times, n_vertices)
  logpdf = 9,                 // (n_times)
  logsf = 10,                 // (n_times)
  hazard = 11,                // (n_times) pdf / sf, also where both underflow; continuous time only
};

// Quantities that take times.
[[nodiscard]] constexpr bool is_density(Quantity quantity) noexcept {
  return quantity >= Quantity::pdf;
}

enum class Part : int { theta = 0, rewards = 1, times = 2 };
inline constexpr int kMaxLevels = 2;  // derivative orders: value + 2, gradient + 2

enum class KernelKind : int { automatic = 0, reference = 1, baseline = 2, avx2 = 3, avx512 = 4 };

// How densities are evaluated. Automatic takes what is predicted to be cheaper, row by row; exact is the
// same without Krylov spaces. Those give pdf, cdf and sf to an error of 1e-10 of the largest value of
// the row (derivatives: 1e-8); automatic takes results of them that are known to 1e-8 of themselves.
enum class DensityMethod : int { automatic = 0, uniformization = 1, squaring = 2, krylov = 3, exact = 4 };

struct Request {
  Quantity quantity = Quantity::moments;
  Index order = 1;       // moments only
  Index n_rewards = -1;  // -1: no rewards operand, one reward of all ones
  Index n_times = 0;
  std::vector<Part> levels;  // the part that each tangent t1..tk belongs to
  bool value = true;         // write D^k f[t1..tk]
  int gradient = -1;         // Part to write the gradient for, or -1. Value and gradient together
                             // need levels.empty() and output_size == 1 (ct is then 1)
  double truncation = 1e-14; // relative truncation of Poisson sums
  DensityMethod density = DensityMethod::automatic;
  double max_operations = 2e10;  // predicted density work of one parameter vector; else Error{budget}
  int threads = 0;           // 0: as many as the machine has; the caller always works too
  KernelKind kernel = KernelKind::automatic;
};

// One operand: item b starts at data + offset(b), offset(b) = sum_d index_d(b) * strides[d].
struct Operand {
  const void* data = nullptr;
  bool is_float32 = false;
  Index size = 0;               // elements of an item
  std::vector<Index> strides;   // per batch dimension, in elements; 0 where broadcast
};

struct Result {
  void* data = nullptr;  // (batch..., size), contiguous
  bool is_float32 = false;
};

// What a row of the batch met; rows that are not ok hold NaN.
enum class RowStatus : std::uint8_t {
  ok = 0,
  not_finite,        // theta, a reward or a time is not finite
  negative_weight,
  start_exceeds_one,
  row_exceeds_one,   // discrete row sums to more than 1
  trapped,           // expectation is +inf: a reachable vertex cannot reach absorption
  bad_time,          // negative (or, discrete, not an integer)
  out_of_range,      // a pivot under- or overflowed
  over_budget,       // predicted work beyond Request::max_operations
  not_converged,     // Krylov spaces, asked for, do not reach their error
};

[[nodiscard]] Index n_parameters(const Program& program) noexcept;
// Elements of one item of the value, and of each part.
[[nodiscard]] Index output_size(const Program& program, const Request& request) noexcept;
[[nodiscard]] Index part_size(const Program& program, const Request& request, Part part) noexcept;

// Throws Error{invalid_argument} if the request itself is inconsistent; data-dependent failures are
// row statuses, never exceptions. status may be empty, else it has one entry a row.
//   operands: theta, [rewards], [times], one tangent a level, [ct if gradient without value]
//   results:  [value], [gradient]
void evaluate(const Program& program, const Request& request, Span<const Index> batch_shape,
              Span<const Operand> operands, Span<const Result> results,
              Span<RowStatus> status = {});

// Error{budget} if one thread is predicted to need more than max_bytes beside operands and results. Only
// quantities that come from elimination are predicted; densities bound their own work.
void require_memory(const Program& program, const Request& request, double max_bytes);

// What one parameter vector and its times would be evaluated by, and the predicted cost.
struct DensityPlan {
  DensityMethod method = DensityMethod::uniformization;
  double steps = 0;       // matrix-vector steps of the sweep, or squarings, or Krylov spaces
  double operations = 0;  // multiply-adds
  bool within_budget = true;
  Index dimension = 0;    // of the largest Krylov space
  double error = 0;       // of values by Krylov spaces, estimated, as a share of the largest
  Index exact_times = 0;  // results of a row by Krylov spaces that the sweep gives
};
// theta: (param_length), times: (n_times); the request is for a density quantity.
[[nodiscard]] DensityPlan density_plan(const Program& program, const Request& request,
                                       Span<const double> theta, Span<const double> times);

// The full sentence for a row that failed: what was expected, found, where (states), what to do.
[[nodiscard]] std::string explain(const Program& program, const Request& request, RowStatus status,
                                  Span<const double> theta, Span<const double> rewards,
                                  Span<const double> times);

[[nodiscard]] std::vector<std::string> available_kernels();

}  // namespace phasic
