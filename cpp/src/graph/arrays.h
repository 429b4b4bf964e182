// Shape and metadata checks of the serialized format, worded once for arrays and for JSON.
#pragma once

#include <string>
#include <vector>

#include "phasic/graph.h"

namespace phasic::detail {

inline constexpr Index kFormatVersion = 1;
inline constexpr Index kNoColumns = -1;  // an empty array of shape (0,)

// A two-dimensional field as it was found.
struct TableShape {
  Index rows = 0;
  Index columns = kNoColumns;  // of row 0
  Index odd_row = -1;          // the first row that has another number of columns
  Index odd_columns = 0;
};

// The required keys, in the order in which they are written and reported.
inline constexpr const char* kRequiredFields[] = {
    "states",     "edges",        "start_edges",  "param_edges",
    "start_param_edges", "param_length", "state_length", "n_vertices"};

// "missing required fields: ..."
[[noreturn]] void fail_missing(const std::vector<std::string>& names);
// "invalid metadata types: n_vertices is 1.5, expected an int"
[[noreturn]] void fail_metadata(const std::string& field, const std::string& found,
                                const std::string& expected);
// "states array shape mismatch: ..." or "edges array has wrong shape: ..."
[[noreturn]] void fail_shape(const std::string& field, const std::string& detail);

// "states row 1: column 0 is 1.5, expected a whole number from -2147483648 to 2147483647"
[[noreturn]] void fail_state_cell(Index row, Index column, const std::string& found);
// "edges row 1: column 2 is a bool, expected a number"
[[noreturn]] void fail_cell(const std::string& field, Index row, Index column,
                            const std::string& found);
// True and the value if it is whole and fits.
[[nodiscard]] bool to_int32(double value, std::int32_t& result) noexcept;

// Ranges of state_length, param_length and format_version.
void check_metadata(const GraphArrays& arrays, Index format_version);
// A start_vertex that was named is a row.
void check_start_vertex(const GraphArrays& arrays);
void check_shapes(const GraphArrays& arrays, TableShape states, TableShape edges,
                  TableShape start_edges, TableShape param_edges, TableShape start_param_edges);

}  // namespace phasic::detail
