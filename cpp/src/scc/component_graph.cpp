// A component as a graph of its own, and its pattern read back: the content of a work unit.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/text.h"
#include "phasic/scc.h"

namespace phasic {
namespace {

using detail::number_text;

// Weights are finite, but many exits may add up to more than a double holds; the sum saturates.
double saturated(double value) noexcept {
  constexpr double kLargest = std::numeric_limits<double>::max();
  return std::clamp(value, -kLargest, kLargest);
}

class ComponentWriter {
 public:
  ComponentWriter(const Decomposition& decomposition, Index index);
  [[nodiscard]] GraphPtr write();

 private:
  void write_states();
  void write_row(std::int32_t vertex);
  void append_internal(Index edge, std::int32_t target);
  void add_to_exit(Index edge);
  void append_exit();

  const Graph& graph_;
  const Component& component_;
  const std::vector<std::int32_t>& component_of_;
  const Index index_;
  const std::int32_t exit_vertex_;
  std::vector<std::pair<std::int32_t, std::int32_t>> row_of_;  // (vertex, row), by vertex
  std::vector<std::pair<std::int32_t, Index>> internal_;       // (target, edge) of the row at hand
  std::shared_ptr<Graph> result_ = std::make_shared<Graph>();
  // The exits of the row at hand, added up.
  bool exit_has_constant_ = false, exit_has_param_ = false;
  double exit_constant_ = 0.0;
  std::vector<std::pair<std::int32_t, double>> exit_coefficients_;  // as met: (parameter, value)
};

ComponentWriter::ComponentWriter(const Decomposition& decomposition, Index index)
    : graph_(*decomposition.graph),
      component_(decomposition.components[at(index)]),
      component_of_(decomposition.component_of),
      index_(index),
      exit_vertex_(narrow32(ssize(component_.vertices) + 1, "vertices of one component")) {
  for (Index i = 0; i < ssize(component_.vertices); ++i) {
    row_of_.emplace_back(component_.vertices[at(i)], static_cast<std::int32_t>(i + 1));
  }
  std::sort(row_of_.begin(), row_of_.end());
}

void ComponentWriter::write_states() {
  result_->states.assign(at(graph_.state_length), 0);
  for (const std::int32_t v : component_.vertices) {
    const Span<const std::int32_t> state = graph_.state(v);
    result_->states.insert(result_->states.end(), state.begin(), state.end());
  }
  result_->states.resize(result_->states.size() + at(graph_.state_length), 0);
}

void ComponentWriter::append_internal(Index edge, std::int32_t target) {
  result_->target.push_back(target);
  result_->constant.push_back(graph_.constant[at(edge)]);
  result_->has_constant.push_back(graph_.has_constant[at(edge)]);
  result_->has_param.push_back(graph_.has_param[at(edge)]);
  for (Index c = graph_.coef_begin[at(edge)]; c < graph_.coef_begin[at(edge + 1)]; ++c) {
    result_->coef_param.push_back(graph_.coef_param[at(c)]);
    result_->coef_value.push_back(graph_.coef_value[at(c)]);
  }
  result_->coef_begin.push_back(ssize(result_->coef_param));
}

void ComponentWriter::add_to_exit(Index edge) {
  if (graph_.has_constant[at(edge)] != 0) {
    exit_has_constant_ = true;
    exit_constant_ = saturated(exit_constant_ + graph_.constant[at(edge)]);
  }
  if (graph_.has_param[at(edge)] != 0) {
    exit_has_param_ = true;
    for (Index c = graph_.coef_begin[at(edge)]; c < graph_.coef_begin[at(edge + 1)]; ++c) {
      exit_coefficients_.emplace_back(graph_.coef_param[at(c)], graph_.coef_value[at(c)]);
    }
  }
}

void ComponentWriter::append_exit() {
  if (!exit_has_constant_ && !exit_has_param_) return;
  result_->target.push_back(exit_vertex_);
  result_->constant.push_back(exit_constant_);
  result_->has_constant.push_back(exit_has_constant_ ? 1 : 0);
  result_->has_param.push_back(exit_has_param_ ? 1 : 0);
  std::stable_sort(exit_coefficients_.begin(), exit_coefficients_.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < exit_coefficients_.size();) {
    const std::int32_t parameter = exit_coefficients_[i].first;
    double sum = 0.0;
    for (; i < exit_coefficients_.size() && exit_coefficients_[i].first == parameter; ++i) {
      sum = saturated(sum + exit_coefficients_[i].second);
    }
    if (sum != 0.0) {
      result_->coef_param.push_back(parameter);
      result_->coef_value.push_back(sum);
    }
  }
  result_->coef_begin.push_back(ssize(result_->coef_param));
  exit_constant_ = 0.0;
  exit_coefficients_.clear();
  exit_has_constant_ = exit_has_param_ = false;
}

void ComponentWriter::write_row(std::int32_t vertex) {
  internal_.clear();
  for (Index e = graph_.row_begin[at(vertex)]; e < graph_.row_begin[at(Index{vertex} + 1)]; ++e) {
    const std::int32_t z = graph_.target[at(e)];
    if (component_of_[at(z)] == index_) {
      const auto found = std::lower_bound(row_of_.begin(), row_of_.end(), std::make_pair(z, 0));
      internal_.emplace_back(found->second, e);
    } else {
      add_to_exit(e);
    }
  }
  std::sort(internal_.begin(), internal_.end());
  for (const auto& [target, edge] : internal_) append_internal(edge, target);
  append_exit();
  result_->row_begin.push_back(result_->n_edges());
}

GraphPtr ComponentWriter::write() {
  result_->state_length = graph_.state_length;
  result_->param_length = graph_.param_length;
  result_->discrete = graph_.discrete;
  write_states();
  result_->target = {1};  // the starting vertex enters at the first vertex
  result_->constant = {1.0};
  result_->has_constant = {1};
  result_->has_param = {0};
  result_->coef_begin = {0, 0};
  result_->row_begin = {0, 1};
  for (const std::int32_t vertex : component_.vertices) write_row(vertex);
  result_->row_begin.push_back(result_->n_edges());
  return result_;
}

}  // namespace

GraphPtr component_graph(const Decomposition& decomposition, Index component) {
  if (component < 0 || component >= ssize(decomposition.components)) {
    fail("component is " + number_text(component) + ", expected an index from 0 to " +
         number_text(ssize(decomposition.components) - 1));
  }
  return ComponentWriter(decomposition, component).write();
}

Pattern pattern_of_component_graph(const Graph& graph) {
  const Index exit_vertex = graph.n_vertices() - 1;
  if (exit_vertex < 2 || graph.row_begin[1] != 1 || graph.target[0] != 1) {
    fail("the graph is not that of a component: it has " + number_text(graph.n_vertices()) +
         " vertices and " + number_text(graph.row_begin[1]) +
         " start edges, expected at least 3 vertices and one start edge, to vertex 1");
  }
  if (graph.row_begin[at(exit_vertex)] != graph.row_begin[at(exit_vertex + 1)]) {
    fail("the graph is not that of a component: its last vertex " + number_text(exit_vertex) +
         " has out-edges, expected an absorbing vertex that carries the exits");
  }
  Pattern pattern;
  pattern.row_begin.push_back(0);
  for (Index v = 1; v < exit_vertex; ++v) {
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      const std::int32_t z = graph.target[at(e)];
      if (z != exit_vertex && z != v) pattern.column.push_back(z - 1);
    }
    pattern.row_begin.push_back(narrow32(ssize(pattern.column), "edges of one component"));
  }
  validate_pattern(pattern);
  return pattern;
}

}  // namespace phasic
