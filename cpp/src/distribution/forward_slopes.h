// Gradients that are computed forward, lane by lane: one slope of every output a direction.
#pragma once

#include <vector>

#include "distribution/planes.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

template <class T>
class ForwardSlopes {
 public:
  static constexpr int kLanes = Traits<T>::lanes;
  static constexpr Index kPlanes = Index{1} << Traits<T>::levels;

  void resize(const Request& request, Index n_directions, Index output_size) {
    by_theta_ = request.gradient == static_cast<int>(Part::theta);
    n_directions_ = n_directions;
    output_size_ = output_size;
    width_ = request.n_times > 0 ? output_size / request.n_times : 1;
  }

  // The slopes of lane i, (n_directions, planes, output_size), all 0. If the gradient is in times, the
  // one direction is each output's own time.
  std::vector<double>& clear(int i) {
    slope_[i].assign(at(n_directions_ * kPlanes * output_size_), 0.0);
    return slope_[i];
  }

  // Forgets those of output o of lane i.
  void drop(int i, Index o) {
    for (Index s = 0; s < n_directions_ * kPlanes; ++s) {
      slope_[i][at(s * output_size_ + o)] = 0.0;
    }
  }

  // Adds the gradient of <out_bar, out> in lane i: what the top parts say.
  void add_gradient(int i, Span<const T> out_bar, std::vector<T>& theta_bar, Span<T> times_bar) const {
    for (Index o = 0; o < output_size_; ++o) {
      for (Index m = 0; m < n_directions_; ++m) {
        add_top(by_theta_ ? theta_bar[at(m)] : times_bar[o / width_], i, out_bar[o], m, o);
      }
    }
  }

 private:
  // The top part of out_bar times the slope of output o along direction m.
  void add_top(T& sum, int i, const T& out_bar, Index m, Index o) const {
    double top_part = 0;
    for (Index s = 0; s < kPlanes; ++s) {
      const double slope = slope_[i][at((m * kPlanes + (kPlanes - 1 - s)) * output_size_ + o)];
      const double bar = plane_of(out_bar, s, i);
      top_part += bar == 0 ? 0.0 : bar * slope;
    }
    set_plane(sum, kPlanes - 1, i, plane_of(sum, kPlanes - 1, i) + top_part);
  }

  bool by_theta_ = true;
  Index n_directions_ = 0, output_size_ = 0, width_ = 1;
  std::vector<double> slope_[kLanes];
};

}  // namespace phasic::PHASIC_ISA
