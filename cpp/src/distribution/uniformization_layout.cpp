#include "distribution/uniformization_layout.h"

#include <algorithm>
#include <cmath>

namespace phasic::detail {
namespace {

// Numbers the absorbing vertices in use; a single class if they need not be told apart.
class Classes {
 public:
  Classes(const Program& program, bool apart)
      : class_of_(at(program.graph->n_vertices()), -1), apart_(apart) {}

  std::int32_t of(Index vertex, TransitionLayout& layout) {
    std::int32_t& number = apart_ ? class_of_[at(vertex)] : class_of_[0];
    if (number < 0) {
      number = static_cast<std::int32_t>(layout.n_classes++);
      layout.vertex.push_back(static_cast<std::int32_t>(vertex));
    }
    return number;
  }

 private:
  std::vector<std::int32_t> class_of_;
  bool apart_;
};

void add_out_edges(const Program& program, Classes& classes, TransitionLayout& layout) {
  layout.begin.push_back(0);
  for (Index k = 0; k < program.n_positions; ++k) {
    const Index first_exit = layout.n_exits();
    for (std::int32_t e = program.out_begin[at(k)]; e < program.out_begin[at(k + 1)]; ++e) {
      const std::int32_t target = program.out_target[at(e)];
      if (target >= 0) {
        layout.target.push_back(target);
        layout.out.push_back(e);
        continue;
      }
      const std::int32_t number = classes.of(-1 - target, layout);
      const auto group = layout.exit_class.begin() + first_exit;
      const auto known = std::find(group, layout.exit_class.end(), number);
      layout.exit_out.push_back(e);
      layout.exit_of.push_back(static_cast<std::int32_t>(known - layout.exit_class.begin()));
      if (known == layout.exit_class.end()) {
        layout.exit_position.push_back(static_cast<std::int32_t>(k));
        layout.exit_class.push_back(number);
      }
    }
    layout.begin.push_back(static_cast<std::int32_t>(layout.n_transitions()));
  }
}

void add_in_edges(TransitionLayout& layout) {
  layout.in_begin.assign(at(layout.n_positions + 1), 0);
  for (const std::int32_t target : layout.target) {
    ++layout.in_begin[at(target + 1)];
  }
  for (Index k = 0; k < layout.n_positions; ++k) {
    layout.in_begin[at(k + 1)] += layout.in_begin[at(k)];
  }
  layout.in_source.resize(layout.target.size());
  layout.in_entry.resize(layout.target.size());
  std::vector<std::int32_t> next(layout.in_begin.begin(), layout.in_begin.end() - 1);
  for (std::int32_t k = 0; k < layout.n_positions; ++k) {
    for (std::int32_t e = layout.begin[at(k)]; e < layout.begin[at(k + 1)]; ++e) {
      const std::int32_t entry = next[at(layout.target[at(e)])]++;
      layout.in_source[at(entry)] = k;
      layout.in_entry[at(entry)] = e;
    }
  }
}

}  // namespace

TransitionLayout make_transition_layout(const Program& program, Quantity quantity) {
  TransitionLayout layout;
  layout.quantity = quantity;
  layout.discrete = program.graph->discrete;
  layout.n_positions = program.n_positions;
  layout.n_vertices = program.graph->n_vertices();
  layout.n_out = ssize(program.out_target);
  layout.out_begin = program.out_begin;
  layout.vertex = program.vertex_of;
  Classes classes(program, quantity == Quantity::state_probability);
  add_out_edges(program, classes, layout);
  add_in_edges(layout);
  for (const std::int32_t target : program.start_target) {
    layout.start_position.push_back(target >= 0 ? target : -1);
    layout.start_class.push_back(target >= 0 ? -1 : classes.of(-1 - target, layout));
  }
  return layout;
}

double predicted_steps(bool discrete, double rate, double time) {
  if (discrete) {
    return time + 1;
  }
  const double x = 1.04 * rate * time;
  return x + 9 * std::sqrt(x) + 48;
}

double predicted_operations(const Program& program, Quantity quantity, double rate, double time,
                            Index n_times) {
  const bool discrete = program.graph->discrete;
  const double steps = predicted_steps(discrete, rate, time);
  const double n = static_cast<double>(program.n_positions);
  const double times = static_cast<double>(n_times);
  const bool by_vertex =
      quantity == Quantity::state_probability || quantity == Quantity::accumulated_occupancy;
  const double window = discrete ? 1 : std::min(steps, 96 + 20 * std::sqrt(rate * time));
  return steps * (static_cast<double>(ssize(program.out_target)) + 3 * n + 4) +
         times * window * (by_vertex ? 4 * n : 4);
}

}  // namespace phasic::detail
