// Numeric elimination on a linked program, in lanes: load, factor, solve, and their adjoints.
//
// State is kept in rates: off-diagonal weights and one exit rate a position, all in slots. Only + * /
// on non-negative numbers, so no digits are lost however stiff the chain. The adjoint reverses the
// same steps from the final slots alone; there is no tape.
//
// Work goes block by block (a block is one component), so that slots and weights can live in one small
// buffer that is reused (streaming), or side by side for all blocks (kept). Callers that need a
// factorisation again later use Keep::all; one solve_transposed and one adjoint can stream.
// Source: Grassmann, Taksar, Heyman 1985 (Operations Research 33:1107); O'Cinneide 1993.
#pragma once

#include <algorithm>
#include <vector>

#include "kernel/front.h"
#include "kernel/lane.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

enum class Keep { one_block, all };

template <class T>
class Elimination {
 public:
  using Base = typename Traits<T>::Base;

  std::vector<T> theta_bar;   // (param_length + 1) the last entry belongs to the constant 1
  std::vector<T> start;       // (n_start) start weights at theta
  std::vector<T> start_bar;   // (n_start)
  Base least_inverse{1.0}, largest_inverse{1.0};  // over all pivots since set_theta, primal

  void resize(const Program& program, Keep keep, bool with_adjoint) {
    program_ = &program;
    keep_ = keep;
    const bool all = keep == Keep::all;
    slot_.resize(at(all ? program.slot_base.back() : program.max_block_slots));
    edge_.resize(at(all ? ssize(program.out_edge) : program.max_block_edges));
    inverse_.resize(at(all ? program.n_positions : program.max_block_positions));
    theta_.resize(at(program.graph->param_length + 1));
    start.resize(program.start_edge.size());
    if (with_adjoint) {
      slot_bar_.resize(slot_.size());
      edge_bar_.resize(edge_.size());
      pivot_bar_.resize(inverse_.size());
      theta_bar.resize(theta_.size());
      start_bar.resize(start.size());
    }
  }

  // theta: (param_length). Evaluates the start weights.
  void set_theta(Span<const T> theta) {
    std::copy(theta.begin(), theta.end(), theta_.begin());
    theta_.back() = T(1.0);
    for (Index e = 0; e < ssize(start); ++e) {
      start[at(e)] = graph_weight(program_->start_edge[at(e)]);
    }
    least_inverse = largest_inverse = Base(1.0);
  }

