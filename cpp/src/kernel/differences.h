// The gradient of one solve, z . r with z = alpha U: from differences of the expected future h = U r.
//
// The derivative with respect to the weight of an edge i -> j is z_i (h_j - h_i), but subtracting one h
// from another loses all digits where they agree. D_ij = h_j - h_i follows from the elimination instead.
// With S_k, e_k, w_kj, r_k the pivot, exit, row and right-hand side when k is eliminated, i and j behind k:
//   D_ik = (r_k - e_k h_i + sum_j w_kj D_ij) / S_k                  where i leads to k,
//   D_kj = -D_jk                                                  where j leads to k as well, else
//   D_kj = (sum_i z_i f_ik (D_ij - D_ik) + y_k (h_j - h_k)) / z_k   over the i that lead to k,
// y_k the eliminated alpha over its pivot. z_i w_ij times a term of these sums is at most z . r (what flows
// over an edge and is then worth h cannot be worth more than everything), so that errors stay as small as
// those of reversing the elimination. It is half of that work, or less, and reads what it sums but once.
// Fronts are symmetric, but for the last, in which every D_ij is known (front_differences.h).
#pragma once

#include "kernel/block.h"
#include "kernel/block_factor.h"
#include "kernel/block_solve.h"
#include "kernel/front_differences.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

// Differences are kept in slot_bar, z, y, r (eliminated) and h belong to the block.
template <class T>
class BlockDifferences {
 public:
  BlockDifferences(const Block<T>& block, const T* y, const T* z, const T* r, const T* h)
      : b_(block), y_(y), z_(z), r_(r), h_(h) {}

  // scratch: (code.n)
  void run(T* scratch) {
    const ComponentCode& code = b_.code;
    b_.slot_bar[code.n_slots] = T(0.0);
    for (Index f = ssize(code.supernodes) - 1; f >= 0; --f) {
      const Supernode& node = code.supernodes[at(f)];
      if (node.width == 1) {
        single(node, scratch);
      } else if (node.first + node.width == code.n) {
        const bool small = with_small_front<T>(code, node, [&](auto width) {
          SmallFront<width, T>::differences(b_.slot + node.rows, b_.slot_bar + node.rows,
                                            b_.inverse + node.first, r_ + node.first,
                                            h_ + node.first);
        });
        if (small) {
          continue;
        }
        std::fill_n(b_.slot_bar + node.rows, node.width * node.stride(), T(0.0));
        FrontDifferences<T>(node, b_.slot, b_.slot_bar, b_.inverse + node.first, r_ + node.first,
                            h_ + node.first)
            .run();
      } else {
        front(node, scratch);
      }
    }
  }

 private:
  // What the differences of a single step are formed from.
  struct Single {
    const T* row;                // (n_upper)
    const std::int32_t* update;  // (n_lower, n_upper + 1), from behind the exit
    const std::int32_t* lower;   // (n_lower) steps
    T* d;                        // (n_lower) results
    Index n_lower, n_upper;
    T gain, leave, multiplier;
  };

