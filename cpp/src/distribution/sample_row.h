// Everything that the draws of one parameter vector share: checked, predicted, tabulated.
//
// 1. Weights are evaluated and checked as for every quantity.
// 2. States from which a path cannot end are found; jumps into them become kNever. With a horizon
//    every path ends, so these are ordinary states then.
// 3. The expected number of jumps of all draws is compared with the budget, before the first draw: a
//    draw that was cut short would belong to another distribution.
// 4. To condition on where paths end, every weight u -> z is multiplied by h(z) / h(u), h being the
//    probability of ending there (Doob's transform). Rates of leaving stay as they are, since h is
//    harmonic. h comes from the same elimination as moments, without subtraction.
#pragma once

#include <memory>
#include <vector>

#include "distribution/jump_tables.h"
#include "phasic/sample.h"

namespace phasic::detail {

// The operands of one row.
struct SampleArguments {
  std::uint32_t seed[kSeedWords];
  std::vector<double> theta;         // (param_length)
  std::vector<double> rewards;       // (n_rewards, n_vertices)
  double horizon = 0;
  std::vector<std::int32_t> starts;  // (n_draws) vertices, or empty
};

class RowSampler {
 public:
  RowSampler(const Program& program, const SampleRequest& request);
  ~RowSampler();
  RowSampler(const RowSampler&) = delete;
  RowSampler& operator=(const RowSampler&) = delete;

  [[nodiscard]] DrawStatus prepare(const SampleArguments& row);

  [[nodiscard]] const JumpTables& tables() const noexcept { return tables_; }
  [[nodiscard]] Index start_row() const noexcept { return program_.n_positions; }
  // (n_positions, n_rewards)
  [[nodiscard]] const double* rewards() const noexcept { return rewards_.data(); }
  // Where a draw that starts in `vertex` begins, as a target of JumpTables.
  [[nodiscard]] std::int32_t begin_of(std::int32_t vertex) const noexcept {
    return fate(target_of(vertex));
  }
  // Jumps that one draw is expected to take, or a bound where that is cheaper.
  [[nodiscard]] double expected_jumps() const noexcept { return expected_jumps_; }

 private:
  struct Numerics;  // elimination and row checks

  [[nodiscard]] bool is_known(std::int32_t vertex) const noexcept;
  [[nodiscard]] DrawStatus check(const SampleArguments& row) const;
  [[nodiscard]] DrawStatus weigh(Span<const double> theta);
  [[nodiscard]] DrawStatus find_traps(Span<const std::int32_t> starts);
  [[nodiscard]] std::vector<bool> reached_from(Span<const std::int32_t> starts) const;
  [[nodiscard]] DrawStatus find_endings(Span<const std::int32_t> starts);
  void predict(const SampleArguments& row);
  void tabulate();
  void gather_rewards(Span<const double> rewards);
  void factor();
  // Expectation over the start of a function of positions, and its value on absorbing vertices.
  [[nodiscard]] double start_mean(const std::vector<double>& values, double absorbed) const;
  [[nodiscard]] std::int32_t target_of(std::int32_t vertex) const noexcept {
    const std::int32_t position = program_.position_of[at(vertex)];
    return position < 0 ? -1 - vertex : position;
  }
  // kNever for a position that paths never end from, if they have to.
  [[nodiscard]] std::int32_t fate(std::int32_t target) const noexcept {
    return !request_.has_horizon && target >= 0 && is_trap_[at(target)] ? kNever : target;
  }
  // What one jump counts towards the budget.
  [[nodiscard]] double operations() const noexcept {
    return kOperationsOfAJump + static_cast<double>(request_.n_rewards > 0 ? request_.n_rewards : 0);
  }
  // Probability of ending in `given` from a target; 1 without a condition.
  [[nodiscard]] double ending(std::int32_t target) const noexcept;

  const Program& program_;
  const SampleRequest& request_;
  const bool conditioned_;
  bool acyclic_ = true, odd_ = false, any_trap_ = false;
  std::unique_ptr<Numerics> numerics_;
  JumpTables tables_;
  double expected_jumps_ = 0, start_ending_ = 1;
  std::vector<double> weight_;  // (n_out)
  std::vector<std::int32_t> sorted_;  // (n_out) out-edges of each position in the order of the graph,
                                      // so that draws do not depend on the order of elimination
  std::vector<double> total_;   // (n_positions) rate of leaving
  std::vector<char> is_trap_;   // (n_positions)
  std::vector<double> ending_;  // (n_places), 0 behind the positions; if conditioned
  std::vector<char> is_given_;  // (n_vertices), if conditioned
  std::vector<double> rewards_, rhs_, eliminated_, solution_;
  std::vector<Candidate> candidates_;
};

}  // namespace phasic::detail
