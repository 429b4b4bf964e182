// Graphs as terms: the round trip, sums of parallel terms, and every rejection.
#include <boost/test/unit_test.hpp>

#include <functional>
#include <limits>
#include <string>

#include "phasic/terms.h"

using namespace phasic;
using boost::test_tools::per_element;

namespace {

// start -> 1 -> 2 with a constant and two parameterised terms on 1 -> 2, and a zero edge 2 -> 1.
GraphTerms small() {
  GraphTerms terms;
  terms.state_length = 1;
  terms.param_length = 3;
  terms.states = {0, 5, 6};
  terms.source = {1, 0, 1, 1, 2};
  terms.target = {2, 1, 2, 2, 1};
  terms.parameter = {2, -1, -1, 0, 0};
  terms.value = {0.5, 1.0, 2.0, -3.0, 0.0};
  return terms;
}

void check_fails(const std::function<void(GraphTerms&)>& change, const std::string& part) {
  GraphTerms terms = small();
  change(terms);
  BOOST_CHECK_EXCEPTION((void)graph_from_terms(terms), Error, [&](const Error& error) {
    BOOST_TEST(std::string(error.what()).find(part) != std::string::npos,
               "expected \"" << part << "\" in: " << error.what());
    return error.code() == ErrorCode::invalid_argument;
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(terms_become_rows_sorted_by_target) {
  const GraphPtr graph = graph_from_terms(small());
  BOOST_TEST(graph->row_begin == (std::vector<Index>{0, 1, 2, 3}), per_element());
  BOOST_TEST(graph->target == (std::vector<std::int32_t>{1, 2, 1}), per_element());
  BOOST_TEST(graph->constant == (std::vector<double>{1.0, 2.0, 0.0}), per_element());
  BOOST_TEST(graph->coef_begin == (std::vector<Index>{0, 0, 2, 2}), per_element());
  BOOST_TEST(graph->coef_param == (std::vector<std::int32_t>{0, 2}), per_element());
  BOOST_TEST(graph->coef_value == (std::vector<double>{-3.0, 0.5}), per_element());
  BOOST_TEST(!graph->is_absorbing(2));  // a coefficient of 0 is an edge
}

BOOST_AUTO_TEST_CASE(terms_equal_the_arrays_of_the_serialized_format) {
  GraphArrays arrays;
  arrays.n_vertices = 4;
  arrays.state_length = 2;
  arrays.param_length = 2;
  arrays.start_vertex = 0;
  arrays.discrete = true;
  arrays.states = {0, 0, 1, 1, 2, 2, 1, 1};
  arrays.edges = {1, 2, 0.25, 2, 2, 0.5};
  arrays.start_edges = {1, 0.5};
  arrays.param_edges = {1, 2, 0.5, 0.0, 2, 3, 0.0, 0.0, 2, 1, 0.25, -0.125};
  arrays.start_param_edges = {2, 0.0, 0.25};
  const GraphPtr graph = graph_from_arrays(arrays);
  const GraphArrays back = graph_to_arrays(*graph_from_terms(graph_to_terms(*graph)));
  const GraphArrays expected = graph_to_arrays(*graph);
  BOOST_TEST(back.discrete);
  BOOST_TEST(back.states == expected.states, per_element());
  BOOST_TEST(back.edges == expected.edges, per_element());
  BOOST_TEST(back.start_edges == expected.start_edges, per_element());
  BOOST_TEST(back.param_edges == expected.param_edges, per_element());
  BOOST_TEST(back.start_param_edges == expected.start_param_edges, per_element());
}

BOOST_AUTO_TEST_CASE(terms_of_one_edge_and_parameter_add) {
  GraphTerms terms = small();
  terms.parameter = {2, -1, 2, 2, -1};
  terms.value = {0.5, 1.0, 2.0, 3.0, 0.0};
  const GraphPtr graph = graph_from_terms(terms);
  BOOST_TEST(graph->coef_value == (std::vector<double>{5.5}), per_element());
}

BOOST_AUTO_TEST_CASE(malformed_terms_are_rejected) {
  const double infinity = std::numeric_limits<double>::infinity();
  check_fails([](GraphTerms& t) { t.source[3] = 3; }, "source of term 3 is 3");
  check_fails([](GraphTerms& t) { t.source[3] = -1; }, "source of term 3 is -1");
  check_fails([](GraphTerms& t) { t.target[0] = 0; }, "target of term 0 is 0");
  check_fails([](GraphTerms& t) { t.parameter[0] = 3; }, "parameter of term 0 is 3");
  check_fails([](GraphTerms& t) { t.parameter[0] = -2; }, "parameter of term 0 is -2");
  check_fails([&](GraphTerms& t) { t.value[0] = infinity; }, "value of term 0 is inf");
  check_fails([](GraphTerms& t) { t.value[2] = -1.0; }, "value of term 2 is -1");
  check_fails([](GraphTerms& t) { t.value.pop_back(); }, "has 4; expected one entry a term");
  check_fails([](GraphTerms& t) { t.states.clear(); }, "states has 0 entries");
  check_fails([](GraphTerms& t) { t.state_length = 2; }, "states has 3 entries");
  check_fails([](GraphTerms& t) { t.param_length = -1; }, "param_length is -1");
  check_fails([](GraphTerms& t) { t.source[1] = 1; }, "the graph has no start edge");
  check_fails([](GraphTerms& t) { t.value[1] = 1.5; }, "the start weights sum to 1.5");
  check_fails(
      [](GraphTerms& t) {
        t.source.push_back(1), t.target.push_back(2), t.parameter.push_back(0);
        t.value = {0.5, 1.0, 2.0, 1.5e308, 0.0, 1.5e308};
      },
      "add up to more than the largest double");
}
