// The states that a callback reaches, breadth first.
//
// 1. The start distribution is read (exploration.h); its states are the first vertices.
// 2. Vertices are visited in order of creation. The callback gets a fresh int64 copy of the state.
// 3. Each item of its result becomes an edge; states that are new become vertices at the end, so
//    that the visit ends when no state is left.
#include <pybind11/numpy.h>

#include "base/text.h"
#include "convert.h"
#include "exploration.h"
#include "py_graph.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

constexpr Index kCheckInterval = 256;  // states between checks for Ctrl-C and reports

class Explorer {
 public:
  Explorer(GraphBuilder& builder, const py::object& callback, const ExploreOptions& options)
      : builder_(builder), callback_(callback), options_(options) {}
  void run();

 private:
  void visit(Index vertex);
  [[nodiscard]] py::object call(Index vertex) const;
  void add_transition(Index vertex, py::handle item);
  [[nodiscard]] std::string state_text(Index vertex) const {
    return detail::state_text(builder_.state(vertex));
  }

  GraphBuilder& builder_;
  const py::object& callback_;
  const ExploreOptions& options_;
  Py_ssize_t item_ = 0;  // of the result being read
  std::vector<std::int32_t> state_;
  Weight weight_;
};

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
  check_budget(builder_, options_, vertex);
}

void Explorer::run() {
  for (Index vertex = 1; vertex < builder_.n_vertices(); ++vertex) {
    visit(vertex);
    const bool last = vertex + 1 == builder_.n_vertices();
    if (last || vertex % kCheckInterval == 0) check_exploration(builder_, options_, vertex);
  }
}

}  // namespace

GraphBuilder explore(const py::object& callback, const py::object& ipv,
                     const ExploreOptions& options) {
  GraphBuilder builder = begin_exploration(callback, ipv, options);
  Explorer(builder, callback, options).run();
  return builder;
}

}  // namespace phasic::python
