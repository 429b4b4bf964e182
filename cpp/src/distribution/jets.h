// Numbers with exact derivatives, stored as planes: one array of doubles a derivative.
//
// 1. `levels` nested directions give 2^levels planes: plane S holds the coefficient of the product
//    of the eps of the levels in the bit set S (what nested dual numbers hold).
// 2. `directions` further first-order ones share those planes: plane (m, S) is the coefficient of
//    eta_m times the eps of S, with eta_m eta_n = 0. Together they are a gradient in one pass.
// 3. A product is a list of triples (out, left, right) of planes, made once.
#pragma once

#include <vector>

#include "distribution/matrix_product.h"

namespace phasic::PHASIC_ISA {

struct PlaneProduct {
  Index out, left, right;
};

class JetAlgebra {
 public:
  JetAlgebra() = default;
  JetAlgebra(Index levels, Index directions)
      : n_base_(Index{1} << levels), n_planes_(n_base_ * (1 + directions)) {
    for (Index s = 0; s < n_base_; ++s) {
      for (Index a = s;; a = (a - 1) & s) {
        products_.push_back({s, a, s ^ a});
        if (a == 0) {
          break;
        }
      }
    }
    const std::vector<PlaneProduct> base = products_;
    for (Index m = n_base_; m < n_planes_; m += n_base_) {
      for (const PlaneProduct& p : base) {
        products_.push_back({m + p.out, m + p.left, p.right});
        products_.push_back({m + p.out, p.left, m + p.right});
      }
    }
  }

  [[nodiscard]] Index n_base() const { return n_base_; }
  [[nodiscard]] Index n_planes() const { return n_planes_; }
  // In an order in which every plane comes after those that it depends on.
  [[nodiscard]] const std::vector<PlaneProduct>& products() const { return products_; }
  // Plane of direction m = 0, 1, .. and the levels in s.
  [[nodiscard]] Index plane(Index m, Index s) const { return (1 + m) * n_base_ + s; }

  // 1 / x, one number a plane.
  void invert(Span<const double> x, Span<double> out) const {
    std::fill(out.begin(), out.end(), 0.0);
    out[0] = 1 / x[0];
    for (const PlaneProduct& p : products_) {
      if (p.left != 0) {
        out[p.out] -= out[0] * x[p.left] * out[p.right];
      }
    }
  }

 private:
  Index n_base_ = 1, n_planes_ = 1;
  std::vector<PlaneProduct> products_;
};

// A matrix of jets; rows are padded with zeros.
class JetMatrix {
 public:
  void resize(const JetAlgebra& algebra, Index rows, Index columns) {
    rows_ = rows;
    columns_ = columns;
    stride_ = padded(columns);
    values_.assign(at(algebra.n_planes() * rows * stride_), 0.0);
  }
  void clear() { std::fill(values_.begin(), values_.end(), 0.0); }

  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index columns() const { return columns_; }
  [[nodiscard]] Index stride() const { return stride_; }
  [[nodiscard]] double* row(Index plane, Index i) {
    return values_.data() + (plane * rows_ + i) * stride_;
  }
  [[nodiscard]] const double* row(Index plane, Index i) const {
    return values_.data() + (plane * rows_ + i) * stride_;
  }
  [[nodiscard]] std::vector<double>& values() { return values_; }

 private:
  Index rows_ = 0, columns_ = 0, stride_ = 0;
  std::vector<double> values_;
};

// out += left * right
inline void add_product(const JetAlgebra& algebra, const JetMatrix& left, const JetMatrix& right,
                        JetMatrix& out, const InnerBounds& bounds) {
  if (left.rows() == 0 || right.rows() == 0) {
    return;
  }
  const MatrixSizes size{left.rows(), right.rows(), left.stride(), right.stride()};
  for (const PlaneProduct& p : algebra.products()) {
    add_product(size, left.row(p.left, 0), right.row(p.right, 0), out.row(p.out, 0), bounds);
  }
}

}  // namespace phasic::PHASIC_ISA
