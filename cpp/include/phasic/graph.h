// The state graph: a mutable builder and the immutable CSR form that every later layer reads.
//
// Vertex 0 is always the starting vertex. Its out-edges are the start distribution. A vertex whose
// only out-edges are self loops (or that has none) is absorbing. An edge has a constant part, a
// parameterised part (coefficients, linear in theta), or both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "phasic/base.h"

namespace phasic {

// Immutable compressed-sparse-row graph. Rows are sorted by target; one entry per (from, to) pair.
struct Graph {
  Index state_length = 0;
  Index param_length = 0;
  bool discrete = false;

  std::vector<std::int32_t> states;  // (n_vertices, state_length)

  std::vector<Index> row_begin;           // (n_vertices + 1)
  std::vector<std::int32_t> target;       // (n_edges)
  std::vector<double> constant;           // (n_edges), 0 where the edge has no constant part
  std::vector<std::uint8_t> has_constant; // (n_edges)
  std::vector<std::uint8_t> has_param;    // (n_edges)
  std::vector<Index> coef_begin;          // (n_edges + 1), sparse coefficients of each edge
  std::vector<std::int32_t> coef_param;   // which parameter
  std::vector<double> coef_value;         // never 0

  [[nodiscard]] Index n_vertices() const noexcept { return ssize(row_begin) - 1; }
  [[nodiscard]] Index n_edges() const noexcept { return ssize(target); }
  [[nodiscard]] Span<const std::int32_t> state(Index vertex) const noexcept {
    return {states.data() + vertex * state_length, state_length};
  }
  // True if no edge leads to another vertex. The starting vertex is never absorbing.
  [[nodiscard]] bool is_absorbing(Index vertex) const noexcept;
  // "(2, 0, 1)": how a state is written in messages.
  [[nodiscard]] std::string state_text(Index vertex) const;
};

using GraphPtr = std::shared_ptr<const Graph>;

// The arrays of the serialized format (docs/format.md), before validation. Row-major.
struct GraphArrays {
  Index n_vertices = 0, state_length = 0, param_length = 0;
  bool discrete = false;
  Index start_vertex = -1;  // -1: not named; row 0 if it is all zeros, else one is added in front
  std::vector<std::int32_t> states;       // (n_vertices, state_length)
  std::vector<double> edges;              // (n, 3)
  std::vector<double> start_edges;        // (n, 2)
  std::vector<double> param_edges;        // (n, 2 + param_length)
  std::vector<double> start_param_edges;  // (n, 1 + param_length)
};

// Validates every rule of the format and returns the graph; throws Error naming field and row.
[[nodiscard]] GraphPtr graph_from_arrays(const GraphArrays& arrays);
// The inverse. Always writes start_vertex = 0.
[[nodiscard]] GraphArrays graph_to_arrays(const Graph& graph);

// Collects vertices and edges. Parallel transitions between one pair of vertices add.
class GraphBuilder {
 public:
  explicit GraphBuilder(Index state_length, bool discrete = false);

  // Creates the vertex when no vertex made by this function has the state. O(1) expected.
  Index find_or_create_vertex(Span<const std::int32_t> state);
  // -1 when absent.
  [[nodiscard]] Index find_vertex(Span<const std::int32_t> state) const;
  // Always a new vertex, even if the state exists.
  Index add_vertex(Span<const std::int32_t> state);

  void add_edge(Index from, Index to, double weight);
  void add_edge(Index from, Index to, Span<const double> coefficients);

  [[nodiscard]] Index n_vertices() const noexcept;
  [[nodiscard]] Index state_length() const noexcept { return state_length_; }
  [[nodiscard]] Index param_length() const noexcept { return param_length_ < 0 ? 0 : param_length_; }
  [[nodiscard]] bool discrete() const noexcept { return discrete_; }

  // Validates and compresses. The builder may be extended afterwards; the result does not change.
  [[nodiscard]] GraphPtr freeze() const;

 private:
  struct Edge {
    std::int32_t from, to;
    bool parameterised;
    Index coef_begin;  // into coefficients_, dense rows of param_length
    double weight;
  };
  Index state_length_;
  Index param_length_ = -1;  // unknown until the first parameterised edge
  bool discrete_;
  std::vector<std::int32_t> states_;
  std::vector<Edge> edges_;
  std::vector<double> coefficients_;
  std::unordered_multimap<std::uint64_t, std::int32_t> by_state_;
};

}  // namespace phasic
