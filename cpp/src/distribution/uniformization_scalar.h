// pdf, cdf and sf of a continuous chain for one lane block, one number a time, forward and adjoint.
//
//   pdf  q sum_k w_k c_k        sf  sum_k w_k m_k        cdf  atom + sum_k w_k a_k
// with the series of uniformization_observe.h (cdf and sf: paired where derivatives are wanted) and
// Poisson weights w_k(q t). Derivatives in time are sums over series of their own, at the same
// weights; at a time with derivative parts the result is their Taylor sum.
#pragma once

#include <optional>

#include "distribution/lost_mass.h"
#include "distribution/uniformization_observe.h"
#include "distribution/uniformization_reverse.h"
#include "distribution/uniformization_series.h"
#include "distribution/uniformization_times.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kNaturalExponent = -900;  // smaller values keep their exponent apart

// mantissa * 2^exponent + atom, the exponent kept apart where that is worth while.
template <class T>
struct ScaledResult {
  using Base = typename Traits<T>::Base;
  T value;        // times 2^exponent
  Base exponent;  // 0 unless the result is below 2^-900 and has no atom
  Base factor;    // value = mantissa * factor + atom

  ScaledResult(const T& mantissa, const Base& mantissa_exponent, const T& atom) {
    const Base small = where_positive(kNaturalExponent - mantissa_exponent, Base(1.0), Base(0.0));
    Base apart = where_positive(magnitude(mantissa), small, Base(0.0));
    apart = where_positive(magnitude(atom), Base(0.0), apart);
    exponent = where_positive(apart, mantissa_exponent, Base(0.0));
    factor = where_positive(apart, Base(1.0), power_of_two(mantissa_exponent));
    value = scaled(mantissa, factor) + atom;
  }
};

template <class T, class N>
class ScalarSweep {
 public:
  using Base = typename Traits<T>::Base;

