// The uniformised chain: v_(k+1) = v_k P with P = I + S / q, for one lane block.
//
// 1. q is 33/32 of the largest exit rate of each lane (discrete: 1), so that the probability to
//    stay, (q - lambda) / q, never cancels. Derivatives treat q as a constant: no result depends on
//    it.
// 2. The probability to stay is what the other entries of the row, as rounded, lack to 1, in twice
//    the working precision. So no mass is lost or gained however many steps are taken: the sweep is
//    that of a model whose rates differ by one rounding each.
// 3. A step gathers over incoming transitions: one multiply-add each, nothing is stored twice.
// 4. Beside v the chain may carry v (P - I), v (P - I)^2, ..: each starts from its own first vector
//    and takes the same steps.
// 5. After each chunk of kChunk steps, lanes whose mass has become small are multiplied by a power
//    of two, which is noted as an event: v = mantissa * 2^exponent.
// 6. For the adjoint, every stride-th chunk leaves a checkpoint; the stride doubles as the sweep
//    grows, so that checkpoints and one replayed stretch both stay near sqrt(steps) vectors.
// 7. Regions whose entries no longer matter are forgotten (region_decay.h) and no longer walked over.
#pragma once

#include <utility>
#include <vector>

#include "distribution/poisson.h"
#include "distribution/region_decay.h"
#include "distribution/uniformization_walk.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kRateMargin = 33.0 / 32.0;
inline constexpr double kLongestIdle = 1e100;  // a step where nothing moves: derivatives underflow beyond
inline constexpr double kMassExponent = 400;  // where a rescaled lane keeps its mass
inline constexpr double kMassFloor = 200;     // below it the lane is rescaled
inline constexpr Index kLookChunks = 8;         // between two looks at what no longer matters
inline constexpr double kLeastForgotten = -830;  // smaller mantissas may lack what underflowed
inline constexpr Index kShortStretch = 4096;  // entries that are replayed together in any case

// A remainder that is below 0 by rounding is 0.
template <class T>
void keep_at_least_zero(T& x) {
  if (primal(x) < 0) {
    set_primal(x, 0.0);
  }
}

// total - sum(values), the value to full relative accuracy (the rounding of the sum is returned to
// it), never negative: more than total by rounding counts as total.
template <class T>
T remainder_of(const typename Traits<T>::Base& total, const T* values, const std::int32_t* index,
               Index count) {
  using Base = typename Traits<T>::Base;
  T sum(0.0);
  Base lost(0.0);
  for (Index i = 0; i < count; ++i) {
    const T& term = values[index == nullptr ? i : index[i]];
    const Base a = primal(sum), b = primal(term);
    sum += term;
    const Base s = primal(sum);
    const Base b_part = s - a;
    lost += (a - (s - b_part)) + (b - b_part);
  }
  T rest = constant<T>(total) - sum;
  if constexpr (IsTwice<T>::value) {  // nothing is lost
    keep_at_least_zero(rest);
  } else {
    set_primal(rest, elementwise_max(primal(rest) - lost, Base(0.0)));
  }
  return rest;
}

// N is the number type of P and v: that of the weights that are loaded, or twice as precise.
template <class N>
class Chain {
 public:
  using Base = typename Traits<N>::Base;
  struct Event {
    Index chunk;  // happens after this chunk
    Base shift;   // the exponent grows by it
    Base least;   // exponent of the least mantissa before it; kNoScale if some are still to come
    Base regions;  // that are left after it
  };

  // edge: (n_out) rates or probabilities, start: (n_start); as Program::out_* and start_*.
  // n_vectors: v (P - I)^a for a below it.
  template <class T>
  void load(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
            Index n_vectors) {
    layout_ = &layout;
    n_vectors_ = n_vectors;
    load_rate(edge);
    load_transitions(edge);
    load_stay();
    load_start(start);
  }

  // For load() in continuous time: in lanes where nothing moves, one step is as long as that.
  void set_longest(Base longest) {
    const Base least(1.0), most(kLongestIdle);
    idle_rate_ = divided(Base(1.0), elementwise_min(elementwise_max(longest, least), most));
  }

