#include "phasic/terms.h"

#include <cmath>
#include <numeric>
#include <string>
#include <tuple>

#include "base/text.h"
#include "graph/compress.h"

namespace phasic {
namespace {

using detail::number_text;

constexpr std::int32_t kConstant = -1;

class TermReader {
 public:
  explicit TermReader(const GraphTerms& terms) : terms_(terms) {}
  [[nodiscard]] GraphPtr read();

 private:
  [[nodiscard]] Index n_terms() const { return ssize(terms_.source); }
  [[nodiscard]] auto edge(Index i) const {
    return std::make_tuple(terms_.source[at(i)], terms_.target[at(i)]);
  }
  void check_sizes();
  void check_term(Index i) const;
  void check_index(Index i, const char* name, std::int32_t found, Index least, Index end) const;
  [[nodiscard]] std::vector<Index> sorted() const;
  void append_edge(Graph& graph, const std::vector<Index>& order, Index begin, Index end) const;

  const GraphTerms& terms_;
  Index n_vertices_ = 0;
};

void TermReader::check_sizes() {
  if (terms_.state_length < 1 || ssize(terms_.states) % terms_.state_length != 0 ||
      terms_.states.empty()) {
    fail("states has " + number_text(ssize(terms_.states)) + " entries, expected a positive " +
         "multiple of state_length = " + number_text(terms_.state_length));
  }
  n_vertices_ = ssize(terms_.states) / terms_.state_length;
  for (const Index size : {ssize(terms_.target), ssize(terms_.parameter), ssize(terms_.value)}) {
    if (size != n_terms()) {
      fail("source has " + number_text(n_terms()) + " terms but target, parameter or value has " +
           number_text(size) + "; expected one entry a term in each");
    }
  }
  if (terms_.param_length < 0) {
    fail("param_length is " + number_text(terms_.param_length) + ", expected at least 0");
  }
  for (Index i = 0; i < n_terms(); ++i) check_term(i);
}

void TermReader::check_index(Index i, const char* name, std::int32_t found, Index least,
                             Index end) const {
  if (found < least || found >= end) {
    fail(std::string(name) + " of term " + number_text(i) + " is " + number_text(Index{found}) +
         ", expected an index from " + number_text(least) + " to " + number_text(end - 1));
  }
}

void TermReader::check_term(Index i) const {
  check_index(i, "source", terms_.source[at(i)], 0, n_vertices_);
  check_index(i, "target", terms_.target[at(i)], 1, n_vertices_);
  check_index(i, "parameter", terms_.parameter[at(i)], kConstant, terms_.param_length);
  const double value = terms_.value[at(i)];
  const bool constant = terms_.parameter[at(i)] == kConstant;
  if (!std::isfinite(value) || (constant && value < 0)) {
    fail("value of term " + number_text(i) + " is " + number_text(value) + ", expected a finite " +
         (constant ? "weight >= 0" : "coefficient"));
  }
}

std::vector<Index> TermReader::sorted() const {
  std::vector<Index> order(at(n_terms()));
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(), [&](Index a, Index b) {
    return std::tuple_cat(edge(a), std::make_tuple(terms_.parameter[at(a)], a)) <
           std::tuple_cat(edge(b), std::make_tuple(terms_.parameter[at(b)], b));
  });
  return order;
}

// The terms order[begin, end) belong to one edge and are sorted by parameter, the constant first.
void TermReader::append_edge(Graph& graph, const std::vector<Index>& order, Index begin,
                             Index end) const {
  double constant = 0.0;
  Index next = begin;
  for (; next < end && terms_.parameter[at(order[at(next)])] == kConstant; ++next) {
    constant += terms_.value[at(order[at(next)])];
  }
  graph.target.push_back(terms_.target[at(order[at(begin)])]);
  graph.constant.push_back(constant);
  graph.has_constant.push_back(next > begin ? 1 : 0);
  graph.has_param.push_back(next < end ? 1 : 0);
  while (next < end) {
    const std::int32_t parameter = terms_.parameter[at(order[at(next)])];
    double value = 0.0;
    for (; next < end && terms_.parameter[at(order[at(next)])] == parameter; ++next) {
      value += terms_.value[at(order[at(next)])];
    }
    if (value != 0.0) {
      graph.coef_param.push_back(parameter);
      graph.coef_value.push_back(value);
    }
  }
  graph.coef_begin.push_back(ssize(graph.coef_param));
}

GraphPtr TermReader::read() {
  check_sizes();
  auto graph = std::make_shared<Graph>();
  graph->state_length = terms_.state_length;
  graph->param_length = terms_.param_length;
  graph->discrete = terms_.discrete;
  graph->states = terms_.states;
  graph->row_begin.assign(1, 0);
  graph->coef_begin.assign(1, 0);
  const std::vector<Index> order = sorted();
  Index begin = 0;
  for (Index v = 0; v < n_vertices_; ++v) {
    while (begin < n_terms() && terms_.source[at(order[at(begin)])] == v) {
      Index end = begin + 1;
      while (end < n_terms() && edge(order[at(end)]) == edge(order[at(begin)])) ++end;
      append_edge(*graph, order, begin, end);
      begin = end;
    }
    graph->row_begin.push_back(graph->n_edges());
  }
  detail::check_rows(*graph);
  return graph;
}

}  // namespace

GraphPtr graph_from_terms(const GraphTerms& terms) { return TermReader(terms).read(); }

GraphTerms graph_to_terms(const Graph& graph) {
  GraphTerms terms;
  terms.state_length = graph.state_length;
  terms.param_length = graph.param_length;
  terms.discrete = graph.discrete;
  terms.states = graph.states;
  for (Index v = 0; v < graph.n_vertices(); ++v) {
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      const auto append = [&](std::int32_t parameter, double value) {
        terms.source.push_back(static_cast<std::int32_t>(v));
        terms.target.push_back(graph.target[at(e)]);
        terms.parameter.push_back(parameter);
        terms.value.push_back(value);
      };
      if (graph.has_constant[at(e)] != 0) append(kConstant, graph.constant[at(e)]);
      const Index begin = graph.coef_begin[at(e)], end = graph.coef_begin[at(e + 1)];
      for (Index c = begin; c < end; ++c) append(graph.coef_param[at(c)], graph.coef_value[at(c)]);
      if (graph.has_param[at(e)] != 0 && begin == end) append(0, 0.0);
    }
  }
  return terms;
}

}  // namespace phasic
