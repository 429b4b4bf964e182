#include "convert.h"

#include <pybind11/gil_safe_call_once.h>

#include "base/text.h"
#include "graph/arrays.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

// NumPy's scalar types, looked up once.
struct NumpyTypes {
  py::object generic, integer, floating, masked_array, asarray;
};

const NumpyTypes& numpy_types() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<NumpyTypes> storage;
  return storage
      .call_once_and_store_result([] {
        const py::module_ numpy = py::module_::import("numpy");
        return NumpyTypes{numpy.attr("generic"), numpy.attr("integer"), numpy.attr("floating"),
                          numpy.attr("ma").attr("MaskedArray"), numpy.attr("asarray")};
      })
      .get_stored();
}

// Faster than isinstance: no __instancecheck__, which these types do not have.
bool has_type(py::handle value, const py::object& type) {
  return PyObject_TypeCheck(value.ptr(), reinterpret_cast<PyTypeObject*>(type.ptr())) != 0;
}

// Clears the pending Python error if it says that the value has a wrong type or range; any other
// (an interrupt, say) goes to the caller.
void forgive_conversion_error() {
  if (PyErr_ExceptionMatches(PyExc_TypeError) != 0 || PyErr_ExceptionMatches(PyExc_ValueError) != 0 ||
      PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
    PyErr_Clear();
    return;
  }
  throw py::error_already_set();
}

std::string repr_text(py::handle value) {
  const py::object repr = py::reinterpret_steal<py::object>(PyObject_Repr(value.ptr()));
  if (!repr) {
    PyErr_Clear();
    return "an unprintable value";
  }
  return detail::printable_text(std::string(py::str(repr)), 60);
}

// The general route of read_real: anything with __float__ that is not text, bool or complex.
bool read_by_protocol(py::handle value, double& result) {
  if (py::isinstance<py::array>(value)) {
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (array.ndim() != 0 || !is_numeric(array)) return false;
  } else if (has_type(value, numpy_types().generic)) {
    if (!has_type(value, numpy_types().integer) && !has_type(value, numpy_types().floating)) {
      return false;
    }
  } else {
    const PyNumberMethods* number = Py_TYPE(value.ptr())->tp_as_number;
    if (number == nullptr || number->nb_float == nullptr) return false;
  }
  result = PyFloat_AsDouble(value.ptr());
  if (result == -1.0 && PyErr_Occurred() != nullptr) {
    forgive_conversion_error();
    return false;
  }
  return true;
}

// Appends; returns the place of the first entry that is not an exact int32, or -1.
template <class T>
Index append_int32(const py::array& array, std::vector<std::int32_t>& entries) {
  const auto values = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(array);
  if (!values) throw py::error_already_set();
  const std::size_t begin = entries.size();
  entries.resize(begin + static_cast<std::size_t>(values.size()));
  const T* const data = values.data();
  for (Index i = 0; i < values.size(); ++i) {
    std::int32_t& entry = entries[begin + at(i)];
    const T value = data[i];
    if constexpr (std::is_floating_point_v<T>) {
      if (!detail::to_int32(value, entry)) return i;
    } else {
      entry = static_cast<std::int32_t>(value);
      const bool negative = value < T{0};
      if (static_cast<T>(entry) != value || (entry < 0) != negative) return i;
    }
  }
  return -1;
}

// False if an entry is not an exact int32 or the array is not a vector of numbers.
bool read_state_array(const py::array& array, std::vector<std::int32_t>& state) {
  state.clear();
  return array.ndim() == 1 && is_numeric(array) && read_int32_entries(array, state) < 0;
}

// A list or tuple; user code that runs inside read_int32 may shorten a list, so its size is read
// at every step.
bool read_state_sequence(py::handle value, std::vector<std::int32_t>& state) {
  state.clear();
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value.ptr()); ++i) {
    const auto entry =
        py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(value.ptr(), i));
    std::int32_t coordinate = 0;
    if (!read_int32(entry, coordinate)) return false;
    state.push_back(coordinate);
  }
  return true;
}

bool is_list_or_tuple(py::handle value) {
  return PyList_Check(value.ptr()) != 0 || PyTuple_Check(value.ptr()) != 0;
}

void read_coefficients(py::handle value, const Where& where, std::vector<double>& coefficients) {
  coefficients.clear();
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value.ptr()); ++i) {
    const auto entry =
        py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(value.ptr(), i));
    double coefficient = 0.0;
    if (!read_real(entry, coefficient)) {
      fail(where() + ": coefficient " + std::to_string(i) + " is " + found_text(entry) +
           ", expected a number");
    }
    coefficients.push_back(coefficient);
  }
}

}  // namespace