  // Back to step 0. rescale: lanes may be rescaled. forget: what no longer matters to any sum of
  // exits or of entries may become zero. record: keep what the adjoint needs.
  void restart(bool rescale, bool forget, bool record) {
    rescale_ = rescale && !IsUnbounded<N>::value;
    forget_ = forget && !IsUnbounded<N>::value && n_vectors_ == 1 && layout_->n_regions() > 1;
    const Base start_scale(rescale_ ? kMassExponent : 0.0);
    for (Index i = 0; i < size(); ++i) {
      v_[at(i)] = scaled(start_vector_[at(i)], power_of_two(start_scale));
    }
    record_ = record;
    n_regions_ = layout_->n_regions();
    walk_.form(*layout_, n_regions_);
    regions_ = Base(static_cast<double>(n_regions_));
    least_forgotten_ = Base(-kNoScale);
    exponent_ = start_exponent_ = -start_scale;
    n_chunks_ = n_checkpoints_ = 0;
    stride_ = std::clamp<Index>(kShortStretch / (kChunk * size() + 1), 1, kAnchorChunks);
    events_.clear();
  }

  // kChunk steps; visit(j) sees v() before the j-th of them.
  template <class Visit>
  void advance_chunk(Visit&& visit) {
    if (record_) {
      save_checkpoint();
    }
    for (Index j = 0; j < kChunk; ++j) {
      visit(j);
      step(walk_, v_.data(), next_.data());
      v_.swap(next_);
    }
    ++n_chunks_;
    const Base before = regions_;
    if (forget_ && n_chunks_ % kLookChunks == 0 && n_regions_ > 1) {
      forget();
    }
    mass_ = primal(total(v_.data()));
    Base shift(0.0), least(kNoScale);
    if (rescale_) {
      rescale(shift, least);
    }
    if (max_lane(before - regions_) > 0 || max_lane(-shift) > 0) {
      events_.push_back({n_chunks_ - 1, shift, least, regions_});
    }
  }

  // Empties the regions of a vector that an event forgets; before, after: how many there were.
  void empty(N* v, const Base& before, const Base& after) const {
    const Index end = layout_->region_begin[at(static_cast<Index>(max_lane(before)))];
    for (Index w = layout_->region_begin[at(static_cast<Index>(-max_lane(-after)))]; w < end; ++w) {
      const Index i = layout_->region_position[at(w)];
      const Base kept = after - (static_cast<double>(layout_->region[at(i)]) + 0.5);
      v[i] = scaled(v[i], where_positive(kept, Base(1.0), Base(0.0)));
    }
  }

  // next = v P for each of the vectors, at the positions of the walk
  void step(const IncomingWalk& incoming, const N* v, N* next) const {
    for (Index a = 0; a < n_vectors_; ++a, v += n(), next += n()) {
      const std::int32_t* source = incoming.source.data();
      const std::int32_t* number = incoming.weight.data();
      for (const Run& run : incoming.walk.run) {
        const std::int32_t* const position = incoming.walk.position.data();
        with_degree<N>(run.degree, [&](auto degree) {
          step_run<degree()>(run, position, source, number, v, next);
        });
        const std::int32_t n_entries = (run.end - run.begin) * run.degree;
        source += n_entries;
        number += n_entries;
      }
    }
  }
  // The part of x that stays at position i.
  [[nodiscard]] N stayed(Index i, const N& x) const {
    if constexpr (kCompensated) {
      const N low = scaled(x, stay_low_[at(i)]);
      return stay_[at(i)] * x + low;
    } else {
      return stay_[at(i)] * x;
    }
  }

  // --- the generator over q, P - I, as flows, which cancel less than their sums do
  // y = x (P - I)
  void apply_from_left(const N* x, N* y) const {
    for (Index i = 0; i < n(); ++i) {
      N sum = -(leave_[at(i)] * x[i]);
      for (std::int32_t e = layout_->in_begin[at(i)]; e < layout_->in_begin[at(i + 1)]; ++e) {
        sum += x[layout_->in_source[at(e)]] * weight_[at(layout_->in_weight[at(e)])];
      }
      y[i] = sum;
    }
  }
  // y += (P - I) x, x being 0 in absorbing vertices
  void add_applied(const N* x, N* y) const {
    for (Index i = 0; i < n(); ++i) {
      N sum = -(absorb_[at(i)] * x[i]);
      for (std::int32_t e = layout_->begin[at(i)]; e < layout_->begin[at(i + 1)]; ++e) {
        sum += transition(e) * (x[layout_->target[at(e)]] - x[i]);
      }
      y[i] += sum;
    }
  }

