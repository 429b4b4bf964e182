// Solves with one factored block, plain and transposed, and their adjoints.
//
// Vectors span all blocks; a call writes the entries of its block, and reads those that edges out of
// the block lead to, or edges into it come from (values: n_places). No two vectors may alias.
#pragma once

#include "kernel/block.h"
#include "kernel/small_front.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

// --- short loops over n entries
template <class T>
T dot(const T* a, const T* b, Index n) {
  T sum = a[0] * b[0];
  for (Index i = 1; i < n; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

template <class T>
void add_multiple(const T& factor, const T* a, T* out, Index n) {
  for (Index i = 0; i < n; ++i) {
    out[i] += factor * a[i];
  }
}

// Adjoint of sum += dot(slot, r): bar is the adjoint of sum.
template <class T>
void spread(const T& bar, const T* r, T* r_bar, const T* slot, T* slot_bar, Index n) {
  for (Index i = 0; i < n; ++i) {
    r_bar[i] += bar * slot[i];
    slot_bar[i] += bar * r[i];
  }
}

// Adjoint of z[i] += factor * slot[i].
template <class T>
void collect(const T& factor, const T* z_bar, T& factor_bar, const T* slot, T* slot_bar,
             Index n) {
  for (Index i = 0; i < n; ++i) {
    factor_bar += z_bar[i] * slot[i];
    slot_bar[i] += factor * z_bar[i];
  }
}

// x (n_places) := solution inside the block, whose right-hand side rb (code.n) is eliminated first.
template <class T>
void solve_inside(const Block<T>& b, T* rb, T* x) {
  T* xb = x + b.first;
  for (const Supernode& node : b.code.supernodes) {
    const T* rows = b.slot + node.rows;
    if (node.width == 1) {
      const T r = rb[node.first];
      for (Index i = 0; i < node.n_lower; ++i) {
        rb[b.code.lower_step[at(node.lower_list + i)]] += b.slot[node.lower + i] * r;
      }
      continue;
    }
    const bool small = with_small_front<T>(b.code, node, [&](auto width) {
      SmallFront<width, T>::solve(rows, b.inverse + node.first, rb + node.first,
                                  xb + node.first);
    });
    if (small) {
      continue;
    }
    for (Index t = 1; t < node.width; ++t) {
      rb[node.first + t] += dot(rows + t * node.stride(), rb + node.first, t);
    }
    for (Index i = 0; i < node.n_lower; ++i) {
      rb[b.code.lower_step[at(node.lower_list + i)]] +=
          dot(b.slot + node.lower + i * node.width, rb + node.first, node.width);
    }
  }
  for (Index f = ssize(b.code.supernodes) - 1; f >= 0; --f) {
    const Supernode& node = b.code.supernodes[at(f)];
    if (is_small_front<T>(b.code, node)) {
      continue;  // its solution is there
    }
    const std::int32_t* upper = b.code.upper_step.data() + node.upper_list;
    for (Index t = node.width - 1; t >= 0; --t) {
      const T* row = b.slot + node.rows + t * node.stride();
      T sum = rb[node.first + t];
      for (Index c = t + 1; c < node.width; ++c) {
        sum += row[c] * xb[node.first + c];
      }
      for (Index j = node.n_upper - 1; j >= 0; --j) {
        sum += row[node.width + 1 + j] * xb[upper[j]];
      }
      xb[node.first + t] = sum * b.inverse[node.first + t];
    }
  }
}

// x (n_places) := U rhs, U = (Lambda - W)^-1; blocks in ascending order. rb receives the right-hand
// side after elimination; it and rhs are those of the block, and may be the same.
template <class T>
void solve_block(const Block<T>& b, const Weights<T>& weights, const T* rhs, T* rb, T* x) {
  for (Index k = 0; k < b.code.n; ++k) {
    rb[k] = rhs[k] + weights.pull(b.program.outflow, b.first + k, x);
  }
  solve_inside(b, rb, x);
}

// Adjoint of solve_block; blocks in descending order. x_bar is consumed; rhs_bar (n_places, 0 at the
// start) receives (=) the adjoint of rhs; slot and pivot adjoints accumulate.
template <class T>
void solve_block_adjoint(const Block<T>& b, const Weights<T>& weights, const T* r, const T* x,
                         T* x_bar, T* rhs_bar) {
  for (Index k = b.first; k < b.first + b.code.n; ++k) {
    x_bar[k] += weights.pull(b.program.inflow, k, rhs_bar);
  }
  const T* rb = r + b.first;
  const T* xb = x + b.first;
  T* xb_bar = x_bar + b.first;
  T* rb_bar = rhs_bar + b.first;
  for (const Supernode& node : b.code.supernodes) {
    const std::int32_t* upper = b.code.upper_step.data() + node.upper_list;
    for (Index t = 0; t < node.width; ++t) {
      const Index k = node.first + t;
      const T* row = b.slot + node.rows + t * node.stride();
      T* row_bar = b.slot_bar + node.rows + t * node.stride();
      const T s = xb_bar[k] * b.inverse[k];
      rb_bar[k] = s;
      b.pivot_bar[k] -= s * xb[k];
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
  for (Index f = ssize(b.code.supernodes) - 1; f >= 0; --f) {
    const Supernode& node = b.code.supernodes[at(f)];
    for (Index i = 0; i < node.n_lower; ++i) {
      const T bar = rb_bar[b.code.lower_step[at(node.lower_list + i)]];
      const Index entry = node.lower + i * node.width;
      spread(bar, rb + node.first, rb_bar + node.first, b.slot + entry, b.slot_bar + entry,
             node.width);
    }
    for (Index t = node.width - 1; t >= 1; --t) {
      const Index entry = node.rows + t * node.stride();
      spread(rb_bar[node.first + t], rb + node.first, rb_bar + node.first, b.slot + entry,
             b.slot_bar + entry, t);
    }
  }
}

// The alpha (code.n) of a block: what flows into it. z (n_places, 1 at the start).
template <class T>
void pull_alpha(const Block<T>& b, const Weights<T>& weights, T* alpha, const T* z) {
  for (Index k = 0; k < b.code.n; ++k) {
    alpha[k] = weights.pull(b.program.inflow, b.first + k, z);
  }
}

// Eliminates the steps of a front from the alpha of the block (code.n): the alpha of its upper steps
// receives what passes through, that of the steps themselves is divided by their pivots.
template <class T>
void eliminate_alpha(const Block<T>& b, const Supernode& node, T* yb) {
  const std::int32_t* upper = b.code.upper_step.data() + node.upper_list;
  for (Index t = 0; t < node.width; ++t) {
    const T* row = b.slot + node.rows + t * node.stride();
    const T m = yb[node.first + t] * b.inverse[node.first + t];
    yb[node.first + t] = m;
    for (Index c = t + 1; c < node.width; ++c) {
      yb[node.first + c] += m * row[c];
    }
    for (Index j = 0; j < node.n_upper; ++j) {
      yb[upper[j]] += m * row[node.width + 1 + j];
    }
  }
}

// zb (code.n) of a block from its eliminated alpha over the pivots (code.n).
template <class T>
void sojourns_from_alpha(const Block<T>& b, const T* yb, T* zb) {
  for (Index f = ssize(b.code.supernodes) - 1; f >= 0; --f) {
    const Supernode& node = b.code.supernodes[at(f)];
    const std::int32_t* lower = b.code.lower_step.data() + node.lower_list;
    if (node.width == 1) {
      T sum = yb[node.first];
      for (Index i = node.n_lower - 1; i >= 0; --i) {
        sum += zb[lower[i]] * b.slot[node.lower + i];
      }
      zb[node.first] = sum;
      continue;
    }
    const bool small = with_small_front<T>(b.code, node, [&](auto width) {
      SmallFront<width, T>::sojourns(b.slot + node.rows, yb + node.first, zb + node.first);
    });
    if (small) {
      continue;
    }
    for (Index t = 0; t < node.width; ++t) {
      zb[node.first + t] = yb[node.first + t];
    }
    for (Index i = 0; i < node.n_lower; ++i) {
      add_multiple(zb[lower[i]], b.slot + node.lower + i * node.width, zb + node.first,
                   node.width);
    }
    for (Index t = node.width - 1; t >= 1; --t) {
      add_multiple(zb[node.first + t], b.slot + node.rows + t * node.stride(), zb + node.first,
                   t);
    }
  }
}

// z (n_places, 1 at the start) := alpha U, the expected sojourns; blocks in descending order. y
// receives the eliminated alpha over the pivots.
template <class T>
void solve_block_transposed(const Block<T>& b, const Weights<T>& weights, T* y, T* z) {
  pull_alpha(b, weights, y + b.first, z);
  if (b.code.n == 1) {
    z[b.first] = y[b.first] = y[b.first] * b.inverse[0];
    return;
  }
  for (const Supernode& node : b.code.supernodes) {
    eliminate_alpha(b, node, y + b.first);
  }
  sojourns_from_alpha(b, y + b.first, z + b.first);
}

// Adjoint of solve_block_transposed; blocks in ascending order. zb_bar (of the block) is consumed;
// alpha_bar (n_places) receives (=) the adjoint of alpha.
template <class T>
void solve_block_transposed_adjoint(const Block<T>& b, const Weights<T>& weights, const T* y,
                                    const T* z, T* zb_bar, T* alpha_bar) {
  for (Index k = 0; k < b.code.n; ++k) {
    zb_bar[k] += weights.pull(b.program.outflow, b.first + k, alpha_bar);
  }
  const T* yb = y + b.first;
  const T* zb = z + b.first;
  T* ab_bar = alpha_bar + b.first;
  if (b.code.n == 1) {
    const T s = zb_bar[0] * b.inverse[0];
    ab_bar[0] = s;
    b.pivot_bar[0] -= s * zb[0];
    return;
  }
  for (const Supernode& node : b.code.supernodes) {
    for (Index t = 1; t < node.width; ++t) {
      const Index entry = node.rows + t * node.stride();
      collect(zb[node.first + t], zb_bar + node.first, zb_bar[node.first + t], b.slot + entry,
              b.slot_bar + entry, t);
    }
    for (Index i = 0; i < node.n_lower; ++i) {
      const Index step = b.code.lower_step[at(node.lower_list + i)];
      const Index entry = node.lower + i * node.width;
      collect(zb[step], zb_bar + node.first, zb_bar[step], b.slot + entry, b.slot_bar + entry,
              node.width);
    }
    for (Index k = node.first; k < node.first + node.width; ++k) {
      const T s = zb_bar[k] * b.inverse[k];
      ab_bar[k] = s;
      b.pivot_bar[k] -= s * yb[k];
    }
  }
  for (Index f = ssize(b.code.supernodes) - 1; f >= 0; --f) {
    const Supernode& node = b.code.supernodes[at(f)];
    const std::int32_t* upper = b.code.upper_step.data() + node.upper_list;
    for (Index t = node.width - 1; t >= 0; --t) {
      const Index k = node.first + t;
      const T* row = b.slot + node.rows + t * node.stride();
      T* row_bar = b.slot_bar + node.rows + t * node.stride();
      const T m = yb[k];
      T sum(0.0);
      for (Index c = t + 1; c < node.width; ++c) {
        sum += ab_bar[node.first + c] * row[c];
        row_bar[c] += ab_bar[node.first + c] * m;
      }
      for (Index j = 0; j < node.n_upper; ++j) {
        sum += ab_bar[upper[j]] * row[node.width + 1 + j];
        row_bar[node.width + 1 + j] += ab_bar[upper[j]] * m;
      }
      ab_bar[k] += sum * b.inverse[k];
      b.pivot_bar[k] -= (sum * b.inverse[k]) * m;
    }
  }
}

}  // namespace phasic::PHASIC_ISA
