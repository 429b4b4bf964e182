// Transient behaviour of a model in quadruple precision, by a way that shares nothing with the
// sweep: scaling and squaring of the dense matrix. With jets as the number type, exact derivatives.
//
// 1. B + q I >= 0 for B = [[S, I], [0, 0]]: exp of it times tau by Taylor, tau a small part of t.
// 2. Times exp(-q tau), then squared until t is reached: only non-negative numbers, so every entry
//    keeps its relative accuracy.
// 3. The blocks of the result are exp(S t) and its integral.
#pragma once

#include <vector>

#include "phasic/evaluate.h"
#include "support/quad.h"

namespace oracle {

using phasic::at;
using phasic::Graph;
using phasic::Index;
using phasic::Quantity;

template <class T>
class Transient {
 public:
  // theta: (param_length)
  Transient(const Graph& graph, const std::vector<T>& theta)
      : n_(graph.n_vertices()), discrete_(graph.discrete), weight_(at(n_ * n_)), alive_(at(n_)) {
    for (Index u = 0; u < n_; ++u) {
      alive_[at(u)] = u > 0 && !graph.is_absorbing(u);
      for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u + 1)]; ++e) {
        if (graph.target[at(e)] == u) continue;
        T w(graph.constant[at(e)]);
        for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
          w += T(graph.coef_value[at(c)]) * theta[at(graph.coef_param[at(c)])];
        }
        weight_[at(u * n_ + graph.target[at(e)])] = w;
      }
    }
  }

  // One number, or one a vertex.
  [[nodiscard]] std::vector<T> operator()(Quantity quantity, const T& time) const {
    std::vector<T> state(at(n_)), visits(at(n_)), flux{T(0.0)};
    if (discrete_) {
      walk(static_cast<Index>(primal(time)), state, visits, flux[0]);
    } else {
      diffuse(time, state, visits, flux[0]);
    }
    T mass(0.0), absorbed(1.0);
    for (Index u = 1; u < n_; ++u) {
      absorbed = absorbed - weight_[at(u)];  // the defect
    }
    if (primal(absorbed) < 0) absorbed = T(0.0);
    for (Index u = 1; u < n_; ++u) {
      (alive_[at(u)] ? mass : absorbed) += state[at(u)];
    }
    switch (quantity) {
      case Quantity::pdf:
        return discrete_ && primal(time) == 0 ? std::vector<T>{absorbed} : flux;
      case Quantity::cdf:
        return {absorbed};
      case Quantity::sf:
        return {mass};
      case Quantity::state_probability:
        return state;
      default:
        return visits;
    }
  }

 private:
  using Matrix = std::vector<T>;

  [[nodiscard]] const T& w(Index u, Index v) const { return weight_[at(u * n_ + v)]; }

  void diffuse(const T& time, std::vector<T>& state, std::vector<T>& visits, T& flux) const {
    const Index m = 2 * n_;
    T rate(1.0);
    for (Index u = 1; u < n_; ++u) rate += row_sum(u);
    Index doublings = 0;
    T tau = time;
    while (primal(tau) * primal(rate) > Quad(0.1)) {
      tau = tau * T(0.5);
      ++doublings;
    }
    Matrix a(at(m * m));  // (B + q I) tau
    for (Index u = 0; u < n_; ++u) {
      for (Index v = 1; v < n_ && alive_[at(u)]; ++v) a[at(u * m + v)] = w(u, v) * tau;
      a[at(u * m + n_ + u)] = tau;
      a[at(u * m + u)] = (alive_[at(u)] ? rate - row_sum(u) : rate) * tau;
      a[at((n_ + u) * m + n_ + u)] = rate * tau;
    }
    Matrix result = exponential(a, m);
    const T damping = exponential(Matrix{T(0.0) - rate * tau}, 1)[0];
    for (T& x : result) x = x * damping;
    for (Index i = 0; i < doublings; ++i) result = product(result, result, m);
    for (Index u = 1; u < n_; ++u) {
      for (Index v = 1; v < n_; ++v) {
        state[at(v)] += w(0, u) * result[at(u * m + v)];
        if (alive_[at(v)]) visits[at(v)] += w(0, u) * result[at(u * m + n_ + v)];
      }
    }
    flux = flux_of(state);
  }

  void walk(Index steps, std::vector<T>& state, std::vector<T>& visits, T& flux) const {
    state.assign(weight_.begin(), weight_.begin() + n_);
    for (Index k = 0; k < steps; ++k) {
      std::vector<T> next(at(n_));
      flux = flux_of(state);
      for (Index u = 1; u < n_; ++u) {
        if (alive_[at(u)]) visits[at(u)] += state[at(u)];
        const T leaving = alive_[at(u)] ? row_sum(u) : T(0.0);
        next[at(u)] += state[at(u)] * (T(1.0) - leaving);
        for (Index v = 1; v < n_ && alive_[at(u)]; ++v) {
          if (v != u) next[at(v)] += state[at(u)] * w(u, v);
        }
      }
      state = next;
    }
  }

  [[nodiscard]] T row_sum(Index u) const {
    T sum(0.0);
    for (Index v = 1; v < n_; ++v) sum += w(u, v);
    return sum;
  }
  [[nodiscard]] T flux_of(const std::vector<T>& state) const {
    T sum(0.0);
    for (Index u = 1; u < n_; ++u) {
      for (Index v = 1; v < n_; ++v) {
        if (alive_[at(u)] && !alive_[at(v)]) sum += state[at(u)] * w(u, v);
      }
    }
    return sum;
  }

  static Matrix product(const Matrix& a, const Matrix& b, Index m) {
    Matrix c(at(m * m));
    for (Index i = 0; i < m; ++i) {
      for (Index k = 0; k < m; ++k) {
        const T& x = a[at(i * m + k)];
        if (primal(x) == 0 && top(x) == 0) continue;
        for (Index j = 0; j < m; ++j) c[at(i * m + j)] += x * b[at(k * m + j)];
      }
    }
    return c;
  }

  // Taylor; the norm of a is below 1.
  static Matrix exponential(const Matrix& a, Index m) {
    Matrix sum(at(m * m)), term(at(m * m));
    for (Index i = 0; i < m; ++i) sum[at(i * m + i)] = term[at(i * m + i)] = T(1.0);
    for (int k = 1; k <= 30; ++k) {
      term = product(term, a, m);
      for (T& x : term) x = x / T(static_cast<double>(k));
      for (Index i = 0; i < m * m; ++i) sum[at(i)] += term[at(i)];
    }
    return sum;
  }

  Index n_;
  bool discrete_;
  std::vector<T> weight_;    // (n, n), no diagonal
  std::vector<bool> alive_;  // neither starting nor absorbing
};

}  // namespace oracle
