// The quantities that come from uniformisation, forward and reverse, for one lane block.
//
// 1. Lanes that cannot be evaluated (bad times, too much predicted work) are marked in the row check
//    and given zero rates, so that the sweep stays finite and short.
// 2. One sweep gives out * 2^exponent; logarithms are taken of the scaled number, so they stay finite
//    where the value itself underflows.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "distribution/row_check.h"
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

  void resize(const Program& program, const Request& request,
              const TransitionLayout& layout) {
    program_ = &program;
    request_ = &request;
    layout_ = &layout;
    sweep_.prepare(layout);
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
    check_budget(check, times);
    for (int i = 0; i < kLanes; ++i) {
      if (check.status[i] != RowStatus::ok) {
        silence(times, i);
      }
    }
    UniformizationInput<T> input;
    input.edge = edge_;
    input.start = start_;
    input.times = times;
    input.truncation = request_->truncation;
    input.time_levels = static_cast<int>(
        std::count(request_->levels.begin(), request_->levels.end(), Part::times));
    input.keep_edges = request_->gradient == static_cast<int>(Part::theta);
    input.keep_times = request_->gradient == static_cast<int>(Part::times);
    sweep_.forward(input, out, exponent_);
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
  // The same from cotangents of what forward_scaled() gave.
  void reverse_scaled(Weights<T>& weights, Span<const T> mantissa_bar, Span<T> times_bar) {
    std::fill(edge_bar_.begin(), edge_bar_.end(), T(0.0));
    std::fill(start_bar_.begin(), start_bar_.end(), T(0.0));
    const bool times = request_->gradient == static_cast<int>(Part::times);
    sweep_.adjoint(mantissa_bar, edge_bar_, start_bar_, times ? times_bar : Span<T>());
    for (Index e = 0; e < ssize(edge_bar_); ++e) {
      weights.add_weight_adjoint(e, edge_bar_[at(e)]);
    }
    if (!start_bar_.empty()) {
      std::copy(start_bar_.begin(), start_bar_.end(), weights.start_bar.begin());
      weights.finish_adjoint();
    }
  }

 private:
  [[nodiscard]] bool is_log() const {
    return request_->quantity == Quantity::logpdf || request_->quantity == Quantity::logsf;
  }

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
        out[i] = logarithm(out[i]) + constant<T>(exponent_[at(i)] * std::log(2.0));
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

  void check_budget(RowCheck<T>& check, Span<const T> times) const {
    Base rate(0.0), latest(0.0);
    for (Index k = 0; k < program_->n_positions; ++k) {
      Base sum(0.0);
      for (Index e = program_->out_begin[at(k)]; e < program_->out_begin[at(k + 1)]; ++e) {
        sum += primal(edge_[at(e)]);
      }
      rate = elementwise_max(rate, sum);
    }
    for (const T& t : times) {
      latest = elementwise_max(latest, primal(t));
    }
    for (int i = 0; i < kLanes; ++i) {
      const double work = phasic::detail::predicted_operations(
          *program_, layout_->quantity, lane(rate, i), lane(latest, i), request_->n_times);
      if (check.status[i] == RowStatus::ok && !(work <= request_->max_operations)) {
        check.status[i] = RowStatus::over_budget;
      }
    }
  }

  // Gives lane i zero rates, starts and times.
  void silence(Span<T> times, int i) {
    const T zero(0.0);
    for (T& w : edge_) {
      copy_lane(w, zero, i);
    }
    for (T& w : start_) {
      copy_lane(w, zero, i);
    }
    for (T& t : times) {
      copy_lane(t, zero, i);
    }
  }

  const Program* program_ = nullptr;
  const Request* request_ = nullptr;
  const TransitionLayout* layout_ = nullptr;
  Uniformization<T> sweep_;
  std::vector<Base> exponent_;
  std::vector<T> edge_, start_, mantissa_;
  std::vector<T> edge_bar_, start_bar_, mantissa_bar_;
};

}  // namespace phasic::PHASIC_ISA
