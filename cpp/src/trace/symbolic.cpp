// Symbolic elimination in a given order.
//
// 1. Keep the live pattern (who still leads to whom), numbered by steps, so that lists come sorted.
// 2. Step k: its live targets are the upper list, its live sources the lower list.
// 3. Join every source to every target (fill), remove the vertex.
// The count of multiply-adds is sum |lower| * |upper|, plus |lower| for the exits.
// Source: Markowitz 1957 (counts); Rose and Tarjan 1978 (fill of unsymmetric elimination).

#include "trace/symbolic.h"

#include <numeric>

#include "base/text.h"
#include "trace/live_pattern.h"

namespace phasic::detail {
namespace {

// The pattern with vertices numbered by the step that eliminates them.
Pattern by_steps(const Pattern& pattern, Span<const std::int32_t> order) {
  const Index n = pattern.n();
  std::vector<std::int32_t> step_of(at(n));
  for (Index k = 0; k < n; ++k) {
    step_of[at(order[k])] = static_cast<std::int32_t>(k);
  }
  Pattern result;
  result.row_begin.reserve(pattern.row_begin.size());
  result.column.reserve(pattern.column.size());
  result.row_begin.push_back(0);
  for (Index k = 0; k < n; ++k) {
    const auto first = static_cast<std::ptrdiff_t>(result.column.size());
    const Index v = order[k];
    for (Index e = pattern.row_begin[at(v)]; e < pattern.row_begin[at(v + 1)]; ++e) {
      result.column.push_back(step_of[at(pattern.column[at(e)])]);
    }
    std::sort(result.column.begin() + first, result.column.end());
    result.row_begin.push_back(static_cast<std::int32_t>(result.column.size()));
  }
  return result;
}

template <class Live>
Fill eliminate_live(const Pattern& pattern, Span<const std::int32_t> order,
                    const RecordOptions& options) {
  const Index n = pattern.n();
  Live live(by_steps(pattern, order));
  Fill fill;
  fill.upper_begin.push_back(0);
  fill.lower_begin.push_back(0);
  std::vector<std::int32_t> sources, targets;
  bool complete = false;  // then each step leads to all steps behind it, and nothing needs a search
  const auto append = [](const std::vector<std::int32_t>& steps, std::vector<Index>& begin,
                         std::vector<std::int32_t>& list) {
    list.insert(list.end(), steps.begin(), steps.end());
    begin.push_back(ssize(list));
  };
  for (Index k = 0; k < n; ++k) {
    complete = complete || is_complete(live, n - k);
    if (complete) {
      sources.resize(at(n - k - 1));
      std::iota(sources.begin(), sources.end(), static_cast<std::int32_t>(k + 1));
      targets = sources;
    } else {
      live.sources(k, sources);
      live.targets(k, targets);
    }
    fill.n_operations += ssize(sources) * (ssize(targets) + 1);
    const auto operations = static_cast<double>(fill.n_operations);
    const double bytes = live.bytes() + static_cast<double>(sizeof(std::int32_t)) *
                                            static_cast<double>(ssize(fill.upper) + ssize(targets) +
                                                                ssize(fill.lower) + ssize(sources));
    if (operations > options.max_operations || bytes > options.max_bytes) {
      throw_over_budget(pattern, options, operations, bytes);
    }
    append(targets, fill.upper_begin, fill.upper);
    append(sources, fill.lower_begin, fill.lower);
    if (!complete) {
      live.eliminate(k, sources, targets);
    }
  }
  return fill;
}

}  // namespace

void throw_over_budget(const Pattern& pattern, const RecordOptions& options, double operations,
                       double bytes) {
  throw Error(ErrorCode::budget,
              "eliminating this strongly connected component of " + std::to_string(pattern.n()) +
                  " vertices and " + std::to_string(pattern.column.size()) + " edges takes at least " +
                  number_text(operations) + " multiply-adds and " + number_text(bytes) +
                  " bytes, more than max_operations = " + number_text(options.max_operations) +
                  " or max_bytes = " + number_text(options.max_bytes) +
                  "; raise these, or lump states so that the component gets smaller");
}

Fill eliminate_symbolically(const Pattern& pattern, Span<const std::int32_t> order,
                            const RecordOptions& options) {
  return pattern.n() <= DensePattern::kMaxVertices
             ? eliminate_live<DensePattern>(pattern, order, options)
             : eliminate_live<SparsePattern>(pattern, order, options);
}

}  // namespace phasic::detail
