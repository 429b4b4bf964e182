// Symbolic elimination: which fill an order causes, and orders that cause little.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phasic/scc.h"

namespace phasic::detail {

// Fill by elimination step, see ComponentTrace.
struct Fill {
  std::vector<Index> upper_begin, lower_begin;
  std::vector<std::int32_t> upper, lower;
  Index n_operations = 0;
};

// Eliminates in the given order (a permutation of 0..n-1). Stops with Error{budget} as soon as the
// multiply-adds exceed max_operations.
[[nodiscard]] Fill eliminate_symbolically(const Pattern& pattern, Span<const std::int32_t> order,
                                          double max_operations);

struct Ordering {
  std::string name;
  std::vector<std::int32_t> order;
};

// The cheapest member of the portfolio; ties go to the earlier member, within one to the lower index.
// Error{budget} if none stays within max_operations.
[[nodiscard]] Ordering choose_ordering(const Pattern& pattern, double max_operations);

[[noreturn]] void throw_over_budget(const Pattern& pattern, double max_operations);

}  // namespace phasic::detail
