// state_probability and accumulated_occupancy of one lane block, one number a vertex and time.
//
//   state      p(t) = sum_k w_k v_k, absorbing vertices included (what was absorbed by step k)
//   occupancy  integral of p over (0, t) = (1 / q) sum_k w_k V_k,  V_k = v_0 + .. + v_(k-1)
// (discrete: v_n and V_n). The sweep goes chunk by chunk; each time adds its weights times the
// vectors of the chunk. It stops when the Poisson tail is negligible beside every entry that is not
// zero, so that far vertices keep their relative accuracy, or below the double range.
#pragma once

#include <vector>

#include "distribution/uniformization_observe.h"
#include "distribution/uniformization_reverse.h"
#include "distribution/uniformization_series.h"

namespace phasic::PHASIC_ISA {

// The weights of one time in one chunk, as plain numbers. They are formed 2^kBoost too large, so
// that a weight that grows into the double range inside a chunk is not lost.
template <class X>
class ChunkWeights {
 public:
  using Base = typename Traits<X>::Base;
  static constexpr double kBoost = 500;
  X weight[kChunk];

  // False if all of them are zero.
  bool form(const PoissonRate<X>& rate, const X& first, const Base& exponent,
            const double* inverse) {
    X w = scaled(first, power_of_two(exponent + kBoost));
    const Base unboost(std::ldexp(1.0, -static_cast<int>(kBoost)));
    Base largest(0.0);
    for (Index j = 0; j < kChunk; ++j) {
      weight[j] = scaled(w, unboost);
      largest = elementwise_max(largest, magnitude(weight[j]));
      w = product(scaled(rate.x, Base(inverse[j])), w);
    }
    return max_lane(largest) > 0;
  }
};

// w y where w may carry one level more than y.
template <class R, class X, class T>
R weighted(const X& w, const T& y) {
  if constexpr (Traits<X>::levels > Traits<T>::levels) {
    return R(w.value * y, w.tangent * y);
  } else {
    return product(w, y);
  }
}

// One time of the sweep.
template <class T, class X>
struct VertexTime {
  using Base = typename Traits<T>::Base;
  PoissonRate<X> rate;
  X weight{0.0};  // at the next chunk
  Base weight_exponent{0.0};
  Index want = 0;
  bool done = false;
};

// Sums over the vectors of the sweep for every time, in number type X for the weights.
template <class T, class X>
class VertexSums {
 public:
  using Base = typename Traits<T>::Base;
  using R = Richer<X, T>;
  static constexpr int kLanes = Traits<T>::lanes;

  void begin(Span<const T> rates, Index width, double truncation, const Base& valid) {
    width_ = width;
    truncation_ = truncation;
    valid_ = valid;
    times_.resize(at(rates.size()));
    sum_.assign(at(rates.size() * width), R(0.0));
    const double log_tail = 4 - std::log(truncation);
    for (Index i = 0; i < rates.size(); ++i) {
      VertexTime<T, X>& t = times_[at(i)];
      t = VertexTime<T, X>{};
      t.rate = PoissonRate<X>(rate_as<X>(rates[i]));
      const double edge = poisson_right_edge(max_lane(primal(rates[i])), log_tail);
      t.want = static_cast<Index>(edge) / kChunk + 1;
    }
  }

  [[nodiscard]] bool finished() const {
    return std::all_of(times_.begin(), times_.end(), [](const auto& t) { return t.done; });
  }

  // rows: (kChunk, width) of the chunk.
  void take(const ChunkTables& tables, Index chunk, const T* rows, Index n_positions) {
    ChunkWeights<X> weights;
    for (Index i = 0; i < ssize(times_); ++i) {
      VertexTime<T, X>& t = times_[at(i)];
      if (t.done) {
        continue;
      }
      if (chunk % kAnchorChunks == 0) {
        poisson_anchor(static_cast<double>(chunk * kChunk), t.rate.x, t.weight, t.weight_exponent);
      }
      if (weights.form(t.rate, t.weight, t.weight_exponent, tables.inverse(chunk))) {
        add(weights, rows, sum_.data() + i * width_);
      }
      t.rate.advance(t.weight, t.weight_exponent, tables.product(chunk));
      if (chunk + 1 == t.want) {
        t.done = converged(t, sum_.data() + i * width_, n_positions);
        t.want += t.done ? 0 : std::max<Index>(1, t.want / 16);
      }
    }
  }

