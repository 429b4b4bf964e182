// Python objects to exact numbers: what a user may write for a state, a weight, an array.
//
// bool, complex, text and None are never numbers here; NumPy scalars and zero-dimensional arrays
// are. Every rejection is an Error{invalid_argument} that says where, what was expected and found.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <functional>
#include <string>
#include <vector>

#include "phasic/base.h"

namespace phasic::python {

// Writes where the value came from, when a message needs it: "callback result 3 of state (1, 0)".
using Where = std::function<std::string()>;

// A value in a message: "None", "'x' (str)", "list of 300 items".
[[nodiscard]] std::string found_text(pybind11::handle value);

// False if the value is not a real number, or not a whole one that fits.
[[nodiscard]] bool read_real(pybind11::handle value, double& result);
[[nodiscard]] bool read_int32(pybind11::handle value, std::int32_t& result);

// True, and an array, for everything that NumPy reads as one: an array or an object that offers
// __array__. Masked arrays are rejected, since their mask would be lost.
[[nodiscard]] bool read_array(pybind11::handle value, pybind11::array& result, const Where& where);
// The dtype is one of integers or floats.
[[nodiscard]] bool is_numeric(const pybind11::array& array);

// Appends the entries of an array that is_numeric, in C order. Returns the place of the first one
// that is not a whole number from -2147483648 to 2147483647, or -1 if all are.
[[nodiscard]] Index read_int32_entries(const pybind11::array& array,
                                       std::vector<std::int32_t>& entries);

// length -1: any length, at least 1.
void read_state(pybind11::handle value, Index length, const Where& where,
                std::vector<std::int32_t>& state);

struct Weight {
  bool parameterised = false;
  double constant = 0.0;
  std::vector<double> coefficients;
};
// A number, or a list, tuple or one-dimensional array of coefficients. Ranges are checked later.
void read_weight(pybind11::handle value, const Where& where, Weight& weight);

}  // namespace phasic::python
