// The JSON form: exact round trips, and every text that must be rejected.
#include <boost/test/unit_test.hpp>

#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "phasic/json.h"

using namespace phasic;

namespace {

const std::string kSmall =
    R"({"states": [[0, 0], [1, 0], [2, 0]], "edges": [[1, 2, 0.5]], "start_edges": [[1, 1.0]],
        "param_edges": [[1, 2, 0.0, 3.0]], "start_param_edges": [], "param_length": 2,
        "state_length": 2, "n_vertices": 3})";

// kSmall with the first occurrence of one part replaced.
std::string with(const std::string& part, const std::string& replacement) {
  std::string text = kSmall;
  const std::size_t position = text.find(part);
  BOOST_REQUIRE(position != std::string::npos);
  return text.replace(position, part.size(), replacement);
}

// kSmall with more members in front.
std::string plus(const std::string& members) { return "{" + members + ", " + kSmall.substr(1); }

void check_fails(std::string_view text, const std::vector<std::string>& parts) {
  try {
    (void)graph_from_json(text);
  } catch (const Error& error) {
    BOOST_CHECK(error.code() == ErrorCode::invalid_argument);
    const std::string message = error.what();
    for (const std::string& part : parts) {
      BOOST_TEST(message.find(part) != std::string::npos,
                 "expected \"" << part << "\" in: " << message);
    }
    for (const char c : message) BOOST_TEST((c >= 0x20 && c < 0x7f), "bytes in: " << message);
    return;
  }
  BOOST_ERROR("accepted: " << text);
}

}  // namespace

BOOST_AUTO_TEST_CASE(reads_and_writes_the_format) {
  const GraphPtr graph = graph_from_json(kSmall);
  BOOST_TEST(graph->n_vertices() == 3);
  BOOST_TEST(graph_to_json(*graph) ==
             "{\"format_version\":1,\"is_discrete\":false,\"n_vertices\":3,\"state_length\":2,"
             "\"param_length\":2,\"start_vertex\":0,\"states\":[[0,0],[1,0],[2,0]],"
             "\"edges\":[[1,2,0.5]],\"start_edges\":[[1,1.0]],\"param_edges\":[[1,2,0.0,3.0]],"
             "\"start_param_edges\":[],\"vertex_indices\":[0,1,2]}");
}

BOOST_AUTO_TEST_CASE(doubles_round_trip_bit_for_bit) {
  std::mt19937_64 generator(7);
  GraphBuilder builder(1, false);
  constexpr std::int32_t kCount = 10000;  // more than two chunks of rows
  std::vector<double> weights{0.0, 5e-324, std::numeric_limits<double>::max(), 0.1, 1.0 / 3.0,
                              std::numeric_limits<double>::min()};
  while (weights.size() < kCount) {
    const std::uint64_t bits = generator() & 0x7fffffffffffffffU;
    double value = 0.0;
    std::memcpy(&value, &bits, sizeof value);
    if (value <= std::numeric_limits<double>::max()) weights.push_back(value);
  }
  const std::int32_t first[] = {1};
  builder.add_edge(0, builder.find_or_create_vertex({first, 1}), 1.0);
  for (std::int32_t i = 0; i < kCount; ++i) {
    const std::int32_t state[] = {-i};
    const Index vertex = builder.find_or_create_vertex({state, 1});
    builder.add_edge(1, vertex, weights[at(i)]);
    const double coefficients[] = {-weights[at(i)], 0.0, 1.0};
    builder.add_edge(1, vertex, Span<const double>(coefficients, 3));
  }
  const GraphPtr graph = builder.freeze();
  const std::string text = graph_to_json(*graph);
  const GraphPtr back = graph_from_json(text);
  BOOST_CHECK(back->constant == graph->constant);
  BOOST_CHECK(back->coef_value == graph->coef_value);
  BOOST_CHECK(back->coef_param == graph->coef_param);
  BOOST_CHECK(back->target == graph->target);
  BOOST_CHECK(back->states == graph->states);
  BOOST_CHECK(graph_to_json(*back) == text);
}

