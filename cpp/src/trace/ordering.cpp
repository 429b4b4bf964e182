// The portfolio of elimination orders for one component.
//
// 1. A natural order of the vertices without fill, as in chains and trees, ends the search.
// 2. Greedy orders that eliminate next the vertex with the least product (Markowitz) or sum (minimum
//    degree) of live in- and out-degree.
// 3. Natural and reverse order (often near optimal for states built breadth first).
// 4. Every member is counted exactly; counting stops as soon as a member exceeds the best so far. What is
//    complete costs the same in every order and is counted by formula.
// Source: Markowitz 1957; Tinney and Walker 1967; Amestoy, Li and Ng 2007 (diagonal pivots suffice).

#include <algorithm>
#include <limits>
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

  void add(Index sources, Index targets) {
    operations += sources * (targets + 1);
    entries += sources + targets;
  }
  // n vertices, each of which leads to every other one.
  void add_complete(Index n) {
    operations += (n - 1) * n * (n + 1) / 3;
    entries += n * (n - 1);
  }
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

// Queued scores are lower bounds: most scores grow while others are eliminated, and are looked at again when
// their turn comes.
template <class Live>
Count greedy(const Pattern& pattern, Score score, const Limits& limits) {
  using Entry = std::pair<Index, std::int32_t>;  // (score, vertex), least first
  const Index n = pattern.n();
  Live live(pattern);
  std::vector<Index> queued(at(n), std::numeric_limits<Index>::max());  // the least that waits
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  const auto current = [&](Index v) {
    return score == Score::product ? live.in_count(v) * live.out_count(v)
                                   : live.in_count(v) + live.out_count(v);
  };
  const auto push = [&](Index v, Index value) {
    queued[at(v)] = value;
    queue.emplace(value, static_cast<std::int32_t>(v));
  };
  const auto push_if_less = [&](Index v) {
    if (const Index value = current(v); value < queued[at(v)]) {
      push(v, value);
    }
  };
  for (Index v = 0; v < n; ++v) {
    push(v, current(v));
  }
  Count count;
  std::vector<std::int32_t> sources, targets;
  std::vector<bool> eliminated(at(n));
  while (!queue.empty()) {
    if (const Index left = n - ssize(count.order); is_complete(live, left)) {
      count.add_complete(left);
      for (Index v = 0; v < n; ++v) {  // all scores are equal
        if (!eliminated[at(v)]) {
          count.order.push_back(static_cast<std::int32_t>(v));
        }
      }
      static_cast<void>(limits.exceeded(count, live));
      return count;
    }
    const auto [value, v] = queue.top();
    queue.pop();
    if (eliminated[at(v)] || value != queued[at(v)]) {
      continue;  // outdated entry
    }
    if (const Index now = current(v); now != value) {
      push(v, now);
      continue;
    }
    eliminated[at(v)] = true;
    count.order.push_back(v);
    live.sources(v, sources);
    live.targets(v, targets);
    count.add(ssize(sources), ssize(targets));
    if (limits.exceeded(count, live)) {
      return count;
    }
    live.eliminate(v, sources, targets);
    for (const Index u : sources) {
      push_if_less(u);
    }
    for (const Index u : targets) {
      push_if_less(u);
    }
  }
  return count;
}

// The first step that would cause fill ends the count as unfinished, unless it may.
template <class Live>
Count fixed(const Pattern& pattern, std::vector<std::int32_t> order, const Limits& limits,
            bool may_fill = true) {
  Live live(pattern);
  Count count;
  count.order = std::move(order);
  std::vector<std::int32_t> sources, targets;
  Index left = pattern.n();
  for (const std::int32_t v : count.order) {
    if (may_fill && is_complete(live, left)) {
      count.add_complete(left);
      static_cast<void>(limits.exceeded(count, live));
      return count;
    }
    live.sources(v, sources);
    live.targets(v, targets);
    count.add(ssize(sources), ssize(targets));
    if (limits.exceeded(count, live)) {
      return count;
    }
    const Index kept = live.edges() - ssize(sources) - ssize(targets);
    live.eliminate(v, sources, targets);
    --left;
    if (!may_fill && live.edges() > kept) {
      count.finished = false;
      return count;
    }
  }
  return count;
}

// The best so far: the fewest operations, then the earlier member of the portfolio.
class Portfolio {
 public:
  explicit Portfolio(const RecordOptions& options)
      : limits_{static_cast<Index>(std::min(options.max_operations, 1e18)), options.max_bytes} {}

  [[nodiscard]] const Limits& limits() const { return limits_; }

  void consider(const char* name, int rank, Count&& count) {
    if (!count.finished) {
      if (stopped_.operations == 0 || count.operations < stopped_.operations) {
        stopped_ = std::move(count);
      }
    } else if (best_.name.empty() || count.operations < limits_.operations || rank < rank_) {
      limits_.operations = count.operations;
      rank_ = rank;
      best_ = {name, std::move(count.order)};
    }
  }

  [[nodiscard]] Ordering best(const Pattern& pattern, const RecordOptions& options) && {
    if (best_.name.empty()) {
      throw_over_budget(pattern, options, static_cast<double>(stopped_.operations), stopped_.bytes);
    }
    return std::move(best_);
  }

 private:
  Limits limits_;
  Ordering best_;
  int rank_ = 0;
  Count stopped_;  // at the fewest operations
};

template <class Live>
Ordering best_of_portfolio(const Pattern& pattern, const RecordOptions& options) {
  Portfolio portfolio(options);
  std::vector<std::int32_t> natural(at(pattern.n()));
  std::iota(natural.begin(), natural.end(), 0);
  Count without_fill = fixed<Live>(pattern, natural, portfolio.limits(), false);
  if (without_fill.finished) {
    return {"natural", std::move(without_fill.order)};
  }
  const std::vector<std::int32_t> reverse(natural.rbegin(), natural.rend());
  const Limits& limits = portfolio.limits();
  portfolio.consider("markowitz", 2, greedy<Live>(pattern, Score::product, limits));
  portfolio.consider("minimum-degree", 3, greedy<Live>(pattern, Score::sum, limits));
  portfolio.consider("natural", 0, fixed<Live>(pattern, std::move(natural), limits));
  portfolio.consider("reverse", 1, fixed<Live>(pattern, reverse, limits));
  return std::move(portfolio).best(pattern, options);
}

}  // namespace

Ordering choose_ordering(const Pattern& pattern, const RecordOptions& options) {
  return pattern.n() <= DensePattern::kMaxVertices
             ? best_of_portfolio<DensePattern>(pattern, options)
             : best_of_portfolio<SparsePattern>(pattern, options);
}

}  // namespace phasic::detail
