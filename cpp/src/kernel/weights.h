// Edge weights at one block of parameter vectors, flows between blocks, and what their adjoints say
// about theta.
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
  std::vector<T> theta_bar;  // (n_parameters) of theta, of the constant 1, of combinations
  T extra_exit{0.0};         // added to the exit rate of every position; no derivative goes to it

  void resize(const Program& program, bool with_adjoint) {
    program_ = &program;
    parameter_.resize(at(program.n_parameters()));
    start.resize(program.start_edge.size());
    if (with_adjoint) {
      theta_bar.resize(parameter_.size());
      start_bar.resize(start.size());
    }
  }

  // theta: (param_length). Evaluates combinations and start weights.
  void set_theta(Span<const T> theta) {
    const Program& p = *program_;
    std::copy(theta.begin(), theta.end(), parameter_.begin());
    parameter_[at(theta.size())] = T(1.0);
    for (Index c = 0; c < p.n_combinations(); ++c) {
      T sum(0.0);
      for (Index i = p.combination_begin[at(c)]; i < p.combination_begin[at(c + 1)]; ++i) {
        sum += T(p.combination_coef[at(i)]) * parameter_[at(p.combination_param[at(i)])];
      }
      parameter_[at(theta.size() + 1 + c)] = sum;
    }
    for (Index e = 0; e < ssize(start); ++e) {
      start[at(e)] = graph_weight(p.start_edge[at(e)]);
    }
  }

  [[nodiscard]] Span<const T> theta() const {
    return Span<const T>(parameter_).subspan(0, program_->graph->param_length);
  }

  // Weight of any edge of the graph.
  [[nodiscard]] T graph_weight(Index e) const {
    const Graph& g = *program_->graph;
    T w(g.constant[at(e)]);
    for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
      w += T(g.coef_value[at(c)]) * parameter_[at(g.coef_param[at(c)])];
    }
    return w;
  }

  // Weight of out-edge e (0 <= e < n_out).
  [[nodiscard]] T weight(Index e) const {
    return coefficient(e) * parameter_[at(program_->out_param[at(e)])];
  }
  [[nodiscard]] const T& parameter(Index i) const { return parameter_[at(i)]; }
  [[nodiscard]] T coefficient(Index e) const { return T(program_->out_coef[at(e)]); }
  [[nodiscard]] bool same_parameter(Index e, Index other) const {
    return program_->out_param[at(e)] == program_->out_param[at(other)];
  }

  // --- flows: sums over edges that leave a block

  // The exit rate of a position, with what is added to it.
  [[nodiscard]] T exit_rate(Index position) const {
    const Flows& flows = program_->outflow;
    const FlowRun* run = flows.run.data() + flows.run_begin[at(position)];
    const FlowRun* const end = flows.run.data() + flows.run_begin[at(position) + 1];
    T sum = extra_exit;
    for (; run != end; ++run) {
      sum += T(run->total) * parameter_[at(run->param)];
    }
    return sum;
  }

  // Sum of weight times value (n_places) at the other end.
  [[nodiscard]] T pull(const Flows& flows, Index place, const T* value) const {
    return pull_runs(flows, place, value, [](const T&) {});
  }
  // The same; part receives the sum of coefficient times value for each run of the place.
  [[nodiscard]] T pull_parts(const Flows& flows, Index place, const T* value, T* part) const {
    return pull_runs(flows, place, value, [&](const T& sum) { *part++ = sum; });
  }

  // --- adjoints
  void clear_adjoint() {
    std::fill(theta_bar.begin(), theta_bar.end(), T(0.0));
    std::fill(start_bar.begin(), start_bar.end(), T(0.0));
  }

  void add_weight_adjoint(Index e, const T& bar) {
    add_parameter_adjoint(e, coefficient(e) * bar);
  }
  // Adds to what the parameter of out-edge e has.
  void add_parameter_adjoint(Index e, const T& bar) {
    theta_bar[at(program_->out_param[at(e)])] += bar;
  }
  [[nodiscard]] T& parameter_adjoint(Index i) { return theta_bar[at(i)]; }

  // The adjoint of what flows out of a position: z (its sojourn) times the difference of h at the other
  // end and here. part: of pull_parts with h.
  void add_outflow_adjoint(Index position, const T& z, const T& h_here, const T* part) {
    const Flows& flows = program_->outflow;
    const FlowRun* run = flows.run.data() + flows.run_begin[at(position)];
    const FlowRun* const end = flows.run.data() + flows.run_begin[at(position) + 1];
    for (; run != end; ++run, ++part) {
      theta_bar[at(run->param)] += z * (*part - T(run->total) * h_here);
    }
  }

  // Adds term_bar(t) for the outflow terms t of a position.
  template <class TermBar>
  void add_outflow_term_adjoints(Index position, TermBar term_bar) {
    const Flows& flows = program_->outflow;
    const FlowRun* run = flows.run.data() + flows.run_begin[at(position)];
    const FlowRun* const end = flows.run.data() + flows.run_begin[at(position) + 1];
    const FlowTerm* const term = flows.term.data();
    for (; run != end; ++run) {
      Index t = run->begin;
      T sum = T(term[t].coef) * term_bar(t);
      for (++t; t < run[1].begin; ++t) {
        sum += T(term[t].coef) * term_bar(t);
      }
      theta_bar[at(run->param)] += sum;
    }
  }

  // Adds what start_bar and combinations say about theta. Call last, once for each start_bar.
  void finish_adjoint() {
    const Program& p = *program_;
    const Graph& g = *p.graph;
    for (Index s = 0; s < ssize(start_bar); ++s) {
      const Index e = p.start_edge[at(s)];
      for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
        theta_bar[at(g.coef_param[at(c)])] += T(g.coef_value[at(c)]) * start_bar[at(s)];
      }
    }
    for (Index c = 0; c < p.n_combinations(); ++c) {
      T& combined = theta_bar[at(g.param_length + 1 + c)];
      const T bar = combined;
      combined = T(0.0);
      for (Index i = p.combination_begin[at(c)]; i < p.combination_begin[at(c + 1)]; ++i) {
        theta_bar[at(p.combination_param[at(i)])] += T(p.combination_coef[at(i)]) * bar;
      }
    }
  }

 private:
  template <class Part>
  [[nodiscard]] T pull_runs(const Flows& flows, Index place, const T* value, Part part) const {
    const FlowRun* run = flows.run.data() + flows.run_begin[at(place)];
    const FlowRun* const end = flows.run.data() + flows.run_begin[at(place) + 1];
    const FlowTerm* const term = flows.term.data();
    T total(0.0);
    for (; run != end; ++run) {
      Index t = run->begin;
      T sum = T(term[t].coef) * value[term[t].place];
      for (++t; t < run[1].begin; ++t) {
        sum += T(term[t].coef) * value[term[t].place];
      }
      part(sum);
      total += parameter_[at(run->param)] * sum;
    }
    return total;
  }

  const Program* program_ = nullptr;
  std::vector<T> parameter_;
};

}  // namespace phasic::PHASIC_ISA
