#include "transitions.h"

#include <algorithm>
#include <numeric>

#include "base/text.h"
#include "convert.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

constexpr const char* kFields[] = {"source_row", "next_states", "weights"};

std::string entry_text(const py::array& array, Index place) {
  return found_text(array.attr("item")(place));
}

std::string count_text(Index n) { return std::to_string(n); }

}  // namespace

std::string batch_text(const GraphBuilder& builder, Index first_vertex, Index n_rows) {
  return (n_rows == 1 ? "state " : count_text(n_rows) + " states, the first ") +
         detail::state_text(builder.state(first_vertex));
}

std::string Transitions::batch_text() const {
  const std::string part = listed_ ? ", part " + count_text(ssize(parts_) - 1) : "";
  return "the callback's result for " +
         python::batch_text(builder_, first_vertex_, n_rows_) + part;
}

std::string Transitions::row_text(Index i) const {
  const Index part = part_of(i);
  return "the callback's result for state " + detail::state_text(builder_.state(source_vertex(i))) +
         (listed_ ? ", part " + count_text(part) : "") + ", row " +
         count_text(i - parts_[at(part)].begin);
}

Index Transitions::part_of(Index i) const {
  const auto after = std::upper_bound(parts_.begin(), parts_.end(), i,
                                      [](Index item, const Part& p) { return item < p.begin; });
  return after - parts_.begin() - 1;
}

void Transitions::read(const py::object& result, Index first_vertex, Index n_rows) {
  first_vertex_ = first_vertex;
  n_rows_ = n_rows;
  parts_.clear();
  source_.clear();
  states_.clear();
  weights_.clear();
  listed_ = PyList_Check(result.ptr()) != 0;
  if (!listed_) read_part(result);
  for (Py_ssize_t k = 0; listed_ && k < PyList_GET_SIZE(result.ptr()); ++k) {
    read_part(py::reinterpret_borrow<py::object>(PyList_GET_ITEM(result.ptr(), k)));
  }
  sort();
}

void Transitions::read_part(const py::object& part) {
  parts_.push_back({size(), ssize(weights_), -1});
  if (PyTuple_Check(part.ptr()) == 0 || PyTuple_GET_SIZE(part.ptr()) != 3) {
    fail(batch_text() + ", is " + found_text(part) +
         ", expected a 3-tuple of arrays (source_row, next_states, weights)" +
         (listed_ ? "" : ", or a list of such tuples"));
  }
  const Array sources = read_field(part, 0);
  const Array states = read_field(part, 1);
  const Array weights = read_field(part, 2);
  read_sources(sources);
  read_states(states);
  read_weights(weights);
}

Transitions::Array Transitions::read_field(const py::object& part, Index field) const {
  const py::handle value = PyTuple_GET_ITEM(part.ptr(), field);
  const std::string name = kFields[field];
  Array array;
  const Where where = [&] { return batch_text() + ": " + name; };
  if (!read_array(value, array, where) || !is_numeric(array)) {
    fail(where() + " is " + found_text(value) +
         ", expected an array of numbers (a dtype of integers or floats)");
  }
  return array;
}

void Transitions::read_sources(const Array& array) {
  if (array.ndim() != 1) {
    fail(batch_text() + ": source_row is " + found_text(array) +
         ", expected one dimension, a row of the batch for each transition");
  }
  const Index begin = size();
  Index wrong = read_int32_entries(array, source_);
  const Index n_read = wrong < 0 ? size() - begin : wrong;
  for (Index i = 0; i < n_read; ++i) {
    if (source_[at(begin + i)] >= 0 && source_[at(begin + i)] < n_rows_) continue;
    wrong = i;
    break;
  }
  if (wrong < 0) return;
  fail(batch_text() + ", row " + count_text(wrong) + ": source_row is " +
       entry_text(array, wrong) + ", expected a whole number from 0 to " +
       count_text(n_rows_ - 1) + ", a row of the batch");
}

void Transitions::read_states(const Array& array) {
  const Index begin = parts_.back().begin;
  const Index n = size() - begin;
  const Index length = builder_.state_length();
  if (array.ndim() != 2 || array.shape(0) != n || array.shape(1) != length) {
    fail(batch_text() + ": next_states is " + found_text(array) + ", expected the shape (" +
         count_text(n) + ", " + count_text(length) + "): a state for each entry of source_row");
  }
  const Index wrong = read_int32_entries(array, states_);
  if (wrong < 0) return;
  fail(row_text(begin + wrong / length) + ": next_states column " + count_text(wrong % length) +
       " is " + entry_text(array, wrong) +
       ", expected a whole number from -2147483648 to 2147483647");
}

void Transitions::read_weights(const Array& array) {
  const Index n = size() - parts_.back().begin;
  Index known = builder_.param_length();
  for (const Part& part : parts_) known = std::max(known, part.param_length);
  const bool constant = array.ndim() == 1;
  const Index columns = array.ndim() == 2 ? array.shape(1) : 0;
  const bool columns_fit = known > 0 ? columns == known : columns >= 1;
  if (array.ndim() < 1 || array.shape(0) != n || !(constant || columns_fit)) {
    fail(batch_text() + ": weights is " + found_text(array) + ", expected the shape (" +
         count_text(n) + ",) for constant edges or (" + count_text(n) + ", " +
         (known > 0 ? count_text(known) + ") for coefficients, as many as on earlier edges"
                    : "param_length) for coefficients"));
  }
  if (!constant) parts_.back().param_length = columns;
  const auto values = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(array);
  if (!values) throw py::error_already_set();
  weights_.insert(weights_.end(), values.data(), values.data() + values.size());
}

// A counting sort: one bucket for each row of the batch.
void Transitions::sort() {
  order_.clear();
  if (std::is_sorted(source_.begin(), source_.end())) return;
  std::vector<Index> next(at(n_rows_ + 1), 0);  // where the next transition of a row goes
  for (const std::int32_t row : source_) ++next[at(row + 1)];
  std::partial_sum(next.begin(), next.end(), next.begin());
  order_.resize(at(size()));
  std::vector<std::int32_t> sorted(states_.size());
  const Index length = builder_.state_length();
  for (Index i = 0; i < size(); ++i) {
    const Index k = next[at(source_[at(i)])]++;
    order_[at(k)] = i;
    std::copy_n(states_.data() + i * length, length, sorted.data() + k * length);
  }
  states_.swap(sorted);
}

void Transitions::add_edge(GraphBuilder& builder, Index k, Index target) const {
  const Index i = order_.empty() ? k : order_[at(k)];
  const Part& part = parts_[at(part_of(i))];
  const Index row = i - part.begin;
  try {
    if (part.param_length < 0) {
      builder.add_edge(source_vertex(i), target, weights_[at(part.weight_begin + row)]);
    } else {
      const double* begin = weights_.data() + part.weight_begin + row * part.param_length;
      builder.add_edge(source_vertex(i), target, Span<const double>(begin, part.param_length));
    }
  } catch (const Error& error) {
    throw Error(error.code(), row_text(i) + ": " + error.what());
  }
}

}  // namespace phasic::python
