// Poisson-weighted sums of a few series, sum_k w_k(x) y_k, for many x at once.
//
// 1. The chain fills a segment of up to kSegmentChunks chunks of y, each chunk with its exponent.
// 2. Every x adds the part of its window that lies in the segment, from right to left in groups of
//    kAnchorChunks chunks. Inside a chunk the sum is a Horner scheme in x, one multiply-add a step
//    (the factors 1 / ((k + 1) .. (k + j)) are in the y); chunks are interleaved to fill the
//    pipeline.
// 3. It stops on the left when what remains there is below truncation * (what it has), rigorously:
//    by a bound of all y and the Poisson lower tail. It stops on the right by the upper tail and a
//    bound of the y from there on, and asks for a longer chain until then. Series of either sign may
//    nearly cancel; they also stop where the rest is below 2^-kCancelled of their largest part.
// 4. Sums are scaled numbers: far tails keep their relative accuracy below the double range.
#pragma once

#include <vector>

#include "distribution/uniformization_chain.h"
#include "distribution/uniformization_times.h"

namespace phasic::PHASIC_ISA {

inline constexpr Index kSegmentChunks = 256;

// Relative to its first step k, step k + j of a chunk has the weight x^j / ((k + 1) .. (k + j)):
// these reciprocals, for the chunks from `first`.
class ChunkTables {
 public:
  void open(Index first) {
    if (factor_.empty() || first != first_) {
      factor_.resize(at(kSegmentChunks * kChunk));
      product_.resize(at(kSegmentChunks));
      first_ = first;
      for (Index c = 0; c < kSegmentChunks; ++c) {
        long double product = 1;
        for (Index j = 0; j < kChunk; ++j) {
          factor_[at(c * kChunk + j)] = static_cast<double>(1 / product);
          product *= static_cast<long double>((first + c) * kChunk + j + 1);
        }
        product_[at(c)] = static_cast<double>(1 / product);
      }
    }
  }
  [[nodiscard]] Index first() const { return first_; }
  [[nodiscard]] const double* factor(Index chunk) const {  // (kChunk), the first is 1
    return factor_.data() + (chunk - first_) * kChunk;
  }
  [[nodiscard]] double product(Index chunk) const { return product_[at(chunk - first_)]; }

 private:
  Index first_ = 0;
  std::vector<double> factor_, product_;
};

// One series over a segment and what the stopping rules need.
template <class T>
struct Series {
  using Base = typename Traits<T>::Base;
  std::vector<T> y;             // times the chunk's factors
  std::vector<Base> exponent;   // of y, by chunk
  std::vector<Base> remaining;  // bound of |y| from the end of each chunk on, times 2^...
  std::vector<Base> remaining_exponent;
  Base bound;              // of every |y|
  bool is_signed = false;  // else y >= 0
};

inline constexpr Index kMaxSeries = 6;
inline constexpr double kCancelled = 110;

template <class T>
struct SeriesSegment {
  ChunkTables tables;
  Series<T> series[kMaxSeries];
  Index n_series = 1;
  Index n_positions = 0;

  void open(Index first) {
    tables.open(first);
    for (Index i = 0; i < n_series; ++i) {
      series[i].y.resize(at(kSegmentChunks * kChunk));
      series[i].exponent.resize(at(kSegmentChunks));
      series[i].remaining.resize(at(kSegmentChunks));
      series[i].remaining_exponent.resize(at(kSegmentChunks));
    }
  }
  [[nodiscard]] Index local(Index chunk) const { return chunk - tables.first(); }
};

// Weights at the first step of consecutive chunks.
template <class Base>
struct WeightGroup {
  Base weight[kAnchorChunks + 1];
  Base exponent[kAnchorChunks + 1];

  // For chunks [begin, end) and for `end` itself.
  void fill(const PoissonRate<Base>& rate, const ChunkTables& tables, Index begin, Index end) {
    poisson_anchor(static_cast<double>(begin * kChunk), rate.x, weight[0], exponent[0]);
    advance(rate, tables, begin, end);
  }
  // The same from a known weight at `begin`.
  void advance(const PoissonRate<Base>& rate, const ChunkTables& tables, Index begin, Index end) {
    for (Index i = 0; i < end - begin; ++i) {
      weight[i + 1] = weight[i];
      exponent[i + 1] = exponent[i];
      rate.advance(weight[i + 1], exponent[i + 1], tables.product(begin + i));
    }
  }
};

// One x and its sums, T being the number type of the series.
template <class T>
struct PoissonSum {
  using Base = typename Traits<T>::Base;
  struct Total {
    T sum{0.0};
    Base exponent{kNoScale};
    Base peak{kNoScale};  // exponent of the largest part that was added
  };
  PoissonRate<Base> rate;
  Total total[kMaxSeries];
  Base weight{0.0};  // at chunk `next`
  Base weight_exponent{0.0};
  Index next = 0, want = 0;  // chunks taken, chunks wanted
  bool done = false;
};

template <class T>
class PoissonSums {
 public:
  using Base = typename Traits<T>::Base;
  using Sum = PoissonSum<T>;
  using Total = typename Sum::Total;
  static constexpr int kLanes = Traits<T>::lanes;
  struct Window {
    Index time, begin, end;  // chunks that were added
  };

