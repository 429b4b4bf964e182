// The builder and the validation of serialized arrays: every decided case, every message.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "phasic/graph.h"

using namespace phasic;
using boost::test_tools::per_element;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLargest = std::numeric_limits<double>::max();

void check_fails(const std::function<void()>& action, const std::vector<std::string>& parts) {
  try {
    action();
  } catch (const Error& error) {
    BOOST_CHECK(error.code() == ErrorCode::invalid_argument);
    for (const std::string& part : parts) {
      BOOST_TEST(std::string(error.what()).find(part) != std::string::npos,
                 "expected \"" << part << "\" in: " << error.what());
    }
    return;
  }
  BOOST_ERROR("expected an error with \"" << parts[0] << "\"");
}

// start -> 1 -> 2 with a constant and a parameterised part on 1 -> 2.
GraphArrays small() {
  GraphArrays arrays;
  arrays.n_vertices = 3;
  arrays.state_length = 2;
  arrays.param_length = 2;
  arrays.states = {0, 0, 1, 0, 2, 0};
  arrays.start_edges = {1, 1.0};
  arrays.edges = {1, 2, 0.5};
  arrays.param_edges = {1, 2, 0.0, 3.0};
  return arrays;
}

void check_rejected(const std::function<void(GraphArrays&)>& change,
                    const std::vector<std::string>& parts) {
  check_fails(
      [&] {
        GraphArrays arrays = small();
        change(arrays);
        (void)graph_from_arrays(arrays);
      },
      parts);
}

void check_same(const Graph& a, const Graph& b) {
  BOOST_TEST(a.state_length == b.state_length);
  BOOST_TEST(a.param_length == b.param_length);
  BOOST_TEST(a.discrete == b.discrete);
  BOOST_TEST(a.states == b.states, per_element());
  BOOST_TEST(a.row_begin == b.row_begin, per_element());
  BOOST_TEST(a.target == b.target, per_element());
  BOOST_TEST(a.constant == b.constant, per_element());
  BOOST_TEST(a.has_constant == b.has_constant, per_element());
  BOOST_TEST(a.has_param == b.has_param, per_element());
  BOOST_TEST(a.coef_begin == b.coef_begin, per_element());
  BOOST_TEST(a.coef_param == b.coef_param, per_element());
  BOOST_TEST(a.coef_value == b.coef_value, per_element());
}

Index add_state(GraphBuilder& builder, std::vector<std::int32_t> state) {
  return builder.find_or_create_vertex(Span<const std::int32_t>(state));
}

void add_coefficients(GraphBuilder& builder, Index from, Index to, std::vector<double> values) {
  builder.add_edge(from, to, Span<const double>(values));
}

}  // namespace

// ---------------------------------------------------------------- arrays

BOOST_AUTO_TEST_CASE(arrays_become_rows_and_come_back) {
  const GraphPtr graph = graph_from_arrays(small());
  BOOST_TEST(graph->n_vertices() == 3);
  BOOST_TEST(graph->n_edges() == 2);
  BOOST_TEST(graph->constant[1] == 0.5);
  BOOST_TEST(graph->coef_param == std::vector<std::int32_t>{1}, per_element());
  BOOST_TEST(graph->coef_value == std::vector<double>{3.0}, per_element());
  BOOST_TEST(!graph->is_absorbing(0));
  BOOST_TEST(!graph->is_absorbing(1));
  BOOST_TEST(graph->is_absorbing(2));
  BOOST_TEST(graph->state_text(1) == "(1, 0)");
  const GraphArrays back = graph_to_arrays(*graph);
  BOOST_TEST(back.start_vertex == 0);
  BOOST_TEST(back.edges == small().edges, per_element());
  BOOST_TEST(back.param_edges == small().param_edges, per_element());
  check_same(*graph, *graph_from_arrays(back));
}

