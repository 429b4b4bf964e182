// The exponential of the projected generator, from the projection of (I - gamma S)^-1 itself.
//
// 1. H is upper Hessenberg, B = (I - H^-1) / gamma. B is never formed: fast modes make H nearly
//    singular, and only they suffer from that.
// 2. One step is the subdiagonal Pade approximant r of exp, 7 over 8: with z = tau (I - H^-1),
//    tau = time / gamma, each pole c gives (z - c)^-1 = H ((tau - c) H - tau I)^-1, a Hessenberg
//    system. r vanishes at infinity, so fast modes decay whatever the rounding of H made of them.
// 3. The last factor leaves H out where H^-1 r is wanted; H^-1 alone would amplify rounding.
// 4. The matrix I + D of one step is squared again and again, as 2 D + D^2, so that the errors of slow
//    modes do not double each time; r - 1 comes from (z - c)^-1 z without a difference. The last few
//    matrices are squared as they are, so that what they leave of a far tail keeps its digits. Times are
//    whole steps by their binary digits and a rest of about one step.
// Poles, zeros: roots of the Pade polynomials in 60 digits. |r(z) - exp(z)| < 1e-12 for |z| < 2.
// Source: Hochbruck, Pazur, Schulz, Thawinan, Wieners 2015 (ZAMM 95:237) on the projection.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "distribution/vector_loops.h"

namespace phasic::PHASIC_ISA {

// Numbers between -1 and 1, always the same ones.
class NoiseStream {
 public:
  double next() {
    state_ = state_ * 1664525U + 1013904223U;
    return std::ldexp(static_cast<double>(state_), -31) - 1;
  }

 private:
  std::uint32_t state_ = 1;
};

// A block of vectors is (columns, padded(m)): each vector is a row. Matrices are kept transposed.
class ProjectedExponential {
 public:
  // h: upper Hessenberg (m, padded(m)); a step is tau gamma, and 2^doublings of them will do. With noise,
  // the entries of the first step, which are less precise than h, are changed at random.
  void prepare(std::vector<double> h, Index m, double tau, int doublings, double noise = 0) {
    m_ = m;
    width_ = padded(m);
    h_ = std::move(h);
    transposed_.assign(h_.size(), 0.0);
    for (Index i = 0; i < m; ++i) {
      for (Index j = 0; j < m; ++j) {
        transposed_[at(j * width_ + i)] = h_[at(i * width_ + j)];
      }
    }
    step_.resize(static_cast<std::size_t>(doublings) + 1);
    first_whole_ = std::max(doublings - kWhole, 1);
    first_step(tau, step_[0]);
    NoiseStream random;
    for (double& x : step_[0]) {
      x += x * kStepNoise * noise * random.next();
    }
    for (int i = 1; i <= doublings; ++i) {
      std::vector<double>& d = step_[at(i)];
      d = step_[at(i - 1)];
      multiply(step_[at(i - 1)], d);
      for (std::size_t e = 0; e < d.size() && i <= first_whole_; ++e) {
        d[e] += 2 * step_[at(i - 1)][e];
      }
      for (Index k = 0; k < m && i == first_whole_; ++k) {
        d[at(k * width_ + k)] += 1.0;
      }
    }
  }

  [[nodiscard]] Index dimension() const { return m_; }
  // The first of the matrices that is one itself, not its difference from 1.
  [[nodiscard]] int first_whole() const { return first_whole_; }

  // y := exp(2^i step B) y
  void move(int i, std::vector<double>& y) {
    moved_ = y;
    multiply(step_[at(i)], moved_);
    if (i >= first_whole_) {
      std::swap(y, moved_);
      return;
    }
    std::transform(y.begin(), y.end(), moved_.begin(), y.begin(), std::plus<>());
  }

  // moved := r(tau) y, and backward := H^-1 r(tau) y unless it is nullptr.
  void apply(double tau, const std::vector<double>& y, std::vector<double>& moved,
             std::vector<double>* backward) {
    moved = y;  // y may be moved itself
    for (const Factor& factor : kFactors) {
      solve(tau, factor, factor.residue_re, factor.residue_im, moved);
      if (&factor == kFactors + kLast && backward != nullptr) {
        *backward = part_;
      }
      multiply(transposed_, part_);
      for (std::size_t e = 0; e < moved.size(); ++e) {
        moved[e] = factor.constant * moved[e] + part_[e];
      }
    }
  }

 private:
  // constant + 2 Re(residue / (z - pole)); the last one has the one real zero and no constant.
  struct Factor {
    double pole_re, pole_im, residue_re, residue_im, constant;
  };
  static constexpr int kLast = 3;
  static constexpr double kStepNoise = 16;
  static constexpr int kWhole = 5;  // doublings of whole matrices
  static constexpr Factor kFactors[kLast + 1] = {
      {9.4063712136907398, 4.9692172876232936, 36.3403285735981, -70.797294691248908, 0.91184712424913728},
      {7.7386881468305484, 8.3708793062379829, 31.645443832382607, -30.226461614554641, 0.93745838083794197},
      {4.6854946328211966, 12.01057859981379, 21.337917721905292, -8.8025837574870032, 0.96543228942696768},
      {10.169446006657514, 1.6492017968222277, 9.6938018534078427, -124.13162148555367, 0.0}};

  // y := y matrix
  void multiply(const std::vector<double>& matrix, std::vector<double>& y) {
    product_.assign(y.size(), 0.0);
    add_product({ssize(y) / width_, m_, width_, width_}, y.data(), matrix.data(), product_.data(), {});
    std::swap(y, product_);
  }

