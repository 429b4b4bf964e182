// The same numbers from every kernel: the bytes describe a small model, a request and parameter
// vectors; each fast kernel must give what the reference kernel gives, row by row.
//
// 1. The first bytes choose the request: quantity, order, derivative; then vertices and parameters.
// 2. The rest is the model (model.h).
// 3. Tolerances: values of moments 1e-10 of themselves, since nothing is subtracted; densities and
//    derivatives 1e-8 of the largest entry of the row (a derivative may vanish by cancellation, so of
//    the largest value over theta too, see scale_of), probabilities and logarithms of 1 at least.
// 4. Krylov spaces are compared with what the reference kernel gives without them, in the rows that reach
//    their error.
#include <algorithm>
#include <cmath>

#include "input.h"
#include "model.h"
#include "support/evaluation.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;
using fuzz::fill;

namespace {

constexpr double kSmallestTheta = 0.125;

Request read_request(fuzz::Input& input) {
  Request request;
  request.quantity = static_cast<Quantity>(input.below(12));
  request.order = request.quantity == Quantity::moments ? 1 + input.below(4) : 1;
  const bool rewarded = request.quantity <= Quantity::cross_moments;
  request.n_rewards = rewarded && input.below(2) == 1 ? 1 + input.below(3) : -1;
  if (request.quantity == Quantity::cross_moments && request.n_rewards < 0) request.n_rewards = 1;
  request.n_times = is_density(request.quantity) ? 1 + input.below(3) : 0;
  request.max_operations = 1e5;
  request.threads = 1;
  const std::int64_t derivative = input.below(4);  // value, gradient, tangent, gradient of tangent
  request.value = derivative % 2 == 0;
  request.gradient = derivative % 2 == 1 ? 0 : -1;
  if (derivative >= 2) request.levels = {Part::theta};
  request.density = static_cast<DensityMethod>(input.below(5));
  return request;
}

bool is_by_spaces(const Request& request, const Graph& graph) {
  return request.density == DensityMethod::krylov && !graph.discrete &&
         (request.quantity == Quantity::pdf || request.quantity == Quantity::cdf ||
          request.quantity == Quantity::sf);
}

// Squaring gives neither the hazard nor logarithms of probabilities that may be exact zeros.
bool is_refused(const Request& request, const Graph& graph) {
  return (request.density == DensityMethod::krylov && !is_by_spaces(request, graph)) ||
         (request.density == DensityMethod::squaring &&
          (request.quantity == Quantity::hazard ||
           (request.quantity == Quantity::logpdf && graph.discrete)));
}

bool same(double found, double expected, double tolerance) {
  if (std::isnan(expected) || std::isinf(expected)) {
    return std::isnan(expected) ? std::isnan(found) : found == expected;
  }
  return std::abs(found - expected) <= tolerance;
}

// The largest finite magnitude of each row.
std::vector<double> largest(const std::vector<double>& numbers, Index batch) {
  std::vector<double> result(at(batch), 0.0);
  const std::size_t size = numbers.size() / at(batch);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (std::isfinite(numbers[i])) {
      result[i / size] = std::max(result[i / size], std::abs(numbers[i]));
    }
  }
  return result;
}

// scale: by row, or empty for each number's own magnitude. skipped: rows.
void compare(const std::vector<double>& found, const std::vector<double>& expected,
             const std::vector<double>& scale, const std::vector<bool>& skipped) {
  fuzz::expect(found.size() == expected.size(), "kernels write equally many numbers");
  const std::size_t size = found.size() / skipped.size();
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (skipped[i / size]) continue;
    const double tolerance =
        scale.empty() ? 1e-10 * std::abs(expected[i]) : 1e-8 * scale[i / size];
    if (same(found[i], expected[i], tolerance)) continue;
    std::fprintf(stderr, "row %zu, entry %zu: found %.17g, reference %.17g, tolerance %.17g\n",
                 i / size, i % size, found[i], expected[i], tolerance);
    fuzz::expect(false, "a fast kernel gives the reference kernel's numbers");
  }
}

// Probabilities, and logarithms, whose errors are those of probabilities.
bool is_at_least_one(Quantity quantity) {
  return quantity >= Quantity::cdf && quantity <= Quantity::logsf;
}

