// The density quantities of one lane block, forward and reverse.
//
// 1. Every lane has a plan of its own (density_plan.h): the sweep of uniformisation, which serves all
//    its lanes at once, or squaring or Krylov spaces, one lane after the other. What is weak by
//    Krylov spaces, or all if they fail, is left to one of the other two, unless they were asked for.
// 2. Lanes that cannot be evaluated (bad times, too much predicted work) are marked in the row check;
//    they and those of other methods have zero rates in the sweep, so that it stays finite and short.
// 3. Times whose result the sweep may have lost by underflow (lost_mass.h) are evaluated again, in
//    numbers without bounds; so are gradients that left the range, and logarithms that squaring in
//    doubles does not give.
// 4. All give out * 2^exponent; logarithms are taken of the scaled number, so they stay finite
//    where the value itself underflows.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "distribution/krylov_rows.h"
#include "distribution/row_check.h"
#include "distribution/squared_rows.h"
#include "distribution/unbounded_lanes.h"
#include "distribution/uniformization.h"
#include "kernel/weights.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

inline double logarithm(double x) { return std::log(x); }
template <int W>
Vec<W> logarithm(Vec<W> x) {
  Vec<W> result(0.0);
  for (int i = 0; i < W; ++i) {
    set_lane(result, i, std::log(lane(x, i)));
  }
  return result;
}
template <class T>
Dual<T> logarithm(const Dual<T>& x) {
  return {logarithm(x.value), x.tangent / x.value};
}

template <class T>
class DensityQuantity {
 public:
  using Base = typename Traits<T>::Base;
  static constexpr int kLanes = Traits<T>::lanes;

  // relative: results are wanted to their last digits however small they are.
  void resize(const Program& program, const Request& request, const TransitionLayout& layout,
              bool relative) {
    relative_ = relative;
    program_ = &program;
    request_ = &request;
    layout_ = &layout;
    sweep_.prepare(layout);
    sizes_ = phasic::detail::density_sizes(program, request);
    squared_rows_.resize(program, request, layout, output_size(program, request));
    krylov_rows_.resize(program, request);
    unbounded_.resize(request, layout);
    edge_.resize(program.out_edge.size());
    start_.resize(program.start_edge.size());
    exponent_.assign(layout.by_vertex() ? 0 : at(request.n_times), Base(0.0));
    if (request.gradient >= 0) {
      const bool weights = static_cast<Part>(request.gradient) == Part::theta;
      edge_bar_.resize(weights ? edge_.size() : 0);
      start_bar_.resize(weights ? start_.size() : 0);
    }
  }

  // times: (n_times), sanitised in place; out: (output_size).
  void forward(const Weights<T>& weights, RowCheck<T>& check, Span<T> times,
               Span<T> out) {
    forward_scaled(weights, check, times, out);
    finish(out);
  }
  // The same before logarithms are taken: results are out * 2^exponent.
  void forward_scaled(const Weights<T>& weights, RowCheck<T>& check, Span<T> times, Span<T> out) {
    for (Index e = 0; e < ssize(edge_); ++e) {
      edge_[at(e)] = weights.weight(e);
    }
    std::copy(weights.start.begin(), weights.start.end(), start_.begin());
    check_times(check, times);
    plan(check, weights.theta(), times);
    times_.assign(times.begin(), times.end());
    for (std::vector<Index>& again : again_) {
      again.clear();
    }
    std::fill(out.begin(), out.end(), T(0.0));
    std::fill(exponent_.begin(), exponent_.end(), Base(0.0));
    if (has(Share::swept)) {
      sweep(times, out);
      find_again(check, times, out);
    }
    for (int i = 0; i < kLanes; ++i) {
      if (share_[i] == Share::squared &&
          !squared_rows_.run(i, edge_, start_, times, out, exponent_)) {
        share_[i] = Share::unbounded;
        take_all_times(i);
        run_unbounded(i, check, times, out);
      }
      take_spanned(i, out);
    }
    keep_within_one(out);
    mantissa_.assign(out.begin(), out.end());
  }
  [[nodiscard]] const std::vector<Base>& exponent() const { return exponent_; }