  // Sum of the entries of a vector over positions.
  [[nodiscard]] N total(const N* v) const {
    N sum(0.0), other(0.0);
    Index i = 0;
    for (; i + 1 < n(); i += 2) {
      sum += v[i];
      other += v[i + 1];
    }
    return i < n() ? sum + other + v[i] : sum + other;
  }
  [[nodiscard]] N dot(const N* v, const N* observed) const {
    N sum(0.0);
    for (Index i = 0; i < n(); ++i) {
      sum += v[i] * observed[i];
    }
    return sum;
  }
  // Sum of the absolute values of v (P - I)^a now, as mantissa.
  [[nodiscard]] Base norm(Index a) const { return norm_of(v(a)); }
  // ... and at the start, a true value.
  [[nodiscard]] Base start_norm(Index a) const { return norm_of(start_vector(a)); }
  // What one step absorbs, in all and added to each class.
  [[nodiscard]] N flux() const {
    N sum(0.0);
    for (Index x = 0; x < layout_->n_exits(); ++x) {
      sum += v_[at(layout_->exit_position[at(x)])] * exit_[at(x)];
    }
    return sum;
  }
  void add_flux(const N* v, N* absorbed) const {
    for (Index x = 0; x < layout_->n_exits(); ++x) {
      absorbed[layout_->exit_class[at(x)]] += v[layout_->exit_position[at(x)]] * exit_[at(x)];
    }
  }

  [[nodiscard]] const TransitionLayout& layout() const { return *layout_; }
  [[nodiscard]] Index n() const { return layout_->n_positions; }
  [[nodiscard]] Index n_vectors() const { return n_vectors_; }
  [[nodiscard]] Index size() const { return n_vectors_ * n(); }
  [[nodiscard]] const Base& rate() const { return rate_; }
  [[nodiscard]] const Base& start_mass() const { return start_mass_; }  // true value, not scaled
  [[nodiscard]] const N* v(Index a = 0) const { return v_.data() + a * n(); }
  [[nodiscard]] const N* start_vector(Index a) const { return start_vector_.data() + a * n(); }
  [[nodiscard]] const Base& exponent() const { return exponent_; }
  [[nodiscard]] const Base& start_exponent() const { return start_exponent_; }
  [[nodiscard]] const Base& mass() const { return mass_; }  // mantissa after the last chunk
  [[nodiscard]] Index n_chunks() const { return n_chunks_; }
  // Probability of a transition, (n_transitions) by source, and of all that are told apart.
  [[nodiscard]] const N& transition(Index e) const { return weight_[at(layout_->weight[at(e)])]; }
  [[nodiscard]] const N* weights() const { return weight_.data(); }
  [[nodiscard]] const N* exits() const { return exit_.data(); }
  [[nodiscard]] Index n_regions() const { return n_regions_; }
  [[nodiscard]] const N* stay() const { return stay_.data(); }
  [[nodiscard]] const N* absorb() const { return absorb_.data(); }  // (n) what a position absorbs

  // --- for the adjoint
  [[nodiscard]] Index stride() const { return stride_; }
  [[nodiscard]] const N* checkpoint(Index i) const { return checkpoints_.data() + i * size(); }
  [[nodiscard]] const std::vector<Event>& events() const { return events_; }

 private:
  static constexpr bool kCompensated = !IsTwice<N>::value;

  // The positions of one run of a step; kDegree = -1: any degree.
  template <int kDegree>
  void step_run(const Run& run, const std::int32_t* position, const std::int32_t* source,
                const std::int32_t* number, const N* v, N* next) const {
    const std::int32_t degree = kDegree < 0 ? run.degree : kDegree;
    const N* const weight = weight_.data();
    for (std::int32_t w = run.begin; w < run.end; ++w) {
      const std::int32_t i = position[w];
      N sum = stayed(i, v[i]);
      for (std::int32_t e = 0; e < degree; ++e) {
        sum += v[source[e]] * weight[number[e]];
      }
      source += degree;
      number += degree;
      next[i] = sum;
    }
  }

