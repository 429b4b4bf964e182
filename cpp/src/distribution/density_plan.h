// Which method evaluates the density quantities of one parameter vector, and what it will cost.
//
// The choice depends on the program, the request and that row alone (its largest rate, its longest
// and its shortest time, what its Krylov spaces give), never on other rows or on the machine.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "distribution/krylov.h"
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
  bool krylov = false;       // there is a Krylov path, and its spaces fit in memory
  double krylov_window = 0;  // multiply-adds of the spaces of one window of times
  double krylov_time = 0;    // .. and of each time
};

[[nodiscard]] DensitySizes density_sizes(const Program& program, const Request& request);

// Directions of the gradient that squaring carries at a time: bounded by memory, at least one.
[[nodiscard]] Index directions_at_a_time(const Program& program, const Request& request);

// What a row is planned by.
struct RowSizes {
  double rate;  // largest sum of rates out of a state
  double longest = 0, shortest = std::numeric_limits<double>::infinity();  // times above 0
  bool krylov = true;  // its spaces may be of use

  explicit RowSizes(double largest_rate) : rate(largest_rate) {}
  void add_time(double t) {
    longest = std::max(longest, t);
    shortest = t > 0 ? std::min(shortest, t) : shortest;
  }
};
[[nodiscard]] DensityPlan plan_density(const Program& program, const Request& request,
                                       const DensitySizes& sizes, const RowSizes& row);

// What Krylov spaces give of a row that was planned by them. All of it if they were asked for; else weak
// results are left to the sweep, or the whole row to what is better for them.
struct KrylovRest {
  std::vector<char> spanned;  // (n_times); empty if none is
  bool failed = false;        // they were asked for, and do not reach their error
  DensityPlan plan;           // by Krylov spaces, with or without exact times, or by another method
};
[[nodiscard]] KrylovRest plan_rest(const Program& program, const Request& request,
                                   const DensitySizes& sizes, const RowSizes& row,
                                   const KrylovReport& report, Span<const double> times);

}  // namespace phasic::detail
