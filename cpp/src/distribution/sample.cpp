// Draws paths: tasks are ranges of rows, or ranges of draws of one row that has many.

#include "phasic/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "distribution/job.h"
#include "distribution/sample_row.h"
#include "kernel/float_state.h"
#include "kernel/thread_pool.h"

namespace phasic {
namespace {

using detail::JumpTables;
using detail::RowSampler;
using detail::SampleArguments;
using detail::Stream;

constexpr Index kDrawsOfATask = 4096;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The items of one row and where its results go.
struct Row {
  Index number;
  DrawStatus status;
  SampleArguments arguments;
};

class Sampler {
 public:
  Sampler(const Program& program, const SampleRequest& request, Span<const Index> batch_shape,
          const SampleOperands& operands, const SampleResults& results)
      : program_(program),
        request_(request),
        batch_shape_(batch_shape),
        operands_(operands),
        results_(results),
        n_values_(request.max_length > 0 ? request.max_length
                                         : std::max<Index>(request.n_rewards, 1)) {}

  void run() {
    const Index n_rows = std::accumulate(batch_shape_.begin(), batch_shape_.end(), Index{1},
                                         [](Index a, Index b) { return a * b; });
    if (request_.n_draws <= kDrawsOfATask) {
      const Index rows_of_task = std::max<Index>(1, kDrawsOfATask / std::max<Index>(request_.n_draws, 1));
      const Index n_tasks = (n_rows + rows_of_task - 1) / rows_of_task;
      parallel_for(n_tasks, request_.threads, [&](Index task) {
        RowSampler sampler(program_, request_);
        for (Index row = task * rows_of_task; row < std::min(n_rows, (task + 1) * rows_of_task); ++row) {
          const Row prepared = prepare(sampler, row);
          draw(sampler, prepared, 0, request_.n_draws);
        }
      });
      return;
    }
    RowSampler sampler(program_, request_);
    for (Index row = 0; row < n_rows; ++row) {
      const Row prepared = prepare(sampler, row);
      parallel_for((request_.n_draws + kDrawsOfATask - 1) / kDrawsOfATask, request_.threads,
                   [&](Index task) {
                     draw(sampler, prepared, task * kDrawsOfATask,
                          std::min(request_.n_draws, (task + 1) * kDrawsOfATask));
                   });
    }
  }

 private:
  [[nodiscard]] Index offset(const std::vector<Index>& strides, Index row) const noexcept {
    Index result = 0;
    for (Index d = batch_shape_.size() - 1; d >= 0; --d) {
      result += (row % batch_shape_[d]) * strides[at(d)];
      row /= batch_shape_[d];
    }
    return result;
  }

  [[nodiscard]] std::vector<double> gather(const Operand& operand, Index row) const {
    std::vector<double> values(at(operand.size));
    const Index begin = offset(operand.strides, row);
    for (Index i = 0; i < operand.size; ++i) {
      values[at(i)] = detail::read(operand, begin + i);
    }
    return values;
  }

  [[nodiscard]] Row prepare(RowSampler& sampler, Index number) const {
    Row row{number, DrawStatus::ok, {}};
    const auto* seed = static_cast<const std::uint32_t*>(operands_.seed.data) +
                       offset(operands_.seed.strides, number);
    std::copy(seed, seed + kSeedWords, row.arguments.seed);
    row.arguments.theta = gather(operands_.theta, number);
    if (request_.n_rewards >= 0) {
      row.arguments.rewards = gather(operands_.rewards, number);
    }
    if (request_.has_horizon) {
      row.arguments.horizon = gather(operands_.horizon, number)[0];
    }
    if (request_.has_starts) {
      const auto* starts = static_cast<const std::int32_t*>(operands_.starts.data) +
                           offset(operands_.starts.strides, number);
      row.arguments.starts.assign(starts, starts + request_.n_draws);
    }
    row.status = sampler.prepare(row.arguments);
    results_.status[number] = row.status;
    return row;
  }

  void draw(const RowSampler& sampler, const Row& row, Index begin, Index end) const {
    if (row.status != DrawStatus::ok && row.status != DrawStatus::trapped) {
      return spoil(row, begin, end);
    }
    const bool discrete = program_.graph->discrete;
    if (request_.max_length > 0) {
      discrete ? draw_paths<true>(sampler, row, begin, end)
               : draw_paths<false>(sampler, row, begin, end);
    } else if (request_.has_horizon) {
      discrete ? draw_until<true>(sampler, row, begin, end)
               : draw_until<false>(sampler, row, begin, end);
    } else if (request_.n_rewards >= 0) {
      discrete ? draw_rewards<true>(sampler, row, begin, end)
               : draw_rewards<false>(sampler, row, begin, end);
    } else {
      discrete ? draw_times<true>(sampler, row, begin, end)
               : draw_times<false>(sampler, row, begin, end);
    }
  }

