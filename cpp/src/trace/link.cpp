// Linking: one program for the whole graph out of one trace a component.
//
// 1. Number the vertices that the start reaches by position: components sinks first, inside a
//    component in its order of elimination.
// 2. Turn each distinct component into fronts and slots (supernodes.h).
// 3. Attach the graph's edges: inside a component to a slot, out of it to other places (flows.h).

#include <algorithm>

#include "phasic/digest.h"
#include "phasic/trace.h"
#include "trace/flows.h"
#include "trace/pulled.h"
#include "trace/supernodes.h"
#include "trace/trace_parts.h"

namespace phasic {
namespace {

class Linker {
 public:
  Linker(const Decomposition& decomposition, std::vector<ComponentTracePtr> components,
         const RecordOptions& options)
      : decomposition_(decomposition), graph_(*decomposition.graph), options_(options) {
    program_->graph = decomposition.graph;
    program_->components = std::move(components);
  }

  ProgramPtr run() {
    find_reachable();
    number_positions();
    generate_code();
    attach_edges();
    attach_start();
    detail::attach_flows(*program_);
    detail::attach_loads(*program_);
    find_structural_trap();
    program_->digest = digest();
    return program_;
  }

 private:
  void find_reachable() {
    reachable_.assign(at(graph_.n_vertices()), false);
    std::vector<std::int32_t> stack{0};
    reachable_[0] = true;
    while (!stack.empty()) {
      const Index u = stack.back();
      stack.pop_back();
      for (Index e = graph_.row_begin[at(u)]; e < graph_.row_begin[at(u) + 1]; ++e) {
        const std::int32_t v = graph_.target[at(e)];
        if (!reachable_[at(v)]) {
          reachable_[at(v)] = true;
          stack.push_back(v);
        }
      }
    }
  }

  // A component is reached as a whole or not at all.
  void number_positions() {
    Program& p = *program_;
    p.position_of.assign(at(graph_.n_vertices()), -1);
    p.block_begin.push_back(0);
    for (Index c = 0; c < ssize(decomposition_.components); ++c) {
      const Component& component = decomposition_.components[at(c)];
      if (!reachable_[at(component.vertices[0])]) {
        continue;
      }
      for (const std::int32_t row : p.components[at(c)]->order) {
        const std::int32_t vertex = component.vertices[at(row)];
        p.position_of[at(vertex)] = static_cast<std::int32_t>(ssize(p.vertex_of));
        p.vertex_of.push_back(vertex);
      }
      p.block_trace.push_back(p.components[at(c)]);
      p.block_begin.push_back(narrow32(ssize(p.vertex_of), "the number of reachable vertices"));
    }
    p.n_positions = ssize(p.vertex_of);
  }

  // Equal components share their code.
  void generate_code() {
    Program& p = *program_;
    std::unordered_map<const ComponentTrace*, ComponentCodePtr> known;
    p.slot_base.push_back(0);
    for (Index b = 0; b < p.n_blocks(); ++b) {
      const ComponentTrace& trace = *p.block_trace[at(b)];
      ComponentCodePtr& code = known[&trace];
      if (code == nullptr) {
        code = detail::make_code(trace, options_);
      }
      p.block_code.push_back(code);
      p.n_operations += trace.n_operations;
      p.slot_base.push_back(p.slot_base.back() + code->n_slots + 1);
      p.max_block_slots = std::max(p.max_block_slots, code->n_slots + 1);
      if (code->n > 1 && !code->path) {
        p.max_general_slots = std::max(p.max_general_slots, code->n_slots + 1);
      }
      p.max_block_positions = std::max(p.max_block_positions, code->n);
    }
  }

  void attach_edges() {
    Program& p = *program_;
    p.out_begin.push_back(0);
    for (Index b = 0; b < p.n_blocks(); ++b) {
      const ComponentCode& code = *p.block_code[at(b)];
      const std::vector<std::int32_t> front_of = detail::fronts_of_steps(code);
      for (Index step = 0; step < code.n; ++step) {
        attach_out_edges(code, front_of, p.block_begin[at(b)], step);
        p.out_begin.push_back(narrow32(ssize(p.out_edge), "the number of edges"));
      }
    }
  }

  void attach_out_edges(const ComponentCode& code, Span<const std::int32_t> front_of, Index first,
                        Index step) {
    Program& p = *program_;
    const Index u = p.vertex_of[at(first + step)];
    std::vector<Index> inside, across, absorbed;
    p.self_edge.push_back(-1);
    for (Index e = graph_.row_begin[at(u)]; e < graph_.row_begin[at(u) + 1]; ++e) {
      const std::int32_t v = graph_.target[at(e)];
      const std::int32_t target = p.position_of[at(v)];
      if (v == u) {
        p.self_edge.back() = narrow32(e, "the number of edges");
      } else {  // later blocks are never targets
        (target < 0 ? absorbed : target < first ? across : inside).push_back(e);
      }
    }
    std::sort(inside.begin(), inside.end(), [&](Index a, Index b) {
      return p.position_of[at(graph_.target[at(a)])] < p.position_of[at(graph_.target[at(b)])];
    });
    for (const Index e : inside) {
      const Index target = p.position_of[at(graph_.target[at(e)])];
      const std::int32_t slot = detail::slot_between(code, front_of, step, target - first);
      if (slot < 0) {
        throw Error(ErrorCode::internal, "an edge inside a component has no slot");
      }
      append_edge(e, static_cast<std::int32_t>(target), slot);
    }
    p.leaving_begin.push_back(static_cast<std::int32_t>(ssize(p.out_edge)));
    for (const Index e : across) {
      append_edge(e, p.position_of[at(graph_.target[at(e)])], -1);
    }
    for (const Index e : absorbed) {
      append_edge(e, -1 - graph_.target[at(e)], -1);
    }
  }