BOOST_AUTO_TEST_CASE(the_starting_row_is_named_or_all_zeros_or_added) {
  GraphArrays arrays = small();
  arrays.states = {5, 5, 1, 0, 2, 0};  // no all-zero first row: rows 0..2 become vertices 1..3
  arrays.start_edges = {0, 1.0};
  GraphPtr graph = graph_from_arrays(arrays);
  BOOST_TEST(graph->n_vertices() == 4);
  BOOST_TEST(graph->state_text(0) == "(0, 0)");
  BOOST_TEST(graph->state_text(1) == "(5, 5)");
  BOOST_TEST(graph->target == (std::vector<std::int32_t>{1, 3}), per_element());

  arrays = small();
  arrays.states = {1, 0, 2, 0, 7, 8};
  arrays.start_vertex = 2;  // moves to the front, the others keep their order
  arrays.start_edges = {0, 1.0};
  arrays.edges = {0, 1, 0.5};
  arrays.param_edges = {0, 1, 0.0, 3.0};
  graph = graph_from_arrays(arrays);
  BOOST_TEST(graph->states == (std::vector<std::int32_t>{7, 8, 1, 0, 2, 0}), per_element());
  BOOST_TEST(graph->target == (std::vector<std::int32_t>{1, 2}), per_element());
  check_same(*graph, *graph_from_arrays(graph_to_arrays(*graph)));

  arrays = small();
  arrays.states = {1, 0, 0, 0, 2, 0};  // an all-zero row that is not the first is an ordinary one
  arrays.start_edges = {0, 0.5, 1, 0.5};
  graph = graph_from_arrays(arrays);
  BOOST_TEST(graph->n_vertices() == 4);
  BOOST_TEST(graph->row_begin[1] == 2);
}

BOOST_AUTO_TEST_CASE(what_the_format_allows_is_kept) {
  GraphArrays arrays = small();
  arrays.discrete = true;
  arrays.n_vertices = 5;
  arrays.states = {0, 0, 1, 0, 1, 0, 0, 0, -2147483647 - 1, 2147483647};  // duplicates, extremes
  arrays.start_edges = {1, 0.25, 2, 0.0, 3, 0.5};                         // defect 0.25
  arrays.edges = {1, 1, 0.25, 1, 2, 0.0, 2, 3, 1.0, 3, 3, 1.0};           // self loops, zero weights
  arrays.param_edges = {1, 2, 0.0, 0.0, 1, 4, -1.0, 2.0};                 // zeros, negative
  arrays.start_param_edges = {4, 0.5, -0.5, 1, 0.0, 0.0};
  const GraphPtr graph = graph_from_arrays(arrays);
  BOOST_TEST(graph->is_absorbing(3));
  BOOST_TEST(graph->is_absorbing(4));
  check_same(*graph, *graph_from_arrays(graph_to_arrays(*graph)));
  const GraphArrays back = graph_to_arrays(*graph);
  BOOST_TEST(back.param_edges.size() == arrays.param_edges.size());
  BOOST_TEST(back.start_param_edges == (std::vector<double>{1, 0.0, 0.0, 4, 0.5, -0.5}),
             per_element());
}

BOOST_AUTO_TEST_CASE(negative_zero_is_zero) {
  GraphArrays arrays = small();
  arrays.edges = {1, 2, -0.0};
  arrays.param_edges = {1, 2, -0.0, 3.0};
  const GraphPtr graph = graph_from_arrays(arrays);
  BOOST_TEST(!std::signbit(graph->constant[1]));
  BOOST_TEST(graph->coef_value.size() == 1U);
}

BOOST_AUTO_TEST_CASE(sums_may_exceed_one_by_rounding_only) {
  GraphArrays arrays = small();
  arrays.start_edges = {1, 0.5, 2, 0.5 + 5e-13};
  BOOST_CHECK_NO_THROW((void)graph_from_arrays(arrays));
  arrays.start_edges = {1, 0.5, 2, 0.5 + 2e-12};
  check_rejected([&](GraphArrays& a) { a.start_edges = arrays.start_edges; },
                 {"start_edges", "sum to 1.000000000002", "at most 1"});
  // With a parameterised start edge the sum depends on theta and is checked at evaluation.
  check_rejected([&](GraphArrays& a) { a.start_edges = {1, 0.9, 2, 0.9}; }, {"sum to 1.8"});
  arrays.start_edges = {1, 0.9, 2, 0.9};
  arrays.start_param_edges = {1, -1.0, 0.0};
  BOOST_CHECK_NO_THROW((void)graph_from_arrays(arrays));

  arrays = small();
  arrays.param_edges.clear();
  arrays.edges = {1, 1, 0.75, 1, 2, 0.5};
  BOOST_CHECK_NO_THROW((void)graph_from_arrays(arrays));  // rates
  arrays.discrete = true;
  check_fails([&] { (void)graph_from_arrays(arrays); },
              {"edges", "state (1, 0) (vertex 1)", "sum to 1.25", "at most 1 in a discrete graph"});
  arrays.edges = {1, 1, 0.5, 1, 2, 0.5 + 5e-13};
  BOOST_CHECK_NO_THROW((void)graph_from_arrays(arrays));
  arrays.param_edges = {1, 2, 0.0, -1.0};  // depends on theta
  arrays.edges = {1, 1, 0.75, 1, 2, 0.5};
  BOOST_CHECK_NO_THROW((void)graph_from_arrays(arrays));
}

