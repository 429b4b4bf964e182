#include "distribution/density_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace phasic::detail {
namespace {

constexpr double kMatrices = 4;               // of n x n that one plane takes
constexpr double kPlaneBytes = 64e6;          // for the planes of the gradient that are held at once
constexpr double kMaxSquaringBytes = 2e9;     // beyond it squaring is refused

// Nanoseconds on one core of an AVX-512 machine, measured on 12 models (decision 0013). A sweep takes
// 0.1 a multiply-add where its lanes are full and 0.55 for a row alone; the choice must not depend on
// which it is, so it is made for what lies between.
constexpr double kSweepOperation = 0.2;
constexpr double kDenseOperation = 0.035;  // a multiply-add of a product of matrices
constexpr double kEntry = 2;               // whatever else a squaring does with an entry
constexpr double kSeriesOfStep = 0.3, kSeriesOfTime = 0.5;  // a multiply-add of a sparse series
constexpr double kMoved = 4.5;                              // an entry of a row moved by a squaring
constexpr double kSetUp = 14000;
constexpr double kClearlyCheaper = 1.5;  // predictions are within this factor, nearly always

// What a sweep costs more than that of a value.
constexpr double kTwicePrecision = 6;  // derivatives in t are wanted
constexpr double kPreciseLevel = 4;    // .. and a level of derivatives beside
constexpr double kLevel = 3;
constexpr double kAdjoint = 3.5;

double matrix_bytes(const Program& program) {
  const double n = static_cast<double>(program.n_positions);
  return kMatrices * 8 * n * n;
}

double power_of_three(std::size_t levels) { return std::pow(3.0, static_cast<double>(levels)); }

Index gradient_directions(const Program& program, const Request& request) {
  return request.gradient < 0                                   ? 0
         : request.gradient == static_cast<int>(Part::theta) ? program.graph->param_length
                                                               : 1;
}

// The binary digits of the longest time in steps: squarings, and moves of the rows.
double squarings(bool discrete, Index n, double rate, double longest, double shortest) {
  if (!(longest > 0)) {
    return 0;
  }
  const double inverse_step =
      discrete ? 1.0 : std::max(4 * rate, 4 * static_cast<double>(std::max<Index>(n, 1)) / shortest);
  return std::max(1.0, std::log2(longest * inverse_step) + 2);
}

}  // namespace

Index directions_at_a_time(const Program& program, const Request& request) {
  const double base = static_cast<double>(Index{1} << request.levels.size());
  const double fit = kPlaneBytes / (matrix_bytes(program) * base + 1);
  return std::clamp<Index>(static_cast<Index>(std::min(fit, 1e6)) - 1, 1,
                           std::max<Index>(gradient_directions(program, request), 1));
}

DensitySizes density_sizes(const Program& program, const Request& request) {
  DensitySizes sizes;
  sizes.n_positions = program.n_positions;
  double before = 0;  // sum of the first columns of the positions below the end of the block
  for (Index b = 0; b < program.n_blocks(); ++b) {
    const double begin = program.block_begin[at(b)], end = program.block_begin[at(b + 1)];
    before += begin * (end - begin);
    sizes.cube += (end - begin) * (end * end - before);
  }
  const Index base = Index{1} << request.levels.size();
  sizes.directions = gradient_directions(program, request);
  sizes.max_planes =
      base * (1 + (sizes.directions > 0 ? directions_at_a_time(program, request) : 0));
  const Index groups =
      sizes.directions == 0
          ? 1
          : (sizes.directions - 1) / directions_at_a_time(program, request) + 1;
  sizes.plane_products = static_cast<Index>(power_of_three(request.levels.size())) *
                         (groups + 2 * sizes.directions);
  return sizes;
}

