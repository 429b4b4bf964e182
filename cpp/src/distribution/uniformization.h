// Density, distribution function and transient behaviour of one lane block by uniformisation.
//
// 1. make_transition_layout() once a program and quantity; one Uniformization<T> a worker.
// 2. forward() evaluates all times in one sweep: A. Jensen (1953), with Poisson weights by Loader's
//    formula and truncation relative to each value. Subtraction-free: every entry is accurate to a
//    few units of rounding times q t, far tails included.
// 3. adjoint() reverses the sweep exactly. T may be a dual number: this gives jvp, Hessian-vector
//    products and so on.
// 4. Where derivatives in time are wanted the chain works in twice the precision: on stiff models
//    they are differences of flows that nearly balance.
// Memory: about 2 sqrt(steps) vectors for the adjoint, none that grows with the steps else.
#pragma once

#include "distribution/uniformization_discrete.h"
#include "distribution/uniformization_scalar.h"
#include "distribution/uniformization_vertex.h"

namespace phasic::PHASIC_ISA {

// What one lane block gives to a sweep. Lanes with numbers out of range (not finite, a negative
// time, q t above 2^31 - 1) get NaN and do not disturb the others.
template <class T>
struct UniformizationInput {
  // (n_out) rates, or probabilities if discrete; >= 0. Equal where Program::out_coef and out_param are.
  Span<const T> edge;
  Span<const T> start;  // (n_start) start probabilities
  Span<const T> times;  // (n_times); whole numbers if discrete, whose derivative parts are ignored
  double truncation = 1e-14;  // bound of what is left out, relative to each value
  int time_levels = 0;        // how many levels of T may be derivative parts of times
  bool keep_edges = false;    // adjoint() will be asked for edge_bar and start_bar
  bool keep_times = false;    // ... for times_bar
};

// Buffers grow to what was needed so far and are reused; copies of this object share nothing.
template <class T>
class Uniformization {
 public:
  using Base = typename Traits<T>::Base;

  // layout outlives the calls that follow.
  void prepare(const TransitionLayout& layout) { layout_ = &layout; }

  // Results are out * 2^exponent. out: (n_times), or (n_times, n_vertices) for state_probability
  // and accumulated_occupancy, which have no exponent (empty span). exponent: (n_times) whole
  // numbers a lane, constant for differentiation, 0 wherever the result is above 2^-900.
  //   log of a result = log(out) + exponent * ln 2.
  void forward(const UniformizationInput<T>& in, Span<T> out, Span<Base> exponent) {
    if (layout_->discrete) {
      discrete_.forward(*layout_, in.edge, in.start, in.times, in.keep_edges, out, exponent);
      return;
    }
    precise_ = in.time_levels > 0 || in.keep_times;
    if (layout_->by_vertex()) {
      with(vertex_, precise_vertex_, [&](auto& sweep) {
        sweep.forward(*layout_, in.edge, in.start, in.times, in.truncation, in.time_levels,
                      in.keep_edges, in.keep_times, out);
      });
    } else {
      with(scalar_, precise_scalar_, [&](auto& sweep) {
        sweep.forward(*layout_, in.edge, in.start, in.times, in.truncation, in.time_levels,
                      in.keep_edges, in.keep_times, out, exponent);
      });
    }
  }

  // Adds the times whose result of the last forward in a lane may lack what underflowed in vectors.
  // relative: also where only a logarithm or a quotient would show it. The others are right.
  void find_lost(int lane_index, bool relative, std::vector<Index>& times) const {
    if (layout_->discrete) {
      discrete_.find_lost(lane_index, relative, times);
    } else if (precise_) {
      precise_scalar_.find_lost(lane_index, relative, times);
    } else {
      scalar_.find_lost(lane_index, relative, times);
    }
  }
  // Had the last adjoint to cut off numbers in a lane? Its results are then not to be used.
  [[nodiscard]] bool cut_off(int lane_index) const {
    return layout_->discrete ? discrete_.cut_off(lane_index)
           : precise_        ? precise_scalar_.cut_off(lane_index)
                             : scalar_.cut_off(lane_index);
  }

  // Adjoint of the last forward; everything is added to. out_bar belongs to `out`, exponents being
  // constants (for the result itself: its cotangent times 2^exponent; for its logarithm: divided by
  // out). edge_bar and start_bar need keep_edges, times_bar keep_times; else they are empty.
  void adjoint(Span<const T> out_bar, Span<T> edge_bar, Span<T> start_bar, Span<T> times_bar) {
    if (layout_->discrete) {
      if (!edge_bar.empty() || !start_bar.empty()) {
        discrete_.adjoint(out_bar, edge_bar, start_bar);
      }
    } else {
      const auto reverse = [&](auto& sweep) {
        sweep.adjoint(out_bar, edge_bar, start_bar, times_bar);
      };
      if (layout_->by_vertex()) {
        with(vertex_, precise_vertex_, reverse);
      } else {
        with(scalar_, precise_scalar_, reverse);
      }
    }
  }

 private:
  template <class Sweep, class PreciseSweep, class F>
  void with(Sweep& sweep, PreciseSweep& precise, F&& f) {
    if (precise_) {
      f(precise);
    } else {
      f(sweep);
    }
  }

  const TransitionLayout* layout_ = nullptr;
  bool precise_ = false;
  ScalarSweep<T, T> scalar_;
  ScalarSweep<T, Precise<T>> precise_scalar_;
  VertexSweep<T, T> vertex_;
  VertexSweep<T, Precise<T>> precise_vertex_;
  DiscreteSweep<T> discrete_;
};

}  // namespace phasic::PHASIC_ISA