BOOST_AUTO_TEST_CASE(many_tenths_sum_to_one) {
  GraphArrays arrays = small();
  arrays.n_vertices = 100001;
  arrays.states.assign(2 * 100001, 0);
  arrays.start_edges.clear();
  for (int v = 1; v <= 100000; ++v) {
    arrays.start_edges.insert(arrays.start_edges.end(), {static_cast<double>(v), 1e-5});
  }
  BOOST_CHECK_NO_THROW((void)graph_from_arrays(arrays));
}

BOOST_AUTO_TEST_CASE(bad_indices_name_field_and_row) {
  using A = GraphArrays;
  check_rejected([](A& a) { a.edges = {1, 2, 0.5, 1, 3, 0.5}; },
                 {"edges row 1: to is 3", "whole number from 0 to 2"});
  check_rejected([](A& a) { a.edges = {-1, 2, 0.5}; }, {"edges row 0: from is -1"});
  check_rejected([](A& a) { a.edges = {1.5, 2, 0.5}; }, {"edges row 0: from is 1.5"});
  check_rejected([](A& a) { a.edges = {1, kNaN, 0.5}; }, {"edges row 0: to is nan"});
  check_rejected([](A& a) { a.edges = {1, kInfinity, 0.5}; }, {"edges row 0: to is inf"});
  check_rejected([](A& a) { a.edges = {1e300, 2, 0.5}; }, {"from is 1e+300"});
  check_rejected([](A& a) { a.start_edges = {3, 1.0}; }, {"start_edges row 0: to is 3"});
  check_rejected([](A& a) { a.param_edges = {4, 2, 1.0, 1.0}; }, {"param_edges row 0: from is 4"});
  check_rejected([](A& a) { a.start_param_edges = {-2, 1.0, 1.0}; },
                 {"start_param_edges row 0: to is -2"});
}

BOOST_AUTO_TEST_CASE(the_starting_vertex_is_not_entered_or_left_by_ordinary_edges) {
  using A = GraphArrays;
  check_rejected([](A& a) { a.edges = {1, 0, 0.5}; },
                 {"edges row 0: to is 0, the starting vertex", "start_vertex"});
  check_rejected([](A& a) { a.edges = {0, 1, 0.5}; },
                 {"edges row 0: from is 0, the starting vertex", "start_edges"});
  check_rejected([](A& a) { a.param_edges = {0, 1, 0.5, 0.5}; }, {"param_edges row 0: from is 0"});
  check_rejected([](A& a) { a.param_edges = {1, 0, 0.5, 0.5}; }, {"param_edges row 0: to is 0"});
  check_rejected([](A& a) { a.start_edges = {0, 1.0}; }, {"start_edges row 0: to is 0"});
  check_rejected([](A& a) { a.start_param_edges = {0, 1.0, 1.0}; },
                 {"start_param_edges row 0: to is 0"});
  check_rejected([](A& a) { a.start_edges.clear(); }, {"no start edge"});
  check_rejected(  // 8 GB of states, were they made before this is noticed
      [](A& a) {
        a = {};
        a.state_length = 2000000000;
      },
      {"no start edge"});
  check_rejected([](A& a) { a.start_vertex = 3; }, {"start_vertex is 3", "from 0 to 2"});
  check_rejected([](A& a) { a.start_vertex = -2; }, {"start_vertex is -2"});
}

