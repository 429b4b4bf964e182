// The serialized dict of NumPy arrays (or nested lists), in and out.
#include <pybind11/numpy.h>

#include "base/text.h"
#include "convert.h"
#include "graph/arrays.h"
#include "py_graph.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

using detail::TableShape;

// The cells of one field: int32 for states, double for the others.
template <class T>
struct Cells {
  const char* field;
  std::vector<T>& values;

  void add(py::handle cell, Index row, Index column) {
    T value{};
    if constexpr (std::is_same_v<T, double>) {
      if (!read_real(cell, value)) detail::fail_cell(field, row, column, found_text(cell));
    } else {
      if (!read_int32(cell, value)) detail::fail_state_cell(row, column, found_text(cell));
    }
    values.push_back(value);
  }
};

[[noreturn]] void fail_dtype(const char* field, const py::array& array) {
  fail(std::string(field) + " has dtype " + std::string(py::str(array.dtype())) +
       ", expected integers or floats");
}

template <class T>
py::array_t<T> cast_array(const py::array& array) {
  auto result = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(array);
  if (!result) throw py::error_already_set();
  return std::move(result);
}

void copy_values(const py::array& array, Cells<double>& cells) {
  const auto values = cast_array<double>(array);
  cells.values.assign(values.data(), values.data() + values.size());
}

void copy_values(const py::array& array, Cells<std::int32_t>& cells) {
  const char kind = array.dtype().kind();
  const Index columns = array.ndim() == 2 ? array.shape(1) : 1;
  const auto copy = [&](const auto& values) {
    cells.values.resize(at(values.size()));
    for (Index i = 0; i < values.size(); ++i) {
      const auto value = values.data()[i];
      const double number = static_cast<double>(value);  // rounds only what does not fit anyway
      if (!detail::to_int32(number, cells.values[at(i)])) {
        detail::fail_state_cell(i / columns, i % columns, detail::number_text(number));
      }
    }
  };
  if (kind == 'i') return copy(cast_array<std::int64_t>(array));
  if (kind == 'u') return copy(cast_array<std::uint64_t>(array));
  copy(cast_array<double>(array));
}

template <class T>
TableShape read_table(const py::array& array, Cells<T>& cells) {
  if (!is_numeric(array)) fail_dtype(cells.field, array);
  if (array.ndim() != 1 && array.ndim() != 2) {
    detail::fail_shape(cells.field, "an array of " + std::to_string(array.ndim()) +
                                        " dimensions, expected 2");
  }
  TableShape shape;
  shape.rows = array.shape(0);
  if (array.ndim() == 2) shape.columns = array.shape(1);
  if (array.ndim() == 2 || shape.rows == 0) copy_values(array, cells);
  return shape;
}

template <class T>
Index read_row(py::handle row, Index index, Cells<T>& cells) {
  py::object items = py::reinterpret_borrow<py::object>(row);
  py::array array;
  const bool sequence = PyList_Check(row.ptr()) != 0 || PyTuple_Check(row.ptr()) != 0;
  const Where where = [&] { return cells.field + std::string(" row ") + std::to_string(index); };
  if (!sequence && read_array(row, array, where) && array.ndim() == 1) {
    if (!is_numeric(array)) fail_dtype(cells.field, array);
    items = array.attr("tolist")();
  } else if (!sequence) {
    detail::fail_shape(cells.field, "row " + std::to_string(index) + " is " + found_text(row) +
                                        ", expected a list of numbers");
  }
  Index column = 0;
  for (; column < PySequence_Fast_GET_SIZE(items.ptr()); ++column) {
    const auto cell =
        py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(items.ptr(), column));
    cells.add(cell, index, column);
  }
  return column;
}

template <class T>
TableShape read_rows(py::handle rows, Cells<T>& cells) {
  TableShape shape;
  for (; shape.rows < PySequence_Fast_GET_SIZE(rows.ptr()); ++shape.rows) {
    const auto row =
        py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(rows.ptr(), shape.rows));
    const Index columns = read_row(row, shape.rows, cells);
    if (shape.rows == 0) {
      shape.columns = columns;
    } else if (columns != shape.columns && shape.odd_row < 0) {
      shape.odd_row = shape.rows;
      shape.odd_columns = columns;
    }
  }
  return shape;
}

