// The last front of a component where it is small: its size is known to the compiler.
//
// Row by row: a row lies in registers while the pivots above it are applied, each multiply-add reads one
// number, and nothing is written until the row is done. Two registers of lanes take turns, so that one
// hides the latency of the other's divisions. Arithmetic and layout are those of front.h.
//
// No two products are added to each other: which of them is fused would be the compiler's choice, and could
// differ between instruction sets.
#pragma once

#include <type_traits>

#include "kernel/lane.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

// The registers that one number of type T takes.
template <class T>
struct Registers {
  using V = T;
  static constexpr int count = 1;
  static V& get(T& x, int) { return x; }
  static const V& get(const T& x, int) { return x; }
};
template <>
struct Registers<Vec<16>> {
  using V = Vec<8>;
  static constexpr int count = 2;
  static V& get(Vec<16>& x, int p) { return p == 0 ? x.low : x.high; }
  static const V& get(const Vec<16>& x, int p) { return p == 0 ? x.low : x.high; }
};

template <int M, class T>
class SmallFront {
  using R = Registers<T>;
  using V = typename R::V;
  static constexpr int kStride = M + 1;  // own steps, exit

 public:
  // rows: (M, M + 1); inverse: (M) results; alpha: (M) of the steps, eliminated as one more row and
  // divided by the pivots, or nullptr.
  static void factor(T* rows, T* inverse, T* alpha) {
    V multiplier[M][R::count];
    factor_rows<0>(rows, inverse, multiplier);
    if (alpha != nullptr) {
      for (int p = 0; p < R::count; ++p) {
        eliminate_alpha(rows, inverse, alpha, p);
      }
    }
  }

  // z: (M) sojourns from eliminated alpha over the pivots.
  static void sojourns(const T* rows, const T* alpha, T* z) {
    for (int p = 0; p < R::count; ++p) {
      V sum[M];
#pragma GCC unroll 16
      for (int c = M - 1; c >= 0; --c) {
        sum[c] = V(0.0);
#pragma GCC unroll 16
        for (int t = M - 1; t > c; --t) {
          sum[c] += sum[t] * R::get(rows[t * kStride + c], p);
        }
        sum[c] += R::get(alpha[c], p);
        R::get(z[c], p) = sum[c];
      }
    }
  }

  // r: (M) right-hand side, is eliminated; x: (M) solution.
  static void solve(const T* rows, const T* inverse, T* r, T* x) {
    for (int p = 0; p < R::count; ++p) {
      V sum[M];
#pragma GCC unroll 16
      for (int t = 0; t < M; ++t) {
        sum[t] = R::get(r[t], p);
#pragma GCC unroll 16
        for (int c = 0; c < t; ++c) {
          sum[t] += R::get(rows[t * kStride + c], p) * sum[c];
        }
        R::get(r[t], p) = sum[t];
      }
#pragma GCC unroll 16
      for (int t = M - 1; t >= 0; --t) {
#pragma GCC unroll 16
        for (int c = M - 1; c > t; --c) {
          sum[t] += R::get(rows[t * kStride + c], p) * sum[c];
        }
        sum[t] *= R::get(inverse[t], p);
        R::get(x[t], p) = sum[t];
      }
    }
  }

  // d: (M, M + 1) receives the differences h_j - h_i, see front_differences.h; r: (M) after solve.
  static void differences(const T* rows, T* d, const T* inverse, const T* r, const T* h) {
    Pivots pivots[M][R::count];
    for (int k = 0; k < M; ++k) {
      for (int p = 0; p < R::count; ++p) {
        const V& pivot = R::get(inverse[k], p);
        pivots[k][p] = {or_one(pivot), zero_of_trap(pivot, R::get(r[k], p)),
                        R::get(rows[k * kStride + M], p)};
      }
    }
    difference_rows<M - 1>(rows, d, pivots, h);
  }

 private:
  struct Pivots {
    V multiplier, reward, exit;
  };

  template <int i>
  static void difference_rows(const T* rows, T* d, const Pivots (*pivots)[R::count], const T* h) {
    if constexpr (i >= 0) {
      for (int p = 0; p < R::count; ++p) {
        difference_row<i>(rows, d, pivots, R::get(h[i], p), p);
      }
      difference_rows<i - 1>(rows, d, pivots, h);
    }
  }

