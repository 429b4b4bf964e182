// Differences D_ij = h_j - h_i in the last front of a component, see differences.h.
//
// Here every pair is known: D_ik = (r_k - e_k h_i + sum over j > k of w_kj D_ij) / S_k for i > k, and
// D_ki = -D_ik.
// 1. Panels of columns from the last to the first; rows behind a panel get a matrix product with all
//    columns that are known, then groups of columns are finished one after the other.
// 2. Rows of the panel likewise, now that the mirrored entries are known.
#pragma once

#include <algorithm>

#include "kernel/tile.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

template <class T>
class FrontDifferences {
 public:
  // slot_bar of the front must be 0 and receives the differences. r, h: (width) of the front; r after
  // elimination.
  FrontDifferences(const Supernode& node, const T* slot, T* slot_bar, const T* inverse, const T* r,
                   const T* h)
      : width_(node.width),
        stride_(node.stride()),
        rows_(slot + node.rows),
        d_(slot_bar + node.rows),
        inverse_(inverse),
        r_(r),
        h_(h) {}

  void run() {
    for (Index p1 = width_; p1 > 0;) {
      const Index p0 = std::max<Index>(p1 - kPanel, 0);
      behind_panel(p0, p1);
      own_rows(p0, p1);
      p1 = p0;
    }
  }

 private:
  static constexpr Index kGroup = 6;
  static constexpr Index kPanel = 48;
  static constexpr Index kDepth = 96;  // of one product: keeps its right operand in a core's cache

  // D (i0..i1, k0..k1) += D (i0..i1, j0..j1) times rows (k0..k1, j0..j1) transposed.
  void product(Index i0, Index i1, Index k0, Index k1, Index j0, Index j1) {
    for (Index j = j0; j < j1; j += kDepth) {
      multiply_add<T>(Strided<const T>{d_ + i0 * stride_ + j, stride_, 1},
                      Strided<const T>{rows_ + k0 * stride_ + j, 1, stride_},
                      Strided<T>{d_ + i0 * stride_ + k0, stride_, 1}, i1 - i0, k1 - k0,
                      std::min(kDepth, j1 - j));
    }
  }

  void behind_panel(Index p0, Index p1) {
    product(p1, width_, p0, p1, p1, width_);
    for (Index end = p1; end > p0;) {
      const Index begin = std::max(end - kGroup, p0);
      product(p1, width_, begin, end, end, p1);
      finish(p1, width_, begin, end);
      end = begin;
    }
  }

  void own_rows(Index p0, Index p1) {
    for (Index end = p1; end > p0;) {
      const Index begin = std::max(end - kGroup, p0);
      product(end, p1, begin, end, end, width_);
      finish(end, p1, begin, end);
      product(begin, end, begin, end, end, width_);
      for (Index i = begin; i < end; ++i) {
        d_[i * stride_ + i] = T(0.0);
      }
      for (Index k = end - 2; k >= begin; --k) {
        for (Index i = k + 1; i < end; ++i) {
          finish_entry(i, k, begin, end);
        }
      }
      end = begin;
    }
  }

  // Rows [i0, i1), all behind the group: entries hold the sum over columns from `end`.
  void finish(Index i0, Index i1, Index begin, Index end) {
    load(begin, end);
    for (Index i = i0; i < i1; ++i) {
      for (Index k = end - 1; k >= begin; --k) {
        finish_entry(i, k, begin, end);
      }
    }
  }

  void finish_entry(Index i, Index k, Index begin, Index end) {
    const T* row = rows_ + k * stride_;
    T* d = d_ + i * stride_;
    T sum = d[k];
    for (Index j = k + 1; j < end; ++j) {
      sum += row[j] * d[j];
    }
    const T difference =
        gain_[k - begin] - leave_[k - begin] * h_[i] + multiplier_[k - begin] * sum;
    d[k] = difference;
    d_[k * stride_ + i] = -difference;
  }

  void load(Index begin, Index end) {
    for (Index k = begin; k < end; ++k) {
      multiplier_[k - begin] = or_one(inverse_[k]);
      gain_[k - begin] = r_[k] * inverse_[k];
      leave_[k - begin] = rows_[k * stride_ + width_] * multiplier_[k - begin];
    }
  }

  Index width_, stride_;
  const T* rows_;
  T* d_;
  const T* inverse_;
  const T* r_;
  const T* h_;
  T multiplier_[kGroup], gain_[kGroup], leave_[kGroup];  // of the group's columns
};

}  // namespace phasic::PHASIC_ISA
