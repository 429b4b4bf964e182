// Traps: states that the start reaches and that cannot reach absorption, against the oracle.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/comparison.h"
#include "support/dense_oracle.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;
using oracle::check_close;
using oracle::check_within;
using oracle::Dense;
using oracle::Jet1;
using oracle::Quad;
using oracle::widen;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Index kRows = 9;

// A random graph in which every edge has its own parameter, so that each row of a batch can switch
// its own edges off. Traps, unreachable parts and lost exits come in every combination.
struct Switches {
  GraphPtr graph;
  ProgramPtr program;
  std::vector<double> theta;  // (kRows, n_edges)
  std::vector<Dense<Quad>> rows;

  explicit Switches(unsigned seed) {
    std::mt19937 random(seed);
    const Index n = 3 + models::below(random, 7);
    GraphArrays arrays;
    arrays.n_vertices = n + 1;
    arrays.state_length = 1;
    arrays.start_vertex = 0;
    arrays.discrete = seed % 2 == 1;
    for (std::int32_t v = 0; v <= n; ++v) arrays.states.push_back(v);
    std::vector<std::pair<Index, Index>> edges;
    for (Index u = 1; u < n; ++u) {
      for (Index v = 1; v <= n; ++v) {
        if (u != v && models::chance(random, 0.3)) edges.emplace_back(u, v);
      }
    }
    arrays.param_length = ssize(edges);
    for (std::size_t e = 0; e < edges.size(); ++e) {
      arrays.param_edges.push_back(static_cast<double>(edges[e].first));
      arrays.param_edges.push_back(static_cast<double>(edges[e].second));
      for (std::size_t k = 0; k < edges.size(); ++k) arrays.param_edges.push_back(k == e ? 1 : 0);
    }
    arrays.start_edges = {1, 0.75, static_cast<double>(n - 1), 0.25};
    graph = graph_from_arrays(arrays);
    program = evaluation::program_of(graph);
    const double off = models::uniform(random, 0, 0.5);
    for (Index row = 0; row < kRows; ++row) {
      for (std::size_t e = 0; e < edges.size(); ++e) {
        theta.push_back(models::chance(random, off) ? 0 : models::uniform(random, 0.01, 0.1));
      }
      const double* first = theta.data() + row * ssize(edges);
      rows.emplace_back(*graph, widen(first, ssize(edges)));
    }
  }
  [[nodiscard]] Outcome run(Quantity quantity, KernelKind kernel) const {
    Request request;
    request.quantity = quantity;
    request.kernel = kernel;
    return evaluation::run(*program, request, kRows, {theta, {}, {}, {}, {}});
  }
};

GraphPtr graph_with(const std::vector<std::vector<double>>& param_edges, Index n_vertices,
                    Index n_params) {
  GraphArrays arrays;
  arrays.n_vertices = n_vertices;
  arrays.state_length = 1;
  arrays.param_length = n_params;
  arrays.start_vertex = 0;
  for (Index v = 0; v < n_vertices; ++v) arrays.states.push_back(static_cast<std::int32_t>(v));
  arrays.start_edges = {1, 1.0};
  for (const std::vector<double>& edge : param_edges) {
    arrays.param_edges.insert(arrays.param_edges.end(), edge.begin(), edge.end());
  }
  return graph_from_arrays(arrays);
}

}  // namespace

