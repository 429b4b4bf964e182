// Edge weights at one block of parameter vectors, and what their adjoints say about theta.
#pragma once

#include <algorithm>
#include <vector>

#include "kernel/lane.h"
#include "phasic/trace.h"

namespace phasic::PHASIC_ISA {

template <class T>
class Weights {
 public:
  std::vector<T> start;      // (n_start) start weights at theta
  std::vector<T> start_bar;  // (n_start)
  std::vector<T> theta_bar;  // (param_length + 1) the last entry belongs to the constant 1

  void resize(const Program& program, bool with_adjoint) {
    program_ = &program;
    theta_.resize(at(program.graph->param_length + 1));
    start.resize(program.start_edge.size());
    if (with_adjoint) {
      theta_bar.resize(theta_.size());
      start_bar.resize(start.size());
    }
  }

  // theta: (param_length). Evaluates the start weights.
  void set_theta(Span<const T> theta) {
    std::copy(theta.begin(), theta.end(), theta_.begin());
    theta_.back() = T(1.0);
    for (Index e = 0; e < ssize(start); ++e) {
      start[at(e)] = graph_weight(program_->start_edge[at(e)]);
    }
  }

  // Weight of any edge of the graph.
  [[nodiscard]] T graph_weight(Index e) const {
    const Graph& g = *program_->graph;
    T w(g.constant[at(e)]);
    for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
      w += T(g.coef_value[at(c)]) * theta_[at(g.coef_param[at(c)])];
    }
    return w;
  }

  // Weight of out-edge e (0 <= e < n_out).
  [[nodiscard]] T weight(Index e) const {
    const Program& p = *program_;
    T w = T(p.out_coef[at(e)]) * theta_[at(p.out_param[at(e)])];
    for (Index c = p.more_begin[at(e)]; c < p.more_begin[at(e + 1)]; ++c) {
      w += T(p.more_coef[at(c)]) * theta_[at(p.more_param[at(c)])];
    }
    return w;
  }

  // Hands (e, weight) of out-edges [begin, end) to use.
  template <class Use>
  void for_each(Index begin, Index end, Use use) const {
    const double* coef = program_->out_coef.data();
    const std::int32_t* param = program_->out_param.data();
    const T* theta = theta_.data();
    if (program_->more_coef.empty()) {
      for (Index e = begin; e < end; ++e) {
        use(e, T(coef[e]) * theta[param[e]]);
      }
    } else {
      for (Index e = begin; e < end; ++e) {
        use(e, weight(e));
      }
    }
  }

  void clear_adjoint() {
    std::fill(theta_bar.begin(), theta_bar.end(), T(0.0));
    std::fill(start_bar.begin(), start_bar.end(), T(0.0));
  }

  void add_weight_adjoint(Index e, const T& bar) {
    const Program& p = *program_;
    theta_bar[at(p.out_param[at(e)])] += T(p.out_coef[at(e)]) * bar;
    for (Index c = p.more_begin[at(e)]; c < p.more_begin[at(e + 1)]; ++c) {
      theta_bar[at(p.more_param[at(c)])] += T(p.more_coef[at(c)]) * bar;
    }
  }

  // Adds bar_of(e) for out-edges [begin, end). Runs of one parameter are summed first.
  template <class BarOf>
  void add_adjoints(Index begin, Index end, BarOf bar_of) {
    const double* coef = program_->out_coef.data();
    const std::int32_t* param = program_->out_param.data();
    if (!program_->more_coef.empty()) {
      for (Index e = begin; e < end; ++e) {
        add_weight_adjoint(e, bar_of(e));
      }
      return;
    }
    while (begin < end) {
      const std::int32_t run = param[begin];
      T sum = T(coef[begin]) * bar_of(begin);
      for (++begin; begin < end && param[begin] == run; ++begin) {
        sum += T(coef[begin]) * bar_of(begin);
      }
      theta_bar[at(run)] += sum;
    }
  }

  // Adds what start_bar says about theta.
  void start_adjoint() {
    const Graph& g = *program_->graph;
    for (Index s = 0; s < ssize(start_bar); ++s) {
      const Index e = program_->start_edge[at(s)];
      for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
        theta_bar[at(g.coef_param[at(c)])] += T(g.coef_value[at(c)]) * start_bar[at(s)];
      }
    }
  }

 private:
  const Program* program_ = nullptr;
  std::vector<T> theta_;
};

}  // namespace phasic::PHASIC_ISA
