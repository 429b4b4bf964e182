// The adjoint of the uniformised chain, exact for what the forward sweep computed.
//
// With z_k = d result / d v_k and d_k = d result / d (what step k absorbs, by class):
//   z_k = P z_(k+1) + (exits) d_k + source_k
//   d result / d w_ij += v_k[i] (z_(k+1)[j] - z_(k+1)[i]) / q, at an exit d_k in place of z[j],
// summed over k from the last step to the first. The v_k are replayed from checkpoints. Mantissas:
// z carries the inverse of the scale of v, so that v_k[i] z_k[i] needs none.
#pragma once

#include <vector>

#include "distribution/uniformization_chain.h"

namespace phasic::PHASIC_ISA {

template <class T>
class ChainReverse {
 public:
  using Base = typename Traits<T>::Base;

  // Source tells the adjoint of the results, chunk by chunk from the last to the first:
  //   open_stretch(first, last, exponents)  before the chunks [first, last) are walked; the
  //                                         exponents of v in each of them
  //   open_chunk(chunk, exponent)
  //   const T* absorbed(j)                  d of step j of the open chunk, (n_classes)
  //   add(j, z)                             adds the source of step j to z; after absorbed(j)
  template <class Source>
  void run(const Chain<T>& chain, Source&& source) {
    chain_ = &chain;
    const TransitionLayout& layout = chain.layout();
    n_ = layout.n_positions;
    z_.assign(at(n_), T(0.0));
    z_next_.resize(at(n_));
    transition_bar_.assign(at(layout.n_transitions()), T(0.0));
    exit_bar_.assign(at(layout.n_exits()), T(0.0));
    exponent_ = chain.exponent();
    next_event_ = ssize(chain.events()) - 1;
    const Index stride = chain.stride();
    for (Index first = (chain.n_chunks() - 1) / stride * stride; first >= 0; first -= stride) {
      const Index last = std::min(first + stride, chain.n_chunks());
      replay(first, last);
      source.open_stretch(first, last, exponents_.data());
      for (Index chunk = last - 1; chunk >= first; --chunk) {
        undo_event(chunk);
        source.open_chunk(chunk, exponent_);
        for (Index j = kChunk - 1; j >= 0; --j) {
          const T* const v = history_.data() + ((chunk - first) * kChunk + j) * n_;
          step_back(v, source.absorbed(j));
          source.add(j, z_.data());
        }
      }
    }
  }

  // Adds the results, times 2^exponent, to the adjoints of the program's edges and start
  // probabilities.
  void collect(const Base& exponent, Span<T> edge_bar, Span<T> start_bar) const {
    const TransitionLayout& layout = chain_->layout();
    const Base edge_scale = power_of_two(exponent) / chain_->rate();
    for (Index e = 0; e < layout.n_transitions(); ++e) {
      edge_bar[layout.out[at(e)]] += scaled(transition_bar_[at(e)], edge_scale);
    }
    for (Index i = 0; i < ssize(layout.exit_out); ++i) {
      edge_bar[layout.exit_out[at(i)]] +=
          scaled(exit_bar_[at(layout.exit_of[at(i)])], edge_scale);
    }
    const Base start_scale = power_of_two(exponent - chain_->start_exponent());
    for (Index e = 0; e < start_bar.size(); ++e) {
      if (layout.start_position[at(e)] >= 0) {
        start_bar[e] += scaled(z_[at(layout.start_position[at(e)])], start_scale);
      }
    }
  }

 private:
  // v_k for every step of the chunks [first, last), and the exponent of each chunk.
  void replay(Index first, Index last) {
    const std::size_t needed = at((last - first) * kChunk * n_);
    if (history_.size() < needed) {
      history_.resize(needed);
    }
    const auto& events = chain_->events();
    Index event = next_event_;
    exponents_.resize(at(last - first));
    Base exponent = exponent_;
    for (Index chunk = last - 1; chunk >= first; --chunk) {
      if (event >= 0 && events[at(event)].chunk == chunk) {
        exponent -= events[at(event--)].shift;
      }
      exponents_[at(chunk - first)] = exponent;
    }
    T* v = history_.data();
    std::copy_n(chain_->checkpoint(first / chain_->stride()), n_, v);
    for (Index k = 1; k < (last - first) * kChunk; ++k, v += n_) {
      chain_->step(v, v + n_);
      if (k % kChunk == 0 && event + 1 < ssize(events) &&
          events[at(event + 1)].chunk == first + k / kChunk - 1) {
        scale(v + n_, power_of_two(-events[at(++event)].shift));
      }
    }
  }

  void scale(T* x, const Base& factor) const {
    for (Index i = 0; i < n_; ++i) {
      x[i] = scaled(x[i], factor);
    }
  }

  // z after an event to z before it.
  void undo_event(Index chunk) {
    const auto& events = chain_->events();
    if (next_event_ < 0 || events[at(next_event_)].chunk != chunk) {
      return;
    }
    const Base& shift = events[at(next_event_)].shift;
    scale(z_.data(), power_of_two(-shift));
    exponent_ -= shift;
    --next_event_;
  }

  // From z_(k+1) to z_k without its source; adds step k's part of the gradients.
  void step_back(const T* v, const T* absorbed) {
    const TransitionLayout& layout = chain_->layout();
    const std::int32_t* const begin = layout.begin.data();
    const std::int32_t* const target = layout.target.data();
    const T* const stay = chain_->stay();
    const T* const p = chain_->by_source();
    z_.swap(z_next_);
    const T* const z = z_next_.data();
    for (Index i = 0; i < n_; ++i) {
      const T here = z[i];
      const T mass = v[i];
      T sum = stay[i] * here;
      for (std::int32_t e = begin[i]; e < begin[i + 1]; ++e) {
        const T there = z[target[e]];
        sum += p[e] * there;
        transition_bar_[at(e)] += mass * (there - here);
      }
      z_[at(i)] = sum;
    }
    const T* const exits = chain_->exits();
    for (Index x = 0; x < layout.n_exits(); ++x) {
      const std::int32_t i = layout.exit_position[at(x)];
      const T there = absorbed[layout.exit_class[at(x)]];
      z_[at(i)] += exits[x] * there;
      exit_bar_[at(x)] += v[i] * (there - z[i]);
    }
  }

  const Chain<T>* chain_ = nullptr;
  Index n_ = 0, next_event_ = -1;
  Base exponent_;
  std::vector<T> z_, z_next_, history_;
  std::vector<Base> exponents_;
  std::vector<T> transition_bar_, exit_bar_;
};

}  // namespace phasic::PHASIC_ISA
