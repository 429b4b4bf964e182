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
            const double* factor) {
    X w = scaled(first, power_of_two(exponent + kBoost));
    const double unboost = std::ldexp(1.0, -static_cast<int>(kBoost));
    Base largest(0.0);
    for (Index j = 0; j < kChunk; ++j) {
      weight[j] = scaled(w, Base(factor[j] * unboost));
      largest = elementwise_max(largest, magnitude(weight[j]));
      w = rate.x * w;
    }
    return max_lane(largest) > 0;
  }
};

inline constexpr Index kTile = 16;  // vertices whose part of a chunk is worked on in cache

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
    weights_.resize(at(rates.size()));
    active_.reserve(at(rates.size()));
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
    active_.clear();
    for (Index i = 0; i < ssize(times_); ++i) {
      VertexTime<T, X>& t = times_[at(i)];
      if (!t.done) {
        if (chunk % kAnchorChunks == 0) {
          poisson_anchor(static_cast<double>(chunk * kChunk), t.rate.x, t.weight,
                         t.weight_exponent);
        }
        if (weights_[at(ssize(active_))].form(t.rate, t.weight, t.weight_exponent,
                                              tables.factor(chunk))) {
          active_.push_back(i);
        }
        t.rate.advance(t.weight, t.weight_exponent, tables.product(chunk));
      }
    }
    for (Index u = 0; u < width_; u += kTile) {
      add_tile(rows, u, std::min(u + kTile, width_));
    }
    for (Index i = 0; i < ssize(times_); ++i) {
      VertexTime<T, X>& t = times_[at(i)];
      if (!t.done && chunk + 1 == t.want) {
        t.done = converged(t, sum(i), n_positions);
        t.want += t.done ? 0 : std::max<Index>(1, t.want / 16);
      }
    }
  }

  [[nodiscard]] const R* sum(Index i) const { return sum_.data() + i * width_; }
  [[nodiscard]] Index end(Index i) const { return times_[at(i)].want; }

 private:
  // Entries [begin, end) of the rows stay in cache while every time takes them.
  void add_tile(const T* rows, Index begin, Index end) {
    for (Index a = 0; a < ssize(active_); ++a) {
      const X* const weight = weights_[at(a)].weight;
      R* const sum = sum_.data() + active_[at(a)] * width_;
      for (Index u = begin; u < end; ++u) {
        R total = sum[u];
        for (Index j = 0; j < kChunk; ++j) {
          total += weighted<R>(weight[j], rows[j * width_ + u]);
        }
        sum[u] = total;
      }
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
  std::vector<ChunkWeights<X>> weights_;  // of the active times
  std::vector<Index> active_;             // times with a weight in the chunk
  std::vector<R> sum_;                    // (n_times, width)
};

template <class T, class W>
struct TimeWeights {
  std::vector<ChunkWeights<W>> of_time;
};

template <class T>
class VertexSweep {
 public:
  using Base = typename Traits<T>::Base;

  // out: (n_times, n_vertices). edges, slopes: what adjoint() will be asked for.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, double truncation, bool edges, bool slopes, Span<T> out) {
    layout_ = &layout;
    observation_.begin(layout, chain_, edge, start, edges, slopes);
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
          slope_[at(i * width() + u)] = scaled(all.sum(i)[u].tangent, chain_.rate());
        } else {
          value = scaled(all.sum(i)[u], factor());
        }
        mark_invalid(value, valid_);
      }
    }
  }

  // Cotangents of the sums, in the order of the rows, 0 in lanes that are not valid.
  void gather(Span<const T> out_bar) {
    out_bar_.resize(rates_.size() * at(width()));
    for (Index i = 0; i < ssize(rates_); ++i) {
      for (Index u = 0; u < width(); ++u) {
        out_bar_[at(i * width() + u)] =
            scaled(out_bar[i * layout_->n_vertices + layout_->vertex[at(u)]], valid_ * factor());
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
      sweep.tangents_ ? sweep.template form_rows<T>(chunk) : sweep.template form_rows<Base>(chunk);
      return sweep.rows_.data();
    }
  };

  template <class W>
  void form_rows(Index chunk) {
    std::vector<ChunkWeights<W>>& weights = std::get<TimeWeights<T, W>>(weights_).of_time;
    weights.resize(rates_.size());
    active_.clear();
    for (Index i = 0; i < ssize(rates_); ++i) {
      if (chunk >= last_[at(i)]) {
        continue;
      }
      const PoissonRate<W> rate(rate_as<W>(rates_[at(i)]));
      W first;
      Base exponent;
      poisson_anchor(static_cast<double>(chunk * kChunk), rate.x, first, exponent);
      if (weights[at(ssize(active_))].form(rate, first, exponent, tables_.factor(chunk))) {
        active_.push_back(i);
      }
    }
    for (Index u = 0; u < width(); u += kTile) {
      const Index end = std::min(u + kTile, width());
      for (Index a = 0; a < ssize(active_); ++a) {
        add_tile(weights[at(a)], out_bar_.data() + active_[at(a)] * width(), u, end);
      }
    }
  }

  template <class W>
  void add_tile(const ChunkWeights<W>& weights, const T* bar, Index begin, Index end) {
    for (Index j = 0; j < kChunk; ++j) {
      T* const row = rows_.data() + j * width();
      for (Index u = begin; u < end; ++u) {
        row[u] += product(weights.weight[j], bar[u]);
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
  EachWeight<TimeWeights, T> weights_;  // of the active times, in reverse
  std::vector<Index> active_;
  Base valid_;
  std::vector<Index> last_;  // (n_times) chunks that each time took
  std::vector<T> rates_, rows_, slope_, out_bar_;
};

}  // namespace phasic::PHASIC_ISA