DensityPlan plan_density(const Program& program, const Request& request, const DensitySizes& sizes,
                         double rate, double longest, double shortest) {
  const bool discrete = program.graph->discrete;
  const double n = static_cast<double>(sizes.n_positions);
  const double times = static_cast<double>(request.n_times);

  DensityPlan sweep;
  sweep.method = DensityMethod::uniformization;
  sweep.steps = predicted_steps(discrete, rate, longest);
  sweep.operations = predicted_operations(program, request.quantity, rate, longest, request.n_times);

  DensityPlan squaring;
  squaring.method = DensityMethod::squaring;
  squaring.steps = squarings(discrete, sizes.n_positions, rate, longest, shortest);
  const bool occupancy = request.quantity == Quantity::accumulated_occupancy;
  const double products = static_cast<double>(sizes.plane_products);
  const double series = 13 * static_cast<double>(ssize(program.out_target) + program.n_positions);
  const double dense =
      squaring.steps * (occupancy ? 2 : 1) * (sizes.cube + (n + times / 2) * n) + series * n;
  squaring.operations = products * (dense + series * times);
  const bool fits = matrix_bytes(program) * static_cast<double>(sizes.max_planes) <= kMaxSquaringBytes;

  const bool in_time =
      request.gradient == static_cast<int>(Part::times) ||
      std::find(request.levels.begin(), request.levels.end(), Part::times) != request.levels.end();
  const double levels = static_cast<double>(request.levels.size());
  sweep.operations *= in_time ? kTwicePrecision * std::pow(kPreciseLevel, levels) : 1;
  const double derivatives =
      (in_time ? 1 : std::pow(kLevel, levels)) *
      (request.gradient == static_cast<int>(Part::theta) ? kAdjoint : 1);
  const double by_step = squaring.steps * (occupancy ? 2 : 1);
  const double squaring_time =
      products * (by_step * (kDenseOperation * sizes.cube + (kEntry * n + kMoved * times) * n) +
                  (kSeriesOfStep * n + kSeriesOfTime * times) * series) +
      kSetUp;
  const bool cheaper =
      kClearlyCheaper * squaring_time < derivatives * kSweepOperation * sweep.operations;
  const bool only_one = sweep.operations > request.max_operations &&
                        squaring.operations <= request.max_operations;
  // Logarithms of the density have a limited range by squaring, so it is the last resort for them.
  const bool logarithm = request.quantity == Quantity::logpdf;
  const bool chosen = fits && (logarithm ? only_one && !discrete : cheaper || only_one);
  const bool square =
      request.quantity != Quantity::hazard &&
      (request.density == DensityMethod::squaring ||
       (request.density == DensityMethod::automatic && chosen));
  DensityPlan plan = square ? squaring : sweep;
  plan.within_budget = plan.operations <= request.max_operations && (!square || fits);
  return plan;
}

}  // namespace phasic::detail

namespace phasic {

DensityPlan density_plan(const Program& program, const Request& request, Span<const double> theta,
                         Span<const double> times) {
  if (!is_density(request.quantity)) {
    fail("a density plan is for quantities that take times");
  }
  if (theta.size() != program.graph->param_length) {
    fail("theta has " + std::to_string(theta.size()) + " entries but the model has " +
         std::to_string(program.graph->param_length) + " parameters");
  }
  const Graph& g = *program.graph;
  double rate = 0, longest = 0, shortest = std::numeric_limits<double>::infinity();
  for (Index k = 0; k < program.n_positions; ++k) {
    double sum = 0;
    for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
      const Index edge = program.out_edge[at(e)];
      sum += g.constant[at(edge)];
      for (Index c = g.coef_begin[at(edge)]; c < g.coef_begin[at(edge + 1)]; ++c) {
        sum += g.coef_value[at(c)] * theta[g.coef_param[at(c)]];
      }
    }
    rate = std::max(rate, sum);
  }
  for (const double t : times) {
    longest = std::max(longest, t);
    shortest = t > 0 ? std::min(shortest, t) : shortest;
  }
  return detail::plan_density(program, request, detail::density_sizes(program, request), rate,
                              longest, shortest);
}

}  // namespace phasic
