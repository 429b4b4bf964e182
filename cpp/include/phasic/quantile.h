// Quantiles of the absorption time: the smallest t with cdf(t) >= q.
#pragma once

#include <string>

#include "phasic/evaluate.h"

namespace phasic {

struct QuantileRequest {
  Index n_levels = 1;            // probabilities of one row
  double truncation = 1e-14;     // as in Request
  double max_operations = 2e10;  // of one evaluation at one parameter vector
  int threads = 0;
  KernelKind kernel = KernelKind::automatic;
};

// As RowStatus, of a quantile.
enum class QuantileStatus : std::int32_t {
  ok = 0,
  over_budget = static_cast<int>(RowStatus::over_budget),
  bad_level = 9,  // a probability outside [0, 1], or NaN
};

// theta: (param_length), levels: (n_levels) probabilities, value: (batch.., n_levels), status: (batch..).
// A row that is not ok holds NaN. Levels that the distribution does not reach give +inf: 1 unless time
// is bounded, and what exceeds the probability of absorption at all.
void quantile(const Program& program, const QuantileRequest& request, Span<const Index> batch_shape,
              const Operand& theta, const Operand& levels, const Result& value,
              QuantileStatus* status);

// The full sentence for a row that failed.
[[nodiscard]] std::string explain(const Program& program, const QuantileRequest& request,
                                  QuantileStatus status, Span<const double> theta,
                                  Span<const double> levels);

}  // namespace phasic
