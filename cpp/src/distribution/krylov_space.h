// An orthonormal basis of the space that (I - gamma S)^-1 spans from one vector.
//
// 1. The inverse comes from the elimination of the program, with 1 / gamma added to the exit rate of
//    every position: (I - gamma S)^-1 = (1/gamma) (1/gamma + Lambda - W)^-1. Nothing is subtracted.
// 2. Numbers with derivative parts are vectors of all their parts: for dual numbers the matrix is the
//    block triangle [[Z, 0], [Z', Z]], whose exponential holds the exact derivative.
// 3. Arnoldi, orthogonalised twice by blocks of four basis vectors.
// Source: van den Eshof, Hochbruck 2006 (SIAM J. Sci. Comput. 27:1438), with the one real pole.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "distribution/vector_loops.h"
#include "kernel/elimination.h"

namespace phasic::PHASIC_ISA {

template <class T>
class KrylovSpace {
 public:
  Elimination<T> elimination;

  void resize(const Program& program) {
    program_ = &program;
    elimination.resize(program, Keep::all, false);
    rhs_.resize(at(program.n_positions));
    work_.resize(rhs_.size());
    solved_.assign(at(program.n_places), T(0.0));
    width_ = program.n_positions * kParts;
    stride_ = padded(width_);
  }

  void factor(Span<const T> theta, double gamma) {
    gamma_ = gamma;
    elimination.weights.extra_exit = T(1 / gamma);
    elimination.set_theta(theta);
    elimination.factor_all();
  }

  // x := (I - gamma S)^-1 x
  void solve(std::vector<T>& x) {
    elimination.solve_all(x.data(), work_.data(), solved_.data());
    for (Index k = 0; k < ssize(x); ++k) {
      x[at(k)] = solved_[at(k)] * T(1 / gamma_);
    }
  }

  // Starts anew from b (n_positions).
  void begin(const std::vector<T>& b) {
    dimension_ = 0;
    h_.clear();
    basis_.assign(at(stride_), 0.0);
    std::memcpy(basis_.data(), b.data(), at(width_) * sizeof(double));
    norm_ = size_of(basis_.data());
    losses_.assign(1, 1.0);
    invariant_ = norm_ == 0;
    divide(basis_.data(), invariant_ ? 1.0 : norm_);
  }

  // Adds dimensions up to m, or until the space is invariant.
  void extend(Index m) {
    basis_.resize(at(stride_ * (m + 1)), 0.0);
    while (dimension_ < m && !invariant_) {
      add_dimension();
    }
  }

  [[nodiscard]] Index dimension() const { return dimension_; }
  [[nodiscard]] bool invariant() const { return invariant_; }
  [[nodiscard]] double norm() const { return norm_; }  // of the vector that it began with

  // How much larger each basis vector was before the components along the others were taken away: its
  // relative error, in units of rounding.
  [[nodiscard]] const std::vector<double>& losses() const { return losses_; }

  // The projected inverse, (dimension, padded(dimension)).
  [[nodiscard]] std::vector<double> projected() const {
    const Index width = padded(dimension_);
    std::vector<double> h(at(dimension_ * width));
    for (Index j = 0; j < dimension_; ++j) {
      for (Index i = 0; i <= std::min(j + 1, dimension_ - 1); ++i) {
        h[at(i * width + j)] = h_[at(j)][at(i)];
      }
    }
    return h;
  }

  // Basis vector j as numbers with their derivative parts.
  void read(Index j, std::vector<T>& x) const {
    x.resize(rhs_.size());
    std::memcpy(x.data(), basis_.data() + j * stride_, at(width_) * sizeof(double));
  }

 private:
  static_assert(sizeof(T) % sizeof(double) == 0, "numbers are arrays of their parts");
  static constexpr Index kParts = static_cast<Index>(sizeof(T) / sizeof(double));
  static constexpr double kInvariant = 1e-14;  // what remains of a vector that lies in the space
  static constexpr Index kRows = 4;

  [[nodiscard]] double size_of(const double* x) const { return std::sqrt(dot_padded(x, x, stride_)); }

  void divide(double* x, double by) const {
    for (Index k = 0; k < stride_; ++k) {
      x[k] /= by;
    }
  }

  // w -= its components along basis vectors first .. first + kRows - 1, which are added to h.
  void orthogonalise_four(Index first, double* w, double* h) const {
    const double* const v = basis_.data() + first * stride_;
    Eight sum[kRows];
    for (Index k = 0; k < stride_; k += kVector) {
      const Eight x(w + k);
      for (Index r = 0; r < kRows; ++r) {
        sum[r].add_product(Eight(v + r * stride_ + k), x);
      }
    }
    double c[kRows];
    for (Index r = 0; r < kRows; ++r) {
      c[r] = sum[r].sum();
      h[r] += c[r];
    }
    for (Index k = 0; k < stride_; k += kVector) {
      Eight x(w + k);
      for (Index r = 0; r < kRows; ++r) {
        x.subtract_multiple(c[r], Eight(v + r * stride_ + k));
      }
      x.store(w + k);
    }
  }

  void orthogonalise(double* w, std::vector<double>& h) const {
    Index i = 0;
    for (; i + kRows <= dimension_ + 1; i += kRows) {
      orthogonalise_four(i, w, h.data() + i);
    }
    for (; i <= dimension_; ++i) {
      const double* const v = basis_.data() + i * stride_;
      const double c = dot_padded(v, w, stride_);
      subtract_padded(c, v, w, stride_);
      h[at(i)] += c;
    }
  }

  void add_dimension() {
    read(dimension_, rhs_);
    solve(rhs_);
    double* const w = basis_.data() + (dimension_ + 1) * stride_;
    std::memcpy(w, rhs_.data(), at(width_) * sizeof(double));
    std::fill(w + width_, w + stride_, 0.0);
    const double before = size_of(w);
    std::vector<double> h(at(dimension_ + 2));
    orthogonalise(w, h);
    orthogonalise(w, h);
    const double rest = size_of(w);
    h[at(dimension_ + 1)] = rest;
    h_.push_back(std::move(h));
    ++dimension_;
    invariant_ = !(rest > kInvariant * before) || dimension_ >= width_;
    if (!invariant_) {
      losses_.push_back(before / rest);
      divide(w, rest);
    }
  }

  const Program* program_ = nullptr;
  double gamma_ = 1, norm_ = 0;
  Index width_ = 0, stride_ = 0, dimension_ = 0;
  bool invariant_ = false;
  std::vector<T> rhs_, work_, solved_;
  std::vector<double> losses_;
  std::vector<double> basis_;           // (dimension + 1, stride)
  std::vector<std::vector<double>> h_;  // columns of the projected inverse
};

}  // namespace phasic::PHASIC_ISA
