#include "distribution/density_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "kernel/float_state.h"

namespace phasic::detail {
namespace {

constexpr double kMatrices = 4;               // of n x n that one plane takes
constexpr double kPlaneBytes = 64e6;          // for the planes of the gradient that are held at once
constexpr double kMaxBytes = 2e9;             // beyond it squaring and Krylov spaces are refused

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

// Krylov spaces take 16 to 96 dimensions, which is known afterwards. They are for what takes long.
constexpr double kDimension = 48;
constexpr double kKrylovOperation = 0.4;
constexpr double kFarDearer = 8, kLong = 1e7;  // the other method, and nanoseconds

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
  const double size = static_cast<double>(std::max<Index>(n, 1));
  if (!discrete && !std::isfinite(std::ldexp(4 * size * rate * longest, 62))) {
    return std::numeric_limits<double>::infinity();  // in steps that derivatives at time 0 take
  }
  const double inverse_step = discrete ? 1.0 : std::max(4 * rate, 4 * size / shortest);
  return std::max(1.0, std::log2(longest * inverse_step) + 2);
}

bool by_theta(const Request& request) { return request.gradient == static_cast<int>(Part::theta); }

// Sizes of the spaces of one row: one for the value, one for each entry of a gradient in theta.
void add_krylov_sizes(const Program& program, const Request& request, DensitySizes& sizes) {
  const double levels = static_cast<double>(request.levels.size()) + (by_theta(request) ? 1 : 0);
  const double products = std::pow(3.0, levels), parts = std::exp2(levels), m = kDimension;
  const double spaces = by_theta(request) ? 1 + static_cast<double>(program.graph->param_length) : 1.0;
  const double n = static_cast<double>(program.n_positions);
  const double solve = static_cast<double>(program.slot_base.back() + ssize(program.out_target)) + n;
  const double space = products * (static_cast<double>(program.n_operations) + m * solve) +
                       2 * parts * m * m * n;
  sizes.krylov = krylov_obstacle(program, request) == nullptr &&
                 8 * parts * n * static_cast<double>(kKrylovDimension + 1) <= kMaxBytes;
  sizes.krylov_window = spaces * (space + m * m * m * m);  // exponentials of 16, 24 .. dimensions
  sizes.krylov_time = spaces * 60 * m * m;
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
  add_krylov_sizes(program, request, sizes);
  return sizes;
}

namespace {

struct Candidate {
  DensityPlan plan;
  double nanoseconds = 0;
  bool possible = true;
};

Candidate plan_sweep(const Program& program, const Request& request, const RowSizes& row) {
  const bool in_time =
      request.gradient == static_cast<int>(Part::times) ||
      std::find(request.levels.begin(), request.levels.end(), Part::times) != request.levels.end();
  const double levels = static_cast<double>(request.levels.size());
  Candidate sweep;
  sweep.plan.method = DensityMethod::uniformization;
  sweep.plan.steps = predicted_steps(program.graph->discrete, row.rate, row.longest);
  sweep.plan.operations =
      predicted_operations(program, request.quantity, row.rate, row.longest, request.n_times) *
      (in_time ? kTwicePrecision * std::pow(kPreciseLevel, levels) : 1);
  const double derivatives =
      (in_time ? 1 : std::pow(kLevel, levels)) * (by_theta(request) ? kAdjoint : 1);
  sweep.nanoseconds = derivatives * kSweepOperation * sweep.plan.operations;
  return sweep;
}

Candidate plan_squaring(const Program& program, const Request& request, const DensitySizes& sizes,
                        const RowSizes& row) {
  const double n = static_cast<double>(sizes.n_positions);
  const double times = static_cast<double>(request.n_times);
  Candidate squaring;
  squaring.plan.method = DensityMethod::squaring;
  squaring.plan.steps =
      squarings(program.graph->discrete, sizes.n_positions, row.rate, row.longest, row.shortest);
  const double by_step =
      squaring.plan.steps * (request.quantity == Quantity::accumulated_occupancy ? 2 : 1);
  const double products = static_cast<double>(sizes.plane_products);
  const double series = 13 * static_cast<double>(ssize(program.out_target) + program.n_positions);
  const double dense = by_step * (sizes.cube + (n + times / 2) * n) + series * n;
  squaring.plan.operations = products * (dense + series * times);
  squaring.nanoseconds =
      products * (by_step * (kDenseOperation * sizes.cube + (kEntry * n + kMoved * times) * n) +
                  (kSeriesOfStep * n + kSeriesOfTime * times) * series) +
      kSetUp;
  squaring.possible = request.quantity != Quantity::hazard &&
                      matrix_bytes(program) * static_cast<double>(sizes.max_planes) <= kMaxBytes;
  return squaring;
}

Candidate plan_krylov(const Request& request, const DensitySizes& sizes, const RowSizes& row) {
  const double times = static_cast<double>(request.n_times);
  const double ratio = row.longest > row.shortest ? row.longest / row.shortest : 1.0;
  Candidate krylov;
  krylov.plan.method = DensityMethod::krylov;
  krylov.plan.steps = std::min(times, 1 + std::floor(std::log(ratio) / std::log(kKrylovWindow)));
  krylov.plan.operations = krylov.plan.steps * sizes.krylov_window + times * sizes.krylov_time;
  krylov.nanoseconds = kKrylovOperation * krylov.plan.operations;
  krylov.possible = sizes.krylov && row.krylov;
  return krylov;
}

// Squaring is taken if it is clearly cheaper than the sweep or alone within the budget, Krylov spaces
// if the better of the two is far dearer and takes long, or neither is within the budget. Logarithms
// of the density have a limited range by squaring, so it is the last resort for them.
const Candidate& automatic(const Program& program, const Request& request, const Candidate& sweep,
                           const Candidate& squaring, const Candidate& krylov) {
  const auto affordable = [&](const Candidate& x) {
    return x.possible && x.plan.operations <= request.max_operations;
  };
  const bool only_one = !affordable(sweep) && squaring.plan.operations <= request.max_operations;
  const bool cheaper = kClearlyCheaper * squaring.nanoseconds < sweep.nanoseconds;
  const bool logarithm = request.quantity == Quantity::logpdf;
  const bool square = squaring.possible &&
                      (logarithm ? only_one && !program.graph->discrete : cheaper || only_one);
  const Candidate& exact = square ? squaring : sweep;
  const bool dear = exact.nanoseconds > kLong && exact.nanoseconds > kFarDearer * krylov.nanoseconds;
  const bool span = request.density == DensityMethod::automatic && affordable(krylov) &&
                    (dear || !affordable(exact));
  return span ? krylov : exact;
}

}  // namespace

DensityPlan plan_density(const Program& program, const Request& request, const DensitySizes& sizes,
                         const RowSizes& row) {
  const Candidate sweep = plan_sweep(program, request, row);
  const Candidate squaring = plan_squaring(program, request, sizes, row);
  const Candidate krylov = plan_krylov(request, sizes, row);
  const Candidate* chosen = &sweep;
  if (request.density == DensityMethod::automatic || request.density == DensityMethod::exact) {
    chosen = &automatic(program, request, sweep, squaring, krylov);
  } else if (request.density == DensityMethod::krylov) {
    chosen = &krylov;
  } else if (request.density == DensityMethod::squaring && request.quantity != Quantity::hazard) {
    chosen = &squaring;
  }
  DensityPlan plan = chosen->plan;
  plan.within_budget = chosen->possible && plan.operations <= request.max_operations;
  return plan;
}

KrylovRest plan_rest(const Program& program, const Request& request, const DensitySizes& sizes,
                     const RowSizes& row, const KrylovReport& report, Span<const double> times) {
  KrylovRest rest;
  rest.plan = plan_density(program, request, sizes, row);
  rest.plan.dimension = report.dimension;
  rest.plan.error = report.error;
  rest.spanned.assign(at(times.size()), 1);
  if (request.density == DensityMethod::krylov) {
    rest.failed = !report.converged;
    return rest;
  }
  RowSizes whole = row, left(row.rate);
  whole.krylov = left.krylov = false;
  for (Index i = 0; i < times.size(); ++i) {
    if (report.weak[at(i)] != 0) {
      rest.spanned[at(i)] = 0;
      ++rest.plan.exact_times;
      left.add_time(times[i]);
    }
  }
  if (rest.plan.exact_times == 0) {
    return rest;
  }
  const DensityPlan others = plan_density(program, request, sizes, left);
  if (rest.plan.exact_times < times.size() && others.method == DensityMethod::uniformization) {
    rest.plan.operations += others.operations;
    rest.plan.within_budget = rest.plan.operations <= request.max_operations;
  } else {
    rest.spanned.clear();
    rest.plan = plan_density(program, request, sizes, whole);
  }
  return rest;
}

}  // namespace phasic::detail

