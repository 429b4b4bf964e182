// Elimination of a small block entry by entry, see PulledCode.
//
// What bounds the elimination of small components is writing: one store of 512 bits takes two cycles, and
// few fit the queue of a core. An entry that first collects what it receives is written once. The
// arithmetic, and its order, is that of updating the rows below each pivot.
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

// Weights and exit rates, and zeros where nothing else is written.
template <class T>
void load_pulled(const Block<T>& b, const Weights<T>& weights) {
  const Loads& loads = b.program.loads;
  const LoadEntry* const entries = loads.entry.data();
  const auto for_runs = [&](std::int32_t begin, std::int32_t end, auto&& f) {
    for (const LoadRun* run = loads.run.data() + begin; run != loads.run.data() + end; ++run) {
      const T parameter = weights.parameter(run->param);
      for (const LoadEntry* e = entries + run->begin; e != entries + run[1].begin; ++e) {
        f(named_slot(b.slot, e->slot), T(e->coef) * parameter);
      }
    }
  };
  const LoadBlock& block = loads.block[at(b.index)];
  for_runs(block.edges, block.more_exits, [](T& slot, const T& weight) { slot = weight; });
  for_runs(block.more_exits, (&block)[1].edges, [](T& slot, const T& weight) { slot += weight; });
  for (const std::uint16_t name : b.code.pulled.empty) {
    named_slot(b.slot, name) = T(0.0);
  }
}

// Adds what the differences in slot_bar say about the parameters of edges. z: of the block.
template <class T>
void unload_pulled(const Block<T>& b, Weights<T>& weights, const T* z) {
  const Loads& loads = b.program.loads;
  const LoadBlock& block = loads.block[at(b.index)];
  for (Index r = block.edges; r < block.exits; ++r) {
    const LoadRun* const run = &loads.run[at(r)];
    T sum(0.0);
    for (Index e = run->begin; e < run[1].begin; ++e) {
      const LoadEntry& entry = loads.entry[at(e)];
      sum += T(entry.coef) * (z[entry.step] * named_slot(b.slot_bar, entry.slot));
    }
    weights.parameter_adjoint(run->param) += sum;
  }
}

// One list of entries; returns what follows it.
template <bool loaded, class T>
const std::uint16_t* pull_entries(const std::uint16_t* words, T* slot) {
  for (Index n = *words++; n > 0; --n) {
    T& entry = named_slot(slot, words[0]);
    const std::uint16_t* const end = words + 2 + 2 * Index{words[1]};
    words += 2;
    T sum(0.0);
    if constexpr (loaded) {
      sum = entry;
    }
    do {
      sum += named_slot(slot, words[0]) * named_slot(slot, words[1]);
      words += 2;
    } while (words != end);
    entry = sum;
  }
  return words;
}

// One group.
template <class T>
const std::uint16_t* pull_products(const std::uint16_t* words, T* slot) {
  return pull_entries<false>(pull_entries<true>(words, slot), slot);
}

// A front of one step. alpha: of the block, to be eliminated as well; or nullptr.
template <class T>
const std::uint16_t* pull_single(const Block<T>& b, const Supernode& node,
                                 const std::uint16_t* words, T* alpha) {
  words = pull_products(words, b.slot);
  T* const row = b.slot + node.rows + 1;  // exit, then upper
  T pivot = row[0];
  for (Index j = 1; j <= node.n_upper; ++j) {
    pivot += row[j];
  }
  const T inverse = reciprocal_or_zero(pivot);
  b.inverse[node.first] = inverse;
  row[0] += exit_of_trap(inverse);
  words = pull_products(words, b.slot);
  const T multiplier = or_one(inverse);
  T* const lower = b.slot + node.lower;
  for (Index i = 0; i < node.n_lower; ++i) {
    lower[i] *= multiplier;
  }
  if (alpha != nullptr) {
    const T m = alpha[node.first] * inverse;
    const std::int32_t* upper = b.code.upper_step.data() + node.upper_list;
    for (Index j = 0; j < node.n_upper; ++j) {
      alpha[upper[j]] += m * row[1 + j];
    }
  }
  return words;
}

}  // namespace phasic::PHASIC_ISA
