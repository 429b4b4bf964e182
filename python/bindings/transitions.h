// What a batched callback returned: the transitions out of many states, copied out of NumPy.
//
// The result is a 3-tuple of arrays (source_row, next_states, weights), or a list of such tuples,
// the parts; one part has either constant or parameterised edges. Shapes, dtypes and the ranges of
// source rows and states are checked here; weights are checked where the edges are made.
#pragma once

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "phasic/graph.h"

namespace phasic::python {

class Transitions {
 public:
  explicit Transitions(const GraphBuilder& builder) : builder_(builder) {}

  // Reads the callback's result for the n_rows vertices from first_vertex on, in place of what was
  // read before. Throws Error naming the state, the row and what was found.
  void read(const pybind11::object& result, Index first_vertex, Index n_rows);

  // In the order of their source rows; those of one row in the order in which they were listed.
  [[nodiscard]] Index size() const noexcept { return ssize(source_); }
  [[nodiscard]] Span<const std::int32_t> next_states() const noexcept { return states_; }
  // Adds the edge of transition k, which leads to a vertex.
  void add_edge(GraphBuilder& builder, Index k, Index target) const;

 private:
  struct Part {
    Index begin;         // its first transition
    Index weight_begin;  // into weights_
    Index param_length;  // -1: constant edges
  };
  using Array = pybind11::array;
  void read_part(const pybind11::object& part);
  [[nodiscard]] Array read_field(const pybind11::object& part, Index field) const;
  void read_sources(const Array& array);
  void read_states(const Array& array);
  void read_weights(const Array& array);
  void sort();
  // In what follows i counts the transitions as they were listed.
  [[nodiscard]] Index source_vertex(Index i) const { return first_vertex_ + source_[at(i)]; }
  [[nodiscard]] Index part_of(Index i) const;
  [[nodiscard]] std::string batch_text() const;
  [[nodiscard]] std::string row_text(Index i) const;

  const GraphBuilder& builder_;
  Index first_vertex_ = 0, n_rows_ = 0;
  bool listed_ = false;  // the result is a list of parts
  std::vector<Part> parts_;
  std::vector<std::int32_t> source_;  // (size)
  std::vector<double> weights_;       // per part: (n) or (n, param_length)
  std::vector<std::int32_t> states_;  // (size, state_length); sorted when everything is read
  std::vector<Index> order_;          // (size) sorted to listed; empty if they were listed sorted
};

// "12 states, the first (7, 1)": how a batch is named in messages.
[[nodiscard]] std::string batch_text(const GraphBuilder& builder, Index first_vertex,
                                     Index n_rows);

}  // namespace phasic::python
