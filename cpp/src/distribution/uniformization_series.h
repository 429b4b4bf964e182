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
// 4. Every lane has a window and stopping rules of its own, and what others add beyond it counts as
//    exactly zero. Groups begin at multiples of kAnchorChunks. So no lane sees its neighbours.
// 5. Sums are scaled numbers: far tails keep their relative accuracy below the double range.
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

// Weights at the first step of the chunks of one group, from the anchor at its first.
template <class Base>
struct WeightGroup {
  Base weight[kAnchorChunks];
  Base exponent[kAnchorChunks];

  // first: a multiple of kAnchorChunks.
  void fill(const PoissonRate<Base>& rate, const ChunkTables& tables, Index first, Index count) {
    poisson_anchor(static_cast<double>(first * kChunk), rate.x, weight[0], exponent[0]);
    for (Index i = 0; i + 1 < count; ++i) {
      weight[i + 1] = weight[i];
      exponent[i + 1] = exponent[i];
      rate.advance(weight[i + 1], exponent[i + 1], tables.product(first + i));
    }
  }
};

[[nodiscard]] inline Index group_of(Index chunk) { return chunk - chunk % kAnchorChunks; }

// Chunks [begin, end), lane by lane.
template <class Base>
struct ChunkRange {
  Base begin, end;

  // 1 in lanes whose range holds the chunk, else 0.
  [[nodiscard]] Base holds(Index chunk) const {
    const Base c(static_cast<double>(chunk) + 0.5);
    return where_positive(c - begin, where_positive(end - c, Base(1.0), Base(0.0)), Base(0.0));
  }
};

// One x and its sums, T being the number type of the series.
template <class T>
struct PoissonSum {
  using Base = typename Traits<T>::Base;
  static constexpr int kLanes = Traits<T>::lanes;
  struct Total {
    T sum{0.0};
    Base exponent{kNoScale};
    Base peak{kNoScale};  // exponent of the largest part that was added
  };
  PoissonRate<Base> rate;
  Total total[kMaxSeries];
  Index next[kLanes], want[kLanes];  // chunks taken, chunks wanted
  bool done[kLanes];

  [[nodiscard]] Index wanted() const {
    Index most = 0;
    for (int i = 0; i < kLanes; ++i) {
      most = done[i] ? most : std::max(most, want[i]);
    }
    return most;
  }
};

template <class T>
class PoissonSums {
 public:
  using Base = typename Traits<T>::Base;
  using Sum = PoissonSum<T>;
  using Total = typename Sum::Total;
  using Range = ChunkRange<Base>;
  static constexpr int kLanes = Traits<T>::lanes;
  struct Window {
    Index time, begin, end;  // chunks that were added for some lane
    Range range;             // ... and lane by lane
  };

  // rates: q t, one a time. Lanes whose valid entry is not 1 are left out.
  void begin(Span<const Base> rates, double truncation, const Base& valid) {
    truncation_ = truncation;
    sums_.resize(at(rates.size()));
    windows_.clear();
    segment_windows_.clear();
    const double log_tail = 4 - std::log(truncation);
    for (Index t = 0; t < rates.size(); ++t) {
      Sum& s = sums_[at(t)];
      s = Sum{};
      s.rate = PoissonRate<Base>(rates[t]);
      for (int i = 0; i < kLanes; ++i) {
        const double edge = poisson_right_edge(lane(rates[t], i), log_tail);
        s.next[i] = 0;
        s.want[i] = static_cast<Index>(edge) / kChunk + 1;
        s.done[i] = lane(valid, i) != 1;
      }
    }
  }

  // How many chunks the unfinished sums want, 0 if all are finished.
  [[nodiscard]] Index wanted() const {
    Index want = 0;
    for (const Sum& s : sums_) {
      want = std::max(want, s.wanted());
    }
    return want;
  }
  // True if every unfinished sum has taken `n_chunks` chunks.
  [[nodiscard]] bool all_reached(Index n_chunks) const {
    return std::all_of(sums_.begin(), sums_.end(), [=](const Sum& s) {
      for (int i = 0; i < kLanes; ++i) {
        if (!s.done[i] && s.next[i] < n_chunks) {
          return false;
        }
      }
      return true;
    });
  }

  void open_segment() { segment_windows_.push_back(ssize(windows_)); }

