// Canonical orders by individualisation and refinement.
//
// 1. The root of a search tree is the refined partition of all vertices. A node's children come from
//    making a vertex of its undecided cell a cell of its own, one child a vertex, and refining.
// 2. At a leaf no cell is undecided: the partition is an order, up to vertices that it may swap.
// 3. The canonical order is that of the least leaf: by the hashes on its path, then by the pattern in
//    its order. A node whose path is greater already is dropped.
// 4. Two leaves with equal patterns give an automorphism. The search goes back to where their paths
//    part, and no node tries a vertex that automorphisms fixing its path map a tried one to.
// 5. When the budget ends first, the order is that of the least leaf so far, or, before there is one,
//    of the leaf straight below. Isomorphic patterns may then get different orders, hence digests, which
//    costs another recording and no correctness. Where all leaves are equal, as in trees of equal
//    branches, they do not even then.
//
// Source: McKay and Piperno, Practical graph isomorphism II, J. Symb. Comput. 60 (2014), section 2.
#include "scc/canonical.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "scc/pattern.h"

namespace phasic::detail {
namespace {

std::int32_t root_of(std::vector<std::int32_t>& forest, std::int32_t v) {
  while (forest[at(v)] != v) v = forest[at(v)] = forest[at(forest[at(v)])];
  return v;
}

}  // namespace

std::vector<std::int32_t> Canoniser::order(const Pattern& pattern) {
  n_nodes_ = 0;
  refiner_.set_pattern(pattern);
  best_.order.clear();
  automorphisms_.clear();
  if (nodes_.empty()) nodes_.emplace_back();
  Node& root = nodes_[0];
  root.partition.reset(pattern.n());
  root.hash = refiner_.refine(root.partition, {0});
  root.against = Against::better;
  prepare(root);
  search();
  return best_.order;
}

void Canoniser::search() {
  Index level = arrive(0);
  while (level >= 0) {
    if (!choose(level)) {
      --level;
      continue;
    }
    if (++n_nodes_ > kMaxCanonicalNodes) {
      if (best_.order.empty()) go_straight_down(nodes_[at(level)].partition);
      return;
    }
    descend(level);
    const Node& child = nodes_[at(level + 1)];
    const bool worse =
        child.against == Against::equal &&
        (level + 1 >= ssize(best_.hashes) || child.hash > best_.hashes[at(level + 1)]);
    if (!worse) level = arrive(level + 1);
  }
}

void Canoniser::go_straight_down(Partition& partition) {
  for (;;) {
    const std::int32_t cell = refiner_.undecided_cell(partition);
    if (cell < 0) break;
    partition.individualise(partition.element[at(cell)]);
    refiner_.refine(partition, {cell});
  }
  best_.order = partition.element;
}

void Canoniser::prepare(Node& node) {
  const Partition& partition = node.partition;
  const std::int32_t cell = refiner_.undecided_cell(partition);
  node.candidates.clear();
  if (cell >= 0) {
    const auto first = partition.element.begin() + cell;
    node.candidates.assign(first, first + partition.size[at(cell)]);
  }
  node.next = 0;
  node.chosen = -1;
  node.tried.clear();
  node.orbit.resize(at(partition.n()));
  std::iota(node.orbit.begin(), node.orbit.end(), 0);
  node.n_automorphisms = 0;
}

// Picks the node's next candidate that is no image of a tried one; false if there is none.
bool Canoniser::choose(Index level) {
  take_in_automorphisms(level);
  Node& node = nodes_[at(level)];
  while (node.next < node.candidates.size()) {
    const std::int32_t v = node.candidates[node.next++];
    const bool image = std::any_of(node.tried.begin(), node.tried.end(), [&](std::int32_t t) {
      return root_of(node.orbit, t) == root_of(node.orbit, v);
    });
    if (image) continue;
    node.tried.push_back(v);
    node.chosen = v;
    return true;
  }
  return false;
}

void Canoniser::take_in_automorphisms(Index level) {
  Node& node = nodes_[at(level)];
  for (; node.n_automorphisms < automorphisms_.size(); ++node.n_automorphisms) {
    const std::vector<std::int32_t>& image = automorphisms_[node.n_automorphisms];
    bool fixes_path = true;
    for (Index k = 0; k < level; ++k) {
      const std::int32_t v = nodes_[at(k)].chosen;
      fixes_path = fixes_path && image[at(v)] == v;
    }
    if (!fixes_path) continue;
    for (std::int32_t v = 0; v < static_cast<std::int32_t>(image.size()); ++v) {
      node.orbit[at(root_of(node.orbit, v))] = root_of(node.orbit, image[at(v)]);
    }
  }
}

// Makes the child of a node by its chosen candidate.
void Canoniser::descend(Index level) {
  if (level + 1 == ssize(nodes_)) nodes_.emplace_back();
  const Node& parent = nodes_[at(level)];
  Node& child = nodes_[at(level + 1)];
  child.partition = parent.partition;
  const std::int32_t cell = child.partition.cell[at(parent.chosen)];
  child.partition.individualise(parent.chosen);
  child.hash = refiner_.refine(child.partition, {cell});
  child.against = parent.against;
  if (child.against == Against::equal && level + 1 < ssize(best_.hashes) &&
      child.hash < best_.hashes[at(level + 1)]) {
    child.against = Against::better;
  }
  prepare(child);
}

// Visits a node; returns the level at which the search goes on.
Index Canoniser::arrive(Index level) {
  const Node& node = nodes_[at(level)];
  if (!node.candidates.empty()) return level;
  Pattern pattern = permuted(refiner_.pattern(false), node.partition.element);
  const bool shorter = level + 1 < ssize(best_.hashes);
  if (!best_.order.empty() && node.against == Against::equal && !shorter) {
    const auto key = [](const Pattern& p) { return std::tie(p.row_begin, p.column); };
    if (key(best_.pattern) < key(pattern)) return level - 1;
    if (best_.pattern == pattern) {
      std::vector<std::int32_t> image(best_.order.size());
      for (std::size_t i = 0; i < image.size(); ++i) {
        image[at(best_.order[i])] = node.partition.element[i];
      }
      automorphisms_.push_back(std::move(image));
      Index common = 0;
      while (nodes_[at(common)].chosen == best_.path[at(common)]) ++common;
      return common;
    }
  }
  best_.order = node.partition.element;
  best_.pattern = std::move(pattern);
  best_.hashes.clear();
  best_.path.clear();
  for (Index k = 0; k <= level; ++k) {
    best_.hashes.push_back(nodes_[at(k)].hash);
    if (k < level) best_.path.push_back(nodes_[at(k)].chosen);
    nodes_[at(k)].against = Against::equal;
  }
  return level - 1;
}

}  // namespace phasic::detail
