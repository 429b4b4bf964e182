// What the one-state and the batched exploration share: the start distribution, the cap on the
// number of states, the reports of progress.
#pragma once

#include <pybind11/pybind11.h>

#include "phasic/graph.h"

namespace phasic::python {

struct ExploreOptions {
  bool discrete = false;
  Index max_states = 0;         // without the starting vertex
  pybind11::object progress;    // None, or called with the numbers of states found and explored
};

// A builder that holds the start distribution; its states are the first vertices. Everything is
// checked here, before the callback is called for the first time.
[[nodiscard]] GraphBuilder begin_exploration(const pybind11::object& callback,
                                             const pybind11::object& ipv,
                                             const ExploreOptions& options);

// To be called between calls of the callback, with the number of states it was asked about: stops
// on Ctrl-C, throws Error{budget} if there are too many states, and reports the progress.
void check_exploration(const GraphBuilder& builder, const ExploreOptions& options,
                       Index n_explored);
// Only the second of the three.
void check_budget(const GraphBuilder& builder, const ExploreOptions& options, Index n_explored);

}  // namespace phasic::python
