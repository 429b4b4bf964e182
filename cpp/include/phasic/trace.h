// Traces: the recorded elimination of one component, and the linked program of a whole graph.
//
// ComponentTrace  pattern + elimination order. Everything else (fill, operations) follows from these
//                 two by symbolic elimination, so decoded bytes cannot contradict themselves.
// Program         what a kernel executes: positions, slots, macro operations, coefficients, start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "phasic/graph.h"
#include "phasic/scc.h"

namespace phasic {

inline constexpr int kTraceFormatMajor = 1;
inline constexpr int kTraceFormatMinor = 0;

struct RecordOptions {
  double max_operations = 5e9;  // factor operations of one component; beyond it: Error{budget}
};

// The elimination of one component in a fixed order. Immutable after construction.
struct ComponentTrace {
  Pattern pattern;
  std::string digest;
  std::string ordering;             // which member of the portfolio was cheapest
  std::vector<std::int32_t> order;  // order[k] = vertex (pattern row) eliminated k-th

  // Fill, by elimination step k (targets and sources are steps, not vertices), each row sorted.
  std::vector<Index> upper_begin;    // (n + 1)
  std::vector<std::int32_t> upper;   // steps j > k that k leads to when it is eliminated
  std::vector<Index> lower_begin;    // (n + 1)
  std::vector<std::int32_t> lower;   // steps i > k that lead to k when it is eliminated
  Index n_operations = 0;            // multiply-adds of the factorisation
};

using ComponentTracePtr = std::shared_ptr<const ComponentTrace>;
using ComponentTraceMap = std::unordered_map<std::string, ComponentTracePtr>;

// Chooses an order from the portfolio and eliminates symbolically. Deterministic.
[[nodiscard]] ComponentTracePtr record_component(const Pattern& pattern,
                                                 const RecordOptions& options = {});
// Parses a work unit, checks its digest, records. Throws Error{invalid_argument} on any mismatch.
[[nodiscard]] ComponentTracePtr record_work_unit(std::string_view digest, std::string_view json,
                                                 const RecordOptions& options = {});

[[nodiscard]] std::string encode(const ComponentTrace& trace);
// Throws Error{corrupt}. Never trusts a length, an index or a digest that it reads.
[[nodiscard]] ComponentTracePtr decode_component(std::string_view bytes,
                                                 const RecordOptions& options = {});

// A whole graph, ready for a kernel. Positions number the reachable transient vertices in the order
// of elimination, sinks first: every edge out of position p leads to a later position of the same
// component, to an earlier one of the same component (via L), or to a component before it.
struct Program {
  GraphPtr graph;
  std::string digest;
  std::vector<ComponentTracePtr> components;  // sinks first, aligned with the decomposition

  // --- positions
  Index n_positions = 0;
  std::vector<std::int32_t> vertex_of;        // (n_positions) graph vertex
  std::vector<std::int32_t> position_of;      // (n_vertices) or -1
  std::vector<std::int32_t> block_begin;      // (n_blocks + 1) first position of each component used

  // --- out-edges of every position, in graph order (self loops dropped). An edge inside a block is
  // loaded into a slot; one that leaves the block adds to the exit of its position.
  std::vector<std::int32_t> out_begin;        // (n_positions + 1)
  std::vector<std::int32_t> out_edge;         // (n_out) graph edge
  std::vector<std::int32_t> out_target;       // (n_out) position, or -1 - vertex if absorbing
  std::vector<Index> out_slot;                // (n_out) slot, or -1 if the edge leaves the block
  std::vector<std::int32_t> self_edge;        // (n_positions) the vertex's self loop, or -1
  std::vector<std::int32_t> start_edge;       // (n_start) graph edge out of vertex 0
  std::vector<std::int32_t> start_target;     // (n_start) position, or -1 - vertex if absorbing

  // --- slots and macro operations. Step p owns upper_count[p] upper slots, then its lower slots, in
  // [slot_begin[p], slot_begin[p + 1]). The update of lower slot i with upper slot j of step p adds
  // their product to slot update_slot[update_begin[p] + i * upper_count[p] + j]; a returning path
  // (both ends the same position) goes to the spare slot n_slots and is dropped.
  Index n_slots = 0;
  std::vector<Index> slot_begin;              // (n_positions + 1)
  std::vector<std::int32_t> upper_count;      // (n_positions)
  std::vector<std::int32_t> slot_position;    // (n_slots) the other end: target (upper), source (lower)
  std::vector<Index> update_begin;            // (n_positions + 1)
  std::vector<std::int32_t> update_slot;

  Index n_operations = 0;                     // multiply-adds of one factorisation
  bool structural_trap = false;               // some reachable vertex cannot reach absorption
};

using ProgramPtr = std::shared_ptr<const Program>;

// Gives each component its slots. Every component's digest must be in traces; Error{missing} lists
// those that are not. min_size > 1: smaller components are recorded here when absent from traces.
[[nodiscard]] ProgramPtr link(const Decomposition& decomposition, const ComponentTraceMap& traces,
                              Index min_size = 1, const RecordOptions& options = {});

[[nodiscard]] std::string encode(const Program& program);
[[nodiscard]] ProgramPtr decode_program(std::string_view bytes);

// Readable listing of the arithmetic, one line a step.
[[nodiscard]] std::string dump(const ComponentTrace& trace);
[[nodiscard]] std::string dump(const Program& program);

// 'C' or 'P' from the header of encoded bytes; throws Error{corrupt}.
[[nodiscard]] char kind_of_bytes(std::string_view bytes);

}  // namespace phasic
