// Symbolic elimination: which fill an order causes, and orders that cause little.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phasic/trace.h"

namespace phasic::detail {

// Fill by elimination step, see ComponentTrace.
struct Fill {
  std::vector<Index> upper_begin, lower_begin;
  std::vector<std::int32_t> upper, lower;
  Index n_operations = 0;
};

// Eliminates in the given order (a permutation of 0..n-1). Stops with Error{budget} as soon as a budget
// is exceeded.
[[nodiscard]] Fill eliminate_symbolically(const Pattern& pattern, Span<const std::int32_t> order,
                                          const RecordOptions& options);

struct Ordering {
  std::string name;
  std::vector<std::int32_t> order;
};

// The cheapest member of the portfolio; ties go to the earlier member, within one to the lower index.
// Error{budget} if none stays within the budgets.
[[nodiscard]] Ordering choose_ordering(const Pattern& pattern, const RecordOptions& options);

// operations, bytes: what was counted when it became too much.
[[noreturn]] void throw_over_budget(const Pattern& pattern, const RecordOptions& options,
                                    double operations, double bytes);

}  // namespace phasic::detail
