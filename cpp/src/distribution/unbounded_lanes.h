// The lanes of a block whose results need numbers without bounds: each by itself, some of its times.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "distribution/planes.h"
#include "distribution/unbounded_rows.h"
#include "distribution/uniformization_scale.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

template <class T>
class UnboundedLanes {
 public:
  using Base = typename Traits<T>::Base;
  static constexpr Index kPlanes = Index{1} << Traits<T>::levels;

  void resize(const Request& request, const detail::TransitionLayout& layout) {
    request_ = &request;
    input_.layout = &layout;
    input_.levels = Traits<T>::levels;
    input_.truncation = request.truncation;
    input_.time_levels = static_cast<int>(
        std::count(request.levels.begin(), request.levels.end(), Part::times));
  }

  // Evaluates lane i at the times of which `which` has the numbers; out and exponent as the sweep's.
  // False if that is predicted to exceed the budget.
  bool run(int i, const std::vector<Index>& which, Span<const T> edge, Span<const T> start,
           Span<const T> times, Span<T> out, std::vector<Base>& exponent) {
    load(i, which, edge, start, times);
    if (!within_budget()) {
      return false;
    }
    const Index n = ssize(which);
    out_.resize(at(kPlanes * n));
    exponent_.resize(at(n));
    row_.forward(input_, out_, exponent_);
    for (Index t = 0; t < n; ++t) {
      for (Index s = 0; s < kPlanes; ++s) {
        set_plane(out[which[at(t)]], s, i, out_[at(s * n + t)]);
      }
      set_lane(exponent[at(which[at(t)])], i, exponent_[at(t)]);
    }
    return true;
  }

  // Adds the adjoint of those times; NaN if that is predicted to exceed the budget. edge_bar and
  // start_bar: both or none are empty.
  void reverse(int i, const std::vector<Index>& which, Span<const T> edge, Span<const T> start,
               Span<const T> times, Span<const T> out_bar, const std::vector<Base>& exponent,
               Span<T> edge_bar, Span<T> start_bar, Span<T> times_bar) {
    load(i, which, edge, start, times);
    pick(i, which, out_bar, out_bar_);
    exponent_.clear();
    for (const Index t : which) {
      exponent_.push_back(lane(exponent[at(t)], i));
    }
    edge_bar_.assign(at(kPlanes * edge_bar.size()), 0.0);
    start_bar_.assign(at(kPlanes * start_bar.size()), 0.0);
    times_bar_.assign(times_bar.empty() ? 0 : at(kPlanes * ssize(which)), 0.0);
    if (within_budget()) {
      row_.adjoint(input_, out_bar_, exponent_, edge_bar_, start_bar_, times_bar_);
    } else {
      for (std::vector<double>* x : {&edge_bar_, &start_bar_, &times_bar_}) {
        std::fill(x->begin(), x->end(), std::numeric_limits<double>::quiet_NaN());
      }
    }
    for (Index s = 0; s < kPlanes; ++s) {
      add(i, s, edge_bar_, edge_bar);
      add(i, s, start_bar_, start_bar);
      for (Index t = 0; t < ssize(which) && !times_bar.empty(); ++t) {
        T& bar = times_bar[which[at(t)]];
        set_plane(bar, s, i, plane_of(bar, s, i) + times_bar_[at(s * ssize(which) + t)]);
      }
    }
  }

 private:
  static void pick(int i, const std::vector<Index>& which, Span<const T> from,
                   std::vector<double>& planes) {
    planes.clear();
    for (Index s = 0; s < kPlanes; ++s) {
      for (const Index t : which) {
        planes.push_back(plane_of(from[t], s, i));
      }
    }
  }
  static void spread(int i, Span<const T> from, std::vector<double>& planes) {
    planes.clear();
    for (Index s = 0; s < kPlanes; ++s) {
      for (const T& x : from) {
        planes.push_back(plane_of(x, s, i));
      }
    }
  }
  static void add(int i, Index s, const std::vector<double>& planes, Span<T> to) {
    for (Index e = 0; e < to.size(); ++e) {
      set_plane(to[e], s, i, plane_of(to[e], s, i) + planes[at(s * to.size() + e)]);
    }
  }

  void load(int i, const std::vector<Index>& which, Span<const T> edge, Span<const T> start,
            Span<const T> times) {
    spread(i, edge, edge_);
    spread(i, start, start_);
    pick(i, which, times, times_);
    input_.edge = edge_;
    input_.start = start_;
    input_.times = times_;
  }

  [[nodiscard]] bool within_budget() const {
    return detail::predicted_unbounded_operations(input_) <= request_->max_operations;
  }

  const Request* request_ = nullptr;
  detail::UnboundedInput input_;
  detail::UnboundedRow row_;
  std::vector<double> edge_, start_, times_, out_, exponent_;
  std::vector<double> out_bar_, edge_bar_, start_bar_, times_bar_;
};

}  // namespace phasic::PHASIC_ISA
