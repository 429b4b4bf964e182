// Evaluates blocks of rows: gather lanes, check them, compute, scatter.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "distribution/density.h"
#include "distribution/hazard.h"
#include "distribution/job.h"
#include "distribution/memory.h"
#include "distribution/quantities.h"
#include "distribution/rewards.h"
#include "distribution/row_check.h"
#include "kernel/elimination.h"
#include "kernel/scratch.h"

namespace phasic::PHASIC_ISA {

// --- the two ways to compute, with one face: resize, weights, forward, reverse

template <class T>
class EliminationEngine {
 public:
  static constexpr bool kEveryWeight = false;  // pivots tell of weights that are not finite

  void resize(const detail::Job& job) {
    const bool adjoint = job.request->gradient >= 0;
    program_ = job.program;
    elimination_.resize(*job.program, detail::kept(*job.program, *job.request, sizeof(T)), adjoint);
    quantity_.resize(*job.program, *job.request, adjoint);
  }
  [[nodiscard]] Weights<T>& weights() { return elimination_.weights; }
  [[nodiscard]] const Weights<T>& weights() const { return elimination_.weights; }
  void set_theta(Span<const T> theta) { elimination_.set_theta(theta); }
  void forward(RowCheck<T>& check, Span<const T> theta, Rewards<T>& rewards,
               Span<T> /*times*/, Span<T> out) {
    quantity_.forward(elimination_, rewards, out.data());
    check.find_traps(*program_, elimination_, theta);
  }
  void reverse(Rewards<T>& rewards, Span<const T> out_bar, T* rewards_bar,
               Span<T> /*times_bar*/) {
    quantity_.reverse(elimination_, rewards, out_bar.data(), rewards_bar);
  }

 private:
  const Program* program_ = nullptr;
  Elimination<T> elimination_;
  EliminationQuantity<T> quantity_;
};

// Density is DensityQuantity<T> or HazardQuantity<T>.
template <class T, class Density>
class DensityEngine {
 public:
  static constexpr bool kEveryWeight = true;

  void resize(const detail::Job& job) {
    weights_.resize(*job.program, job.request->gradient >= 0);
    if constexpr (std::is_same_v<Density, HazardQuantity<T>>) {
      density_.resize(*job.program, *job.request, *job.layout);
    } else {
      density_.resize(*job.program, *job.request, *job.layout, Density::is_logarithm(*job.request));
    }
  }
  [[nodiscard]] Weights<T>& weights() { return weights_; }
  [[nodiscard]] const Weights<T>& weights() const { return weights_; }
  void set_theta(Span<const T> theta) { weights_.set_theta(theta); }
  void forward(RowCheck<T>& check, Span<const T> /*theta*/, Rewards<T>& /*rewards*/,
               Span<T> times, Span<T> out) {
    density_.forward(weights_, check, times, out);
  }
  void reverse(Rewards<T>& /*rewards*/, Span<const T> out_bar, T* /*rewards_bar*/,
               Span<T> times_bar) {
    density_.reverse(weights_, out_bar, times_bar);
  }

 private:
  Weights<T> weights_;
  Density density_;
};

// One worker's state for one job; run() may be called for many blocks.
template <class T, class Engine>
class Runner {
 public:
  using Base = typename Traits<T>::Base;
  static constexpr Index kLanes = Traits<T>::lanes;
  static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

  explicit Runner(const detail::Job& job)
      : job_(job), program_(*job.program), request_(*job.request) {
    const bool adjoint = request_.gradient >= 0;
    engine_.resize(job);
    theta_.resize(at(program_.graph->param_length));
    out_.resize(at(job.output_size));
    const bool uses_solves = detail::uses_solves(request_);
    if (request_.n_rewards >= 0 || uses_solves) {
      rewards_.resize(job);
    }
    times_.resize(at(request_.n_times));
    if (adjoint) {
      out_bar_.resize(out_.size());
      if (uses_solves || request_.gradient == static_cast<int>(Part::rewards)) {
        rewards_bar_.resize(at(rewards_.size()));
      }
      times_bar_.resize(times_.size());
    }
  }

  void run(Index begin, Index end) {
    for (Index row = begin; row < end; row += kLanes) {
      first_row_ = row;
      n_rows_ = std::min(kLanes, end - row);
      run_block();
    }
  }

 private:
  void run_block() {
    check_.begin(n_rows_);
    gather();
    engine_.set_theta(theta_);
    check_.require_weights(program_, engine_.weights(), theta_, Engine::kEveryWeight);
    engine_.forward(check_, theta_, rewards_, times_, out_);
    if (request_.gradient >= 0) {
      reverse();
    }
    for (int i = 0; i < n_rows_; ++i) {
      settle(i);
    }
    if (request_.value) {
      write_value();
    }
    if (request_.gradient >= 0) {
      write_gradient();
    }
    for (Index i = 0; i < n_rows_; ++i) {
      job_.status[first_row_ + i] = check_.status[i];
    }
  }

