// One component of a program with the numbers that belong to it: what the block functions work on.
#pragma once

#include "kernel/lane.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

template <class T>
struct Block {
  const Program& program;
  const ComponentCode& code;
  Index index;
  Index first;  // position of step 0

  T* slot;       // (code.n_slots + 1)
  T* inverse;    // (code.n) reciprocal pivots, 0 where the pivot is 0
  T* slot_bar;   // adjoints of the slots; only with an adjoint
  T* pivot_bar;  // (code.n) adjoints of the pivots themselves; only of several solves

  // Out-edges of a step that stay in the block, see Program.
  [[nodiscard]] Index inside_begin(Index step) const {
    return program.out_begin[at(first + step)];
  }
  [[nodiscard]] Index inside_end(Index step) const {
    return program.leaving_begin[at(first + step)];
  }
  // The first outflow run of a step, counted from that of the block.
  [[nodiscard]] Index run(Index step) const {
    const std::int32_t* begin = program.outflow.run_begin.data();
    return begin[first + step] - begin[first];
  }
};

// The pivots that were met, primal: which lanes have ordinary ones only.
template <class T>
struct PivotRange {
  using Base = typename Traits<T>::Base;
  Base least_inverse{1.0}, largest_inverse{1.0};
  void add(const T& inverse) {
    least_inverse = elementwise_min(least_inverse, primal(inverse));
    largest_inverse = elementwise_max(largest_inverse, primal(inverse));
  }
};

}  // namespace phasic::PHASIC_ISA
