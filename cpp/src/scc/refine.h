// Colour refinement of a pattern's vertices: the coarsest partition in which any two vertices of one
// cell have equally many edges to, and from, each cell.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "phasic/scc.h"

namespace phasic::detail {

// An ordered partition of the vertices. A cell is named by the position where it begins.
struct Partition {
  std::vector<std::int32_t> element;   // (n) vertices, cell after cell
  std::vector<std::int32_t> position;  // (n) where a vertex is in element
  std::vector<std::int32_t> cell;      // (n) by vertex
  std::vector<std::int32_t> size;      // (n) by the position where the cell begins; others unused
  Index n_cells = 0;

  void reset(Index n);  // one cell of all vertices
  [[nodiscard]] Index n() const noexcept { return ssize(element); }
  // Makes the vertex a cell of its own, in front of the rest of its cell; returns that rest's name.
  std::int32_t individualise(std::int32_t vertex);
};

// Refines partitions of one pattern after another; keeps its scratch memory between them.
class Refiner {
 public:
  void set_pattern(const Pattern& pattern);
  // Refines by the given cells, which must be all that can split another. Returns a hash of what
  // happened: equal for two partitions that an isomorphism maps onto each other.
  std::uint64_t refine(Partition& partition, std::vector<std::int32_t> cells);
  // The first of the smallest cells that are joined to some cell neither fully nor not at all, or -1:
  // then every order inside the cells of this refined partition gives the same pattern.
  [[nodiscard]] std::int32_t undecided_cell(const Partition& partition);
  [[nodiscard]] const Pattern& pattern(bool reverse) const noexcept {
    return reverse ? reverse_ : forward_;
  }

 private:
  struct Met {
    std::int32_t cell, count, vertex;
  };
  void count_edges(const Partition& partition, bool reverse);
  void split_met_cells(Partition& partition);
  void split(Partition& partition, std::size_t first, std::size_t last);
  void enqueue_parts(const Partition& partition, std::int32_t cell, std::int32_t end);
  bool is_undecided(const Partition& partition, std::int32_t cell, bool reverse);
  void mix(std::uint64_t value) noexcept;

  Pattern forward_, reverse_;
  std::vector<std::int32_t> count_;     // (n) edges met per vertex, or per cell; zero between uses
  std::vector<std::int32_t> splitter_;  // vertices of the cell that splits the others
  std::vector<std::int32_t> met_vertices_;
  std::vector<Met> met_;                // vertices of cells of several, by cell and count
  std::vector<std::int32_t> queue_;     // cells that may split others, first in first out
  std::vector<char> queued_;            // (n) by cell
  std::uint64_t hash_ = 0;
};

}  // namespace phasic::detail