  // --- operands to lanes. Lanes past the last row repeat it.
  [[nodiscard]] Index row_of(Index lane_index) const {
    return first_row_ + std::min(lane_index, n_rows_ - 1);
  }

  void gather() {
    Index next = 0;
    gather_part(job_.operands[next++], Part::theta, -1);
    if (request_.n_rewards >= 0) {
      if (!rewards_.shared()) {
        gather_part(job_.operands[next], Part::rewards, -1);
      }
      ++next;
    }
    if (request_.n_times > 0) {
      gather_part(job_.operands[next++], Part::times, -1);
    }
    check_.require_finite(theta_.data(), ssize(theta_));
    if (rewards_.shared()) {
      const T fault(rewards_.fault());
      check_.require_finite(&fault, 1);
    } else if (request_.n_rewards >= 0) {
      check_.require_finite(rewards_.rows(), rewards_.size());
    }
    check_.require_finite(times_.data(), ssize(times_));
    for (Index level = 0; level < ssize(request_.levels); ++level) {
      gather_part(job_.operands[next++], request_.levels[at(level)], static_cast<int>(level));
    }
    if (request_.gradient >= 0) {
      gather_cotangent(request_.value ? nullptr : &job_.operands[next]);
    }
  }

  // level -1 sets the values, level >= 0 adds a tangent.
  void gather_part(const Operand& operand, Part part, int level) {
    for (Index i = 0; i < kLanes; ++i) {
      offset_[i] = job_.offset(operand, row_of(i));
    }
    if (part == Part::rewards) {
      const Index n_vertices = program_.graph->n_vertices();
      for (Index j = 0; j < request_.n_rewards; ++j) {
        for (Index k = 0; k < program_.n_positions; ++k) {
          set(rewards_.rows()[j * program_.n_positions + k], operand,
              j * n_vertices + program_.vertex_of[at(k)], level);
        }
      }
      return;
    }
    detail::Scratch<T>& values = part == Part::theta ? theta_ : times_;
    for (Index i = 0; i < ssize(values); ++i) {
      set(values[at(i)], operand, i, level);
    }
  }

  void set(T& x, const Operand& operand, Index element, int level) {
    const Base value = lanes_of(operand, element);
    if (level < 0) {
      x = constant<T>(value);
    } else {
      add_tangent(x, level, value);
    }
  }

  [[nodiscard]] Base lanes_of(const Operand& operand, Index element) const {
    Base value;
    for (int i = 0; i < kLanes; ++i) {
      set_lane(value, i, detail::read(operand, offset_[i] + element));
    }
    return value;
  }

  void gather_cotangent(const Operand* operand) {
    if (operand == nullptr) {
      std::fill(out_bar_.begin(), out_bar_.end(), T(1.0));
      return;
    }
    for (Index i = 0; i < kLanes; ++i) {
      offset_[i] = job_.offset(*operand, row_of(i));
    }
    for (Index m = 0; m < ssize(out_bar_); ++m) {
      out_bar_[at(m)] = constant<T>(lanes_of(*operand, m));
    }
  }

  void reverse() {
    engine_.weights().clear_adjoint();
    std::fill(rewards_bar_.begin(), rewards_bar_.end(), T(0.0));
    std::fill(times_bar_.begin(), times_bar_.end(), T(0.0));
    engine_.reverse(rewards_, out_bar_, rewards_bar_.data(), times_bar_);
  }

  // --- lanes to results
  // The status of a row once its numbers are there.
  void settle(int i) {
    RowStatus& status = check_.status[i];
    const bool has_moments = request_.quantity == Quantity::moments ||
                             request_.quantity == Quantity::cross_moments;
    if (status != RowStatus::ok) {
      return;
    }
    if (has_moments && !check_.trapped(i).empty()) {
      status = RowStatus::trapped;
    } else if (!results_finite(i)) {
      status = RowStatus::out_of_range;
    }
  }

  [[nodiscard]] bool results_finite(int i) const {
    const bool is_log =
        request_.quantity == Quantity::logpdf || request_.quantity == Quantity::logsf;
    bool finite = true;
    for (const T& out : out_) {
      const double value = lane(primal(out), i);
      if (is_log && value == -std::numeric_limits<double>::infinity()) {
        return true;  // log 0 is a result, and has no derivative
      }
      finite = finite && std::isfinite(value) &&
               (!request_.value || std::isfinite(lane(top(out), i)));
    }
    if (request_.gradient >= 0) {
      const bool by_theta = request_.gradient == static_cast<int>(Part::theta);
      const Index size = by_theta ? ssize(theta_) : gradient_bar().size();
      for (Index m = 0; m < size; ++m) {  // theta_bar ends with an entry for the constant 1
        finite = finite && std::isfinite(lane(top(gradient_bar()[m]), i));
      }
    }
    return finite;
  }

  [[nodiscard]] Span<const T> gradient_bar() const {
    const Part part = static_cast<Part>(request_.gradient);
    return part == Part::theta     ? Span<const T>(engine_.weights().theta_bar)
           : part == Part::rewards ? Span<const T>(rewards_bar_)
                                   : Span<const T>(times_bar_);
  }