BOOST_AUTO_TEST_CASE(traps_are_found_exactly_where_the_oracle_finds_them) {
  int trapped_rows = 0, free_rows = 0;
  for (unsigned seed = 0; seed < 80; ++seed) {
    const Switches model(seed);
    const Index n = model.graph->n_vertices();
    for (const KernelKind kernel : evaluation::kernels()) {
      const Outcome moments = model.run(Quantity::moments, kernel);
      const Outcome sojourn = model.run(Quantity::sojourn, kernel);
      const Outcome absorption = model.run(Quantity::absorption, kernel);
      for (Index row = 0; row < kRows; ++row) {
        const Dense<Quad>& dense = model.rows[at(row)];
        const std::vector<Index> trapped = dense.trapped();
        (trapped.empty() ? free_rows : trapped_rows) += 1;
        BOOST_TEST((moments.status[at(row)] ==
                    (trapped.empty() ? RowStatus::ok : RowStatus::trapped)));
        if (trapped.empty()) {
          check_close(moments.value[at(row)], dense.moments(std::vector<Quad>(at(n), 1), 1)[0],
                      1e-13, "expectation");
        } else {
          BOOST_TEST(moments.value[at(row)] == kInfinity);
        }
        const std::vector<Quad> z = dense.sojourn(), a = dense.absorption();
        for (Index v = 0; v < n; ++v) {
          const double found = sojourn.value[at(row * n + v)];
          if (std::find(trapped.begin(), trapped.end(), v) != trapped.end()) {
            BOOST_TEST(found == kInfinity);
          } else {
            check_close(found, z[at(v)], 1e-13, "sojourn");
          }
          check_close(absorption.value[at(row * n + v)], a[at(v)], 1e-13, "absorption");
        }
        BOOST_TEST((sojourn.status[at(row)] == RowStatus::ok));
        BOOST_TEST((absorption.status[at(row)] == RowStatus::ok));
      }
    }
  }
  BOOST_TEST(trapped_rows > 500);
  BOOST_TEST(free_rows > 500);
}

BOOST_AUTO_TEST_CASE(absorption_probabilities_have_gradients_beside_a_trap) {
  // (1) -> (2) with rate a, -> trap (3) <-> (4) with rate b: P = a / (a + b).
  const GraphPtr graph = graph_with({{1, 2, 1, 0}, {1, 3, 0, 1}, {3, 4, 1, 1}, {4, 3, 1, 1}}, 5, 2);
  const ProgramPtr program = evaluation::program_of(graph);
  BOOST_TEST(program->structural_trap);
  Request request;
  request.quantity = Quantity::absorption;
  request.value = false;
  request.gradient = 0;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    const Outcome out = evaluation::run(*program, request, 1, {{3, 1}, {}, {}, {}, {0, 0, 1, 0, 0}});
    BOOST_TEST((out.status[0] == RowStatus::ok));
    check_close(out.gradient[0], Quad(1) / 16, 1e-14, "d/da");
    check_close(out.gradient[1], Quad(-3) / 16, 1e-14, "d/db");
  }
}

BOOST_AUTO_TEST_CASE(sojourn_has_gradients_where_it_is_finite) {
  const GraphPtr graph = graph_with({{1, 2, 1, 0}, {1, 3, 0, 1}, {3, 4, 1, 1}, {4, 3, 1, 1}}, 5, 2);
  const ProgramPtr program = evaluation::program_of(graph);
  Request request;
  request.quantity = Quantity::sojourn;
  request.value = false;
  request.gradient = 0;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    const Outcome finite =
        evaluation::run(*program, request, 1, {{3, 1}, {}, {}, {}, {0, 1, 0, 0, 0}});
    check_close(finite.gradient[0], Quad(-1) / 16, 1e-14, "d/da");
    check_close(finite.gradient[1], Quad(-1) / 16, 1e-14, "d/db");
    const Outcome infinite =
        evaluation::run(*program, request, 1, {{3, 1}, {}, {}, {}, {0, 1, 0, 1, 0}});
    BOOST_TEST(std::isnan(infinite.gradient[0]));
  }
  request.value = true;
  request.gradient = -1;
  request.levels = {Part::theta};
  const Outcome tangent = evaluation::run(*program, request, 1, {{3, 1}, {}, {}, {{1, 0}}, {}});
  check_close(tangent.value[1], Quad(-1) / 16, 1e-14, "forward d/da");
  BOOST_TEST(tangent.value[2] == 0);
  BOOST_TEST(std::isnan(tangent.value[3]));
  BOOST_TEST(std::isnan(tangent.value[4]));
}