BOOST_AUTO_TEST_CASE(accepts_what_the_format_allows) {
  const std::vector<std::string> texts = {
      plus(R"("extra": {"a": [1, {"b": null}], "c": {"a": "x"}}, "states2": [[true]])"),
      plus(R"("is_discrete": false, "start_vertex": 0, "format_version": 1)"),
      plus(R"("vertex_indices": [0, 1, 2], "unicode \u00e9": "\ud83d\ude00")"),
      plus("\"caf\xc3\xa9\": \"\xc3\xa9\""),
      with("[[1, 2, 0.5]]", "[[1.0, 2e0, 5E-1]]"),
      with("[[0, 0], [1, 0]", "[[0.0, -0], [1, 0e5]"),
      with("[[1, 2, 0.5]]", "[]"),
      with("0.5", "12345678901234567890123"),
      with("0.5", "1e-400"),  // below the smallest double: 0
      "  \n\t" + kSmall + "\r\n"};
  for (const std::string& text : texts) {
    BOOST_CHECK_NO_THROW((void)graph_from_json(text));
  }
  // Order of fields does not matter: shapes are checked at the end.
  BOOST_TEST(graph_from_json(R"({"n_vertices": 2, "param_length": 0, "state_length": 1,
      "start_param_edges": [], "param_edges": [], "start_edges": [[1, 1]], "edges": [],
      "states": [[0], [2147483647]]})")
                 ->states[1] == 2147483647);
}

BOOST_AUTO_TEST_CASE(keeps_the_discrete_flag_and_the_starting_row) {
  BOOST_TEST(graph_from_json(plus(R"("is_discrete": true)"))->discrete);
  const GraphPtr graph = graph_from_json(
      R"({"states": [[3], [0]], "edges": [], "start_edges": [[0, 1]], "param_edges": [],
          "start_param_edges": [], "param_length": 0, "state_length": 1, "n_vertices": 2,
          "start_vertex": 1})");
  BOOST_TEST(graph->states[1] == 3);
}

BOOST_AUTO_TEST_CASE(rejects_text_that_is_not_strict_json) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not valid JSON"},
      {"   ", "not valid JSON"},
      {"{", "not valid JSON at byte 2"},
      {kSmall.substr(0, kSmall.size() / 2), "not valid JSON"},
      {kSmall + "x", "not valid JSON"},
      {kSmall + kSmall, "not valid JSON"},
      {"\xef\xbb\xbf" + kSmall, "byte order mark"},
      {"\xff\xfe{", "byte order mark"},
      {"\xfe\xff{", "byte order mark"},
      {kSmall + std::string(1, '\0') + "x", "a zero byte"},
      {std::string("{\0\"\0", 4), "at byte 1: a zero byte"},
      {plus("\"caf\xe9\": 1"), "UTF-8"},
      {plus("\"\xed\xa0\x80\": 1"), "UTF-8"},
      {plus("\"x\": \"\xc0\xaf\""), "UTF-8"},
      {plus(R"("x": "\ud800")"), "not valid JSON"},
      {"\xc3\xa9", "not valid JSON"},
      {with("0.5", "NaN"), "not valid JSON"},
      {with("0.5", "Infinity"), "not valid JSON"},
      {with("0.5", "-Infinity"), "not valid JSON"},
      {with("0.5", "1e400"), "not valid JSON"},
      {with("0.5", ".5"), "not valid JSON"},
      {with("0.5", "+0.5"), "not valid JSON"},
      {with("0.5", "00.5"), "not valid JSON"},
      {with("0.5", "0x1"), "not valid JSON"},
      {with("0.5]]", "0.5],]"), "not valid JSON"},
      {with("\"edges\"", "'edges'"), "not valid JSON"},
      {with("\"edges\"", "/* c */ \"edges\""), "not valid JSON"},
      {"[]", "holds an array, expected an object"},
      {"5", "holds a number, expected an object"},
      {"1.5", "holds a number, expected an object"},
      {"true", "holds a bool, expected an object"},
      {"null", "holds null, expected an object"},
      {"\"states\"", "holds a string, expected an object"}};
  for (const auto& [text, part] : cases) check_fails(text, {part});
}

BOOST_AUTO_TEST_CASE(rejects_duplicate_keys_at_every_level) {
  check_fails(plus(R"("edges": [])"), {"the JSON key \"edges\" occurs twice"});
  check_fails(plus(R"("x": 1, "x": 1)"), {"\"x\" occurs twice"});
  check_fails(plus(R"("x": {"a": [{"b": 1, "b": 2}]})"), {"\"b\" occurs twice"});
  check_fails(plus(R"("x": 1, "\u0078": 1)"), {"\"x\" occurs twice"});
  check_fails(plus("\"" + std::string(5000, 'k') + "\": 1, \"" + std::string(5000, 'k') + "\": 1"),
              {"kkk...", "occurs twice"});
}