  // After forward(). Adds to theta_bar inside weights or to times_bar.
  void reverse(Weights<T>& weights, Span<const T> out_bar, Span<T> times_bar) {
    mantissa_bar_.assign(out_bar.begin(), out_bar.end());
    for (Index i = 0; i < ssize(exponent_); ++i) {
      T& bar = mantissa_bar_[at(i)];
      bar = is_log() ? logarithm_adjoint(bar, mantissa_[at(i)])
                     : scaled(bar, power_of_two(exponent_[at(i)]));
    }
    reverse_scaled(weights, mantissa_bar_, times_bar);
  }
  // The same from cotangents of what forward_scaled() gave; clears those that are not the sweep's.
  void reverse_scaled(Weights<T>& weights, Span<T> mantissa_bar, Span<T> times_bar) {
    for (int i = 0; i < kLanes; ++i) {
      if (share_[i] == Share::squared) {
        squared_rows_.slopes().add_gradient(i, mantissa_bar, weights.theta_bar, times_bar);
      }
      if (!spanned_[i].empty()) {
        krylov_rows_.slopes().add_gradient(i, mantissa_bar, weights.theta_bar, times_bar);
        clear_spanned(i, mantissa_bar);
      }
    }
    if (has(Share::swept) || has(Share::unbounded)) {
      reverse_sweep(weights, mantissa_bar, times_bar);
    }
  }

  [[nodiscard]] static bool is_logarithm(const Request& request) {
    return request.quantity == Quantity::logpdf || request.quantity == Quantity::logsf;
  }

 private:
  [[nodiscard]] bool is_log() const { return is_logarithm(*request_); }

  // bar / x; lanes without a cotangent give 0 even where x is 0.
  static T logarithm_adjoint(const T& bar, const T& x) {
    T result = bar / x;
    const Base size = magnitude(bar);
    for (int i = 0; i < kLanes; ++i) {
      if (lane(size, i) == 0) {
        copy_lane(result, T(0.0), i);
      }
    }
    return result;
  }

  void finish(Span<T> out) const {
    for (Index i = 0; i < ssize(exponent_); ++i) {
      if (is_log()) {
        out[i] = logarithm(out[i]);
        set_primal(out[i], fused(exponent_[at(i)], Base(std::log(2.0)), primal(out[i])));
      } else {
        out[i] = scaled(out[i], power_of_two(exponent_[at(i)]));
      }
    }
  }

  void check_times(RowCheck<T>& check, Span<const T> times) const {
    for (const T& t : times) {
      for (int i = 0; i < kLanes; ++i) {
        const double x = lane(primal(t), i);
        const bool good = x >= 0 && (!program_->graph->discrete || x == std::floor(x));
        if (check.status[i] == RowStatus::ok && !good) {
          check.status[i] = RowStatus::bad_time;
        }
      }
    }
  }

  // Who evaluates a lane, or what Krylov spaces leave of it: the sweep, squaring, numbers without
  // bounds, or nobody (a row with a fault, a copy of another, or one that they serve alone).
  enum class Share { nobody, swept, squared, unbounded };
  [[nodiscard]] bool has(Share share) const {
    return std::find(share_, share_ + kLanes, share) != share_ + kLanes;
  }
  [[nodiscard]] bool is_spanned(int i, Index time) const {
    return !spanned_[i].empty() && spanned_[i][at(time)] != 0;
  }

  void plan(RowCheck<T>& check, Span<const T> theta, Span<const T> times) {
    Base rate(0.0);
    for (Index k = 0; k < program_->n_positions; ++k) {
      Base sum(0.0);
      for (Index e = program_->out_begin[at(k)]; e < program_->out_begin[at(k + 1)]; ++e) {
        sum += primal(edge_[at(e)]);
      }
      rate = elementwise_max(rate, sum);
    }
    for (int i = 0; i < kLanes; ++i) {
      share_[i] = Share::nobody;
      spanned_[i].clear();
      if (check.status[i] != RowStatus::ok || i >= check.n_rows) {
        continue;
      }
      phasic::detail::RowSizes row(lane(rate, i));
      for (const T& t : times) {
        row.add_time(lane(primal(t), i));
      }
      DensityPlan plan = phasic::detail::plan_density(*program_, *request_, sizes_, row);
      if (plan.method == DensityMethod::krylov && plan.within_budget) {
        plan = run_spaces(i, check, row, theta, times);
      }
      const bool idle = lane(rate, i) == 0 && row.longest > kLongestIdle;
      if (idle && !program_->graph->discrete && plan.method == DensityMethod::uniformization) {
        check.status[i] = RowStatus::out_of_range;
      }
      take_share(i, check, plan);
    }
  }

