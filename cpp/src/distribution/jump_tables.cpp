#include "distribution/jump_tables.h"

namespace phasic::detail {
namespace {

constexpr double kTwoTo64 = 18446744073709551616.0;

[[nodiscard]] std::uint64_t threshold_of(double share) noexcept {
  return share >= 1 ? UINT64_MAX : static_cast<std::uint64_t>(share * kTwoTo64);
}

}  // namespace

void JumpTables::append_end(std::int32_t target, double scale) {
  rows_.push_back({ssize(cells_), 1, scale});
  cells_.push_back({UINT64_MAX, {target, target}});
}

// A share is a cell's weight in units of the mean weight. Each small cell is filled up from a large
// one; a share left over is 1 but for rounding, and so is what its cell keeps.
void JumpTables::append(Span<const Candidate> candidates, double scale) {
  const Index begin = ssize(cells_);
  double total = 0;
  for (const Candidate& c : candidates) {
    if (c.weight > 0) {
      cells_.push_back({UINT64_MAX, {c.target, c.target}});
      total += c.weight;
    }
  }
  const Index n = ssize(cells_) - begin;
  rows_.push_back({begin, static_cast<std::uint64_t>(n), scale});
  share_.clear();
  small_.clear();
  large_.clear();
  for (const Candidate& c : candidates) {
    if (c.weight > 0) {
      share_.push_back(c.weight / total * static_cast<double>(n));
    }
  }
  for (Index i = 0; i < n; ++i) {
    (share_[at(i)] < 1 ? small_ : large_).push_back(i);
  }
  while (!small_.empty() && !large_.empty()) {
    const Index poor = small_.back(), rich = large_.back();
    small_.pop_back();
    Cell& cell = cells_[at(begin + poor)];
    cell.threshold = threshold_of(share_[at(poor)]);
    cell.target[1] = cells_[at(begin + rich)].target[0];
    share_[at(rich)] = (share_[at(rich)] + share_[at(poor)]) - 1;
    if (share_[at(rich)] < 1) {
      large_.pop_back();
      small_.push_back(rich);
    }
  }
}

}  // namespace phasic::detail
