// Elimination entry by entry (PulledCode) and the loads that go with it.
//
// 1. Each update of a single step is listed with the slot that it goes to, in order of elimination. What
//    would land on (i, i) is a returning path: it is never read, hence left out.
// 2. Slots are grouped as the kernel finishes them: a step's row, what is below it, the last front.
// 3. A program lists the weight of each edge and the first term of each exit rate by parameter, then the
//    other terms of exit rates.

#include "trace/pulled.h"

#include <algorithm>

namespace phasic::detail {
namespace {

using Word = std::uint16_t;

Word name(Index slot) { return static_cast<Word>(slot * PulledCode::kSlotUnit); }

static_assert((PulledCode::kMaxSlots * PulledCode::kSlotUnit) >> 16 == 0);

class PulledWriter {
 public:
  explicit PulledWriter(ComponentCode& code)
      : code_(code), products_(at(code.n_slots)), empty_(at(code.n_slots + 1)) {
    for (const std::int32_t slot : code.empty_slot) {
      empty_[at(slot)] = true;
    }
  }

  void run() {
    for (const Supernode& node : code_.supernodes) {
      list_products(node);
    }
    for (const Supernode& node : code_.supernodes) {
      if (node.width == 1) {
        append_group(node.rows + 1, node.n_upper + 1, 0);
        append_group(node.lower, node.n_lower, 0);
      } else {
        append_group(node.rows, node.width * node.stride(), node.stride() + 1);
        list_empty(node);
      }
    }
  }

 private:
  void list_products(const Supernode& node) {
    const std::int32_t* update = code_.update_slot.data() + node.update;
    for (Index i = 0; i < node.n_lower; ++i) {
      const std::int32_t from = code_.lower_step[at(node.lower_list + i)];
      for (Index j = 0; j <= node.n_upper; ++j, ++update) {
        if (j == 0 || code_.upper_step[at(node.upper_list + j - 1)] != from) {
          std::vector<Word>& list = products_[at(*update)];
          list.push_back(name(node.lower + i));
          list.push_back(name(node.rows + 1 + j));
        }
      }
    }
  }

  // n slots from `first`, those with products. diagonal: the distance of slots (t, t), or 0.
  void append_group(Index first, Index n, Index diagonal) {
    for (const bool loaded : {true, false}) {
      const std::size_t length = code_.pulled.words.size();
      code_.pulled.words.push_back(0);
      for (Index slot = first; slot < first + n; ++slot) {
        const std::vector<Word>& list = products_[at(slot)];
        if (list.empty() || empty_[at(slot)] == loaded ||
            (diagonal > 0 && (slot - first) % diagonal == 0)) {
          continue;
        }
        ++code_.pulled.words[length];
        code_.pulled.words.push_back(name(slot));
        code_.pulled.words.push_back(static_cast<Word>(list.size() / 2));
        code_.pulled.words.insert(code_.pulled.words.end(), list.begin(), list.end());
      }
    }
  }

  void list_empty(const Supernode& node) {
    for (Index i = 0; i < node.width * node.stride(); ++i) {
      const Index slot = node.rows + i;
      if (empty_[at(slot)] && (products_[at(slot)].empty() || i % (node.stride() + 1) == 0)) {
        code_.pulled.empty.push_back(name(slot));
      }
    }
  }

  ComponentCode& code_;
  std::vector<std::vector<Word>> products_;  // by slot
  std::vector<bool> empty_;
};

struct Load {
  std::int32_t param;
  LoadEntry entry;
};

// Appends runs of equal parameters.
void append_runs(Loads& loads, std::vector<Load>& list) {
  std::stable_sort(list.begin(), list.end(),
                   [](const Load& a, const Load& b) { return a.param < b.param; });
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i == 0 || list[i].param != list[i - 1].param) {
      loads.run.push_back({list[i].param, narrow32(ssize(loads.entry), "the number of edges")});
    }
    loads.entry.push_back(list[i].entry);
  }
  list.clear();
}

}  // namespace

void attach_pulled(ComponentCode& code) {
  const bool singles = code.n > 1 && code.n_slots <= PulledCode::kMaxSlots &&
                       std::all_of(code.supernodes.begin(), code.supernodes.end() - 1,
                                   [](const Supernode& node) { return node.width == 1; });
  if (singles) {
    PulledWriter(code).run();
  }
}

void attach_loads(Program& p) {
  const auto one = static_cast<std::int32_t>(p.graph->param_length);
  const auto next_run = [&] { return narrow32(ssize(p.loads.run), "the number of edges"); };
  const Flows& flows = p.outflow;
  std::vector<Load> edges, exits, more_exits;
  for (Index b = 0; b < p.n_blocks(); ++b) {
    const ComponentCode& code = *p.block_code[at(b)];
    for (std::int32_t k = 0; k < code.n && code.is_pulled(); ++k) {
      const Index position = p.block_begin[at(b)] + k;
      for (Index e = p.out_begin[at(position)]; e < p.leaving_begin[at(position)]; ++e) {
        edges.push_back({p.out_param[at(e)], {p.out_coef[at(e)], name(p.out_slot[at(e)]), k}});
      }
      const std::int32_t exit = name(code.exit_slot[at(k)]);
      const Index begin = flows.run_begin[at(position)], end = flows.run_begin[at(position + 1)];
      if (begin == end) {
        exits.push_back({one, {0.0, exit, k}});
      }
      for (Index r = begin; r < end; ++r) {
        const FlowRun& run = flows.run[at(r)];
        (r == begin ? exits : more_exits).push_back({run.param, {run.total, exit, k}});
      }
    }
    LoadBlock block;
    block.edges = next_run();
    append_runs(p.loads, edges);
    block.exits = next_run();
    append_runs(p.loads, exits);
    block.more_exits = next_run();
    append_runs(p.loads, more_exits);
    p.loads.block.push_back(block);
  }
  p.loads.block.push_back({next_run(), next_run(), next_run()});
  p.loads.run.push_back({0, narrow32(ssize(p.loads.entry), "the number of edges")});
}

}  // namespace phasic::detail
