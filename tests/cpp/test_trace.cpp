// Recording, work units, linking and listing of traces.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <set>

#include "phasic/json.h"
#include "support/checks.h"
#include "support/evaluation.h"
#include "support/models.h"
#include "support/patterns.h"

using namespace phasic;
using checks::throws;
using evaluation::Inputs;
using models::Family;
using patterns::random_pattern;

namespace {

// All the traces of a decomposition that have at least min_size vertices.
ComponentTraceMap record_all(const Decomposition& decomposition, Index min_size) {
  ComponentTraceMap traces;
  for (const Component& component : decomposition.components) {
    if (component.pattern.n() >= min_size) {
      traces[component.digest] = record_component(component.pattern);
    }
  }
  return traces;
}

// What eliminating the trace's order symbolically must give, by plain sets: who leads to whom.
void check_fill(const ComponentTrace& trace) {
  const Index n = trace.pattern.n();
  std::vector<std::set<std::int32_t>> out(at(n)), in(at(n));
  std::vector<std::int32_t> step(at(n));
  for (Index k = 0; k < n; ++k) step[at(trace.order[at(k)])] = static_cast<std::int32_t>(k);
  for (Index i = 0; i < n; ++i) {
    for (Index e = trace.pattern.row_begin[at(i)]; e < trace.pattern.row_begin[at(i + 1)]; ++e) {
      const std::int32_t from = step[at(i)], to = step[at(trace.pattern.column[at(e)])];
      out[at(from)].insert(to);
      in[at(to)].insert(from);
    }
  }
  Index operations = 0;
  for (std::int32_t k = 0; k < n; ++k) {
    const std::vector<std::int32_t> targets(out[at(k)].upper_bound(k), out[at(k)].end());
    const std::vector<std::int32_t> sources(in[at(k)].upper_bound(k), in[at(k)].end());
    operations += ssize(sources) * (ssize(targets) + 1);
    BOOST_TEST(targets == std::vector<std::int32_t>(trace.upper.begin() + trace.upper_begin[at(k)],
                                                    trace.upper.begin() + trace.upper_begin[at(k) + 1]),
               boost::test_tools::per_element());
    BOOST_TEST(sources == std::vector<std::int32_t>(trace.lower.begin() + trace.lower_begin[at(k)],
                                                    trace.lower.begin() + trace.lower_begin[at(k) + 1]),
               boost::test_tools::per_element());
    for (const std::int32_t i : sources) {
      for (const std::int32_t j : targets) {
        if (i == j) continue;
        out[at(i)].insert(j);
        in[at(j)].insert(i);
      }
    }
  }
  BOOST_TEST(trace.n_operations == operations);
}

GraphPtr three_pairs_and_a_triangle() {
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v <= 10; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  for (const Index v : {1, 3, 5}) {
    builder.add_edge(v, v + 1, 1.0);
    builder.add_edge(v + 1, v, 2.0);
    builder.add_edge(v + 1, v + 2, 3.0);
  }
  builder.add_edge(7, 8, 1.0);
  builder.add_edge(8, 9, 1.0);
  builder.add_edge(9, 7, 1.0);
  builder.add_edge(9, 10, 1.0);
  return builder.freeze();
}

}  // namespace

BOOST_AUTO_TEST_CASE(recording_is_deterministic_and_its_fill_is_that_of_its_order) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Index n = 1 + static_cast<Index>(seed) % 20;
    const Pattern pattern = random_pattern(n, seed % 4 * 0.15, seed);
    const ComponentTracePtr trace = record_component(pattern);
    BOOST_TEST(patterns::same(*trace, *record_component(pattern)));
    BOOST_TEST((trace->pattern == pattern));
    BOOST_TEST(trace->digest == pattern_digest(pattern));
    BOOST_TEST((trace->n_operations > 0) == (n > 1));
    BOOST_TEST(!trace->ordering.empty());
    std::vector<std::int32_t> sorted = trace->order;
    std::sort(sorted.begin(), sorted.end());
    for (Index v = 0; v < n; ++v) BOOST_TEST(sorted[at(v)] == v);
    check_fill(*trace);
  }
}

