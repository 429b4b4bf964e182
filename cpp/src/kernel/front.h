// Elimination of one front (supernode) in rates, and its adjoint.
//
// A front is a matrix with rows (own steps, lower steps) and columns (own steps, exit, upper steps),
// see Supernode. Own steps are pivots in order:
//   S_t = sum of row t behind column t;  f_it = w_it / S_t;  w_ic += f_it w_tc for rows i and columns c
//   behind t. What lands on (i, i) is a returning path; it is never read, hence dropped.
// Panels of kPanel pivots: rows of the panel one group after the other, each brought up to date by a
// matrix product, then the rows below likewise. Last, lower rows are scattered to the slots of later
// fronts. The adjoint runs the same panels backwards; it needs only the final slots.
// Source: Grassmann, Taksar, Heyman 1985; blocked as in Golub and Van Loan, section 3.2.
#pragma once

#include <algorithm>

#include "kernel/tile.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

template <class T>
class FrontFactor {
 public:
  static constexpr Index kGroup = 6;
  static constexpr Index kPanel = 48;

  // slot: all slots of the component; inverse: (width) reciprocal pivots of this front.
  FrontFactor(const ComponentCode& code, const Supernode& node, T* slot, T* inverse)
      : node_(node),
        width_(node.width),
        stride_(node.stride()),
        rows_(slot + node.rows),
        lower_(slot + node.lower),
        inverse_(inverse),
        scatter_{slot, code.update_slot.data() + node.update, Index{1} + node.n_upper} {}

  void run() {
    for (Index p0 = 0; p0 < width_; p0 += kPanel) {
      const Index p1 = std::min(p0 + kPanel, width_);
      for (Index t = p0; t < p1; t += kGroup) {
        const Index end = std::min(t + kGroup, p1);
        update_rows(rows_ + t * stride_, stride_, end - t, p0, t, stride_);
        factor_group(t, end);
      }
      update_rows(rows_ + p1 * stride_, stride_, width_ - p1, p0, p1, stride_);
      update_rows(lower_, width_, node_.n_lower, p0, p1, width_);
    }
    multiply_add<T>(Strided<const T>{lower_, width_, 1},
                    Strided<const T>{rows_ + width_, stride_, 1}, scatter_, node_.n_lower,
                    Index{1} + node_.n_upper, width_);
  }

 private:
  // Rows (n of them, `row_stride` apart) against pivots [p0, p1): turns columns [p0, p1) into
  // multipliers and updates columns [p1, n_columns).
  void update_rows(T* rows, Index row_stride, Index n, Index p0, Index p1, Index n_columns) {
    for (Index c = p0; c < p1; c += kGroup) {
      const Index end = std::min(c + kGroup, p1);
      multiply_add<T>(Strided<const T>{rows + p0, row_stride, 1},
                      Strided<const T>{rows_ + p0 * stride_ + c, stride_, 1},
                      Strided<T>{rows + c, row_stride, 1}, n, end - c, c - p0);
      T multiplier[kGroup];
      for (Index r = c; r < end; ++r) {
        multiplier[r - c] = or_one(inverse_[r]);
      }
      for (Index i = 0; i < n; ++i) {
        divide_row(rows + i * row_stride, multiplier, c, end);
      }
    }
    multiply_add<T>(Strided<const T>{rows + p0, row_stride, 1},
                    Strided<const T>{rows_ + p0 * stride_ + p1, stride_, 1},
                    Strided<T>{rows + p1, row_stride, 1}, n, n_columns - p1, p1 - p0);
  }

  void divide_row(T* row, const T* multiplier, Index c, Index end) {
    for (Index r = c; r < end; ++r) {
      const T f = row[r] * multiplier[r - c];
      row[r] = f;
      for (Index q = r + 1; q < end; ++q) {
        row[q] += f * rows_[r * stride_ + q];
      }
    }
  }

  // Pivots [t, end), whose rows are up to date with everything before t.
  void factor_group(Index t, Index end) {
    for (Index r = t; r < end; ++r) {
      T* row = rows_ + r * stride_;
      T pivot(0.0);
      for (Index c = r + 1; c < stride_; ++c) {
        pivot += row[c];
      }
      inverse_[r] = reciprocal_or_zero(pivot);
      row[width_] += exit_of_trap(inverse_[r]);
      const T multiplier = or_one(inverse_[r]);
      for (Index i = r + 1; i < end; ++i) {
        T* other = rows_ + i * stride_;
        const T f = other[r] * multiplier;
        other[r] = f;
        for (Index c = r + 1; c < stride_; ++c) {
          other[c] += f * row[c];
        }
      }
    }
  }

  const Supernode& node_;
  Index width_, stride_;
  T* rows_;
  T* lower_;
  T* inverse_;
  Indexed<T> scatter_;
};

// The adjoint. Entry adjoints come in as adjoints of the final slots (from the solves and from later
// fronts) and leave as adjoints of the slots as they were loaded or added to. Nothing ever writes the
// adjoint of an entry (t, t), so it stays 0, which is what drops the returning path here.
template <class T>
class FrontAdjoint {
 public:
  FrontAdjoint(const ComponentCode& code, const Supernode& node, T* slot, T* slot_bar, T* inverse,
               T* pivot_bar)
      : node_(node),
        width_(node.width),
        stride_(node.stride()),
        rows_(slot + node.rows),
        lower_(slot + node.lower),
        rows_bar_(slot_bar + node.rows),
        lower_bar_(slot_bar + node.lower),
        inverse_(inverse),
        pivot_bar_(pivot_bar),
        scatter_bar_{slot_bar, code.update_slot.data() + node.update, Index{1} + node.n_upper} {}

