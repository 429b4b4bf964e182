// Components against a brute-force closure; digests, patterns and component graphs.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "phasic/json.h"
#include "phasic/scc.h"

using namespace phasic;

namespace {

GraphPtr graph_of(Index n, const std::vector<double>& edges, std::vector<double> start = {1, 1.0}) {
  GraphArrays arrays;
  arrays.n_vertices = n;
  arrays.state_length = 1;
  arrays.start_vertex = 0;
  for (Index v = 0; v < n; ++v) arrays.states.push_back(static_cast<std::int32_t>(v));
  arrays.edges = edges;
  arrays.start_edges = std::move(start);
  return graph_from_arrays(arrays);
}

// Random edges among vertices 1..n - 1, each pair at most once, self loops included.
GraphPtr random_graph(unsigned seed, Index n, double density) {
  std::mt19937 generator(seed);
  std::bernoulli_distribution present(density);
  std::vector<double> edges;
  for (Index v = 1; v < n; ++v) {
    for (Index z = 1; z < n; ++z) {
      if (present(generator)) {
        edges.insert(edges.end(), {static_cast<double>(v), static_cast<double>(z), 0.5});
      }
    }
  }
  return graph_of(n, edges);
}

// reach[v][z]: a path leads from v to z (every vertex reaches itself).
std::vector<std::vector<char>> closure(const Graph& graph) {
  const Index n = graph.n_vertices();
  std::vector<std::vector<char>> reach(at(n), std::vector<char>(at(n), 0));
  for (Index v = 0; v < n; ++v) {
    reach[at(v)][at(v)] = 1;
    for (Index e = graph.row_begin[at(v)]; e < graph.row_begin[at(v + 1)]; ++e) {
      reach[at(v)][at(graph.target[at(e)])] = 1;
    }
  }
  for (Index k = 0; k < n; ++k) {
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < n; ++j) {
        if (reach[at(i)][at(k)] != 0 && reach[at(k)][at(j)] != 0) reach[at(i)][at(j)] = 1;
      }
    }
  }
  return reach;
}

// The edges among the given vertices, row i that of vertices[i].
Pattern pattern_of_vertices(const Graph& graph, const std::vector<std::int32_t>& vertices) {
  Pattern result;
  result.row_begin.push_back(0);
  for (const std::int32_t v : vertices) {
    for (Index i = 0; i < ssize(vertices); ++i) {
      const std::int32_t z = vertices[at(i)];
      const auto first = graph.target.begin() + graph.row_begin[at(v)];
      const auto last = graph.target.begin() + graph.row_begin[at(Index{v} + 1)];
      if (z != v && std::find(first, last, z) != last) {
        result.column.push_back(static_cast<std::int32_t>(i));
      }
    }
    result.row_begin.push_back(static_cast<std::int32_t>(result.column.size()));
  }
  return result;
}

void check_against_closure(const GraphPtr& graph) {
  const Decomposition result = decompose(graph);
  const auto reach = closure(*graph);
  const Index n = graph->n_vertices();
  BOOST_TEST(result.component_of[0] == -1);
  for (Index v = 1; v < n; ++v) {
    const std::int32_t c = result.component_of[at(v)];
    BOOST_TEST((c == -1) == graph->is_absorbing(v));
    for (Index z = 1; z < n; ++z) {
      const std::int32_t d = result.component_of[at(z)];
      if (c < 0 || d < 0) continue;
      const bool mutual = reach[at(v)][at(z)] != 0 && reach[at(z)][at(v)] != 0;
      BOOST_TEST((c == d) == mutual);
      if (reach[at(v)][at(z)] != 0) BOOST_TEST(d <= c);  // sinks first
    }
  }
  std::size_t covered = 0;
  for (Index c = 0; c < ssize(result.components); ++c) {
    const Component& component = result.components[at(c)];
    covered += component.vertices.size();
    BOOST_CHECK(pattern_of_vertices(*graph, component.vertices) == component.pattern);
    BOOST_CHECK_NO_THROW(validate_pattern(component.pattern));
    const GraphPtr alone = component_graph(result, c);
    BOOST_CHECK(pattern_of_component_graph(*alone) == component.pattern);
    BOOST_TEST(pattern_digest(component.pattern) == component.digest);
    // What is written reads back: a component graph obeys every rule of the format.
    BOOST_CHECK(pattern_of_component_graph(*graph_from_arrays(graph_to_arrays(*alone))) ==
                component.pattern);
  }
  const auto transient = std::count_if(result.component_of.begin(), result.component_of.end(),
                                       [](std::int32_t c) { return c >= 0; });
  BOOST_TEST(covered == static_cast<std::size_t>(transient));
}

Pattern pattern(std::vector<std::int32_t> row_begin, std::vector<std::int32_t> column) {
  return {std::move(row_begin), std::move(column)};
}