BOOST_AUTO_TEST_CASE(rejects_deep_nesting_without_recursion) {
  for (const int depth : {64, 1000, 1000000}) {
    check_fails(plus("\"x\": " + std::string(static_cast<std::size_t>(depth), '[')),
                {"nested deeper than 64 levels"});
  }
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  check_fails(plus("\"x\": " + objects), {"nested deeper than 64 levels"});
  check_fails(std::string(100000, '['), {"holds an array"});
  BOOST_CHECK_NO_THROW((void)graph_from_json(
      plus("\"x\": " + std::string(60, '[') + std::string(60, ']'))));
}

BOOST_AUTO_TEST_CASE(rejects_missing_fields_and_wrong_scalars) {
  check_fails("{}", {"missing required fields: states, edges, start_edges, param_edges, "
                     "start_param_edges, param_length, state_length, n_vertices"});
  check_fails(with("\"edges\"", "\"Edges\""), {"missing required fields: edges"});
  check_fails(with("\"n_vertices\"", "\"n\""), {"missing required fields: n_vertices"});
  const std::vector<std::pair<std::string, std::string>> values = {
      {"3.0", "n_vertices is 3.0, expected an int"},
      {"3e0", "n_vertices is 3e0"},
      {"true", "n_vertices is a bool"},
      {"null", "n_vertices is null"},
      {"\"3\"", "n_vertices is a string"},
      {"[3]", "n_vertices is an array"},
      {"{}", "n_vertices is an object"},
      {"9223372036854775808", "n_vertices is 9223372036854775808"},
      {"99999999999999999999999", "n_vertices is 99999999999999999999999"}};
  for (const auto& [value, part] : values) {
    check_fails(with("\"n_vertices\": 3", "\"n_vertices\": " + value),
                {"invalid metadata types", part});
  }
  check_fails(plus(R"("is_discrete": 1)"), {"invalid metadata types: is_discrete", "a bool"});
  check_fails(plus(R"("is_discrete": "yes")"), {"is_discrete is a string, expected a bool"});
  check_fails(plus(R"("start_vertex": null)"), {"invalid metadata types: start_vertex is null"});
  check_fails(plus(R"("start_vertex": 0.0)"), {"invalid metadata types: start_vertex is 0.0"});
  check_fails(plus(R"("start_vertex": -1)"), {"start_vertex is -1"});
  check_fails(plus(R"("format_version": 2)"), {"format_version is 2, expected 1"});
  check_fails(plus(R"("format_version": "0.22.0")"), {"invalid metadata types: format_version"});
  check_fails(with("\"state_length\": 2", "\"state_length\": 0"), {"state_length is 0"});
  check_fails(with("\"param_length\": 2", "\"param_length\": -1"), {"param_length is -1"});
  for (const char* n : {"-1", "2", "4", "4000000000", "9223372036854775807"}) {
    check_fails(with("\"n_vertices\": 3", std::string("\"n_vertices\": ") + n), {"n_vertices"});
  }
}