  // rates: q t, one a time. Lanes whose valid entry is not 1 are ignored by the stopping rules.
  void begin(Span<const Base> rates, double truncation, const Base& valid) {
    truncation_ = truncation;
    valid_ = valid;
    sums_.resize(at(rates.size()));
    windows_.clear();
    segment_windows_.clear();
    const double log_tail = 4 - std::log(truncation);
    for (Index i = 0; i < rates.size(); ++i) {
      Sum& s = sums_[at(i)];
      s = Sum{};
      s.rate = PoissonRate<Base>(rates[i]);
      const double edge = poisson_right_edge(max_lane(rates[i]), log_tail);
      s.want = static_cast<Index>(edge) / kChunk + 1;
    }
  }

  // How many chunks the unfinished sums want, 0 if all are finished.
  [[nodiscard]] Index wanted() const {
    Index want = 0;
    for (const Sum& s : sums_) {
      want = s.done ? want : std::max(want, s.want);
    }
    return want;
  }
  // True if every unfinished sum has taken `n_chunks` chunks.
  [[nodiscard]] bool all_reached(Index n_chunks) const {
    return std::all_of(sums_.begin(), sums_.end(),
                       [=](const Sum& s) { return s.done || s.next >= n_chunks; });
  }

  void open_segment() { segment_windows_.push_back(ssize(windows_)); }

  // Takes what the segment holds up to chunk n_chunks.
  void take(const SeriesSegment<T>& segment, Index n_chunks) {
    for (Index i = 0; i < ssize(sums_); ++i) {
      Sum& s = sums_[at(i)];
      const Index end = std::min(s.want, n_chunks);
      if (s.done || end <= s.next) {
        continue;
      }
      const Index begin = add(segment, s, s.next, end);
      windows_.push_back({i, begin, end});
      s.next = end;
      if (s.next == s.want) {
        s.done = converged(segment, s);
        s.want += s.done ? 0 : std::max<Index>(1, s.want / 16);
      }
    }
  }

  [[nodiscard]] const std::vector<Sum>& sums() const { return sums_; }
  // Windows taken while the given segment was open.
  [[nodiscard]] Span<const Window> windows(Index segment) const {
    const Index begin = segment_windows_[at(segment)];
    const Index end = segment + 1 < ssize(segment_windows_) ? segment_windows_[at(segment + 1)]
                                                            : ssize(windows_);
    return {windows_.data() + begin, end - begin};
  }

 private:
  static constexpr int kInterleave = Traits<T>::levels == 0 ? 4 : Traits<T>::levels == 1 ? 2 : 1;

  // Adds chunks from end - 1 down to begin or to where the rest is negligible; returns that chunk.
  Index add(const SeriesSegment<T>& segment, Sum& s, Index begin, Index end) {
    WeightGroup<Base> group;
    const Base weight = s.weight;
    const Base exponent = s.weight_exponent;
    for (Index last = end; last > begin;) {
      const Index first = std::max(begin, last - kAnchorChunks);
      if (first == begin && begin > 0) {  // more accurate than an anchor in the far tail
        group.weight[0] = weight;
        group.exponent[0] = exponent;
        group.advance(s.rate, segment.tables, first, last);
      } else {
        group.fill(s.rate, segment.tables, first, last);
      }
      if (last == end) {
        s.weight = group.weight[last - first];
        s.weight_exponent = group.exponent[last - first];
      }
      for (Index i = 0; i < segment.n_series; ++i) {
        add_group(segment.series[i], segment.local(first), last - first, group, s.rate.x,
                  s.total[i]);
      }
      last = first;
      if (last > begin && rest_negligible(segment, s, group, last)) {
        return last;
      }
    }
    return begin;
  }

  // Chunks [first, first + count) of the segment.
  static void add_group(const Series<T>& series, Index first, Index count,
                        const WeightGroup<Base>& group, const Base& x, Total& total) {
    T sum[kAnchorChunks];
    const T* const y = series.y.data() + first * kChunk;
    Index c = 0;
    for (; c + kInterleave <= count; c += kInterleave) {
      chunk_sums<kInterleave>(y + c * kChunk, x, sum + c);
    }
    for (; c < count; ++c) {
      chunk_sums<1>(y + c * kChunk, x, sum + c);
    }
    Base exponent[kAnchorChunks], top(kNoScale);
    for (Index i = 0; i < count; ++i) {
      sum[i] = scaled(sum[i], group.weight[i]);
      const Base size = magnitude(sum[i]);
      exponent[i] = group.exponent[i] + series.exponent[at(first + i)];
      top = elementwise_max(top, where_positive(size, exponent[i] + exponent_of(size),
                                                Base(kNoScale)));
    }
    T added(0.0);
    for (Index i = 0; i < count; ++i) {
      added += scaled(sum[i], power_of_two(exponent[i] - top));
    }
    merge(total, added, top);
  }