BOOST_AUTO_TEST_CASE(a_cheap_order_is_found_where_the_natural_one_is_hopeless) {
  // A star whose hub is vertex 0: eliminated first it joins all leaves, eliminated last it costs n.
  constexpr Index kLeaves = 300;
  Pattern star;
  star.row_begin.push_back(0);
  for (std::int32_t leaf = 1; leaf <= kLeaves; ++leaf) star.column.push_back(leaf);
  star.row_begin.push_back(kLeaves);
  for (std::int32_t leaf = 1; leaf <= kLeaves; ++leaf) {
    star.column.push_back(0);
    star.row_begin.push_back(kLeaves + leaf);
  }
  BOOST_TEST(record_component(star)->n_operations == 2 * kLeaves);
}

BOOST_AUTO_TEST_CASE(bit_matrices_and_lists_give_the_same_trace_of_a_large_ring) {
  // Above 12000 vertices recording works on lists; the result has the same form.
  for (const std::int32_t n : {11000, 13000}) {
    Pattern ring;
    for (std::int32_t v = 0; v < n; ++v) {
      ring.row_begin.push_back(v);
      ring.column.push_back((v + 1) % n);
    }
    ring.row_begin.push_back(n);
    const ComponentTracePtr trace = record_component(ring);
    BOOST_TEST(trace->n_operations == 2 * (n - 2) + 2);
    BOOST_TEST(trace->ordering == "natural");
  }
}

BOOST_AUTO_TEST_CASE(a_component_beyond_the_budget_is_refused) {
  const Decomposition decomposition = decompose(patterns::model_of(random_pattern(30, 0.9, 1)));
  const Pattern& pattern = decomposition.components[0].pattern;
  const ComponentTracePtr trace = record_component(pattern);
  RecordOptions options;
  options.max_operations = static_cast<double>(trace->n_operations);
  BOOST_TEST(patterns::same(*record_component(pattern, options), *trace));
  options.max_operations -= 1;
  const std::vector<std::string> words = {"30 vertices", std::to_string(pattern.column.size()),
                                          "max_operations"};
  throws([&] { (void)record_component(pattern, options); }, ErrorCode::budget, words);
  throws([&] { (void)decode_component(encode(*trace), options); }, ErrorCode::budget, words);
  throws([&] { (void)link(decomposition, {}, 31, options); }, ErrorCode::budget, words);
  throws(
      [&] {
        (void)record_work_unit(trace->digest, graph_to_json(*component_graph(decomposition, 0)),
                               options);
      },
      ErrorCode::budget, words);
}

// Bytes of the live pattern and of the lists that follow from it, in either kind of live pattern.
BOOST_AUTO_TEST_CASE(a_component_beyond_the_budget_of_bytes_is_refused) {
  RecordOptions options;
  options.max_bytes = 1e4;
  const Pattern dense = random_pattern(30, 0.9, 1);
  BOOST_TEST(record_component(dense, options)->n_operations > 0);
  options.max_bytes = 1e3;
  throws([&] { (void)record_component(dense, options); }, ErrorCode::budget,
         {"30 vertices", "max_bytes = 1000", "lump states"});
  Pattern ring;
  const std::int32_t n = 20000;  // too large for bit matrices
  for (std::int32_t v = 0; v < n; ++v) {
    ring.row_begin.push_back(v);
    ring.column.push_back((v + 1) % n);
  }
  ring.row_begin.push_back(n);
  options.max_bytes = 1e6;
  BOOST_TEST(record_component(ring, options)->ordering == "natural");
  options.max_bytes = 1e5;
  throws([&] { (void)record_component(ring, options); }, ErrorCode::budget,
         {"20000 vertices", "max_bytes = 1e+05"});
}

