// The model solved densely in quadruple precision: every quantity of elimination, and (with jets as
// the number type) its exact derivatives.
//
// 1. Vertices that can reach absorption over positive weights are `live`; the others are traps.
// 2. All live vertices are eliminated in the order of their rows (GTH, dense, no components).
// 3. Moments follow the recurrences of the definition, x^(k) = k U (r x^(k-1)) in continuous and
//    m_k = U sum_l C(k, l) r^(k-l) P m_l in discrete time, weighted by the start distribution.
// Source: Grassmann, Taksar, Heyman 1985.
#pragma once

#include <vector>

#include "phasic/graph.h"
#include "support/quad.h"

namespace oracle {

using phasic::at;
using phasic::Graph;
using phasic::Index;

template <class T>
class Dense {
 public:
  // theta: (param_length)
  Dense(const Graph& graph, const std::vector<T>& theta)
      : n_(graph.n_vertices()),
        discrete_(graph.discrete),
        weight_(at(n_ * n_)),
        absorbing_(at(n_)),
        live_(at(n_)) {
    for (Index u = 0; u < n_; ++u) {
      absorbing_[at(u)] = u > 0 && graph.is_absorbing(u);
      for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u + 1)]; ++e) {
        if (graph.target[at(e)] == u) continue;  // staying: no effect, or what the row lacks to 1
        T& w = weight_[at(u * n_ + graph.target[at(e)])];
        w = T(graph.constant[at(e)]);
        for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
          w += T(graph.coef_value[at(c)]) * theta[at(graph.coef_param[at(c)])];
        }
      }
    }
    find_live();
    factor();
  }

  [[nodiscard]] bool live(Index u) const { return live_[at(u)]; }

  // Vertices that the start reaches over positive weights and that cannot reach absorption.
  [[nodiscard]] std::vector<Index> trapped() const {
    std::vector<bool> seen(at(n_));
    std::vector<Index> stack{0}, result;
    while (!stack.empty()) {
      const Index u = stack.back();
      stack.pop_back();
      for (Index v = 1; v < n_; ++v) {
        if (!seen[at(v)] && primal(weight(u, v)) > 0) {
          seen[at(v)] = true;
          stack.push_back(v);
        }
      }
    }
    for (Index u = 1; u < n_; ++u) {
      if (seen[at(u)] && !live_[at(u)] && !absorbing_[at(u)]) result.push_back(u);
    }
    return result;
  }

  // x = U rhs on live vertices, 0 elsewhere.
  [[nodiscard]] std::vector<T> solve(std::vector<T> rhs) const {
    std::vector<T> x(at(n_));
    for (std::size_t k = 0; k < rows_.size(); ++k) {
      for (std::size_t i = k + 1; i < rows_.size(); ++i) {
        rhs[at(rows_[i])] += lu(i, k) * rhs[at(rows_[k])];
      }
    }
    for (std::size_t k = rows_.size(); k-- > 0;) {
      T sum = rhs[at(rows_[k])];
      for (std::size_t j = k + 1; j < rows_.size(); ++j) sum += lu(k, j) * x[at(rows_[j])];
      x[at(rows_[k])] = sum / pivot_[k];
    }
    return x;
  }

  // z = start U: the expected time (visits, if discrete) in each live vertex, 0 elsewhere.
  [[nodiscard]] std::vector<T> sojourn() const {
    std::vector<T> y(at(n_)), z(at(n_));
    for (Index u = 0; u < n_; ++u) y[at(u)] = weight(0, u);
    for (std::size_t k = 0; k < rows_.size(); ++k) {
      for (std::size_t j = k + 1; j < rows_.size(); ++j) {
        y[at(rows_[j])] += y[at(rows_[k])] / pivot_[k] * lu(k, j);
      }
    }
    for (std::size_t k = rows_.size(); k-- > 0;) {
      T sum = y[at(rows_[k])] / pivot_[k];
      for (std::size_t i = k + 1; i < rows_.size(); ++i) sum += z[at(rows_[i])] * lu(i, k);
      z[at(rows_[k])] = sum;
    }
    return z;
  }

  [[nodiscard]] std::vector<T> absorption() const {
    const std::vector<T> z = sojourn();
    std::vector<T> result(at(n_));
    for (Index v = 1; v < n_; ++v) {
      if (!absorbing_[at(v)]) continue;
      result[at(v)] = weight(0, v);
      for (const Index u : rows_) result[at(v)] += z[at(u)] * weight(u, v);
    }
    return result;
  }

  // Raw moments 1..order of the accumulated reward r, (n_vertices).
  [[nodiscard]] std::vector<T> moments(const std::vector<T>& r, Index order) const {
    std::vector<T> result;
    std::vector<std::vector<T>> m(1, std::vector<T>(at(n_), T(1.0)));
    for (Index k = 1; k <= order; ++k) {
      m.push_back(solve(discrete_ ? discrete_rhs(r, m) : continuous_rhs(r, m)));
      T sum(0.0);
      for (const Index u : rows_) sum += weight(0, u) * m.back()[at(u)];
      result.push_back(sum);
    }
    return result;
  }

  // E[Y_r Y_s] by polarisation: ((Y_r + Y_s)^2 - (Y_r - Y_s)^2) / 4.
  [[nodiscard]] T cross_moment(const std::vector<T>& r, const std::vector<T>& s) const {
    std::vector<T> sum(r), difference(r);
    for (std::size_t u = 0; u < r.size(); ++u) {
      sum[u] = r[u] + s[u];
      difference[u] = r[u] - s[u];
    }
    return (moments(sum, 2)[1] - moments(difference, 2)[1]) / T(4.0);
  }

  // The largest |lambda_u x_u - sum_z w_uz x_z - r_u| relative to its own terms.
  [[nodiscard]] Quad residual(const std::vector<T>& x, const std::vector<T>& r) const {
    Quad worst = 0;
    for (const Index u : rows_) {
      Quad total = -primal(r[at(u)]), size = r[at(u)] < 0 ? -r[at(u)] : r[at(u)];
      for (Index v = 1; v < n_; ++v) {
        total += weight(u, v) * (x[at(u)] - x[at(v)]);
        size += weight(u, v) * (x[at(u)] + x[at(v)]);
      }
      const Quad ratio = (total < 0 ? -total : total) / size;
      worst = ratio > worst ? ratio : worst;
    }
    return worst;
  }

 private:
  [[nodiscard]] const T& weight(Index u, Index v) const { return weight_[at(u * n_ + v)]; }
  [[nodiscard]] const T& lu(std::size_t k, std::size_t j) const { return lu_[k * rows_.size() + j]; }

  void find_live() {
    std::vector<Index> stack;
    for (Index v = 1; v < n_; ++v) {
      if (absorbing_[at(v)]) stack.push_back(v);
    }
    while (!stack.empty()) {
      const Index v = stack.back();
      stack.pop_back();
      for (Index u = 1; u < n_; ++u) {
        if (!live_[at(u)] && primal(weight(u, v)) > 0) {
          live_[at(u)] = true;
          stack.push_back(u);
        }
      }
    }
    for (Index u = 1; u < n_; ++u) {
      if (live_[at(u)]) rows_.push_back(u);
    }
  }

  void factor() {
    const std::size_t n = rows_.size();
    lu_.resize(n * n);
    std::vector<T> exit(n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) lu_[i * n + j] = weight(rows_[i], rows_[j]);
      for (Index v = 1; v < n_; ++v) {
        if (!live_[at(v)]) exit[i] += weight(rows_[i], v);
      }
    }
    for (std::size_t k = 0; k < n; ++k) {
      T pivot = exit[k];
      for (std::size_t j = k + 1; j < n; ++j) pivot += lu(k, j);
      pivot_.push_back(pivot);
      for (std::size_t i = k + 1; i < n; ++i) {
        const T f = lu(i, k) / pivot;
        lu_[i * n + k] = f;
        exit[i] += f * exit[k];
        for (std::size_t j = k + 1; j < n; ++j) {
          if (j != i) lu_[i * n + j] += f * lu(k, j);
        }
      }
    }
  }

  [[nodiscard]] std::vector<T> continuous_rhs(const std::vector<T>& r,
                                              const std::vector<std::vector<T>>& m) const {
    std::vector<T> rhs(at(n_));
    const T order(static_cast<double>(m.size()));
    for (const Index u : rows_) rhs[at(u)] = order * r[at(u)] * m.back()[at(u)];
    return rhs;
  }

  [[nodiscard]] std::vector<T> discrete_rhs(const std::vector<T>& r,
                                            const std::vector<std::vector<T>>& m) const {
    std::vector<T> rhs(at(n_));
    for (const Index u : rows_) {
      double binomial = 1;  // C(m, l)
      for (std::size_t l = 0; l < m.size(); ++l) {
        T term = T(binomial) * after_step(m[l], u);
        for (std::size_t i = l; i < m.size(); ++i) term = term * r[at(u)];
        rhs[at(u)] += term;
        binomial = binomial * static_cast<double>(m.size() - l) / static_cast<double>(l + 1);
      }
    }
    return rhs;
  }

  // (P m)_u; what the row lacks to 1 is the probability to stay.
  [[nodiscard]] T after_step(const std::vector<T>& m, Index u) const {
    T stay(1.0), sum(0.0);
    for (Index v = 1; v < n_; ++v) {
      stay = stay - weight(u, v);
      sum += weight(u, v) * m[at(v)];
    }
    return sum + stay * m[at(u)];
  }

  Index n_;
  bool discrete_;
  std::vector<T> weight_;  // (n, n) without self loops
  std::vector<bool> absorbing_, live_;
  std::vector<Index> rows_;  // live vertices
  std::vector<T> lu_, pivot_;
};

}  // namespace oracle
