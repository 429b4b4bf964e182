// Linking: one program for the whole graph out of one trace a component.
//
// 1. Number the vertices that the start reaches by position: components sinks first, inside a
//    component in its order of elimination.
// 2. Give every step its slots (upper, then lower) and resolve each update to the slot it adds to.
// 3. Attach the graph's edges: inside a component to a slot, out of it to the exit of its position.

#include <algorithm>

#include "phasic/digest.h"
#include "phasic/trace.h"
#include "trace/trace_parts.h"

namespace phasic {
namespace {

class Linker {
 public:
  Linker(const Decomposition& decomposition, std::vector<ComponentTracePtr> components)
      : decomposition_(decomposition), graph_(*decomposition.graph) {
    program_->graph = decomposition.graph;
    program_->components = std::move(components);
  }

  ProgramPtr run() {
    find_reachable();
    number_positions();
    lay_out_slots();
    resolve_updates();
    attach_edges();
    attach_start();
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
      used_.push_back(p.components[at(c)].get());
      p.block_begin.push_back(narrow32(ssize(p.vertex_of), "the number of reachable vertices"));
    }
    p.n_positions = ssize(p.vertex_of);
  }

  void lay_out_slots() {
    Program& p = *program_;
    p.slot_begin.reserve(at(p.n_positions + 1));
    p.slot_begin.push_back(0);
    for (Index b = 0; b < ssize(used_); ++b) {
      const ComponentTrace& trace = *used_[at(b)];
      const std::int32_t first = p.block_begin[at(b)];
      p.n_operations += trace.n_operations;
      for (Index k = 0; k < ssize(trace.order); ++k) {
        for (Index e = trace.upper_begin[at(k)]; e < trace.upper_begin[at(k + 1)]; ++e) {
          p.slot_position.push_back(first + trace.upper[at(e)]);
        }
        for (Index e = trace.lower_begin[at(k)]; e < trace.lower_begin[at(k + 1)]; ++e) {
          p.slot_position.push_back(first + trace.lower[at(e)]);
        }
        p.upper_count.push_back(
            static_cast<std::int32_t>(trace.upper_begin[at(k + 1)] - trace.upper_begin[at(k)]));
        p.slot_begin.push_back(ssize(p.slot_position));
      }
    }
    p.n_slots = narrow32(ssize(p.slot_position), "the number of slots of the program");
  }

  [[nodiscard]] Index lower_begin(Index position) const {
    return program_->slot_begin[at(position)] + program_->upper_count[at(position)];
  }

  // Slot of the edge between two positions of one block.
  [[nodiscard]] Index slot_between(Index from, Index to) const {
    const Program& p = *program_;
    const bool upper = to > from;
    const Index owner = upper ? from : to;
    const auto first = p.slot_position.begin();
    const auto begin = first + (upper ? p.slot_begin[at(owner)] : lower_begin(owner));
    const auto end = first + (upper ? lower_begin(owner) : p.slot_begin[at(owner + 1)]);
    const auto found =
        std::lower_bound(begin, end, static_cast<std::int32_t>(upper ? to : from));
    if (found == end || *found != (upper ? to : from)) {
      throw Error(ErrorCode::internal, "an edge inside a component has no slot");
    }
    return found - first;
  }