  // N columns of the row from column c, which stay in registers; the last call finishes the differences.
  template <int N>
  void add_columns(const Single& s, Index c) const {
    T pivot_row[N > 0 ? N : 1];
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) {
      pivot_row[j] = s.row[c + j];
    }
    const bool first = c == 0, last = c + N == s.n_upper;
    const std::int32_t* from = s.update + c;
    for (Index i = 0; i < s.n_lower; ++i, from += s.n_upper + 1) {
      T sum = first ? T(0.0) : s.d[i];
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) {
        sum += pivot_row[j] * b_.slot_bar[from[j]];
      }
      s.d[i] = last ? s.gain - s.leave * h_[s.lower[i]] + s.multiplier * sum : sum;
    }
  }

  // The columns from c on, at most N of them.
  template <int N>
  void add_columns_up_to(const Single& s, Index c) const {
    if constexpr (N == 0) {
      add_columns<0>(s, c);
    } else if (s.n_upper - c >= N) {
      add_columns<N>(s, c);
    } else {
      add_columns_up_to<N - 1>(s, c);
    }
  }

  void single(const Supernode& node, T* scratch) {
    const Index k = node.first, n_upper = node.n_upper;
    const T multiplier = or_one(b_.inverse[k]);
    T* const bar = b_.slot_bar;
    const Single step{b_.slot + node.rows + 2,
                      b_.code.update_slot.data() + node.update + 1,
                      b_.code.lower_step.data() + node.lower_list,
                      bar + node.lower,
                      node.n_lower,
                      n_upper,
                      r_[k] * b_.inverse[k],
                      b_.slot[node.rows + 1] * multiplier,
                      multiplier};
    bar[node.rows] = T(0.0);
    Index column = 0;
    do {
      add_columns_up_to<kRowColumns<T>>(step, column);
      column += kRowColumns<T>;
    } while (column < n_upper);
    const std::int32_t* mirror = b_.code.mirror.data() + node.upper_list;
    bool one_way = false;
    for (Index j = 0; j < n_upper; ++j) {
      if (mirror[j] >= 0) {
        bar[node.rows + 2 + j] = -bar[node.lower + mirror[j]];
      } else {
        one_way = true;
      }
    }
    if (one_way) {
      one_way_entries(node, mirror, scratch);
    }
  }

  // D_kj where j does not lead to k: from those that do.
  void one_way_entries(const Supernode& node, const std::int32_t* mirror, T* flow) const {
    const Index k = node.first, stride = node.n_upper + 1;
    const std::int32_t* lower = b_.code.lower_step.data() + node.lower_list;
    const std::int32_t* upper = b_.code.upper_step.data() + node.upper_list;
    const T straight = y_[k], per_visit = reciprocal_or_zero(z_[k]);
    T together(0.0);
    for (Index i = 0; i < node.n_lower; ++i) {
      flow[i] = z_[lower[i]] * b_.slot[node.lower + i];
      together += flow[i] * b_.slot_bar[node.lower + i];
    }
    for (Index j = 0; j < node.n_upper; ++j) {
      if (mirror[j] >= 0) {
        continue;
      }
      const std::int32_t* update = b_.code.update_slot.data() + node.update + 1 + j;
      const T difference = h_[upper[j]] - h_[k];
      T sum = straight * difference - together;
      for (Index i = 0; i < node.n_lower; ++i) {
        sum += flow[i] * b_.slot_bar[update[i * stride]];
      }
      // What is never visited has no flow, and no weight.
      b_.slot_bar[node.rows + 2 + j] = per_visit * sum + exit_of_trap(per_visit) * difference;
    }
  }

  // A front whose lower and upper steps are the same.
  void front(const Supernode& node, T* scratch) {
    const Index width = node.width, stride = node.stride(), n_upper = node.n_upper;
    const std::int32_t* lower = b_.code.lower_step.data() + node.lower_list;
    const std::int32_t* update = b_.code.update_slot.data() + node.update + 1;
    T* const own = b_.slot_bar + node.rows;
    for (Index i = 0; i < node.n_lower; ++i, update += n_upper + 1) {
      for (Index j = 0; j < n_upper; ++j) {
        scratch[j] = b_.slot_bar[update[j]];
      }
      T* d = b_.slot_bar + node.lower + i * width;
      for (Index t = width - 1; t >= 0; --t) {
        const T entry = front_entry(node, t, h_[lower[i]], d, scratch);
        d[t] = entry;
        own[t * stride + width + 1 + i] = -entry;
      }
    }
    for (Index i = width - 1; i >= 0; --i) {
      T* d = own + i * stride;
      d[i] = T(0.0);
      for (Index t = i - 1; t >= 0; --t) {
        const T entry = front_entry(node, t, h_[node.first + i], d, d + width + 1);
        d[t] = entry;
        own[t * stride + i] = -entry;
      }
    }
  }

  // D_ik of own step t from what row i has behind it: d, and d_upper at the upper steps.
  [[nodiscard]] T front_entry(const Supernode& node, Index t, const T& h_i, const T* d,
                              const T* d_upper) const {
    const Index k = node.first + t;
    const T* row = b_.slot + node.rows + t * node.stride();
    const T multiplier = or_one(b_.inverse[k]);
    const T sum = long_dot(row + t + 1, d + t + 1, node.width - t - 1) +
                  long_dot(row + node.width + 1, d_upper, node.n_upper);
    return r_[k] * b_.inverse[k] - row[node.width] * multiplier * h_i + multiplier * sum;
  }

  // Four sums side by side hide the latency of one.
  static T long_dot(const T* a, const T* b, Index n) {
    T sum[4] = {T(0.0), T(0.0), T(0.0), T(0.0)};
    Index i = 0;
    for (; i + 4 <= n; i += 4) {
      for (Index l = 0; l < 4; ++l) {
        sum[l] += a[i + l] * b[i + l];
      }
    }
    for (; i < n; ++i) {
      sum[0] += a[i] * b[i];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }

  const Block<T>& b_;
  const T* y_;
  const T* z_;
  const T* r_;
  const T* h_;
};

// h (n_places) := U r, and the gradient of z . r in weights.theta_bar; blocks in ascending order. rb (of
// the block) is consumed; scratch: (code.n), outflow_part: (runs of the block).
template <class T>
void block_gradient(const Block<T>& b, Weights<T>& weights, const T* y, const T* z, T* rb, T* h,
                    T* scratch, T* outflow_part) {
  for (Index k = 0; k < b.code.n; ++k) {
    rb[k] += weights.pull_parts(b.program.outflow, b.first + k, h, outflow_part + b.run(k));
  }
  solve_inside(b, rb, h);
  const T* zb = z + b.first;
  const T* hb = h + b.first;
  BlockDifferences<T>(b, y + b.first, zb, rb, hb).run(scratch);
  if (is_pulled(b)) {
    return unload_pulled(b, weights, zb, hb, outflow_part);
  }
  const std::int32_t* out_slot = b.program.out_slot.data();
  for (Index k = 0; k < b.code.n; ++k) {
    for (Index e = b.inside_begin(k); e < b.inside_end(k); ++e) {
      weights.add_weight_adjoint(e, zb[k] * b.slot_bar[out_slot[e]]);
    }
  }
  for (Index k = 0; k < b.code.n; ++k) {
    weights.add_outflow_adjoint(b.first + k, zb[k], hb[k], outflow_part + b.run(k));
  }
}

}  // namespace phasic::PHASIC_ISA
