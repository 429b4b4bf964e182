// Any text as a serialized graph and as a work unit: it is refused with an Error, or it survives the
// round trip, falls into components, and each of them becomes a work unit that can be recorded.
#include <algorithm>
#include <string>

#include "input.h"
#include "phasic/json.h"
#include "phasic/trace.h"

using namespace phasic;

namespace {

GraphPtr graph_or_null(std::string_view text) {
  try {
    return graph_from_json(text);
  } catch (const Error& error) {
    fuzz::expect(error.code() == ErrorCode::invalid_argument, "the parser blames its argument");
    return nullptr;
  }
}

void check_components(const GraphPtr& graph) {
  const Decomposition decomposition = decompose(graph);
  for (Index i = 0; i < ssize(decomposition.components); ++i) {
    const Component& component = decomposition.components[at(i)];
    const std::string unit = graph_to_json(*component_graph(decomposition, i));
    const ComponentTracePtr trace = record_work_unit(component.digest, unit);
    fuzz::expect(trace->pattern == component.pattern, "a work unit holds its component's pattern");
  }
  (void)link(decomposition, {}, graph->n_vertices() + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    (void)record_work_unit(std::string(64, '0'), text);
    fuzz::expect(false, "no work unit has that digest");
  } catch (const Error& error) {
    fuzz::expect(error.code() == ErrorCode::invalid_argument, "a work unit is refused as an argument");
  }
  const GraphPtr graph = graph_or_null(text);
  // Large graphs test memory, not rules; a few bytes can name many vertices only through states.
  if (graph == nullptr || graph->n_vertices() > 500) return 0;
  const std::string written = graph_to_json(*graph);
  fuzz::expect(graph_to_json(*graph_from_json(written)) == written, "the round trip loses nothing");
  check_components(graph);
  return 0;
}
