// What the density sweep needs to know of a program, in the order in which it walks over it.
//
// Compiled once, without instruction-set specific code; one layout serves any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "phasic/evaluate.h"
#include "phasic/trace.h"

namespace phasic::detail {

inline constexpr Index kMaxRegions = 24;

// Transitions between positions by source and by target, and exits into classes of absorbing
// vertices: one class a vertex where the result tells them apart, else a single class.
struct TransitionLayout {
  Quantity quantity = Quantity::pdf;
  bool discrete = false;
  Index n_positions = 0, n_vertices = 0, n_out = 0, n_classes = 0;

  std::vector<std::int32_t> begin;      // (n_positions + 1) transitions by source
  std::vector<std::int32_t> target;     // (n_transitions) position
  std::vector<std::int32_t> out;        // (n_transitions) entry of Program::out_*
  std::vector<std::int32_t> weight;     // (n_transitions) equal ones have the same number
  std::vector<std::int32_t> weight_out; // (n_weights) an entry of Program::out_* that has it

  std::vector<std::int32_t> in_begin;   // (n_positions + 1) transitions by target
  std::vector<std::int32_t> in_source;  // (n_transitions) position
  std::vector<std::int32_t> in_weight;  // (n_transitions)

  // Regions: whole components, by their longest path to a sink. So nothing flows from a region into a
  // later one, and they empty from the last to the first.
  std::vector<std::int32_t> region;           // (n_positions)
  std::vector<std::int32_t> region_begin;     // (n_regions + 1)
  std::vector<std::int32_t> region_position;  // (n_positions) by region

  std::vector<std::int32_t> exit_position;  // (n_exits), grouped by position
  std::vector<std::int32_t> exit_class;     // (n_exits)
  std::vector<std::int32_t> exit_out;       // (n_exit_edges) entry of Program::out_*
  std::vector<std::int32_t> exit_of;        // (n_exit_edges) exit that the entry belongs to

  std::vector<std::int32_t> out_begin;       // (n_positions + 1) of the program
  std::vector<std::int32_t> start_position;  // (n_start) or -1 where the start is absorbed at once
  std::vector<std::int32_t> start_class;     // (n_start) or -1
  std::vector<std::int32_t> vertex;          // (n_positions + n_classes) where results are written

  // Results are one number a vertex (state_probability, accumulated_occupancy), else one in all.
  [[nodiscard]] bool by_vertex() const noexcept {
    return quantity == Quantity::state_probability || quantity == Quantity::accumulated_occupancy;
  }
  [[nodiscard]] Index n_regions() const noexcept { return ssize(region_begin) - 1; }
  [[nodiscard]] Index n_transitions() const noexcept { return ssize(target); }
  [[nodiscard]] Index n_exits() const noexcept { return ssize(exit_position); }
};

[[nodiscard]] TransitionLayout make_transition_layout(const Program& program, Quantity quantity);

// Steps of the sweep that serve times up to `time` where the largest exit rate is `rate` (discrete:
// `time` steps). An estimate from above for values of ordinary size; far tails take up to twice it.
[[nodiscard]] double predicted_steps(bool discrete, double rate, double time);

// Multiply-adds of one value sweep for one parameter vector. A gradient costs about 4 times that.
[[nodiscard]] double predicted_operations(const Program& program, Quantity quantity, double rate,
                                          double time, Index n_times);

}  // namespace phasic::detail
