// The portfolio of elimination orders for one component.
//
// 1. Natural and reverse order of the vertices (often near optimal for states built breadth first). A
//    natural order without fill, as in chains and trees, ends the search.
// 2. Greedy orders that eliminate next the vertex with the least product (Markowitz) or sum (minimum
//    degree) of live in- and out-degree.
// 3. Every member is counted exactly; counting stops as soon as a member exceeds the best so far.
// Source: Markowitz 1957; Tinney and Walker 1967; Amestoy, Li and Ng 2007 (diagonal pivots suffice).

#include <algorithm>
#include <numeric>
#include <queue>
#include <utility>

#include "trace/live_pattern.h"
#include "trace/symbolic.h"

namespace phasic::detail {
namespace {

enum class Score { product, sum };

struct Count {
  std::vector<std::int32_t> order;
  Index operations = 0;
  Index entries = 0;  // edges met, fill included
  bool finished = true;
};

template <class Live>
Count greedy(const Pattern& pattern, Score score, Index limit) {
  using Entry = std::pair<Index, std::int32_t>;  // (score, vertex), least first
  const Index n = pattern.n();
  Live live(pattern);
  std::vector<Index> current(at(n));
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  const auto push = [&](Index v) {
    const Index value = score == Score::product ? live.in_count(v) * live.out_count(v)
                                                : live.in_count(v) + live.out_count(v);
    current[at(v)] = value;
    queue.emplace(value, static_cast<std::int32_t>(v));
  };
  for (Index v = 0; v < n; ++v) {
    push(v);
  }
  Count count;
  std::vector<std::int32_t> sources, targets;
  std::vector<bool> eliminated(at(n));
  while (!queue.empty()) {
    const auto [value, v] = queue.top();
    queue.pop();
    if (eliminated[at(v)] || value != current[at(v)]) {
      continue;  // outdated entry
    }
    eliminated[at(v)] = true;
    count.order.push_back(v);
    live.sources(v, sources);
    live.targets(v, targets);
    count.operations += ssize(sources) * (ssize(targets) + 1);
    count.entries += ssize(sources) + ssize(targets);
    if (count.operations > limit) {
      count.finished = false;
      return count;
    }
    live.eliminate(v, sources, targets);
    for (const Index u : sources) {
      push(u);
    }
    for (const Index u : targets) {
      push(u);
    }
  }
  return count;
}

template <class Live>
Count fixed(const Pattern& pattern, std::vector<std::int32_t> order, Index limit) {
  Live live(pattern);
  Count count;
  count.order = std::move(order);
  std::vector<std::int32_t> sources, targets;
  for (const std::int32_t v : count.order) {
    live.sources(v, sources);
    live.targets(v, targets);
    count.operations += ssize(sources) * (ssize(targets) + 1);
    count.entries += ssize(sources) + ssize(targets);
    if (count.operations > limit) {
      count.finished = false;
      return count;
    }
    live.eliminate(v, sources, targets);
  }
  return count;
}

template <class Live>
Ordering best_of_portfolio(const Pattern& pattern, double max_operations) {
  Ordering best;
  auto limit = static_cast<Index>(std::min(max_operations, 1e18));
  const auto consider = [&](const char* name, Count&& count) {
    if (count.finished && (best.name.empty() || count.operations < limit)) {
      limit = count.operations;
      best = {name, std::move(count.order)};
    }
  };
  std::vector<std::int32_t> natural(at(pattern.n()));
  std::iota(natural.begin(), natural.end(), 0);
  Count count = fixed<Live>(pattern, natural, limit);
  const bool fills = !count.finished || count.entries > ssize(pattern.column);
  consider("natural", std::move(count));
  if (fills) {
    std::reverse(natural.begin(), natural.end());
    consider("reverse", fixed<Live>(pattern, std::move(natural), limit));
    consider("markowitz", greedy<Live>(pattern, Score::product, limit));
    consider("minimum-degree", greedy<Live>(pattern, Score::sum, limit));
  }
  if (best.name.empty()) {
    throw_over_budget(pattern, max_operations);
  }
  return best;
}

}  // namespace

Ordering choose_ordering(const Pattern& pattern, double max_operations) {
  return pattern.n() <= DensePattern::kMaxVertices
             ? best_of_portfolio<DensePattern>(pattern, max_operations)
             : best_of_portfolio<SparsePattern>(pattern, max_operations);
}

}  // namespace phasic::detail
