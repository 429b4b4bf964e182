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
// Every bound is of one lane alone.
#pragma once

#include "distribution/uniformization_chain.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kLossExponent = -1022;   // of one product, in units of the mantissas
inline constexpr double kLossMargin = 200;       // bits that a result must lie above what was lost
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
    first_ = first_step(chain, lane_index);
  }

  // May a result of size 2^exponent that took the first n_steps steps lack what was lost?
  // weight(b, e): log2 of a bound of the probability of the steps b < k < e (e < 0: without end).
  // unit: log2 of what multiplies the result; visible: only losses that show in a double count.
  template <class Weight>
  [[nodiscard]] bool matters(Index n_steps, double exponent, double unit, bool visible,
                             Weight&& weight) const {
    for (Index a = 0; a < ssize(epochs_) && epochs_[at(a)].begin < n_steps; ++a) {
      const Epoch& epoch = epochs_[at(a)];
      const Index end = std::min(epoch.end, n_steps), begin = std::max(epoch.begin, first_);
      if (begin >= end) {
        continue;
      }
      double loss = std::log2(static_cast<double>(end - begin)) + log_products_ + kLossExponent +
                    epoch.exponent;
      const double limit =
          std::max(exponent - kLossMargin, visible ? kVisibleExponent - unit : 2 * kNoScale);
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
  static Index first_step(const Chain<N>& chain, int i) {
    const TransitionLayout& layout = chain.layout();
    double least = 1, start = 1;
    const auto take = [&](const N& x, double& smallest) {
      const double value = lane(primal(x), i);
      smallest = value > 0 ? std::min(smallest, value) : smallest;
    };
    for (Index e = 0; e < layout.n_transitions(); ++e) {
      take(chain.by_source()[e], least);
    }
    for (Index e = 0; e < layout.n_exits(); ++e) {
      take(chain.exits()[e], least);
    }
    for (Index k = 0; k < layout.n_positions; ++k) {
      take(chain.stay()[k], least);
      take(chain.start_vector(0)[k], start);
    }
    const double range = -lane(chain.start_exponent(), i) + 1000 + std::log2(start);
    const double steps = range / std::max(-std::log2(least), 1e-9) - 2;
    return steps > 0 ? static_cast<Index>(std::min(steps, 1e12)) / kChunk * kChunk : 0;
  }

  std::vector<Epoch> epochs_;
  double log_products_ = 0;
  Index first_ = 0;  // no underflow before this step
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