template <class T>
TableShape read_field(const py::dict& fields, const char* name, std::vector<T>& values) {
  Cells<T> cells{name, values};
  const py::object value = fields[name];
  py::array array;
  if (PyList_Check(value.ptr()) != 0 || PyTuple_Check(value.ptr()) != 0) {
    return read_rows(value, cells);
  }
  if (!read_array(value, array, [&] { return std::string(name); })) {
    detail::fail_shape(name, "found " + found_text(value) + ", expected an array");
  }
  return read_table(array, cells);
}

Index read_int(const py::dict& fields, const char* name, Index absent) {
  if (!fields.contains(name)) return absent;
  const py::object value = fields[name];
  const bool is_bool = PyBool_Check(value.ptr()) != 0;
  if (!is_bool && PyIndex_Check(value.ptr()) != 0) {
    const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
    if (index) {
      int overflow = 0;
      const long long number = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
      if (overflow == 0) return number;
    }
    PyErr_Clear();
  }
  detail::fail_metadata(name, found_text(value), "an int");
}

bool read_bool(const py::dict& fields, const char* name) {
  if (!fields.contains(name)) return false;
  const py::object value = fields[name];
  if (PyBool_Check(value.ptr()) != 0) return value.ptr() == Py_True;
  if (py::isinstance(value, py::module_::import("numpy").attr("bool_"))) {
    return PyObject_IsTrue(value.ptr()) == 1;
  }
  detail::fail_metadata(name, found_text(value), "a bool");
}

template <class T>
py::array_t<T> to_table(const std::vector<T>& values, Index columns) {
  const Index rows = values.empty() ? 0 : ssize(values) / columns;
  py::array_t<T> result({rows, columns});
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}

}  // namespace

GraphArrays arrays_from_dict(const py::dict& fields) {
  std::vector<std::string> missing;
  for (const char* name : detail::kRequiredFields) {
    if (!fields.contains(name)) missing.emplace_back(name);
  }
  if (!missing.empty()) detail::fail_missing(missing);
  GraphArrays arrays;
  arrays.param_length = read_int(fields, "param_length", 0);
  arrays.state_length = read_int(fields, "state_length", 0);
  arrays.n_vertices = read_int(fields, "n_vertices", 0);
  arrays.start_vertex = read_int(fields, "start_vertex", -1);
  arrays.discrete = read_bool(fields, "is_discrete");
  detail::check_metadata(arrays, read_int(fields, "format_version", detail::kFormatVersion));
  const TableShape states = read_field(fields, "states", arrays.states);
  const TableShape edges = read_field(fields, "edges", arrays.edges);
  const TableShape start_edges = read_field(fields, "start_edges", arrays.start_edges);
  const TableShape param_edges = read_field(fields, "param_edges", arrays.param_edges);
  const TableShape start_param_edges =
      read_field(fields, "start_param_edges", arrays.start_param_edges);
  detail::check_shapes(arrays, states, edges, start_edges, param_edges, start_param_edges);
  if (fields.contains("start_vertex")) detail::check_start_vertex(arrays);
  return arrays;
}

py::dict dict_from_arrays(const GraphArrays& arrays) {
  const bool constant = arrays.param_length == 0;  // then both param arrays are (0, 0)
  py::array_t<std::int64_t> indices(arrays.n_vertices);
  for (Index v = 0; v < arrays.n_vertices; ++v) indices.mutable_data()[v] = v;
  py::dict fields;
  fields["states"] = to_table(arrays.states, arrays.state_length);
  fields["edges"] = to_table(arrays.edges, 3);
  fields["start_edges"] = to_table(arrays.start_edges, 2);
  fields["param_edges"] = to_table(arrays.param_edges, constant ? 0 : 2 + arrays.param_length);
  fields["start_param_edges"] =
      to_table(arrays.start_param_edges, constant ? 0 : 1 + arrays.param_length);
  fields["param_length"] = arrays.param_length;
  fields["state_length"] = arrays.state_length;
  fields["n_vertices"] = arrays.n_vertices;
  fields["start_vertex"] = arrays.start_vertex;
  fields["is_discrete"] = arrays.discrete;
  fields["format_version"] = detail::kFormatVersion;
  fields["vertex_indices"] = std::move(indices);
  return fields;
}

}  // namespace phasic::python
