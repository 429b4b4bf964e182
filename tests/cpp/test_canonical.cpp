// Canonical orders: isomorphic patterns become equal, others do not, within the budget and beyond it.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scc/canonical.h"
#include "scc/pattern.h"

using namespace phasic;

namespace {

using Edges = std::set<std::pair<std::int32_t, std::int32_t>>;

Pattern pattern_of(Index n, const Edges& edges) {
  Pattern result;
  result.row_begin.push_back(0);
  auto edge = edges.begin();
  for (Index v = 0; v < n; ++v) {
    for (; edge != edges.end() && edge->first == v; ++edge) result.column.push_back(edge->second);
    result.row_begin.push_back(static_cast<std::int32_t>(result.column.size()));
  }
  return result;
}

void join(Edges& edges, std::int32_t a, std::int32_t b) {
  edges.emplace(a, b);
  edges.emplace(b, a);
}

// The product of paths, or of cycles.
Pattern grid(const std::vector<std::int32_t>& sides, bool closed = false) {
  Edges edges;
  std::int32_t n = 1;
  for (const std::int32_t side : sides) n *= side;
  for (std::int32_t v = 0; v < n; ++v) {
    std::int32_t step = 1;
    for (const std::int32_t side : sides) {
      const std::int32_t coordinate = v / step % side;
      if (coordinate + 1 < side) join(edges, v, v + step);
      if (closed && coordinate + 1 == side) join(edges, v, v - step * (side - 1));
      step *= side;
    }
  }
  return pattern_of(n, edges);
}

Pattern random_pattern(std::mt19937& generator, std::int32_t n, Index degree) {
  std::uniform_int_distribution<std::int32_t> any(0, n - 1);
  Edges edges;
  for (std::int32_t v = 0; v < n; ++v) {
    edges.emplace(v, (v + 1) % n);
    for (Index k = 1; k < degree; ++k) {
      const std::int32_t z = any(generator);
      if (z != v) edges.emplace(v, z);
    }
  }
  return pattern_of(n, edges);
}

// A hub with arms of two vertices each, or, closed, with triangles.
Pattern hub(std::int32_t n_arms, bool closed) {
  Edges edges;
  for (std::int32_t arm = 0; arm < n_arms; ++arm) {
    join(edges, 0, 1 + 2 * arm);
    join(edges, 1 + 2 * arm, 2 + 2 * arm);
    if (closed) join(edges, 2 + 2 * arm, 0);
  }
  return pattern_of(1 + 2 * n_arms, edges);
}

Pattern binary_tree(std::int32_t n) {
  Edges edges;
  for (std::int32_t v = 1; v < n; ++v) join(edges, v, (v - 1) / 2);
  return pattern_of(n, edges);
}

// Vertices 0..q-1, an edge for each difference in the set; in both directions if it is symmetric.
Pattern circulant(std::int32_t q, const std::set<std::int32_t>& differences) {
  Edges edges;
  for (std::int32_t a = 0; a < q; ++a) {
    for (const std::int32_t d : differences) edges.emplace(a, (a + d) % q);
  }
  return pattern_of(q, edges);
}

// Two graphs with equal parameters (16, 6, 2, 2) that refinement cannot tell apart.
Pattern rooks() {
  Edges edges;
  for (std::int32_t a = 0; a < 16; ++a) {
    for (std::int32_t b = 0; b < a; ++b) {
      if (a / 4 == b / 4 || a % 4 == b % 4) join(edges, a, b);
    }
  }
  return pattern_of(16, edges);
}

Pattern shrikhande() {
  Edges edges;
  for (std::int32_t a = 0; a < 16; ++a) {
    const std::int32_t x = a / 4, y = a % 4, right = (x + 1) % 4, up = (y + 1) % 4;
    join(edges, a, right * 4 + y);
    join(edges, a, x * 4 + up);
    join(edges, a, right * 4 + up);
  }
  return pattern_of(16, edges);
}

Pattern canonical(const Pattern& pattern, bool* proven = nullptr) {
  detail::Canoniser canoniser;
  const std::vector<std::int32_t> order = canoniser.order(pattern);
  std::vector<std::int32_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::int32_t> all(at(pattern.n()));
  std::iota(all.begin(), all.end(), 0);
  BOOST_TEST_REQUIRE((sorted == all));
  if (proven != nullptr) *proven = canoniser.is_proven();
  const Pattern ordered = detail::permuted(pattern, order);
  return detail::permuted(ordered, detail::banded_order(ordered));
}

Pattern shuffled(std::mt19937& generator, const Pattern& pattern) {
  std::vector<std::int32_t> order(at(pattern.n()));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), generator);
  return detail::permuted(pattern, order);
}

// The pattern of n vertices whose edges are the bits that are set, n (n - 1) of them.
Pattern pattern_of_bits(std::int32_t n, std::uint32_t bits) {
  Pattern result;
  result.row_begin.push_back(0);
  for (std::int32_t v = 0; v < n; ++v) {
    for (std::int32_t z = 0; z < n; ++z) {
      if (z == v) continue;
      if ((bits & 1U) != 0) result.column.push_back(z);
      bits >>= 1U;
    }
    result.row_begin.push_back(static_cast<std::int32_t>(result.column.size()));
  }
  return result;
}

bool is_strongly_connected(const Pattern& pattern) {
  try {
    validate_pattern(pattern);
  } catch (const Error&) {
    return false;
  }
  return true;
}

}  // namespace