  [[nodiscard]] const R* sum(Index i) const { return sum_.data() + i * width_; }
  [[nodiscard]] Index end(Index i) const { return times_[at(i)].want; }

 private:
  void add(const ChunkWeights<X>& weights, const T* rows, R* sum) const {
    for (Index u = 0; u < width_; ++u) {
      R total = sum[u];
      for (Index j = 0; j < kChunk; ++j) {
        total += weighted<R>(weights.weight[j], rows[j * width_ + u]);
      }
      sum[u] = total;
    }
  }

  // Every entry that step k adds to is at most k (occupancy; 1 for a probability).
  [[nodiscard]] bool converged(const VertexTime<T, X>& t, const R* sum, Index n_positions) const {
    const double k = static_cast<double>(t.want * kChunk);
    const bool all_reached = t.want * kChunk > n_positions;
    for (int i = 0; i < kLanes; ++i) {
      const double x = lane(primal(t.rate.x), i);
      if (lane(valid_, i) != 1) {
        continue;
      }
      if (!(k + 1 > x)) {
        return false;
      }
      const double factor = upper_tail_factor(k, x);
      const double rest = lane(primal(t.weight), i) * factor * (k + factor) *
                          power_of_two(lane(t.weight_exponent, i));
      const double limit = truncation_ / (1 + k);
      for (Index u = 0; u < width_ && rest > 0; ++u) {
        const double entry = lane(primal(sum[u]), i);
        if (entry == 0 ? !all_reached : rest > limit * entry) {
          return false;
        }
      }
    }
    return true;
  }

  Index width_ = 0;
  double truncation_ = 0;
  Base valid_;
  std::vector<VertexTime<T, X>> times_;
  std::vector<R> sum_;  // (n_times, width)
};

template <class T>
class VertexSweep {
 public:
  using Base = typename Traits<T>::Base;

  // out: (n_times, n_vertices). edges, slopes: what adjoint() will be asked for.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, double truncation, bool edges, bool slopes, Span<T> out) {
    layout_ = &layout;
    observation_.begin(layout, chain_, edge, start, edges);
    valid_ = lanes_where(chain_.rate() + chain_.start_mass(),
                         [](double x) { return x < std::numeric_limits<double>::infinity(); });
    form_rates(times, chain_.rate(), valid_, rates_);
    slopes_ = slopes;
    tangents_ = any_tangent(times);
    slope_.resize(slopes ? rates_.size() * at(width()) : 0);
    std::fill(out.begin(), out.end(), T(0.0));
    with_weight_type<T>(slopes_, tangents_, [&](auto type) {
      sum<typename decltype(type)::type>(truncation, out);
    });
  }

  // All += . Spans for what the last forward was not asked to keep are empty.
  void adjoint(Span<const T> out_bar, Span<T> edge_bar, Span<T> start_bar, Span<T> times_bar) {
    gather(out_bar);
    for (Index i = 0; i < times_bar.size(); ++i) {
      for (Index u = 0; u < width(); ++u) {
        times_bar[i] += out_bar_[at(i * width() + u)] * slope_[at(i * width() + u)];
      }
    }
    if (edge_bar.empty() && start_bar.empty()) {
      return;
    }
    observation_.begin_reverse();
    Rows rows{*this};
    reverse_.run(chain_, ReverseSource<T, Rows>{chain_, observation_, rows});
    reverse_.collect(Base(0.0), edge_bar, start_bar);
    observation_.collect(start_bar);
  }

