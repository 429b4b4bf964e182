// Which method evaluates the density quantities of one parameter vector, and what it will cost.
//
// The choice depends on the program, the request and that row alone (its largest rate, its longest
// and its shortest time), never on other rows or on the machine.
#pragma once

#include "distribution/uniformization_layout.h"
#include "phasic/evaluate.h"

namespace phasic::detail {

// Sizes of a program that predictions need, made once a request.
struct DensitySizes {
  Index n_positions = 0;
  double cube = 0;           // multiply-adds of one product of transition matrices
  Index plane_products = 1;  // products of planes that the derivatives of the request take
  Index max_planes = 1;      // planes that are held at a time
  Index directions = 0;      // gradient entries that are computed along with the value
};

[[nodiscard]] DensitySizes density_sizes(const Program& program, const Request& request);

// Directions of the gradient that squaring carries at a time: bounded by memory, at least one.
[[nodiscard]] Index directions_at_a_time(const Program& program, const Request& request);

// rate: largest sum of rates out of a state; shortest: the least time above 0 (or infinity).
[[nodiscard]] DensityPlan plan_density(const Program& program, const Request& request,
                                       const DensitySizes& sizes, double rate, double longest,
                                       double shortest);

}  // namespace phasic::detail
