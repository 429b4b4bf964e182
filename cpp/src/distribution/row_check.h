// What can be wrong with one parameter vector, decided lane by lane from the evaluated weights.
#pragma once

#include <cmath>
#include <vector>

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

  void begin() { std::fill(status, status + kLanes, RowStatus::ok); }

  void require_finite(const T* values, Index count) {
    Base total(0.0);
    for (Index i = 0; i < count; ++i) {
      total += primal(values[i]) * 0.0;  // 0, or NaN once anything is not finite
    }
    mark(total, RowStatus::not_finite, [](double x) { return x != 0; });
  }

  void require_weights(const Program& program, const Elimination<T>& elimination,
                       Span<const T> theta) {
    require_non_negative(elimination.edge);
    require_non_negative(elimination.start);
    Base sum(0.0);
    for (const T& w : elimination.start) {
      sum += primal(w);
    }
    mark(sum, RowStatus::start_exceeds_one, [](double x) { return !(x <= 1 + kSumTolerance); });
    for (Index k = 0; k < program.n_positions; ++k) {
      if (program.graph->discrete || program.self_edge[at(k)] >= 0) {
        require_row(program, elimination, theta, k);
      }
    }
  }

  // After factor(): separates lanes whose pivots are all ordinary from those that need a closer look.
  void find_traps(const Program& program, const Elimination<T>& elimination) {
    Base largest(0.0), smallest(1.0);
    for (const T& inverse : elimination.inverse) {
      largest = elementwise_max(largest, primal(inverse));
      smallest = -elementwise_max(-smallest, -primal(inverse));
    }
    for (int i = 0; i < kLanes; ++i) {
      const bool ordinary = lane(smallest, i) >= 1 / kPivotLimit && lane(largest, i) <= kPivotLimit;
      trapped_[at(i)].clear();
      if (status[i] == RowStatus::ok && (!ordinary || program.structural_trap)) {
        classify(program, elimination, i);
      }
    }
  }

  // Positions of this lane that the start reaches and that cannot reach absorption.
  [[nodiscard]] const std::vector<std::int32_t>& trapped(int i) const { return trapped_[at(i)]; }

 private:
  template <class Fails>
  void mark(const Base& value, RowStatus fault, Fails fails) {
    for (int i = 0; i < kLanes; ++i) {
      if (status[i] == RowStatus::ok && fails(lane(value, i))) {
        status[i] = fault;
      }
    }
  }

  void require_non_negative(const std::vector<T>& weights) {
    Base largest(0.0), unbounded(0.0);
    for (const T& w : weights) {
      largest = elementwise_max(largest, -primal(w));
      unbounded += primal(w) * 0.0;
    }
    mark(unbounded, RowStatus::not_finite, [](double x) { return x != 0; });
    mark(largest, RowStatus::negative_weight, [](double x) { return x > 0; });
  }

  void require_row(const Program& program, const Elimination<T>& elimination, Span<const T> theta,
                   Index k) {
    Base sum(0.0);
    for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
      sum += primal(elimination.edge[at(e)]);
    }
    if (program.self_edge[at(k)] >= 0) {
      const Base self = primal(elimination.weight(program.self_edge[at(k)], theta));
      mark(self * 0.0, RowStatus::not_finite, [](double x) { return x != 0; });
      mark(self, RowStatus::negative_weight, [](double x) { return x < 0; });
      sum += self;
    }
    if (program.graph->discrete) {
      mark(sum, RowStatus::row_exceeds_one, [](double x) { return !(x <= 1 + kSumTolerance); });
    }
  }

  // Graph search on the positive weights of lane i, scalar; rare.
  void classify(const Program& program, const Elimination<T>& elimination, int i) {
    const std::vector<bool> reached = reach_from_start(program, elimination, i);
    const std::vector<bool> absorbs = reach_absorption(program, elimination, i);
    for (Index k = 0; k < program.n_positions; ++k) {
      if (!reached[at(k)]) {
        continue;
      }
      const double inverse = lane(primal(elimination.inverse[at(k)]), i);
      if (!absorbs[at(k)]) {
        trapped_[at(i)].push_back(static_cast<std::int32_t>(k));
      } else if (!(inverse >= 1 / kPivotLimit && inverse <= kPivotLimit)) {
        status[i] = RowStatus::out_of_range;
      }
    }
  }

  static std::vector<bool> reach_from_start(const Program& program,
                                            const Elimination<T>& elimination, int i) {
    std::vector<bool> reached(at(program.n_positions));
    std::vector<Index> stack;
    const auto visit = [&](std::int32_t target, const T& weight) {
      if (target >= 0 && lane(primal(weight), i) > 0 && !reached[at(target)]) {
        reached[at(target)] = true;
        stack.push_back(target);
      }
    };
    for (Index e = 0; e < ssize(program.start_target); ++e) {
      visit(program.start_target[at(e)], elimination.start[at(e)]);
    }
    while (!stack.empty()) {
      const Index k = stack.back();
      stack.pop_back();
      for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
        visit(program.out_target[at(e)], elimination.edge[at(e)]);
      }
    }
    return reached;
  }

  static std::vector<bool> reach_absorption(const Program& program,
                                            const Elimination<T>& elimination, int i) {
    std::vector<std::vector<std::int32_t>> sources(at(program.n_positions));
    std::vector<bool> absorbs(at(program.n_positions));
    std::vector<Index> stack;
    for (Index k = 0; k < program.n_positions; ++k) {
      for (Index e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
        if (!(lane(primal(elimination.edge[at(e)]), i) > 0)) {
          continue;
        }
        const std::int32_t target = program.out_target[at(e)];
        if (target >= 0) {
          sources[at(target)].push_back(static_cast<std::int32_t>(k));
        } else if (!absorbs[at(k)]) {
          absorbs[at(k)] = true;
          stack.push_back(k);
        }
      }
    }
    while (!stack.empty()) {
      const Index k = stack.back();
      stack.pop_back();
      for (const std::int32_t source : sources[at(k)]) {
        if (!absorbs[at(source)]) {
          absorbs[at(source)] = true;
          stack.push_back(source);
        }
      }
    }
    return absorbs;
  }

  std::vector<std::int32_t> trapped_[kLanes];
};

}  // namespace phasic::PHASIC_ISA
