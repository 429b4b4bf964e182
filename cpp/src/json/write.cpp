// Writing the serialized graph as JSON: fields in a fixed order, no spaces, shortest numbers that
// read back as the same double. Rows are dumped in chunks, so that the tree of JSON values stays
// small however large the graph is.
#include <nlohmann/json.hpp>

#include "graph/arrays.h"
#include "phasic/json.h"

namespace phasic {
namespace {

using nlohmann::json;

constexpr Index kChunkRows = 4096;

class Writer {
 public:
  void scalar(const char* name, const json& value) {
    key(name);
    text_ += value.dump();
  }

  // n_indices leading columns are vertex numbers and are written as integers.
  template <class T>
  void table(const char* name, const std::vector<T>& values, Index columns, Index n_indices) {
    key(name);
    text_ += '[';
    const Index n_rows = values.empty() ? 0 : ssize(values) / columns;
    for (Index begin = 0; begin < n_rows; begin += kChunkRows) {
      json::array_t rows;
      for (Index row = begin; row < std::min(begin + kChunkRows, n_rows); ++row) {
        json::array_t cells;
        cells.reserve(at(columns));
        for (Index c = 0; c < columns; ++c) {
          const T value = values[at(row * columns + c)];
          if (c < n_indices) {
            cells.emplace_back(static_cast<std::int64_t>(value));
          } else {
            cells.emplace_back(value);
          }
        }
        rows.emplace_back(std::move(cells));
      }
      append_rows(json(std::move(rows)).dump());
    }
    text_ += ']';
  }

  void counting(const char* name, Index count) {
    key(name);
    text_ += '[';
    for (Index i = 0; i < count; ++i) {
      if (i > 0) text_ += ',';
      text_ += std::to_string(i);
    }
    text_ += ']';
  }

  [[nodiscard]] std::string finish() { return std::move(text_) + "}"; }

 private:
  void key(const char* name) {
    text_ += text_.size() > 1 ? ",\"" : "\"";
    text_ += name;
    text_ += "\":";
  }
  // Of "[[..],[..]]", without the outer brackets.
  void append_rows(const std::string& dumped) {
    if (text_.back() != '[') text_ += ',';
    text_.append(dumped, 1, dumped.size() - 2);
  }
  std::string text_ = "{";
};

}  // namespace

std::string graph_to_json(const Graph& graph) {
  const GraphArrays arrays = graph_to_arrays(graph);
  Writer writer;
  writer.scalar("format_version", detail::kFormatVersion);
  writer.scalar("is_discrete", arrays.discrete);
  writer.scalar("n_vertices", arrays.n_vertices);
  writer.scalar("state_length", arrays.state_length);
  writer.scalar("param_length", arrays.param_length);
  writer.scalar("start_vertex", arrays.start_vertex);
  writer.table("states", arrays.states, arrays.state_length, 0);
  writer.table("edges", arrays.edges, 3, 2);
  writer.table("start_edges", arrays.start_edges, 2, 1);
  writer.table("param_edges", arrays.param_edges, 2 + arrays.param_length, 2);
  writer.table("start_param_edges", arrays.start_param_edges, 1 + arrays.param_length, 1);
  writer.counting("vertex_indices", arrays.n_vertices);
  return writer.finish();
}

}  // namespace phasic