  // Calls f(parameter) for each parameter with respect to which this row's derivative is infinite.
  template <class F>
  void for_infinite_parameters(int i, F&& f) const {
    for (const std::int32_t parameter : check_.way_out(i)) {
      f(parameter);
    }
    if (request_.quantity != Quantity::absorption) {  // what enters a trap is lost at a finite rate
      for (const std::int32_t parameter : check_.way_in(i)) {
        f(parameter);
      }
    }
  }

  // A tangent points along such a parameter.
  [[nodiscard]] bool tangents_infinite(int i) const {
    bool infinite = false;
    for_infinite_parameters(i, [&](Index parameter) {
      infinite = infinite || has_tangent(theta_[at(parameter)], i);
    });
    return infinite;
  }

  void write_value() {
    const double infinite =
        request_.levels.empty() ? std::numeric_limits<double>::infinity() : kNaN;
    const Result& result = job_.results[0];
    for (int i = 0; i < n_rows_; ++i) {
      const Index base = (first_row_ + i) * job_.output_size;
      const bool defined = check_.status[i] == RowStatus::ok && !tangents_infinite(i);
      const double otherwise = check_.status[i] == RowStatus::trapped ? infinite : kNaN;
      for (Index m = 0; m < job_.output_size; ++m) {
        detail::write(result, base + m, defined ? lane(top(out_[at(m)]), i) : otherwise);
      }
      if (defined && request_.quantity == Quantity::sojourn) {
        for (const std::int32_t k : check_.trapped(i)) {
          detail::write(result, base + program_.vertex_of[at(k)], infinite);
        }
      }
    }
  }

  // False where the row is not ok, or where a cotangent asks for an infinite entry.
  [[nodiscard]] bool gradient_defined(int i) const {
    if (check_.status[i] != RowStatus::ok || tangents_infinite(i)) {
      return false;
    }
    if (request_.quantity == Quantity::sojourn) {
      for (const std::int32_t k : check_.trapped(i)) {
        if (lane(primal(out_bar_[at(program_.vertex_of[at(k)])]), i) != 0) {
          return false;
        }
      }
    }
    return true;
  }

  void write_gradient() {
    const Result& result = job_.results[job_.results.size() - 1];
    const Part part = static_cast<Part>(request_.gradient);
    const Index size = part_size(program_, request_, part);
    for (int i = 0; i < n_rows_; ++i) {
      const Index base = (first_row_ + i) * size;
      if (!gradient_defined(i)) {
        for (Index m = 0; m < size; ++m) {
          detail::write(result, base + m, kNaN);
        }
      } else if (part == Part::rewards) {
        write_rewards_gradient(result, base, i, size);
      } else {
        for (Index m = 0; m < size; ++m) {
          detail::write(result, base + m, lane(top(gradient_bar()[m]), i));
        }
        if (part == Part::theta) {
          for_infinite_parameters(i, [&](Index m) { detail::write(result, base + m, kNaN); });
        }
      }
    }
  }

  void write_rewards_gradient(const Result& result, Index base, int i, Index size) {
    for (Index m = 0; m < size; ++m) {
      detail::write(result, base + m, 0.0);
    }
    const Index n_vertices = program_.graph->n_vertices();
    for (Index j = 0; j < request_.n_rewards; ++j) {
      for (Index k = 0; k < program_.n_positions; ++k) {
        detail::write(result, base + j * n_vertices + program_.vertex_of[at(k)],
                      lane(top(rewards_bar_[at(j * program_.n_positions + k)]), i));
      }
    }
  }

  const detail::Job& job_;
  const Program& program_;
  const Request& request_;
  Engine engine_;
  RowCheck<T> check_;
  Index first_row_ = 0, n_rows_ = 0;
  Index offset_[kLanes] = {};
  Rewards<T> rewards_;
  detail::Scratch<T> theta_, times_, out_;
  detail::Scratch<T> rewards_bar_, times_bar_, out_bar_;
};

template <class T>
void run_with(const detail::Job& job, Index begin, Index end) {
  if (job.request->quantity == Quantity::hazard) {
    Runner<T, DensityEngine<T, HazardQuantity<T>>>(job).run(begin, end);
  } else if (is_density(job.request->quantity)) {
    Runner<T, DensityEngine<T, DensityQuantity<T>>>(job).run(begin, end);
  } else {
    Runner<T, EliminationEngine<T>>(job).run(begin, end);
  }
}

// Values and gradients, and their derivatives along one or two directions.
template <class Base>
void run_rows(const detail::Job& job, Index begin, Index end) {
  switch (job.request->levels.size()) {
    case 0:
      return run_with<Base>(job, begin, end);
    case 1:
      return run_with<Dual<Base>>(job, begin, end);
    default:
      return run_with<Dual<Dual<Base>>>(job, begin, end);
  }
}

}  // namespace phasic::PHASIC_ISA
