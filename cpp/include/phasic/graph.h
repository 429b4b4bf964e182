// The state graph: a mutable builder and the immutable CSR form that every later layer reads.
//
// Vertex 0 is always the starting vertex. Its out-edges are the start distribution. A vertex whose
// only out-edges are self loops (or that has none) is absorbing. An edge has a constant part, a
// parameterised part (coefficients, linear in theta), or both.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "phasic/base.h"

namespace phasic {

namespace detail {
struct LooseEdge;
}

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

// One outgoing edge as the user sees it: parallel transitions are added up.
struct EdgeView {
  std::int32_t target = 0;
  bool has_constant = false;
  double constant = 0.0;             // 0 without a constant part
  std::vector<double> coefficients;  // dense, (param_length); empty without a parameterised part
};

// The edges out of one vertex, sorted by target; checks the index.
[[nodiscard]] std::vector<EdgeView> out_edges(const Graph& graph, Index vertex);

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
  // Continues from a finished graph: same vertices and edges; of duplicate states, the first is the
  // one that find_vertex finds. The starting vertex is never found by its state.
  explicit GraphBuilder(const Graph& graph);

  // Creates the vertex when no vertex made by this function has the state. O(1) expected.
  Index find_or_create_vertex(Span<const std::int32_t> state);
  // The same for many states, in their order; faster, since the look-ups overlap in memory.
  void find_or_create_vertices(Span<const std::int32_t> states,  // (n, state_length)
                               Span<std::int32_t> vertices);     // (n), the result
  // -1 when absent.
  [[nodiscard]] Index find_vertex(Span<const std::int32_t> state) const;
  // Always a new vertex, even if the state exists. The span must not point into this builder.
  Index add_vertex(Span<const std::int32_t> state);

  void add_edge(Index from, Index to, double weight);
  void add_edge(Index from, Index to, Span<const double> coefficients);

  [[nodiscard]] Index n_vertices() const noexcept { return ssize(first_edge_); }
  [[nodiscard]] Index state_length() const noexcept { return state_length_; }
  [[nodiscard]] Index param_length() const noexcept { return std::max<Index>(param_length_, 0); }
  [[nodiscard]] bool discrete() const noexcept { return discrete_; }
  [[nodiscard]] Span<const std::int32_t> states() const noexcept { return states_; }
  [[nodiscard]] Span<const std::int32_t> state(Index vertex) const;  // checks the index
  [[nodiscard]] std::vector<EdgeView> out_edges(Index vertex) const;  // sorted by target

  // Validates and compresses. The builder may be extended afterwards; the result does not change.
  [[nodiscard]] GraphPtr freeze() const;

 private:
  struct Edge {
    std::int32_t to;
    bool parameterised;
    Index next;        // next edge of the same source, or -1
    Index coef_begin;  // into coefficients_, one dense row of param_length
    double weight;
  };
  void check_vertex(Index vertex, const char* role) const;
  void check_edge(Index from, Index to) const;
  void append_edge(Index from, const Edge& edge);
  void gather_row(Index vertex, std::vector<detail::LooseEdge>& row) const;
  // Slot of the state in slots_: it holds the vertex, or -1 where the state would go.
  [[nodiscard]] std::size_t find_slot(Span<const std::int32_t> state,
                                      std::uint64_t hash) const noexcept;
  // Makes room for that many further states, so that slots stay where they are.
  void reserve_slots(Index n_new);

  Index state_length_;
  Index param_length_ = -1;  // unknown until the first parameterised edge
  bool discrete_;
  std::vector<std::int32_t> states_;
  std::vector<Index> first_edge_, last_edge_;  // by vertex, into edges_, or -1
  std::vector<Edge> edges_;
  std::vector<double> coefficients_;
  std::vector<std::int32_t> slots_;  // open addressing by state; a power of two, at most half full
  std::size_t n_slots_used_ = 0;
};

}  // namespace phasic
