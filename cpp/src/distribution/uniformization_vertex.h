// state_probability and accumulated_occupancy of one lane block, one number a vertex and time.
//
//   state      p(t) = sum_k w_k v_k, absorbing vertices included (what was absorbed by step k)
//   occupancy  integral of p over (0, t) = (1 / q) sum_k w_k V_k,  V_k = v_0 + .. + v_(k-1)
// (discrete: v_n and V_n). The sweep goes chunk by chunk; each time adds its weights times the
// vectors of the chunk. It stops when the Poisson tail is negligible beside every entry that is not
// zero, so that far vertices keep their relative accuracy, or below the double range.
#pragma once

#include <algorithm>
#include <vector>

#include "distribution/uniformization_observe.h"
#include "distribution/uniformization_reverse.h"
#include "distribution/uniformization_series.h"

namespace phasic::PHASIC_ISA {

// The weights of one time in one chunk, as plain numbers. They are formed 2^kBoost too large, so
// that a weight that grows into the double range inside a chunk is not lost.
template <class Base>
class ChunkWeights {
 public:
  static constexpr double kBoost = 500;
  Base weight[kChunk];

  // False if all of them are zero.
  bool form(const PoissonRate<Base>& rate, const Base& first, const Base& exponent,
            const double* factor) {
    Base w = first * power_of_two(exponent + kBoost);
    const double unboost = std::ldexp(1.0, -static_cast<int>(kBoost));
    Base largest(0.0);
    for (Index j = 0; j < kChunk; ++j) {
      weight[j] = w * (factor[j] * unboost);
      largest = elementwise_max(largest, weight[j]);
      w = rate.x * w;
    }
    return max_lane(largest) > 0;
  }
};

inline constexpr Index kTile = 16;  // vertices whose part of a chunk is worked on in cache

// One time of the sweep.
template <class Base>
struct VertexTime {
  PoissonRate<Base> rate;
  Base weight{0.0};  // at the next chunk
  Base weight_exponent{0.0};
  Base end{0.0};  // chunks that each lane takes; more of them if it turns out that it must
  Base unfinished{1.0};  // 1 in lanes that may take more

  // 1 in lanes that take the chunk, else 0.
  [[nodiscard]] Base takes(Index chunk) const {
    return where_positive(end - (static_cast<double>(chunk) + 0.5), Base(1.0), Base(0.0));
  }
  [[nodiscard]] bool done() const { return max_lane(unfinished) == 0; }
};

// Sums over the rows of the sweep for every time.
template <class T>
class VertexSums {
 public:
  using Base = typename Traits<T>::Base;
  static constexpr int kLanes = Traits<T>::lanes;

  // rates: q t, one a time. block: entries of a row of each order of derivative.
  void begin(Span<const Base> rates, Index width, Index block, double truncation,
             const Base& valid) {
    width_ = width;
    block_ = block;
    truncation_ = truncation;
    times_.resize(at(rates.size()));
    weights_.resize(at(rates.size()));
    active_.reserve(at(rates.size()));
    sum_.assign(at(rates.size() * width), T(0.0));
    const double log_tail = 4 - std::log(truncation);
    for (Index i = 0; i < rates.size(); ++i) {
      VertexTime<Base>& t = times_[at(i)];
      t = VertexTime<Base>{};
      t.rate = PoissonRate<Base>(rates[i]);
      t.unfinished = valid;
      for (int l = 0; l < kLanes; ++l) {
        const double edge = poisson_right_edge(lane(rates[i], l), log_tail);
        set_lane(t.end, l, lane(valid, l) * (std::floor(edge / kChunk) + 1));
      }
    }
  }

  [[nodiscard]] bool finished() const {
    return std::all_of(times_.begin(), times_.end(), [](const auto& t) { return t.done(); });
  }

  // rows: (kChunk, width) of the chunk. norm(d): bound of the entries of derivative d from now on.
  template <class Norm>
  void take(const ChunkTables& tables, Index chunk, const T* rows, Index n_positions,
            Norm&& norm) {
    active_.clear();
    for (Index i = 0; i < ssize(times_); ++i) {
      VertexTime<Base>& t = times_[at(i)];
      if (!t.done()) {
        if (chunk % kAnchorChunks == 0) {
          poisson_anchor(static_cast<double>(chunk * kChunk), t.rate.x, t.weight,
                         t.weight_exponent);
        }
        if (weights_[at(ssize(active_))].form(t.rate, t.weight * t.takes(chunk),
                                              t.weight_exponent, tables.factor(chunk))) {
          active_.push_back(i);
        }
        t.rate.advance(t.weight, t.weight_exponent, tables.product(chunk));
      }
    }
    for (Index u = 0; u < width_; u += kTile) {
      add_tile(rows, u, std::min(u + kTile, width_));
    }
    for (Index i = 0; i < ssize(times_); ++i) {
      VertexTime<Base>& t = times_[at(i)];
      for (int l = 0; l < kLanes; ++l) {
        const double end = static_cast<double>(chunk + 1);
        if (lane(t.unfinished, l) == 1 && lane(t.end, l) == end) {
          if (converged(t, sum(i), n_positions, norm, chunk + 1, l)) {
            set_lane(t.unfinished, l, 0);
          } else {
            set_lane(t.end, l, end + std::max(1.0, std::floor(end / 16)));
          }
        }
      }
    }
  }