BOOST_AUTO_TEST_CASE(a_program_beyond_the_budget_of_bytes_is_refused) {
  const Decomposition decomposition = decompose(patterns::model_of(random_pattern(30, 0.9, 1)));
  const Component& component = decomposition.components[0];
  const ComponentTraceMap traces{{component.digest, record_component(component.pattern)}};
  RecordOptions options;
  options.max_bytes = 100;
  throws([&] { (void)link(decomposition, traces, 1, options); }, ErrorCode::budget,
         {"30 vertices", "max_bytes = 100"});
}

BOOST_AUTO_TEST_CASE(a_work_unit_gives_the_trace_of_its_component) {
  for (const Family& family : models::all_families()) {
    const Decomposition decomposition = decompose(models::random_model(family, 3));
    for (Index i = 0; i < ssize(decomposition.components); ++i) {
      const Component& component = decomposition.components[at(i)];
      const std::string json = graph_to_json(*component_graph(decomposition, i));
      const ComponentTracePtr trace = record_work_unit(component.digest, json);
      BOOST_TEST(patterns::same(*trace, *record_component(component.pattern)));
    }
  }
}

BOOST_AUTO_TEST_CASE(work_units_that_lie_are_refused) {
  const Decomposition decomposition = decompose(three_pairs_and_a_triangle());
  const std::string& triangle = decomposition.components[0].digest;
  const std::string& pair = decomposition.components[1].digest;
  const std::string json = graph_to_json(*component_graph(decomposition, 0));
  BOOST_TEST(record_work_unit(triangle, json)->digest == triangle);
  const auto refused = [](const std::string& digest, const std::string& text,
                          const std::vector<std::string>& words) {
    throws([&] { (void)record_work_unit(digest, text); }, ErrorCode::invalid_argument, words);
  };
  refused(pair, json, {"digest", pair, triangle});
  refused("", json, {"digest"});
  refused(triangle + "0", json, {"digest"});
  refused(triangle, "", {"JSON"});
  refused(triangle, "[]", {"JSON"});
  refused(triangle, json.substr(0, json.size() / 2), {"JSON"});
  refused(triangle, json + "x", {"JSON"});
  refused(triangle, "{}", {"missing required fields"});
  refused(triangle, graph_to_json(*decomposition.graph), {"not strongly connected"});
}

BOOST_AUTO_TEST_CASE(linking_names_the_digests_that_are_missing) {
  const Decomposition decomposition = decompose(three_pairs_and_a_triangle());
  const std::string& triangle = decomposition.components[0].digest;
  const std::string& pair = decomposition.components[1].digest;
  throws([&] { (void)link(decomposition, {}); }, ErrorCode::missing, {triangle, pair, "missing"});
  ComponentTraceMap traces = record_all(decomposition, 3);
  throws([&] { (void)link(decomposition, traces); }, ErrorCode::missing, {pair});
  try {
    (void)link(decomposition, traces);
  } catch (const Error& error) {
    BOOST_TEST(std::string(error.what()).find(triangle) == std::string::npos);
  }
  BOOST_TEST(link(decomposition, traces, 3)->n_operations > 0);
  throws([&] { (void)link(decomposition, {}, 3); }, ErrorCode::missing, {triangle});
}

BOOST_AUTO_TEST_CASE(a_trace_of_another_pattern_is_refused) {
  const Decomposition decomposition = decompose(three_pairs_and_a_triangle());
  ComponentTraceMap traces = record_all(decomposition, 1);
  const std::string& triangle = decomposition.components[0].digest;
  traces[triangle] = traces[decomposition.components[1].digest];
  throws([&] { (void)link(decomposition, traces); }, ErrorCode::invalid_argument,
         {triangle, "another pattern", "2 vertices", "expected 3"});
}

