// Reading and writing the arrays of the serialized format.
//
// 1. The starting row is found; file rows are renumbered so that it becomes vertex 0.
// 2. Every entry of every edge array is checked on its own, with its field and row at hand.
// 3. A counting sort groups the edges by source; a pair that occurs twice in one array is rejected.
// 4. Rows are compressed, then the checks that need whole rows run (compress.h).
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "graph/arrays.h"
#include "graph/compress.h"
#include "phasic/graph.h"

namespace phasic {
namespace {

using detail::number_text;

// One of the four edge arrays.
struct Field {
  const char* name;
  const std::vector<double>& values;
  bool from_start;     // rows are [to, ...], not [from, to, ...]
  bool parameterised;
};

class ArrayReader {
 public:
  explicit ArrayReader(const GraphArrays& arrays);
  [[nodiscard]] GraphPtr read();

 private:
  struct Source {
    std::int32_t from;
    detail::LooseEdge edge;
  };
  [[nodiscard]] Index width(const Field& field) const noexcept;
  void check_sizes() const;
  void find_start_row();
  [[nodiscard]] Index vertex_of_row(Index row) const noexcept;
  [[nodiscard]] Index row_of_vertex(Index vertex) const noexcept;
  [[nodiscard]] std::int32_t read_vertex(const Field& field, Index row, Index column,
                                         const char* role) const;
  void read_edges(const Field& field);
  void check_values(const Field& field, Index row, Span<const double> values) const;
  void sort_by_source();
  void check_duplicates(Index from, const std::vector<detail::LooseEdge>& edges) const;
  void copy_states(Graph& graph) const;

