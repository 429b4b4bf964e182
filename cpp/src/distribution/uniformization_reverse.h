// The adjoint of the uniformised chain, exact for what the forward sweep computed.
//
// With z_k = d result / d v_k and d_k = d result / d (what step k absorbs, by class):
//   z_k = P z_(k+1) + (exits) d_k + source_k
//   d result / d w_ij += v_k[i] (z_(k+1)[j] - z_(k+1)[i]) / q, at an exit d_k in place of z[j],
// summed over k from the last step to the first, and over the vectors v (P - I)^a that the chain
// carries. The v_k are replayed from checkpoints. Mantissas: z carries the inverse of the scale of
// v, so that v_k[i] z_k[i] needs none.
#pragma once

#include <vector>

#include "distribution/uniformization_chain.h"

namespace phasic::PHASIC_ISA {

template <class N>
class ChainReverse {
 public:
  using Base = typename Traits<N>::Base;

  // Source tells the adjoint of the results, chunk by chunk from the last to the first:
  //   open_stretch(first, last, exponents)  before the chunks [first, last) are walked; the
  //                                         exponents of v in each of them
  //   open_chunk(chunk, exponent)
  //   const N* absorbed(j, a)               d of step j of the open chunk and vector a, (n_classes),
  //                                         or null for none
  //   add(j, v, z)                          adds the source of step j to z; after absorbed(j, a)
  //   finish(pair, exits)                   what is left at the end, in terms of P
  template <class Source>
  void run(const Chain<N>& chain, Source&& source) {
    chain_ = &chain;
    forward_.walk.n_regions = -1;
    const TransitionLayout& layout = chain.layout();
    n_ = layout.n_positions;
    size_ = chain.size();
    z_.assign(at(size_), N(0.0));
    z_next_.resize(at(size_));
    transition_bar_.assign(at(layout.n_transitions()), N(0.0));
    exit_bar_.assign(at(layout.n_exits()), N(0.0));
    exponent_ = chain.exponent();
    next_event_ = ssize(chain.events()) - 1;
    if (!chain.events().empty()) {  // what is forgotten is not replayed: it is zero from here on
      std::fill(history_.begin(), history_.end(), N(0.0));
    }
    const Index stride = chain.stride();
    const Index n_chunks = chain.n_chunks();  // 0 if no lane is valid
    for (Index first = (n_chunks + stride - 1) / stride * stride - stride; first >= 0;
         first -= stride) {
      const Index last = std::min(first + stride, n_chunks);
      replay(first, last);
      source.open_stretch(first, last, exponents_.data());
      for (Index chunk = last - 1; chunk >= first; --chunk) {
        undo_event(chunk);
        source.open_chunk(chunk, exponent_);
        for (Index j = kChunk - 1; j >= 0; --j) {
          const N* const v = history_.data() + ((chunk - first) * kChunk + j) * size_;
          z_.swap(z_next_);
          for (Index a = 0; a < chain.n_vectors(); ++a) {
            step_back(v + a * n_, source.absorbed(j, a), a * n_);
          }
          source.add(j, v, z_.data());
        }
      }
    }
    reverse_first_vectors();
    source.finish([this](const N* x, const N* y) { add_pair(x, y); },
                  [this](const N* y) { add_exits(y); });
  }

  // Adds the results, times 2^exponent, to the adjoints of the program's edges and start
  // probabilities.
  template <class T>
  void collect(const Base& exponent, Span<T> edge_bar, Span<T> start_bar) const {
    const TransitionLayout& layout = chain_->layout();
    const Base edge_scale = power_of_two(exponent) / chain_->rate();
    for (Index e = 0; e < layout.n_transitions(); ++e) {
      edge_bar[layout.out[at(e)]] += scaled(rounded<T>(transition_bar_[at(e)]), edge_scale);
    }
    for (Index i = 0; i < ssize(layout.exit_out); ++i) {
      edge_bar[layout.exit_out[at(i)]] +=
          scaled(rounded<T>(exit_bar_[at(layout.exit_of[at(i)])]), edge_scale);
    }
    const Base start_scale = power_of_two(exponent - chain_->start_exponent());
    for (Index e = 0; e < start_bar.size(); ++e) {
      if (layout.start_position[at(e)] >= 0) {
        start_bar[e] += scaled(rounded<T>(z_[at(layout.start_position[at(e)])]), start_scale);
      }
    }
  }

 private:
  // v_k for every step of the chunks [first, last), and the exponent of each chunk.
  void replay(Index first, Index last) {
    const std::size_t needed = at((last - first) * kChunk * size_);
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
    N* v = history_.data();
    std::copy_n(chain_->checkpoint(first / chain_->stride()), size_, v);
    form_walks(static_cast<Index>(max_lane(left_after(event))));
    for (Index k = 1; k < (last - first) * kChunk; ++k, v += size_) {
      chain_->step(forward_, v, v + size_);
      if (k % kChunk == 0 && event + 1 < ssize(events) &&
          events[at(event + 1)].chunk == first + k / kChunk - 1) {
        const Base before = left_after(event++);
        chain_->empty(v + size_, before, events[at(event)].regions);
        scale(v + size_, power_of_two(-events[at(event)].shift));
      }
    }
  }