// The strongly connected digraphs of 3 and 4 vertices: 18 and 1606 labelled ones in 5 and 83 classes
// (Liskovets 1970; sequences A003030 and A035512 of the OEIS).
BOOST_AUTO_TEST_CASE(small_patterns_fall_into_as_many_classes_as_there_are) {
  const std::vector<std::array<std::size_t, 3>> known = {{3, 18, 5}, {4, 1606, 83}};
  for (const auto& [n, n_labelled, n_classes] : known) {
    std::set<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>> classes;
    std::size_t labelled = 0;
    for (std::uint32_t bits = 0; bits < 1U << (n * (n - 1)); ++bits) {
      const Pattern pattern = pattern_of_bits(static_cast<std::int32_t>(n), bits);
      if (!is_strongly_connected(pattern)) continue;
      ++labelled;
      const Pattern found = canonical(pattern);
      classes.emplace(found.row_begin, found.column);
    }
    BOOST_TEST(labelled == n_labelled);
    BOOST_TEST(classes.size() == n_classes);
  }
}

BOOST_AUTO_TEST_CASE(every_numbering_of_a_pattern_gives_one_canonical_pattern) {
  std::mt19937 generator(7);
  std::vector<std::pair<std::string, Pattern>> cases = {
      {"path", grid({400})},           {"lattice", grid({14, 14})},
      {"box", grid({6, 3, 2, 2})},     {"hypercube", grid({2, 2, 2, 2, 2, 2, 2})},
      {"cube of 3", grid({3, 3, 3, 3})}, {"torus", grid({9, 9}, true)},
      {"cycle", grid({301}, true)},    {"one-way cycle", circulant(300, {1})},
      {"complete", circulant(40, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                                  21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37,
                                  38, 39})},
      {"Paley 13", circulant(13, {1, 3, 4, 9, 10, 12})},
      {"tournament 11", circulant(11, {1, 3, 4, 5, 9})},
      {"rooks", rooks()},              {"Shrikhande", shrikhande()}};
  for (const std::int32_t n : {5, 30, 200, 1000}) {
    for (const Index degree : {2, 4}) {
      cases.emplace_back("random " + std::to_string(n), random_pattern(generator, n, degree));
    }
  }
  for (const auto& [name, pattern] : cases) {
    BOOST_TEST_CONTEXT(name) {
      bool proven = false;
      const Pattern expected = canonical(pattern, &proven);
      BOOST_TEST(proven);
      for (int repeat = 0; repeat < 5; ++repeat) {
        BOOST_CHECK(canonical(shuffled(generator, pattern), &proven) == expected);
        BOOST_TEST(proven);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(patterns_that_refinement_confuses_stay_different) {
  BOOST_CHECK(!(canonical(rooks()) == canonical(shrikhande())));
  BOOST_CHECK(!(canonical(grid({12}, true)) == canonical(circulant(12, {1}))));
  // One-way cycles with chords: circulants of 7 by {1, 2} and {1, 3} are isomorphic by x -> 3 x + ...,
  // those by {1, 2} and {1, 6} are not.
  BOOST_CHECK(canonical(circulant(7, {1, 3})) == canonical(circulant(7, {3, 2})));
  BOOST_CHECK(!(canonical(circulant(7, {1, 2})) == canonical(circulant(7, {1, 6}))));
}

// More symmetry than the budget unravels: still an order, and here even the canonical one.
BOOST_AUTO_TEST_CASE(a_search_that_exceeds_its_budget_still_gives_an_order) {
  std::mt19937 generator(11);
  const std::vector<std::pair<std::string, Pattern>> cases = {
      {"arms", hub(300, false)}, {"triangles", hub(300, true)}, {"tree", binary_tree(1023)}};
  for (const auto& [name, pattern] : cases) {
    BOOST_TEST_CONTEXT(name) {
      bool proven = true;
      const Pattern expected = canonical(pattern, &proven);
      BOOST_TEST(!proven);
      for (int repeat = 0; repeat < 3; ++repeat) {
        BOOST_CHECK(canonical(shuffled(generator, pattern)) == expected);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(one_canoniser_serves_many_patterns) {
  std::mt19937 generator(3);
  detail::Canoniser shared;
  for (int repeat = 0; repeat < 40; ++repeat) {
    const Pattern pattern = repeat % 2 == 0 ? grid({2 + repeat % 5, 3, 2})
                                            : random_pattern(generator, 3 + repeat, 3);
    detail::Canoniser fresh;
    BOOST_CHECK(shared.order(pattern) == fresh.order(pattern));
  }
}

BOOST_AUTO_TEST_CASE(a_banded_order_eliminates_trees_and_paths_without_fill) {
  std::mt19937 generator(5);
  for (const Pattern& tree : {binary_tree(200), grid({150}), hub(50, false)}) {
    const Pattern mixed = shuffled(generator, tree);
    const Pattern ordered = detail::permuted(mixed, detail::banded_order(mixed));
    for (Index v = 0; v + 1 < ordered.n(); ++v) {  // each row has one neighbour behind it
      const auto first = ordered.column.begin() + ordered.row_begin[at(v)];
      const auto last = ordered.column.begin() + ordered.row_begin[at(v + 1)];
      BOOST_TEST(std::count_if(first, last, [v](std::int32_t z) { return z > v; }) == 1);
    }
  }
}