BOOST_AUTO_TEST_CASE(bad_weights_name_field_and_row) {
  using A = GraphArrays;
  for (const double bad : {-0.5, kNaN, kInfinity, -kInfinity}) {
    check_rejected([&](A& a) { a.edges = {1, 2, bad}; },
                   {"edges row 0: weight is " + detail::number_text(bad), "finite number >= 0"});
    check_rejected([&](A& a) { a.start_edges = {1, bad}; }, {"start_edges row 0: weight is"});
  }
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    check_rejected([&](A& a) { a.param_edges = {1, 2, 0.0, bad}; },
                   {"param_edges row 0: coefficient 1 is", "finite number"});
    check_rejected([&](A& a) { a.start_param_edges = {1, bad, 0.0}; },
                   {"start_param_edges row 0: coefficient 0 is"});
  }
}

BOOST_AUTO_TEST_CASE(a_pair_occurs_once_in_one_array) {
  using A = GraphArrays;
  check_rejected([](A& a) { a.edges = {1, 2, 0.5, 2, 1, 1.0, 1, 2, 0.25}; },
                 {"edges row 2 repeats the pair (1, 2) of row 0"});
  check_rejected([](A& a) { a.param_edges = {1, 2, 0, 1, 1, 2, 0, 1}; },
                 {"param_edges row 1 repeats the pair (1, 2) of row 0"});
  check_rejected([](A& a) { a.start_edges = {1, 0.5, 1, 0.25}; },
                 {"start_edges row 1 repeats the target 1 of row 0"});
  check_rejected([](A& a) { a.start_param_edges = {2, 0, 0, 1, 0, 0, 2, 0, 0}; },
                 {"start_param_edges row 2 repeats the target 2 of row 0"});
  check_rejected(
      [](A& a) {  // rows are numbered as in the file, whatever row is the starting one
        a.start_vertex = 2;
        a.start_edges = {0, 1.0};
        a.param_edges.clear();
        a.edges = {0, 1, 0.5, 0, 1, 0.5};
      },
      {"edges row 1 repeats the pair (0, 1) of row 0"});
}

BOOST_AUTO_TEST_CASE(sizes_that_lie_allocate_nothing) {
  using A = GraphArrays;
  constexpr Index kHuge = std::numeric_limits<Index>::max();
  for (const Index n : {Index{-1}, Index{0}, Index{4}, Index{1} << 31, Index{1} << 62, kHuge}) {
    check_rejected([&](A& a) { a.n_vertices = n; }, {"n_vertices"});
  }
  for (const Index length : {Index{-1}, Index{0}, Index{1} << 31, kHuge}) {
    check_rejected([&](A& a) { a.state_length = length; }, {"state_length is"});
  }
  check_rejected([](A& a) { a.state_length = 3; }, {"states array shape mismatch"});
  for (const Index length : {Index{-1}, Index{1} << 31, kHuge}) {
    check_rejected([&](A& a) { a.param_length = length; }, {"param_length is"});
  }
  check_rejected([](A& a) { a.param_length = 0; }, {"param_edges array has wrong shape"});
  check_rejected([](A& a) { a.param_length = 3; }, {"param_edges array has wrong shape"});
  check_rejected([](A& a) { a.edges.pop_back(); }, {"edges array has wrong shape"});
  check_rejected([](A& a) { a.start_edges.push_back(0.0); }, {"start_edges array has wrong shape"});
  check_rejected(
      [](A& a) {
        a.n_vertices = 0;
        a.states.clear();
      },
      {"edges row 0: from is 1, expected a row of states, but states has no rows"});
  GraphArrays arrays = small();  // a long theta that no edge uses costs nothing
  arrays.param_edges.clear();
  arrays.param_length = std::numeric_limits<std::int32_t>::max();
  BOOST_TEST(graph_from_arrays(arrays)->param_length == arrays.param_length);
}

// ---------------------------------------------------------------- builder

