// Numeric elimination on a linked program, in lanes: load, factor, solve, and their adjoints.
//
// State is kept in rates: off-diagonal weights in slots, one exit rate a position. Step k:
//   pivot S = exit_k + sum_j w_kj;  f_ik = w_ik / S;  w_ij += f_ik w_kj (i != j);  exit_i += f_ik exit_k
// Only + * / on non-negative numbers, so no digits are lost however stiff the chain. After the factor
// step slot (k, j) holds w_kj and slot (i, k) holds f_ik. The adjoint reverses the same steps from
// these final slots alone; there is no tape.
// Source: Grassmann, Taksar, Heyman 1985 (Operations Research 33:1107); O'Cinneide 1993.
//
// Templates over the number type, see lane.h. Nothing here allocates after resize().
#pragma once

#include <algorithm>
#include <vector>

#include "kernel/lane.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

template <class T>
class Elimination {
 public:
  // --- storage; valid until the next resize
  std::vector<T> edge;     // (n_out) transition weights at theta
  std::vector<T> start;    // (n_start) start weights at theta
  std::vector<T> slot;     // (n_slots + 1) the last one collects what is dropped
  std::vector<T> exit;     // (n_positions) exit rate out of the component, after elimination
  std::vector<T> inverse;  // (n_positions) 1 / pivot, 0 where the pivot is 0

  std::vector<T> edge_bar, start_bar, slot_bar, exit_bar, pivot_bar;  // adjoints of the above

  void resize(const Program& program, bool with_adjoint) {
    program_ = &program;
    edge.resize(at(ssize(program.out_edge)));
    start.resize(at(ssize(program.start_edge)));
    slot.resize(at(program.n_slots + 1));
    exit.resize(at(program.n_positions));
    inverse.resize(at(program.n_positions));
    if (with_adjoint) {
      edge_bar.resize(edge.size());
      start_bar.resize(start.size());
      slot_bar.resize(slot.size());
      exit_bar.resize(exit.size());
      pivot_bar.resize(exit.size());
    }
  }