  // For a stretch that begins with so many regions; those that it forgets stay zero.
  void form_walks(Index n_regions) {
    if (n_regions != forward_.walk.n_regions) {
      forward_.form(chain_->layout(), n_regions);
      backward_.form(chain_->layout(), n_regions, chain_->layout().begin);
    }
  }
  // Regions that are left after an event, -1 being the start.
  [[nodiscard]] Base left_after(Index event) const {
    return event < 0 ? Base(static_cast<double>(chain_->layout().n_regions()))
                     : chain_->events()[at(event)].regions;
  }

  void scale(N* x, const Base& factor) const {
    for (Index i = 0; i < size_; ++i) {
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
    chain_->empty(z_.data(), left_after(next_event_ - 1), left_after(next_event_));
    exponent_ -= shift;
    --next_event_;
  }

  // From z_(k+1) to z_k without its source for the vector whose entries begin at `offset`; adds step
  // k's part of the gradients.
  void step_back(const N* v, const N* absorbed, Index offset) {
    const TransitionLayout& layout = chain_->layout();
    const N* const z = z_next_.data() + offset;
    N* const before = z_.data() + offset;
    for (const Run& run : backward_.run) {
      with_degree<N>(run.degree,
                     [&](auto degree) { step_back_run<degree()>(run, v, z, before); });
    }
    const N* const exits = chain_->exits();
    for (Index x = 0; x < layout.n_exits(); ++x) {
      const std::int32_t i = layout.exit_position[at(x)];
      N difference = -z[i];
      if (absorbed != nullptr) {
        const N there = absorbed[layout.exit_class[at(x)]];
        before[i] += exits[x] * there;
        difference += there;
      }
      exit_bar_[at(x)] += v[i] * difference;
    }
  }

  template <int kDegree>
  void step_back_run(const Run& run, const N* v, const N* z, N* before) {
    const TransitionLayout& layout = chain_->layout();
    const std::int32_t degree = kDegree < 0 ? run.degree : kDegree;
    const N* const weight = chain_->weights();
    for (std::int32_t w = run.begin; w < run.end; ++w) {
      const std::int32_t i = backward_.position[at(w)];
      const std::int32_t* const target = layout.target.data() + layout.begin[at(i)];
      const std::int32_t* const number = layout.weight.data() + layout.begin[at(i)];
      N* const bar = transition_bar_.data() + layout.begin[at(i)];
      const N here = z[i];
      const N mass = v[i];
      N sum = chain_->stayed(i, here);
      for (std::int32_t e = 0; e < degree; ++e) {
        const N there = z[target[e]];
        sum += weight[number[e]] * there;
        bar[e] += mass * (there - here);
      }
      before[i] = sum;
    }
  }

  // The first vectors are start (P - I)^a: from the adjoint of one to that of the one before.
  void reverse_first_vectors() {
    const Base unit = power_of_two(-chain_->start_exponent());
    first_.resize(at(n_));
    for (Index a = chain_->n_vectors() - 1; a > 0; --a) {
      for (Index i = 0; i < n_; ++i) {
        first_[at(i)] = scaled(chain_->start_vector(a - 1)[i], unit);
      }
      add_pair(first_.data(), z_.data() + a * n_);
      chain_->add_applied(z_.data() + a * n_, z_.data() + (a - 1) * n_);
    }
  }

  // Adds the adjoint of x (P - I) y in P.
  void add_pair(const N* x, const N* y) {
    const TransitionLayout& layout = chain_->layout();
    for (Index i = 0; i < n_; ++i) {
      for (std::int32_t e = layout.begin[at(i)]; e < layout.begin[at(i + 1)]; ++e) {
        transition_bar_[at(e)] += x[i] * (y[layout.target[at(e)]] - y[i]);
      }
    }
    for (Index e = 0; e < layout.n_exits(); ++e) {
      const std::int32_t i = layout.exit_position[at(e)];
      exit_bar_[at(e)] -= x[i] * y[i];
    }
  }

  // Adds the adjoint of what positions absorb.
  void add_exits(const N* y) {
    const TransitionLayout& layout = chain_->layout();
    for (Index e = 0; e < layout.n_exits(); ++e) {
      exit_bar_[at(e)] += y[layout.exit_position[at(e)]];
    }
  }

  const Chain<N>* chain_ = nullptr;
  Index n_ = 0, size_ = 0, next_event_ = -1;
  IncomingWalk forward_;  // of the stretch
  Walk backward_;
  Base exponent_;
  std::vector<N> z_, z_next_, history_;  // (n_vectors, n), and so for each step of a stretch
  std::vector<N> first_;                 // (n)
  std::vector<Base> exponents_;
  std::vector<N> transition_bar_, exit_bar_;
};

}  // namespace phasic::PHASIC_ISA