BOOST_AUTO_TEST_CASE(rejects_wrong_shapes_with_the_fixed_phrases) {
  const std::string mismatch = "states array shape mismatch";
  check_fails(with("[2, 0]]", "[2, 0], [3, 0]]"), {mismatch, "shape (4, 2), expected (3, 2)"});
  check_fails(with("[2, 0]]", "[2]]"), {mismatch, "row 2 with 1 columns"});
  check_fails(with("[[0, 0], [1, 0], [2, 0]]", "[]"), {mismatch, "shape (0,)"});
  check_fails(with("[[0, 0], [1, 0], [2, 0]]", "[0, 1, 2]"), {mismatch, "row 0 is a number"});
  check_fails(with("[[0, 0], [1, 0], [2, 0]]", "[[], [], []]"), {mismatch, "shape (3, 0)"});
  check_fails(with("[[0, 0], [1, 0], [2, 0]]", "{}"), {mismatch, "found an object"});
  check_fails(with("[[0, 0], [1, 0], [2, 0]]", "3"), {mismatch, "found a number"});
  check_fails(with("[1, 2, 0.5]", "[1, 2]"), {"edges array has wrong shape", "expected (n, 3)"});
  check_fails(with("[1, 2, 0.5]", "[1, 2, 0.5], [1, 2, 0.5, 0]"),
              {"edges array has wrong shape", "row 1 with 4 columns"});
  check_fails(with("[1, 2, 0.5]", "[]"), {"edges array has wrong shape", "shape (1, 0)"});
  check_fails(with("[1, 2, 0.5]", "1"), {"edges array has wrong shape", "row 0 is a number"});
  check_fails(with("[[1, 2, 0.5]]", "null"), {"edges array has wrong shape", "found null"});
  check_fails(with("[[1, 1.0]]", "[[1]]"), {"start_edges array has wrong shape"});
  check_fails(with("[1, 2, 0.0, 3.0]", "[1, 2, 0.0]"),
              {"coefficient length < param_length", "param_edges", "expected (n, 4)"});
  check_fails(with("[1, 2, 0.0, 3.0]", "[1, 2, 0.0, 3.0], [2, 1, 0.0]"),
              {"coefficient length < param_length", "row 1 with 3 columns"});
  check_fails(with("[1, 2, 0.0, 3.0]", "[1, 2, 0.0, 3.0, 1.0]"),
              {"coefficient length > param_length"});
  check_fails(with("\"start_param_edges\": []", "\"start_param_edges\": [[1, 2.0]]"),
              {"coefficient length < param_length", "start_param_edges"});
  check_fails(with("\"param_length\": 2", "\"param_length\": 0"),
              {"coefficient length > param_length", "param_length 0"});
  check_fails(R"({"states": [[0], [1]], "edges": [], "start_edges": [[1, 1]],
                  "param_edges": [[1, 1]], "start_param_edges": [], "param_length": 0,
                  "state_length": 1, "n_vertices": 2})",
              {"param_edges array has wrong shape", "expected (0, 0)"});
}

BOOST_AUTO_TEST_CASE(rejects_cells_that_are_not_exact_numbers) {
  const std::vector<std::string> states = {"1.5",           "2147483648",  "-2147483649",
                                           "1e10",          "0.1e-300",    "99999999999999999999",
                                           "9223372036854775808"};
  for (const std::string& value : states) {
    check_fails(with("[1, 0]", "[" + value + ", 0]"),
                {"states row 1: column 0 is " + value, "-2147483648 to 2147483647"});
  }
  const std::vector<std::pair<std::string, std::string>> cells = {{"true", "a bool"},
                                                                  {"null", "null"},
                                                                  {"\"1\"", "a string"},
                                                                  {"[1]", "an array"},
                                                                  {"{}", "an object"}};
  for (const auto& [value, name] : cells) {
    check_fails(with("[1, 0]", "[" + value + ", 0]"),
                {"states row 1: column 0 is " + name + ", expected a number"});
    check_fails(with("0.5", value), {"edges row 0: column 2 is " + name});
    check_fails(with("[1, 2, 0.0, 3.0]", "[1, 2, 0.0, 3.0], [1, " + value + ", 0, 0]"),
                {"param_edges row 1: column 1 is " + name});
  }
  check_fails(with("0.5", "-0.5"), {"edges row 0: weight is -0.5"});
  check_fails(with("[1, 2, 0.5]", "[1, 7, 0.5]"), {"edges row 0: to is 7"});
}

// Any change of one byte either reads as a graph or is an ordinary error.
BOOST_AUTO_TEST_CASE(damaged_text_never_does_worse_than_an_error) {
  std::mt19937 generator(3);
  const std::string original = graph_to_json(*graph_from_json(kSmall));
  for (int round = 0; round < 20000; ++round) {
    std::string text = original;
    for (int edits = 1 + round % 3; edits > 0; --edits) {
      const std::size_t position = generator() % text.size();
      switch (generator() % 3) {
        case 0: text[position] = static_cast<char>(generator() & 0xffU); break;
        case 1: text.erase(position, 1 + generator() % 4); break;
        default: text.insert(position, text.substr(generator() % text.size(), generator() % 8));
      }
      if (text.empty()) text = "{";
    }
    try {
      const GraphPtr graph = graph_from_json(text);
      BOOST_REQUIRE(graph_to_json(*graph_from_json(graph_to_json(*graph))) ==
                    graph_to_json(*graph));
    } catch (const Error& error) {
      BOOST_REQUIRE(error.code() == ErrorCode::invalid_argument);
    }
  }
}