// The largest value of each row of a quantity, underived.
std::vector<double> values_of(const Program& program, Request request, Quantity quantity, Index batch,
                              Inputs inputs) {
  request.quantity = quantity;
  request.value = true;
  request.gradient = -1;
  request.levels.clear();
  inputs.tangents.clear();
  inputs.cotangent.clear();
  return largest(evaluation::run(program, request, batch, inputs).value, batch);
}

// The scale of the numbers that a request asks for, by row. What has p / q or log p in it is derived to
// powers of p' / p, which cancel; their size is that of the logarithm.
std::vector<double> scale_of(const Program& program, const Request& request, Index batch,
                             const Inputs& inputs, const Outcome& outcome) {
  const Quantity quantity = request.quantity;
  const auto n_derivatives = static_cast<int>(request.levels.size()) + (request.gradient >= 0 ? 1 : 0);
  std::vector<double> scale = values_of(program, request, quantity, batch, inputs);
  const std::vector<double> derived =
      largest(request.value ? outcome.value : outcome.gradient, batch);
  std::vector<double> steepness(scale.size(), 1.0);
  const int power = quantity == Quantity::hazard ? n_derivatives : n_derivatives - 1;
  if (quantity == Quantity::hazard) {
    steepness = values_of(program, request, Quantity::logsf, batch, inputs);
  } else if (quantity == Quantity::logpdf || quantity == Quantity::logsf) {
    steepness = scale;
  }
  for (std::size_t row = 0; row < scale.size(); ++row) {
    if (is_at_least_one(quantity)) scale[row] = std::max(scale[row], 1.0);
    if (n_derivatives > 0) {
      scale[row] *= std::pow(std::max(steepness[row], 1.0), power) / kSmallestTheta;
      scale[row] = std::max(scale[row], derived[row]);
    }
  }
  return scale;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Request request = read_request(input);
  const Index batch = 1 + input.below(9);
  const std::uint8_t theta_code = input.byte(), time_code = input.byte();
  const GraphPtr graph = fuzz::read_graph(input);
  if (graph == nullptr) return 0;
  if (is_refused(request, *graph)) request.density = DensityMethod::automatic;
  if (request.quantity == Quantity::hazard && graph->discrete) return 0;  // it is of continuous time
  const ProgramPtr program = evaluation::program_of(graph);

  Inputs inputs;
  const Index n_theta = part_size(*program, request, Part::theta);
  fill(inputs.theta, batch * n_theta, kSmallestTheta, (1 + theta_code % 4) / 32.0);
  if (request.n_rewards >= 0) {
    fill(inputs.rewards, part_size(*program, request, Part::rewards), 0.5, 0.25);
  }
  if (request.n_times > 0) {
    const double scale = graph->discrete ? 1.0 : fuzz::weight_of(time_code);
    fill(inputs.times, request.n_times, scale * (1 + time_code % 3), scale);
  }
  for (std::size_t i = 0; i < request.levels.size(); ++i) {
    inputs.tangents.emplace_back();
    fill(inputs.tangents.back(), batch * n_theta, 1.0, -0.25);
  }
  if (!request.value) fill(inputs.cotangent, output_size(*program, request), 1.0, 0.5);

  const bool by_spaces = is_by_spaces(request, *graph);
  request.kernel = KernelKind::reference;
  if (by_spaces) request.density = DensityMethod::exact;
  const Outcome expected = evaluation::run(*program, request, batch, inputs);
  std::vector<double> scale;
  if (!request.value || !request.levels.empty() || is_density(request.quantity)) {
    scale = scale_of(*program, request, batch, inputs, expected);
  }
  if (by_spaces) request.density = DensityMethod::krylov;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    const Outcome found = evaluation::run(*program, request, batch, inputs);
    std::vector<bool> skipped(at(batch));
    for (std::size_t row = 0; row < skipped.size(); ++row) {
      const bool alike = found.status[row] == expected.status[row];
      fuzz::expect(by_spaces || alike, "kernels report the same status of each row");
      skipped[row] = !alike;
    }
    compare(found.value, expected.value, scale, skipped);
    compare(found.gradient, expected.gradient, scale, skipped);
  }
  return 0;
}
