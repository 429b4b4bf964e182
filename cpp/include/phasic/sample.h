// Random draws from a linked program: when a path ends or what it earns, where it ends, or the path.
//
// Draw i of row r depends on (seed, r, i) and on theta alone: not on threads, on the other rows, on
// how many draws there are, on the kernel, or on the machine.
#pragma once

#include <string>
#include <vector>

#include "phasic/evaluate.h"

namespace phasic {

inline constexpr Index kSeedWords = 6;           // 128 bits of key, the row's number, a stream's number
inline constexpr double kOperationsOfAJump = 10; // what one jump counts towards max_operations

struct SampleRequest {
  Index n_draws = 1;         // of each row
  Index n_rewards = -1;      // -1: no rewards operand, what is drawn is the time
  Index max_length = 0;      // above 0: draw paths, of which so many vertices are written
  bool has_horizon = false;  // stop at a time (discrete: a step) of each row
  bool has_starts = false;   // every draw starts in a vertex of its own
  std::vector<std::int32_t> given;  // absorbing vertices: condition on ending in one; empty: none
  double max_operations = 2e10;     // predicted work of one row, kOperationsOfAJump a jump
  int threads = 0;                  // 0: as many as the machine has
};

// As Operand, of 32-bit integers.
struct IntegerOperand {
  const void* data = nullptr;
  Index size = 0;
  std::vector<Index> strides;
};

struct SampleOperands {
  IntegerOperand seed;    // (kSeedWords) uint32
  Operand theta;          // (param_length)
  Operand rewards;        // (n_rewards, n_vertices), if n_rewards >= 0
  Operand horizon;        // (1) if has_horizon: finite, >= 0; discrete: a whole number
  IntegerOperand starts;  // (n_draws) int32 vertices if has_starts: transient ones that the model's
                          // start leads to, or absorbing ones
};

// What a row met. Up to over_budget the numbers are those of RowStatus. A row that is not ok holds
// NaN and vertex -1, except a trapped one, whose draws are made: those that never end hold +inf.
enum class DrawStatus : std::int32_t {
  ok = 0,
  trapped = static_cast<int>(RowStatus::trapped),
  bad_time = static_cast<int>(RowStatus::bad_time),
  over_budget = static_cast<int>(RowStatus::over_budget),
  impossible = 9,  // no path ends in `given`
  bad_start,       // a draw's own start is no vertex that the model's start leads to
};

struct SampleResults {
  Result value;                  // (batch.., n_draws, n_rewards or 1); paths: (.., n_draws, max_length)
                                 // the time of entering each vertex, +inf behind the end
  std::int32_t* vertex = nullptr;  // (batch.., n_draws) where the draw ended, -1: in no vertex (defect,
                                   // trap); paths: (.., n_draws, max_length), -1 behind the end
  std::int32_t* length = nullptr;  // paths: (batch.., n_draws) vertices of the whole path, also beyond
                                   // max_length
  DrawStatus* status = nullptr;    // (batch..)
};

// Throws Error{invalid_argument} if the request itself is inconsistent.
void sample(const Program& program, const SampleRequest& request, Span<const Index> batch_shape,
            const SampleOperands& operands, const SampleResults& results);

// The full sentence for a row that failed.
[[nodiscard]] std::string explain(const Program& program, const SampleRequest& request,
                                  DrawStatus status, Span<const double> theta,
                                  Span<const double> rewards, Span<const double> horizon,
                                  Span<const std::int32_t> starts);

}  // namespace phasic
