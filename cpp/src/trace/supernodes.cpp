// Partition of the steps into fronts, and the slots and update lists that follow from it.
//
// 1. The last steps become one dense front where that is predicted to be cheapest. From there
//    backwards, a step joins the front behind it when the joint dense front is
//    predicted to cost less than the two apart (relaxed supernodes; entries that are never filled
//    are kept as zeros). Only steps that lead to where they are reached from join, see
//    kernel/differences.h.
// 2. Fronts get their slots in order of elimination.
// 3. Each pair (lower step, exit or upper step) of a front is resolved to its slot.
// Source: Liu, Ng, Peyton 1993 (supernodes); Ashcraft and Grimes 1989 (relaxation).

#include "trace/supernodes.h"

#include "trace/pulled.h"
#include "trace/symbolic.h"

#include <algorithm>

namespace phasic::detail {
namespace {

// Measured costs in units of one multiply-add of a single sparse step, see docs/decisions/0006-kernels.md.
constexpr double kDenseMultiplyAdd = 0.28;
constexpr double kScatteredEntry = 1.2;
constexpr double kSingleOverhead = 8;
constexpr double kFrontOverhead = 60;
constexpr double kStepOverhead = 30;
constexpr double kSmallFrontOverhead = 10;
constexpr double kSmallStepOverhead = 6;
constexpr double kSmallMultiplyAdd = 0.6;

struct Front {
  Index first = 0, width = 0;
  std::vector<std::int32_t> upper, lower;  // steps behind the front, sorted
  double cost = 0;
};

double predicted_cost(Index width, Index n_upper, Index n_lower) {
  const double w = static_cast<double>(width), u = static_cast<double>(n_upper) + 1,
               l = static_cast<double>(n_lower);
  if (width == 1) {
    return kSingleOverhead + l * (u + 1);
  }
  // own triangle, own rows against exit and upper, lower rows against own columns, then scattered.
  const double own = w * w * w / 3 + w * w / 2 * u + w * w / 2 * l;
  return kFrontOverhead + kStepOverhead * w + kDenseMultiplyAdd * (own + w * l * u) +
         kScatteredEntry * l * u;
}

Front single(const ComponentTrace& trace, Index k) {
  Front front;
  front.first = k;
  front.width = 1;
  front.upper.assign(trace.upper.begin() + trace.upper_begin[at(k)],
                     trace.upper.begin() + trace.upper_begin[at(k + 1)]);
  front.lower.assign(trace.lower.begin() + trace.lower_begin[at(k)],
                     trace.lower.begin() + trace.lower_begin[at(k + 1)]);
  front.cost = predicted_cost(1, ssize(front.upper), ssize(front.lower));
  return front;
}

// Of a dense front at the end.
double predicted_cost_of_last(Index width) {
  const double w = static_cast<double>(width);
  return width <= kSmallFront ? kSmallFrontOverhead + kSmallStepOverhead * w +
                                    kSmallMultiplyAdd * w * w * w / 3
                              : predicted_cost(width, 0, 0);
}

// Steps of a or b that lie behind the joint front, which ends before step `end`.
std::vector<std::int32_t> unite_behind(const std::vector<std::int32_t>& a,
                                       const std::vector<std::int32_t>& b, Index end) {
  std::vector<std::int32_t> all;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  all.erase(all.begin(), std::lower_bound(all.begin(), all.end(), static_cast<std::int32_t>(end)));
  return all;
}

// The first step of the dense front at the end; n if there is none.
Index begin_of_last(const ComponentTrace& trace) {
  const Index n = trace.pattern.n();
  double single_costs = 0, best_saving = 0;
  Index best = n;
  for (Index k = n - 1; k >= 0; --k) {
    single_costs += predicted_cost(1, trace.upper_begin[at(k + 1)] - trace.upper_begin[at(k)],
                                   trace.lower_begin[at(k + 1)] - trace.lower_begin[at(k)]);
    const double saving = single_costs - predicted_cost_of_last(n - k);
    if (n - k > 1 && saving > best_saving) {
      best_saving = saving;
      best = k;
    }
  }
  return best;
}

// Fronts in order of elimination.
std::vector<Front> partition(const ComponentTrace& trace) {
  std::vector<Front> fronts;  // last first
  const Index n = trace.pattern.n(), last = begin_of_last(trace);
  if (last < n) {
    fronts.emplace_back();
    fronts.back().first = last;
    fronts.back().width = n - last;
    fronts.back().cost = predicted_cost_of_last(n - last);
  }
  for (Index k = last - 1; k >= 0; --k) {
    Front step = single(trace, k);
    if (fronts.empty()) {
      fronts.push_back(std::move(step));
      continue;
    }
    Front& behind = fronts.back();
    const Index end = behind.first + behind.width;
    if (end < n && (step.upper != step.lower || behind.upper != behind.lower)) {
      fronts.push_back(std::move(step));
      continue;
    }
    Front joint;
    joint.first = k;
    joint.width = behind.width + 1;
    joint.upper = unite_behind(step.upper, behind.upper, end);
    joint.lower = unite_behind(step.lower, behind.lower, end);
    joint.cost = end == n ? predicted_cost_of_last(joint.width)
                          : predicted_cost(joint.width, ssize(joint.upper), ssize(joint.lower));
    if (joint.cost <= step.cost + behind.cost) {
      behind = std::move(joint);
    } else {
      fronts.push_back(std::move(step));
    }
  }
  std::reverse(fronts.begin(), fronts.end());
  return fronts;
}

Index position_in(const std::vector<std::int32_t>& list, Index begin, Index count, Index step) {
  const auto first = list.begin() + begin;
  const auto found = std::lower_bound(first, first + count, static_cast<std::int32_t>(step));
  return found != first + count && *found == step ? found - first : -1;
}

void lay_out(const std::vector<Front>& fronts, ComponentCode& code) {
  Index slot = 0;
  code.exit_slot.resize(at(code.n));
  for (const Front& front : fronts) {
    Supernode node;
    node.first = static_cast<std::int32_t>(front.first);
    node.width = static_cast<std::int32_t>(front.width);
    node.n_upper = static_cast<std::int32_t>(front.upper.size());
    node.n_lower = static_cast<std::int32_t>(front.lower.size());
    node.rows = narrow32(slot, "the number of slots of a component");
    slot += front.width * node.stride();
    node.lower = narrow32(slot, "the number of slots of a component");
    slot += front.width * node.n_lower;
    node.upper_list = static_cast<std::int32_t>(code.upper_step.size());
    node.lower_list = static_cast<std::int32_t>(code.lower_step.size());
    code.upper_step.insert(code.upper_step.end(), front.upper.begin(), front.upper.end());
    code.lower_step.insert(code.lower_step.end(), front.lower.begin(), front.lower.end());
    for (Index t = 0; t < front.width; ++t) {
      code.exit_slot[at(front.first + t)] =
          static_cast<std::int32_t>(node.rows + t * node.stride() + front.width);
    }
    code.supernodes.push_back(node);
  }
  code.n_slots = narrow32(slot, "the number of slots of a component");
  static_cast<void>(narrow32(slot + 1, "the number of slots of a component"));
}

// Reads on in a sorted list up to `step`; true if it is there. Steps are asked for in ascending order.
bool advance(const std::int32_t* list, std::int32_t n, std::int32_t& met, std::int32_t step) {
  while (met < n && list[met] < step) {
    ++met;
  }
  return met < n && list[met] == step;
}

// As slot_between() for all pairs; lists are sorted, hence read and not searched.
void resolve_updates(ComponentCode& code) {
  const std::vector<std::int32_t> front_of = fronts_of_steps(code);
  const auto spare = static_cast<std::int32_t>(code.n_slots);
  std::vector<std::int32_t> met_lower;  // for each upper step, how far its front's lower list was read
  for (Supernode& node : code.supernodes) {
    node.update = ssize(code.update_slot);
    met_lower.assign(at(node.n_upper), 0);
    for (Index i = 0; i < node.n_lower; ++i) {
      const std::int32_t from = code.lower_step[at(node.lower_list + i)];
      const Supernode& own = code.supernodes[at(front_of[at(from)])];
      const std::int32_t own_end = own.first + own.width;
      const Index row = own.rows + (from - own.first) * own.stride();
      const std::int32_t* const upper = code.upper_step.data() + own.upper_list;
      std::int32_t met_upper = 0;
      code.update_slot.push_back(code.exit_slot[at(from)]);
      for (Index j = 0; j < node.n_upper; ++j) {
        const std::int32_t to = code.upper_step[at(node.upper_list + j)];
        Index slot = spare;
        if (to >= own_end) {
          if (advance(upper, own.n_upper, met_upper, to)) {
            slot = row + own.width + 1 + met_upper;
          }
        } else if (to >= own.first) {
          slot = row + to - own.first;
        } else {
          const Supernode& front = code.supernodes[at(front_of[at(to)])];
          if (advance(code.lower_step.data() + front.lower_list, front.n_lower, met_lower[at(j)],
                      from)) {
            slot = front.lower + met_lower[at(j)] * front.width + to - front.first;
          }
        }
        code.update_slot.push_back(static_cast<std::int32_t>(slot));
      }
    }
  }
}

void find_mirrors(ComponentCode& code) {
  for (const Supernode& node : code.supernodes) {
    for (Index j = 0; j < node.n_upper; ++j) {
      const Index step = code.upper_step[at(node.upper_list + j)];
      code.mirror.push_back(static_cast<std::int32_t>(
          position_in(code.lower_step, node.lower_list, node.n_lower, step)));
    }
  }
}

void list_empty_slots(const ComponentTrace& trace, ComponentCode& code) {
  std::vector<std::int32_t> step_of(trace.order.size());
  for (Index k = 0; k < code.n; ++k) {
    step_of[at(trace.order[at(k)])] = static_cast<std::int32_t>(k);
  }
  const std::vector<std::int32_t> front_of = fronts_of_steps(code);
  std::vector<bool> loaded(at(code.n_slots + 1));
  for (const Index slot : code.exit_slot) {
    loaded[at(slot)] = true;
  }
  for (Index i = 0; i < code.n; ++i) {
    for (Index e = trace.pattern.row_begin[at(i)]; e < trace.pattern.row_begin[at(i) + 1]; ++e) {
      const Index j = trace.pattern.column[at(e)];
      loaded[at(slot_between(code, front_of, step_of[at(i)], step_of[at(j)]))] = true;
    }
  }
  for (Index slot = 0; slot <= code.n_slots; ++slot) {
    if (!loaded[at(slot)]) {
      code.empty_slot.push_back(static_cast<std::int32_t>(slot));
    }
  }
}

// Of the lists that lay_out() and the functions after it make: numbers of 32 bits.
double code_bytes(const std::vector<Front>& fronts) {
  double numbers = 0;
  for (const Front& front : fronts) {
    const auto width = static_cast<double>(front.width);
    const auto upper = static_cast<double>(front.upper.size());
    const auto lower = static_cast<double>(front.lower.size());
    numbers += 2 * lower * (upper + 1);                   // update slots, pulled or not
    numbers += 2 * upper + lower;                         // steps and mirrors
    numbers += width * (width + 1 + upper + lower + 1);   // empty slots at most, and exits
  }
  return numbers * sizeof(std::int32_t);
}

bool is_path(const ComponentCode& code) {
  const auto meets_next_only = [&](const Supernode& node) {
    const int next = node.first + 1 < code.n ? 1 : 0;
    return node.width == 1 && node.n_upper == next && node.n_lower == next &&
           (next == 0 || (code.upper_step[at(node.upper_list)] == node.first + 1 &&
                          code.lower_step[at(node.lower_list)] == node.first + 1));
  };
  return code.n > 1 &&
         std::all_of(code.supernodes.begin(), code.supernodes.end(), meets_next_only);
}

}  // namespace

std::vector<std::int32_t> fronts_of_steps(const ComponentCode& code) {
  std::vector<std::int32_t> front_of(at(code.n));
  for (Index f = 0; f < ssize(code.supernodes); ++f) {
    const Supernode& node = code.supernodes[at(f)];
    std::fill_n(front_of.begin() + node.first, node.width, static_cast<std::int32_t>(f));
  }
  return front_of;
}

std::int32_t slot_between(const ComponentCode& code, Span<const std::int32_t> front_of, Index from,
                          Index to) {
  const Index f = front_of[from], g = front_of[to];
  const Supernode& node = code.supernodes[at(std::min(f, g))];
  if (f == g) {
    return static_cast<std::int32_t>(node.rows + (from - node.first) * node.stride() + to -
                                     node.first);
  }
  if (f < g) {
    const Index j = position_in(code.upper_step, node.upper_list, node.n_upper, to);
    return j < 0 ? -1
                 : static_cast<std::int32_t>(node.rows + (from - node.first) * node.stride() +
                                             node.width + 1 + j);
  }
  const Index i = position_in(code.lower_step, node.lower_list, node.n_lower, from);
  return i < 0 ? -1 : static_cast<std::int32_t>(node.lower + i * node.width + to - node.first);
}

ComponentCodePtr make_code(const ComponentTrace& trace, const RecordOptions& options) {
  auto code = std::make_shared<ComponentCode>();
  code->n = trace.pattern.n();
  const std::vector<Front> fronts = partition(trace);
  const double bytes = code_bytes(fronts);
  if (bytes > options.max_bytes) {
    throw_over_budget(trace.pattern, options, static_cast<double>(trace.n_operations), bytes);
  }
  lay_out(fronts, *code);
  resolve_updates(*code);
  find_mirrors(*code);
  list_empty_slots(trace, *code);
  code->path = is_path(*code);
  if (!code->path) {
    attach_pulled(*code);
  }
  return code;
}

}  // namespace phasic::detail