  void run() {
    reverse_scatter();
    const Index last = (width_ - 1) / FrontFactor<T>::kPanel * FrontFactor<T>::kPanel;
    for (Index p0 = last; p0 >= 0; p0 -= FrontFactor<T>::kPanel) {
      const Index p1 = std::min(p0 + FrontFactor<T>::kPanel, width_);
      reverse_rows(lower_, lower_bar_, width_, node_.n_lower, p0, p1, width_);
      reverse_rows(rows_ + p1 * stride_, rows_bar_ + p1 * stride_, stride_, width_ - p1, p0, p1,
                   stride_);
      for (Index t = p0 + (p1 - p0 - 1) / FrontFactor<T>::kGroup * FrontFactor<T>::kGroup; t >= p0;
           t -= FrontFactor<T>::kGroup) {
        const Index end = std::min(t + FrontFactor<T>::kGroup, p1);
        reverse_group(t, end);
        reverse_rows(rows_ + t * stride_, rows_bar_ + t * stride_, stride_, end - t, p0, t,
                     stride_);
      }
    }
  }

 private:
  // scatter (i, c) += sum_t lower (i, t) rows (t, exit + c)
  void reverse_scatter() {
    const Index columns = Index{1} + node_.n_upper;
    const auto upper = Strided<const T>{rows_ + width_, stride_, 1};
    multiply_add<T>(scatter_bar_, upper.transposed(), Strided<T>{lower_bar_, width_, 1},
                    node_.n_lower, width_, columns);
    multiply_add<T>(Strided<const T>{lower_, 1, width_}, scatter_bar_,
                    Strided<T>{rows_bar_ + width_, stride_, 1}, width_, columns, node_.n_lower);
  }

  // Reverses FrontFactor::update_rows.
  void reverse_rows(T* rows, T* bar, Index row_stride, Index n, Index p0, Index p1,
                    Index n_columns) {
    reverse_product(rows, bar, row_stride, n, p0, p1 - p0, p1, n_columns - p1);
    for (Index c = p0 + (p1 - p0 - 1) / kGroup * kGroup; c >= p0; c -= kGroup) {
      const Index end = std::min(c + kGroup, p1);
      for (Index i = 0; i < n; ++i) {
        reverse_divide(rows + i * row_stride, bar + i * row_stride, c, end);
      }
      reverse_product(rows, bar, row_stride, n, p0, c - p0, c, end - c);
    }
  }

  // Reverses rows (., c ..) += rows (., p0 ..) times own rows (p0 .., c ..), depth pivots deep.
  void reverse_product(T* rows, T* bar, Index row_stride, Index n, Index p0, Index depth, Index c,
                       Index n_columns) {
    if (n == 0 || depth <= 0 || n_columns <= 0) {
      return;
    }
    const auto out_bar = Strided<const T>{bar + c, row_stride, 1};
    multiply_add<T>(out_bar, Strided<const T>{rows_ + p0 * stride_ + c, 1, stride_},
                    Strided<T>{bar + p0, row_stride, 1}, n, depth, n_columns);
    multiply_add<T>(Strided<const T>{rows + p0, 1, row_stride}, out_bar,
                    Strided<T>{rows_bar_ + p0 * stride_ + c, stride_, 1}, depth, n_columns, n);
  }

  void reverse_divide(T* row, T* bar, Index c, Index end) {
    for (Index r = end - 1; r >= c; --r) {
      T f_bar = bar[r];
      for (Index q = r + 1; q < end; ++q) {
        f_bar += bar[q] * rows_[r * stride_ + q];
        rows_bar_[r * stride_ + q] += row[r] * bar[q];
      }
      finish_multiplier(row, bar, r, f_bar);
    }
  }

  void finish_multiplier(T* row, T* bar, Index r, const T& f_bar) {
    bar[r] = f_bar * or_one(inverse_[r]);
    pivot_bar_[r] -= (f_bar * row[r]) * inverse_[r];
  }

  void reverse_group(Index t, Index end) {
    for (Index r = end - 1; r >= t; --r) {
      T* row = rows_ + r * stride_;
      T* row_bar = rows_bar_ + r * stride_;
      for (Index i = end - 1; i > r; --i) {
        T* other = rows_ + i * stride_;
        T* other_bar = rows_bar_ + i * stride_;
        T f_bar = other_bar[r];
        const T f = other[r];
        for (Index c = r + 1; c < stride_; ++c) {
          f_bar += other_bar[c] * row[c];
          row_bar[c] += f * other_bar[c];
        }
        finish_multiplier(other, other_bar, r, f_bar);
      }
      for (Index c = r + 1; c < stride_; ++c) {
        row_bar[c] += pivot_bar_[r];
      }
    }
  }

  static constexpr Index kGroup = FrontFactor<T>::kGroup;
  const Supernode& node_;
  Index width_, stride_;
  T* rows_;
  T* lower_;
  T* rows_bar_;
  T* lower_bar_;
  T* inverse_;
  T* pivot_bar_;
  Indexed<T> scatter_bar_;
};

}  // namespace phasic::PHASIC_ISA
