// Quantiles and random draws of a small model (model.h).
//
// 1. Quantiles: every kernel finds a time at which the reference kernel's cdf is what it is at the
//    reference kernel's own time, within 1e-9; times never decrease with the level.
// 2. Draws: the same bits on several threads, and row by row; times are not negative, paths go
//    upwards in time, and a draw ends where the request says that it must.
#include <algorithm>
#include <cmath>
#include <limits>

#include "input.h"
#include "model.h"
#include "phasic/quantile.h"
#include "phasic/sample.h"
#include "support/evaluation.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;

namespace {

constexpr double kMaxOperations = 1e5;

// --- quantiles

struct Quantiles {
  std::vector<double> times;
  std::vector<QuantileStatus> status;
};

Quantiles find(const Program& program, KernelKind kernel, const std::vector<double>& theta,
               const std::vector<double>& levels, Index batch) {
  QuantileRequest request;
  request.n_levels = static_cast<Index>(levels.size());
  request.max_operations = kMaxOperations;
  request.threads = 1;
  request.kernel = kernel;
  Quantiles found;
  found.times.resize(levels.size() * at(batch));
  found.status.resize(at(batch));
  const Index n = n_parameters(program);
  quantile(program, request, {&batch, 1}, {theta.data(), false, n, {n}},
           {levels.data(), false, request.n_levels, {0}}, {found.times.data(), false},
           found.status.data());
  return found;
}

// The reference kernel's cdf at one time of one row; 1 or what the law reaches at infinity.
double reached(const Program& program, const std::vector<double>& theta, double time) {
  Inputs inputs;
  inputs.theta = theta;
  Request request;
  request.kernel = KernelKind::reference;
  request.threads = 1;
  request.quantity = std::isinf(time) ? Quantity::absorption : Quantity::cdf;
  if (!std::isinf(time)) {
    inputs.times = {time};
    request.n_times = 1;
  }
  const Outcome outcome = evaluation::run(program, request, 1, inputs);
  double sum = 0;
  for (const double each : outcome.value) sum += each;
  return sum;
}

void check_quantiles(const Program& program, const std::vector<double>& theta, Index batch,
                     const std::vector<double>& levels) {
  const Quantiles expected = find(program, KernelKind::reference, theta, levels, batch);
  const auto n = static_cast<Index>(levels.size());
  const Index n_theta = n_parameters(program);
  for (const KernelKind kernel : evaluation::kernels()) {
    const Quantiles found = find(program, kernel, theta, levels, batch);
    fuzz::expect(found.status == expected.status, "kernels report the same status of each row");
    for (Index i = 0; i < batch * n; ++i) {
      const double a = found.times[at(i)], b = expected.times[at(i)];
      if (expected.status[at(i / n)] != QuantileStatus::ok) {
        fuzz::expect(std::isnan(a) && std::isnan(b), "a row that failed holds NaN");
        continue;
      }
      fuzz::expect(a >= 0, "a quantile is not negative");
      fuzz::expect(i % n == 0 || a >= found.times[at(i - 1)], "quantiles increase with the level");
      if (a == b) continue;
      const std::vector<double> row(theta.begin() + i / n * n_theta,
                                    theta.begin() + (i / n + 1) * n_theta);
      const double gap = reached(program, row, a) - reached(program, row, b);
      if (std::abs(gap) > 1e-9) {
        std::fprintf(stderr, "level %.17g: found %.17g, reference %.17g, cdf differs by %g\n",
                     levels[at(i % n)], a, b, gap);
        fuzz::expect(false, "kernels find the same quantile");
      }
    }
  }
}

// --- draws

struct Draws {
  std::vector<double> value;
  std::vector<std::int32_t> vertex, length;
  std::vector<DrawStatus> status;
};

struct DrawInputs {
  std::vector<std::uint32_t> seed;
  std::vector<double> theta, rewards, horizon;
};

Draws draw(const Program& program, SampleRequest request, int threads, const DrawInputs& inputs,
           Index first_row, Index n_rows) {
  request.threads = threads;
  const Index width = request.max_length > 0 ? request.max_length : 1;
  const Index n_values = request.max_length > 0 ? width : std::max<Index>(request.n_rewards, 1);
  const Index n_theta = n_parameters(program);
  Draws out;
  out.value.assign(at(n_rows * request.n_draws * n_values), -1);
  out.vertex.assign(at(n_rows * request.n_draws * width), -2);
  out.length.assign(at(request.max_length > 0 ? n_rows * request.n_draws : 0), -2);
  out.status.resize(at(n_rows));
  SampleOperands operands;
  operands.seed = {inputs.seed.data() + first_row * kSeedWords, kSeedWords, {kSeedWords}};
  operands.theta = {inputs.theta.data() + first_row * n_theta, false, n_theta, {n_theta}};
  operands.rewards = {inputs.rewards.data(), false, static_cast<Index>(inputs.rewards.size()), {0}};
  operands.horizon = {inputs.horizon.data(), false, 1, {0}};
  SampleResults results;
  results.value = {out.value.data(), false};
  results.vertex = out.vertex.data();
  results.length = request.max_length > 0 ? out.length.data() : nullptr;
  results.status = out.status.data();
  sample(program, request, {&n_rows, 1}, operands, results);
  return out;
}

// The part of `all` that belongs to one row is `one`, to the bit.
template <class T>
void expect_row(const std::vector<T>& all, const std::vector<T>& one, Index row) {
  const bool same = std::equal(one.begin(), one.end(), all.begin() + row * ssize(one),
                               [](T a, T b) { return a == b || (a != a && b != b); });
  fuzz::expect(same, "a row does not depend on the others, nor on the threads");
}

void check_path(const Draws& draws, const SampleRequest& request, Index i) {
  const Index width = request.max_length;
  const Index length = draws.length[at(i)];
  fuzz::expect(length >= 0, "a path has a length");
  double last = 0;
  for (Index j = 0; j < width; ++j) {
    const double time = draws.value[at(i * width + j)];
    fuzz::expect(time >= last, "a path goes upwards in time");
    last = time;
    const bool is_behind = j >= length;
    fuzz::expect((draws.vertex[at(i * width + j)] < 0) == is_behind, "a path ends at its length");
    fuzz::expect(!is_behind || std::isinf(time), "behind its end a path has no times");
  }
}

void check_end(const Graph& graph, const Draws& draws, const SampleRequest& request, Index i) {
  const Index n_values = std::max<Index>(request.n_rewards, 1);
  for (Index j = 0; j < n_values; ++j) {
    fuzz::expect(draws.value[at(i * n_values + j)] >= 0, "times and rewards are not negative");
  }
  const std::int32_t vertex = draws.vertex[at(i)];
  if (vertex < 0) {  // the start weights sum to 1, so only a trap is left
    fuzz::expect(std::isinf(draws.value[at(i * n_values)]) || request.n_rewards > 0,
                 "what does not end takes for ever");
    return;
  }
  if (request.has_horizon && !graph.is_absorbing(vertex)) return;
  fuzz::expect(graph.is_absorbing(vertex), "a path ends where it is absorbed");
  fuzz::expect(request.given.empty() || request.given[0] == vertex, "a path ends where it must");
}

void check_draws(const Program& program, const SampleRequest& request, const DrawInputs& inputs,
                 Index batch) {
  Draws all;
  try {
    all = draw(program, request, 3, inputs, 0, batch);
  } catch (const Error& error) {
    fuzz::expect(error.code() == ErrorCode::invalid_argument, "a request is refused as an argument");
    return;
  }
  for (Index row = 0; row < batch; ++row) {
    const Draws one = draw(program, request, 1, inputs, row, 1);
    expect_row(all.status, one.status, row);
    expect_row(all.value, one.value, row);
    expect_row(all.vertex, one.vertex, row);
    expect_row(all.length, one.length, row);
    const DrawStatus status = all.status[at(row)];
    for (Index i = row * request.n_draws; i < (row + 1) * request.n_draws; ++i) {
      if (status != DrawStatus::ok && status != DrawStatus::trapped) {
        fuzz::expect(all.vertex[at(i * std::max<Index>(request.max_length, 1))] == -1,
                     "a row that failed ends nowhere");
      } else if (request.max_length > 0) {
        check_path(all, request, i);
      } else {
        check_end(*program.graph, all, request, i);
      }
    }
  }
}

SampleRequest read_request(fuzz::Input& input) {
  SampleRequest request;
  request.n_draws = 1 + input.below(20);
  const std::int64_t kind = input.below(4);  // times, rewards, paths, up to a horizon
  request.n_rewards = kind == 1 ? 1 + input.below(3) : -1;
  request.max_length = kind == 2 ? 1 + input.below(6) : 0;
  request.has_horizon = kind == 3;
  request.max_operations = kMaxOperations;
  return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const bool draws = input.below(2) == 1;
  const Index batch = 1 + input.below(5);
  const std::uint8_t code = input.byte(), first_level = input.byte(), second_level = input.byte();
  SampleRequest request = read_request(input);
  const std::int64_t given = input.below(14);
  const GraphPtr graph = fuzz::read_graph(input);
  if (graph == nullptr) return 0;
  const ProgramPtr program = evaluation::program_of(graph);
  DrawInputs inputs;
  fuzz::fill(inputs.theta, batch * graph->param_length, 0.125, (1 + code % 4) / 32.0);
  if (!draws) {
    const double low = first_level / 255.0, high = second_level / 255.0;
    check_quantiles(*program, inputs.theta, batch, {std::min(low, high), std::max(low, high)});
    return 0;
  }
  if (given < graph->n_vertices()) request.given = {static_cast<std::int32_t>(given)};
  for (Index i = 0; i < batch * kSeedWords; ++i) {
    inputs.seed.push_back(static_cast<std::uint32_t>(first_level + i));
  }
  fuzz::fill(inputs.rewards, std::max<Index>(request.n_rewards, 0) * graph->n_vertices(), 0, 0.25);
  inputs.horizon = {graph->discrete ? static_cast<double>(code) : fuzz::weight_of(code)};
  check_draws(*program, request, inputs, batch);
  return 0;
}
