// What the graph bindings share: serialized dicts, and the exploration of a callback's states.
#pragma once

#include <pybind11/pybind11.h>

#include "exploration.h"
#include "phasic/graph.h"

namespace phasic::python {

// Checks every field of a serialized dict (section 3 of the format) except what
// graph_from_arrays checks; keys that the format does not know are ignored.
[[nodiscard]] GraphArrays arrays_from_dict(const pybind11::dict& fields);
[[nodiscard]] pybind11::dict dict_from_arrays(const GraphArrays& arrays);

// A builder with all states that the callback reaches from the start distribution, breadth first.
// Each state is given to the callback once. Exceptions of the callback pass through, with a note
// that names the state; more than max_states states are an Error{budget}.
[[nodiscard]] GraphBuilder explore(const pybind11::object& callback, const pybind11::object& ipv,
                                   const ExploreOptions& options);
// The same with a callback that is given many states at once, at most batch_size. The builder
// does not depend on batch_size.
[[nodiscard]] GraphBuilder explore_batched(const pybind11::object& callback,
                                           const pybind11::object& ipv,
                                           const ExploreOptions& options, Index batch_size);

}  // namespace phasic::python