  const GraphArrays& arrays_;
  Field fields_[4];
  Index start_row_ = -1;  // -1: no row is the starting vertex, one is added in front
  std::vector<Source> sources_;
};

ArrayReader::ArrayReader(const GraphArrays& arrays)
    : arrays_(arrays),
      fields_{{"edges", arrays.edges, false, false},
              {"start_edges", arrays.start_edges, true, false},
              {"param_edges", arrays.param_edges, false, true},
              {"start_param_edges", arrays.start_param_edges, true, true}} {}

Index ArrayReader::width(const Field& field) const noexcept {
  return (field.from_start ? 1 : 2) + (field.parameterised ? arrays_.param_length : 1);
}

void ArrayReader::check_sizes() const {
  detail::check_metadata(arrays_, detail::kFormatVersion);
  const Index n_values = ssize(arrays_.states);
  if (n_values % arrays_.state_length != 0 ||
      n_values / arrays_.state_length != arrays_.n_vertices) {
    detail::fail_shape("states", number_text(n_values) + " values, expected n_vertices " +
                                     number_text(arrays_.n_vertices) + " times state_length " +
                                     number_text(arrays_.state_length));
  }
  for (const Field& field : fields_) {
    if (ssize(field.values) % width(field) != 0 ||
        (field.parameterised && arrays_.param_length == 0 && !field.values.empty())) {
      detail::fail_shape(field.name, number_text(ssize(field.values)) +
                                         " values, expected rows of " + number_text(width(field)));
    }
  }
}

void ArrayReader::find_start_row() {
  const Index named = arrays_.start_vertex;
  if (named != -1) detail::check_start_vertex(arrays_);
  start_row_ = named;
  if (named >= 0 || arrays_.n_vertices == 0) return;
  const auto begin = arrays_.states.begin();
  const auto end = begin + static_cast<std::ptrdiff_t>(arrays_.state_length);
  if (std::all_of(begin, end, [](std::int32_t value) { return value == 0; })) start_row_ = 0;
}

Index ArrayReader::vertex_of_row(Index row) const noexcept {
  if (row == start_row_) return 0;
  return start_row_ < 0 || row < start_row_ ? row + 1 : row;
}

Index ArrayReader::row_of_vertex(Index vertex) const noexcept {
  if (vertex == 0) return start_row_;
  return start_row_ < 0 || vertex <= start_row_ ? vertex - 1 : vertex;
}

std::int32_t ArrayReader::read_vertex(const Field& field, Index row, Index column,
                                      const char* role) const {
  const double value = field.values[at(row * width(field) + column)];
  const bool in_range = value >= 0.0 && value < static_cast<double>(arrays_.n_vertices);
  const auto where = [&] {
    return std::string(field.name) + " row " + number_text(row) + ": " + role + " is ";
  };
  if (!in_range || value != std::floor(value)) {
    fail(where() + number_text(value) + ", expected a " +
         (arrays_.n_vertices == 0 ? "row of states, but states has no rows"
                                  : "whole number from 0 to " +
                                        number_text(arrays_.n_vertices - 1) + " (a row of states)"));
  }
  const Index found = static_cast<Index>(value);
  if (found == start_row_) {
    fail(where() + number_text(found) + ", the starting vertex; " +
         (column == 0 && !field.from_start
              ? "edges out of it belong in start_edges and start_param_edges"
              : "no edge may enter it (name another one in start_vertex)"));
  }
  return static_cast<std::int32_t>(vertex_of_row(found));
}

void ArrayReader::check_values(const Field& field, Index row, Span<const double> values) const {
  for (Index k = 0; k < values.size(); ++k) {
    const bool allowed = std::isfinite(values[k]) && (field.parameterised || values[k] >= 0.0);
    if (allowed) continue;
    fail(std::string(field.name) + " row " + number_text(row) + ": " +
         (field.parameterised ? "coefficient " + number_text(k) : std::string("weight")) + " is " +
         number_text(values[k]) + ", expected a finite number" +
         (field.parameterised ? "" : " >= 0"));
  }
}

void ArrayReader::read_edges(const Field& field) {
  const Index columns = width(field);
  const Index n_rows = ssize(field.values) / columns;
  const Index n_indices = field.from_start ? 1 : 2;
  for (Index row = 0; row < n_rows; ++row) {
    const std::int32_t from = field.from_start ? 0 : read_vertex(field, row, 0, "from");
    const std::int32_t to = read_vertex(field, row, n_indices - 1, "to");
    const double* values = field.values.data() + row * columns + n_indices;
    check_values(field, row, {values, columns - n_indices});
    const double weight = field.parameterised ? 0.0 : values[0] + 0.0;  // -0.0 becomes 0.0
    sources_.push_back({from, {to, field.parameterised, row, weight, values}});
  }
}

// Counting sort, stable.
void ArrayReader::sort_by_source() {
  std::vector<Index> begin(at(arrays_.n_vertices + 2), 0);
  for (const Source& source : sources_) ++begin[at(Index{source.from} + 1)];
  for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  std::vector<Source> sorted(sources_.size());
  for (const Source& source : sources_) sorted[at(begin[at(Index{source.from})]++)] = source;
  sources_ = std::move(sorted);
}

// The edges of one row, sorted by (target, parameterised).
void ArrayReader::check_duplicates(Index from,
                                   const std::vector<detail::LooseEdge>& edges) const {
  for (std::size_t i = 1; i < edges.size(); ++i) {
    const detail::LooseEdge& first = edges[i - 1];
    const detail::LooseEdge& second = edges[i];
    if (first.to != second.to || first.parameterised != second.parameterised) continue;
    const Field& field = fields_[(second.parameterised ? 2 : 0) + (from == 0 ? 1 : 0)];
    const std::string to = number_text(row_of_vertex(second.to));
    fail(std::string(field.name) + " row " + number_text(second.row) + " repeats " +
         (from == 0 ? "the target " + to
                    : "the pair (" + number_text(row_of_vertex(from)) + ", " + to + ")") +
         " of row " + number_text(first.row) + "; expected one row per pair, with the weights added");
  }
}

void ArrayReader::copy_states(Graph& graph) const {
  const auto length = static_cast<std::ptrdiff_t>(arrays_.state_length);
  const auto begin = arrays_.states.begin();
  if (start_row_ < 0) {
    graph.states.assign(at(arrays_.state_length), 0);
    graph.states.insert(graph.states.end(), begin, arrays_.states.end());
    return;
  }
  graph.states = arrays_.states;
  const auto start = graph.states.begin() + static_cast<std::ptrdiff_t>(start_row_) * length;
  std::rotate(graph.states.begin(), start, start + length);
}

GraphPtr ArrayReader::read() {
  check_sizes();
  find_start_row();
  for (const Field& field : fields_) read_edges(field);
  sort_by_source();
  // Before memory is taken for states: without rows, state_length may be any number.
  detail::check_start_edge(!sources_.empty() && sources_.front().from == 0);
  auto graph = std::make_shared<Graph>();
  graph->state_length = arrays_.state_length;
  graph->param_length = arrays_.param_length;
  graph->discrete = arrays_.discrete;
  copy_states(*graph);
  const Index n_vertices = arrays_.n_vertices + (start_row_ < 0 ? 1 : 0);
  detail::RowCompressor compressor(*graph);
  std::vector<detail::LooseEdge> row;
  std::size_t next = 0;
  for (Index v = 0; v < n_vertices; ++v) {
    row.clear();
    for (; next < sources_.size() && sources_[next].from == v; ++next) {
      row.push_back(sources_[next].edge);
    }
    compressor.append_row(row);
    check_duplicates(v, row);
  }
  detail::check_rows(*graph);
  return graph;
}

}  // namespace

GraphPtr graph_from_arrays(const GraphArrays& arrays) { return ArrayReader(arrays).read(); }

GraphArrays graph_to_arrays(const Graph& graph) {
  GraphArrays arrays;
  arrays.n_vertices = graph.n_vertices();
  arrays.state_length = graph.state_length;
  arrays.param_length = graph.param_length;
  arrays.discrete = graph.discrete;
  arrays.start_vertex = 0;
  arrays.states = graph.states;
  for (Index v = 0; v < graph.n_vertices(); ++v) {
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      const auto append_indices = [&](std::vector<double>& values) {
        if (v > 0) values.push_back(static_cast<double>(v));
        values.push_back(static_cast<double>(graph.target[at(e)]));
      };
      if (graph.has_constant[at(e)] != 0) {
        std::vector<double>& values = v == 0 ? arrays.start_edges : arrays.edges;
        append_indices(values);
        values.push_back(graph.constant[at(e)]);
      }
      if (graph.has_param[at(e)] != 0) {
        std::vector<double>& values = v == 0 ? arrays.start_param_edges : arrays.param_edges;
        append_indices(values);
        values.resize(values.size() + at(graph.param_length), 0.0);
        double* row = values.data() + ssize(values) - graph.param_length;
        for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e + 1)]; ++c) {
          row[graph.coef_param[at(c)]] = graph.coef_value[at(c)];
        }
      }
    }
  }
  return arrays;
}

}  // namespace phasic