  // Takes what the segment holds up to chunk n_chunks, which is as many as wanted or all it holds.
  void take(const SeriesSegment<T>& segment, Index n_chunks) {
    for (Index t = 0; t < ssize(sums_); ++t) {
      Sum& s = sums_[at(t)];
      Window window{t, n_chunks, 0, {Base(0.0), Base(0.0)}};
      for (int i = 0; i < kLanes; ++i) {
        const Index end = std::min(s.want[i], n_chunks);
        if (!s.done[i] && end > s.next[i]) {
          set_lane(window.range.begin, i, static_cast<double>(s.next[i]));
          set_lane(window.range.end, i, static_cast<double>(end));
          window.begin = std::min(window.begin, s.next[i]);
          window.end = std::max(window.end, end);
          s.next[i] = end;
        }
      }
      if (window.begin >= window.end) {
        continue;
      }
      add(segment, s, window);
      windows_.push_back(window);
      for (int i = 0; i < kLanes; ++i) {
        if (!s.done[i] && s.next[i] == s.want[i]) {
          s.done[i] = converged(segment, s, i);
          s.want[i] += s.done[i] ? 0 : std::max<Index>(1, s.want[i] / 16);
        }
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

  // Adds the chunks of the window from right to left, each lane down to where its rest is
  // negligible; the window becomes what was added.
  void add(const SeriesSegment<T>& segment, Sum& s, Window& window) const {
    WeightGroup<Base> group;
    for (Index first = group_of(window.end - 1); ; first -= kAnchorChunks) {
      const Index last = std::min(first + kAnchorChunks, window.end);
      group.fill(s.rate, segment.tables, first, last - first);
      const Index begin = std::max(first, window.begin);
      for (Index i = 0; i < segment.n_series; ++i) {
        add_group(segment, i, begin, last, first, group, s.rate.x, window.range, s.total[i]);
      }
      if (first <= window.begin) {
        return;
      }
      Index leftmost = first;
      for (int i = 0; i < kLanes; ++i) {
        const double from = lane(window.range.begin, i);
        if (from < static_cast<double>(first) && from < lane(window.range.end, i)) {
          if (rest_negligible(segment, s, group, first, i)) {
            set_lane(window.range.begin, i, static_cast<double>(first));
          } else {
            leftmost = std::min(leftmost, static_cast<Index>(from));
          }
        }
      }
      window.begin = leftmost;
      if (leftmost == first) {
        return;
      }
    }
  }

  // Chunks [begin, end) of one series; group: the weights from chunk `first` on.
  static void add_group(const SeriesSegment<T>& segment, Index number, Index begin, Index end,
                        Index first, const WeightGroup<Base>& group, const Base& x,
                        const Range& range, Total& total) {
    const Series<T>& series = segment.series[number];
    const Index local = segment.local(begin), count = end - begin;
    T sum[kAnchorChunks];
    const T* const y = series.y.data() + local * kChunk;
    Index c = 0;
    for (; c + kInterleave <= count; c += kInterleave) {
      chunk_sums<kInterleave>(y + c * kChunk, x, sum + c);
    }
    for (; c < count; ++c) {
      chunk_sums<1>(y + c * kChunk, x, sum + c);
    }
    Base exponent[kAnchorChunks], top(kNoScale);
    for (Index i = 0; i < count; ++i) {
      sum[i] = scaled(sum[i], group.weight[begin - first + i] * range.holds(begin + i));
      const Base size = magnitude(sum[i]);
      exponent[i] = group.exponent[begin - first + i] + series.exponent[at(local + i)];
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

  // What lies left of the given chunk, in lane i: the lower Poisson tail times the bound of y.
  [[nodiscard]] bool rest_negligible(const SeriesSegment<T>& segment, const Sum& s,
                                     const WeightGroup<Base>& group, Index chunk, int i) const {
    const double k = static_cast<double>(chunk * kChunk), x = lane(s.rate.x, i);
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
    return true;
  }

  // What is left of the series in lane i: the upper Poisson tail times the bound of y.
  [[nodiscard]] bool converged(const SeriesSegment<T>& segment, const Sum& s, int i) const {
    const Index next = s.next[i];
    const double k = static_cast<double>(next * kChunk), x = lane(s.rate.x, i);
    if (!(k + 1 > x)) {
      return false;
    }
    double weight, exponent;
    poisson_anchor(k, x, weight, exponent);
    const double tail = weight * upper_tail_factor(k, x);
    const std::size_t last = at(segment.local(next - 1));
    for (Index j = 0; j < segment.n_series; ++j) {
      const Series<T>& series = segment.series[j];
      if (lane(primal(s.total[j].sum), i) == 0 && next * kChunk > segment.n_positions) {
        continue;
      }
      const double shift =
          exponent - lane(s.total[j].exponent, i) + lane(series.remaining_exponent[last], i);
      if (tail * lane(series.remaining[last], i) * power_of_two(shift) >
          allowed_rest(series, s.total[j], i, k)) {
        return false;
      }
    }
    return true;
  }

  double truncation_ = 0;
  std::vector<Sum> sums_;
  std::vector<Window> windows_;
  std::vector<Index> segment_windows_;  // first window of each segment
};

}  // namespace phasic::PHASIC_ISA
