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

inline constexpr int kTraceFormatMajor = 2;
inline constexpr int kTraceFormatMinor = 0;

// Budgets of one component; what is predicted to take more is an Error{budget} before it is taken.
struct RecordOptions {
  double max_operations = 5e9;  // multiply-adds of the factorisation
  double max_bytes = 8e9;       // of its trace and its code
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

// Consecutive steps of a component that are eliminated as one dense front. Its upper and lower steps
// are the same if it has several steps.
//
// The front owns `width` rows and n_lower rows below them, as slots of the component:
//   rows   width x (width + 1 + n_upper), columns: its own steps, the exit, the upper steps
//   lower  n_lower x width
// Own entry (t, r), r < t, and lower entry (i, t) become multipliers; own entry (t, t) is never used.
struct Supernode {
  std::int32_t first = 0, width = 0;
  std::int32_t n_upper = 0, n_lower = 0;
  std::int32_t rows = 0, lower = 0;               // slots where the two arrays begin
  std::int32_t upper_list = 0, lower_list = 0;    // into ComponentCode::upper_step, lower_step
  Index update = 0;                               // into ComponentCode::update_slot
  [[nodiscard]] Index stride() const noexcept { return Index{width} + 1 + n_upper; }
};

// Up to this many steps kernels have code for the exact width of a component's last front.
inline constexpr int kSmallFront = 12;

// How a small component whose fronts but the last are single steps is eliminated: entry by entry. A slot
// is written once, with its weight and all products of a multiplier and a row entry that belong there. A
// slot or step is named by kSlotUnit times its number, which kernels of all widths can scale.
//
// words: of an entry its head, which is twice the number of products and 1 more if it has a weight, and for
// each product the slots of the multiplier and of the row entry. An exit has a weight that its head leaves
// out. For each front, in order of elimination:
//   single step  the exit, the upper entries, the lower entries
//   last front   the number of kinds; of each kind a head and a number of entries, then for each of those
//                its slot and its products; then the exits
// alpha: for each step the number of products, and for each the step of the alpha, which was divided by its
// pivot, and the slot of the row entry.
struct PulledCode {
  static constexpr Index kSlotUnit = 16;
  static constexpr Index kMaxSlots = 2500;  // narrow enough for 16 bits, few enough for a near cache
  std::vector<std::uint16_t> words;         // empty if the component is not eliminated so
  std::vector<std::uint16_t> alpha;
  std::vector<std::int32_t> weights;        // in the order of words: slots of edges, or -1 - step of an exit
};

// What a kernel executes for one component: fronts over slots. Shared by all equal components.
struct ComponentCode {
  Index n = 0;
  Index n_slots = 0;                        // one spare slot follows, for products that are zero
  std::vector<Supernode> supernodes;        // in order of elimination
  std::vector<std::int32_t> upper_step;     // steps that a front leads to
  std::vector<std::int32_t> lower_step;     // steps that lead to a front
  std::vector<std::int32_t> mirror;         // where an upper step is in its front's lower list, or -1
  std::vector<std::int32_t> update_slot;    // (n_lower, 1 + n_upper) of each front: the slot that
                                            // (lower step, exit or upper step) is
  std::vector<std::int32_t> exit_slot;      // (n)
  std::vector<std::int32_t> empty_slot;     // slots that neither an edge nor an exit is loaded into
  bool path = false;                        // n > 1 and each step meets only the next one
  PulledCode pulled;
  [[nodiscard]] bool is_pulled() const noexcept { return !pulled.words.empty(); }
};

using ComponentCodePtr = std::shared_ptr<const ComponentCode>;

// The edges between blocks as seen from one of their ends: for each position its runs, and for each
// run (one entry of Program's parameters) its terms, with weight coef * parameter.
struct FlowTerm {
  double coef = 0;
  std::int32_t place = 0;  // the other end
};
struct FlowRun {
  std::int32_t param = 0, begin = 0;  // begin: into Flows::term; the next run begins where this ends
  double total = 0;                   // sum of its coefficients
};
struct Flows {
  std::vector<std::int32_t> run_begin;  // (n_places + 1)
  std::vector<FlowRun> run;             // one more, empty, at the end
  std::vector<FlowTerm> term;
  [[nodiscard]] Index term_begin(Index place) const {
    return run[at(run_begin[at(place)])].begin;
  }
};

// The weights of blocks that are pulled, coef * parameter, twice: in the order in which kernels form entries,
// and by parameter for the gradient.
struct LoadWeight {  // of an edge, or a term of an exit rate, which has at least one
  double coef = 0;
  std::int32_t param = 0;
  std::int32_t more = 0;  // 1: the next one is added to it
};
struct LoadEntry {
  double coef = 0;
  std::int32_t place = 0;  // of an edge: its slot, times PulledCode::kSlotUnit; else its outflow run
  std::int32_t step = 0;   // whose rate it is
};
struct LoadRun {
  std::int32_t param = 0, begin = 0;  // begin: into Loads::entry; the next run begins where this ends
};
struct LoadBlock {
  std::int32_t edges = 0, exits = 0;  // into Loads::run
  std::int32_t weight = 0;            // into Loads::weight
  std::int32_t param = -1;            // that of all edges, or -1 if they have several
};
struct Loads {
  std::vector<LoadBlock> block;  // (n_blocks + 1)
  std::vector<LoadWeight> weight;
  std::vector<LoadRun> run;      // one more, empty, at the end
  std::vector<LoadEntry> entry;
};

// A whole graph, ready for a kernel. Positions number the reachable transient vertices in the order
// of elimination, sinks first; each component that is reached is a block of consecutive positions.
// An edge out of a block leads to an earlier block or to an absorbing vertex. Places number all that a
// flow can come from or go to: positions, then the absorbing vertices that are reached, then the start.
//
// Parameters of a program are (theta, 1, combinations): a weight with several terms is evaluated once
// as a combination, hence each edge has one coefficient and one parameter.
struct Program {
  GraphPtr graph;
  std::string digest;
  std::vector<ComponentTracePtr> components;  // sinks first, aligned with the decomposition