  // Weight of any edge of the graph at theta.
  [[nodiscard]] T graph_weight(Index e) const {
    const Graph& g = *program_->graph;
    T w(g.constant[at(e)]);
    for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
      w += T(g.coef_value[at(c)]) * theta_[at(g.coef_param[at(c)])];
    }
    return w;
  }

  // Weight of out-edge e (0 <= e < n_out) at theta.
  [[nodiscard]] T weight(Index e) const {
    const Program& p = *program_;
    T w = T(p.out_coef[at(e)]) * theta_[at(p.out_param[at(e)])];
    for (Index c = p.more_begin[at(e)]; c < p.more_begin[at(e + 1)]; ++c) {
      w += T(p.more_coef[at(c)]) * theta_[at(p.more_param[at(c)])];
    }
    return w;
  }

  // Loads the weights of block b and eliminates it.
  void factor(Index b) {
    const View v = view(b);
    if (v.code.n == 1) {
      v.inverse[0] = reciprocal_or_zero(load_single(v));
    } else {
      load(v);
      for (const Supernode& node : v.code.supernodes) {
        if (node.width == 1) {
          factor_single(v, node);
        } else {
          FrontFactor<T>(v.code, node, v.slot, v.inverse + node.first).run();
        }
      }
    }
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

  // x := U rhs for block b, U = (Lambda - W)^-1; blocks in ascending order. rhs, r and x have
  // n_positions entries; r receives the right-hand side after elimination. No two may alias.
  void solve(Index b, const T* rhs, T* r, T* x) const {
    const View v = view(b);
    for (Index k = 0; k < v.code.n; ++k) {
      const Index position = v.first + k;
      T sum = rhs[position];
      for (Index a = program_->across_begin[at(position)];
           a < program_->across_begin[at(position + 1)]; ++a) {
        const Index e = program_->across[at(a)];
        sum += v.edge[e - v.first_edge] * x[program_->out_target[at(e)]];
      }
      r[position] = sum;
    }
    T* rb = r + v.first;
    T* xb = x + v.first;
    for (const Supernode& node : v.code.supernodes) {
      const T* rows = v.slot + node.rows;
      for (Index t = 1; t < node.width; ++t) {
        rb[node.first + t] += dot(rows + t * node.stride(), rb + node.first, t);
      }
      for (Index i = 0; i < node.n_lower; ++i) {
        rb[v.code.lower_step[at(node.lower_list + i)]] +=
            dot(v.slot + node.lower + i * node.width, rb + node.first, node.width);
      }
    }
    for (Index f = ssize(v.code.supernodes) - 1; f >= 0; --f) {
      const Supernode& node = v.code.supernodes[at(f)];
      const std::int32_t* upper = v.code.upper_step.data() + node.upper_list;
      for (Index t = node.width - 1; t >= 0; --t) {
        const T* row = v.slot + node.rows + t * node.stride();
        T sum = rb[node.first + t];
        for (Index c = t + 1; c < node.width; ++c) {
          sum += row[c] * xb[node.first + c];
        }
        for (Index j = 0; j < node.n_upper; ++j) {
          sum += row[node.width + 1 + j] * xb[upper[j]];
        }
        xb[node.first + t] = sum * v.inverse[node.first + t];
      }
    }
  }

  void solve_all(const T* rhs, T* r, T* x) const {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      solve(b, rhs, r, x);
    }
  }

  // Adjoint of solve for block b; blocks in descending order. x_bar is consumed; rhs_bar receives (=)
  // the adjoint of rhs; slot, pivot and edge adjoints accumulate.
  void solve_adjoint(Index b, const T* r, const T* x, T* x_bar, T* rhs_bar) {
    const View v = view(b);
    const T* rb = r + v.first;
    const T* xb = x + v.first;
    T* xb_bar = x_bar + v.first;
    T* rb_bar = rhs_bar + v.first;
    for (const Supernode& node : v.code.supernodes) {
      const std::int32_t* upper = v.code.upper_step.data() + node.upper_list;
      for (Index t = 0; t < node.width; ++t) {
        const Index k = node.first + t;
        const T* row = v.slot + node.rows + t * node.stride();
        T* row_bar = v.slot_bar + node.rows + t * node.stride();
        const T s = xb_bar[k] * v.inverse[k];
        rb_bar[k] = s;
        v.pivot_bar[k] -= s * xb[k];
        for (Index c = t + 1; c < node.width; ++c) {
          row_bar[c] += s * xb[node.first + c];
          xb_bar[node.first + c] += s * row[c];
        }
        for (Index j = 0; j < node.n_upper; ++j) {
          row_bar[node.width + 1 + j] += s * xb[upper[j]];
          xb_bar[upper[j]] += s * row[node.width + 1 + j];
        }
      }
    }
    for (Index f = ssize(v.code.supernodes) - 1; f >= 0; --f) {
      const Supernode& node = v.code.supernodes[at(f)];
      for (Index i = 0; i < node.n_lower; ++i) {
        const T bar = rb_bar[v.code.lower_step[at(node.lower_list + i)]];
        const Index entry = node.lower + i * node.width;
        spread(bar, rb + node.first, rb_bar + node.first, v.slot + entry, v.slot_bar + entry,
               node.width);
      }
      for (Index t = node.width - 1; t >= 1; --t) {
        const Index entry = node.rows + t * node.stride();
        spread(rb_bar[node.first + t], rb + node.first, rb_bar + node.first, v.slot + entry,
               v.slot_bar + entry, t);
      }
    }
    for (Index k = 0; k < v.code.n; ++k) {
      const Index position = v.first + k;
      for (Index a = program_->across_begin[at(position)];
           a < program_->across_begin[at(position + 1)]; ++a) {
        const Index e = program_->across[at(a)];
        const Index target = program_->out_target[at(e)];
        v.edge_bar[e - v.first_edge] += rhs_bar[position] * x[target];
        x_bar[target] += rhs_bar[position] * v.edge[e - v.first_edge];
      }
    }
  }

  void solve_adjoint_all(const T* r, const T* x, T* x_bar, T* rhs_bar) {
    for (Index b = program_->n_blocks() - 1; b >= 0; --b) {
      solve_adjoint(b, r, x, x_bar, rhs_bar);
    }
  }

  // z := alpha U for block b (expected sojourns); blocks in descending order. y holds alpha on entry,
  // (n_positions), and the eliminated alpha afterwards; what flows on is added to y of other blocks.
  void solve_transposed(Index b, T* y, T* z) const {
    const View v = view(b);
    T* yb = y + v.first;
    T* zb = z + v.first;
    if (v.code.n == 1) {
      zb[0] = yb[0] * v.inverse[0];
      return push_across(v, y, zb);
    }
    for (const Supernode& node : v.code.supernodes) {
      const std::int32_t* upper = v.code.upper_step.data() + node.upper_list;
      for (Index t = 0; t < node.width; ++t) {
        const T* row = v.slot + node.rows + t * node.stride();
        const T m = yb[node.first + t] * v.inverse[node.first + t];
        for (Index c = t + 1; c < node.width; ++c) {
          yb[node.first + c] += m * row[c];
        }
        for (Index j = 0; j < node.n_upper; ++j) {
          yb[upper[j]] += m * row[node.width + 1 + j];
        }
      }
    }
    for (Index f = ssize(v.code.supernodes) - 1; f >= 0; --f) {
      const Supernode& node = v.code.supernodes[at(f)];
      for (Index t = 0; t < node.width; ++t) {
        zb[node.first + t] = yb[node.first + t] * v.inverse[node.first + t];
      }
      for (Index i = 0; i < node.n_lower; ++i) {
        const T zi = zb[v.code.lower_step[at(node.lower_list + i)]];
        add_multiple(zi, v.slot + node.lower + i * node.width, zb + node.first, node.width);
      }
      for (Index t = node.width - 1; t >= 1; --t) {
        add_multiple(zb[node.first + t], v.slot + node.rows + t * node.stride(), zb + node.first,
                     t);
      }
    }
    push_across(v, y, zb);
  }

  // Adjoint of solve_transposed for block b; blocks in ascending order. z_bar is consumed; alpha_bar
  // receives (=) the adjoint of alpha, (n_positions).
  void solve_transposed_adjoint(Index b, const T* y, const T* z, T* z_bar, T* alpha_bar) {
    const View v = view(b);
    const T* yb = y + v.first;
    const T* zb = z + v.first;
    T* zb_bar = z_bar + v.first;
    T* ab_bar = alpha_bar + v.first;
    pull_across(v, zb, zb_bar, alpha_bar);
    if (v.code.n == 1) {
      const T s = zb_bar[0] * v.inverse[0];
      ab_bar[0] = s;
      v.pivot_bar[0] -= s * zb[0];
      return;
    }
    for (const Supernode& node : v.code.supernodes) {
      for (Index t = 1; t < node.width; ++t) {
        const Index entry = node.rows + t * node.stride();
        collect(zb[node.first + t], zb_bar + node.first, zb_bar[node.first + t], v.slot + entry,
                v.slot_bar + entry, t);
      }
      for (Index i = 0; i < node.n_lower; ++i) {
        const Index step = v.code.lower_step[at(node.lower_list + i)];
        const Index entry = node.lower + i * node.width;
        collect(zb[step], zb_bar + node.first, zb_bar[step], v.slot + entry, v.slot_bar + entry,
                node.width);
      }
      for (Index k = node.first; k < node.first + node.width; ++k) {
        const T s = zb_bar[k] * v.inverse[k];
        ab_bar[k] = s;
        v.pivot_bar[k] -= s * (yb[k] * v.inverse[k]);
      }
    }
    for (Index f = ssize(v.code.supernodes) - 1; f >= 0; --f) {
      const Supernode& node = v.code.supernodes[at(f)];
      const std::int32_t* upper = v.code.upper_step.data() + node.upper_list;
      for (Index t = node.width - 1; t >= 0; --t) {
        const Index k = node.first + t;
        const T* row = v.slot + node.rows + t * node.stride();
        T* row_bar = v.slot_bar + node.rows + t * node.stride();
        const T m = yb[k] * v.inverse[k];
        T sum(0.0);
        for (Index c = t + 1; c < node.width; ++c) {
          sum += ab_bar[node.first + c] * row[c];
          row_bar[c] += ab_bar[node.first + c] * m;
        }
        for (Index j = 0; j < node.n_upper; ++j) {
          sum += ab_bar[upper[j]] * row[node.width + 1 + j];
          row_bar[node.width + 1 + j] += ab_bar[upper[j]] * m;
        }
        ab_bar[k] += sum * v.inverse[k];
        v.pivot_bar[k] -= (sum * v.inverse[k]) * m;
      }
    }
  }

  // Call before the adjoints of a lane block, and of a component block when streaming.
  void clear_results_adjoint() {
    std::fill(theta_bar.begin(), theta_bar.end(), T(0.0));
    std::fill(start_bar.begin(), start_bar.end(), T(0.0));
  }
  void clear_adjoint(Index b) {
    const View v = view(b);
    if (v.code.n > 1) {
      std::fill(v.slot_bar, v.slot_bar + v.code.n_slots + 1, T(0.0));
    }
    std::fill(v.edge_bar, v.edge_bar + v.n_edges, T(0.0));
    std::fill(v.pivot_bar, v.pivot_bar + v.code.n, T(0.0));
  }
  void clear_adjoint_all() {
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      clear_adjoint(b);
    }
  }

  // Adds to the adjoint of out-edge e of block b (from quantities that use weights directly).
  void add_edge_adjoint(Index b, Index e, const T& bar) {
    const View v = view(b);
    v.edge_bar[e - v.first_edge] += bar;
  }
  [[nodiscard]] T edge(Index b, Index e) const {
    const View v = view(b);
    return v.edge[e - v.first_edge];
  }

  // Reverses factor(b), load included: adds to theta_bar.
  void factor_adjoint(Index b) {
    const View v = view(b);
    if (v.code.n == 1) {
      const T exit_bar = v.pivot_bar[0];
      return unload(v, [&](Index e) { return v.edge_bar[e] + exit_bar; });
    }
    for (Index f = ssize(v.code.supernodes) - 1; f >= 0; --f) {
      const Supernode& node = v.code.supernodes[at(f)];
      if (node.width == 1) {
        adjoint_single(v, node);
      } else {
        FrontAdjoint<T>(v.code, node, v.slot, v.slot_bar, v.inverse + node.first,
                        v.pivot_bar + node.first)
            .run();
      }
    }
    const std::int32_t* out_slot = program_->out_slot.data() + v.first_edge;
    unload(v, [&](Index e) { return v.edge_bar[e] + v.slot_bar[out_slot[e]]; });
  }

  void add_weight_adjoint(Index e, const T& bar) {
    const Program& p = *program_;
    theta_bar[at(p.out_param[at(e)])] += T(p.out_coef[at(e)]) * bar;
    for (Index c = p.more_begin[at(e)]; c < p.more_begin[at(e + 1)]; ++c) {
      theta_bar[at(p.more_param[at(c)])] += T(p.more_coef[at(c)]) * bar;
    }
  }

  // Adds what start_bar says about theta.
  void start_adjoint() {
    const Graph& g = *program_->graph;
    for (Index s = 0; s < ssize(start_bar); ++s) {
      const Index e = program_->start_edge[at(s)];
      for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
        theta_bar[at(g.coef_param[at(c)])] += T(g.coef_value[at(c)]) * start_bar[at(s)];
      }
    }
  }

  // Reciprocal pivot of a position; Keep::all only.
  [[nodiscard]] const T& inverse(Index position) const { return inverse_[at(position)]; }

 private:
  // Where the data of one block lives.
  struct View {
    const ComponentCode& code;
    Index first, first_edge, n_edges;
    T *slot, *slot_bar, *edge, *edge_bar, *inverse, *pivot_bar;
  };

  [[nodiscard]] View view(Index b) const {
    const Program& p = *program_;
    const Index first = p.block_begin[at(b)];
    const Index first_edge = p.out_begin[at(first)];
    const Index n_edges = p.out_begin[at(p.block_begin[at(b + 1)])] - first_edge;
    const bool all = keep_ == Keep::all;
    const Index slots = all ? p.slot_base[at(b)] : 0;
    const Index edges = all ? first_edge : 0;
    const Index positions = all ? first : 0;
    auto* self = const_cast<Elimination*>(this);
    return {*p.block_code[at(b)],
            first,
            first_edge,
            n_edges,
            self->slot_.data() + slots,
            self->slot_bar_.data() + slots,
            self->edge_.data() + edges,
            self->edge_bar_.data() + edges,
            self->inverse_.data() + positions,
            self->pivot_bar_.data() + positions};
  }

  // Hands (e, weight) of the block's edges, e from 0, to use.
  template <class Use>
  void for_each_weight(const View& v, Use use) const {
    const Program& p = *program_;
    const double* coef = p.out_coef.data() + v.first_edge;
    const std::int32_t* param = p.out_param.data() + v.first_edge;
    const T* theta = theta_.data();
    if (p.more_coef.empty()) {
      for (Index e = 0; e < v.n_edges; ++e) {
        use(e, T(coef[e]) * theta[param[e]]);
      }
    } else {
      for (Index e = 0; e < v.n_edges; ++e) {
        use(e, weight(v.first_edge + e));
      }
    }
  }

  void load(const View& v) {
    std::fill(v.slot, v.slot + v.code.n_slots, T(0.0));
    const std::int32_t* out_slot = program_->out_slot.data() + v.first_edge;
    for_each_weight(v, [&](Index e, const T& w) {
      v.edge[e] = w;
      v.slot[out_slot[e]] += w;
    });
  }

  // Adds the block's weight adjoints, bar_of(e), to theta_bar. Runs of one parameter are summed first.
  template <class BarOf>
  void unload(const View& v, BarOf bar_of) {
    const Program& p = *program_;
    const double* coef = p.out_coef.data() + v.first_edge;
    const std::int32_t* param = p.out_param.data() + v.first_edge;
    if (!p.more_coef.empty() || v.n_edges == 0) {
      for (Index e = 0; e < v.n_edges; ++e) {
        add_weight_adjoint(v.first_edge + e, bar_of(e));
      }
      return;
    }
    T sum = T(coef[0]) * bar_of(0);
    for (Index e = 1; e < v.n_edges; ++e) {
      if (param[e] != param[e - 1]) {
        theta_bar[at(param[e - 1])] += sum;
        sum = T(0.0);
      }
      sum += T(coef[e]) * bar_of(e);
    }
    theta_bar[at(param[v.n_edges - 1])] += sum;
  }

  // A component of one vertex has no slots to fill: only its exit rate counts.
  T load_single(const View& v) {
    T exit(0.0);
    for_each_weight(v, [&](Index e, const T& w) {
      v.edge[e] = w;
      exit += w;
    });
    return exit;
  }

  // y += z W over the edges that leave the block.
  void push_across(const View& v, T* y, const T* zb) const {
    const std::int32_t* across = program_->across.data();
    const std::int32_t* target = program_->out_target.data();
    const std::int32_t* begin = program_->across_begin.data() + v.first;
    const T* edge = v.edge - v.first_edge;
    for (Index k = 0; k < v.code.n; ++k) {
      const T zk = zb[k];
      for (Index a = begin[k]; a < begin[k + 1]; ++a) {
        y[target[across[a]]] += zk * edge[across[a]];
      }
    }
  }

  // Its adjoint, y_bar complete behind the block.
  void pull_across(const View& v, const T* zb, T* zb_bar, const T* y_bar) const {
    const std::int32_t* across = program_->across.data();
    const std::int32_t* target = program_->out_target.data();
    const std::int32_t* begin = program_->across_begin.data() + v.first;
    const T* edge = v.edge - v.first_edge;
    T* edge_bar = v.edge_bar - v.first_edge;
    for (Index k = 0; k < v.code.n; ++k) {
      const T zk = zb[k];
      T sum = zb_bar[k];
      for (Index a = begin[k]; a < begin[k + 1]; ++a) {
        const T bar = y_bar[target[across[a]]];
        sum += edge[across[a]] * bar;
        edge_bar[across[a]] += zk * bar;
      }
      zb_bar[k] = sum;
    }
  }

  static void factor_single(const View& v, const Supernode& node) {
    T* row = v.slot + node.rows + 1;  // exit, then upper
    const Index columns = Index{1} + node.n_upper;
    T pivot = row[0];
    for (Index j = 1; j < columns; ++j) {
      pivot += row[j];
    }
    const T inverse = reciprocal_or_zero(pivot);
    v.inverse[node.first] = inverse;
    row[0] += exit_of_trap(inverse);
    const T multiplier = or_one(inverse);
    const std::int32_t* update = v.code.update_slot.data() + node.update;
    for (Index i = 0; i < node.n_lower; ++i) {
      const T f = v.slot[node.lower + i] * multiplier;
      v.slot[node.lower + i] = f;
      for (Index j = 0; j < columns; ++j) {
        v.slot[*update++] += f * row[j];
      }
    }
  }

  static void adjoint_single(const View& v, const Supernode& node) {
    const T* row = v.slot + node.rows + 1;
    T* row_bar = v.slot_bar + node.rows + 1;
    const Index columns = Index{1} + node.n_upper;
    const T inverse = v.inverse[node.first], multiplier = or_one(inverse);
    T pivot_bar = v.pivot_bar[node.first];
    const std::int32_t* update = v.code.update_slot.data() + node.update;
    for (Index i = 0; i < node.n_lower; ++i) {
      const T f = v.slot[node.lower + i];
      T f_bar = v.slot_bar[node.lower + i];
      for (Index j = 0; j < columns; ++j) {
        const T bar = v.slot_bar[*update++];
        f_bar += bar * row[j];
        row_bar[j] += f * bar;
      }
      v.slot_bar[node.lower + i] = f_bar * multiplier;
      pivot_bar -= (f_bar * f) * inverse;
    }
    for (Index j = 0; j < columns; ++j) {
      row_bar[j] += pivot_bar;
    }
  }

  // --- short vector loops over n entries
  static T dot(const T* a, const T* b, Index n) {
    T sum = a[0] * b[0];
    for (Index i = 1; i < n; ++i) {
      sum += a[i] * b[i];
    }
    return sum;
  }
  static void add_multiple(const T& factor, const T* a, T* out, Index n) {
    for (Index i = 0; i < n; ++i) {
      out[i] += factor * a[i];
    }
  }
  // Adjoint of sum += dot(slot, r): bar is the adjoint of sum.
  static void spread(const T& bar, const T* r, T* r_bar, const T* slot, T* slot_bar, Index n) {
    for (Index i = 0; i < n; ++i) {
      r_bar[i] += bar * slot[i];
      slot_bar[i] += bar * r[i];
    }
  }
  // Adjoint of z[i] += factor * slot[i].
  static void collect(const T& factor, const T* z_bar, T& factor_bar, const T* slot, T* slot_bar,
                      Index n) {
    for (Index i = 0; i < n; ++i) {
      factor_bar += z_bar[i] * slot[i];
      slot_bar[i] += factor * z_bar[i];
    }
  }

  const Program* program_ = nullptr;
  Keep keep_ = Keep::all;
  std::vector<T> theta_, slot_, edge_, inverse_;
  std::vector<T> slot_bar_, edge_bar_, pivot_bar_;
};

}  // namespace phasic::PHASIC_ISA
