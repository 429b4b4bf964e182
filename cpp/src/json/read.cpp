// Reading the serialized graph from JSON, straight into its arrays.
//
// 1. Bytes that the parser would skip or stop at (a byte order mark, NUL) are rejected first.
// 2. The events of nlohmann's SAX parser, which is not recursive and checks UTF-8, feed a handler
//    that knows three kinds of values: int and bool scalars, tables (arrays of rows of numbers),
//    and values of unknown keys, which are only checked for duplicate keys and depth.
// 3. Shapes and values are then checked by the code that checks arrays (graph/arrays.h).
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/text.h"
#include "graph/arrays.h"
#include "phasic/json.h"

namespace phasic {
namespace {

using detail::number_text;
using detail::printable_text;
using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kStartVertex = 3;  // its place in Handler::scalars_

// One array of rows. The value vector is one of GraphArrays'.
struct Table {
  const char* name;
  std::vector<std::int32_t>* integers;  // states, or null
  std::vector<double>* reals;           // the others, or null
  detail::TableShape shape{};
  Index column = 0;  // in the row being read
  bool present = false;
};

struct Scalar {
  const char* name;
  Index* integer;  // or null: a bool
  bool present = false;
};

class Handler : public json::json_sax_t {
 public:
  explicit Handler(GraphArrays& arrays);
  void finish();  // after the text: completeness, metadata, shapes

