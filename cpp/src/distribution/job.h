// One evaluation as the instruction-set specific code sees it.
#pragma once

#include <vector>

#include "distribution/uniformization_layout.h"
#include "phasic/evaluate.h"

namespace phasic::detail {

struct Job {
  const Program* program;
  const Request* request;
  Span<const Index> batch_shape;
  Span<const Operand> operands;  // theta, [rewards], [times], tangents, [ct]
  Span<const Result> results;    // [value], [gradient]
  Span<RowStatus> status;        // (n_rows)
  Index n_rows;
  Index output_size;
  const TransitionLayout* layout;  // of density quantities, else nullptr

  // Where item `row` of an operand starts.
  [[nodiscard]] Index offset(const Operand& operand, Index row) const noexcept {
    Index result = 0;
    for (Index d = batch_shape.size() - 1; d >= 0; --d) {
      result += (row % batch_shape[d]) * operand.strides[at(d)];
      row /= batch_shape[d];
    }
    return result;
  }
};

[[nodiscard]] inline double read(const Operand& operand, Index position) noexcept {
  return operand.is_float32 ? static_cast<double>(static_cast<const float*>(operand.data)[position])
                            : static_cast<const double*>(operand.data)[position];
}

inline void write(const Result& result, Index position, double value) noexcept {
  if (result.is_float32) {
    static_cast<float*>(result.data)[position] = static_cast<float>(value);
  } else {
    static_cast<double*>(result.data)[position] = value;
  }
}

// Whether this machine has the instructions of a kernel.
[[nodiscard]] bool machine_has(KernelKind kind);

// Evaluates rows [begin, end) with one instruction set. One entry a translation unit.
using RunRows = void (*)(const Job& job, Index begin, Index end);
// Rows that one step of that code evaluates together.
struct Backend {
  RunRows run;
  Index lanes;
};
[[nodiscard]] Backend reference_backend();
[[nodiscard]] Backend baseline_backend();
[[nodiscard]] Backend avx2_backend();
[[nodiscard]] Backend avx2_single_density_backend();  // no levels
[[nodiscard]] Backend avx512_backend(const Program& program, Quantity quantity);
void run_avx512_wide(const Job& job, Index begin, Index end);  // its two registers of lanes

}  // namespace phasic::detail
