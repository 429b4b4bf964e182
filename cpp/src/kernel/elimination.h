// Numeric elimination on a linked program, in lanes.
//
// State is kept in rates: off-diagonal weights and one exit rate a position, all in slots. Only + * /
// on non-negative numbers, so no digits are lost however stiff the chain.
//
// Work goes block by block (a block is one component), so that slots and weights can live in one small
// buffer that is reused (streaming), or side by side for all blocks (kept). Callers that need a
// factorisation again later use Keep::all; one solve_transposed and one adjoint can stream.
// Source: Grassmann, Taksar, Heyman 1985 (Operations Research 33:1107); O'Cinneide 1993.
#pragma once

#include <vector>

#include "kernel/block.h"
#include "kernel/block_factor.h"
#include "kernel/block_solve.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

enum class Keep { one_block, all };

template <class T>
class Elimination {
 public:
  using Base = typename Traits<T>::Base;

  Weights<T> weights;
  Base least_inverse{1.0}, largest_inverse{1.0};  // over all pivots since set_theta, primal

  void resize(const Program& program, Keep keep, bool with_adjoint) {
    program_ = &program;
    keep_ = keep;
    const bool all = keep == Keep::all;
    weights.resize(program, with_adjoint);
    slot_.resize(at(all ? program.slot_base.back() : program.max_block_slots));
    edge_.resize(at(all ? ssize(program.out_edge) : program.max_block_edges));
    inverse_.resize(at(all ? program.n_positions : program.max_block_positions));
    if (with_adjoint) {
      slot_bar_.resize(slot_.size());
      edge_bar_.resize(edge_.size());
      pivot_bar_.resize(inverse_.size());
    }
  }

  void set_theta(Span<const T> theta) {
    weights.set_theta(theta);
    least_inverse = largest_inverse = Base(1.0);
  }

  [[nodiscard]] Block<T> block(Index b) {
    const Program& p = *program_;
    const Index first = p.block_begin[at(b)], first_edge = p.out_begin[at(first)];
    const bool all = keep_ == Keep::all;
    const Index slots = all ? p.slot_base[at(b)] : 0;
    const Index edges = all ? first_edge : 0;
    const Index positions = all ? first : 0;
    return {p,
            *p.block_code[at(b)],
            first,
            first_edge,
            slot_.data() + slots,
            inverse_.data() + positions,
            edge_.data() + edges,
            slot_bar_.data() + slots,
            pivot_bar_.data() + positions,
            edge_bar_.data() + edges};
  }

  // Loads the weights of block b and eliminates it.
  void factor(Index b) {
    const Block<T> v = block(b);
    factor_block(v, weights);
    for (Index k = 0; k < v.code.n; ++k) {
      const Base inverse = primal(v.inverse[k]);
      least_inverse = -elementwise_max(-least_inverse, -inverse);
      largest_inverse = elementwise_max(largest_inverse, inverse);
    }
  }

  void factor_all() {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      factor(b);
    }
  }

  // --- all blocks in the order that the block functions ask for; Keep::all only
  void solve_all(const T* rhs, T* r, T* x) {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      solve_block(block(b), rhs, r, x);
    }
  }
  void solve_adjoint_all(const T* r, const T* x, T* x_bar, T* rhs_bar) {
    for (Index b = program_->n_blocks() - 1; b >= 0; --b) {
      solve_block_adjoint(block(b), r, x, x_bar, rhs_bar);
    }
  }
  void clear_adjoint_all() {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      clear_block_adjoint(block(b));
    }
  }

  // Reciprocal pivot of a position; Keep::all only.
  [[nodiscard]] const T& inverse(Index position) const { return inverse_[at(position)]; }

 private:
  const Program* program_ = nullptr;
  Keep keep_ = Keep::all;
  std::vector<T> slot_, edge_, inverse_;
  std::vector<T> slot_bar_, edge_bar_, pivot_bar_;
};

}  // namespace phasic::PHASIC_ISA