  void append_edge(Index e, std::int32_t target, std::int32_t slot) {
    program_->out_edge.push_back(narrow32(e, "the number of edges"));
    program_->out_target.push_back(target);
    program_->out_slot.push_back(slot);
  }

  void attach_start() {
    Program& p = *program_;
    for (Index e = 0; e < graph_.row_begin[1]; ++e) {
      const std::int32_t v = graph_.target[at(e)];
      const std::int32_t target = p.position_of[at(v)];
      p.start_edge.push_back(static_cast<std::int32_t>(e));
      p.start_target.push_back(target >= 0 ? target : -1 - v);
    }
  }

  // Sinks first: a block can be left for good iff some edge out of it leads to an absorbing vertex
  // or to a block that can; a block that cannot is a trap.
  void find_structural_trap() {
    Program& p = *program_;
    std::vector<bool> absorbs(at(p.n_positions));
    for (Index b = 0; b + 1 < ssize(p.block_begin); ++b) {
      bool leaves = false;
      for (Index e = p.out_begin[at(p.block_begin[at(b)])];
           e < p.out_begin[at(p.block_begin[at(b + 1)])]; ++e) {
        const std::int32_t target = p.out_target[at(e)];
        leaves = leaves || target < 0 || (target < p.block_begin[at(b)] && absorbs[at(target)]);
      }
      for (Index position = p.block_begin[at(b)]; position < p.block_begin[at(b + 1)]; ++position) {
        absorbs[at(position)] = leaves;
      }
      p.structural_trap = p.structural_trap || !leaves;
    }
  }

  [[nodiscard]] std::string digest() const {
    Hasher hasher("phasic-program-1");
    hasher.add(Index{graph_.discrete});
    hasher.add(graph_.param_length);
    hasher.add(graph_.n_vertices());
    for (Index u = 0; u <= graph_.n_vertices(); ++u) {
      hasher.add(graph_.row_begin[at(u)]);
    }
    for (Index e = 0; e < graph_.n_edges(); ++e) {
      hasher.add(Index{graph_.target[at(e)]});
      hasher.add(graph_.constant[at(e)]);
      hasher.add(graph_.coef_begin[at(e) + 1]);
      for (Index c = graph_.coef_begin[at(e)]; c < graph_.coef_begin[at(e) + 1]; ++c) {
        hasher.add(Index{graph_.coef_param[at(c)]});
        hasher.add(graph_.coef_value[at(c)]);
      }
    }
    return hasher.hex();
  }

  const Decomposition& decomposition_;
  const Graph& graph_;
  const RecordOptions& options_;
  std::shared_ptr<Program> program_ = std::make_shared<Program>();
  std::vector<bool> reachable_;
};

}  // namespace

namespace detail {

ProgramPtr link_components(const Decomposition& decomposition,
                           std::vector<ComponentTracePtr> components,
                           const RecordOptions& options) {
  return Linker(decomposition, std::move(components), options).run();
}

}  // namespace detail

ProgramPtr link(const Decomposition& decomposition, const ComponentTraceMap& traces,
                Index min_size, const RecordOptions& options) {
  std::vector<ComponentTracePtr> components;
  ComponentTraceMap inline_traces;
  std::string absent;
  Index n_absent = 0;
  for (const Component& component : decomposition.components) {
    ComponentTracePtr trace;
    const auto given = traces.find(component.digest);
    if (given != traces.end()) {
      trace = given->second;
    } else if (component.pattern.n() < min_size) {
      ComponentTracePtr& known = inline_traces[component.digest];
      if (known == nullptr) {
        known = record_component(component.pattern, options);
      }
      trace = known;
    } else {
      ++n_absent;
      absent += (n_absent <= 5 ? (n_absent > 1 ? ", " : "") + component.digest : "");
    }
    if (trace != nullptr && !(trace->pattern == component.pattern)) {
      fail("the trace given for digest " + component.digest + " was recorded for another pattern (" +
           std::to_string(trace->pattern.n()) + " vertices, expected " +
           std::to_string(component.pattern.n()) + "); record it again");
    }
    components.push_back(std::move(trace));
  }
  if (n_absent > 0) {
    throw Error(ErrorCode::missing,
                std::to_string(n_absent) + " of " + std::to_string(components.size()) +
                    " component traces are missing: " + absent + (n_absent > 5 ? ", ..." : "") +
                    "; record them first");
  }
  return detail::link_components(decomposition, std::move(components), options);
}

}  // namespace phasic
