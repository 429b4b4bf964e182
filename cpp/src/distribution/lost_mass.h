// Whether a result of the sweep in doubles may lack what underflowed in its vectors.
//
// An epoch is what lies between two rescalings of a lane; its mantissas have one exponent E.
// 1. A step loses at most 2^-1022 for each product that it forms, so an epoch at most `loss` in all.
// 2. Nothing can underflow in the first steps: entries are sums of products of at most k numbers of
//    which the least is known.
// 3. Where an epoch ends with every entry far above what was lost so far, nothing of it matters any
//    more: each entry is right to its last digits.
// 4. What was lost matters to a result by at most the probability of the steps of the epoch. It is
//    compared with the result itself.
// 5. Where steps are summed in chunks, a step is first divided by (k + 1) .. (k + kChunk - 1) and
//    may underflow there; it is multiplied by as much again.
// Every bound is of one lane alone.
#pragma once

#include "distribution/uniformization_chain.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kLossExponent = -1022;   // of one product, in units of the mantissas
inline constexpr double kLossMargin = 200;       // bits that a result must lie above what was lost
inline constexpr double kRoundedExponent = -1070;  // of a chunk's term that underflows gradually
inline constexpr double kRoundedMargin = 60;
inline constexpr double kUsualExponent = -900;   // of results that no loss can reach
inline constexpr double kVisibleExponent = -1100;  // of losses that may be seen in a double

class LostMass {
 public:
  // One lane of a chain that has been walked.
  template <class N>
  LostMass(const Chain<N>& chain, int lane_index) {
    const TransitionLayout& layout = chain.layout();
    const double products =
        static_cast<double>(layout.n_transitions() + layout.n_positions + layout.n_exits());
    double exponent = lane(chain.start_exponent(), lane_index);
    Epoch epoch{0, 0, exponent, kNoScale};
    for (const auto& event : chain.events()) {
      const double shift = lane(event.shift, lane_index);
      if (shift != 0) {  // else it is an event of another lane
        epoch.end = (event.chunk + 1) * kChunk;
        epoch.least = lane(event.least, lane_index);
        epochs_.push_back(epoch);
        exponent += shift;
        epoch = {epoch.end, 0, exponent, kNoScale};
      }
    }
    epoch.end = chain.n_chunks() * kChunk;
    epochs_.push_back(epoch);
    log_products_ = std::log2(products + 1);
    form_range(chain, lane_index);
    first_ = first_step(0);
    first_summed_ = first_step(kChunk - 1);
  }

  // May a result of size 2^exponent that took the first n_steps steps lack what was lost?
  // weight(b, e): log2 of a bound of the probability of the steps b < k < e (e < 0: without end).
  // unit: log2 of what multiplies the result; visible: only losses that show in a double count;
  // summed: over chunks.
  template <class Weight>
  [[nodiscard]] bool matters(Index n_steps, double exponent, double unit, bool visible, bool summed,
                             Weight&& weight) const {
    const double least_visible = visible ? kVisibleExponent - unit : 2 * kNoScale;
    const double divisor =
        summed ? (kChunk - 1) * std::log2(static_cast<double>(n_steps + kChunk)) : 0;
    for (Index a = 0; a < ssize(epochs_) && epochs_[at(a)].begin < n_steps; ++a) {
      const Epoch& epoch = epochs_[at(a)];
      const Index end = std::min(epoch.end, n_steps), begin = std::max(epoch.begin, first_);
      const Index begin_summed = std::max(epoch.begin, first_summed_);
      const double rounded = kRoundedExponent + epoch.exponent + divisor;
      const double least = std::max(exponent - kRoundedMargin, least_visible);
      if (begin_summed < end && rounded > least &&
          rounded + weight(begin_summed, epoch.end < n_steps ? epoch.end : -1) > least) {
        return true;
      }
      if (begin >= end) {
        continue;
      }
      const double loss = std::log2(static_cast<double>(end - begin)) + log_products_ + kLossExponent +
                    epoch.exponent;
      const double limit = std::max(exponent - kLossMargin, least_visible);
      if (loss > limit && loss + weight(begin, forgotten(a, n_steps)) > limit) {
        return true;
      }
    }
    return false;
  }

 private:
  struct Epoch {
    Index begin, end;  // steps
    double exponent;
    double least;  // exponent of the least mantissa at its end
  };

  // The step after which what was lost in an epoch does not matter; -1 if there is none.
  [[nodiscard]] Index forgotten(Index a, Index n_steps) const {
    constexpr Index kLookAhead = 8;
    const Index last = std::min(a + kLookAhead, ssize(epochs_) - 1);
    for (Index e = a; e < last && epochs_[at(e)].end < n_steps; ++e) {
      const double larger = epochs_[at(a)].exponent - epochs_[at(e)].exponent;
      if (epochs_[at(e)].least + kLargestLoss >= larger) {
        return epochs_[at(e)].end;
      }
    }
    return -1;
  }
  // Losses are below 2^(31 + 27 - 1022); another 64 bits for the digits of an entry.
  static constexpr double kLargestLoss = 900;

  template <class N>
  void form_range(const Chain<N>& chain, int i) {
    const TransitionLayout& layout = chain.layout();
    double least = 1, start = 1;
    const auto take = [&](const N& x, double& smallest) {
      const double value = lane(primal(x), i);
      smallest = value > 0 ? std::min(smallest, value) : smallest;
    };
    for (Index w = 0; w < ssize(layout.weight_out); ++w) {
      take(chain.weights()[w], least);
    }
    for (Index e = 0; e < layout.n_exits(); ++e) {
      take(chain.exits()[e], least);
    }
    for (Index k = 0; k < layout.n_positions; ++k) {
      take(chain.stay()[k], least);
      take(chain.start_vector(0)[k], start);
    }
    range_ = -lane(chain.start_exponent(), i) + kNormalRange + std::log2(start);
    factor_ = std::max(-std::log2(least), 1e-9);
  }
  static constexpr double kNormalRange = 960;  // bits below 1 at which 53 digits are still there

  // A step before which nothing underflows, even divided n_divisors times by it.
  [[nodiscard]] Index first_step(Index n_divisors) const {
    Index low = 0, high = Index{1} << 40;  // in chunks
    while (low < high) {
      const Index middle = (low + high + 1) / 2;
      const double k = static_cast<double>(middle * kChunk + 1);
      const double divisors = static_cast<double>(n_divisors) * std::log2(k + kChunk);
      if (k * factor_ + divisors <= range_) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low * kChunk;
  }

  std::vector<Epoch> epochs_;
  double log_products_ = 0;
  double range_ = 0, factor_ = 0;         // bits that entries may lose, and lose at most in a step
  Index first_ = 0, first_summed_ = 0;    // nothing underflows before these steps
};

// log2 of a bound of Pr(b < N < e) for a Poisson N with mean x; b and e multiples of kChunk.
inline double log_probability(double x, Index b, Index e) {
  const auto log_weight = [x](double k) {
    double mantissa, exponent;
    poisson_anchor(k, x, mantissa, exponent);
    return mantissa > 0 ? std::log2(mantissa) + exponent : kNoScale;
  };
  const double begin = static_cast<double>(b), end = static_cast<double>(e);
  double bound = 0;
  if (begin + 1 > x) {
    bound = std::min(bound, log_weight(begin) + std::log2(upper_tail_factor(begin, x)));
  }
  if (e >= 0 && end < x + 1) {
    bound = std::min(bound, log_weight(end) + std::log2(lower_tail_factor(end, x)));
  }
  return bound;
}

}  // namespace phasic::PHASIC_ISA
