// Elimination of a small block entry by entry, see PulledCode.
//
// What bounds the elimination of small components is what they load and write: of 512 bits one load takes a
// cycle, one store two. An entry is written once, after it collected its weight and all that it receives,
// and below a pivot not before it is a multiplier. The arithmetic, and its order, is that of updating the
// rows below each pivot.
//
// Code is kept short, and a front's entries come by number of products: what a core remembers of branches
// and decoded instructions is soon full where every component has a program of its own.
#pragma once

#include "kernel/block.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

// The oracle updates rows.
template <class T>
bool is_pulled(const Block<T>& b) {
  return Traits<T>::lanes > 1 && b.code.is_pulled();
}

// A slot by its name.
template <class T>
T& named_slot(T* slot, Index name) {
  constexpr Index kBytes = sizeof(T) / PulledCode::kSlotUnit;
  return *reinterpret_cast<T*>(reinterpret_cast<char*>(slot) + name * kBytes);
}

// Adds what the weights of a block say about their parameters: z times a difference of h. Those of edges
// are in slot_bar; exits: the sums in outflow_part are of Weights::pull_parts. z, h: of the block.
template <class T>
void unload_pulled(const Block<T>& b, Weights<T>& weights, const T* z, const T* h,
                   const T* outflow_part) {
  const Loads& loads = b.program.loads;
  const auto for_runs = [&](Index begin, Index end, auto difference) {
    for (Index r = begin; r < end; ++r) {
      const LoadRun* const run = &loads.run[at(r)];
      T sum(0.0);
      for (Index e = run->begin; e < run[1].begin; ++e) {
        const LoadEntry& entry = loads.entry[at(e)];
        sum += z[entry.step] * difference(entry);
      }
      weights.parameter_adjoint(run->param) += sum;
    }
  };
  const LoadBlock* const block = &loads.block[at(b.index)];
  for_runs(block->edges, block->exits, [&](const LoadEntry& entry) {
    return T(entry.coef) * named_slot(b.slot_bar, entry.place);
  });
  for_runs(block->exits, block[1].edges, [&](const LoadEntry& entry) {
    return outflow_part[entry.place] - T(entry.coef) * h[entry.step];
  });
}

// Forms the entries of a block one after the other. No two products are added to each other, see
// small_front.h: a weight and products meet in loops only. one_parameter: all edges of the block have the
// same, which then stays in registers.
template <bool one_parameter, class T>
class Puller {
 public:
  Puller(const Block<T>& b, const Weights<T>& weights, const std::uint16_t* words,
         const LoadWeight* weight)
      : slot_(b.slot), words_(words), weight_(weight), weights_(weights) {
    if constexpr (one_parameter) {
      parameter_ = weights.parameter(b.program.loads.block[at(b.index)].param);
    }
  }

  // What is next.
  [[nodiscard]] const std::uint16_t* words() const { return words_; }
  [[nodiscard]] const LoadWeight* next_weight() const { return weight_; }

  // Entries [first, first + n) of slots, each handed to f(its slot, its number).
  template <class F>
  [[gnu::always_inline]] void entries(Index first, Index n, F f) {
    T* const end = slot_ + first + n;
    for (T* to = slot_ + first; to != end; ++to) {
      const Index head = *words_++;
      f(*to, entry(head));
    }
  }

  // Entries of a front, those alike together.
  [[gnu::always_inline]] void front_entries() {
    for (Index kinds = *words_++; kinds > 0; --kinds) {
      const Index head = *words_++, n = *words_++;
      switch (head) {
        case 0: only_products<0>(n); break;
        case 1: only_weights(n); break;
        case 2: only_products<1>(n); break;
        case 4: only_products<2>(n); break;
        case 6: only_products<3>(n); break;
        case 8: only_products<4>(n); break;
        default: entries_of(head, n);
      }
    }
  }

  // The exit rate of the next step.
  [[gnu::always_inline]] T exit() {
    T sum = weights_.extra_exit;
    do {
      sum += T(weight_->coef) * weights_.parameter(weight_->param);
    } while (weight_++->more != 0);
    const Index head = *words_++;
    add_products(sum, head / 2);
    return sum;
  }

