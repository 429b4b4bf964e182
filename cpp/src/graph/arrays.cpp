#include "graph/arrays.h"

#include <cmath>

#include "base/text.h"

namespace phasic::detail {
namespace {

// "shape (4, 3)", or the first row that breaks it.
std::string shape_text(TableShape shape, Index columns) {
  if (shape.odd_row >= 0 && shape.columns == columns) {
    return "row " + number_text(shape.odd_row) + " with " + number_text(shape.odd_columns) +
           " columns";
  }
  if (shape.columns == kNoColumns) return "shape (" + number_text(shape.rows) + ",)";
  return "shape (" + number_text(shape.rows) + ", " + number_text(shape.columns) + ")";
}

bool is_empty_vector(TableShape shape) noexcept {
  return shape.rows == 0 && shape.columns == kNoColumns;
}

void check_states(TableShape shape, Index n_vertices, Index state_length) {
  const bool columns_agree = shape.columns == state_length && shape.odd_row < 0;
  if (shape.rows == n_vertices && (columns_agree || is_empty_vector(shape))) return;
  fail_shape("states", shape_text(shape, state_length) + ", expected (" + number_text(n_vertices) +
                           ", " + number_text(state_length) + ") (n_vertices, state_length)");
}

void check_constant_table(const std::string& field, TableShape shape, Index columns) {
  if ((shape.columns == columns && shape.odd_row < 0) || is_empty_vector(shape)) return;
  fail_shape(field, shape_text(shape, columns) + ", expected (n, " + number_text(columns) + ")");
}

// Columns are index_columns vertex numbers ([from, to] or [to]) and the coefficients.
void check_param_table(const std::string& field, TableShape shape, Index index_columns,
                       Index param_length) {
  const Index columns = index_columns + param_length;
  if (shape.rows == 0 && (shape.columns <= 0 || shape.columns == columns)) return;
  const bool odd = shape.odd_row >= 0 && shape.columns == columns;
  const Index found = odd ? shape.odd_columns : shape.columns;
  if (found != columns) {
    fail(std::string("coefficient length ") + (found < columns ? "<" : ">") + " param_length: " +
         field + " has " + shape_text(shape, columns) + ", expected (n, " + number_text(columns) +
         ") with param_length " + number_text(param_length));
  }
  if (param_length == 0) {
    fail_shape(field, shape_text(shape, columns) + ", expected (0, 0) with param_length 0");
  }
}

}  // namespace

void fail_missing(const std::vector<std::string>& names) {
  std::string text = "missing required fields: ";
  for (std::size_t i = 0; i < names.size(); ++i) text += (i > 0 ? ", " : "") + names[i];
  fail(text);
}

void fail_metadata(const std::string& field, const std::string& found,
                   const std::string& expected) {
  fail("invalid metadata types: " + field + " is " + found + ", expected " + expected);
}

void fail_shape(const std::string& field, const std::string& detail) {
  fail(field + (field == "states" ? " array shape mismatch: " : " array has wrong shape: ") +
       detail);
}

void fail_state_cell(Index row, Index column, const std::string& found) {
  fail("states row " + number_text(row) + ": column " + number_text(column) + " is " + found +
       ", expected a whole number from -2147483648 to 2147483647");
}

void fail_cell(const std::string& field, Index row, Index column, const std::string& found) {
  fail(field + " row " + number_text(row) + ": column " + number_text(column) + " is " + found +
       ", expected a number");
}

bool to_int32(double value, std::int32_t& result) noexcept {
  constexpr double kLowest = std::numeric_limits<std::int32_t>::min();
  constexpr double kHighest = std::numeric_limits<std::int32_t>::max();
  if (!(value >= kLowest && value <= kHighest) || value != std::floor(value)) return false;
  result = static_cast<std::int32_t>(value);
  return true;
}

void check_metadata(const GraphArrays& arrays, Index format_version) {
  constexpr Index kMaxLength = std::numeric_limits<std::int32_t>::max();
  if (format_version != kFormatVersion) {
    fail("format_version is " + number_text(format_version) + ", expected " +
         number_text(kFormatVersion) + "; the graph was written by another version of phasic");
  }
  if (arrays.param_length < 0 || arrays.param_length > kMaxLength) {
    fail("param_length is " + number_text(arrays.param_length) + ", expected 0 to " +
         number_text(kMaxLength));
  }
  if (arrays.state_length < 1 || arrays.state_length > kMaxLength) {
    fail("state_length is " + number_text(arrays.state_length) + ", expected 1 to " +
         number_text(kMaxLength));
  }
  if (arrays.n_vertices < 0 || arrays.n_vertices >= kMaxLength) {
    fail("n_vertices is " + number_text(arrays.n_vertices) + ", expected 0 to " +
         number_text(kMaxLength - 1));
  }
}

void check_start_vertex(const GraphArrays& arrays) {
  if (arrays.start_vertex < 0 || arrays.start_vertex >= arrays.n_vertices) {
    fail("start_vertex is " + number_text(arrays.start_vertex) +
         ", expected a row of states from 0 to " + number_text(arrays.n_vertices - 1));
  }
}

void check_shapes(const GraphArrays& arrays, TableShape states, TableShape edges,
                  TableShape start_edges, TableShape param_edges, TableShape start_param_edges) {
  check_states(states, arrays.n_vertices, arrays.state_length);
  check_constant_table("edges", edges, 3);
  check_constant_table("start_edges", start_edges, 2);
  check_param_table("param_edges", param_edges, 2, arrays.param_length);
  check_param_table("start_param_edges", start_param_edges, 1, arrays.param_length);
}

}  // namespace phasic::detail
