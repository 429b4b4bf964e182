// The lanes of a block that Krylov spaces evaluate: each by itself.
//
// A lane has a space for its values, with the directions of the levels in theta, and one more for each
// entry of a gradient in theta. Derivatives in t come with any of them.
#pragma once

#include <algorithm>
#include <vector>

#include "distribution/forward_slopes.h"
#include "distribution/krylov.h"

namespace phasic::PHASIC_ISA {

template <class T>
class KrylovRows {
 public:
  static constexpr int kLanes = Traits<T>::lanes;
  static constexpr Index kPlanes = Index{1} << Traits<T>::levels;

  void resize(const Program& program, const Request& request) {
    program_ = &program;
    request_ = &request;
    by_theta_ = request.gradient == static_cast<int>(Part::theta);
    by_times_ = request.gradient == static_cast<int>(Part::times);
    n_directions_ = by_theta_ ? program.graph->param_length : by_times_ ? 1 : 0;
    slopes_.resize(request, n_directions_, request.n_times);
    run_row_ = phasic::detail::krylov_function(request.kernel);
  }

  // Evaluates lane i, at best; write() takes what is wanted of it.
  const phasic::detail::KrylovReport& run(int i, Span<const T> theta, Span<const T> times) {
    load(i, theta, times);
    report_ = {};
    report_.converged = true;
    report_.weak.assign(times_.size(), 0);
    run_all(i, times);
    return report_;
  }
  // The times of the lane that was run last.
  [[nodiscard]] Span<const double> times() const { return times_; }

  // Results at some times; the slopes at the others are forgotten.
  void write(int i, const std::vector<char>& wanted, Span<T> out) {
    for (Index o = 0; o < out.size(); ++o) {
      if (wanted[at(o)] == 0) {
        slopes_.drop(i, o);
        continue;
      }
      for (Index s = 0; s < kPlanes; ++s) {
        set_plane(out[o], s, i, value_[i][at(s * out.size() + o)]);
      }
    }
  }

  [[nodiscard]] const ForwardSlopes<T>& slopes() const { return slopes_; }

 private:
  [[nodiscard]] bool is_of_use() const {
    const std::vector<char>& weak = report_.weak;
    return request_->density == DensityMethod::krylov
               ? report_.converged
               : std::find(weak.begin(), weak.end(), 0) != weak.end();
  }

  void run_all(int i, Span<const T> times) {
    value_[i].assign(at(kPlanes * request_->n_times), 0.0);
    std::vector<double>& slopes = slopes_.clear(i);
    const Index n_levels = ssize(theta_levels_);
    if (request_->value || !by_theta_) {
      run_row(n_levels, ssize(time_levels_) + (by_times_ ? 1 : 0));
      collect(times, i, 0, 0, value_[i].data());
      if (by_times_) {
        collect(times, i, 0, 1, slopes.data());
      }
    }
    for (Index m = 0; m < n_directions_ && by_theta_ && is_of_use(); ++m) {
      double* const seed = theta_.data() + (1 + n_levels) * program_->graph->param_length;
      std::fill(seed, seed + program_->graph->param_length, 0.0);
      seed[m] = 1.0;
      run_row(n_levels + 1, ssize(time_levels_));
      collect(times, i, Index{1} << n_levels, 0, slopes.data() + m * kPlanes * request_->n_times);
    }
  }

  // theta_: values, the tangents of the levels that are in theta, and room for one more.
  void load(int i, Span<const T> theta, Span<const T> times) {
    theta_levels_.clear();
    time_levels_.clear();
    for (int level = 0; level < Traits<T>::levels; ++level) {
      (request_->levels[at(level)] == Part::theta ? theta_levels_ : time_levels_).push_back(level);
    }
    theta_.assign(at((2 + ssize(theta_levels_)) * theta.size()), 0.0);
    for (Index p = 0; p < theta.size(); ++p) {
      theta_[at(p)] = plane_of(theta[p], 0, i);
      for (Index l = 0; l < ssize(theta_levels_); ++l) {
        theta_[at((1 + l) * theta.size() + p)] = plane_of(theta[p], Index{1} << theta_levels_[at(l)], i);
      }
    }
    times_.resize(at(times.size()));
    for (Index t = 0; t < times.size(); ++t) {
      times_[at(t)] = plane_of(times[t], 0, i);
    }
  }

  void run_row(Index n_levels, Index time_order) {
    phasic::detail::KrylovInput in;
    in.program = program_;
    in.quantity = request_->quantity;
    in.n_levels = n_levels;
    in.theta = Span<const double>(theta_).subspan(0, (1 + n_levels) * program_->graph->param_length);
    in.times = times_;
    in.time_order = time_order;
    in.own_digits = request_->density != DensityMethod::krylov;
    parts_ = Index{1} << n_levels;
    found_.resize(at((time_order + 1) * parts_ * request_->n_times));
    const phasic::detail::KrylovReport report = run_row_(in, found_);
    report_.converged = report_.converged && report.converged;
    for (Index t = 0; t < request_->n_times; ++t) {
      report_.weak[at(t)] = static_cast<char>(report_.weak[at(t)] | report.weak[at(t)]);
    }
  }

  // Planes (planes, n_times) of what was found: the part of the levels in theta and of `parts`, derived
  // in t once for every level of times, and `more` times.
  void collect(Span<const T> times, int i, Index parts, Index more, double* planes) const {
    const Index n_times = request_->n_times;
    for (Index s = 0; s < kPlanes; ++s) {
      Index order = more, from = parts;
      for (Index l = 0; l < ssize(theta_levels_); ++l) {
        from |= (s >> theta_levels_[at(l)] & 1) << l;
      }
      for (const int level : time_levels_) {
        order += s >> level & 1;
      }
      for (Index t = 0; t < n_times; ++t) {
        double x = found_[at((order * parts_ + from) * n_times + t)];
        for (const int level : time_levels_) {
          x *= (s >> level & 1) != 0 ? plane_of(times[t], Index{1} << level, i) : 1.0;
        }
        planes[s * n_times + t] = x;
      }
    }
  }

  const Program* program_ = nullptr;
  const Request* request_ = nullptr;
  phasic::detail::KrylovFunction run_row_ = nullptr;
  bool by_theta_ = false, by_times_ = false;
  Index n_directions_ = 0, parts_ = 1;
  std::vector<int> theta_levels_, time_levels_;
  std::vector<double> theta_, times_, found_;
  std::vector<double> value_[kLanes];  // (planes, n_times)
  phasic::detail::KrylovReport report_;
  ForwardSlopes<T> slopes_;
};

}  // namespace phasic::PHASIC_ISA
