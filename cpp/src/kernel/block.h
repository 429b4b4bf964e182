// One component of a program with the numbers that belong to it: what the block functions work on.
#pragma once

#include "kernel/lane.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

template <class T>
struct Block {
  const Program& program;
  const ComponentCode& code;
  Index first;       // position of step 0
  Index first_edge;  // out-edge of the block with the lowest number

  T* slot;       // (code.n_slots + 1)
  T* inverse;    // (code.n) reciprocal pivots, 0 where the pivot is 0
  T* edge;       // weights of edges that leave the block, by out-edge minus first_edge
  T* slot_bar;   // adjoints of the above; only with an adjoint
  T* pivot_bar;  // (code.n) adjoints of the pivots themselves
  T* edge_bar;

  // Out-edges of a step, see Program.
  [[nodiscard]] Index inside_begin(Index step) const {
    return program.out_begin[at(first + step)];
  }
  [[nodiscard]] Index leaving_begin(Index step) const {
    return program.leaving_begin[at(first + step)];
  }
  [[nodiscard]] Index absorbed_begin(Index step) const {
    return program.absorbed_begin[at(first + step)];
  }
  [[nodiscard]] Index out_end(Index step) const { return program.out_begin[at(first + step) + 1]; }
};

}  // namespace phasic::PHASIC_ISA