  // The sums over kCount chunks of y, in units of their first weights.
  template <int kCount>
  static void chunk_sums(const T* y, const Base& x, T* sum) {
    T h[kCount];
    for (int b = 0; b < kCount; ++b) {
      h[b] = y[b * kChunk + kChunk - 1];
    }
    for (Index j = kChunk - 2; j >= 0; --j) {
      for (int b = 0; b < kCount; ++b) {
        h[b] = y[b * kChunk + j] + scaled(h[b], x);
      }
    }
    std::copy(h, h + kCount, sum);
  }

  // total += added * 2^exponent
  static void merge(Total& total, const T& added, const Base& exponent) {
    const Base size = magnitude(primal(added));
    total.peak = elementwise_max(
        total.peak, where_positive(size, exponent + exponent_of(size), Base(kNoScale)));
    const Base both = elementwise_max(total.exponent, exponent);
    total.sum = scaled(total.sum, power_of_two(total.exponent - both)) +
                scaled(added, power_of_two(exponent - both));
    const Base e = exponent_of(magnitude(total.sum));
    total.sum = scaled(total.sum, power_of_two(-e));
    total.exponent = both + e;
  }

  // Relative truncation at step k: derivatives of the rest are larger by up to k each.
  [[nodiscard]] double threshold(double k) const {
    double result = truncation_ / (1 + k);
    for (int level = 0; level < Traits<T>::levels; ++level) {
      result /= 1 + k;
    }
    return result;
  }

  // What may be left out of a sum, in units of its mantissa.
  [[nodiscard]] double allowed_rest(const Series<T>& series, const Total& total, int i,
                                    double k) const {
    const double allowed = threshold(k) * std::fabs(lane(primal(total.sum), i));
    return series.is_signed
               ? allowed + power_of_two(lane(total.peak - total.exponent, i) - kCancelled)
               : allowed;
  }

  [[nodiscard]] bool rest_negligible(const SeriesSegment<T>& segment, const Sum& s,
                                     const WeightGroup<Base>& group, Index chunk) const {
    const double k = static_cast<double>(chunk * kChunk);
    for (int i = 0; i < kLanes; ++i) {
      const double x = lane(s.rate.x, i);
      if (lane(valid_, i) != 1) {
        continue;
      }
      if (!(k < x + 1)) {
        return false;
      }
      const double tail = lane(group.weight[0], i) * lower_tail_factor(k, x);
      for (Index j = 0; j < segment.n_series; ++j) {
        const double shift = lane(group.exponent[0], i) - lane(s.total[j].exponent, i);
        const double rest = tail * lane(segment.series[j].bound, i) * power_of_two(shift);
        if (rest > allowed_rest(segment.series[j], s.total[j], i, k)) {
          return false;
        }
      }
    }
    return true;
  }

  [[nodiscard]] bool converged(const SeriesSegment<T>& segment, const Sum& s) const {
    const double k = static_cast<double>(s.next * kChunk);
    for (int i = 0; i < kLanes; ++i) {
      const double x = lane(s.rate.x, i);
      if (lane(valid_, i) != 1) {
        continue;
      }
      if (!(k + 1 > x)) {
        return false;
      }
      const double tail = lane(s.weight, i) * upper_tail_factor(k, x);
      for (Index j = 0; j < segment.n_series; ++j) {
        if (!small_rest(segment, j, s, i, tail)) {
          return false;
        }
      }
    }
    return true;
  }

  // What is left of series j in lane i: the upper Poisson tail times the bound of y.
  [[nodiscard]] bool small_rest(const SeriesSegment<T>& segment, Index j, const Sum& s, int i,
                                double tail) const {
    const Series<T>& series = segment.series[j];
    const std::size_t last = at(segment.local(s.next - 1));
    const double sum = lane(primal(s.total[j].sum), i);
    const Index k = s.next * kChunk;
    if (sum == 0 && k > segment.n_positions) {
      return true;
    }
    const double shift = lane(s.weight_exponent, i) - lane(s.total[j].exponent, i) +
                         lane(series.remaining_exponent[last], i);
    return !(tail * lane(series.remaining[last], i) * power_of_two(shift) >
             allowed_rest(series, s.total[j], i, static_cast<double>(k)));
  }

  double truncation_ = 0;
  Base valid_;
  std::vector<Sum> sums_;
  std::vector<Window> windows_;
  std::vector<Index> segment_windows_;  // first window of each segment
};

}  // namespace phasic::PHASIC_ISA
