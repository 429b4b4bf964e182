// Elimination entry by entry (PulledCode) and the loads that go with it.
//
// 1. Each update of a single step is listed with the slot that it goes to, in order of elimination. What
//    would land on (i, i) is a returning path: it is never read, hence left out.
// 2. Slots are written in the order in which the kernel finishes them: a step's row, what is below it, the
//    last front. Entries of a front that have the same number of products come together: a kernel then
//    knows how many there are, where otherwise every entry ends in a branch that is hard to predict.
// 3. A program lists its weights in that order, and by parameter for the gradient.

#include "trace/pulled.h"

#include <algorithm>
#include <map>

namespace phasic::detail {
namespace {

using Word = std::uint16_t;

Word name(Index slot) { return static_cast<Word>(slot * PulledCode::kSlotUnit); }

static_assert((PulledCode::kMaxSlots * PulledCode::kSlotUnit) >> 16 == 0);

class PulledWriter {
 public:
  explicit PulledWriter(ComponentCode& code)
      : code_(code),
        products_(at(code.n_slots)),
        alpha_(at(code.n)),
        has_edge_(at(code.n_slots + 1), true) {
    for (const auto* without : {&code.empty_slot, &code.exit_slot}) {
      for (const std::int32_t slot : *without) {
        has_edge_[at(slot)] = false;
      }
    }
  }

  void run() {
    for (const Supernode& node : code_.supernodes) {
      list_products(node);
    }
    for (const Supernode& node : code_.supernodes) {
      if (node.width == 1) {
        append_exit(node.first);
        append_entries(node.rows + 2, node.n_upper);
        append_entries(node.lower, node.n_lower);
      } else {
        append_front(node);
      }
    }
    for (const std::vector<Word>& list : alpha_) {
      code_.pulled.alpha.push_back(static_cast<Word>(list.size() / 2));
      append(code_.pulled.alpha, list);
    }
  }

 private:
  static void append(std::vector<Word>& words, const std::vector<Word>& list) {
    words.insert(words.end(), list.begin(), list.end());
  }

  [[nodiscard]] Word head(Index slot) const {
    return static_cast<Word>(products_[at(slot)].size() + (has_edge_[at(slot)] ? 1 : 0));
  }

  void append_entry(Index slot) {
    append(code_.pulled.words, products_[at(slot)]);
    if (has_edge_[at(slot)]) {
      code_.pulled.weights.push_back(static_cast<std::int32_t>(slot));
    }
  }

  void append_exit(Index step) {
    const std::int32_t slot = code_.exit_slot[at(step)];
    code_.pulled.words.push_back(head(slot));
    append(code_.pulled.words, products_[at(slot)]);
    code_.pulled.weights.push_back(static_cast<std::int32_t>(-1 - step));
  }

  void append_entries(Index first, Index n) {
    for (Index slot = first; slot < first + n; ++slot) {
      code_.pulled.words.push_back(head(slot));
      append_entry(slot);
    }
  }

  // The last front, its entries by kind.
  void append_front(const Supernode& node) {
    std::map<Word, std::vector<Index>> equal;
    for (Index i = 0; i < node.width * node.stride(); ++i) {
      if (i % node.stride() != node.width && i % (node.stride() + 1) != 0) {
        equal[head(node.rows + i)].push_back(node.rows + i);
      }
    }
    code_.pulled.words.push_back(static_cast<Word>(equal.size()));
    for (const auto& [key, slots] : equal) {
      code_.pulled.words.push_back(key);
      code_.pulled.words.push_back(static_cast<Word>(slots.size()));
      for (const Index slot : slots) {
        code_.pulled.words.push_back(name(slot));
        append_entry(slot);
      }
    }
    for (Index t = 0; t < node.width; ++t) {
      append_exit(node.first + t);
    }
  }

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
    for (Index j = 0; j < node.n_upper; ++j) {
      std::vector<Word>& list = alpha_[at(code_.upper_step[at(node.upper_list + j)])];
      list.push_back(name(node.first));
      list.push_back(name(node.rows + 2 + j));
    }
  }

  ComponentCode& code_;
  std::vector<std::vector<Word>> products_;  // by slot
  std::vector<std::vector<Word>> alpha_;     // by step
  std::vector<bool> has_edge_;
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

// The exit rate of a position: at least one term.
void append_exit(Program& p, Index position) {
  const Flows& flows = p.outflow;
  const Index begin = flows.run_begin[at(position)], end = flows.run_begin[at(position + 1)];
  for (Index r = begin; r < end; ++r) {
    const FlowRun& run = flows.run[at(r)];
    p.loads.weight.push_back({run.total, run.param, r + 1 < end});
  }
  if (begin == end) {
    p.loads.weight.push_back({0.0, static_cast<std::int32_t>(p.graph->param_length), 0});
  }
}

void attach_loads(Program& p) {
  std::vector<Load> edges, exits;
  std::vector<Index> edge_of(at(p.max_block_slots));
  const auto next_run = [&] { return narrow32(ssize(p.loads.run), "the number of edges"); };
  for (Index b = 0; b < p.n_blocks(); ++b) {
    const ComponentCode& code = *p.block_code[at(b)];
    const Index first_run = p.outflow.run_begin[at(p.block_begin[at(b)])];
    p.loads.block.push_back({next_run(), 0, narrow32(ssize(p.loads.weight), "the number of edges"), -1});
    for (std::int32_t k = 0; k < code.n && code.is_pulled(); ++k) {
      const Index position = p.block_begin[at(b)] + k;
      for (Index r = p.outflow.run_begin[at(position)]; r < p.outflow.run_begin[at(position + 1)];
           ++r) {
        const FlowRun& run = p.outflow.run[at(r)];
        exits.push_back({run.param, {run.total, static_cast<std::int32_t>(r - first_run), k}});
      }
      for (Index e = p.out_begin[at(position)]; e < p.leaving_begin[at(position)]; ++e) {
        edges.push_back({p.out_param[at(e)], {p.out_coef[at(e)], name(p.out_slot[at(e)]), k}});
        edge_of[at(p.out_slot[at(e)])] = e;
      }
    }
    for (const std::int32_t slot : code.pulled.weights) {
      if (slot >= 0) {
        const Index e = edge_of[at(slot)];
        p.loads.weight.push_back({p.out_coef[at(e)], p.out_param[at(e)], 0});
      } else {
        append_exit(p, p.block_begin[at(b)] - 1 - slot);
      }
    }
    append_runs(p.loads, edges);
    LoadBlock& block = p.loads.block.back();
    block.exits = next_run();
    if (block.exits == block.edges + 1) {
      block.param = p.loads.run[at(block.edges)].param;
    }
    append_runs(p.loads, exits);
  }
  p.loads.block.push_back({next_run(), next_run(), 0, -1});
  p.loads.run.push_back({0, narrow32(ssize(p.loads.entry), "the number of edges")});
}

}  // namespace phasic::detail
