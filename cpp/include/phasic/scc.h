// Strongly connected components, their patterns and digests, and the work units made of them.
//
// Components cover the transient vertices (neither the starting vertex nor an absorbing one) and
// are listed sinks first: every edge that leaves component c leads to a component before c or to an
// absorbing vertex.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "phasic/graph.h"

namespace phasic {

// Which internal edges a component has. Rows sorted, no self loops. This alone decides its trace.
struct Pattern {
  std::vector<std::int32_t> row_begin;  // (n + 1)
  std::vector<std::int32_t> column;     // (n_edges)
  [[nodiscard]] Index n() const noexcept { return ssize(row_begin) - 1; }
  [[nodiscard]] bool operator==(const Pattern& other) const noexcept {
    return row_begin == other.row_begin && column == other.column;
  }
};

// Part of the digest; equals kTraceFormatMajor, since equal digest means equal trace.
inline constexpr int kPatternFormat = 2;

// Digest of (trace format version, pattern): the cache key.
[[nodiscard]] std::string pattern_digest(const Pattern& pattern);
// Throws Error{invalid_argument} unless row_begin/column are consistent, sorted, without self loops
// and strongly connected.
void validate_pattern(const Pattern& pattern);

struct Component {
  // Graph vertices in canonical order: row i of the pattern. Isomorphic components have one pattern,
  // hence one digest, up to the limits of src/scc/canonical.h on size and symmetry.
  std::vector<std::int32_t> vertices;
  Pattern pattern;
  std::string digest;
};

struct Decomposition {
  GraphPtr graph;
  std::vector<Component> components;        // sinks first
  std::vector<std::int32_t> component_of;   // (n_vertices), -1 for starting and absorbing vertices
};

[[nodiscard]] Decomposition decompose(GraphPtr graph);

// The component as a graph of its own: row 0 the starting vertex (it enters at the first vertex),
// rows 1..n the vertices in canonical order with their internal edges, row n + 1 one absorbing
// vertex that carries all exits (their constant and parameterised parts summed).
[[nodiscard]] GraphPtr component_graph(const Decomposition& decomposition, Index component);
// The inverse reading: the pattern of rows 1..n of a component graph; throws Error if the graph does
// not have that form.
[[nodiscard]] Pattern pattern_of_component_graph(const Graph& graph);

}  // namespace phasic
