// Loading and factoring one block, and the adjoint of both.
//
// Slots are loaded with weights and exit rates; factoring leaves multipliers below the pivots. The
// adjoint reverses the same steps from the final slots alone; there is no tape.
#pragma once

#include <algorithm>

#include "kernel/block.h"
#include "kernel/block_solve.h"
#include "kernel/front.h"
#include "kernel/pulled.h"
#include "kernel/small_front.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

template <class T>
void load_block(const Block<T>& b, const Weights<T>& weights) {
  const std::int32_t* out_slot = b.program.out_slot.data();
  for (const std::int32_t slot : b.code.empty_slot) {
    b.slot[slot] = T(0.0);
  }
  for (Index k = 0; k < b.code.n; ++k) {
    for (Index e = b.inside_begin(k); e < b.inside_end(k); ++e) {
      b.slot[out_slot[e]] = weights.weight(e);
    }
    b.slot[b.code.exit_slot[at(k)]] = weights.exit_rate(b.first + k);
  }
}

// Columns that a pivot's row keeps in registers while the rows below are updated.
template <class T>
inline constexpr int kRowColumns = Traits<T>::levels > 0 ? 1 : 8;

// What happens to the rows below a single pivot, and to the alpha that is eliminated with them.
template <class T>
struct PivotUpdate {
  T* slot;     // of the component
  T* lower;    // (n_lower) entries of the rows below; become multipliers
  Index n_lower;
  T multiplier;
  const T* row;                // exit, then upper
  const std::int32_t* update;  // (n_lower, columns)
  Index columns;
  T* alpha;                    // of the component, or nullptr; behind the pivot
  T alpha_multiplier;
  const std::int32_t* upper;   // (columns - 1) steps

  // N columns from column c. The first call forms the multipliers.
  template <int N, bool first>
  void run(Index c) const {
    T pivot_row[N];
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) {
      pivot_row[j] = row[c + j];
    }
    const std::int32_t* to = update + c;
    for (Index i = 0; i < n_lower; ++i, to += columns) {
      T f = lower[i];
      if constexpr (first) {
        f = f * multiplier;
        lower[i] = f;
      }
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) {
        slot[to[j]] += f * pivot_row[j];
      }
    }
    if (alpha != nullptr) {
#pragma GCC unroll 8
      for (int j = first ? 1 : 0; j < N; ++j) {  // the exit leads to no step
        alpha[upper[c + j - 1]] += alpha_multiplier * pivot_row[j];
      }
    }
  }

  // The columns from c on, at most N of them.
  template <int N, bool first>
  void run_up_to(Index c) const {
    if constexpr (N == 1) {
      run<1, first>(c);
    } else if (columns - c >= N) {
      run<N, first>(c);
    } else {
      run_up_to<N - 1, first>(c);
    }
  }
};

// A front of one step. alpha: of the block, eliminated together with the rows below; or nullptr.
template <class T>
void factor_single(const Block<T>& b, const Supernode& node, T* alpha) {
  constexpr int kN = kRowColumns<T>;
  T* row = b.slot + node.rows + 1;  // exit, then upper
  const Index columns = Index{1} + node.n_upper;
  T pivot = row[0];
  for (Index j = 1; j < columns; ++j) {
    pivot += row[j];
  }
  const T inverse = reciprocal_or_zero(pivot);
  b.inverse[node.first] = inverse;
  row[0] += exit_of_trap(inverse);
  const PivotUpdate<T> rows{b.slot,
                            b.slot + node.lower,
                            node.n_lower,
                            or_one(inverse),
                            row,
                            b.code.update_slot.data() + node.update,
                            columns,
                            alpha,
                            alpha == nullptr ? T(0.0) : alpha[node.first] * inverse,
                            b.code.upper_step.data() + node.upper_list};
  if (alpha != nullptr) {
    alpha[node.first] = rows.alpha_multiplier;
  }
  rows.template run_up_to<kN, true>(0);
  for (Index c = kN; c < columns; c += kN) {
    rows.template run_up_to<kN, false>(c);
  }
}

template <class T>
void single_adjoint(const Block<T>& b, const Supernode& node) {
  const T* row = b.slot + node.rows + 1;
  T* row_bar = b.slot_bar + node.rows + 1;
  const Index columns = Index{1} + node.n_upper;
  const T inverse = b.inverse[node.first], multiplier = or_one(inverse);
  T pivot_bar = b.pivot_bar[node.first];
  const std::int32_t* update = b.code.update_slot.data() + node.update;
  for (Index i = 0; i < node.n_lower; ++i) {
    const T f = b.slot[node.lower + i];
    T f_bar = b.slot_bar[node.lower + i];
    for (Index j = 0; j < columns; ++j) {
      const T bar = b.slot_bar[*update++];
      f_bar += bar * row[j];
      row_bar[j] += f * bar;
    }
    b.slot_bar[node.lower + i] = f_bar * multiplier;
    pivot_bar -= (f_bar * f) * inverse;
  }
  for (Index j = 0; j < columns; ++j) {
    row_bar[j] += pivot_bar;
  }
}