  // D_ik for k < i, and with it D_ki; those behind i are there.
  template <int i>
  static void difference_row(const T* rows, T* d, const Pivots (*pivots)[R::count], const V& h_i,
                             int p) {
    V row[M];
#pragma GCC unroll 16
    for (int j = i + 1; j < M; ++j) {
      row[j] = R::get(d[i * kStride + j], p);
    }
    R::get(d[i * kStride + i], p) = V(0.0);
#pragma GCC unroll 16
    for (int k = i - 1; k >= 0; --k) {
      const Pivots& pivot = pivots[k][p];
      V even = pivot.reward - pivot.exit * h_i, odd(0.0);
#pragma GCC unroll 16
      for (int j = M - 1; j > k; --j) {
        if (j != i) {
          (j % 2 == 0 ? even : odd) += R::get(rows[k * kStride + j], p) * row[j];
        }
      }
      row[k] = pivot.multiplier * (even + odd);
      R::get(d[i * kStride + k], p) = row[k];
      R::get(d[k * kStride + i], p) = -row[k];
    }
  }

  template <int i>
  static void factor_rows(T* rows, T* inverse, V (*multiplier)[R::count]) {
    if constexpr (i < M) {
#pragma GCC unroll 1  // this code runs once for each component: what counts is its length
      for (int p = 0; p < R::count; ++p) {
        factor_row<i>(&R::get(rows[0], 0) + p, &R::get(inverse[i], 0) + p, &multiplier[0][p]);
      }
      factor_rows<i + 1>(rows, inverse, multiplier);
    }
  }

  // One register of lanes; the next number's follows R::count registers later.
  template <int i>
  static void factor_row(V* rows, V* inverse, V* multiplier) {
    constexpr int n = R::count;
    V* const own = rows + i * kStride * n;
    V row[kStride];
#pragma GCC unroll 16
    for (int c = 0; c < kStride; ++c) {
      row[c] = own[c * n];
    }
#pragma GCC unroll 16
    for (int k = 0; k < i; ++k) {
      row[k] = row[k] * multiplier[k * n];
#pragma GCC unroll 16
      for (int c = k + 1; c < kStride; ++c) {
        if (c != i) {
          row[c] += row[k] * rows[(k * kStride + c) * n];
        }
      }
    }
    V even = row[M], odd(0.0);
#pragma GCC unroll 16
    for (int c = i + 1; c < M; ++c) {
      ((c - i) % 2 == 0 ? even : odd) += row[c];
    }
    const PivotInverse<V> inverted = invert_pivot(even + odd);
    *inverse = inverted.inverse;
    multiplier[i * n] = inverted.multiplier;
    row[M] += inverted.exit_of_trap;
#pragma GCC unroll 16
    for (int c = i == 0 ? M : 0; c < kStride; ++c) {
      if (c != i) {
        own[c * n] = row[c];
      }
    }
  }

  static void eliminate_alpha(const T* rows, const T* inverse, T* alpha, int p) {
    V sum[M];
#pragma GCC unroll 16
    for (int t = 0; t < M; ++t) {
      sum[t] = R::get(alpha[t], p);
    }
#pragma GCC unroll 16
    for (int k = 0; k < M; ++k) {
      sum[k] *= R::get(inverse[k], p);
#pragma GCC unroll 16
      for (int c = k + 1; c < M; ++c) {
        sum[c] += sum[k] * R::get(rows[k * kStride + c], p);
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < M; ++t) {
      R::get(alpha[t], p) = sum[t];
    }
  }
};

// Calls f(std::integral_constant<int, wanted>).
template <int width, class F>
void dispatch_width(Index wanted, const F& f) {
  if constexpr (width <= kSmallFront) {
    wanted == width ? f(std::integral_constant<int, width>{}) : dispatch_width<width + 1>(wanted, f);
  }
}

// The oracle and dual numbers leave all fronts to front.h.
template <class T>
bool is_small_front(const ComponentCode& code, const Supernode& node) {
  return Traits<T>::levels == 0 && Traits<T>::lanes > 1 && node.width > 1 &&
         node.width <= kSmallFront && node.first + node.width == code.n;
}

// Calls f(std::integral_constant<int, width>) and returns true if the front is one of these.
template <class T, class F>
bool with_small_front(const ComponentCode& code, const Supernode& node, const F& f) {
  if constexpr (Traits<T>::levels == 0 && Traits<T>::lanes > 1) {
    if (is_small_front<T>(code, node)) {
      dispatch_width<2>(node.width, f);
      return true;
    }
  }
  return false;
}

}  // namespace phasic::PHASIC_ISA
