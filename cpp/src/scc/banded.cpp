// A reverse Cuthill-McKee order of a pattern, the direction of its edges disregarded.
//
// 1. Start from a vertex of least degree; go to one of least degree among the farthest from it, as
//    long as that is farther away than the last one was (George and Liu 1979).
// 2. Number breadth first from there, the neighbours of each vertex by degree, then index.
// 3. Reverse. On a tree no elimination in this order fills, on a band it stays within the band.
#include <algorithm>
#include <tuple>

#include "scc/canonical.h"
#include "scc/pattern.h"

namespace phasic::detail {
namespace {

class BreadthFirst {
 public:
  explicit BreadthFirst(const Pattern& pattern)
      : forward_(pattern), reverse_(transposed(pattern)), distance_(at(pattern.n())) {}

  [[nodiscard]] bool less(std::int32_t a, std::int32_t b) const {
    return std::make_tuple(degree(a), a) < std::make_tuple(degree(b), b);
  }
  // Numbers all vertices from the given one; returns how far away the last is.
  std::int32_t run(std::int32_t start) {
    order_.assign(1, start);
    std::fill(distance_.begin(), distance_.end(), -1);
    distance_[at(start)] = 0;
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const std::int32_t v = order_[i];
      const Index first = ssize(order_);
      meet(forward_, v);
      meet(reverse_, v);
      std::sort(order_.begin() + first, order_.end(),
                [this](std::int32_t a, std::int32_t b) { return less(a, b); });
    }
    return distance_[at(order_.back())];
  }
  // The least of the vertices that are farthest away.
  [[nodiscard]] std::int32_t end() const {
    std::int32_t best = order_.back();
    for (const std::int32_t v : order_) {
      if (distance_[at(v)] == distance_[at(order_.back())] && less(v, best)) best = v;
    }
    return best;
  }
  [[nodiscard]] const std::vector<std::int32_t>& order() const noexcept { return order_; }

 private:
  [[nodiscard]] std::int32_t degree(std::int32_t v) const {
    return forward_.row_begin[at(v + 1)] - forward_.row_begin[at(v)] +
           reverse_.row_begin[at(v + 1)] - reverse_.row_begin[at(v)];
  }
  void meet(const Pattern& rows, std::int32_t v) {
    for (std::int32_t e = rows.row_begin[at(v)]; e < rows.row_begin[at(v + 1)]; ++e) {
      const std::int32_t z = rows.column[at(e)];
      if (distance_[at(z)] >= 0) continue;
      distance_[at(z)] = distance_[at(v)] + 1;
      order_.push_back(z);
    }
  }

  const Pattern& forward_;
  const Pattern reverse_;
  std::vector<std::int32_t> distance_;  // from the start, -1 before a vertex is met
  std::vector<std::int32_t> order_;
};

}  // namespace

std::vector<std::int32_t> banded_order(const Pattern& pattern) {
  BreadthFirst search(pattern);
  std::int32_t start = 0;
  for (std::int32_t v = 1; v < static_cast<std::int32_t>(pattern.n()); ++v) {
    if (search.less(v, start)) start = v;
  }
  std::int32_t length = search.run(start);
  for (;;) {
    const std::int32_t end = search.end();
    const std::int32_t back = search.run(end);
    if (back <= length) break;
    length = back;
  }
  return {search.order().rbegin(), search.order().rend()};
}

}  // namespace phasic::detail