  // For a lower position i of step k, the targets of k fall into those after i (upper slots of i)
  // and those before i (lower slots of the target); both are sorted, so one forward walk each.
  void resolve_updates() {
    Program& p = *program_;
    p.update_begin.reserve(at(p.n_positions + 1));
    p.update_begin.push_back(0);
    const auto first = p.slot_position.begin();
    std::vector<Index> walk;  // by upper slot j of k: where the search in lower(j) has got to
    for (Index k = 0; k < p.n_positions; ++k) {
      const Index upper0 = p.slot_begin[at(k)], lower0 = lower_begin(k);
      const Index n_upper = lower0 - upper0;
      walk.resize(at(n_upper));
      for (Index j = 0; j < n_upper; ++j) {
        walk[at(j)] = lower_begin(p.slot_position[at(upper0 + j)]);
      }
      for (Index l = lower0; l < p.slot_begin[at(k + 1)]; ++l) {
        const std::int32_t i = p.slot_position[at(l)];
        auto own = first + p.slot_begin[at(i)];
        for (Index j = 0; j < n_upper; ++j) {
          const std::int32_t target = p.slot_position[at(upper0 + j)];
          Index slot = p.n_slots;
          if (target > i) {
            own = std::lower_bound(own, first + lower_begin(i), target);
            slot = own - first;
          } else if (target < i) {
            while (p.slot_position[at(walk[at(j)])] < i) {
              ++walk[at(j)];
            }
            slot = walk[at(j)];
          }
          p.update_slot.push_back(static_cast<std::int32_t>(slot));
        }
      }
      p.update_begin.push_back(ssize(p.update_slot));
    }
  }

  void attach_edges() {
    Program& p = *program_;
    p.out_begin.push_back(0);
    for (Index position = 0; position < p.n_positions; ++position) {
      const Index u = p.vertex_of[at(position)];
      p.self_edge.push_back(-1);
      for (Index e = graph_.row_begin[at(u)]; e < graph_.row_begin[at(u) + 1]; ++e) {
        const std::int32_t v = graph_.target[at(e)];
        if (v == u) {
          p.self_edge.back() = narrow32(e, "the number of edges");
          continue;
        }
        const std::int32_t target = p.position_of[at(v)];
        const bool inside = target >= 0 && decomposition_.component_of[at(v)] ==
                                               decomposition_.component_of[at(u)];
        p.out_edge.push_back(narrow32(e, "the number of edges"));
        p.out_target.push_back(target >= 0 ? target : -1 - v);
        p.out_slot.push_back(inside ? slot_between(position, target) : -1);
      }
      p.out_begin.push_back(narrow32(ssize(p.out_edge), "the number of edges"));
    }
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
  std::shared_ptr<Program> program_ = std::make_shared<Program>();
  std::vector<bool> reachable_;
  std::vector<const ComponentTrace*> used_;
};

}  // namespace

namespace detail {

ProgramPtr link_components(const Decomposition& decomposition,
                           std::vector<ComponentTracePtr> components) {
  return Linker(decomposition, std::move(components)).run();
}

}  // namespace detail

ProgramPtr link(const Decomposition& decomposition, const ComponentTraceMap& traces,
                Index min_size, const RecordOptions& options) {
  std::vector<ComponentTracePtr> components;
  ComponentTraceMap inline_traces;
  std::string absent;
  Index n_absent = 0;
  for (const Component& component : decomposition.components) {
    const auto given = traces.find(component.digest);
    if (given != traces.end()) {
      if (!(given->second->pattern == component.pattern)) {
        fail("the trace given for digest " + component.digest + " was recorded for another pattern (" +
             std::to_string(given->second->pattern.n()) + " vertices, expected " +
             std::to_string(component.pattern.n()) + "); record it again");
      }
      components.push_back(given->second);
    } else if (component.pattern.n() < min_size) {
      ComponentTracePtr& trace = inline_traces[component.digest];
      if (trace == nullptr) {
        trace = record_component(component.pattern, options);
      }
      components.push_back(trace);
    } else {
      ++n_absent;
      absent += (n_absent <= 5 ? (n_absent > 1 ? ", " : "") + component.digest : "");
      components.push_back(nullptr);
    }
  }
  if (n_absent > 0) {
    throw Error(ErrorCode::missing,
                std::to_string(n_absent) + " of " + std::to_string(components.size()) +
                    " component traces are missing: " + absent + (n_absent > 5 ? ", ..." : "") +
                    "; record them first");
  }
  return detail::link_components(decomposition, std::move(components));
}

}  // namespace phasic