  // --- positions and blocks
  Index n_positions = 0;
  Index n_places = 0;
  std::vector<std::int32_t> absorbing;          // (n_places - n_positions - 1) graph vertex
  std::vector<std::int32_t> vertex_of;          // (n_positions) graph vertex
  std::vector<std::int32_t> position_of;        // (n_vertices) or -1
  std::vector<std::int32_t> block_begin;        // (n_blocks + 1) first position
  std::vector<ComponentTracePtr> block_trace;   // (n_blocks)
  std::vector<ComponentCodePtr> block_code;     // (n_blocks)
  std::vector<Index> slot_base;                 // (n_blocks + 1) when all blocks are kept at once
  Index max_block_slots = 0, max_block_positions = 0;
  Index max_block_runs = 0;                     // of outflow
  Index max_general_slots = 0;                  // of blocks that are neither single nor a path

  // --- out-edges of every position (self loops dropped): first those that stay in the block by
  // target, each with a slot of its own; then those to other blocks; then those to absorbing vertices.
  std::vector<std::int32_t> out_begin;        // (n_positions + 1)
  std::vector<std::int32_t> leaving_begin;    // (n_positions) where edges out of the block begin
  std::vector<std::int32_t> out_edge;         // (n_out) graph edge
  std::vector<std::int32_t> out_target;       // (n_out) position, or -1 - vertex if absorbing
  std::vector<std::int32_t> out_slot;         // (n_out) slot inside the block, or -1 if it leaves
  std::vector<std::int32_t> self_edge;        // (n_positions) the vertex's self loop, or -1
  std::vector<std::int32_t> start_edge;       // (n_start) graph edge out of vertex 0
  std::vector<std::int32_t> start_target;     // (n_start) position, or -1 - vertex if absorbing

  // --- weights: edge e has out_coef[e] * parameter[out_param[e]]
  std::vector<double> out_coef;               // (n_out)
  std::vector<std::int32_t> out_param;        // (n_out)
  std::vector<std::int32_t> combination_begin;  // (n_combinations + 1)
  std::vector<double> combination_coef;
  std::vector<std::int32_t> combination_param;  // param_length stands for the constant 1
  Flows outflow;                              // edges out of blocks, by source
  Flows inflow;                               // the same and the start's, by target
  Loads loads;
  bool has_negative_coef = false;

  Index n_operations = 0;                     // multiply-adds of one factorisation
  bool structural_trap = false;               // some reachable vertex cannot reach absorption

  [[nodiscard]] Index n_blocks() const noexcept { return ssize(block_begin) - 1; }
  [[nodiscard]] Index n_combinations() const noexcept { return ssize(combination_begin) - 1; }
  // Entries of (theta, 1, combinations).
  [[nodiscard]] Index n_parameters() const noexcept {
    return graph->param_length + 1 + n_combinations();
  }
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