  template <class T>
  void load_rate(Span<const T> edge) {
    rate_ = Base(0.0);
    if (!layout_->discrete) {
      for (Index k = 0; k < n(); ++k) {
        Base sum(0.0);
        for (std::int32_t e = layout_->out_begin[at(k)]; e < layout_->out_begin[at(k + 1)]; ++e) {
          sum += primal(edge[e]);
        }
        rate_ = elementwise_max(rate_, sum);
      }
    }
    rate_ = where_positive(rate_, rate_ * kRateMargin, idle_rate_);
  }

  template <class T>
  void load_transitions(Span<const T> edge) {
    weight_.resize(layout_->weight_out.size());
    for (std::size_t w = 0; w < weight_.size(); ++w) {
      weight_[w] = divided(widened<N>(edge[layout_->weight_out[w]]), rate_);
    }
    exit_.assign(at(layout_->n_exits()), N(0.0));
    for (Index i = 0; i < ssize(layout_->exit_out); ++i) {
      exit_[at(layout_->exit_of[at(i)])] +=
          divided(widened<N>(edge[layout_->exit_out[at(i)]]), rate_);
    }
  }

  void load_stay() {
    stay_.resize(at(n()));
    stay_low_.resize(kCompensated ? at(n()) : 0);
    leave_.resize(at(n()));
    absorb_.assign(at(n()), N(0.0));
    Index exit = 0;
    for (Index k = 0; k < n(); ++k) {
      N sum(0.0);
      Base lost(0.0);
      for (std::int32_t e = layout_->begin[at(k)]; e < layout_->begin[at(k + 1)]; ++e) {
        add_keeping(transition(e), sum, lost);
      }
      for (; exit < layout_->n_exits() && layout_->exit_position[at(exit)] == k; ++exit) {
        add_keeping(exit_[at(exit)], sum, lost);
        absorb_[at(k)] += exit_[at(exit)];
      }
      leave_[at(k)] = sum;
      set_stay(k, sum, lost);
    }
  }

  // sum += term, and lost += what the primal of the sum lost to rounding.
  static void add_keeping(const N& term, N& sum, Base& lost) {
    if constexpr (kCompensated) {
      const Base a = primal(sum), b = primal(term);
      sum += term;
      const Base s = primal(sum), b_part = s - a;
      lost += (a - (s - b_part)) + (b - b_part);
    } else {
      sum += term;
    }
  }

  // 1 - (sum + lost), never negative: more than 1 by rounding counts as 1.
  void set_stay(Index k, const N& sum, const Base& lost) {
    N& stay = stay_[at(k)];
    stay = constant<N>(Base(1.0)) - sum;
    if constexpr (kCompensated) {
      const Base high = primal(stay);
      const Base low = ((1.0 - high) - primal(sum)) - lost;
      const Base both = elementwise_max(high + low, Base(0.0));
      set_primal(stay, both);
      stay_low_[at(k)] = where_positive(both, low - (both - high), Base(0.0));
    } else if constexpr (IsUnbounded<N>::value) {
      keep_at_least_zero(stay);
    }
  }

  template <class T>
  void load_start(Span<const T> start) {
    v_.resize(at(size()));
    next_.resize(at(size()));
    start_vector_.assign(at(size()), N(0.0));
    start_mass_ = Base(0.0);
    for (Index e = 0; e < start.size(); ++e) {
      if (layout_->start_position[at(e)] >= 0) {
        start_vector_[at(layout_->start_position[at(e)])] += widened<N>(start[e]);
        start_mass_ += primal(start[e]);
      }
    }
    for (Index a = 1; a < n_vectors_; ++a) {
      apply_from_left(start_vector(a - 1), start_vector_.data() + a * n());
    }
  }

  [[nodiscard]] Base norm_of(const N* v) const {
    Base sum(0.0);
    for (Index i = 0; i < n(); ++i) {
      sum += magnitude(primal(v[i]));
    }
    return sum;
  }

