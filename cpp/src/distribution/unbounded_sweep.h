// pdf, cdf and sf of one row by the sweep of uniformisation in numbers without bounds.
//
// The same chain, observation and adjoint as in uniformization_scalar.h, where nothing needs scales:
//   f(t) = sum_k w_k(q t) y_k, and for a discrete chain y_n. Derivatives in time have own series.
// It serves the rows and times whose result the sweep in doubles may have lost (lost_mass.h), so it
// is simple rather than fast. In twice the precision throughout.
#pragma once

#include <vector>

#include "distribution/unbounded.h"
#include "distribution/uniformization_observe.h"
#include "distribution/uniformization_reverse.h"
#include "distribution/uniformization_times.h"

namespace phasic::PHASIC_ISA {

// T: double, or dual numbers of it.
template <class T>
class UnboundedSweep {
 public:
  using N = typename UnboundedType<T>::type;
  using Scalar = Unbounded<Twice<double>>;

  // out * 2^exponent is the result; arguments as in ScalarSweep.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, double truncation, int order, bool edges, bool slopes,
               Span<T> out, Span<double> exponent) {
    layout_ = &layout;
    order_ = layout.discrete ? 0 : order;
    truncation_ = truncation;
    n_derivatives_ = layout.discrete ? 0 : order + (slopes ? 1 : 0);
    widen(edge, edge_);
    widen(start, start_);
    observation_.begin(layout, chain_, Span<const N>(edge_), Span<const N>(start_), edges,
                       n_derivatives_);
    times_.clear();
    for (const T& t : times) {
      times_.push_back(Time(layout, primal(t), chain_.rate(), n_derivatives_));
      times_.back().step = widened<N>(nilpotent_part(t));
    }
    rows_.resize(at(kChunk * observation_.width()));
    sum();
    slope_.resize(slopes ? times_.size() : 0);
    for (Index i = 0; i < ssize(times_); ++i) {
      finish(i, out[i], exponent[i]);
    }
  }

  // Adjoint of the last forward; everything is added to. out_bar belongs to mantissas of the given
  // exponents, which are constants.
  void adjoint(Span<const T> out_bar, Span<const double> exponent, Span<T> edge_bar,
               Span<T> start_bar, Span<T> times_bar) {
    for (Index i = 0; i < times_bar.size() && !slope_.empty(); ++i) {
      times_bar[i] += out_bar[i] * plain<T>(slope_[at(i)], static_cast<std::int64_t>(exponent[i]));
    }
    if (edge_bar.empty() && start_bar.empty()) {
      return;
    }
    bar_.clear();
    for (Index i = 0; i < out_bar.size(); ++i) {
      const Scalar unit(Twice<double>(1.0), -static_cast<std::int64_t>(exponent[i]));
      bar_.push_back(times(widened<N>(out_bar[i]), unit));
    }
    observation_.begin_reverse();
    Rows rows{*this};
    reverse_.run(chain_, ReverseSource<N, N, Rows>{chain_, observation_, rows});
    reverse_.collect(0.0, edge_bar, start_bar);
    for (Index i = 0; i < ssize(times_); ++i) {
      for (Index e = 0; e < start_bar.size() && has_atom(times_[at(i)]); ++e) {
        if (layout_->start_position[at(e)] >= 0) {
          start_bar[e] -= rounded<T>(bar_[at(i)]);
        }
      }
    }
  }

 private:
  struct Time {
    double x;    // q t; discrete: n
    Index row;   // discrete: the row that is the result
    Index n_chunks = 0;
    bool done = false;
    N step{0.0};
    std::vector<N> sum;        // value and derivatives in time, in units of q^-d
    std::vector<Scalar> peak;  // their largest terms

    Time(const TransitionLayout& layout, double t, double rate, int n_derivatives)
        : x(layout.discrete ? t : rate * t),
          row(static_cast<Index>(t < kLargestRate ? t : 0.0) -
              (layout.quantity == Quantity::pdf ? 1 : 0)),
          sum(at(n_derivatives + 1), N(0.0)), peak(at(n_derivatives + 1), Scalar(0.0)) {}
  };

  static void widen(Span<const T> from, std::vector<N>& to) {
    to.clear();
    for (const T& x : from) {
      to.push_back(widened<N>(x));
    }
  }

  // Is what is absorbed at time 0 part of the result?
  [[nodiscard]] bool has_atom(const Time& t) const {
    return layout_->quantity == Quantity::cdf || (layout_->discrete && t.row < 0);
  }
  [[nodiscard]] Index entry(int d) const { return d == 0 ? 0 : observation_.entry_of(d); }

  void sum() {
    bool open = !times_.empty();
    for (Index chunk = 0; open; ++chunk) {
      observation_.advance(chain_, rows_.data());
      open = false;
      for (Time& t : times_) {
        if (!t.done) {
          add_chunk(t, chunk);
          t.n_chunks = chunk + 1;
          t.done = finished(t);
          open = open || !t.done;
        }
      }
    }
  }

  // The weights of the steps of a chunk.
  void form_weights(const Time& t, Index chunk) {
    const Index first = chunk * kChunk;
    if (layout_->discrete) {
      for (Index j = 0; j < kChunk; ++j) {
        weight_[j] = Scalar(first + j == t.row ? 1.0 : 0.0);
      }
      return;
    }
    double mantissa, exponent;
    poisson_anchor(static_cast<double>(first), t.x, mantissa, exponent);
    weight_[0] = Scalar(Twice<double>(mantissa), static_cast<std::int64_t>(exponent));
    const Scalar x(t.x);
    for (Index j = 1; j < kChunk; ++j) {
      weight_[j] = weight_[j - 1] * x / static_cast<double>(first + j);
    }
  }