  void spoil(const Row& row, Index begin, Index end) const noexcept {
    const Index n_vertices = request_.max_length > 0 ? request_.max_length : 1;
    for (Index i = row.number * request_.n_draws + begin; i < row.number * request_.n_draws + end; ++i) {
      for (Index j = 0; j < n_values_; ++j) {
        detail::write(results_.value, i * n_values_ + j, kNaN);
      }
      std::fill_n(results_.vertex + i * n_vertices, n_vertices, -1);
      if (results_.length != nullptr) {
        results_.length[i] = 0;
      }
    }
  }

  // --- one path

  [[nodiscard]] static Stream stream_of(const Row& row, Index draw) noexcept {
    const std::uint32_t* s = row.arguments.seed;
    const auto joined = [](std::uint32_t low, std::uint32_t high) {
      return std::uint64_t{low} | (std::uint64_t{high} << 32);
    };
    return {{joined(s[0], s[1]), joined(s[2], s[3])},
            {static_cast<std::uint64_t>(draw), joined(s[4], s[5]), 0, 0}};
  }

  [[nodiscard]] static std::int32_t begin_path(const RowSampler& sampler, const Row& row, Index draw,
                                               Stream& stream) noexcept {
    return row.arguments.starts.empty()
               ? sampler.tables().next(sampler.start_row(), stream)
               : sampler.begin_of(row.arguments.starts[at(draw)]);
  }

  // Hands (position, time spent there) to visit, which tells whether to go on.
  template <bool kDiscrete, class Visit>
  static std::int32_t walk(const JumpTables& tables, Stream& stream, std::int32_t target,
                           Visit visit) noexcept {
    while (target >= 0) {
      double stay = stream.exponential() * tables.scale(target);
      if constexpr (kDiscrete) {
        stay = 1 + std::floor(stay);
      }
      if (!visit(target, stay)) {
        break;
      }
      target = tables.next(target, stream);
    }
    return target;
  }

  [[nodiscard]] std::int32_t vertex_of(std::int32_t target) const noexcept {
    return target >= 0                                            ? program_.vertex_of[at(target)]
           : target == detail::kNever || target == detail::kDefect ? -1
                                                                  : -1 - target;
  }

  template <bool kDiscrete>
  void draw_times(const RowSampler& sampler, const Row& row, Index begin, Index end) const noexcept {
    for (Index draw = begin; draw < end; ++draw) {
      Stream stream = stream_of(row, draw);
      double time = 0;
      const std::int32_t last =
          walk<kDiscrete>(sampler.tables(), stream, begin_path(sampler, row, draw, stream),
                          [&](std::int32_t, double stay) {
                            time += stay;
                            return true;
                          });
      const Index i = row.number * request_.n_draws + draw;
      detail::write(results_.value, i, last == detail::kNever ? kInfinity : time);
      results_.vertex[i] = vertex_of(last);
    }
  }

  template <bool kDiscrete>
  void draw_rewards(const RowSampler& sampler, const Row& row, Index begin, Index end) const {
    const Index n = request_.n_rewards;
    std::vector<double> sum(at(n));
    for (Index draw = begin; draw < end; ++draw) {
      Stream stream = stream_of(row, draw);
      std::fill(sum.begin(), sum.end(), 0.0);
      const std::int32_t last =
          walk<kDiscrete>(sampler.tables(), stream, begin_path(sampler, row, draw, stream),
                          [&](std::int32_t position, double stay) {
                            add(sampler, position, stay, sum);
                            return true;
                          });
      write_sums(row, draw, last, sum);
    }
  }

  // With a horizon; the value is a time if there are no rewards.
  template <bool kDiscrete>
  void draw_until(const RowSampler& sampler, const Row& row, Index begin, Index end) const {
    const double horizon = row.arguments.horizon;
    std::vector<double> sum(at(std::max<Index>(request_.n_rewards, 1)));
    for (Index draw = begin; draw < end; ++draw) {
      Stream stream = stream_of(row, draw);
      std::fill(sum.begin(), sum.end(), 0.0);
      double time = 0;
      const std::int32_t last =
          walk<kDiscrete>(sampler.tables(), stream, begin_path(sampler, row, draw, stream),
                          [&](std::int32_t position, double stay) {
                            const bool goes_on = time + stay <= horizon;
                            const double spent = goes_on ? stay : horizon - time;
                            time += spent;
                            request_.n_rewards < 0 ? void(sum[0] = time)
                                                   : add(sampler, position, spent, sum);
                            return goes_on;
                          });
      write_sums(row, draw, last, sum);
    }
  }

