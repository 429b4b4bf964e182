// One row at a time in numbers without bounds: by the sweep, or by squaring where that is cheaper.
//
// Compiled once, without instruction-set specific code: every kernel gets the same bits. Numbers
// with derivative parts come and go as planes of doubles (planes.h), levels at most kMaxLevels.
#pragma once

#include <memory>

#include "distribution/uniformization_layout.h"

namespace phasic::detail {

struct UnboundedInput {
  const TransitionLayout* layout = nullptr;
  int levels = 0;             // of derivative parts; 2^levels planes
  Span<const double> edge;    // (planes, n_out)
  Span<const double> start;   // (planes, n_start)
  Span<const double> times;   // (planes, n_times)
  double truncation = 1e-14;
  int time_levels = 0;        // how many levels may be derivative parts of times
};

// Predicted work of a value in multiply-adds of doubles.
[[nodiscard]] double predicted_unbounded_operations(const UnboundedInput& in);

// Buffers are reused from row to row.
class UnboundedRow {
 public:
  UnboundedRow();
  UnboundedRow(UnboundedRow&&) noexcept;
  UnboundedRow& operator=(UnboundedRow&&) noexcept;
  ~UnboundedRow();

  // out: (planes, n_times) mantissas, exponent: (n_times); results are out * 2^exponent.
  void forward(const UnboundedInput& in, Span<double> out, Span<double> exponent);
  // Adds the adjoint at an input; out_bar: (planes, n_times) of mantissas with those exponents.
  // edge_bar and start_bar: (planes, ...), times_bar: (planes, n_times); empty where not wanted.
  void adjoint(const UnboundedInput& in, Span<const double> out_bar, Span<const double> exponent,
               Span<double> edge_bar, Span<double> start_bar, Span<double> times_bar);

 private:
  struct Methods;
  std::unique_ptr<Methods> methods_;
};

}  // namespace phasic::detail
