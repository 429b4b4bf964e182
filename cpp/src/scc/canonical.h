// A canonical order of a pattern's vertices: isomorphic patterns, put into it, become equal.
#pragma once

#include <cstdint>
#include <vector>

#include "scc/refine.h"

namespace phasic::detail {

// Larger components keep the order of the graph.
inline constexpr Index kMaxCanonicalVertices = 2000;
// Nodes that the search for one pattern may visit. A count, not a time: orders, and with them digests,
// must not depend on the machine. Like all of this file, part of what kPatternFormat names.
inline constexpr Index kMaxCanonicalNodes = 100;

// Orders one pattern after another; keeps its scratch memory between them.
class Canoniser {
 public:
  // The rows of the pattern in their new order.
  [[nodiscard]] std::vector<std::int32_t> order(const Pattern& pattern);
  // Whether the last search ended within its budget, so that the order is certainly canonical.
  [[nodiscard]] bool is_proven() const noexcept { return n_nodes_ <= kMaxCanonicalNodes; }

 private:
  enum class Against { better, equal };  // the path so far, compared with that of the best leaf
  struct Node {
    Partition partition;
    std::vector<std::int32_t> candidates;  // the undecided cell; empty at a leaf
    std::size_t next = 0;                  // candidates before it were tried or are images of such
    std::int32_t chosen = -1;              // the candidate that the path goes through
    std::vector<std::int32_t> tried;
    std::vector<std::int32_t> orbit;       // union-find forest of automorphisms that fix the path
    std::size_t n_automorphisms = 0;       // those taken into orbit
    std::uint64_t hash = 0;
    Against against = Against::better;
  };
  struct Leaf {
    std::vector<std::int32_t> order;
    Pattern pattern;
    std::vector<std::uint64_t> hashes;     // of the nodes on its path
    std::vector<std::int32_t> path;        // vertices individualised
  };

  void search();
  bool choose(Index level);
  void take_in_automorphisms(Index level);
  void descend(Index level);
  Index arrive(Index level);
  void prepare(Node& node);
  void go_straight_down(Partition& partition);

  Refiner refiner_;
  std::vector<Node> nodes_;  // the path from the root; later ones are spare memory
  Leaf best_;
  std::vector<std::vector<std::int32_t>> automorphisms_;
  Index n_nodes_ = 0;
};

// A reverse Cuthill-McKee order, a good order of elimination for trees and bands. Equal patterns get
// equal orders, so what was canonical stays so.
[[nodiscard]] std::vector<std::int32_t> banded_order(const Pattern& pattern);

}  // namespace phasic::detail
