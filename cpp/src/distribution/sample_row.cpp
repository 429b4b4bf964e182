#define PHASIC_ISA isa_sample  // code of its own: draws must not depend on how other files are compiled

#include "distribution/sample_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "distribution/row_check.h"
#include "distribution/traps.h"
#include "kernel/elimination.h"

namespace phasic::detail {

using isa_sample::Elimination;
using isa_sample::kPivotLimit;
using isa_sample::RowCheck;

struct RowSampler::Numerics {
  Elimination<double> elimination;
  RowCheck<double> check;
  bool factored = false;
};

RowSampler::RowSampler(const Program& program, const SampleRequest& request)
    : program_(program),
      request_(request),
      conditioned_(!request.given.empty()),
      numerics_(std::make_unique<Numerics>()) {
  numerics_->elimination.resize(program, Keep::all, false);
  for (Index b = 0; b < program.n_blocks(); ++b) {
    acyclic_ = acyclic_ && program.block_begin[at(b + 1)] - program.block_begin[at(b)] == 1;
  }
  weight_.resize(program.out_edge.size());
  sorted_.resize(program.out_edge.size());
  std::iota(sorted_.begin(), sorted_.end(), 0);
  for (Index k = 0; k < program.n_positions; ++k) {
    std::sort(sorted_.begin() + program.out_begin[at(k)],
              sorted_.begin() + program.out_begin[at(k + 1)], [&](std::int32_t a, std::int32_t b) {
                return program.out_edge[at(a)] < program.out_edge[at(b)];
              });
  }
  solution_.resize(at(program.n_places));
  for (std::vector<double>* v : {&total_, &rhs_, &eliminated_}) {
    v->resize(at(program.n_positions));
  }
  is_trap_.resize(at(program.n_positions));
  if (conditioned_) {
    ending_.resize(at(program.n_places));
    is_given_.resize(at(program.graph->n_vertices()));
    for (const std::int32_t vertex : request.given) {
      if (vertex < 1 || vertex >= program.graph->n_vertices() ||
          !program.graph->is_absorbing(vertex)) {
        fail("given holds " + std::to_string(vertex) +
             ", expected the rows of absorbing states in states()");
      }
      is_given_[at(vertex)] = 1;
    }
  }
}

RowSampler::~RowSampler() = default;

bool RowSampler::is_known(std::int32_t vertex) const noexcept {
  return vertex > 0 && vertex < program_.graph->n_vertices() &&
         (program_.position_of[at(vertex)] >= 0 || program_.graph->is_absorbing(vertex));
}

DrawStatus RowSampler::check(const SampleArguments& row) const {
  if (!(row.horizon >= 0 && std::isfinite(row.horizon)) ||
      (program_.graph->discrete && row.horizon != std::floor(row.horizon))) {
    return DrawStatus::bad_time;
  }
  const bool finite = std::all_of(row.rewards.begin(), row.rewards.end(),
                                  [](double reward) { return std::isfinite(reward); });
  const bool known = std::all_of(row.starts.begin(), row.starts.end(),
                                 [this](std::int32_t vertex) { return is_known(vertex); });
  return !finite  ? static_cast<DrawStatus>(RowStatus::not_finite)
         : !known ? DrawStatus::bad_start
                  : DrawStatus::ok;
}

DrawStatus RowSampler::prepare(const SampleArguments& row) {
  expected_jumps_ = 0;
  DrawStatus status = weigh(row.theta);
  if (status == DrawStatus::ok) {
    status = check(row);
  }
  if (status == DrawStatus::ok) {
    status = find_traps(row.starts);
  }
  if (status == DrawStatus::ok && conditioned_) {
    status = find_endings(row.starts);
  }
  if (status != DrawStatus::ok && status != DrawStatus::trapped) {
    return status;
  }
  predict(row);
  if (!(expected_jumps_ * static_cast<double>(request_.n_draws) * operations() <=
        request_.max_operations)) {
    return DrawStatus::over_budget;
  }
  tabulate();
  gather_rewards(row.rewards);
  return status;
}

// Weights, their sums, and what can be wrong with them.
DrawStatus RowSampler::weigh(Span<const double> theta) {
  Elimination<double>& elimination = numerics_->elimination;
  RowCheck<double>& check = numerics_->check;
  numerics_->factored = false;
  elimination.set_theta(theta);
  check.begin();
  check.require_finite(theta.data(), theta.size());
  check.require_weights(program_, elimination.weights, theta, true);
  odd_ = program_.structural_trap;
  for (const double w : elimination.weights.start) {
    odd_ = odd_ || w == 0;
  }
  for (Index k = 0; k < program_.n_positions; ++k) {
    const Index begin = program_.out_begin[at(k)], end = program_.out_begin[at(k + 1)];
    for (Index e = begin; e < end; ++e) {
      weight_[at(e)] = elimination.weights.weight(e);
    }
    double sum = 0;
    for (Index i = begin; i < end; ++i) {
      const double w = weight_[at(sorted_[at(i)])];
      sum += w;
      odd_ = odd_ || w == 0;
    }
    total_[at(k)] = sum;
    odd_ = odd_ || !(sum >= 1 / kPivotLimit && sum <= kPivotLimit);
  }
  return static_cast<DrawStatus>(check.status[0]);
}

DrawStatus RowSampler::find_traps(Span<const std::int32_t> starts) {
  std::fill(is_trap_.begin(), is_trap_.end(), 0);
  any_trap_ = false;
  if (!odd_) {
    return DrawStatus::ok;
  }
  const Traps traps = detail::find_traps(program_, numerics_->elimination.weights.start, weight_);
  const std::vector<bool> reached = request_.has_starts ? reached_from(starts) : traps.reached;
  bool out_of_range = false, trapped = false;
  for (Index k = 0; k < program_.n_positions; ++k) {
    const bool relevant = reached[at(k)];
    is_trap_[at(k)] = !traps.absorbs[at(k)];
    any_trap_ = any_trap_ || is_trap_[at(k)];
    trapped = trapped || (relevant && is_trap_[at(k)]);
    const double sum = total_[at(k)];
    out_of_range = out_of_range || (relevant && sum > 0 && !(sum >= 1 / kPivotLimit && sum <= kPivotLimit));
  }
  if (out_of_range) {
    return static_cast<DrawStatus>(RowStatus::out_of_range);
  }
  return trapped && !request_.has_horizon && !conditioned_ ? DrawStatus::trapped : DrawStatus::ok;
}

// Positions that edges of positive weight lead to from the starts of draws, these included.
std::vector<bool> RowSampler::reached_from(Span<const std::int32_t> starts) const {
  std::vector<bool> seen(at(program_.n_positions));
  std::vector<Index> waiting;
  const auto visit = [&](Index target) {
    if (target >= 0 && !seen[at(target)]) {
      seen[at(target)] = true;
      waiting.push_back(target);
    }
  };
  for (const std::int32_t vertex : starts) {
    visit(target_of(vertex));
  }
  while (!waiting.empty()) {
    const Index k = waiting.back();
    waiting.pop_back();
    for (Index e = program_.out_begin[at(k)]; e < program_.out_begin[at(k + 1)]; ++e) {
      if (weight_[at(e)] > 0) {
        visit(program_.out_target[at(e)]);
      }
    }
  }
  return seen;
}

void RowSampler::factor() {
  if (!numerics_->factored) {
    numerics_->elimination.factor_all();
    numerics_->factored = true;
  }
}

double RowSampler::start_mean(const std::vector<double>& values, double absorbed) const {
  double mean = 0;
  for (Index e = 0; e < ssize(program_.start_target); ++e) {
    const std::int32_t target = program_.start_target[at(e)];
    const double given = conditioned_ ? ending(target) : 1;
    mean += numerics_->elimination.weights.start[at(e)] *
            (target >= 0 ? values[at(target)] : absorbed * given);
  }
  return mean;
}

double RowSampler::ending(std::int32_t target) const noexcept {
  if (!conditioned_) {
    return 1;
  }
  return target >= 0 ? ending_[at(target)] : static_cast<double>(is_given_[at(-1 - target)]);
}

DrawStatus RowSampler::find_endings(Span<const std::int32_t> starts) {
  factor();
  for (Index k = 0; k < program_.n_positions; ++k) {
    double into = 0;
    for (Index e = program_.leaving_begin[at(k)]; e < program_.out_begin[at(k + 1)]; ++e) {
      const std::int32_t target = program_.out_target[at(e)];
      into += target < 0 ? weight_[at(e)] * ending(target) : 0;
    }
    rhs_[at(k)] = into;
  }
  numerics_->elimination.solve_all(rhs_.data(), eliminated_.data(), ending_.data());
  start_ending_ = starts.empty() ? start_mean(ending_, 1) : 1;
  for (const std::int32_t vertex : starts) {
    start_ending_ = std::min(start_ending_, ending(target_of(vertex)));
  }
  if (start_ending_ == 0) {
    return DrawStatus::impossible;
  }
  const bool ordinary = start_ending_ >= 1 / kPivotLimit && std::isfinite(start_ending_);
  return ordinary ? DrawStatus::ok : static_cast<DrawStatus>(RowStatus::out_of_range);
}

void RowSampler::predict(const SampleArguments& row) {
  expected_jumps_ = std::numeric_limits<double>::infinity();
  if (request_.has_horizon) {  // of a Poisson process with the largest rate; a step is one jump at most
    double largest = 0;
    for (const double total : total_) {
      largest = std::max(largest, total);
    }
    expected_jumps_ = row.horizon * (program_.graph->discrete ? 1 : largest);
  }
  if (acyclic_) {
    expected_jumps_ = std::min(expected_jumps_, static_cast<double>(program_.n_positions));
  }
  const double work = expected_jumps_ * static_cast<double>(request_.n_draws) * operations();
  if (work <= request_.max_operations || (request_.has_horizon && any_trap_)) {
    return;
  }
  factor();
  for (Index k = 0; k < program_.n_positions; ++k) {
    rhs_[at(k)] = is_trap_[at(k)] ? 0 : total_[at(k)] * ending(static_cast<std::int32_t>(k));
  }
  numerics_->elimination.solve_all(rhs_.data(), eliminated_.data(), solution_.data());
  double jumps = 0;
  if (row.starts.empty()) {
    jumps = start_mean(solution_, 0) / start_ending_;
  }
  for (const std::int32_t vertex : row.starts) {
    const std::int32_t target = target_of(vertex);
    if (target >= 0) {
      jumps += solution_[at(target)] / ending(target) / static_cast<double>(request_.n_draws);
    }
  }
  expected_jumps_ = std::min(expected_jumps_, jumps);
}

void RowSampler::tabulate() {
  const bool is_discrete = program_.graph->discrete;
  tables_.clear();
  for (Index k = 0; k < program_.n_positions; ++k) {
    const double total = total_[at(k)], own = ending(static_cast<std::int32_t>(k));
    const double scale = !is_discrete ? 1 / total
                         : total < 1  ? 1 / negative_log_of_complement(total)
                                      : 0;
    if (total == 0 || own == 0) {
      tables_.append_end(static_cast<std::int32_t>(k), std::numeric_limits<double>::infinity());
      continue;
    }
    candidates_.clear();
    for (Index i = program_.out_begin[at(k)]; i < program_.out_begin[at(k + 1)]; ++i) {
      const Index e = sorted_[at(i)];
      const std::int32_t target = program_.out_target[at(e)];
      candidates_.push_back({fate(target), weight_[at(e)] * (ending(target) / own)});
    }
    tables_.append(candidates_, scale);
  }
  candidates_.clear();
  double rest = 1;
  for (Index e = 0; e < ssize(program_.start_target); ++e) {
    const std::int32_t target = program_.start_target[at(e)];
    const double w = numerics_->elimination.weights.start[at(e)];
    rest -= w;
    candidates_.push_back({fate(target), w * ending(target)});
  }
  if (!conditioned_) {
    candidates_.push_back({kDefect, rest});
  }
  tables_.append(candidates_, 0);
}

void RowSampler::gather_rewards(Span<const double> rewards) {
  if (request_.n_rewards < 0) {
    return;
  }
  const Index n = request_.n_rewards, n_vertices = program_.graph->n_vertices();
  rewards_.resize(at(n * program_.n_positions));
  for (Index k = 0; k < program_.n_positions; ++k) {
    for (Index r = 0; r < n; ++r) {
      rewards_[at(k * n + r)] = rewards[r * n_vertices + program_.vertex_of[at(k)]];
    }
  }
}

}  // namespace phasic::detail