std::string found_text(py::handle value) {
  PyObject* object = value.ptr();
  if (object == Py_None) return "None";
  const std::string type = detail::printable_text(Py_TYPE(object)->tp_name, 60);
  if (py::isinstance<py::array>(value)) {
    const auto array = py::reinterpret_borrow<py::array>(value);
    std::string shape;
    for (py::ssize_t d = 0; d < array.ndim(); ++d) {
      shape += (d > 0 ? ", " : "") + std::to_string(array.shape(d));
    }
    const std::string values = array.size() <= 8 ? repr_text(value) + ", " : "";
    return values + "an array of dtype " + std::string(py::str(array.dtype())) + " and shape (" +
           shape + (array.ndim() == 1 ? ",)" : ")");
  }
  if (is_list_or_tuple(value) && PySequence_Fast_GET_SIZE(object) > 8) {
    return type + " of " + std::to_string(PySequence_Fast_GET_SIZE(object)) + " items";
  }
  return repr_text(value) + " (" + type + ")";
}

bool read_real(py::handle value, double& result) {
  PyObject* object = value.ptr();
  if (PyFloat_Check(object)) {
    result = PyFloat_AS_DOUBLE(object);
    return true;
  }
  if (PyBool_Check(object)) return false;
  if (PyLong_Check(object)) {
    result = PyLong_AsDouble(object);
    if (result == -1.0 && PyErr_Occurred() != nullptr) {
      forgive_conversion_error();
      return false;
    }
    return true;
  }
  return read_by_protocol(value, result);
}

bool read_int32(py::handle value, std::int32_t& result) {
  PyObject* object = value.ptr();
  if (PyLong_CheckExact(object)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    result = static_cast<std::int32_t>(number);
    return overflow == 0 && result == number;
  }
  double number = 0.0;  // exact for every integer that fits; larger ones stay out of range
  return read_real(value, number) && detail::to_int32(number, result);
}

bool is_numeric(const py::array& array) {
  const char kind = array.dtype().kind();
  return kind == 'i' || kind == 'u' || kind == 'f';
}

Index read_int32_entries(const py::array& array, std::vector<std::int32_t>& entries) {
  switch (array.dtype().kind()) {
    case 'i':
      return append_int32<std::int64_t>(array, entries);
    case 'u':
      return append_int32<std::uint64_t>(array, entries);
    default:
      return append_int32<double>(array, entries);
  }
}

bool read_array(py::handle value, py::array& result, const Where& where) {
  if (py::isinstance<py::array>(value)) {
    if (has_type(value, numpy_types().masked_array)) {
      fail(where() + " is a masked array, expected one without a mask (use its filled())");
    }
    result = py::reinterpret_borrow<py::array>(value);
    return true;
  }
  if (has_type(value, numpy_types().generic) || PyType_Check(value.ptr()) != 0 ||
      !py::hasattr(value, "__array__")) {
    return false;
  }
  try {
    result = numpy_types().asarray(value);
  } catch (const py::error_already_set& error) {
    if (error.matches(PyExc_TypeError) || error.matches(PyExc_ValueError)) return false;
    throw;
  }
  return true;
}

void read_state(py::handle value, Index length, const Where& where,
                std::vector<std::int32_t>& state) {
  bool exact = false;
  py::array array;
  if (is_list_or_tuple(value)) {
    exact = read_state_sequence(value, state);
  } else if (read_array(value, array, where)) {
    exact = read_state_array(array, state);
  }
  const bool fits = length < 0 ? !state.empty() : ssize(state) == length;
  if (exact && fits) return;
  fail(where() + " is " + found_text(value) +
       ", expected a list of whole numbers from -2147483648 to 2147483647" +
       (length < 0 ? ", at least one" : ", of length " + std::to_string(length)));
}

void read_weight(py::handle value, const Where& where, Weight& weight) {
  weight.parameterised = is_list_or_tuple(value);
  if (weight.parameterised) return read_coefficients(value, where, weight.coefficients);
  if (read_real(value, weight.constant)) return;
  py::array array;
  if (read_array(value, array, where) && array.ndim() == 1 && is_numeric(array)) {
    const auto values = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(array);
    if (!values) throw py::error_already_set();
    weight.parameterised = true;
    weight.coefficients.assign(values.data(), values.data() + values.size());
    return;
  }
  if (array.ndim() == 0 && read_real(array, weight.constant)) return;
  fail(where() + ": weight is " + found_text(value) +
       ", expected a number, or a list of coefficients (one per parameter)");
}

}  // namespace phasic::python
