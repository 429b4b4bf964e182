#include "graph/arrays.h"

#include "base/text.h"

namespace phasic::detail {
namespace {

std::string shape_text(TableShape shape) {
  if (shape.columns == kNoColumns) return "(" + number_text(shape.rows) + ",)";
  return "(" + number_text(shape.rows) + ", " + number_text(shape.columns) + ")";
}

void check_constant_table(const std::string& field, TableShape shape, Index columns) {
  if (shape.columns == columns || (shape.rows == 0 && shape.columns == kNoColumns)) return;
  fail_shape(field, "shape " + shape_text(shape) + ", expected (n, " + number_text(columns) + ")");
}

// index_columns are [from, to] or [to]; the rest are coefficients.
void check_param_table(const std::string& field, TableShape shape, Index index_columns,
                       Index param_length) {
  const Index columns = index_columns + param_length;
  if (shape.rows == 0 && (shape.columns <= 0 || shape.columns == columns)) return;
  const std::string found = field + " has shape " + shape_text(shape) + ", expected ";
  if (shape.columns > columns) {
    fail("coefficient length > param_length: " + found + "(n, " + number_text(columns) +
         ") with param_length " + number_text(param_length));
  }
  if (shape.columns < columns) {
    fail("coefficient length < param_length: " + found + "(n, " + number_text(columns) +
         ") with param_length " + number_text(param_length));
  }
  if (param_length == 0) {
    fail_shape(field, "shape " + shape_text(shape) + ", expected (0, 0) with param_length 0");
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

void check_shapes(const GraphArrays& arrays, TableShape states, TableShape edges,
                  TableShape start_edges, TableShape param_edges, TableShape start_param_edges) {
  const bool no_rows = states.rows == 0 && states.columns == kNoColumns;
  if (states.rows != arrays.n_vertices || (states.columns != arrays.state_length && !no_rows)) {
    fail_shape("states", "shape " + shape_text(states) + ", expected (" +
                             number_text(arrays.n_vertices) + ", " +
                             number_text(arrays.state_length) + ") (n_vertices, state_length)");
  }
  check_constant_table("edges", edges, 3);
  check_constant_table("start_edges", start_edges, 2);
  check_param_table("param_edges", param_edges, 2, arrays.param_length);
  check_param_table("start_param_edges", start_param_edges, 1, arrays.param_length);
}

}  // namespace phasic::detail