BOOST_AUTO_TEST_CASE(the_builder_finds_what_it_made) {
  GraphBuilder builder(2);
  BOOST_TEST(builder.n_vertices() == 1);
  const Index zero = add_state(builder, {0, 0});  // not the starting vertex
  BOOST_TEST(zero == 1);
  std::mt19937 generator(1);
  std::uniform_int_distribution<std::int32_t> coordinate(-40, 40);
  for (int i = 0; i < 20000; ++i) {
    const std::vector<std::int32_t> state{coordinate(generator), coordinate(generator)};
    const Index before = builder.find_vertex(Span<const std::int32_t>(state));
    const Index vertex = add_state(builder, state);
    BOOST_REQUIRE((before < 0 ? builder.n_vertices() - 1 : before) == vertex);
    const auto found = builder.state(vertex);
    BOOST_REQUIRE((found[0] == state[0] && found[1] == state[1]));
  }
  const std::vector<std::int32_t> absent{100, 100}, longer{1, 2, 3};
  BOOST_TEST(builder.find_vertex(Span<const std::int32_t>(absent)) == -1);
  BOOST_TEST(builder.find_vertex(Span<const std::int32_t>(longer)) == -1);
  const Index copy = builder.add_vertex(Span<const std::int32_t>(absent));
  BOOST_TEST(add_state(builder, absent) == copy + 1);
}

BOOST_AUTO_TEST_CASE(parallel_transitions_add) {
  GraphBuilder builder(1);
  const Index one = add_state(builder, {1}), two = add_state(builder, {2});
  builder.add_edge(0, one, 0.5);
  builder.add_edge(0, one, 0.25);
  builder.add_edge(one, two, 1.0);
  add_coefficients(builder, one, two, {1.0, -2.0, 0.0});
  builder.add_edge(one, two, 0.5);
  add_coefficients(builder, one, two, {0.5, 2.0, 1.0});
  builder.add_edge(one, one, 4.0);
  BOOST_TEST(builder.param_length() == 3);
  const std::vector<EdgeView> edges = builder.out_edges(one);
  BOOST_REQUIRE(edges.size() == 2U);
  BOOST_TEST(edges[0].target == one);
  BOOST_TEST(edges[0].coefficients.empty());
  BOOST_TEST(edges[1].has_constant);
  BOOST_TEST(edges[1].constant == 1.5);
  BOOST_TEST(edges[1].coefficients == (std::vector<double>{1.5, 0.0, 1.0}), per_element());
  const GraphPtr graph = builder.freeze();
  BOOST_TEST(graph->constant == (std::vector<double>{0.75, 4.0, 1.5}), per_element());
  BOOST_TEST(graph->coef_param == (std::vector<std::int32_t>{0, 2}), per_element());
  // The frozen graph stays as it is when the builder goes on.
  builder.add_edge(two, one, 1.0);
  BOOST_TEST(graph->n_edges() == 3);
  BOOST_TEST(builder.freeze()->n_edges() == 4);
}

BOOST_AUTO_TEST_CASE(a_graph_goes_back_into_a_builder) {
  GraphArrays arrays = small();
  arrays.n_vertices = 4;
  arrays.states = {0, 0, 1, 0, 2, 0, 1, 0};
  arrays.start_edges = {1, 0.5, 3, 0.25};
  const GraphPtr graph = graph_from_arrays(arrays);
  GraphBuilder builder(*graph);
  check_same(*graph, *builder.freeze());
  const std::vector<std::int32_t> state{1, 0}, zero{0, 0};
  BOOST_TEST(builder.find_vertex(Span<const std::int32_t>(state)) == 1);
  BOOST_TEST(builder.find_vertex(Span<const std::int32_t>(zero)) == -1);
  check_fails([&] { add_coefficients(builder, 1, 2, {1.0}); }, {"1 coefficients", "have 2"});
}