  void rescale(Base& shift, Base& least) {
    const Base e = exponent_of(mass_);
    shift = where_positive(Base(kMassFloor) - e, clamped(e - kMassExponent, -1000.0, 0.0),
                           Base(0.0));
    shift = where_positive(mass_, shift, Base(0.0));
    if (max_lane(-shift) == 0) {
      return;
    }
    least = elementwise_min(least_exponent(), least_forgotten_ - exponent_);
    const Base factor = power_of_two(-shift);
    for (N& x : v_) {
      x = scaled(x, factor);
    }
    mass_ *= factor;
    exponent_ += shift;
  }

  // After a step, while next_ still holds the vector before it: forgets regions that no longer matter.
  void forget() {
    const RegionDecay<N> decay(*layout_, weight_.data(), absorb_.data(), next_.data(), v_.data(),
                               n_regions_);
    const Base kept = decay.kept(regions_);
    if (max_lane(regions_ - kept) == 0) {
      return;
    }
    const Base least = least_exponent();
    const Base before = regions_;
    regions_ = where_positive(least - kLeastForgotten, kept, before);
    least_forgotten_ = where_positive(before - regions_,
                                      elementwise_min(least_forgotten_, least + exponent_),
                                      least_forgotten_);
    empty(v_.data(), before, regions_);
    empty(next_.data(), before, regions_);
    const Index n_before = std::exchange(n_regions_, static_cast<Index>(max_lane(regions_)));
    if (n_regions_ < n_before) {
      walk_.form(*layout_, n_regions_);
    }
  }

  // Of the entries of v; kNoScale in lanes where a state is 0 that the next step reaches.
  [[nodiscard]] Base least_exponent() const {
    Base least(-kNoScale);
    for (Index i = 0; i < n(); ++i) {
      const Base here = primal(v_[at(i)]);
      const Base exponent = where_positive(here - 1e-300, exponent_of(here), Base(kNoScale));
      least = elementwise_min(least, where_positive(here, exponent, Base(-kNoScale)));
      for (std::int32_t e = layout_->begin[at(i)]; e < layout_->begin[at(i + 1)]; ++e) {
        const Base there = primal(v_[at(layout_->target[at(e)])]);
        const Base flows = where_positive(primal(transition(e)), here, Base(0.0));
        least = where_positive(where_positive(there, Base(0.0), flows), Base(kNoScale), least);
      }
    }
    return least;
  }

  void save_checkpoint() {
    if (n_checkpoints_ > 2 * kChunk * stride_) {
      stride_ *= 2;
      n_checkpoints_ = (n_checkpoints_ + 1) / 2;
      for (Index i = 1; i < n_checkpoints_; ++i) {
        std::copy_n(checkpoint(2 * i), size(), checkpoints_.data() + i * size());
      }
    }
    if (n_chunks_ % stride_ == 0) {
      const Index needed = (n_checkpoints_ + 1) * size();
      if (needed > ssize(checkpoints_)) {
        checkpoints_.resize(at(std::max(needed, 2 * ssize(checkpoints_))));
      }
      std::copy(v_.begin(), v_.end(), checkpoints_.data() + n_checkpoints_ * size());
      ++n_checkpoints_;
    }
  }

  const TransitionLayout* layout_ = nullptr;
  Base idle_rate_{1.0}, rate_, start_mass_, exponent_, start_exponent_, mass_;
  Base regions_, least_forgotten_;  // regions that are left; exponent of the least that was forgotten
  Index n_regions_ = 0;             // ... in some lane
  IncomingWalk walk_;               // of these
  bool rescale_ = false, forget_ = false, record_ = false;
  Index n_vectors_ = 1, n_chunks_ = 0, stride_ = 1, n_checkpoints_ = 0;
  std::vector<N> weight_, stay_, exit_;  // P
  std::vector<Base> stay_low_;                          // what the primal of stay_ lacks
  std::vector<N> leave_, absorb_;         // (n) what leaves a position, and what of it is absorbed
  std::vector<N> start_vector_, v_, next_;  // (n_vectors, n)
  std::vector<N> checkpoints_;              // (n_checkpoints, n_vectors, n)
  std::vector<Event> events_;
};

}  // namespace phasic::PHASIC_ISA
