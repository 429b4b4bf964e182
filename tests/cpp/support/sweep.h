// Calls Uniformization<T> on a model: weights from theta, results and gradients in graph terms.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "distribution/uniformization.h"
#include "support/evaluation.h"

namespace sweep {

using namespace phasic;
using namespace phasic::PHASIC_ISA;

// A linked model.
struct Model {
  ProgramPtr program;
  explicit Model(const GraphPtr& graph) : program(evaluation::program_of(graph)) {}
  [[nodiscard]] const Graph& graph() const { return *program->graph; }
  [[nodiscard]] Index size(Quantity quantity, Index n_times) const {
    const bool by_vertex =
        quantity == Quantity::state_probability || quantity == Quantity::accumulated_occupancy;
    return by_vertex ? n_times * graph().n_vertices() : n_times;
  }
};

// Constant weights: transitions (from, to, weight) between vertices 1.., vertex 0 starts.
struct Transition {
  Index from, to;
  double weight;
};
inline GraphPtr graph_of(Index n_vertices, const std::vector<Transition>& transitions,
                         bool discrete = false) {
  GraphBuilder builder(1, discrete);
  for (std::int32_t v = 1; v < n_vertices; ++v) builder.add_vertex({&v, 1});
  for (const Transition& t : transitions) builder.add_edge(t.from, t.to, t.weight);
  return builder.freeze();
}

template <class T>
T weight_of(const Graph& graph, std::int32_t edge, const std::vector<T>& theta) {
  T w(graph.constant[at(edge)]);
  for (Index c = graph.coef_begin[at(edge)]; c < graph.coef_begin[at(edge + 1)]; ++c) {
    w += T(graph.coef_value[at(c)]) * theta[at(graph.coef_param[at(c)])];
  }
  return w;
}

template <class T>
struct Outcome {
  using Base = typename Traits<T>::Base;
  std::vector<T> out;          // mantissas
  std::vector<Base> exponent;  // (n_times) or empty
  std::vector<T> theta_bar, times_bar;
  std::vector<T> edge_bar;  // (n_out)
  std::vector<T> edge;      // (n_out)

  // The results themselves.
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> result = out;
    for (std::size_t i = 0; i < exponent.size(); ++i) {
      result[i] = scaled(result[i], power_of_two(exponent[i]));
    }
    return result;
  }
};

// What a cotangent belongs to.
enum class Cotangent { of_value, of_logarithm };

template <class T>
class Sweep {
 public:
  explicit Sweep(const Model& model, bool in_time = true) : model_(model), in_time_(in_time) {}

  // bar: cotangent of the results or of their logarithms; no adjoint if empty.
  Outcome<T> run(Quantity quantity, const std::vector<T>& theta, const std::vector<T>& times,
                 const std::vector<T>& bar = {}, Cotangent cotangent = Cotangent::of_value) {
    const Program& program = *model_.program;
    const Graph& graph = *program.graph;
    layout_ = phasic::detail::make_transition_layout(program, quantity);
    sweep_.prepare(layout_);
    Outcome<T> result;
    std::vector<T> start;
    for (const std::int32_t e : program.out_edge) result.edge.push_back(weight_of(graph, e, theta));
    for (const std::int32_t e : program.start_edge) start.push_back(weight_of(graph, e, theta));
    UniformizationInput<T> in{Span<const T>(result.edge), Span<const T>(start),
                              Span<const T>(times)};
    in.keep_edges = !bar.empty();
    in.keep_times = in.keep_edges && in_time_;
    in.time_levels = in_time_ ? Traits<T>::levels : 0;
    result.out.resize(at(model_.size(quantity, ssize(times))));
    result.exponent.resize(layout_.by_vertex() ? 0 : times.size());
    sweep_.forward(in, Span<T>(result.out), Span<typename Traits<T>::Base>(result.exponent));
    if (!bar.empty()) {
      std::vector<T> mantissa_bar = bar;
      for (std::size_t i = 0; i < result.exponent.size(); ++i) {
        mantissa_bar[i] = cotangent == Cotangent::of_logarithm
                              ? bar[i] / result.out[i]
                              : scaled(bar[i], power_of_two(result.exponent[i]));
      }
      adjoint(mantissa_bar, ssize(times), start, result);
    }
    return result;
  }

 private:
  void adjoint(const std::vector<T>& bar, Index n_times, const std::vector<T>& start,
               Outcome<T>& result) {
    const Program& program = *model_.program;
    std::vector<T> start_bar(start.size(), T(0.0));
    result.edge_bar.assign(result.edge.size(), T(0.0));
    result.times_bar.assign(in_time_ ? at(n_times) : 0, T(0.0));
    sweep_.adjoint(Span<const T>(bar), Span<T>(result.edge_bar), Span<T>(start_bar),
                   Span<T>(result.times_bar));
    result.theta_bar.assign(at(program.graph->param_length), T(0.0));
    add_to_theta(program.out_edge, result.edge_bar, result.theta_bar);
    add_to_theta(program.start_edge, start_bar, result.theta_bar);
  }

  void add_to_theta(const std::vector<std::int32_t>& edges, const std::vector<T>& bar,
                    std::vector<T>& theta_bar) const {
    const Graph& graph = model_.graph();
    for (std::size_t i = 0; i < edges.size(); ++i) {
      for (Index c = graph.coef_begin[at(edges[i])]; c < graph.coef_begin[at(edges[i] + 1)]; ++c) {
        theta_bar[at(graph.coef_param[at(c)])] += T(graph.coef_value[at(c)]) * bar[i];
      }
    }
  }

  const Model& model_;
  bool in_time_;  // are derivatives in times wanted?
  phasic::detail::TransitionLayout layout_;
  Uniformization<T> sweep_;
};

template <class T>
std::vector<T> as(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace sweep
