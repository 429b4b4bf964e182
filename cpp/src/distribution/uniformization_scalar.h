// pdf, cdf and sf of a continuous chain for one lane block, one number a time, forward and adjoint.
//
//   pdf  q sum_k w_k c_k        sf  sum_k w_k m_k        cdf  atom + sum_k w_k a_k
// with the series of uniformization_observe.h (cdf and sf: paired where derivatives are wanted) and
// Poisson weights w_k(q t).
#pragma once

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

template <class T>
class ScalarSweep {
 public:
  using Base = typename Traits<T>::Base;

  // out * 2^out_exponent is the result. edges, slopes: what adjoint() will be asked for.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, double truncation, bool edges, bool slopes, Span<T> out,
               Span<Base> out_exponent) {
    layout_ = &layout;
    observation_.begin(layout, chain_, edge, start, edges, slopes);
    valid_ = lanes_where(chain_.rate() + chain_.start_mass(),
                         [](double x) { return x < std::numeric_limits<double>::infinity(); });
    form_rates(times, chain_.rate(), valid_, rates_);
    segment_.start_mass = chain_.start_mass();
    segment_.n_positions = layout.n_positions;
    segment_.n_series = observation_.width();
    own_.assign(rates_.size(), Base(1.0));
    slopes_ = slopes;
    tangents_ = any_tangent(times);
    slope_.resize(slopes ? rates_.size() : 0);
    with_weight_type<T>(slopes_, tangents_, [&](auto type) {
      sum<typename decltype(type)::type>(truncation, out, out_exponent);
    });
    out_.assign(out.begin(), out.end());
    out_exponent_.assign(out_exponent.begin(), out_exponent.end());
  }

  // All += . out_bar belongs to the `out` of the last forward (exponents are constants). Spans for
  // what it was not asked to keep are empty.
  void adjoint(Span<const T> out_bar, Span<T> edge_bar, Span<T> start_bar, Span<T> times_bar) {
    for (Index i = 0; i < times_bar.size(); ++i) {
      times_bar[i] += out_bar[i] * slope_[at(i)];
    }
    if (edge_bar.empty() && start_bar.empty()) {
      return;
    }
    choose_unit(out_bar);
    observation_.begin_reverse();
    Rows rows{*this, out_bar};
    reverse_.run(chain_, ReverseSource<T, Rows>{chain_, observation_, rows});
    reverse_.collect(unit_, edge_bar, start_bar);
    if (layout_->quantity != Quantity::pdf) {
      for (Index i = 0; i < out_bar.size(); ++i) {
        observation_.add_atom_adjoint(scaled(out_bar[i], share(i, is_cdf() ? 0 : 1)), start_bar);
      }
    }
  }

 private:
  [[nodiscard]] Base factor() const {
    return layout_->quantity == Quantity::pdf ? chain_.rate() : Base(1.0);
  }
  [[nodiscard]] bool is_cdf() const { return layout_->quantity == Quantity::cdf; }
  template <class X>
  PoissonSums<T, X>& sums() {
    return std::get<PoissonSums<T, X>>(sums_);
  }

  template <class X>
  void sum(double truncation, Span<T> out, Span<Base> out_exponent) {
    PoissonSums<T, X>& all = sums<X>();
    all.begin(Span<const T>(rates_), truncation, valid_);
    for (Index first = 0; all.wanted() > first; first += kSegmentChunks) {
      segment_.open(first);
      all.open_segment();
      const Index last = first + kSegmentChunks;
      while (!all.all_reached(last)) {
        const Index end = std::min(all.wanted(), last);
        while (chain_.n_chunks() < end) {
          advance();
        }
        all.take(segment_, end);
      }
    }
    for (Index i = 0; i < out.size(); ++i) {
      finish(all.sums()[at(i)], i, out[i], out_exponent[i]);
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
    T rows[2 * kChunk];
    observation_.advance(chain_, rows);
    for (Index i = 0; i < width; ++i) {
      Series<T>& series = segment_.series[i];
      T* const y = series.y.data() + segment_.local(chunk) * kChunk;
      for (Index j = 0; j < kChunk; ++j) {
        y[j] = scaled(rows[j * width + i], Base(factor[j]));
      }
      const bool bounded_by_mass = layout_->quantity == Quantity::pdf || !observation_.is_sum(i);
      series.remaining[local] = bounded_by_mass ? chain_.mass() : chain_.start_mass();
      series.remaining_exponent[local] = bounded_by_mass ? chain_.exponent() : Base(0.0);
    }
  }

  template <class X>
  void finish(const PoissonSum<T, X>& s, Index i, T& out, Base& out_exponent) {
    const T atom = is_cdf() ? observation_.atom() : T(0.0);
    const auto& own = s.total[0];
    const ScaledResult<T> result(scaled(value_of(own.sum), factor()), own.exponent, atom);
    out = result.value;
    out_exponent = result.exponent;
    T slope = slope_of(own.sum, result.factor * factor() * chain_.rate());
    if (observation_.paired()) {
      const auto& other = s.total[1];
      const Base unit = power_of_two(other.exponent);
      const Base own_size = primal(value_of(own.sum)) * power_of_two(own.exponent);
      const Base other_size = primal(value_of(other.sum)) * unit;
      own_[at(i)] = where_positive(own_size - other_size, Base(0.0), Base(1.0));
      T complement = -scaled(value_of(other.sum), unit);
      if (!is_cdf()) {
        complement -= observation_.atom();
      }
      set_primal(complement, primal(out));
      out = selected(own_[at(i)], out, complement);
      slope = selected(own_[at(i)], slope, -slope_of(other.sum, unit * chain_.rate()));
    }
    if (slopes_) {
      slope_[at(i)] = slope;
    }
    mark_invalid(out, valid_);
  }
  template <class R>
  static const T& value_of(const R& sum) {
    if constexpr (Traits<R>::levels > Traits<T>::levels) {
      return sum.value;
    } else {
      return sum;
    }
  }
  template <class R>
  static T slope_of(const R& sum, const Base& scale) {
    if constexpr (Traits<R>::levels > Traits<T>::levels) {
      return scaled(sum.tangent, scale);
    } else {
      return T(0.0);
    }
  }

  // The part of a cotangent that goes into a series: 1, 0 or -1 of it, by lane.
  [[nodiscard]] Base share(Index time, Index series) const {
    const Base own = valid_ * own_[at(time)];
    return series == 0 ? own : own - valid_;
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
      with_weight_type<T>(sweep.slopes_, sweep.tangents_, [&](auto type) {
        sweep.form_rows_bar<typename decltype(type)::type>(out_bar, begin, end, exponents);
      });
    }
    const T* of(Index chunk, const Base&) const {
      return sweep.rows_bar_.data() + (chunk - first) * kChunk * sweep.segment_.n_series;
    }
  };

  template <class X>
  void form_rows_bar(Span<const T> out_bar, Index begin, Index end, const Base* exponents) {
    for (Index s = begin / kSegmentChunks; s <= (end - 1) / kSegmentChunks; ++s) {
      segment_.tables.open(s * kSegmentChunks);
      for (const auto& window : sums<X>().windows(s)) {
        const Index from = std::max(begin, window.begin), to = std::min(end, window.end);
        if (from < to && tangents_) {
          add_weights<T>(window.time, out_bar, from, to, begin, exponents);
        } else if (from < to) {
          add_weights<Base>(window.time, out_bar, from, to, begin, exponents);
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

  // Chunks [from, to) of one time, into the stretch that begins at chunk `begin`.
  template <class W>
  void add_weights(Index time, Span<const T> out_bar, Index from, Index to, Index begin,
                   const Base* exponents) {
    const PoissonRate<W> rate(rate_as<W>(rates_[at(time)]));
    const Index width = segment_.n_series;
    const Base bar_exponent = exponent_of(magnitude(out_bar[time]));
    const T bar = scaled(out_bar[time], power_of_two(-bar_exponent) * factor());
    const Base unit = out_exponent_[at(time)] + unit_ - bar_exponent;
    WeightGroup<W> group;
    for (Index c = from; c < to; ++c) {
      const Index i = (c - from) % kAnchorChunks;
      if (i == 0) {
        group.fill(rate, segment_.tables, c, std::min(c + kAnchorChunks, to));
      }
      for (Index s = 0; s < width; ++s) {
        const Base part = share(time, s);
        if (max_lane(part * part) == 0) {
          continue;
        }
        const Base shift =
            group.exponent[i] + observation_.exponent(chain_, exponents[c - begin], s) - unit;
        const W weight = scaled(group.weight[i], power_of_two(shift, kLargestExponent));
        T term = product(weight, scaled(bar, part));
        T* const row_bar = rows_bar_.data() + (c - begin) * kChunk * width + s;
        for (Index j = 0; j < kChunk; ++j) {
          row_bar[j * width] += term;
          term = product(rate.x, term);
        }
      }
    }
  }

  // A state that no mass reaches may have an adjoint beyond the double range; it stays finite.
  static constexpr double kLargestExponent = 500;

  const TransitionLayout* layout_ = nullptr;
  bool slopes_ = false, tangents_ = false;
  Chain<T> chain_;
  Observation<T> observation_;
  ChainReverse<T> reverse_;
  SeriesSegment<T> segment_;
  EachWeight<PoissonSums, T> sums_;
  Base valid_, unit_;
  std::vector<T> rates_, out_, slope_, rows_bar_;
  std::vector<Base> out_exponent_, own_;  // own_: 1 in lanes that take derivatives from series 0
};

}  // namespace phasic::PHASIC_ISA
