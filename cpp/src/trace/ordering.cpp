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
  double bytes = 0;   // of what is left, when counting stopped
  bool finished = true;
};

// Counting stops beyond these.
struct Limits {
  Index operations;
  double bytes;
  template <class Live>
  [[nodiscard]] bool exceeded(Count& count, const Live& live) const {
    count.bytes = live.bytes();
    count.finished = count.operations <= operations && count.bytes <= bytes;
    return !count.finished;
  }
};

template <class Live>
Count greedy(const Pattern& pattern, Score score, const Limits& limits) {
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
    if (limits.exceeded(count, live)) {
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
Count fixed(const Pattern& pattern, std::vector<std::int32_t> order, const Limits& limits) {
  Live live(pattern);
  Count count;
  count.order = std::move(order);
  std::vector<std::int32_t> sources, targets;
  for (const std::int32_t v : count.order) {
    live.sources(v, sources);
    live.targets(v, targets);
    count.operations += ssize(sources) * (ssize(targets) + 1);
    count.entries += ssize(sources) + ssize(targets);
    if (limits.exceeded(count, live)) {
      return count;
    }
    live.eliminate(v, sources, targets);
  }
  return count;
}

template <class Live>
Ordering best_of_portfolio(const Pattern& pattern, const RecordOptions& options) {
  Ordering best;
  Limits limits{static_cast<Index>(std::min(options.max_operations, 1e18)), options.max_bytes};
  Count stopped;  // at the fewest operations
  const auto consider = [&](const char* name, Count&& count) {
    if (count.finished && (best.name.empty() || count.operations < limits.operations)) {
      limits.operations = count.operations;
      best = {name, std::move(count.order)};
    } else if (stopped.operations == 0 || count.operations < stopped.operations) {
      stopped = std::move(count);
    }
  };
  std::vector<std::int32_t> natural(at(pattern.n()));
  std::iota(natural.begin(), natural.end(), 0);
  Count count = fixed<Live>(pattern, natural, limits);
  const bool fills = !count.finished || count.entries > ssize(pattern.column);
  consider("natural", std::move(count));
  if (fills) {
    std::reverse(natural.begin(), natural.end());
    consider("reverse", fixed<Live>(pattern, std::move(natural), limits));
    consider("markowitz", greedy<Live>(pattern, Score::product, limits));
    consider("minimum-degree", greedy<Live>(pattern, Score::sum, limits));
  }
  if (best.name.empty()) {
    throw_over_budget(pattern, options, static_cast<double>(stopped.operations), stopped.bytes);
  }
  return best;
}

}  // namespace

Ordering choose_ordering(const Pattern& pattern, const RecordOptions& options) {
  return pattern.n() <= DensePattern::kMaxVertices
             ? best_of_portfolio<DensePattern>(pattern, options)
             : best_of_portfolio<SparsePattern>(pattern, options);
}

}  // namespace phasic::detail