  // Weight of graph edge e at theta.
  [[nodiscard]] T weight(Index e, Span<const T> theta) const {
    const Graph& g = *program_->graph;
    T w(g.constant[at(e)]);
    for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
      w += T(g.coef_value[at(c)]) * theta[g.coef_param[at(c)]];
    }
    return w;
  }

  // Evaluates every weight at theta, (param_length).
  void load_weights(Span<const T> theta) {
    const Program& p = *program_;
    for (Index e = 0; e < ssize(p.out_edge); ++e) {
      edge[at(e)] = weight(p.out_edge[at(e)], theta);
    }
    for (Index e = 0; e < ssize(p.start_edge); ++e) {
      start[at(e)] = weight(p.start_edge[at(e)], theta);
    }
  }

  void factor() {
    load_slots();
    const Program& p = *program_;
    for (Index k = 0; k < p.n_positions; ++k) {
      const Index upper0 = p.slot_begin[at(k)], n_upper = p.upper_count[at(k)];
      const Index lower0 = upper0 + n_upper, n_lower = p.slot_begin[at(k + 1)] - lower0;
      const T* upper = slot.data() + upper0;
      const std::int32_t* update = p.update_slot.data() + p.update_begin[at(k)];
      const T exit_k = exit[at(k)];
      T pivot = exit_k;
      for (Index j = 0; j < n_upper; ++j) {
        pivot += upper[j];
      }
      const T inverse_k = reciprocal_or_zero(pivot);
      inverse[at(k)] = inverse_k;
      for (Index i = 0; i < n_lower; ++i) {
        T& lower = slot[at(lower0 + i)];
        const T f = lower * inverse_k;
        lower = f;
        exit[at(p.slot_position[at(lower0 + i)])] += f * exit_k;
        for (Index j = 0; j < n_upper; ++j) {
          slot[at(*update++)] += f * upper[j];
        }
      }
    }
  }

  // x := U rhs, U = (Lambda - W)^-1. b receives the right-hand side after elimination (the adjoint
  // needs it). rhs, b and x have n_positions entries; b and x may not alias rhs.
  void solve(const T* rhs, T* b, T* x) const {
    const Program& p = *program_;
    std::copy(rhs, rhs + p.n_positions, b);
    for (Index block = 0; block + 1 < ssize(p.block_begin); ++block) {
      const Index first = p.block_begin[at(block)], last = p.block_begin[at(block + 1)];
      for (Index k = first; k < last; ++k) {
        for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
          if (p.out_slot[at(e)] < 0 && p.out_target[at(e)] >= 0) {
            b[k] += edge[at(e)] * x[p.out_target[at(e)]];
          }
        }
      }
      for (Index k = first; k < last; ++k) {
        for (Index s = lower_begin(k); s < p.slot_begin[at(k + 1)]; ++s) {
          b[p.slot_position[at(s)]] += slot[at(s)] * b[k];
        }
      }
      for (Index k = last - 1; k >= first; --k) {
        T sum = b[k];
        for (Index s = p.slot_begin[at(k)]; s < lower_begin(k); ++s) {
          sum += slot[at(s)] * x[p.slot_position[at(s)]];
        }
        x[k] = sum * inverse[at(k)];
      }
    }
  }

  // Adjoint of solve: x_bar is consumed; rhs_bar receives (=) the adjoint of rhs; slot, pivot and edge
  // adjoints accumulate.
  void solve_adjoint(const T* b, const T* x, T* x_bar, T* rhs_bar) {
    const Program& p = *program_;
    for (Index block = ssize(p.block_begin) - 2; block >= 0; --block) {
      const Index first = p.block_begin[at(block)], last = p.block_begin[at(block + 1)];
      for (Index k = first; k < last; ++k) {
        const T t = x_bar[k] * inverse[at(k)];
        rhs_bar[k] = t;
        pivot_bar[at(k)] -= t * x[k];
        for (Index s = p.slot_begin[at(k)]; s < lower_begin(k); ++s) {
          const Index j = p.slot_position[at(s)];
          slot_bar[at(s)] += t * x[j];
          x_bar[j] += t * slot[at(s)];
        }
      }
      for (Index k = last - 1; k >= first; --k) {
        T sum = rhs_bar[k];
        for (Index s = lower_begin(k); s < p.slot_begin[at(k + 1)]; ++s) {
          const Index i = p.slot_position[at(s)];
          sum += slot[at(s)] * rhs_bar[i];
          slot_bar[at(s)] += rhs_bar[i] * b[k];
        }
        rhs_bar[k] = sum;
      }
      for (Index k = first; k < last; ++k) {
        for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
          if (p.out_slot[at(e)] < 0 && p.out_target[at(e)] >= 0) {
            edge_bar[at(e)] += rhs_bar[k] * x[p.out_target[at(e)]];
            x_bar[p.out_target[at(e)]] += rhs_bar[k] * edge[at(e)];
          }
        }
      }
    }
  }

  // z := alpha U (expected sojourn in each position). y receives the eliminated alpha.
  void solve_transposed(const T* alpha, T* y, T* z) const {
    const Program& p = *program_;
    std::copy(alpha, alpha + p.n_positions, y);
    for (Index block = ssize(p.block_begin) - 2; block >= 0; --block) {
      const Index first = p.block_begin[at(block)], last = p.block_begin[at(block + 1)];
      for (Index k = first; k < last; ++k) {
        const T m = y[k] * inverse[at(k)];
        for (Index s = p.slot_begin[at(k)]; s < lower_begin(k); ++s) {
          y[p.slot_position[at(s)]] += m * slot[at(s)];
        }
      }
      for (Index k = last - 1; k >= first; --k) {
        T sum = y[k] * inverse[at(k)];
        for (Index s = lower_begin(k); s < p.slot_begin[at(k + 1)]; ++s) {
          sum += z[p.slot_position[at(s)]] * slot[at(s)];
        }
        z[k] = sum;
      }
      for (Index k = first; k < last; ++k) {
        for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
          if (p.out_slot[at(e)] < 0 && p.out_target[at(e)] >= 0) {
            y[p.out_target[at(e)]] += z[k] * edge[at(e)];
          }
        }
      }
    }
  }

  // Adjoint of solve_transposed: z_bar is consumed; alpha_bar receives (=) the adjoint of alpha.
  void solve_transposed_adjoint(const T* y, const T* z, T* z_bar, T* alpha_bar) {
    const Program& p = *program_;
    for (Index block = 0; block + 1 < ssize(p.block_begin); ++block) {
      const Index first = p.block_begin[at(block)], last = p.block_begin[at(block + 1)];
      for (Index k = first; k < last; ++k) {
        for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
          if (p.out_slot[at(e)] < 0 && p.out_target[at(e)] >= 0) {
            z_bar[k] += edge[at(e)] * alpha_bar[p.out_target[at(e)]];
            edge_bar[at(e)] += z[k] * alpha_bar[p.out_target[at(e)]];
          }
        }
      }
      for (Index k = first; k < last; ++k) {
        const T t = z_bar[k];
        alpha_bar[k] = t * inverse[at(k)];
        pivot_bar[at(k)] -= (t * inverse[at(k)]) * (y[k] * inverse[at(k)]);
        for (Index s = lower_begin(k); s < p.slot_begin[at(k + 1)]; ++s) {
          const Index i = p.slot_position[at(s)];
          z_bar[i] += t * slot[at(s)];
          slot_bar[at(s)] += t * z[i];
        }
      }
      for (Index k = last - 1; k >= first; --k) {
        const T m = y[k] * inverse[at(k)];
        T sum(0.0);
        for (Index s = p.slot_begin[at(k)]; s < lower_begin(k); ++s) {
          const Index j = p.slot_position[at(s)];
          sum += alpha_bar[j] * slot[at(s)];
          slot_bar[at(s)] += alpha_bar[j] * m;
        }
        alpha_bar[k] += sum * inverse[at(k)];
        pivot_bar[at(k)] -= (sum * inverse[at(k)]) * m;
      }
    }
  }

  // Call before the solve adjoints of a lane block.
  void clear_adjoint() {
    for (std::vector<T>* bar : {&edge_bar, &start_bar, &slot_bar, &exit_bar, &pivot_bar}) {
      std::fill(bar->begin(), bar->end(), T(0.0));
    }
  }

  // Reverses factor(): turns slot, pivot adjoints into edge adjoints (added to edge_bar).
  void factor_adjoint() {
    const Program& p = *program_;
    for (Index k = p.n_positions - 1; k >= 0; --k) {
      const Index upper0 = p.slot_begin[at(k)], n_upper = p.upper_count[at(k)];
      const Index lower0 = upper0 + n_upper, n_lower = p.slot_begin[at(k + 1)] - lower0;
      const T* upper = slot.data() + upper0;
      T* upper_bar = slot_bar.data() + upper0;
      const std::int32_t* update = p.update_slot.data() + p.update_begin[at(k)];
      slot_bar[at(p.n_slots)] = T(0.0);
      T pivot = pivot_bar[at(k)], exit_k = exit_bar[at(k)];
      for (Index i = 0; i < n_lower; ++i) {
        const T f = slot[at(lower0 + i)];
        const T from_exit = exit_bar[at(p.slot_position[at(lower0 + i)])];
        T f_bar = slot_bar[at(lower0 + i)] + from_exit * exit[at(k)];
        exit_k += f * from_exit;
        for (Index j = 0; j < n_upper; ++j) {
          const T w_bar = slot_bar[at(*update++)];
          f_bar += w_bar * upper[j];
          upper_bar[j] += f * w_bar;
        }
        slot_bar[at(lower0 + i)] = f_bar * inverse[at(k)];
        pivot -= (f_bar * f) * inverse[at(k)];
      }
      exit_bar[at(k)] = exit_k + pivot;
      for (Index j = 0; j < n_upper; ++j) {
        upper_bar[j] += pivot;
      }
    }
    for (Index k = 0; k < p.n_positions; ++k) {
      for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
        const Index s = p.out_slot[at(e)];
        edge_bar[at(e)] += s >= 0 ? slot_bar[at(s)] : exit_bar[at(k)];
      }
    }
  }

  // theta_bar += d weights / d theta, transposed.
  void load_adjoint(T* theta_bar) const {
    const Program& p = *program_;
    for (Index e = 0; e < ssize(p.out_edge); ++e) {
      add_weight_bar(p.out_edge[at(e)], edge_bar[at(e)], theta_bar);
    }
    for (Index e = 0; e < ssize(p.start_edge); ++e) {
      add_weight_bar(p.start_edge[at(e)], start_bar[at(e)], theta_bar);
    }
  }

 private:
  void add_weight_bar(Index e, const T& bar, T* theta_bar) const {
    const Graph& g = *program_->graph;
    for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
      theta_bar[g.coef_param[at(c)]] += T(g.coef_value[at(c)]) * bar;
    }
  }

  void load_slots() {
    const Program& p = *program_;
    std::fill(slot.begin(), slot.end(), T(0.0));
    for (Index k = 0; k < p.n_positions; ++k) {
      T leaving(0.0);
      for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
        if (p.out_slot[at(e)] >= 0) {
          slot[at(p.out_slot[at(e)])] = edge[at(e)];
        } else {
          leaving += edge[at(e)];
        }
      }
      exit[at(k)] = leaving;
    }
  }

  [[nodiscard]] Index lower_begin(Index k) const noexcept {
    return program_->slot_begin[at(k)] + program_->upper_count[at(k)];
  }

  const Program* program_ = nullptr;
};

}  // namespace phasic::PHASIC_ISA
