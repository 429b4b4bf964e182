// The lanes of a block that squaring evaluates: each by itself, in planes of doubles.
//
// A lane's numbers with their derivative parts become planes; the gradient that will be asked for
// is computed forward along with the value, so that nothing of it depends on how stiff the row is.
#pragma once

#include "distribution/density_plan.h"
#include "distribution/forward_slopes.h"
#include "distribution/squaring.h"
#include "distribution/traps.h"

namespace phasic::PHASIC_ISA {

template <class T>
class SquaredRows {
 public:
  static constexpr Index kPlanes = Index{1} << Traits<T>::levels;

  void resize(const Program& program, const Request& request,
              const detail::TransitionLayout& layout, Index output_size) {
    program_ = &program;
    request_ = &request;
    layout_ = &layout;
    output_size_ = output_size;
    n_directions_ = detail::density_sizes(program, request).directions;
    at_a_time_ = detail::directions_at_a_time(program, request);
    slopes_.resize(request, n_directions_, output_size);
  }

  // Evaluates lane i; edge, start, times as the sweep gets them. Returns false where the result of
  // a logarithm is out of the range in which it is exact.
  bool run(int i, Span<const T> edge, Span<const T> start, Span<const T> times, Span<T> out,
           std::vector<typename Traits<T>::Base>& exponent) {
    std::vector<double>& slopes = slopes_.clear(i);
    load_times(i, times);
    for (Index first = 0; first == 0 || first < n_directions_; first += at_a_time_) {
      const Index count = std::min(at_a_time_, n_directions_ - first);  // 0 for a value alone
      const JetAlgebra algebra(Traits<T>::levels, count);
      load(i, edge, edge_, algebra, first,
           [&](Index e, auto&& add) { edge_slopes(program_->out_edge[at(e)], add); });
      load(i, start, start_, algebra, first,
           [&](Index s, auto&& add) { edge_slopes(program_->start_edge[at(s)], add); });
      input_.program = program_;
      input_.layout = layout_;
      input_.algebra = &algebra;
      input_.edge = edge_;
      input_.start = start_;
      input_.time_direction = request_->gradient == static_cast<int>(Part::times);
      out_.resize(at(algebra.n_planes() * output_size_));
      exponent_.resize(at(request_->n_times));
      squaring_.forward(input_, out_, exponent_);
      std::copy(out_.begin() + kPlanes * output_size_, out_.end(),
                slopes.begin() + first * kPlanes * output_size_);
    }
    for (Index s = 0; s < kPlanes; ++s) {
      for (Index o = 0; o < output_size_; ++o) {
        set_plane(out[o], s, i, out_[at(s * output_size_ + o)]);
      }
    }
    for (Index t = 0; t < ssize(exponent); ++t) {
      set_lane(exponent[at(t)], i, exponent_[at(t)]);
    }
    return request_->quantity != Quantity::logpdf || logarithms_exact();
  }

  // What the gradient needs of the lanes that were run.
  [[nodiscard]] const ForwardSlopes<T>& slopes() const { return slopes_; }

 private:
  // Numbers of lane i with the slopes along `count` directions from `first`: (n_planes, size).
  template <class Slopes>
  void load(int i, Span<const T> from, std::vector<double>& to, const JetAlgebra& algebra, Index first,
            Slopes slopes) const {
    to.assign(at(algebra.n_planes() * from.size()), 0.0);
    for (Index e = 0; e < from.size(); ++e) {
      for (Index s = 0; s < kPlanes; ++s) {
        to[at(s * from.size() + e)] = plane_of(from[e], s, i);
      }
      if (request_->gradient == static_cast<int>(Part::theta)) {
        slopes(e, [&](Index parameter, double slope) {
          const Index m = parameter - first;
          if (m >= 0 && algebra.plane(m, 0) < algebra.n_planes()) {
            to[at(algebra.plane(m, 0) * from.size() + e)] += slope;
          }
        });
      }
    }
  }

  // What an edge of the graph says about theta.
  template <class Add>
  void edge_slopes(Index edge, Add&& add) const {
    const Graph& g = *program_->graph;
    for (Index c = g.coef_begin[at(edge)]; c < g.coef_begin[at(edge + 1)]; ++c) {
      add(g.coef_param[at(c)], g.coef_value[at(c)]);
    }
  }

  void load_times(int i, Span<const T> times) {
    const Index n_levels = Traits<T>::levels, n_times = times.size();
    times_.resize(at(n_times));
    tangents_.resize(at(n_levels * n_times));
    for (Index t = 0; t < n_times; ++t) {
      times_[at(t)] = lane(primal(times[t]), i);
      for (Index level = 0; level < n_levels; ++level) {
        tangents_[at(level * n_times + t)] = plane_of(times[t], Index{1} << level, i);
      }
    }
    input_.times = times_;
    input_.time_tangent.resize(at(n_levels));
    for (Index level = 0; level < n_levels; ++level) {
      if (request_->levels[at(level)] == Part::times) {
        input_.time_tangent[at(level)] = Span<const double>(tangents_).subspan(level * n_times, n_times);
      }
    }
  }

  // Numbers below this, in units of the largest exit rate, may have lost what underflowed.
  static constexpr double kLeastMantissa = 1e-280, kLeastNormal = 1e-290;

  // Small densities at t > 0 are right only if they are exactly 0: nothing that is reached exits.
  [[nodiscard]] bool logarithms_exact() const {
    double largest_exit = 0;
    for (const std::int32_t e : layout_->exit_out) {
      largest_exit = std::max(largest_exit, edge_[at(e)]);
    }
    bool exact = true;
    const double least = std::max(kLeastMantissa * largest_exit, kLeastNormal);
    for (Index t = 0; t < ssize(times_); ++t) {
      exact = exact && (times_[at(t)] == 0 || out_[at(t)] >= least);
    }
    if (exact) {
      return true;
    }
    const detail::Traps traps = detail::find_traps(
        *program_, Span<const double>(start_).subspan(0, ssize(program_->start_edge)),
        Span<const double>(edge_).subspan(0, layout_->n_out));
    for (Index k = 0; k < program_->n_positions; ++k) {
      if (traps.reached[at(k)] && traps.absorbs[at(k)]) {
        return false;
      }
    }
    return true;
  }

  const Program* program_ = nullptr;
  const Request* request_ = nullptr;
  const detail::TransitionLayout* layout_ = nullptr;
  Index output_size_ = 0, n_directions_ = 0, at_a_time_ = 1;
  Squaring squaring_;
  SquaringInput input_;
  std::vector<double> edge_, start_, times_, tangents_, out_, exponent_;
  ForwardSlopes<T> slopes_;
};

}  // namespace phasic::PHASIC_ISA