  [[nodiscard]] const T* sum(Index i) const { return sum_.data() + i * width_; }
  [[nodiscard]] const VertexTime<Base>& time(Index i) const { return times_[at(i)]; }

 private:
  // Entries [begin, end) of the rows stay in cache while every time takes them.
  void add_tile(const T* rows, Index begin, Index end) {
    for (Index a = 0; a < ssize(active_); ++a) {
      const Base* const weight = weights_[at(a)].weight;
      T* const sum = sum_.data() + active_[at(a)] * width_;
      for (Index u = begin; u < end; ++u) {
        T total = sum[u];
        for (Index j = 0; j < kChunk; ++j) {
          total += scaled(rows[j * width_ + u], weight[j]);
        }
        sum[u] = total;
      }
    }
  }

  // Is what is left negligible in lane l after so many chunks? Every entry that step k adds to is at
  // most k (occupancy; 1 for a probability); derivatives, of either sign, count beside the largest.
  template <class Norm>
  [[nodiscard]] bool converged(const VertexTime<Base>& t, const T* sum, Index n_positions,
                               Norm&& norm, Index n_chunks, int l) const {
    const double k = static_cast<double>(n_chunks * kChunk), x = lane(t.rate.x, l);
    if (!(k + 1 > x)) {
      return false;
    }
    const double factor = upper_tail_factor(k, x);
    const double weight = lane(t.weight, l) * power_of_two(lane(t.weight_exponent, l));
    const double rest = weight * factor * (k + factor), limit = truncation_ / (1 + k);
    for (Index u = 0; u < block_ && rest > 0; ++u) {
      const double entry = lane(primal(sum[u]), l);
      if (entry == 0 ? k <= static_cast<double>(n_positions) : rest > limit * entry) {
        return false;
      }
    }
    for (Index d = 1; d * block_ < width_; ++d) {  // both are 0 without positions
      double largest = 0;
      for (Index u = 0; u < block_; ++u) {
        largest = std::max(largest, std::fabs(lane(primal(sum[d * block_ + u]), l)));
      }
      if (weight * factor * lane(norm(d), l) > kBesideLargest * limit * largest) {
        return false;
      }
    }
    return true;
  }
  static constexpr double kBesideLargest = 1e-6;

  Index width_ = 0, block_ = 0;
  double truncation_ = 0;
  std::vector<VertexTime<Base>> times_;
  std::vector<ChunkWeights<Base>> weights_;  // of the active times
  std::vector<Index> active_;                // times with a weight in the chunk
  std::vector<T> sum_;                       // (n_times, width)
};

template <class T, class N>
class VertexSweep {
 public:
  using Base = typename Traits<T>::Base;

  // out: (n_times, n_vertices). order: how often times carry derivative parts; edges, slopes: what
  // adjoint() will be asked for.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, double truncation, int order, bool edges, bool slopes,
               Span<T> out) {
    layout_ = &layout;
    order_ = order;
    slopes_ = slopes;
    chain_.set_longest(longest_of(times));
    observation_.begin(layout, chain_, edge, start, edges, order + (slopes ? 1 : 0));
    valid_ = lanes_where(chain_.rate() + chain_.start_mass(),
                         [](double x) { return x < std::numeric_limits<double>::infinity(); });
    form_rates(times, chain_.rate(), valid_, rates_);
    steps_.resize(rates_.size());
    std::transform(times.begin(), times.end(), steps_.begin(), nilpotent_part<T>);
    form_factors();
    slope_.resize(slopes ? rates_.size() * at(block()) : 0);
    std::fill(out.begin(), out.end(), T(0.0));
    sum(truncation);
    for (Index i = 0; i < ssize(rates_); ++i) {
      finish(i, out.data() + i * layout_->n_vertices);
    }
  }

  // All += . Spans for what the last forward was not asked to keep are empty.
  void adjoint(Span<const T> out_bar, Span<T> edge_bar, Span<T> start_bar, Span<T> times_bar) {
    gather(out_bar);
    for (Index i = 0; i < times_bar.size(); ++i) {
      for (Index u = 0; u < block(); ++u) {
        times_bar[i] += out_bar_[at(i * block() + u)] * slope_[at(i * block() + u)];
      }
    }
    if (edge_bar.empty() && start_bar.empty()) {
      return;
    }
    observation_.begin_reverse();
    spread_over_derivatives();
    Rows rows{*this};
    reverse_.run(chain_, ReverseSource<T, N, Rows>{chain_, observation_, rows});
    reverse_.collect(Base(0.0), edge_bar, start_bar);
    observation_.collect(start_bar);
  }