BOOST_AUTO_TEST_CASE(stitched_programs_equal_the_whole_for_every_min_size) {
  for (const Family& family : models::all_families()) {
    const GraphPtr graph = models::random_model(family, 8);
    const Decomposition decomposition = decompose(graph);
    const ProgramPtr whole = evaluation::program_of(graph);
    std::mt19937 random(1);
    Inputs inputs;
    inputs.theta = models::random_theta(family, random);
    Request request;
    request.order = 3;
    const evaluation::Outcome expected = evaluation::run(*whole, request, 1, inputs);
    const Index largest = family.n > 30 ? 4 : family.n + 2;
    for (Index min_size = 1; min_size <= largest; ++min_size) {
      const ProgramPtr stitched =
          link(decomposition, record_all(decomposition, min_size), min_size);
      BOOST_TEST(stitched->digest == whole->digest);
      BOOST_TEST(stitched->n_operations == whole->n_operations);
      BOOST_TEST(encode(*stitched) == encode(*whole));
      BOOST_TEST(evaluation::run(*stitched, request, 1, inputs).value == expected.value,
                 boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_program_is_named_by_what_decides_its_numbers) {
  const GraphArrays arrays = graph_to_arrays(*three_pairs_and_a_triangle());
  const auto digest = [](const GraphArrays& a) {
    return evaluation::program_of(graph_from_arrays(a))->digest;
  };
  const std::string original = digest(arrays);
  BOOST_TEST(digest(arrays) == original);
  GraphArrays changed = arrays;
  changed.edges[2] *= 1 + 1e-15;
  BOOST_TEST(digest(changed) != original);
  changed = arrays;
  changed.start_edges[1] = 0.5;
  BOOST_TEST(digest(changed) != original);
  changed = arrays;
  for (std::size_t i = 2; i < changed.edges.size(); i += 3) changed.edges[i] *= 0.1;
  const std::string slow = digest(changed);
  changed.discrete = true;
  BOOST_TEST(digest(changed) != slow);
  changed = arrays;
  changed.param_length = 1;
  BOOST_TEST(digest(changed) != original);
  changed.edges.erase(changed.edges.begin(), changed.edges.begin() + 3);
  changed.param_edges = {1, 2, 1.0};
  const std::string parameterised = digest(changed);
  BOOST_TEST(parameterised != original);
  changed.param_edges = {1, 2, 1.5};
  BOOST_TEST(digest(changed) != parameterised);
}

BOOST_AUTO_TEST_CASE(a_dump_mentions_every_vertex) {
  const Pattern pattern = random_pattern(12, 0.2, 4);
  const ComponentTracePtr trace = record_component(pattern);
  const std::string text = dump(*trace);
  const auto mentions = [&](const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  BOOST_TEST(mentions(trace->digest));
  BOOST_TEST(mentions(std::to_string(trace->n_operations)));
  for (Index v = 0; v < 12; ++v) BOOST_TEST(mentions("eliminate " + std::to_string(v) + ":"));
  BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 13);
  const ProgramPtr program = evaluation::program_of(three_pairs_and_a_triangle());
  const std::string whole = dump(*program);
  BOOST_TEST(whole.find(program->digest) != std::string::npos);
  for (const ComponentTracePtr& component : program->components) {
    BOOST_TEST(whole.find(dump(*component)) != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(a_trap_that_the_start_may_reach_is_known_to_the_program) {
  for (const bool closed : {false, true}) {
    for (const bool entered : {false, true}) {
      GraphBuilder builder(1);
      for (std::int32_t v = 1; v <= 4; ++v) builder.add_vertex({&v, 1});
      builder.add_edge(0, 1, 1.0);
      builder.add_edge(1, 4, 1.0);
      builder.add_edge(2, 3, 1.0);
      builder.add_edge(3, 2, 1.0);
      if (!closed) builder.add_edge(3, 4, 0.0);  // a way out in structure
      if (entered) builder.add_edge(1, 2, 0.0);  // a way in in structure
      const ProgramPtr program = evaluation::program_of(builder.freeze());
      BOOST_TEST(program->structural_trap == (closed && entered));
    }
  }
}