  bool null() override { return other_value("null"); }
  bool boolean(bool value) override;
  bool number_integer(number_integer_t value) override;
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t value, const string_t& text) override;
  bool string(string_t&) override { return other_value("a string"); }
  bool binary(binary_t&) override { return other_value("binary data"); }
  bool start_object(std::size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override;

 private:
  using KeySet = std::unordered_set<std::string>;
  bool other_value(const char* found);
  bool table_value(double value, const std::string& text);
  void add_cell(double value, const std::string& text);
  void require_object(const char* found) const;
  void enter();

  GraphArrays& arrays_;
  Index format_version_ = detail::kFormatVersion;
  std::array<Table, 5> tables_;
  std::array<Scalar, 6> scalars_;
  Table* table_ = nullptr;    // the field being read, if it is a table
  Scalar* scalar_ = nullptr;  // the field being read, if it is a scalar
  std::vector<char> open_;    // '{' or '[' of every open container
  std::vector<KeySet> keys_;  // of every open object
};

Handler::Handler(GraphArrays& arrays)
    : arrays_(arrays),
      tables_{{{"states", &arrays.states, nullptr},
               {"edges", nullptr, &arrays.edges},
               {"start_edges", nullptr, &arrays.start_edges},
               {"param_edges", nullptr, &arrays.param_edges},
               {"start_param_edges", nullptr, &arrays.start_param_edges}}},
      scalars_{{{"param_length", &arrays.param_length},
                {"state_length", &arrays.state_length},
                {"n_vertices", &arrays.n_vertices},
                {"start_vertex", &arrays.start_vertex},
                {"format_version", &format_version_},
                {"is_discrete", nullptr}}} {}

void Handler::require_object(const char* found) const {
  if (open_.empty()) {
    fail(std::string("the JSON text holds ") + found + ", expected an object with the fields of a "
         "serialized graph");
  }
}

// A value that no field of the format takes.
bool Handler::other_value(const char* found) {
  require_object(found);
  if (scalar_ != nullptr) {
    detail::fail_metadata(scalar_->name, found, scalar_->integer != nullptr ? "an int" : "a bool");
  }
  if (table_ == nullptr) return true;
  if (open_.size() == 1) {
    detail::fail_shape(table_->name, std::string("found ") + found + ", expected an array of rows");
  }
  if (open_.size() == 2) {
    detail::fail_shape(table_->name, "row " + number_text(table_->shape.rows) + " is " + found +
                                         ", expected an array of numbers");
  }
  detail::fail_cell(table_->name, table_->shape.rows, table_->column, found);
}

bool Handler::boolean(bool value) {
  if (scalar_ == nullptr || scalar_->integer != nullptr) return other_value("a bool");
  arrays_.discrete = value;
  return true;
}

bool Handler::number_integer(number_integer_t value) {
  if (scalar_ != nullptr && scalar_->integer != nullptr) {
    *scalar_->integer = value;
    return true;
  }
  return table_value(static_cast<double>(value), std::to_string(value));
}

bool Handler::number_unsigned(number_unsigned_t value) {
  constexpr auto kLargest = static_cast<number_unsigned_t>(std::numeric_limits<Index>::max());
  if (value <= kLargest) return number_integer(static_cast<number_integer_t>(value));
  return number_float(static_cast<double>(value), std::to_string(value));
}

bool Handler::number_float(number_float_t value, const string_t& text) {
  if (scalar_ != nullptr) other_value(printable_text(text, 40).c_str());
  return table_value(value, text);
}

bool Handler::table_value(double value, const std::string& text) {
  if (table_ == nullptr || open_.size() != 3) return other_value("a number");
  add_cell(value, text);
  return true;
}

void Handler::add_cell(double value, const std::string& text) {
  if (table_->reals != nullptr) {
    table_->reals->push_back(value);
  } else {
    std::int32_t coordinate = 0;
    if (!detail::to_int32(value, coordinate)) {
      detail::fail_state_cell(table_->shape.rows, table_->column, printable_text(text, 40));
    }
    table_->integers->push_back(coordinate);
  }
  ++table_->column;
}

void Handler::enter() {
  if (open_.size() >= kMaxDepth) {
    fail("the JSON text is nested deeper than " + number_text(Index{kMaxDepth}) + " levels");
  }
}

bool Handler::start_object(std::size_t) {
  if (!open_.empty()) other_value("an object");
  enter();
  open_.push_back('{');
  keys_.emplace_back();
  return true;
}

bool Handler::key(string_t& name) {
  if (!keys_.back().insert(name).second) {
    fail("the JSON key \"" + printable_text(name, 60) + "\" occurs twice in one object");
  }
  if (open_.size() > 1) return true;
  table_ = nullptr;
  scalar_ = nullptr;
  for (Table& table : tables_) {
    if (name == table.name) table_ = &table;
  }
  for (Scalar& scalar : scalars_) {
    if (name == scalar.name) scalar_ = &scalar;
  }
  if (table_ != nullptr) table_->present = true;
  if (scalar_ != nullptr) scalar_->present = true;
  return true;
}

bool Handler::end_object() {
  open_.pop_back();
  keys_.pop_back();
  return true;
}

bool Handler::start_array(std::size_t) {
  const std::size_t depth = open_.size();
  const bool expected = table_ != nullptr && (depth == 1 || depth == 2);
  if (!expected) other_value("an array");
  enter();
  open_.push_back('[');
  if (expected) table_->column = 0;
  return true;
}

bool Handler::end_array() {
  open_.pop_back();
  if (table_ == nullptr || open_.size() != 2) return true;
  detail::TableShape& shape = table_->shape;
  if (shape.rows == 0) {
    shape.columns = table_->column;
  } else if (table_->column != shape.columns && shape.odd_row < 0) {
    shape.odd_row = shape.rows;
    shape.odd_columns = table_->column;
  }
  ++shape.rows;
  return true;
}

bool Handler::parse_error(std::size_t position, const std::string&,
                          const nlohmann::detail::exception& error) {
  std::string reason = error.what();
  const std::size_t bracket = reason.find("] ");  // after nlohmann's error number
  if (bracket != std::string::npos) reason.erase(0, bracket + 2);
  fail("the text is not valid JSON at byte " + number_text(static_cast<Index>(position)) + ": " +
       printable_text(reason));
}

void Handler::finish() {
  std::vector<std::string> missing;
  const auto note_missing = [&](const char* required, const auto& fields) {
    for (const auto& field : fields) {
      if (std::string_view(field.name) == required && !field.present) missing.push_back(required);
    }
  };
  for (const char* required : detail::kRequiredFields) {
    note_missing(required, tables_);
    note_missing(required, scalars_);
  }
  if (!missing.empty()) detail::fail_missing(missing);
  detail::check_metadata(arrays_, format_version_);
  detail::check_shapes(arrays_, tables_[0].shape, tables_[1].shape, tables_[2].shape,
                       tables_[3].shape, tables_[4].shape);
  if (scalars_[kStartVertex].present) detail::check_start_vertex(arrays_);
}

void reject_bytes_before_parsing(std::string_view text) {
  for (const std::string_view mark : {"\xef\xbb\xbf", "\xfe\xff", "\xff\xfe"}) {
    if (text.substr(0, mark.size()) == mark) {
      fail("the JSON text starts with a byte order mark (" + printable_text(mark) +
           "), expected UTF-8 without one");
    }
  }
  const std::size_t zero = text.find('\0');
  if (zero != std::string_view::npos) {
    fail("the text is not valid JSON at byte " + number_text(static_cast<Index>(zero)) +
         ": a zero byte, expected UTF-8 text");
  }
}

}  // namespace

GraphPtr graph_from_json(std::string_view text) {
  reject_bytes_before_parsing(text);
  GraphArrays arrays;
  Handler handler(arrays);
  json::sax_parse(text.begin(), text.end(), &handler);
  handler.finish();
  return graph_from_arrays(arrays);
}

}  // namespace phasic
