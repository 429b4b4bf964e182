// Recording one component: choose the order, eliminate symbolically, keep the fill.

#include "phasic/json.h"
#include "phasic/trace.h"
#include "trace/symbolic.h"
#include "trace/trace_parts.h"

namespace phasic {

namespace detail {

ComponentTracePtr make_component(Pattern pattern, std::string digest, std::string ordering,
                                 std::vector<std::int32_t> order, const RecordOptions& options) {
  Fill fill = eliminate_symbolically(pattern, order, options);
  auto trace = std::make_shared<ComponentTrace>();
  trace->pattern = std::move(pattern);
  trace->digest = std::move(digest);
  trace->ordering = std::move(ordering);
  trace->order = std::move(order);
  trace->upper_begin = std::move(fill.upper_begin);
  trace->upper = std::move(fill.upper);
  trace->lower_begin = std::move(fill.lower_begin);
  trace->lower = std::move(fill.lower);
  trace->n_operations = fill.n_operations;
  return trace;
}

}  // namespace detail

ComponentTracePtr record_component(const Pattern& pattern, const RecordOptions& options) {
  detail::Ordering best = detail::choose_ordering(pattern, options);
  return detail::make_component(pattern, pattern_digest(pattern), std::move(best.name),
                                std::move(best.order), options);
}

ComponentTracePtr record_work_unit(std::string_view digest, std::string_view json,
                                   const RecordOptions& options) {
  const GraphPtr graph = graph_from_json(json);
  Pattern pattern = pattern_of_component_graph(*graph);
  validate_pattern(pattern);
  const std::string found = pattern_digest(pattern);
  if (found != digest) {
    fail("work unit digest mismatch: the unit is named " + std::string(digest) +
         " but its pattern has digest " + found +
         "; do not edit work units, collect them again from the graph");
  }
  return record_component(pattern, options);
}

}  // namespace phasic
