// The uniformised chain: v_(k+1) = v_k P with P = I + S / q, for one lane block.
//
// 1. q is 33/32 of the largest exit rate of each lane (discrete: 1), so that the probability to
//    stay, (q - lambda) / q, never cancels. Derivatives treat q as a constant: no result depends on
//    it.
// 2. A step gathers over incoming transitions: one multiply-add each, nothing is stored twice.
// 3. After each chunk of kChunk steps, lanes whose mass has become small are multiplied by a power
//    of two, which is noted as an event: v = mantissa * 2^exponent.
// 4. For the adjoint, every stride-th chunk leaves a checkpoint; the stride doubles as the sweep
//    grows, so that checkpoints and one replayed stretch both stay near sqrt(steps) vectors.
#pragma once

#include <vector>

#include "distribution/poisson.h"
#include "distribution/uniformization_layout.h"

namespace phasic::PHASIC_ISA {

using phasic::detail::TransitionLayout;

inline constexpr double kRateMargin = 33.0 / 32.0;
inline constexpr double kMassExponent = 400;  // where a rescaled lane keeps its mass
inline constexpr double kMassFloor = 200;     // below it the lane is rescaled
inline constexpr Index kShortStretch = 4096;  // entries that are replayed together in any case

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
  set_primal(rest, elementwise_max(primal(rest) - lost, Base(0.0)));
  return rest;
}

template <class T>
class Chain {
 public:
  using Base = typename Traits<T>::Base;
  struct Event {
    Index chunk;  // happens after this chunk
    Base shift;   // the exponent grows by it
  };

  // edge: (n_out) rates or probabilities, start: (n_start); as Program::out_* and start_*.
  void load(const TransitionLayout& layout, Span<const T> edge, Span<const T> start) {
    layout_ = &layout;
    load_rate(edge);
    load_transitions(edge);
    load_start(start);
  }