 private:
  // n entries with N products each and no weight.
  template <int N>
  [[gnu::always_inline]] void only_products(Index n) {
    for (; n > 0; --n, words_ += 1 + 2 * N) {
      T sum(0.0);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        sum += named_slot(slot_, words_[1 + 2 * i]) * named_slot(slot_, words_[2 + 2 * i]);
      }
      named_slot(slot_, words_[0]) = sum;
    }
  }

  // n entries with a weight and no products.
  [[gnu::always_inline]] void only_weights(Index n) {
    for (; n > 0; --n) {
      named_slot(slot_, *words_++) = weight();
    }
  }

  [[gnu::always_inline]] void entries_of(Index head, Index n) {
    for (; n > 0; --n) {
      T& to = named_slot(slot_, *words_++);
      to = entry(head);
    }
  }

  [[gnu::always_inline]] T entry(Index head) {
    T sum(0.0);
    if (head % 2 == 1) {
      sum = weight();
    }
    add_products(sum, head / 2);
    return sum;
  }

  [[gnu::always_inline]] T weight() {
    const LoadWeight& w = *weight_++;
    if constexpr (one_parameter) {
      return T(w.coef) * parameter_;
    } else {
      return T(w.coef) * weights_.parameter(w.param);
    }
  }

  [[gnu::always_inline]] void add_products(T& sum, Index n) {
    for (; n > 0; --n, words_ += 2) {
      sum += named_slot(slot_, words_[0]) * named_slot(slot_, words_[1]);
    }
  }

  T* slot_;
  const std::uint16_t* words_;
  const LoadWeight* weight_;
  const Weights<T>& weights_;
  T parameter_;  // if it is one
};

// A front of one step.
template <bool one_parameter, class T>
[[gnu::always_inline]] inline void pull_single(const Block<T>& b, Puller<one_parameter, T>& pull,
                                               const Supernode& node) {
  const T exit = pull.exit();
  T pivot = exit;
  pull.entries(node.rows + 2, node.n_upper, [&](T& slot, const T& sum) {
    slot = sum;
    pivot += sum;
  });
  const PivotInverse<T> inverted = invert_pivot(pivot);
  const T multiplier = inverted.multiplier;
  b.inverse[node.first] = inverted.inverse;
  b.slot[node.rows + 1] = exit + inverted.exit_of_trap;
  pull.entries(node.lower, node.n_lower,
               [&](T& slot, const T& sum) { slot = sum * multiplier; });
}

// The entries of the last front.
template <bool one_parameter, class T>
[[gnu::noinline]] void pull_last(const Block<T>& b, const Weights<T>& weights,
                                 const std::uint16_t* words, const LoadWeight* weight,
                                 const Supernode& node) {
  Puller<one_parameter, T> pull(b, weights, words, weight);
  pull.front_entries();
  for (Index t = 0; t < node.width; ++t) {
    const Index row = node.rows + t * node.stride();
    b.slot[row + t] = T(0.0);
    b.slot[row + node.width] = pull.exit();
  }
}

// Factors single steps and forms the last front.
template <bool one_parameter, class T>
[[gnu::noinline]] void pull_entries(const Block<T>& b, const Weights<T>& weights) {
  Puller<one_parameter, T> pull(b, weights, b.code.pulled.words.data(),
                 b.program.loads.weight.data() + b.program.loads.block[at(b.index)].weight);
  for (const Supernode& node : b.code.supernodes) {
    if (node.width > 1) {
      return pull_last<one_parameter>(b, weights, pull.words(), pull.next_weight(), node);
    }
    pull_single(b, pull, node);
  }
}

// What flows into each step of a block with what single steps before it pass on, over the pivot of single
// steps. alpha (code.n): receives; z as in factor_block.
template <class T>
void pull_flows(const Block<T>& b, const Weights<T>& weights, T* alpha, const T* z) {
  const std::uint16_t* words = b.code.pulled.alpha.data();
  const Supernode& last = b.code.supernodes.back();
  const Index singles = last.width == 1 ? b.code.n : last.first;
  for (Index k = 0; k < b.code.n; ++k) {
    T sum = weights.pull(b.program.inflow, b.first + k, z);
    for (Index n = *words++; n > 0; --n, words += 2) {
      sum += named_slot(alpha, words[0]) * named_slot(b.slot, words[1]);
    }
    alpha[k] = k < singles ? sum * b.inverse[k] : sum;
  }
}

}  // namespace phasic::PHASIC_ISA