  // Runs the spaces of lane i; the plan of what they give and leave.
  DensityPlan run_spaces(int i, RowCheck<T>& check, const phasic::detail::RowSizes& row,
                         Span<const T> theta, Span<const T> times) {
    const phasic::detail::KrylovReport& found = krylov_rows_.run(i, theta, times);
    phasic::detail::KrylovRest rest = phasic::detail::plan_rest(*program_, *request_, sizes_, row,
                                                                found, krylov_rows_.times());
    spanned_[i] = std::move(rest.spanned);
    if (rest.failed) {
      check.status[i] = RowStatus::not_converged;
      spanned_[i].clear();
    }
    return rest.plan;
  }

  void take_share(int i, RowCheck<T>& check, const DensityPlan& plan) {
    if (check.status[i] != RowStatus::ok) {
      return;
    }
    if (!plan.within_budget) {
      check.status[i] = RowStatus::over_budget;
      spanned_[i].clear();
    } else if (plan.method != DensityMethod::krylov || plan.exact_times > 0) {
      share_[i] = plan.method == DensityMethod::squaring ? Share::squared : Share::swept;
    }
  }

  void take_spanned(int i, Span<T> out) {
    if (!spanned_[i].empty()) {
      krylov_rows_.write(i, spanned_[i], out);
    }
    for (Index time = 0; time < ssize(exponent_); ++time) {
      if (is_spanned(i, time)) {
        set_lane(exponent_[at(time)], i, 0.0);
      }
    }
  }
  void clear_spanned(int i, Span<T> values) const {
    for (Index time = 0; time < values.size(); ++time) {
      if (is_spanned(i, time)) {
        copy_lane(values[time], T(0.0), i);
      }
    }
  }

  // Lanes that are not the sweep's get zero rates, starts and times, so that it stays short.
  void sweep(Span<const T> times, Span<T> out) {
    swept_edge_ = edge_;
    swept_start_ = start_;
    swept_times_.assign(times.begin(), times.end());
    for (int i = 0; i < kLanes; ++i) {
      for (std::vector<T>* x : {&swept_edge_, &swept_start_, &swept_times_}) {
        for (T& value : *x) {
          if (share_[i] != Share::swept) {
            copy_lane(value, T(0.0), i);
          }
        }
      }
      clear_spanned(i, swept_times_);
    }
    UniformizationInput<T> input;
    input.edge = swept_edge_;
    input.start = swept_start_;
    input.times = swept_times_;
    input.truncation = request_->truncation;
    input.time_levels = static_cast<int>(
        std::count(request_->levels.begin(), request_->levels.end(), Part::times));
    input.keep_edges = request_->gradient == static_cast<int>(Part::theta);
    input.keep_times = request_->gradient == static_cast<int>(Part::times);
    sweep_.forward(input, out, exponent_);
  }

  // Results that underflow inside the sweep, again.
  void find_again(RowCheck<T>& check, Span<const T> times, Span<T> out) {
    for (int i = 0; i < kLanes && !layout_->by_vertex(); ++i) {
      if (share_[i] == Share::swept) {
        sweep_.find_lost(i, relative_, again_[i]);
        leave_spanned(i);
        run_unbounded(i, check, times, out);
      }
    }
  }
  void run_unbounded(int i, RowCheck<T>& check, Span<const T> times, Span<T> out) {
    if (!again_[i].empty() &&
        !unbounded_.run(i, again_[i], edge_, start_, times, out, exponent_)) {
      check.status[i] = RowStatus::over_budget;
    }
  }
  void take_all_times(int i) {
    again_[i].resize(exponent_.size());
    std::iota(again_[i].begin(), again_[i].end(), Index{0});
    leave_spanned(i);
  }
  void leave_spanned(int i) {
    std::vector<Index>& again = again_[i];
    again.erase(std::remove_if(again.begin(), again.end(),
                               [&](Index time) { return is_spanned(i, time); }),
                again.end());
  }