BOOST_AUTO_TEST_CASE(the_builder_rejects_bad_edges_and_stays_usable) {
  check_fails([] { GraphBuilder bad(0); }, {"state_length is 0"});
  check_fails([] { GraphBuilder bad(-3); }, {"state_length is -3"});
  check_fails([] { GraphBuilder bad(Index{1} << 62); }, {"state_length is 4611686018427387904"});
  GraphBuilder builder(1);
  check_fails([&] { (void)builder.freeze(); }, {"no start edge"});
  const Index one = add_state(builder, {1}), two = add_state(builder, {2});
  check_fails([&] { add_state(builder, {1, 2}); }, {"state (1, 2) has 2 entries, expected 1"});
  check_fails([&] { builder.add_edge(one, 0, 1.0); }, {"state (1)", "starting vertex"});
  check_fails([&] { builder.add_edge(0, 0, 1.0); }, {"starting vertex"});
  check_fails([&] { builder.add_edge(one, 3, 1.0); }, {"to is 3", "from 0 to 2"});
  check_fails([&] { builder.add_edge(-1, one, 1.0); }, {"from is -1"});
  check_fails([&] { (void)builder.out_edges(3); }, {"vertex is 3"});
  check_fails([&] { (void)builder.state(-1); }, {"vertex is -1"});
  for (const double bad : {-1.0, kNaN, kInfinity}) {
    check_fails([&] { builder.add_edge(one, two, bad); },
                {"state (1) to state (2)", "is " + detail::number_text(bad), ">= 0"});
  }
  check_fails([&] { add_coefficients(builder, one, two, {}); }, {"has 0 coefficients"});
  check_fails([&] { add_coefficients(builder, one, two, {1.0, kNaN}); }, {"coefficient 1", "nan"});
  BOOST_TEST(builder.param_length() == 0);  // a rejected vector fixes nothing
  add_coefficients(builder, one, two, {-1.0, 2.0});
  check_fails([&] { add_coefficients(builder, one, two, {1.0, 2.0, 3.0}); },
              {"has 3 coefficients", "earlier edges have 2"});
  builder.add_edge(0, one, 0.75);
  BOOST_TEST(builder.freeze()->n_edges() == 2);
  builder.add_edge(0, two, 0.75);
  check_fails([&] { (void)builder.freeze(); }, {"start weights sum to 1.5"});
}

BOOST_AUTO_TEST_CASE(many_states_are_found_or_created_as_one_by_one) {
  std::mt19937 random(3);
  for (const Index length : {1, 2, 5}) {
    GraphBuilder one(length), many(length);
    for (const Index n : {0, 1, 31, 32, 33, 1000, 20000}) {
      std::vector<std::int32_t> states(at(n * length));
      for (std::int32_t& entry : states) entry = static_cast<std::int32_t>(random() % 40) - 20;
      std::vector<std::int32_t> expected, found(at(n));
      for (Index i = 0; i < n; ++i) {
        const Span<const std::int32_t> state(states.data() + i * length, length);
        expected.push_back(static_cast<std::int32_t>(one.find_or_create_vertex(state)));
      }
      many.find_or_create_vertices(states, found);
      BOOST_TEST(found == expected, per_element());
      BOOST_TEST(many.n_vertices() == one.n_vertices());
      for (Index i = 0; i < n; ++i) {
        const Span<const std::int32_t> state(states.data() + i * length, length);
        BOOST_TEST(many.find_vertex(state) == expected[at(i)]);
      }
    }
    const std::vector<std::int32_t> a(one.states().begin(), one.states().end());
    const std::vector<std::int32_t> b(many.states().begin(), many.states().end());
    BOOST_TEST(a == b, per_element());
  }
}

BOOST_AUTO_TEST_CASE(parallel_edges_that_overflow_are_rejected) {
  GraphBuilder builder(1);
  const Index one = add_state(builder, {1}), two = add_state(builder, {2});
  builder.add_edge(0, one, 1.0);
  builder.add_edge(one, two, kLargest);
  BOOST_CHECK_NO_THROW((void)builder.freeze());
  builder.add_edge(one, two, kLargest);
  check_fails([&] { (void)builder.freeze(); },
              {"from state (1) (vertex 1) to state (2) (vertex 2)", "largest double"});
}

BOOST_AUTO_TEST_CASE(numbers_and_bytes_in_messages) {
  BOOST_TEST(detail::number_text(0.1) == "0.1");
  BOOST_TEST(detail::number_text(1e300) == "1e+300");
  BOOST_TEST(detail::number_text(Index{-7}) == "-7");
  BOOST_TEST(detail::printable_text(std::string("a\xff\n", 3)) == "a\\xff\\x0a");
  BOOST_TEST(detail::printable_text("abcdef", 3) == "abc...");
}