BOOST_AUTO_TEST_CASE(gradients_beside_traps_inside_components_agree_with_jets) {
  std::mt19937 random(5);
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Switches model(seed);
    const Index n = model.graph->n_vertices(), p = model.graph->param_length;
    Inputs inputs;
    inputs.theta = model.theta;
    for (Index i = 0; i < n; ++i) inputs.cotangent.push_back(models::uniform(random, 0, 1));
    std::vector<double> tangent(model.theta);  // edges that are off stay off
    for (double& x : tangent) x *= models::uniform(random, -1, 1);
    inputs.tangents = {tangent};
    Request forward, reverse;
    forward.quantity = reverse.quantity = Quantity::absorption;
    forward.levels = {Part::theta};
    reverse.value = false;
    reverse.gradient = 0;
    for (Index row = 0; row < kRows; ++row) {
      std::vector<Jet1> jets(model.theta.begin() + row * p, model.theta.begin() + (row + 1) * p);
      for (Index i = 0; i < p; ++i) jets[at(i)].slope = tangent[at(row * p + i)];
      const std::vector<Jet1> expected = Dense<Jet1>(*model.graph, jets).absorption();
      Quad total = 0;
      for (Index v = 0; v < n; ++v) total += inputs.cotangent[at(v)] * expected[at(v)].slope;
      for (const KernelKind kernel : evaluation::kernels()) {
        forward.kernel = reverse.kernel = kernel;
        const Outcome out = evaluation::run(*model.program, forward, kRows, inputs);
        for (Index v = 0; v < n; ++v) {
          check_within(out.value[at(row * n + v)], expected[at(v)].slope, 1, 1e-13, "forward");
        }
        const Outcome back = evaluation::run(*model.program, reverse, kRows, inputs);
        double found = 0;
        for (Index i = row * p; i < (row + 1) * p; ++i) {
          if (model.theta[at(i)] > 0) found += back.gradient[at(i)] * tangent[at(i)];
        }
        check_within(found, total, 1, 1e-13, "reverse");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_derivative_towards_a_trap_is_never_a_wrong_finite_number) {
  // (1) -> (2) absorbing at rate a, -> (3) <-> (4) at rate b; (4) -> (2) at rate c.
  const GraphPtr graph = graph_with(
      {{1, 2, 1, 0, 0}, {1, 3, 0, 1, 0}, {3, 4, 1, 1, 0}, {4, 3, 1, 1, 0}, {4, 2, 0, 0, 1}}, 5, 3);
  const ProgramPtr program = evaluation::program_of(graph);
  using Finite = std::vector<bool>;  // of the derivatives with respect to a, b, c
  const auto check = [&](Quantity quantity, const std::vector<double>& theta, const Finite& finite) {
    const std::size_t entry = quantity == Quantity::moments ? 0 : 1;  // of vertex 1
    Inputs inputs;
    inputs.theta = theta;
    inputs.cotangent.assign(quantity == Quantity::moments ? 1 : 5, 0.0);
    inputs.cotangent[entry] = 1;
    for (const KernelKind kernel : evaluation::kernels()) {
      Request value, forward, gradient;
      value.kernel = forward.kernel = gradient.kernel = kernel;
      value.quantity = forward.quantity = gradient.quantity = quantity;
      forward.levels = {Part::theta};
      gradient.value = false;
      gradient.gradient = 0;
      BOOST_TEST(std::isfinite(evaluation::run(*program, value, 1, inputs).value[entry]));
      const Outcome reverse = evaluation::run(*program, gradient, 1, inputs);
      BOOST_TEST((reverse.status[0] == RowStatus::ok));
      for (std::size_t k = 0; k < 3; ++k) {
        BOOST_TEST(std::isfinite(reverse.gradient[k]) == finite[k]);
        inputs.tangents = {{0, 0, 0}};
        inputs.tangents[0][k] = 1;
        const double along = evaluation::run(*program, forward, 1, inputs).value[entry];
        BOOST_TEST(std::isfinite(along) == finite[k]);
      }
    }
  };
  // b = c = 0: E = 1 / a, but any b > 0 makes it infinite. What is absorbed falls at a finite rate.
  check(Quantity::moments, {2, 0, 0}, {true, false, true});
  check(Quantity::sojourn, {2, 0, 0}, {true, false, true});
  check(Quantity::absorption, {2, 0, 0}, {true, true, true});
  // b > 0, c = 0: any c > 0 opens the trap, and what is absorbed jumps.
  check(Quantity::absorption, {2, 1, 0}, {true, true, false});
  check(Quantity::sojourn, {2, 1, 0}, {true, true, false});
  // No trap: b = 0 is an ordinary boundary.
  for (const Quantity quantity : {Quantity::moments, Quantity::sojourn, Quantity::absorption}) {
    check(quantity, {2, 0, 1}, {true, true, true});
    check(quantity, {2, 1, 1}, {true, true, true});
  }
}