// factor_block entry by entry.
template <class T>
void pull_block(const Block<T>& b, const Weights<T>& weights, T* alpha, const T* z) {
  const Supernode& last = b.code.supernodes.back();
  if (b.program.loads.block[at(b.index)].param >= 0) {
    pull_entries<true>(b, weights);
  } else {
    pull_entries<false>(b, weights);
  }
  if (alpha != nullptr) {
    pull_flows(b, weights, alpha, z);
  }
  if (last.width == 1) {
    return;
  }
  const bool small = with_small_front<T>(b.code, last, [&](auto width) {
    SmallFront<width, T>::factor(b.slot + last.rows, b.inverse + last.first,
                                 alpha == nullptr ? nullptr : alpha + last.first);
  });
  if (!small) {
    FrontFactor<T>(b.code, last, b.slot, b.inverse + last.first).run();
    if (alpha != nullptr) {
      eliminate_alpha(b, last, alpha);
    }
  }
}

// factor_block by updating the rows below each front.
template <class T>
void update_block(const Block<T>& b, const Weights<T>& weights, T* alpha, const T* z) {
  load_block(b, weights);
  if (alpha != nullptr) {
    pull_alpha(b, weights, alpha, z);
  }
  for (const Supernode& node : b.code.supernodes) {
    if (node.width == 1) {
      factor_single(b, node, alpha);
      continue;
    }
    const bool small = with_small_front<T>(b.code, node, [&](auto width) {
      SmallFront<width, T>::factor(b.slot + node.rows, b.inverse + node.first,
                                   alpha == nullptr ? nullptr : alpha + node.first);
    });
    if (small) {
      continue;
    }
    FrontFactor<T>(b.code, node, b.slot, b.inverse + node.first).run();
    if (alpha != nullptr) {
      eliminate_alpha(b, node, alpha);
    }
  }
}

// alpha (code.n): receives what flows into the block from z (n_places) of later ones, eliminated and over
// the pivots. Or nullptr.
template <class T>
void factor_block(const Block<T>& b, const Weights<T>& weights, PivotRange<T>& pivots, T* alpha,
                  const T* z) {
  if (b.code.n == 1) {  // nothing to eliminate: no slot is used
    b.inverse[0] = reciprocal_or_zero(weights.exit_rate(b.first));
    return pivots.add(b.inverse[0]);
  }
  if (is_pulled(b)) {
    pull_block(b, weights, alpha, z);
  } else {
    update_block(b, weights, alpha, z);
  }
  PivotRange<T> range = pivots;  // a copy stays in registers
  for (Index k = 0; k < b.code.n; ++k) {
    range.add(b.inverse[k]);
  }
  pivots = range;
}

// Call before the adjoints of the block.
template <class T>
void clear_block_adjoint(const Block<T>& b) {
  if (b.code.n > 1) {
    std::fill(b.slot_bar, b.slot_bar + b.code.n_slots + 1, T(0.0));
  }
  std::fill(b.pivot_bar, b.pivot_bar + b.code.n, T(0.0));
}

// Reverses factor_block: adds to weights.theta_bar. term_bar(t) is the adjoint of outflow term t,
// apart from what the exit rate adds.
template <class T, class TermBar>
void factor_block_adjoint(const Block<T>& b, Weights<T>& weights, TermBar term_bar) {
  const auto unload_exit = [&](Index k, const T& exit_bar) {
    weights.add_outflow_term_adjoints(b.first + k,
                                      [&](Index t) { return term_bar(t) + exit_bar; });
  };
  if (b.code.n == 1) {
    return unload_exit(0, b.pivot_bar[0]);
  }
  for (Index f = ssize(b.code.supernodes) - 1; f >= 0; --f) {
    const Supernode& node = b.code.supernodes[at(f)];
    if (node.width == 1) {
      single_adjoint(b, node);
    } else {
      FrontAdjoint<T>(b.code, node, b.slot, b.slot_bar, b.inverse + node.first,
                      b.pivot_bar + node.first)
          .run();
    }
  }
  const std::int32_t* out_slot = b.program.out_slot.data();
  for (Index k = 0; k < b.code.n; ++k) {
    for (Index e = b.inside_begin(k); e < b.inside_end(k); ++e) {
      weights.add_weight_adjoint(e, b.slot_bar[out_slot[e]]);
    }
    unload_exit(k, b.slot_bar[b.code.exit_slot[at(k)]]);
  }
}

}  // namespace phasic::PHASIC_ISA
