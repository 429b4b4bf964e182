// The states that a batched callback reaches, breadth first.
//
// 1. The start distribution is read (exploration.h); its states are the first vertices.
// 2. The callback gets all states that were found but not asked about, in order of creation, at
//    most batch_size of them at once.
// 3. Its transitions are read (transitions.h) and sorted stably by source row. So vertices are
//    created in the order in which a one-state callback would create them, however the states are
//    cut into batches.
// 4. Next states are looked up or created, then the edges are added.
#include <pybind11/numpy.h>

#include <algorithm>

#include "py_graph.h"
#include "transitions.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

class BatchExplorer {
 public:
  BatchExplorer(GraphBuilder& builder, const py::object& callback, const ExploreOptions& options)
      : builder_(builder), callback_(callback), options_(options), transitions_(builder) {}
  void run(Index batch_size);

 private:
  [[nodiscard]] py::object call(Index first, Index n_rows) const;
  void visit(Index first, Index n_rows);

  GraphBuilder& builder_;
  const py::object& callback_;
  const ExploreOptions& options_;
  Transitions transitions_;            // out of the states of the batch
  std::vector<std::int32_t> targets_;  // the vertices that the transitions lead to
};

py::object BatchExplorer::call(Index first, Index n_rows) const {
  const Index length = builder_.state_length();
  py::array_t<std::int64_t> argument({n_rows, length});
  const Span<const std::int32_t> states =
      builder_.states().subspan(first * length, n_rows * length);
  std::copy(states.begin(), states.end(), argument.mutable_data());
  auto result =
      py::reinterpret_steal<py::object>(PyObject_CallOneArg(callback_.ptr(), argument.ptr()));
  if (!result) {
    const py::error_already_set error;
    error.value().attr("add_note")("raised by the callback for " +
                                   batch_text(builder_, first, n_rows));
    throw error;
  }
  return result;
}

void BatchExplorer::visit(Index first, Index n_rows) {
  transitions_.read(call(first, n_rows), first, n_rows);
  targets_.resize(at(transitions_.size()));
  builder_.find_or_create_vertices(transitions_.next_states(), targets_);
  for (Index k = 0; k < transitions_.size(); ++k) {
    transitions_.add_edge(builder_, k, targets_[at(k)]);
  }
}

void BatchExplorer::run(Index batch_size) {
  for (Index first = 1; first < builder_.n_vertices();) {
    const Index n_rows = std::min(batch_size, builder_.n_vertices() - first);
    visit(first, n_rows);
    first += n_rows;
    check_exploration(builder_, options_, first - 1);
  }
}

}  // namespace

GraphBuilder explore_batched(const py::object& callback, const py::object& ipv,
                             const ExploreOptions& options, Index batch_size) {
  if (batch_size < 1) {
    fail("batch_size is " + std::to_string(batch_size) + ", expected at least 1");
  }
  GraphBuilder builder = begin_exploration(callback, ipv, options);
  BatchExplorer(builder, callback, options).run(batch_size);
  return builder;
}

}  // namespace phasic::python