 private:
  [[nodiscard]] Index width() const { return observation_.width(); }
  [[nodiscard]] Base factor() const {
    return layout_->quantity == Quantity::accumulated_occupancy ? 1.0 / chain_.rate() : Base(1.0);
  }

  template <class X>
  void sum(double truncation, Span<T> out) {
    VertexSums<T, X>& all = std::get<VertexSums<T, X>>(sums_);
    all.begin(Span<const T>(rates_), width(), truncation, valid_);
    rows_.resize(at(kChunk * width()));
    for (Index chunk = 0; !all.finished(); ++chunk) {
      tables_.open(chunk / kSegmentChunks * kSegmentChunks);
      observation_.advance(chain_, rows_.data());
      all.take(tables_, chunk, rows_.data(), layout_->n_positions);
    }
    last_.resize(rates_.size());
    for (Index i = 0; i < ssize(rates_); ++i) {
      last_[at(i)] = all.end(i);
      T* const row = out.data() + i * layout_->n_vertices;
      for (Index u = 0; u < width(); ++u) {
        T& value = row[layout_->vertex[at(u)]];
        if constexpr (Traits<X>::levels > Traits<T>::levels) {
          value = scaled(all.sum(i)[u].value, factor());
          slope_[at(i * width() + u)] =
              scaled(all.sum(i)[u].tangent, factor() * chain_.rate());
        } else {
          value = scaled(all.sum(i)[u], factor());
        }
        mark_invalid(value, valid_);
      }
    }
  }

  // Cotangents in the order of the rows, without those of lanes that are not valid.
  void gather(Span<const T> out_bar) {
    out_bar_.resize(rates_.size() * at(width()));
    for (Index i = 0; i < ssize(rates_); ++i) {
      for (Index u = 0; u < width(); ++u) {
        out_bar_[at(i * width() + u)] =
            scaled(out_bar[i * layout_->n_vertices + layout_->vertex[at(u)]], valid_);
      }
    }
  }

  // d <out_bar, out> / d rows, a chunk at a time.
  struct Rows {
    VertexSweep& sweep;
    void open_stretch(Index, Index, const Base*) {}
    const T* of(Index chunk, const Base&) {
      std::fill(sweep.rows_.begin(), sweep.rows_.end(), T(0.0));
      sweep.tables_.open(chunk / kSegmentChunks * kSegmentChunks);
      for (Index i = 0; i < ssize(sweep.rates_); ++i) {
        if (chunk < sweep.last_[at(i)]) {
          sweep.tangents_ ? sweep.template add_weights<T>(chunk, i)
                          : sweep.template add_weights<Base>(chunk, i);
        }
      }
      return sweep.rows_.data();
    }
  };

  template <class W>
  void add_weights(Index chunk, Index time) {
    const PoissonRate<W> rate(rate_as<W>(rates_[at(time)]));
    W first;
    Base exponent;
    poisson_anchor(static_cast<double>(chunk * kChunk), rate.x, first, exponent);
    ChunkWeights<W> weights;
    if (!weights.form(rate, first, exponent, tables_.inverse(chunk))) {
      return;
    }
    const T* const bar = out_bar_.data() + time * width();
    for (Index j = 0; j < kChunk; ++j) {
      const W w = scaled(weights.weight[j], factor());
      T* const row = rows_.data() + j * width();
      for (Index u = 0; u < width(); ++u) {
        row[u] += product(w, bar[u]);
      }
    }
  }

  const TransitionLayout* layout_ = nullptr;
  bool slopes_ = false, tangents_ = false;
  Chain<T> chain_;
  Observation<T> observation_;
  ChainReverse<T> reverse_;
  ChunkTables tables_;
  EachWeight<VertexSums, T> sums_;
  Base valid_;
  std::vector<Index> last_;  // (n_times) chunks that each time took
  std::vector<T> rates_, rows_, slope_, out_bar_;
};

}  // namespace phasic::PHASIC_ISA
