#include "exploration.h"

#include "base/text.h"
#include "convert.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

struct StartEntry {
  std::vector<std::int32_t> state;
  double probability = 0.0;
};

StartEntry read_start_entry(py::handle item, Py_ssize_t index, Index state_length) {
  const Where where = [&] { return "ipv item " + std::to_string(index); };
  const bool pair = (PyTuple_Check(item.ptr()) != 0 || PyList_Check(item.ptr()) != 0) &&
                    PySequence_Fast_GET_SIZE(item.ptr()) == 2;
  if (!pair) {
    fail(where() + " is " + found_text(item) + ", expected a pair (state, probability)");
  }
  const auto state = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(item.ptr(), 0));
  const auto value = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(item.ptr(), 1));
  StartEntry entry;
  read_state(state, state_length, [&] { return where() + ": state"; }, entry.state);
  if (!read_real(value, entry.probability)) {
    fail(where() + ": probability is " + found_text(value) + ", expected a number from 0 to 1");
  }
  return entry;
}

// The first state fixes the state length.
std::vector<StartEntry> read_start(const py::object& ipv) {
  const bool sequence = PyList_Check(ipv.ptr()) != 0 || PyTuple_Check(ipv.ptr()) != 0;
  if (!sequence || PySequence_Fast_GET_SIZE(ipv.ptr()) == 0) {
    fail("ipv is " + found_text(ipv) +
         ", expected a list with at least one pair (state, probability)");
  }
  std::vector<StartEntry> entries;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(ipv.ptr()); ++i) {
    const auto item = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(ipv.ptr(), i));
    entries.push_back(
        read_start_entry(item, i, entries.empty() ? Index{-1} : ssize(entries[0].state)));
  }
  return entries;
}

}  // namespace

GraphBuilder begin_exploration(const py::object& callback, const py::object& ipv,
                               const ExploreOptions& options) {
  if (PyCallable_Check(callback.ptr()) == 0) {
    fail("the callback is " + found_text(callback) + ", expected a callable");
  }
  if (!options.progress.is_none() && PyCallable_Check(options.progress.ptr()) == 0) {
    fail("progress is " + found_text(options.progress) + ", expected a callable or None");
  }
  if (options.max_states < 1) {
    fail("max_states is " + std::to_string(options.max_states) + ", expected at least 1");
  }
  const std::vector<StartEntry> start = read_start(ipv);
  GraphBuilder builder(ssize(start[0].state), options.discrete);
  for (std::size_t i = 0; i < start.size(); ++i) {
    const Index vertex = builder.find_or_create_vertex(start[i].state);
    try {
      builder.add_edge(0, vertex, start[i].probability);
    } catch (const Error& error) {
      throw Error(error.code(), "ipv item " + std::to_string(i) + ": " + error.what());
    }
  }
  try {
    static_cast<void>(builder.freeze());  // before the exploration, which may be long
  } catch (const Error& error) {
    throw Error(error.code(), std::string("ipv: ") + error.what());
  }
  check_budget(builder, options, 0);
  return builder;
}

void check_budget(const GraphBuilder& builder, const ExploreOptions& options, Index n_explored) {
  const Index n_states = builder.n_vertices() - 1;
  if (n_states <= options.max_states) return;
  throw Error(ErrorCode::budget,
              "the callback reached " + std::to_string(n_states) + " states, expected at most " +
                  std::to_string(options.max_states) + " (max_states), when " +
                  std::to_string(n_explored) + " of them were explored; the newest is " +
                  detail::state_text(builder.state(n_states)) +
                  ". Check that the state space is finite, or raise max_states");
}

void check_exploration(const GraphBuilder& builder, const ExploreOptions& options,
                       Index n_explored) {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  check_budget(builder, options, n_explored);
  if (!options.progress.is_none()) options.progress(builder.n_vertices() - 1, n_explored);
}

}  // namespace phasic::python