  // Back to step 0. rescale: lanes may be rescaled. record: keep what the adjoint needs.
  void restart(bool rescale, bool record) {
    const Base start_scale(rescale ? kMassExponent : 0.0);
    for (Index i = 0; i < n(); ++i) {
      v_[at(i)] = scaled(start_vector_[at(i)], power_of_two(start_scale));
    }
    rescale_ = rescale;
    record_ = record;
    exponent_ = start_exponent_ = -start_scale;
    n_chunks_ = n_checkpoints_ = 0;
    stride_ = std::clamp<Index>(kShortStretch / (kChunk * n() + 1), 1, kAnchorChunks);
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
      step(v_.data(), next_.data());
      v_.swap(next_);
    }
    mass_ = primal(total(v_.data()));
    ++n_chunks_;
    if (rescale_) {
      rescale();
    }
  }

  // next = v P
  void step(const T* v, T* next) const {
    const std::int32_t* const begin = layout_->in_begin.data();
    const std::int32_t* const source = layout_->in_source.data();
    for (Index i = 0; i < n(); ++i) {
      T sum = stay_[at(i)] * v[i];
      for (std::int32_t e = begin[i]; e < begin[i + 1]; ++e) {
        sum += v[source[e]] * by_target_[at(e)];
      }
      next[i] = sum;
    }
  }

  // Sum of the entries of a vector over positions.
  [[nodiscard]] T total(const T* v) const {
    T sum(0.0), other(0.0);
    Index i = 0;
    for (; i + 1 < n(); i += 2) {
      sum += v[i];
      other += v[i + 1];
    }
    return i < n() ? sum + other + v[i] : sum + other;
  }
  // What one step absorbs, in all and added to each class.
  [[nodiscard]] T flux() const {
    T sum(0.0);
    for (Index x = 0; x < layout_->n_exits(); ++x) {
      sum += v_[at(layout_->exit_position[at(x)])] * exit_[at(x)];
    }
    return sum;
  }
  void add_flux(T* absorbed) const {
    for (Index x = 0; x < layout_->n_exits(); ++x) {
      absorbed[layout_->exit_class[at(x)]] += v_[at(layout_->exit_position[at(x)])] * exit_[at(x)];
    }
  }

  [[nodiscard]] const TransitionLayout& layout() const { return *layout_; }
  [[nodiscard]] Index n() const { return layout_->n_positions; }
  [[nodiscard]] const Base& rate() const { return rate_; }
  [[nodiscard]] const Base& start_mass() const { return start_mass_; }  // true value, not scaled
  [[nodiscard]] const T* v() const { return v_.data(); }
  [[nodiscard]] const T* start_vector() const { return start_vector_.data(); }
  [[nodiscard]] const Base& exponent() const { return exponent_; }
  [[nodiscard]] const Base& start_exponent() const { return start_exponent_; }
  [[nodiscard]] const Base& mass() const { return mass_; }  // mantissa after the last chunk
  [[nodiscard]] Index n_chunks() const { return n_chunks_; }

  // --- for the adjoint
  [[nodiscard]] Index stride() const { return stride_; }
  [[nodiscard]] const T* checkpoint(Index i) const { return checkpoints_.data() + i * n(); }
  [[nodiscard]] const std::vector<Event>& events() const { return events_; }
  [[nodiscard]] const T* stay() const { return stay_.data(); }
  [[nodiscard]] const T* by_source() const { return by_source_.data(); }
  [[nodiscard]] const T* exits() const { return exit_.data(); }

 private:
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
    rate_ = where_positive(rate_, rate_ * kRateMargin, Base(1.0));
  }

  void load_transitions(Span<const T> edge) {
    by_source_.resize(at(layout_->n_transitions()));
    by_target_.resize(at(layout_->n_transitions()));
    stay_.resize(at(n()));
    for (Index e = 0; e < layout_->n_transitions(); ++e) {
      by_source_[at(e)] = divided(edge[layout_->out[at(e)]], rate_);
    }
    for (Index e = 0; e < layout_->n_transitions(); ++e) {
      by_target_[at(e)] = by_source_[at(layout_->in_entry[at(e)])];
    }
    for (Index k = 0; k < n(); ++k) {
      const std::int32_t first = layout_->out_begin[at(k)];
      const std::int32_t count = layout_->out_begin[at(k + 1)] - first;
      stay_[at(k)] = divided(remainder_of(rate_, edge.data() + first, nullptr, count), rate_);
    }
    exit_.assign(at(layout_->n_exits()), T(0.0));
    for (Index i = 0; i < ssize(layout_->exit_out); ++i) {
      exit_[at(layout_->exit_of[at(i)])] += divided(edge[layout_->exit_out[at(i)]], rate_);
    }
  }

  void load_start(Span<const T> start) {
    v_.resize(at(n()));
    next_.resize(at(n()));
    start_vector_.assign(at(n()), T(0.0));
    start_mass_ = Base(0.0);
    for (Index e = 0; e < start.size(); ++e) {
      if (layout_->start_position[at(e)] >= 0) {
        start_vector_[at(layout_->start_position[at(e)])] += start[e];
        start_mass_ += primal(start[e]);
      }
    }
  }

  void rescale() {
    const Base e = exponent_of(mass_);
    Base shift = where_positive(Base(kMassFloor) - e, clamped(e - kMassExponent, -1000.0, 0.0),
                                Base(0.0));
    shift = where_positive(mass_, shift, Base(0.0));
    if (max_lane(-shift) == 0) {
      return;
    }
    const Base factor = power_of_two(-shift);
    for (T& x : v_) {
      x = scaled(x, factor);
    }
    mass_ *= factor;
    exponent_ += shift;
    events_.push_back({n_chunks_ - 1, shift});
  }

  void save_checkpoint() {
    if (n_checkpoints_ > 2 * kChunk * stride_) {
      stride_ *= 2;
      n_checkpoints_ = (n_checkpoints_ + 1) / 2;
      for (Index i = 1; i < n_checkpoints_; ++i) {
        std::copy_n(checkpoint(2 * i), n(), checkpoints_.data() + i * n());
      }
    }
    if (n_chunks_ % stride_ == 0) {
      const Index needed = (n_checkpoints_ + 1) * n();
      if (needed > ssize(checkpoints_)) {
        checkpoints_.resize(at(std::max(needed, 2 * ssize(checkpoints_))));
      }
      std::copy(v_.begin(), v_.end(), checkpoints_.data() + n_checkpoints_ * n());
      ++n_checkpoints_;
    }
  }

  const TransitionLayout* layout_ = nullptr;
  Base rate_, start_mass_, exponent_, start_exponent_, mass_;
  bool rescale_ = false, record_ = false;
  Index n_chunks_ = 0, stride_ = 1, n_checkpoints_ = 0;
  std::vector<T> by_source_, by_target_, stay_, exit_;  // P
  std::vector<T> start_vector_, v_, next_;
  std::vector<T> checkpoints_;  // (n_checkpoints, n)
  std::vector<Event> events_;
};

}  // namespace phasic::PHASIC_ISA
