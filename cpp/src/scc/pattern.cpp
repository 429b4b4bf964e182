// The pattern of a component: its digest, its other forms, and the checks on one that was read.
#include "scc/pattern.h"

#include <algorithm>
#include <string>

#include "base/text.h"
#include "phasic/digest.h"

namespace phasic {
namespace {

using detail::number_text;

// Vertices reached from vertex 0 along the given rows.
Index count_reached(const std::vector<std::int32_t>& row_begin,
                    const std::vector<std::int32_t>& column) {
  std::vector<char> seen(row_begin.size() - 1, 0);
  std::vector<std::int32_t> stack{0};
  seen[0] = 1;
  Index reached = 1;
  while (!stack.empty()) {
    const std::int32_t v = stack.back();
    stack.pop_back();
    for (std::int32_t e = row_begin[at(v)]; e < row_begin[at(v + 1)]; ++e) {
      const std::int32_t z = column[at(e)];
      if (seen[at(z)] != 0) continue;
      seen[at(z)] = 1;
      ++reached;
      stack.push_back(z);
    }
  }
  return reached;
}

void check_row(const Pattern& pattern, Index v) {
  std::int32_t previous = -1;
  for (std::int32_t e = pattern.row_begin[at(v)]; e < pattern.row_begin[at(v + 1)]; ++e) {
    const std::int32_t z = pattern.column[at(e)];
    if (z <= previous || z >= pattern.n() || z == v) {
      fail("pattern row " + number_text(v) + " has column " + number_text(Index{z}) + " after " +
           number_text(Index{previous}) + ", expected increasing columns below " +
           number_text(pattern.n()) + " without the row itself");
    }
    previous = z;
  }
}

}  // namespace

namespace detail {

Pattern transposed(const Pattern& pattern) {
  Pattern result;
  result.row_begin.assign(pattern.row_begin.size(), 0);
  result.column.resize(pattern.column.size());
  for (const std::int32_t z : pattern.column) ++result.row_begin[at(z + 1)];
  for (std::size_t i = 1; i < result.row_begin.size(); ++i) {
    result.row_begin[i] += result.row_begin[i - 1];
  }
  std::vector<std::int32_t> next = result.row_begin;
  for (Index v = 0; v < pattern.n(); ++v) {
    for (std::int32_t e = pattern.row_begin[at(v)]; e < pattern.row_begin[at(v + 1)]; ++e) {
      result.column[at(next[at(pattern.column[at(e)])]++)] = static_cast<std::int32_t>(v);
    }
  }
  return result;
}

Pattern permuted(const Pattern& pattern, Span<const std::int32_t> order) {
  std::vector<std::int32_t> row_of(at(pattern.n()));
  for (Index i = 0; i < pattern.n(); ++i) row_of[at(order[i])] = static_cast<std::int32_t>(i);
  Pattern result;
  result.row_begin.reserve(pattern.row_begin.size());
  result.column.reserve(pattern.column.size());
  result.row_begin.push_back(0);
  for (const std::int32_t v : order) {
    const Index first = ssize(result.column);
    for (std::int32_t e = pattern.row_begin[at(v)]; e < pattern.row_begin[at(v + 1)]; ++e) {
      result.column.push_back(row_of[at(pattern.column[at(e)])]);
    }
    std::sort(result.column.begin() + first, result.column.end());
    result.row_begin.push_back(static_cast<std::int32_t>(result.column.size()));
  }
  return result;
}

}  // namespace detail

std::string pattern_digest(const Pattern& pattern) {
  Hasher hasher("phasic-component-" + std::to_string(kPatternFormat));
  hasher.add(pattern.n());
  for (const std::int32_t begin : pattern.row_begin) hasher.add(Index{begin});
  for (const std::int32_t column : pattern.column) hasher.add(Index{column});
  return hasher.hex();
}

void validate_pattern(const Pattern& pattern) {
  const std::vector<std::int32_t>& begin = pattern.row_begin;
  if (pattern.n() < 1 || begin.front() != 0 || begin.back() != ssize(pattern.column)) {
    fail("the pattern has " + number_text(pattern.n()) + " rows and " +
         number_text(ssize(pattern.column)) +
         " columns, expected at least one row and row_begin from 0 to the number of columns");
  }
  for (Index v = 0; v < pattern.n(); ++v) {
    if (begin[at(v)] > begin[at(v + 1)] || begin[at(v + 1)] > begin.back()) {
      fail("pattern row_begin falls from " + number_text(Index{begin[at(v)]}) + " to " +
           number_text(Index{begin[at(v + 1)]}) + " at row " + number_text(v) +
           ", expected a non-decreasing sequence");
    }
  }
  for (Index v = 0; v < pattern.n(); ++v) check_row(pattern, v);
  const Pattern reverse = detail::transposed(pattern);
  const Index forward = count_reached(begin, pattern.column);
  const Index backward = count_reached(reverse.row_begin, reverse.column);
  if (forward != pattern.n() || backward != pattern.n()) {
    fail("the pattern is not strongly connected: of " + number_text(pattern.n()) +
         " vertices, vertex 0 reaches " + number_text(forward) + " and is reached from " +
         number_text(backward));
  }
}

}  // namespace phasic
