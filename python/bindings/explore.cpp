// The states that a callback reaches, breadth first.
//
// 1. The start distribution is read; its states are the first vertices.
// 2. Vertices are visited in order of creation. The callback gets a fresh int64 copy of the state.
// 3. Each item of its result becomes an edge; states that are new become vertices at the end, so
//    that the visit ends when no state is left.
#include <pybind11/numpy.h>

#include "base/text.h"
#include "convert.h"
#include "py_graph.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

constexpr Index kSignalInterval = 256;  // states between checks for Ctrl-C

class Explorer {
 public:
  Explorer(GraphBuilder& builder, const py::object& callback, Index max_states)
      : builder_(builder), callback_(callback), max_states_(max_states) {}
  void run();

 private:
  void visit(Index vertex);
  [[nodiscard]] py::object call(Index vertex) const;
  void add_transition(Index vertex, py::handle item);
  void check_budget() const;
  [[nodiscard]] std::string state_text(Index vertex) const {
    return detail::state_text(builder_.state(vertex));
  }

  GraphBuilder& builder_;
  const py::object& callback_;
  const Index max_states_;
  Py_ssize_t item_ = 0;  // of the result being read
  std::vector<std::int32_t> state_;
  Weight weight_;
};

void Explorer::check_budget() const {
  const Index n_states = builder_.n_vertices() - 1;
  if (n_states <= max_states_) return;
  throw Error(ErrorCode::budget,
              "the callback reached " + std::to_string(n_states) + " states, expected at most " +
                  std::to_string(max_states_) + " (max_states); the newest is " +
                  state_text(n_states) +
                  ". Check that the state space is finite, or raise max_states");
}

py::object Explorer::call(Index vertex) const {
  const Span<const std::int32_t> state = builder_.state(vertex);
  py::array_t<std::int64_t> argument(state.size());
  std::copy(state.begin(), state.end(), argument.mutable_data());
  auto result =
      py::reinterpret_steal<py::object>(PyObject_CallOneArg(callback_.ptr(), argument.ptr()));
  if (!result) {
    const py::error_already_set error;
    error.value().attr("add_note")("raised by the callback for state " + state_text(vertex));
    throw error;
  }
  return result;
}

void Explorer::add_transition(Index vertex, py::handle item) {
  const Where where = [&] {
    return "the callback's result for state " + state_text(vertex) + ", item " +
           std::to_string(item_);
  };
  if (PyTuple_Check(item.ptr()) == 0 || PyTuple_GET_SIZE(item.ptr()) != 2) {
    fail(where() + ", is " + found_text(item) + ", expected a 2-tuple (next_state, weight)");
  }
  read_state(PyTuple_GET_ITEM(item.ptr(), 0), builder_.state_length(),
             [&] { return where() + ": next_state"; }, state_);
  read_weight(PyTuple_GET_ITEM(item.ptr(), 1), where, weight_);
  const Index target = builder_.find_or_create_vertex(state_);
  try {
    if (weight_.parameterised) {
      builder_.add_edge(vertex, target, Span<const double>(weight_.coefficients));
    } else {
      builder_.add_edge(vertex, target, weight_.constant);
    }
  } catch (const Error& error) {
    throw Error(error.code(), where() + ": " + error.what());
  }
}

void Explorer::visit(Index vertex) {
  const py::object result = call(vertex);
  if (PyList_Check(result.ptr()) == 0) {
    fail("the callback's result for state " + state_text(vertex) + " is " + found_text(result) +
         ", expected a list of 2-tuples (next_state, weight); an empty list is absorbing");
  }
  for (item_ = 0; item_ < PyList_GET_SIZE(result.ptr()); ++item_) {
    const auto item = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(result.ptr(), item_));
    add_transition(vertex, item);
  }
  check_budget();
}

void Explorer::run() {
  check_budget();
  for (Index vertex = 1; vertex < builder_.n_vertices(); ++vertex) {
    if (vertex % kSignalInterval == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
    visit(vertex);
  }
}

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

GraphBuilder explore(const py::object& callback, const py::object& ipv, bool discrete,
                     Index max_states) {
  if (PyCallable_Check(callback.ptr()) == 0) {
    fail("the callback is " + found_text(callback) + ", expected a callable");
  }
  if (max_states < 1) {
    fail("max_states is " + std::to_string(max_states) + ", expected at least 1");
  }
  const std::vector<StartEntry> start = read_start(ipv);
  GraphBuilder builder(ssize(start[0].state), discrete);
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
  Explorer(builder, callback, max_states).run();
  return builder;
}

}  // namespace phasic::python