namespace phasic {
namespace {

// Runs the spaces of a row for what they report.
detail::KrylovReport report_of_spaces(const Program& program, const Request& request,
                                      Span<const double> theta, Span<const double> times) {
  const FloatState state;
  std::vector<double> seeded(theta.begin(), theta.end()), out;
  detail::KrylovInput in;
  in.program = &program;
  in.quantity = request.quantity;
  in.times = times;
  in.own_digits = request.density != DensityMethod::krylov;
  detail::KrylovReport all;
  for (Index m = -1; m < (detail::by_theta(request) ? theta.size() : 0); ++m) {
    in.n_levels = m < 0 ? 0 : 1;
    seeded.resize(at((1 + in.n_levels) * theta.size()));
    std::fill(seeded.begin() + theta.size(), seeded.end(), 0.0);
    if (m >= 0) {
      seeded[at(theta.size() + m)] = 1.0;
    }
    in.theta = seeded;
    out.resize(at(times.size() << in.n_levels));
    const detail::KrylovReport report = detail::krylov_function(request.kernel)(in, out);
    if (m < 0) {
      all = report;
      continue;
    }
    all.converged = all.converged && report.converged;
    all.dimension = std::max(all.dimension, report.dimension);
    std::transform(all.weak.begin(), all.weak.end(), report.weak.begin(), all.weak.begin(),
                   std::bit_or<char>());
  }
  return all;
}

}  // namespace

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
  detail::RowSizes row(0);
  for (Index k = 0; k < program.n_positions; ++k) {
    double sum = 0;
    for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
      const Index edge = program.out_edge[at(e)];
      sum += g.constant[at(edge)];
      for (Index c = g.coef_begin[at(edge)]; c < g.coef_begin[at(edge + 1)]; ++c) {
        sum += g.coef_value[at(c)] * theta[g.coef_param[at(c)]];
      }
    }
    row.rate = std::max(row.rate, sum);
  }
  for (const double t : times) {
    row.add_time(t);
  }
  const detail::DensitySizes sizes = detail::density_sizes(program, request);
  const DensityPlan plan = detail::plan_density(program, request, sizes, row);
  if (plan.method != DensityMethod::krylov || !plan.within_budget) {
    return plan;
  }
  const detail::KrylovReport report = report_of_spaces(program, request, theta, times);
  return detail::plan_rest(program, request, sizes, row, report, times).plan;
}

}  // namespace phasic
