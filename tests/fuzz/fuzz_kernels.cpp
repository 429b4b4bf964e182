// The same numbers from every kernel: the bytes describe a small model, a request and parameter
// vectors; each fast kernel must give what the reference kernel gives, row by row.
//
// 1. The first bytes choose the request: quantity, order, derivative; then vertices and parameters.
// 2. Three bytes make an edge (from, to, weight over 12 decades); a repeated pair ends the model.
// 3. Tolerances: values of moments 1e-10 of themselves, since nothing is subtracted; densities and
//    derivatives 1e-8 of the largest entry of the row (a derivative may vanish by cancellation, so of
//    the largest value over theta too), probabilities and logarithms of 1 at least.
#include <algorithm>
#include <cmath>
#include <set>

#include "input.h"
#include "support/evaluation.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;

namespace {

constexpr double kSmallestTheta = 0.125;

double weight_of(std::uint8_t code) { return std::pow(10.0, (code % 97 - 48) / 8.0); }

// Null if the bytes describe no valid model.
GraphPtr read_graph(fuzz::Input& input) {
  GraphArrays arrays;
  arrays.discrete = input.below(2) == 1;
  arrays.n_vertices = 3 + input.below(10);
  arrays.state_length = 1;
  arrays.start_vertex = 0;
  arrays.param_length = input.below(4);
  for (Index v = 0; v < arrays.n_vertices; ++v) {
    arrays.states.push_back(static_cast<std::int32_t>(v));
  }
  arrays.start_edges = {1.0, 0.75, 2.0, 0.25};
  std::set<std::pair<Index, Index>> known;
  const Index n = arrays.n_vertices;
  while (!input.is_empty() && known.size() < 60) {
    const Index from = 1 + input.below(n - 1), to = 1 + input.below(n - 1);
    const std::uint8_t code = input.byte();
    if (!known.emplace(from, to).second) break;
    // Rows of a discrete model must not exceed 1, whatever theta <= 1 is.
    const double weight =
        arrays.discrete ? (1 + code % 16) / (16.0 * static_cast<double>(n)) : weight_of(code);
    const bool linear = arrays.param_length > 0 && code % 2 == 1;
    std::vector<double>& rows = linear ? arrays.param_edges : arrays.edges;
    rows.insert(rows.end(), {static_cast<double>(from), static_cast<double>(to)});
    if (linear) {
      for (Index k = 0; k < arrays.param_length; ++k) {
        rows.push_back(k == code / 2 % arrays.param_length ? weight : 0.0);
      }
    } else {
      rows.push_back(weight);
    }
  }
  try {
    return graph_from_arrays(arrays);
  } catch (const Error& error) {
    fuzz::expect(error.code() == ErrorCode::invalid_argument, "a model is refused as an argument");
    return nullptr;
  }
}

Request read_request(fuzz::Input& input) {
  Request request;
  request.quantity = static_cast<Quantity>(input.below(11));
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
  return request;
}

void fill(std::vector<double>& values, Index count, double first, double step) {
  for (Index i = 0; i < count; ++i) values.push_back(first + step * static_cast<double>(i % 7));
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

// scale: by row, or empty for each number's own magnitude.
void compare(const std::vector<double>& found, const std::vector<double>& expected,
             const std::vector<double>& scale, Index batch) {
  fuzz::expect(found.size() == expected.size(), "kernels write equally many numbers");
  const std::size_t size = found.size() / at(batch);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double tolerance =
        scale.empty() ? 1e-10 * std::abs(expected[i]) : 1e-8 * scale[i / size];
    if (same(found[i], expected[i], tolerance)) continue;
    std::fprintf(stderr, "row %zu, entry %zu: found %.17g, reference %.17g, tolerance %.17g\n",
                 i / size, i % size, found[i], expected[i], tolerance);
    fuzz::expect(false, "a fast kernel gives the reference kernel's numbers");
  }
}

// The scale of the numbers that a request asks for, by row.
std::vector<double> scale_of(const Program& program, const Request& request, Index batch,
                             const Inputs& inputs, const Outcome& outcome) {
  Request values = request;
  values.value = true;
  values.gradient = -1;
  values.levels.clear();
  Inputs operands = inputs;
  operands.tangents.clear();
  operands.cotangent.clear();
  std::vector<double> scale = largest(evaluation::run(program, values, batch, operands).value, batch);
  const std::vector<double> derived =
      largest(request.value ? outcome.value : outcome.gradient, batch);
  const bool is_derivative = !request.value || !request.levels.empty();
  for (std::size_t row = 0; row < scale.size(); ++row) {
    if (request.quantity >= Quantity::cdf) scale[row] = std::max(scale[row], 1.0);
    if (is_derivative) scale[row] = std::max(scale[row] / kSmallestTheta, derived[row]);
  }
  return scale;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Request request = read_request(input);
  const Index batch = 1 + input.below(9);
  const std::uint8_t theta_code = input.byte(), time_code = input.byte();
  const GraphPtr graph = read_graph(input);
  if (graph == nullptr) return 0;
  const ProgramPtr program = evaluation::program_of(graph);

  Inputs inputs;
  const Index n_theta = part_size(*program, request, Part::theta);
  fill(inputs.theta, batch * n_theta, kSmallestTheta, (1 + theta_code % 4) / 32.0);
  if (request.n_rewards >= 0) {
    fill(inputs.rewards, part_size(*program, request, Part::rewards), 0.5, 0.25);
  }
  if (request.n_times > 0) {
    const double scale = graph->discrete ? 1.0 : weight_of(time_code);
    fill(inputs.times, request.n_times, scale * (1 + time_code % 3), scale);
  }
  for (std::size_t i = 0; i < request.levels.size(); ++i) {
    inputs.tangents.emplace_back();
    fill(inputs.tangents.back(), batch * n_theta, 1.0, -0.25);
  }
  if (!request.value) fill(inputs.cotangent, output_size(*program, request), 1.0, 0.5);

  request.kernel = KernelKind::reference;
  const Outcome expected = evaluation::run(*program, request, batch, inputs);
  std::vector<double> scale;
  if (!request.value || !request.levels.empty() || is_density(request.quantity)) {
    scale = scale_of(*program, request, batch, inputs, expected);
  }
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    const Outcome found = evaluation::run(*program, request, batch, inputs);
    fuzz::expect(found.status == expected.status, "kernels report the same status of each row");
    compare(found.value, expected.value, scale, batch);
    compare(found.gradient, expected.gradient, scale, batch);
  }
  return 0;
}