  // d := r(tau) - 1, of the identity: each factor adds residue / pole * z / (z - pole) times what is there.
  void first_step(double tau, std::vector<double>& d) {
    std::vector<double> less = transposed_, present(h_.size(), 0.0);  // H - I; I + d
    d.assign(h_.size(), 0.0);
    for (Index k = 0; k < m_; ++k) {
      less[at(k * width_ + k)] -= 1.0;
      present[at(k * width_ + k)] = 1.0;
    }
    for (const Factor& f : kFactors) {
      const double size = f.pole_re * f.pole_re + f.pole_im * f.pole_im;
      const double re = (f.residue_re * f.pole_re + f.residue_im * f.pole_im) / size;
      const double im = (f.residue_im * f.pole_re - f.residue_re * f.pole_im) / size;
      solve(tau, f, tau * re, tau * im, present);
      multiply(less, part_);
      for (std::size_t e = 0; e < d.size(); ++e) {
        d[e] += part_[e];
        present[e] = d[e];
      }
      for (Index k = 0; k < m_; ++k) {
        present[at(k * width_ + k)] += 1.0;
      }
    }
  }

  // part_ := Re(residue ((tau - pole) H - tau I)^-1 y) by Gaussian elimination, with pivots from two
  // rows. Entries left of the diagonal are not read, only multiplied by zeros.
  void solve(double tau, const Factor& f, double residue_re, double residue_im,
             const std::vector<double>& y) {
    load(tau, f);
    const Index columns = ssize(y) / width_;
    rhs_re_ = y;
    rhs_im_.assign(y.size(), 0.0);
    for (Index k = 0; k + 1 < m_; ++k) {
      eliminate(k, columns);
    }
    part_.assign(y.size(), 0.0);
    part_im_.assign(y.size(), 0.0);
    for (Index k = m_ - 1; k >= 0; --k) {
      substitute(k, columns);
    }
    for (std::size_t e = 0; e < part_.size(); ++e) {
      part_[e] = residue_re * part_[e] - residue_im * part_im_[e];
    }
  }

  void load(double tau, const Factor& f) {
    matrix_re_.resize(h_.size());
    matrix_im_.resize(h_.size());
    for (std::size_t e = 0; e < h_.size(); ++e) {
      matrix_re_[e] = (tau - f.pole_re) * h_[e];
      matrix_im_[e] = -f.pole_im * h_[e];
    }
    for (Index k = 0; k < m_; ++k) {
      matrix_re_[at(k * width_ + k)] -= tau;
    }
  }

  void eliminate(Index k, Index columns) {
    const Index first = k / kVector * kVector;
    double* const a_re = matrix_re_.data() + k * width_;
    double* const a_im = matrix_im_.data() + k * width_;
    double* const b_re = a_re + width_;
    double* const b_im = a_im + width_;
    const bool swap = b_re[k] * b_re[k] + b_im[k] * b_im[k] > a_re[k] * a_re[k] + a_im[k] * a_im[k];
    if (swap) {
      std::swap_ranges(a_re + first, b_re, b_re + first);
      std::swap_ranges(a_im + first, b_im, b_im + first);
    }
    const double size = a_re[k] * a_re[k] + a_im[k] * a_im[k];
    const double f_re = (b_re[k] * a_re[k] + b_im[k] * a_im[k]) / size;
    const double f_im = (b_im[k] * a_re[k] - b_re[k] * a_im[k]) / size;
    for (Index j = first; j < width_; j += kVector) {
      const Eight re(a_re + j), im(a_im + j);
      Eight to_re(b_re + j), to_im(b_im + j);
      to_re.subtract_multiple(f_re, re);
      to_re.subtract_multiple(-f_im, im);
      to_im.subtract_multiple(f_re, im);
      to_im.subtract_multiple(f_im, re);
      to_re.store(b_re + j);
      to_im.store(b_im + j);
    }
    for (Index c = 0; c < columns; ++c) {
      double* const re = rhs_re_.data() + c * width_ + k;
      double* const im = rhs_im_.data() + c * width_ + k;
      if (swap) {
        std::swap(re[0], re[1]);
        std::swap(im[0], im[1]);
      }
      re[1] -= f_re * re[0] - f_im * im[0];
      im[1] -= f_re * im[0] + f_im * re[0];
    }
  }

  void substitute(Index k, Index columns) {
    const double* const a_re = matrix_re_.data() + k * width_;
    const double* const a_im = matrix_im_.data() + k * width_;
    const double size = a_re[k] * a_re[k] + a_im[k] * a_im[k];
    for (Index c = 0; c < columns; ++c) {
      double* const x_re = part_.data() + c * width_;
      double* const x_im = part_im_.data() + c * width_;
      Eight sum_re, sum_im;
      for (Index j = k / kVector * kVector; j < width_; j += kVector) {
        const Eight b_re(a_re + j), b_im(a_im + j), y_re(x_re + j), y_im(x_im + j);
        sum_re.add_product(b_re, y_re);
        sum_re.subtract_product(b_im, y_im);
        sum_im.add_product(b_re, y_im);
        sum_im.add_product(b_im, y_re);
      }
      const double re = rhs_re_[at(c * width_ + k)] - sum_re.sum();
      const double im = rhs_im_[at(c * width_ + k)] - sum_im.sum();
      x_re[k] = (re * a_re[k] + im * a_im[k]) / size;
      x_im[k] = (im * a_re[k] - re * a_im[k]) / size;
    }
  }

  Index m_ = 0, width_ = 0;
  int first_whole_ = 0;
  std::vector<double> h_, transposed_;
  std::vector<std::vector<double>> step_;  // exp(2^i step B), less 1 before first_whole_, transposed
  std::vector<double> product_, moved_, part_, part_im_, rhs_re_, rhs_im_, matrix_re_, matrix_im_;
};

}  // namespace phasic::PHASIC_ISA
