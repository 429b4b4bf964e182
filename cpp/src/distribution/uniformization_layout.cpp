#include "distribution/uniformization_layout.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

namespace phasic::detail {
namespace {

constexpr double kFirstRegion = 8;  // positions; smaller regions are not worth their loops

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

// Numbers the weights: transitions with the same coefficient of the same parameter share one.
void number_weights(const Program& program, TransitionLayout& layout) {
  std::vector<std::unordered_map<double, std::int32_t>> known(at(program.n_parameters()));
  for (const std::int32_t e : layout.out) {
    const auto number = static_cast<std::int32_t>(ssize(layout.weight_out));
    const auto found =
        known[at(program.out_param[at(e)])].try_emplace(program.out_coef[at(e)], number);
    if (found.second) {
      layout.weight_out.push_back(e);
    }
    layout.weight.push_back(found.first->second);
  }
}

// The longest path of components from each position to a sink.
std::vector<std::int32_t> levels_of(const Program& program) {
  std::vector<std::int32_t> level(at(program.n_positions), 0);
  for (Index b = 0; b < program.n_blocks(); ++b) {  // sinks first
    const Index begin = program.block_begin[at(b)], end = program.block_begin[at(b + 1)];
    std::int32_t longest = 0;
    for (Index e = program.out_begin[at(begin)]; e < program.out_begin[at(end)]; ++e) {
      const std::int32_t target = program.out_target[at(e)];
      if (target >= 0 && target < begin) {
        longest = std::max(longest, level[at(target)] + 1);
      }
    }
    std::fill(level.begin() + begin, level.begin() + end, longest);
  }
  return level;
}

// Whole levels, together until there are enough positions: the more the more there are before them.
void form_regions(const Program& program, TransitionLayout& layout) {
  const std::vector<std::int32_t> level = levels_of(program);
  std::vector<Index> size(1 + at(level.empty() ? 0 : *std::max_element(level.begin(), level.end())));
  for (const std::int32_t l : level) {
    ++size[at(l)];
  }
  const double n = static_cast<double>(layout.n_positions);
  const double growth = std::pow(std::max(n / kFirstRegion, 1.0), 1.0 / (kMaxRegions - 1));
  std::vector<std::int32_t> region_of(size.size());
  std::int32_t region = 0;
  double before = 0, wanted = kFirstRegion;
  for (std::size_t l = 0; l < size.size(); ++l) {
    region_of[l] = region;
    before += static_cast<double>(size[l]);
    if (before >= wanted && l + 1 < size.size() && region + 1 < kMaxRegions) {
      ++region;
      wanted = std::max(before + kFirstRegion, before * growth);
    }
  }
  layout.region_begin.assign(at(region + 2), 0);
  for (const std::int32_t l : level) {
    layout.region.push_back(region_of[at(l)]);
    ++layout.region_begin[at(layout.region.back() + 1)];
  }
  for (Index r = 0; r <= region; ++r) {
    layout.region_begin[at(r + 1)] += layout.region_begin[at(r)];
  }
  layout.region_position.resize(level.size());
  std::vector<std::int32_t> next(layout.region_begin.begin(), layout.region_begin.end() - 1);
  for (std::int32_t k = 0; k < layout.n_positions; ++k) {
    layout.region_position[at(next[at(layout.region[at(k)])]++)] = k;
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
  layout.in_weight.resize(layout.target.size());
  std::vector<std::int32_t> next(layout.in_begin.begin(), layout.in_begin.end() - 1);
  for (std::int32_t k = 0; k < layout.n_positions; ++k) {
    for (std::int32_t e = layout.begin[at(k)]; e < layout.begin[at(k + 1)]; ++e) {
      const std::int32_t entry = next[at(layout.target[at(e)])]++;
      layout.in_source[at(entry)] = k;
      layout.in_weight[at(entry)] = layout.weight[at(e)];
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
  number_weights(program, layout);
  add_in_edges(layout);
  form_regions(program, layout);
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