  // out * 2^out_exponent is the result. order: how often times carry derivative parts; edges,
  // slopes: what adjoint() will be asked for.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, double truncation, int order, bool edges, bool slopes,
               Span<T> out, Span<Base> out_exponent) {
    layout_ = &layout;
    order_ = order;
    chain_.set_longest(longest_of(times));
    observation_.begin(layout, chain_, edge, start, edges, order + (slopes ? 1 : 0));
    valid_ = lanes_where(chain_.rate() + chain_.start_mass(),
                         [](double x) { return x < std::numeric_limits<double>::infinity(); });
    form_rates(times, chain_.rate(), valid_, rates_);
    open_series();
    own_.assign(rates_.size(), Base(1.0));
    slope_.resize(slopes ? rates_.size() : 0);
    steps_.resize(rates_.size());
    sum(truncation);
    for (Index i = 0; i < out.size(); ++i) {
      steps_[at(i)] = nilpotent_part(times[i]);
      finish(sums_.sums()[at(i)], i, out[i], out_exponent[i]);
    }
    out_.assign(out.begin(), out.end());
    out_exponent_.assign(out_exponent.begin(), out_exponent.end());
  }

  // Adds the times whose result in a lane may lack what underflowed in the last forward. relative:
  // also where only its logarithm would show it.
  void find_lost(int i, bool relative, std::vector<Index>& times) const {
    std::optional<LostMass> mass;
    const double unit = layout_->quantity == Quantity::pdf ? std::log2(lane(chain_.rate(), i)) : 0;
    for (Index t = 0; t < ssize(rates_) && lane(valid_, i) == 1; ++t) {
      const PoissonSum<T>& s = sums_.sums()[at(t)];
      const double sum = lane(primal(s.total[0].sum), i);
      const double exponent =
          sum > 0 ? lane(s.total[0].exponent, i) + std::ilogb(sum) : kNoScale;
      if (exponent > kUsualExponent) {
        continue;
      }
      if (!mass) {
        mass.emplace(chain_, i);
      }
      const double x = lane(rates_[at(t)], i);
      if (mass->matters(s.next[i] * kChunk, exponent, unit, !relative, true,
                        [x](Index b, Index e) { return log_probability(x, b, e); })) {
        times.push_back(t);
      }
    }
  }
  // Did the last adjoint meet numbers in a lane that it had to cut off?
  [[nodiscard]] bool cut_off(int i) const { return lane(cut_off_, i) > 0; }

  // All += . out_bar belongs to the `out` of the last forward (exponents are constants). Spans for
  // what it was not asked to keep are empty.
  void adjoint(Span<const T> out_bar, Span<T> edge_bar, Span<T> start_bar, Span<T> times_bar) {
    cut_off_ = Base(0.0);
    for (Index i = 0; i < times_bar.size(); ++i) {
      times_bar[i] += out_bar[i] * slope_[at(i)];
    }
    if (edge_bar.empty() && start_bar.empty()) {
      return;
    }
    choose_unit(out_bar);
    observation_.begin_reverse();
    Rows rows{*this, out_bar};
    reverse_.run(chain_, ReverseSource<T, N, Rows>{chain_, observation_, rows});
    reverse_.collect(unit_, edge_bar, start_bar);
    if (layout_->quantity != Quantity::pdf) {
      for (Index i = 0; i < out_bar.size(); ++i) {
        observation_.add_atom_adjoint(scaled(out_bar[i], share(i, is_cdf() ? 0 : 1)), start_bar);
      }
    }
  }

 private:
  [[nodiscard]] bool is_cdf() const { return layout_->quantity == Quantity::cdf; }
  // The d-th derivative in time, d > 0, is this times a power of q and the sum over its series.
  [[nodiscard]] double sign() const { return layout_->quantity == Quantity::sf ? -1 : 1; }

  void open_series() {
    segment_.n_positions = layout_->n_positions;
    segment_.n_series = observation_.width();
    rows_.resize(at(kChunk * segment_.n_series));
    for (Index i = 0; i < segment_.n_series; ++i) {
      segment_.series[i].bound = observation_.start_bound(chain_, i);
      segment_.series[i].is_signed = observation_.is_signed(i);
    }
  }

  void sum(double truncation) {
    sums_.begin(Span<const Base>(rates_), truncation, valid_);
    for (Index first = 0; sums_.wanted() > first; first += kSegmentChunks) {
      segment_.open(first);
      sums_.open_segment();
      const Index last = first + kSegmentChunks;
      while (!sums_.all_reached(last)) {
        const Index end = std::min(sums_.wanted(), last);
        while (chain_.n_chunks() < end) {
          advance();
        }
        sums_.take(segment_, end);
      }
    }
  }

  // One more chunk of the series.
  void advance() {
    const Index chunk = chain_.n_chunks();
    const std::size_t local = at(segment_.local(chunk));
    const double* const factor = segment_.tables.factor(chunk);
    const Index width = segment_.n_series;
    for (Index i = 0; i < width; ++i) {
      segment_.series[i].exponent[local] = observation_.exponent(chain_, chain_.exponent(), i);
    }
    observation_.advance(chain_, rows_.data());
    for (Index i = 0; i < width; ++i) {
      Series<T>& series = segment_.series[i];
      T* const y = series.y.data() + segment_.local(chunk) * kChunk;
      for (Index j = 0; j < kChunk; ++j) {
        y[j] = scaled(rows_[at(j * width + i)], Base(factor[j]));
      }
      series.remaining[local] = observation_.bound(chain_, i);
      series.remaining_exponent[local] =
          observation_.is_sum(i) ? Base(0.0) : chain_.exponent();
    }
  }

  // x 2^e times q^power with the mantissa near 1.
  void multiply_by_rate(Index power, T& x, Base& e) const {
    for (Index i = 0; i < power; ++i) {
      x = scaled(x, chain_.rate());
      const Base shift = exponent_of(magnitude(x));
      x = scaled(x, power_of_two(-shift));
      e += shift;
    }
  }

  void finish(const PoissonSum<T>& s, Index i, T& out, Base& out_exponent) {
    const int n_derivatives = order_ + (slope_.empty() ? 0 : 1);
    T part[kMaxSeries];
    Base exponent[kMaxSeries];
    for (int d = 0; d <= n_derivatives; ++d) {
      const Index entry = d == 0 ? 0 : observation_.entry_of(d);
      part[d] = s.total[entry].sum;
      exponent[d] = s.total[entry].exponent;
      multiply_by_rate(observation_.power(entry), part[d], exponent[d]);
    }
    const T atom = is_cdf() ? observation_.atom() : T(0.0);
    const ScaledResult<T> result(part[0], exponent[0], atom);
    part[0] = result.value;
    out_exponent = result.exponent;
    if (observation_.paired()) {
      part[0] = from_smaller(s, i, part[0]);
    }
    for (int d = 1; d <= n_derivatives; ++d) {
      part[d] = scaled(part[d], power_of_two(exponent[d] - out_exponent) * sign());
    }
    const T& step = steps_[at(i)];
    out = taylor_sum(step, order_, [&](int d) { return part[d]; });
    if (!slope_.empty()) {
      slope_[at(i)] = taylor_sum(step, order_, [&](int d) { return part[d + 1]; });
    }
    mark_invalid(out, valid_);
  }

  // A cdf or sf whose derivatives in other things than time are those of the smaller of the two.
  T from_smaller(const PoissonSum<T>& s, Index i, const T& value) {
    const Base unit = power_of_two(s.total[1].exponent);
    const Base own_size = primal(s.total[0].sum) * power_of_two(s.total[0].exponent);
    const Base other_size = primal(s.total[1].sum) * unit;
    own_[at(i)] = where_positive(own_size - other_size, Base(0.0), Base(1.0));
    T complement = -scaled(s.total[1].sum, unit);
    if (!is_cdf()) {
      complement -= observation_.atom();
    }
    set_primal(complement, primal(value));
    return selected(own_[at(i)], value, complement);
  }

  // The part of a cotangent that goes into a series: 1, 0 or -1 of it, by lane.
  [[nodiscard]] Base share(Index time, Index series) const {
    const Base own = valid_ * own_[at(time)];
    return series == 0 ? own : own - valid_;
  }

  // What multiplies a series in the result at a time, in units of q^power.
  [[nodiscard]] T coefficient(Index time, Index series) const {
    const int first = observation_.paired() ? 2 : 1;
    if (series < first) {
      return constant<T>(share(time, series));
    }
    const int d = static_cast<int>(series - observation_.entry_of(1)) + 1;
    if (d > order_) {
      return T(0.0);
    }
    return scaled(taylor_weight(steps_[at(time)], d), valid_ * sign());
  }

  // Cotangents are measured in units of 2^unit_, the size of the largest term of <out_bar, out>.
  void choose_unit(Span<const T> out_bar) {
    Base largest(0.0);
    for (Index i = 0; i < out_bar.size(); ++i) {
      largest = elementwise_max(largest, magnitude(out_bar[i]) * magnitude(out_[at(i)]));
    }
    unit_ = exponent_of(largest);
  }

  // d <out_bar, out> / d rows, a stretch at a time.
  struct Rows {
    ScalarSweep& sweep;
    Span<const T> out_bar;
    Index first = 0;

    void open_stretch(Index begin, Index end, const Base* exponents) {
      first = begin;
      sweep.rows_bar_.assign(at((end - begin) * kChunk * sweep.segment_.n_series), T(0.0));
      sweep.form_rows_bar(out_bar, begin, end, exponents);
    }
    const T* of(Index chunk, const Base&) const {
      return sweep.rows_bar_.data() + (chunk - first) * kChunk * sweep.segment_.n_series;
    }
  };

  void form_rows_bar(Span<const T> out_bar, Index begin, Index end, const Base* exponents) {
    for (Index s = begin / kSegmentChunks; s <= (end - 1) / kSegmentChunks; ++s) {
      segment_.tables.open(s * kSegmentChunks);
      for (const auto& window : sums_.windows(s)) {
        for (Index series = 0; series < segment_.n_series; ++series) {
          add_weights(window, series, out_bar[window.time], begin, end, exponents);
        }
      }
      const Index last = std::min(end, (s + 1) * kSegmentChunks);
      for (Index c = std::max(begin, s * kSegmentChunks); c < last; ++c) {
        const double* const factor = segment_.tables.factor(c);
        const Index width = segment_.n_series;
        T* const bar = rows_bar_.data() + (c - begin) * kChunk * width;
        for (Index j = 0; j < kChunk * width; ++j) {
          bar[j] = scaled(bar[j], Base(factor[j / width]));
        }
      }
    }
  }

  // One window and series, into the stretch of chunks [begin, end).
  void add_weights(const typename PoissonSums<T>::Window& window, Index series, const T& out_bar,
                   Index begin, Index end, const Base* exponents) {
    const Index from = std::max(begin, window.begin), to = std::min(end, window.end);
    T bar = out_bar * coefficient(window.time, series);
    const Base size = magnitude(bar);
    if (from >= to || !(max_lane(size) > 0)) {
      return;
    }
    Base bar_exponent = exponent_of(size);
    bar = scaled(bar, power_of_two(-bar_exponent));
    multiply_by_rate(observation_.power(series), bar, bar_exponent);
    const PoissonRate<Base> rate(rates_[at(window.time)]);
    const Base unit = out_exponent_[at(window.time)] + unit_ - bar_exponent;
    const Index width = segment_.n_series;
    WeightGroup<Base> group;
    for (Index c = from; c < to; ++c) {
      const Index i = c - group_of(c);
      if (c == from || i == 0) {
        group.fill(rate, segment_.tables, c - i, kAnchorChunks);
      }
      const Base shift =
          group.exponent[i] + observation_.exponent(chain_, exponents[c - begin], series) - unit;
      const Base weight = group.weight[i] * window.range.holds(c);
      cut_off_ += where_positive(shift - kLargestExponent, size * weight, Base(0.0));
      T term = scaled(bar, weight * power_of_two(shift, kLargestExponent));
      T* const row_bar = rows_bar_.data() + (c - begin) * kChunk * width + series;
      for (Index j = 0; j < kChunk; ++j) {
        row_bar[j * width] += term;
        term = scaled(term, rate.x);
      }
    }
  }

  // Beyond it adjoints of states might leave the double range.
  static constexpr double kLargestExponent = 500;

  const TransitionLayout* layout_ = nullptr;
  int order_ = 0;
  Chain<N> chain_;
  Observation<T, N> observation_;
  ChainReverse<N> reverse_;
  SeriesSegment<T> segment_;
  PoissonSums<T> sums_;
  Base valid_, unit_, cut_off_;
  std::vector<Base> rates_;
  std::vector<T> steps_;  // (n_times) derivative parts of the times
  std::vector<T> out_, slope_, rows_, rows_bar_;
  std::vector<Base> out_exponent_, own_;  // own_: 1 in lanes that take derivatives from series 0
};

}  // namespace phasic::PHASIC_ISA