  // Distribution functions may exceed 1 by the rounding of their sum.
  void keep_within_one(Span<T> out) const {
    const bool bounded = layout_->quantity == Quantity::cdf || layout_->quantity == Quantity::sf;
    for (Index i = 0; i < out.size() && bounded; ++i) {
      const Base value = primal(out[i]);
      const Base above = where_positive(exponent_[at(i)] + 0.5, value - 1.0, Base(0.0));
      set_primal(out[i], where_positive(above, Base(1.0), value));
    }
  }

  void reverse_sweep(Weights<T>& weights, Span<T> mantissa_bar, Span<T> times_bar) {
    unbounded_bar_.assign(mantissa_bar.begin(), mantissa_bar.end());
    for (int i = 0; i < kLanes; ++i) {
      for (T& bar : mantissa_bar) {
        if (share_[i] != Share::swept) {
          copy_lane(bar, T(0.0), i);
        }
      }
      for (const Index time : again_[i]) {
        copy_lane(mantissa_bar[time], T(0.0), i);
      }
    }
    std::fill(edge_bar_.begin(), edge_bar_.end(), T(0.0));
    std::fill(start_bar_.begin(), start_bar_.end(), T(0.0));
    const bool times = request_->gradient == static_cast<int>(Part::times);
    if (has(Share::swept)) {
      sweep_.adjoint(mantissa_bar, edge_bar_, start_bar_, times ? times_bar : Span<T>());
    }
    for (int i = 0; i < kLanes; ++i) {
      reverse_again(i, times ? times_bar : Span<T>());
    }
    for (Index e = 0; e < ssize(edge_bar_); ++e) {
      weights.add_weight_adjoint(e, edge_bar_[at(e)]);
    }
    if (!start_bar_.empty()) {
      std::copy(start_bar_.begin(), start_bar_.end(), weights.start_bar.begin());
      weights.finish_adjoint();
    }
  }

  // What the sweep cannot give of the adjoint of lane i.
  void reverse_again(int i, Span<T> times_bar) {
    const bool failed = share_[i] == Share::swept && !layout_->by_vertex() && gradient_lost(i);
    if (failed) {
      for (std::vector<T>* x : {&edge_bar_, &start_bar_}) {
        for (T& value : *x) {
          copy_lane(value, T(0.0), i);
        }
      }
      take_all_times(i);
    }
    if (!again_[i].empty()) {
      unbounded_.reverse(i, again_[i], edge_, start_, times_, unbounded_bar_, exponent_,
                         edge_bar_, start_bar_, times_bar);
    }
  }
  [[nodiscard]] bool gradient_lost(int i) const {
    return !edge_bar_.empty() &&
           (sweep_.cut_off(i) || !finite(edge_bar_, i) || !finite(start_bar_, i));
  }
  [[nodiscard]] static bool finite(const std::vector<T>& values, int i) {
    return std::all_of(values.begin(), values.end(), [i](const T& x) {
      return std::isfinite(lane(magnitude(x), i));
    });
  }

  const Program* program_ = nullptr;
  const Request* request_ = nullptr;
  const TransitionLayout* layout_ = nullptr;
  bool relative_ = false;
  phasic::detail::DensitySizes sizes_;
  Share share_[kLanes] = {};
  Uniformization<T> sweep_;
  SquaredRows<T> squared_rows_;
  KrylovRows<T> krylov_rows_;
  UnboundedLanes<T> unbounded_;
  std::vector<char> spanned_[kLanes];  // (n_times) results that Krylov spaces give; empty if none
  std::vector<Index> again_[kLanes];  // times that the sweep does not serve
  std::vector<Base> exponent_;
  std::vector<T> edge_, start_, times_, mantissa_, swept_edge_, swept_start_, swept_times_;
  std::vector<T> edge_bar_, start_bar_, mantissa_bar_, unbounded_bar_;
};

}  // namespace phasic::PHASIC_ISA