  void add(const RowSampler& sampler, std::int32_t position, double stay,
           std::vector<double>& sum) const noexcept {
    const Index n = request_.n_rewards;
    const double* reward = sampler.rewards() + position * n;
    for (Index r = 0; r < n; ++r) {
      sum[at(r)] += stay * reward[r];
    }
  }

  void write_sums(const Row& row, Index draw, std::int32_t last,
                  const std::vector<double>& sum) const noexcept {
    const Index i = row.number * request_.n_draws + draw;
    for (Index r = 0; r < n_values_; ++r) {
      detail::write(results_.value, i * n_values_ + r,
                    last == detail::kNever ? kInfinity : sum[at(r)]);
    }
    results_.vertex[i] = vertex_of(last);
  }

  template <bool kDiscrete>
  void draw_paths(const RowSampler& sampler, const Row& row, Index begin, Index end) const noexcept {
    const Index width = request_.max_length;
    for (Index draw = begin; draw < end; ++draw) {
      Stream stream = stream_of(row, draw);
      const Index first = (row.number * request_.n_draws + draw) * width;
      Index length = 0;
      double time = 0;
      const auto enter = [&](std::int32_t target) {
        if (length < width) {
          results_.vertex[first + length] = vertex_of(target);
          detail::write(results_.value, first + length, time);
        }
        ++length;
      };
      const std::int32_t last =
          walk<kDiscrete>(sampler.tables(), stream, begin_path(sampler, row, draw, stream),
                          [&](std::int32_t position, double stay) {
                            enter(position);
                            time += stay;
                            return true;
                          });
      if (last != detail::kNever && last != detail::kDefect) {
        enter(last);
      }
      for (Index k = length; k < width; ++k) {
        results_.vertex[first + k] = -1;
        detail::write(results_.value, first + k, kInfinity);
      }
      results_.length[row.number * request_.n_draws + draw] =
          static_cast<std::int32_t>(std::min<Index>(length, INT32_MAX));
    }
  }

  const Program& program_;
  const SampleRequest& request_;
  const Span<const Index> batch_shape_;
  const SampleOperands& operands_;
  const SampleResults& results_;
  const Index n_values_;  // of one draw
};

void require(bool holds, const std::string& text) {
  if (!holds) {
    fail("sample request: " + text);
  }
}

void check_request(const Program& program, const SampleRequest& request, Index n_batch_dims,
                   const SampleOperands& operands, const SampleResults& results) {
  const Graph& graph = *program.graph;
  require(request.n_draws >= 0, "n_draws is " + std::to_string(request.n_draws) + ", expected >= 0");
  require(request.n_rewards == -1 || request.n_rewards >= 1, "n_rewards is " + std::to_string(request.n_rewards));
  const bool is_path = request.max_length > 0;
  require(request.max_length >= 0 && (!is_path || (request.n_rewards < 0 && !request.has_horizon)),
          "paths have a length >= 1, no rewards and no horizon");
  require(is_path == (results.length != nullptr), "paths alone have lengths");
  const auto fits = [&](const std::vector<Index>& strides, Index size, Index expected,
                        const char* name) {
    require(size == expected && ssize(strides) == n_batch_dims,
            std::string(name) + " has " + std::to_string(size) + " entries, expected " +
                std::to_string(expected));
  };
  fits(operands.seed.strides, operands.seed.size, kSeedWords, "seed");
  fits(operands.theta.strides, operands.theta.size, graph.param_length, "theta");
  if (request.n_rewards >= 0) {
    fits(operands.rewards.strides, operands.rewards.size, request.n_rewards * graph.n_vertices(), "rewards");
  }
  if (request.has_horizon) {
    fits(operands.horizon.strides, operands.horizon.size, 1, "horizon");
  }
  if (request.has_starts) {
    fits(operands.starts.strides, operands.starts.size, request.n_draws, "starts");
  }
}

}  // namespace

void sample(const Program& program, const SampleRequest& request, Span<const Index> batch_shape,
            const SampleOperands& operands, const SampleResults& results) {
  check_request(program, request, batch_shape.size(), operands, results);
  const FloatState state;
  Sampler(program, request, batch_shape, operands, results).run();
}

}  // namespace phasic
