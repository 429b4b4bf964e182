// What can be wrong with one parameter vector, decided lane by lane from the evaluated weights.
#pragma once

#include <cmath>
#include <vector>

#include "distribution/traps.h"
#include "kernel/elimination.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kSumTolerance = 1e-12;  // how far probabilities may exceed 1 by rounding
inline constexpr double kPivotLimit = 1e290;    // beyond it reciprocals leave the double range

// Row statuses of the lanes of one block. Works on primal values only.
template <class T>
class RowCheck {
 public:
  using Base = typename Traits<T>::Base;
  static constexpr int kLanes = Traits<T>::lanes;

  RowStatus status[kLanes];
  Index n_rows = kLanes;  // lanes past it repeat the last row

  void begin(Index rows = kLanes) {
    n_rows = rows;
    std::fill(status, status + kLanes, RowStatus::ok);
    for (int i = 0; i < kLanes; ++i) {
      trapped_[i].clear();
      way_in_[i].clear();
      way_out_[i].clear();
    }
  }

  void require_finite(const T* values, Index count) {
    Base total(0.0);
    for (Index i = 0; i < count; ++i) {
      total += primal(values[i]) * 0.0;  // 0, or NaN once anything is not finite
    }
    mark(total, RowStatus::not_finite, [](double x) { return x != 0; });
  }

  // After set_theta. all_edges: look at every weight even where signs cannot go wrong.
  void require_weights(const Program& program, const Weights<T>& weights, Span<const T> theta,
                       bool all_edges) {
    Base sum(0.0), least(0.0);
    for (const T& w : weights.start) {
      require_weight(primal(w));
      sum += primal(w);
    }
    mark(sum, RowStatus::start_exceeds_one, [](double x) { return !(x <= 1 + kSumTolerance); });
    for (const T& x : theta) {
      least = -elementwise_max(-least, -primal(x));
    }
    bool may_be_negative = program.has_negative_coef;
    for (int i = 0; i < kLanes; ++i) {
      may_be_negative = may_be_negative || lane(least, i) < 0;
    }
    if (may_be_negative || all_edges || program.graph->discrete) {
      for (Index k = 0; k < program.n_positions; ++k) {
        require_row(program, weights, k);
      }
    }
  }

  // After all factor(): separates lanes whose pivots are all ordinary from those that need a search.
  void find_traps(const Program& program, const Elimination<T>& elimination,
                  Span<const T> theta) {
    for (int i = 0; i < kLanes; ++i) {
      const bool ordinary = lane(elimination.pivots.least_inverse, i) >= 1 / kPivotLimit &&
                            lane(elimination.pivots.largest_inverse, i) <= kPivotLimit;
      if (status[i] == RowStatus::ok && (!ordinary || program.structural_trap)) {
        classify(program, theta, i);
      }
    }
  }

  // Positions of this lane that the start reaches and that cannot reach absorption.
  [[nodiscard]] const std::vector<std::int32_t>& trapped(int i) const { return trapped_[at(i)]; }
  // Parameters that would open a way into a trap, or out of one, see Traps.
  [[nodiscard]] const std::vector<std::int32_t>& way_in(int i) const { return way_in_[i]; }
  [[nodiscard]] const std::vector<std::int32_t>& way_out(int i) const { return way_out_[i]; }

 private:
  template <class Fails>
  void mark(const Base& value, RowStatus fault, Fails fails) {
    for (int i = 0; i < kLanes; ++i) {
      if (status[i] == RowStatus::ok && fails(lane(value, i))) {
        status[i] = fault;
      }
    }
  }

  void require_weight(const Base& w) {
    mark(w * 0.0, RowStatus::not_finite, [](double x) { return x != 0; });
    mark(w, RowStatus::negative_weight, [](double x) { return x < 0; });
  }

  void require_row(const Program& program, const Weights<T>& weights, Index k) {
    Base sum(0.0);
    for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
      const Base w = primal(weights.weight(e));
      require_weight(w);
      sum += w;
    }
    if (program.self_edge[at(k)] >= 0) {
      const Base w = primal(weights.graph_weight(program.self_edge[at(k)]));
      require_weight(w);
      sum += w;
    }
    if (program.graph->discrete) {
      mark(sum, RowStatus::row_exceeds_one, [](double x) { return !(x <= 1 + kSumTolerance); });
    }
  }

  // Graph search on the positive weights of lane i, scalar; rare.
  void classify(const Program& program, Span<const T> theta, int i) {
    std::vector<double> scalar;
    for (const T& x : theta) {
      scalar.push_back(lane(primal(x), i));
    }
    Elimination<double> elimination;
    elimination.resize(program, Keep::all, false);
    elimination.set_theta(scalar);
    elimination.factor_all();
    std::vector<double> weight(program.out_edge.size());
    for (Index e = 0; e < ssize(weight); ++e) {
      weight[at(e)] = elimination.weights.weight(e);
      if (!std::isfinite(weight[at(e)])) {
        status[i] = RowStatus::not_finite;
        return;
      }
    }
    const detail::Traps traps = detail::find_traps(program, elimination.weights.start, weight);
    way_in_[i] = traps.way_in;
    way_out_[i] = traps.way_out;
    for (Index k = 0; k < program.n_positions; ++k) {
      const double inverse = elimination.inverse(k);
      if (traps.reached[at(k)] && !traps.absorbs[at(k)]) {
        trapped_[at(i)].push_back(static_cast<std::int32_t>(k));
      } else if (traps.reached[at(k)] &&
                 !(inverse >= 1 / kPivotLimit && inverse <= kPivotLimit)) {
        status[i] = RowStatus::out_of_range;
      }
    }
  }

  std::vector<std::int32_t> trapped_[kLanes];
  std::vector<std::int32_t> way_in_[kLanes], way_out_[kLanes];
};

}  // namespace phasic::PHASIC_ISA