  void add_chunk(Time& t, Index chunk) {
    form_weights(t, chunk);
    for (int d = 0; d <= n_derivatives_; ++d) {
      for (Index j = 0; j < kChunk; ++j) {
        const N term = times(rows_[at(j * observation_.width() + entry(d))], weight_[j]);
        t.sum[at(d)] += term;
        if (d > 0 && !at_most(innermost(term), t.peak[at(d)])) {
          t.peak[at(d)] = absolute(innermost(term));
        }
      }
    }
  }

  // Is what the steps from here on add negligible, by the upper Poisson tail and a bound of the rows?
  [[nodiscard]] bool finished(const Time& t) const {
    const Index steps = t.n_chunks * kChunk;
    if (layout_->discrete) {
      return steps > t.row;
    }
    const double k = static_cast<double>(steps);
    if (!(k + 1 > t.x)) {
      return false;
    }
    const Scalar& value = innermost(t.sum[0]);
    if (value.is_zero()) {  // nothing is absorbed, or it takes more steps
      return steps > layout_->n_positions && k > poisson_right_edge(t.x, 4 - std::log(truncation_));
    }
    double mantissa, exponent, allowed = truncation_ / (1 + k);
    for (int level = 0; level < Traits<T>::levels; ++level) {
      allowed /= 1 + k;
    }
    poisson_anchor(k, t.x, mantissa, exponent);
    const Scalar tail(Twice<double>(mantissa * upper_tail_factor(k, t.x)),
                      static_cast<std::int64_t>(exponent));
    const bool summed = layout_->quantity == Quantity::cdf;
    const Scalar bound = summed ? Scalar(chain_.start_mass()) : innermost(chain_.total(chain_.v()));
    if (!at_most(tail * bound, value * Scalar(allowed))) {
      return false;
    }
    for (int d = 1; d <= n_derivatives_; ++d) {
      const Scalar rest = tail * norm(entry(d) - observation_.entry_of(1) + first_order());
      if (!at_most(rest, innermost(t.sum[at(d)]) * Scalar(allowed)) &&
          !at_most(rest, t.peak[at(d)] * Scalar(kCancelled))) {
        return false;
      }
    }
    return true;
  }
  static constexpr double kCancelled = 0x1p-110;

  // The first derivative of the density is of order 1, that of cdf and sf is the density.
  [[nodiscard]] int first_order() const { return layout_->quantity == Quantity::pdf ? 1 : 0; }
  // Bound of entries that are (v G^(d - 1)) (G exits), G being at most 2 in norm, or of the density.
  [[nodiscard]] Scalar norm(Index d) const {
    const N* const v = chain_.v(std::max<Index>(d - 1, 0));
    Scalar sum(0.0);
    for (Index i = 0; i < chain_.n(); ++i) {
      sum += absolute(innermost(v[i]));
    }
    return sum * Scalar(2.0);
  }

  // What multiplies the sum of the d-th derivative in the d-th derivative.
  [[nodiscard]] Scalar unit(int d) const {
    const bool density = layout_->quantity == Quantity::pdf && !layout_->discrete;
    Scalar result(layout_->quantity == Quantity::sf && d > 0 ? -1.0 : 1.0);
    for (int i = 0; i < d + (density ? 1 : 0); ++i) {
      result *= Scalar(chain_.rate());
    }
    return result;
  }

  void finish(Index i, T& out, double& exponent) {
    const Time& t = times_[at(i)];
    const auto derivative = [&](int d) { return times(t.sum[at(d)], unit(d)); };
    N value = taylor_sum(t.step, order_, derivative);
    if (has_atom(t)) {
      value += observation_.atom();
    }
    const Scalar& size = innermost(value);
    const std::int64_t e = size.is_zero() ? 0 : size.magnitude_exponent();
    exponent = static_cast<double>(e);
    out = plain<T>(value, e);
    if (!slope_.empty()) {
      slope_[at(i)] = n_derivatives_ == 0 ? N(0.0) : taylor_sum(t.step, order_, [&](int d) {
        return derivative(d + 1);
      });
    }
  }

  // d <out_bar, out> / d rows, a chunk at a time.
  struct Rows {
    UnboundedSweep& sweep;
    void open_stretch(Index, Index, const double*) {}
    const N* of(Index chunk, const double&) {
      sweep.form_rows_bar(chunk);
      return sweep.rows_.data();
    }
  };

  void form_rows_bar(Index chunk) {
    std::fill(rows_.begin(), rows_.end(), N(0.0));
    for (Index i = 0; i < ssize(times_); ++i) {
      const Time& t = times_[at(i)];
      if (chunk >= t.n_chunks) {
        continue;
      }
      form_weights(t, chunk);
      for (int d = 0; d <= order_; ++d) {
        const N bar = times(bar_[at(i)] * taylor_weight(t.step, d), unit(d));
        for (Index j = 0; j < kChunk; ++j) {
          rows_[at(j * observation_.width() + entry(d))] += times(bar, weight_[j]);
        }
      }
    }
  }

  const TransitionLayout* layout_ = nullptr;
  int order_ = 0, n_derivatives_ = 0;
  double truncation_ = 0;
  Chain<N> chain_;
  Observation<N, N> observation_;
  ChainReverse<N> reverse_;
  Scalar weight_[kChunk];
  std::vector<Time> times_;
  std::vector<N> edge_, start_, rows_, bar_, slope_;
};

}  // namespace phasic::PHASIC_ISA