 private:
  [[nodiscard]] Index width() const { return observation_.width(); }
  [[nodiscard]] Index block() const { return observation_.block(); }

  // The d-th derivative is the sum over its block times the d-th of these.
  void form_factors() {
    factor_.clear();
    Base factor(1.0);
    if (layout_->quantity == Quantity::accumulated_occupancy) {
      factor = 1.0 / chain_.rate();
    }
    for (int d = 0; d <= order_ + slopes_; ++d) {
      factor_.push_back(factor);
      factor = factor * chain_.rate();
    }
  }

  void sum(double truncation) {
    sums_.begin(Span<const Base>(rates_), width(), block(), truncation, valid_);
    rows_.resize(at(kChunk * width()));
    const Index earlier = layout_->quantity == Quantity::accumulated_occupancy ? 1 : 0;
    for (Index chunk = 0; !sums_.finished(); ++chunk) {
      tables_.open(chunk / kSegmentChunks * kSegmentChunks);
      observation_.advance(chain_, rows_.data());
      sums_.take(tables_, chunk, rows_.data(), layout_->n_positions, [&](Index d) {
        return elementwise_max(chain_.norm(d - 1), chain_.norm(d - earlier));
      });
    }
  }

  // row: (n_vertices) of the results at time i.
  void finish(Index i, T* row) {
    for (Index u = 0; u < block(); ++u) {
      const auto derivative = [&](int d) {
        return scaled(sums_.sum(i)[d * block() + u], factor_[at(d)]);
      };
      T& value = row[layout_->vertex[at(u)]];
      value = taylor_sum(steps_[at(i)], order_, derivative);
      mark_invalid(value, valid_);
      if (slopes_) {
        slope_[at(i * block() + u)] =
            taylor_sum(steps_[at(i)], order_, [&](int d) { return derivative(d + 1); });
      }
    }
  }

  // Cotangents of the results in the order of the rows, 0 in lanes that are not valid.
  void gather(Span<const T> out_bar) {
    out_bar_.resize(rates_.size() * at(block()));
    for (Index i = 0; i < ssize(rates_); ++i) {
      for (Index u = 0; u < block(); ++u) {
        out_bar_[at(i * block() + u)] =
            scaled(out_bar[i * layout_->n_vertices + layout_->vertex[at(u)]], valid_);
      }
    }
  }

  // Cotangents of the sums, (n_times, width).
  void spread_over_derivatives() {
    sum_bar_.assign(rates_.size() * at(width()), T(0.0));
    for (Index i = 0; i < ssize(rates_); ++i) {
      for (int d = 0; d <= order_; ++d) {
        const T weight = scaled(taylor_weight(steps_[at(i)], d), factor_[at(d)]);
        for (Index u = 0; u < block(); ++u) {
          sum_bar_[at(i * width() + d * block() + u)] = weight * out_bar_[at(i * block() + u)];
        }
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
      sweep.form_rows(chunk);
      return sweep.rows_.data();
    }
  };

  void form_rows(Index chunk) {
    weights_.resize(rates_.size());
    active_.clear();
    for (Index i = 0; i < ssize(rates_); ++i) {
      const Base takes = sums_.time(i).takes(chunk);
      if (max_lane(takes) == 0) {
        continue;
      }
      const PoissonRate<Base> rate(rates_[at(i)]);
      Base first, exponent;
      poisson_anchor(static_cast<double>(chunk * kChunk), rate.x, first, exponent);
      if (weights_[at(ssize(active_))].form(rate, first * takes, exponent, tables_.factor(chunk))) {
        active_.push_back(i);
      }
    }
    for (Index u = 0; u < width(); u += kTile) {
      const Index end = std::min(u + kTile, width());
      for (Index a = 0; a < ssize(active_); ++a) {
        add_tile(weights_[at(a)], sum_bar_.data() + active_[at(a)] * width(), u, end);
      }
    }
  }

  void add_tile(const ChunkWeights<Base>& weights, const T* bar, Index begin, Index end) {
    for (Index j = 0; j < kChunk; ++j) {
      T* const row = rows_.data() + j * width();
      for (Index u = begin; u < end; ++u) {
        row[u] += scaled(bar[u], weights.weight[j]);
      }
    }
  }

  const TransitionLayout* layout_ = nullptr;
  int order_ = 0;
  bool slopes_ = false;
  Chain<N> chain_;
  Observation<T, N> observation_;
  ChainReverse<N> reverse_;
  ChunkTables tables_;
  VertexSums<T> sums_;
  std::vector<ChunkWeights<Base>> weights_;  // of the active times, in reverse
  std::vector<Index> active_;
  Base valid_;
  std::vector<Base> rates_, factor_;
  std::vector<T> steps_;  // (n_times) derivative parts of the times
  std::vector<T> rows_, slope_, out_bar_, sum_bar_;
};

}  // namespace phasic::PHASIC_ISA