bool says(const Error& error, const std::string& part) {
  return error.code() == ErrorCode::invalid_argument &&
         std::string(error.what()).find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_CASE(components_agree_with_the_closure_of_random_graphs) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    const Index n = 2 + seed % 19;
    for (const double density : {0.02, 0.08, 0.2, 0.6}) {
      check_against_closure(random_graph(seed, n, density));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_long_cycle_and_a_long_path_need_no_recursion) {
  constexpr Index kLength = 300000;
  std::vector<double> edges;
  for (Index v = 1; v < kLength; ++v) {
    edges.insert(edges.end(), {static_cast<double>(v), static_cast<double>(v + 1), 1.0});
  }
  const Decomposition path = decompose(graph_of(kLength + 1, edges));
  BOOST_TEST(ssize(path.components) == kLength - 1);
  BOOST_TEST(path.components.front().vertices[0] == kLength - 1);
  BOOST_TEST(path.components.back().vertices[0] == 1);
  edges.insert(edges.end(), {static_cast<double>(kLength), 1.0, 1.0});
  const Decomposition cycle = decompose(graph_of(kLength + 1, edges));
  BOOST_TEST(ssize(cycle.components) == 1);
  BOOST_TEST(cycle.components[0].pattern.n() == kLength);
  BOOST_CHECK_NO_THROW(validate_pattern(cycle.components[0].pattern));
}

BOOST_AUTO_TEST_CASE(the_digest_is_that_of_the_pattern_alone) {
  // 1 <-> 2 -> 3 and 4 <-> 5 -> 6, other weights, self loops, exits and states.
  const Decomposition result = decompose(graph_of(
      7, {1, 2, 0.3, 2, 1, 7.0, 2, 3, 1.0, 4, 5, 2.0, 5, 4, 0.0, 4, 4, 9.0, 4, 1, 3.0, 5, 6, 1e-9}));
  BOOST_TEST(ssize(result.components) == 2);
  BOOST_TEST(result.components[0].digest == result.components[1].digest);
  BOOST_TEST(result.components[0].digest.size() == 64U);
  // Changing this digest makes every stored trace useless: raise the trace format version with it.
  BOOST_TEST(result.components[0].digest ==
             "5330ff92858328d8801bd198a3f87490a0ebfefee9f64ee5a90e4440ad07d251");
  BOOST_TEST(pattern_digest(pattern({0, 0}, {})) ==
             "2e63c9c7536e9237298d14a1e4c5301db3e5ab1171b54c9245fc4db2e904e256");
}

BOOST_AUTO_TEST_CASE(isomorphic_components_share_pattern_and_digest) {
  std::mt19937 generator(17);
  // 1..6 -> 7..12: one pattern of 6 vertices, its vertices numbered anew in the second component.
  const std::vector<std::pair<Index, Index>> edges = {{1, 2}, {2, 3}, {3, 1}, {3, 4}, {4, 5},
                                                      {5, 6}, {6, 1}, {2, 5}, {5, 2}};
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<Index> image = {7, 8, 9, 10, 11, 12};
    std::shuffle(image.begin(), image.end(), generator);
    std::vector<std::array<double, 3>> rows;
    for (const auto& [u, v] : edges) {
      rows.push_back({double(u), double(v), 0.5});
      rows.push_back({double(image[at(u - 1)]), double(image[at(v - 1)]), 0.25});
    }
    rows.push_back({4.0, 9.0, 1.0});
    std::vector<double> flat;
    for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
    const GraphPtr graph = graph_of(13, flat);
    const Decomposition result = decompose(graph);
    BOOST_REQUIRE(ssize(result.components) == 2);
    BOOST_TEST(result.components[0].digest == result.components[1].digest);
    BOOST_CHECK(result.components[0].pattern == result.components[1].pattern);
    for (const Component& component : result.components) {
      BOOST_CHECK(pattern_of_vertices(*graph, component.vertices) == component.pattern);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_component_beyond_2000_vertices_keeps_the_order_of_the_graph) {
  for (const Index n : {2000, 2001}) {
    std::vector<double> edges;  // a cycle over all vertices that jumps, so that no order is natural
    for (Index v = 0; v < n; ++v) {
      edges.insert(edges.end(), {double(1 + v), double(1 + (v + 7) % n), 1.0});
    }
    const Decomposition result = decompose(graph_of(n + 1, edges));
    BOOST_REQUIRE(ssize(result.components) == 1);
    const std::vector<std::int32_t>& vertices = result.components[0].vertices;
    BOOST_TEST(std::is_sorted(vertices.begin(), vertices.end()) == (n > 2000));
  }
}

BOOST_AUTO_TEST_CASE(a_component_graph_carries_all_exits_in_one_vertex) {
  GraphBuilder builder(2, true);
  const auto add = [&](std::int32_t a, std::int32_t b) {
    const std::int32_t state[] = {a, b};
    return builder.find_or_create_vertex({state, 2});
  };
  const Index u = add(1, 0), v = add(2, 0), sink = add(3, 0), trap = add(4, 0), self = add(5, 0);
  const double both[] = {0.0, 0.125}, second[] = {0.0625, -0.125};
  builder.add_edge(0, u, 0.5);
  builder.add_edge(u, v, 0.25);
  builder.add_edge(v, u, 0.25);
  builder.add_edge(v, v, 0.125);
  builder.add_edge(v, sink, 0.25);
  builder.add_edge(v, trap, 0.125);
  builder.add_edge(v, sink, Span<const double>(both, 2));
  builder.add_edge(v, self, Span<const double>(second, 2));
  builder.add_edge(self, self, 1.0);
  const Decomposition result = decompose(builder.freeze());
  BOOST_REQUIRE(ssize(result.components) == 1);
  const GraphPtr graph = component_graph(result, 0);
  BOOST_TEST(graph->n_vertices() == 4);
  BOOST_TEST(graph->discrete);
  BOOST_TEST(graph->param_length == 2);
  BOOST_TEST(graph->state_text(1) == "(1, 0)");
  BOOST_TEST(graph->state_text(2) == "(2, 0)");
  const GraphArrays arrays = graph_to_arrays(*graph);
  BOOST_TEST(arrays.start_edges == (std::vector<double>{1, 1.0}), boost::test_tools::per_element());
  BOOST_TEST(arrays.edges == (std::vector<double>{1, 2, 0.25, 2, 1, 0.25, 2, 2, 0.125, 2, 3, 0.375}),
             boost::test_tools::per_element());
  BOOST_TEST(arrays.param_edges == (std::vector<double>{2, 3, 0.0625, 0.0}),
             boost::test_tools::per_element());
  BOOST_CHECK_EXCEPTION((void)component_graph(result, 1), Error,
                        [](const Error& e) { return says(e, "component is 1"); });
}

BOOST_AUTO_TEST_CASE(a_component_needs_no_memory_for_parameters_that_no_edge_has) {
  GraphArrays arrays = graph_to_arrays(*graph_of(4, {1, 2, 1.0, 2, 1, 1.0, 2, 3, 1.0}));
  arrays.param_length = 2000000000;
  const GraphPtr alone = component_graph(decompose(graph_from_arrays(arrays)), 0);
  BOOST_TEST(alone->param_length == 2000000000);
  BOOST_TEST(graph_to_arrays(*alone).param_edges.empty());
}

BOOST_AUTO_TEST_CASE(huge_exits_saturate_so_that_the_work_unit_stays_readable) {
  const GraphPtr graph = graph_of(5, {1, 2, 1.0, 2, 1, 1.0, 1, 3, 1.7e308, 1, 4, 1.7e308});
  const GraphPtr alone = component_graph(decompose(graph), 0);
  BOOST_TEST(graph_to_arrays(*alone).edges[5] == std::numeric_limits<double>::max());
  BOOST_CHECK_NO_THROW((void)graph_from_json(graph_to_json(*alone)));
}

BOOST_AUTO_TEST_CASE(malformed_patterns_are_rejected) {
  const std::vector<std::pair<Pattern, std::string>> cases = {
      {pattern({}, {}), "expected at least one row"},
      {pattern({0}, {}), "expected at least one row"},
      {pattern({1, 1}, {0}), "row_begin from 0"},
      {pattern({0, 1, 3}, {1, 0}), "row_begin from 0"},
      {pattern({0, 3, 2}, {1, 0}), "row_begin falls"},
      {pattern({0, -1, 2}, {1, 0}), "row_begin falls"},
      {pattern({0, 1, 2}, {1, 2}), "increasing columns"},
      {pattern({0, 1, 2}, {-1, 0}), "increasing columns"},
      {pattern({0, 1, 2}, {0, 0}), "without the row itself"},
      {pattern({0, 2, 4, 6}, {2, 1, 0, 2, 0, 1}), "increasing columns"},
      {pattern({0, 2, 3, 4}, {1, 1, 0, 0}), "increasing columns"},
      {pattern({0, 1, 1}, {1}), "not strongly connected"},
      {pattern({0, 1, 2, 3}, {1, 0, 0}), "not strongly connected"}};
  for (const auto& [bad, part] : cases) {
    BOOST_CHECK_EXCEPTION(validate_pattern(bad), Error,
                          [&part = part](const Error& e) { return says(e, part); });
  }
}

BOOST_AUTO_TEST_CASE(graphs_that_are_not_of_a_component_are_rejected) {
  const std::vector<std::pair<GraphPtr, std::string>> cases = {
      {graph_of(2, {}), "expected at least 3 vertices"},
      {graph_of(3, {}, {2, 1.0}), "one start edge, to vertex 1"},
      {graph_of(3, {}, {1, 0.5, 2, 0.5}), "one start edge, to vertex 1"},
      {graph_of(4, {1, 2, 1.0, 2, 1, 1.0, 3, 1, 1.0}), "absorbing vertex that carries the exits"},
      {graph_of(4, {1, 3, 1.0, 2, 1, 1.0}), "not strongly connected"}};
  for (const auto& [graph, part] : cases) {
    BOOST_CHECK_EXCEPTION((void)pattern_of_component_graph(*graph), Error,
                          [&part = part](const Error& e) { return says(e, part); });
  }
}
