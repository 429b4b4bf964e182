// Moments, cross moments, sojourn times and absorption probabilities from one factorisation.
//
// With U = (Lambda - W)^-1 and z = alpha U (one transposed solve):
//   continuous  E[Y^m] = m! z . (r x^(m-1)), x^(0) = 1, x^(m) = U (r x^(m-1))
//               E[Yi Yj] = z . (ri xj) + z . (rj xi)
//   discrete    b_m = sum_{l<m} C(m, l) r^(m-l) (M_l - b_l), M_m = U b_m, E[Y^m] = z . b_m
//               (P M_l = M_l - b_l because (I - P) M_l = b_l), with P M_0 = 1
//               E[Yi Yj] = z . (ri xj) + z . (rj xi) - z . (ri rj)
// Rewards are handled one at a time, so memory does not grow with their number.
#pragma once

#include "kernel/elimination.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

// The raw moments of one reward, and their adjoint. rhs(m), b(m): order x n_positions; x(m): order x
// n_places, 0 behind the positions.
template <class T>
class MomentChain {
 public:
  void resize(const Program& program, Index order, bool with_adjoint) {
    n_ = program.n_positions;
    n_places_ = program.n_places;
    order_ = order;
    rhs_.resize(at(n_ * order));
    b_.resize(at(n_ * order));
    x_.assign(at(n_places_ * order), T(0.0));
    if (with_adjoint) {
      rhs_bar_.resize(at(n_ * order));
      x_bar_.resize(at(n_ * order));
      solve_bar_.assign(at(n_places_), T(0.0));
    }
  }

  // moments (order) of reward r (n_positions); z the expected sojourn.
  void forward(Elimination<T>& factor, bool discrete, const T* r, const T* z, T* moments) {
    double factorial = 1;
    for (Index m = 1; m <= order_; ++m) {
      factorial *= static_cast<double>(m);
      form_rhs(discrete, m, r);
      T sum(0.0);
      for (Index u = 0; u < n_; ++u) {
        sum += z[u] * rhs(m)[u];
      }
      moments[m - 1] = discrete ? sum : T(factorial) * sum;
      if (m < order_) {
        factor.solve_all(rhs(m), b(m), x(m));
      }
    }
  }

  // moments_bar (order). Adds to z_bar, r_bar and to the adjoints inside factor.
  void reverse(Elimination<T>& factor, bool discrete, const T* r, const T* z, const T* moments_bar,
               T* z_bar, T* r_bar) {
    std::fill(rhs_bar_.begin(), rhs_bar_.end(), T(0.0));
    std::fill(x_bar_.begin(), x_bar_.end(), T(0.0));
    double factorial = 1;
    for (Index m = 1; m <= order_; ++m) {
      factorial *= static_cast<double>(m);
      const T scale = discrete ? moments_bar[m - 1] : T(factorial) * moments_bar[m - 1];
      for (Index u = 0; u < n_; ++u) {
        z_bar[u] += scale * rhs(m)[u];
        rhs_bar(m)[u] += scale * z[u];
      }
    }
    for (Index m = order_; m >= 1; --m) {
      if (m < order_) {
        factor.solve_adjoint_all(b(m), x(m), x_bar(m), solve_bar_.data());
        for (Index u = 0; u < n_; ++u) {
          rhs_bar(m)[u] += solve_bar_[at(u)];
        }
      }
      reverse_rhs(discrete, m, r, r_bar);
    }
  }

  [[nodiscard]] T* x(Index m) { return x_.data() + (m - 1) * n_places_; }

 private:
  T* rhs(Index m) { return rhs_.data() + (m - 1) * n_; }
  T* b(Index m) { return b_.data() + (m - 1) * n_; }
  T* rhs_bar(Index m) { return rhs_bar_.data() + (m - 1) * n_; }
  T* x_bar(Index m) { return x_bar_.data() + (m - 1) * n_; }

  // Right-hand side whose solve gives x^(m) (continuous) or M_m (discrete).
  void form_rhs(bool discrete, Index m, const T* r) {
    for (Index u = 0; u < n_; ++u) {
      if (!discrete) {
        rhs(m)[u] = m == 1 ? r[u] : r[u] * x(m - 1)[u];
        continue;
      }
      // Horner in r: sum_{l<m} C(m, l) r^(m-l) q_l with q_0 = 1, q_l = P M_l.
      T sum(1.0);
      double binomial = 1;
      for (Index l = 1; l < m; ++l) {
        binomial = binomial * static_cast<double>(m - l + 1) / static_cast<double>(l);
        sum = sum * r[u] + T(binomial) * (x(l)[u] - rhs(l)[u]);
      }
      rhs(m)[u] = sum * r[u];
    }
  }

  void reverse_rhs(bool discrete, Index m, const T* r, T* r_bar) {
    for (Index u = 0; u < n_; ++u) {
      const T bar = rhs_bar(m)[u];
      if (!discrete) {
        r_bar[u] += m == 1 ? bar : bar * x(m - 1)[u];
        if (m > 1) {
          x_bar(m - 1)[u] += bar * r[u];
        }
        continue;
      }
      // d/dr: sum_l C(m, l) (m - l) r^(m-l-1) q_l by Horner; d/dq_l = C(m, l) r^(m-l).
      T derivative(static_cast<double>(m));
      double binomial = 1;
      for (Index l = 1; l < m; ++l) {
        binomial = binomial * static_cast<double>(m - l + 1) / static_cast<double>(l);
        derivative = derivative * r[u] +
                     T(binomial * static_cast<double>(m - l)) * (x(l)[u] - rhs(l)[u]);
      }
      r_bar[u] += bar * derivative;
      T power = r[u] * bar;
      for (Index l = m - 1; l >= 1; --l) {
        binomial = 1;
        for (Index i = 1; i <= l; ++i) {
          binomial = binomial * static_cast<double>(m - i + 1) / static_cast<double>(i);
        }
        x_bar(l)[u] += T(binomial) * power;
        rhs_bar(l)[u] -= T(binomial) * power;
        power = power * r[u];
      }
    }
  }

  Index n_ = 0, n_places_ = 0, order_ = 0;
  detail::Scratch<T> rhs_, b_, x_, rhs_bar_, x_bar_, solve_bar_;
};

}  // namespace phasic::PHASIC_ISA
