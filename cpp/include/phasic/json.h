// The serialized graph as one JSON text (UTF-8, RFC 8259), in and out.
#pragma once

#include <string>
#include <string_view>

#include "phasic/graph.h"

namespace phasic {

[[nodiscard]] GraphPtr graph_from_json(std::string_view text);
// Numbers round-trip exactly. Deterministic: equal graphs give equal text.
[[nodiscard]] std::string graph_to_json(const Graph& graph);

}  // namespace phasic
