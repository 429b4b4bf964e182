// A model at one parameter vector as its Krylov spaces need it: theta with tangents in units that keep all
// parts of a vector of about one size, and vectors over positions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

template <class T>
class KrylovModel {
 public:
  static constexpr Index kParts = Index{1} << Traits<T>::levels;

  // theta: (1 + levels, param_length), values and tangents. These are divided by the relative change of
  // rates that they cause, the inverse of `longest` being a rate.
  void load(const Program& program, Span<const double> theta, double longest) {
    program_ = &program;
    given_ = theta;
    weights_.resize(program, false);
    unit_.assign(at(Traits<T>::levels), 1.0);
    theta_.assign(at(program.graph->param_length), T(0.0));
    fill_theta();
    for (int level = 0; level < Traits<T>::levels; ++level) {
      const double change = largest_change(Index{1} << level, longest);
      unit_[at(level)] = change > 0 && std::isfinite(change) ? std::exp2(std::ilogb(change)) : 1.0;
    }
    fill_theta();
  }

  // Slow modes may depend far more on theta than rates do. results: (parts, n). False if first
  // derivatives show nothing of it.
  bool raise_units(Span<const double> results) {
    const Index n = results.size() / kParts;
    const auto largest = [&](Index parts) {
      double found = 0;
      for (Index i = 0; i < n; ++i) {
        found = std::max(found, std::fabs(results[parts * n + i]));
      }
      return found;
    };
    bool raised = false;
    for (int level = 0; level < Traits<T>::levels; ++level) {
      const double change = largest(Index{1} << level) / largest(0);
      if (std::isfinite(change) && change > 2 * unit_[at(level)]) {
        unit_[at(level)] = std::exp2(std::ilogb(change));
        raised = true;
      }
    }
    fill_theta();
    return raised;
  }

  [[nodiscard]] const std::vector<T>& theta() const { return theta_; }
  // What the tangents of the levels in `parts` were divided by.
  [[nodiscard]] double unit(Index parts) const {
    double product = 1;
    for (int level = 0; level < Traits<T>::levels; ++level) {
      product *= (parts >> level & 1) != 0 ? unit_[at(level)] : 1.0;
    }
    return product;
  }

  [[nodiscard]] static double part(const T& x, Index parts) {
    double all[kParts];
    std::memcpy(all, &x, sizeof(T));
    return all[parts];
  }

  [[nodiscard]] std::vector<T> exits() const {
    const Program& p = *program_;
    std::vector<T> s(at(p.n_positions), T(0.0));
    for (Index k = 0; k < p.n_positions; ++k) {
      for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
        if (p.out_target[at(e)] < 0) {
          s[at(k)] += weights_.weight(e);
        }
      }
    }
    return s;
  }

  // S x
  [[nodiscard]] std::vector<T> generated(const std::vector<T>& x) const {
    const Program& p = *program_;
    std::vector<T> y(x.size(), T(0.0));
    for (Index k = 0; k < p.n_positions; ++k) {
      for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
        const Index target = p.out_target[at(e)];
        const T w = weights_.weight(e);
        y[at(k)] += w * (target >= 0 ? x[at(target)] - x[at(k)] : -x[at(k)]);
      }
    }
    return y;
  }

  [[nodiscard]] T started(const std::vector<T>& x) const {
    T sum(0.0);
    for (Index k = 0; k < ssize(x); ++k) {
      sum += start_[at(k)] * x[at(k)];
    }
    return sum;
  }

 private:
  void fill_theta() {
    const Index n_theta = ssize(theta_);
    for (Index p = 0; p < n_theta; ++p) {
      theta_[at(p)] = T(given_[p]);
      for (int level = 0; level < Traits<T>::levels; ++level) {
        add_tangent(theta_[at(p)], level, given_[(1 + level) * n_theta + p] / unit_[at(level)]);
      }
    }
    weights_.set_theta(theta_);
    load_start();
  }

  void load_start() {
    const Program& p = *program_;
    start_.assign(at(p.n_positions), T(0.0));
    for (Index s = 0; s < ssize(p.start_target); ++s) {
      if (p.start_target[at(s)] >= 0) {
        start_[at(p.start_target[at(s)])] += weights_.start[at(s)];
      }
    }
  }

  [[nodiscard]] double largest_change(Index parts, double longest) const {
    const Program& p = *program_;
    double largest = 0;
    for (const T& w : weights_.start) {
      largest = std::max(largest, std::fabs(part(w, parts)));
    }
    for (Index k = 0; k < p.n_positions; ++k) {
      double rate = longest > 0 ? 1 / longest : 1.0, change = 0;
      for (Index e = p.out_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
        rate += primal(weights_.weight(e));
        change = std::max(change, std::fabs(part(weights_.weight(e), parts)));
      }
      largest = std::max(largest, change / rate);
    }
    return largest;
  }

  const Program* program_ = nullptr;
  Span<const double> given_;
  Weights<T> weights_;
  std::vector<double> unit_;  // (levels) of the tangents
  std::vector<T> theta_, start_;
};

}  // namespace phasic::PHASIC_ISA
