#include "graph/compress.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/text.h"

namespace phasic::detail {
namespace {

// Neumaier's compensated sum: the check against 1 + 1e-12 must not depend on the number of edges.
class CompensatedSum {
 public:
  void add(double value) noexcept {
    const double total = total_ + value;
    lost_ += std::abs(total_) >= std::abs(value) ? (total_ - total) + value
                                                 : (value - total) + total_;
    total_ = total;
  }
  // An overflowed total has lost NaN; infinity is the answer then.
  [[nodiscard]] double value() const noexcept {
    return std::isfinite(total_) ? total_ + lost_ : total_;
  }

 private:
  double total_ = 0.0, lost_ = 0.0;
};

// Sum of a row whose edges are all constant; negative if one is parameterised.
double constant_row_sum(const Graph& graph, Index vertex) {
  CompensatedSum sum;
  for (Index e = graph.row_begin[at(vertex)]; e < graph.row_begin[at(vertex + 1)]; ++e) {
    if (graph.has_param[at(e)] != 0) return -1.0;
    sum.add(graph.constant[at(e)]);
  }
  return sum.value();
}

// Finite parallel edges may add up to infinity.
void check_sums_finite(const Graph& graph) {
  for (Index v = 0; v < graph.n_vertices(); ++v) {
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      bool finite = std::isfinite(graph.constant[at(e)]);
      for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
        finite = finite && std::isfinite(graph.coef_value[at(c)]);
      }
      if (!finite) {
        fail("the parallel edges from state " + graph.state_text(v) + " (vertex " +
             number_text(v) + ") to state " + graph.state_text(graph.target[at(e)]) +
             " (vertex " + number_text(Index{graph.target[at(e)]}) +
             ") add up to more than the largest double; scale the weights down");
      }
    }
  }
}

}  // namespace

RowCompressor::RowCompressor(Graph& graph) : graph_(graph) {
  graph_.row_begin.assign(1, 0);
  graph_.coef_begin.assign(1, 0);
}

void RowCompressor::append_row(std::vector<LooseEdge>& edges) {
  std::sort(edges.begin(), edges.end(), [](const LooseEdge& a, const LooseEdge& b) {
    return std::tie(a.to, a.parameterised, a.row) < std::tie(b.to, b.parameterised, b.row);
  });
  for (Index begin = 0; begin < ssize(edges);) {
    Index end = begin;
    while (end < ssize(edges) && edges[at(end)].to == edges[at(begin)].to) ++end;
    append_edge(Span<const LooseEdge>(edges).subspan(begin, end - begin));
    begin = end;
  }
  graph_.row_begin.push_back(graph_.n_edges());
}

void RowCompressor::append_edge(Span<const LooseEdge> parallel) {
  double constant = 0.0;
  bool has_constant = false;
  bool has_param = false;
  for (const LooseEdge& edge : parallel) {
    if (!edge.parameterised) {
      constant += edge.weight;
      has_constant = true;
      continue;
    }
    if (!has_param) sum_.assign(at(graph_.param_length), 0.0);
    has_param = true;
    for (Index k = 0; k < graph_.param_length; ++k) sum_[at(k)] += edge.coefficients[k];
  }
  graph_.target.push_back(parallel[0].to);
  graph_.constant.push_back(constant);
  graph_.has_constant.push_back(has_constant ? 1 : 0);
  graph_.has_param.push_back(has_param ? 1 : 0);
  for (Index k = 0; has_param && k < graph_.param_length; ++k) {
    if (sum_[at(k)] != 0.0) {
      graph_.coef_param.push_back(static_cast<std::int32_t>(k));
      graph_.coef_value.push_back(sum_[at(k)]);
    }
  }
  graph_.coef_begin.push_back(ssize(graph_.coef_param));
}

void check_start_edge(bool exists) {
  if (exists) return;
  fail("the graph has no start edge, expected at least one edge out of the starting vertex "
       "(a row of start_edges or start_param_edges)");
}

void check_rows(const Graph& graph) {
  check_sums_finite(graph);
  check_start_edge(graph.row_begin[1] > 0);
  const double start = constant_row_sum(graph, 0);
  if (start > 1.0 + kSumTolerance) {
    fail("start_edges: the start weights sum to " + number_text(start) +
         ", expected at most 1 (what is missing to 1 is absorbed at time 0); divide them by their "
         "sum");
  }
  for (Index v = 1; graph.discrete && v < graph.n_vertices(); ++v) {
    const double sum = constant_row_sum(graph, v);
    if (sum > 1.0 + kSumTolerance) {
      fail("edges: the transition probabilities out of state " + graph.state_text(v) +
           " (vertex " + number_text(v) + ") sum to " + number_text(sum) +
           ", expected at most 1 in a discrete graph (what is missing to 1 is the probability to "
           "stay)");
    }
  }
}

}  // namespace phasic::detail
