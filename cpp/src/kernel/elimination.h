// Numeric elimination on a linked program, in lanes.
//
// State is kept in rates: off-diagonal weights and one exit rate a position, all in slots. Only + * /
// on non-negative numbers, so no digits are lost however stiff the chain.
//
// Work goes block by block (a block is one component), so that slots can live in one small buffer that
// is reused, or side by side for all blocks. One transposed solve and its gradient can do with the buffer;
// several solves, and their adjoints, need all blocks.
// Source: Grassmann, Taksar, Heyman 1985 (Operations Research 33:1107); O'Cinneide 1993.
#pragma once

#include "kernel/block.h"
#include "kernel/block_factor.h"
#include "kernel/block_solve.h"
#include "kernel/differences.h"
#include "kernel/keep.h"
#include "kernel/narrow_block.h"
#include "kernel/scratch.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

template <class T>
class Elimination {
 public:
  Weights<T> weights;
  PivotRange<T> pivots;  // since set_theta

  void resize(const Program& program, Keep keep, bool with_adjoint) {
    program_ = &program;
    keep_ = keep;
    with_adjoint_ = with_adjoint;
    const bool factors = keep != Keep::one_block, all = keep == Keep::all;
    weights.resize(program, with_adjoint);
    slot_.resize(at(factors ? program.slot_base.back() : program.max_block_slots));
    inverse_.resize(at(factors ? program.n_positions : program.max_block_positions));
    if (with_adjoint) {
      slot_bar_.resize(at(all ? program.slot_base.back() : program.max_block_slots));
      pivot_bar_.resize(at(all ? program.n_positions : 0));
      scratch_.resize(at(program.max_block_positions));
      outflow_part_.resize(at(program.max_block_runs));
    }
  }

  void set_theta(Span<const T> theta) {
    weights.set_theta(theta);
    pivots = {};
    factored_ = -1;
  }

  // --- one transposed solve and its gradient, block by block; fused where a block is narrow

  // z (n_places, 1 at the start) := alpha U; blocks in descending order. y (n_positions): scratch that
  // the gradient reads.
  void sojourn(Index b, T* y, T* z) {
    const Block<T> v = block(b);
    if (v.code.n == 1) {
      vertex_sojourn(v, weights, pivots, z);
    } else if (v.code.path) {
      if (with_adjoint_ && keep_ != Keep::one_block) {
        path_sojourn<true>(v, weights, pivots, z);
      } else {
        path_sojourn<false>(v, weights, pivots, z);
      }
    } else {
      T* const alpha = with_adjoint_ ? y + v.first : y;  // a place that stays near
      factor(b, alpha, z);
      sojourns_from_alpha(v, alpha, z + v.first);
    }
  }

  // h (n_places) := U r, and the gradient of z . r in weights.theta_bar; blocks in ascending order. r
  // (of the block) is consumed.
  void gradient(Index b, const T* y, const T* z, T* r, T* h) {
    const Block<T> v = block(b);
    const bool kept = keep_ != Keep::one_block;
    T* const part = outflow_part_.data();
    if (v.code.n == 1) {
      return kept ? vertex_gradient<true>(v, weights, z, r, h, part)
                  : vertex_gradient<false>(v, weights, z, r, h, part);
    }
    if (v.code.path) {
      return kept ? path_gradient<true>(v, weights, z, r, h, part)
                  : path_gradient<false>(v, weights, z, r, h, part);
    }
    if (!kept && factored_ != b) {
      factor(b);
    }
    block_gradient(v, weights, y, z, r, h, scratch_.data(), part);
  }

  // --- several solves; not of Keep::one_block, their adjoints of Keep::all

  // Loads the weights of block b and eliminates it; alpha and z as in factor_block.
  void factor(Index b, T* alpha = nullptr, const T* z = nullptr) {
    factor_block(block(b), weights, pivots, alpha, z);
    factored_ = b;
  }
  void factor_all() {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      factor(b);
    }
  }
  void solve_all(const T* rhs, T* r, T* x) {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      const Index first = program_->block_begin[at(b)];
      solve_block(block(b), weights, rhs + first, r + first, x);
    }
  }
  void solve_transposed_all(T* y, T* z) {
    for (Index b = program_->n_blocks() - 1; b >= 0; --b) {
      solve_block_transposed(block(b), weights, y, z);
    }
  }

  // Their adjoints: clear, then those of the solves in reverse order, then that of the factor.
  void clear_adjoint_all() {
    term_bar_.assign(program_->outflow.term.size(), T(0.0));
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      clear_block_adjoint(block(b));
    }
  }
  void solve_adjoint_all(const T* r, const T* x, T* x_bar, T* rhs_bar) {
    for (Index b = program_->n_blocks() - 1; b >= 0; --b) {
      solve_block_adjoint(block(b), weights, r, x, x_bar, rhs_bar);
    }
    add_term_adjoints(rhs_bar, x);
  }
  void solve_transposed_adjoint_all(const T* y, const T* z, T* z_bar, T* alpha_bar) {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      solve_block_transposed_adjoint(block(b), weights, y, z, z_bar + program_->block_begin[at(b)],
                                     alpha_bar);
    }
    add_term_adjoints(z, alpha_bar);
  }
  void factor_adjoint_all() {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      factor_block_adjoint(block(b), weights, [&](Index t) { return term_bar_[at(t)]; });
    }
  }

  // Reciprocal pivot of a position; not of Keep::one_block.
  [[nodiscard]] const T& inverse(Index position) const { return inverse_[at(position)]; }

 private:
  [[nodiscard]] Block<T> block(Index b) {
    const Program& p = *program_;
    const Index first = p.block_begin[at(b)];
    const Index slots = keep_ == Keep::one_block ? 0 : p.slot_base[at(b)];
    const Index positions = keep_ == Keep::one_block ? 0 : first;
    const bool all = keep_ == Keep::all && with_adjoint_;
    return {p,
            *p.block_code[at(b)],
            b,
            first,
            slot_.data() + slots,
            inverse_.data() + positions,
            all ? slot_bar_.data() + slots : slot_bar_.data(),
            all ? pivot_bar_.data() + positions : nullptr};
  }

  // The weight of an outflow term is multiplied by `there` at its other end and added to a sum whose
  // adjoint is `here`.
  void add_term_adjoints(const T* here, const T* there) {
    const Flows& flows = program_->outflow;
    for (Index k = 0; k < program_->n_positions; ++k) {
      for (Index t = flows.term_begin(k); t < flows.term_begin(k + 1); ++t) {
        term_bar_[at(t)] += here[k] * there[flows.term[at(t)].place];
      }
    }
  }

  const Program* program_ = nullptr;
  Keep keep_ = Keep::all;
  bool with_adjoint_ = false;
  Index factored_ = -1;  // the block whose slots the buffer holds; of Keep::one_block
  detail::Scratch<T> slot_, inverse_;
  detail::Scratch<T> slot_bar_, pivot_bar_, scratch_;
  detail::Scratch<T> outflow_part_;  // (runs of one block)
  detail::Scratch<T> term_bar_;      // (outflow terms) of several solves
};

}  // namespace phasic::PHASIC_ISA
