// Values of elimination against the dense quadruple-precision oracle: moments, cross moments,
// expected sojourn and absorption, for every kernel, batch size and operand layout.
//
// Tolerance: 1e-12 relative. Elimination only adds, multiplies and divides non-negative numbers, so
// the error is a few units in the last place a step and order, however stiff the model; the largest
// models here (101 vertices, order 10) reach about 1e-13.
#include <boost/test/unit_test.hpp>

#include <cmath>

#include "support/comparison.h"
#include "support/dense_oracle.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;
using models::Family;
using oracle::check_close;
using oracle::Quad;
using oracle::widen;

namespace {

constexpr double kTolerance = 1e-12;

// A batch of parameters and rewards of one model, and the oracle of each row.
struct Case {
  Family family;
  GraphPtr graph;
  ProgramPtr program;
  Index batch, n_rewards;
  Inputs inputs;
  std::vector<oracle::Dense<Quad>> rows;

  Case(const Family& f, unsigned seed, Index batch_size, Index reward_count)
      : family(f), graph(models::random_model(f, seed)), program(evaluation::program_of(graph)),
        batch(batch_size), n_rewards(reward_count) {
    std::mt19937 random(seed + 1000);
    for (Index b = 0; b < batch; ++b) {
      const std::vector<double> theta = models::random_theta(family, random);
      inputs.theta.insert(inputs.theta.end(), theta.begin(), theta.end());
      rows.emplace_back(*graph, widen(theta.data(), ssize(theta)));
    }
    for (Index i = 0; i < batch * n_rewards * graph->n_vertices(); ++i) {
      inputs.rewards.push_back(models::chance(random, 0.2) ? 0 : models::uniform(random, 0, 3));
    }
  }
  [[nodiscard]] std::vector<Quad> reward(Index row, Index j) const {
    const Index n = graph->n_vertices();
    return widen(inputs.rewards.data() + (row * n_rewards + j) * n, n);
  }
  [[nodiscard]] std::string where(const char* what, Index row) const {
    return std::string(what) + " of '" + family.name + "', row " + std::to_string(row);
  }
};

// Every kernel against `expected`, (batch, output).
void check_all_kernels(const Case& c, Request request, const std::vector<Quad>& expected,
                       const char* what) {
  const Index size = output_size(*c.program, request);
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    const Outcome outcome = evaluation::run(*c.program, request, c.batch, c.inputs);
    for (Index i = 0; i < c.batch * size; ++i) {
      BOOST_REQUIRE(outcome.status[at(i / size)] == RowStatus::ok);
      check_close(outcome.value[at(i)], expected[at(i)], kTolerance,
                  c.where(what, i / size) + ", entry " + std::to_string(i % size));
    }
  }
}

void append(std::vector<Quad>& all, const std::vector<Quad>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

void check_moments(const Case& c, Index order) {
  Request request;
  request.order = order;
  request.n_rewards = c.n_rewards;
  std::vector<Quad> expected;
  for (Index row = 0; row < c.batch; ++row) {
    for (Index j = 0; j < c.n_rewards; ++j) {
      append(expected, c.rows[at(row)].moments(c.reward(row, j), order));
    }
  }
  check_all_kernels(c, request, expected, "moment");
}

void check_cross_moments(const Case& c) {
  Request request;
  request.quantity = Quantity::cross_moments;
  request.n_rewards = c.n_rewards;
  std::vector<Quad> expected;
  for (Index row = 0; row < c.batch; ++row) {
    for (Index i = 0; i < c.n_rewards; ++i) {
      for (Index j = 0; j < c.n_rewards; ++j) {
        expected.push_back(c.rows[at(row)].cross_moment(c.reward(row, i), c.reward(row, j)));
      }
    }
  }
  check_all_kernels(c, request, expected, "cross moment");
}

void check_sojourn_and_absorption(const Case& c) {
  Request request;
  std::vector<Quad> sojourn, absorption;
  for (const oracle::Dense<Quad>& row : c.rows) {
    append(sojourn, row.sojourn());
    append(absorption, row.absorption());
  }
  request.quantity = Quantity::sojourn;
  check_all_kernels(c, request, sojourn, "sojourn");
  request.quantity = Quantity::absorption;
  check_all_kernels(c, request, absorption, "absorption");
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_oracle_solves_its_equations_and_knows_closed_forms) {
  for (const Family& family : models::all_families()) {
    const Case c(family, 5, 1, 1);
    const std::vector<Quad> r = c.reward(0, 0);
    BOOST_TEST(static_cast<double>(c.rows[0].residual(c.rows[0].solve(r), r)) < 1e-30);
  }
  // Erlang(3, 2): E[Y^k] = 3 4 .. (k + 2) / 2^k. Geometric(1/4): E[Y] = 4, E[Y^2] = (2 - p) / p^2.
  for (const bool discrete : {false, true}) {
    GraphBuilder builder(1, discrete);
    for (std::int32_t i = 1; i <= 4; ++i) builder.add_vertex({&i, 1});
    builder.add_edge(0, discrete ? 3 : 1, 1.0);
    for (Index i = 1; i <= 3; ++i) builder.add_edge(i, i + 1, discrete ? 0.25 : 2.0);
    const oracle::Dense<Quad> model(*builder.freeze(), {});
    const std::vector<Quad> m = model.moments(std::vector<Quad>(5, 1), 2);
    BOOST_TEST(static_cast<double>(m[0]) == (discrete ? 4.0 : 1.5));
    BOOST_TEST(static_cast<double>(m[1]) == (discrete ? 28.0 : 3.0));
  }
}

BOOST_AUTO_TEST_CASE(every_kernel_agrees_with_the_oracle_on_every_family) {
  unsigned seed = 0;
  for (const Family& family : models::all_families()) {
    for (int repeat = 0; repeat < 3; ++repeat, ++seed) {
      const Case c(family, seed, 1 + repeat * 2, 1 + repeat);
      check_moments(c, family.decades > 10 ? 3 : 10);
      check_cross_moments(c);
      check_sojourn_and_absorption(c);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_long_ring_that_hardly_ever_ends_keeps_all_digits) {
  // 24 states in a ring, one exit of 1e-18 for each lap of weight 1: lost by any method that subtracts.
  GraphBuilder builder(1);
  constexpr std::int32_t kRing = 24;
  for (std::int32_t i = 1; i <= kRing + 1; ++i) builder.add_vertex({&i, 1});
  builder.add_edge(0, 1, 1.0);
  for (Index i = 1; i <= kRing; ++i) builder.add_edge(i, i % kRing + 1, 1.0);
  builder.add_edge(kRing, kRing + 1, 1e-18);
  const GraphPtr graph = builder.freeze();
  const std::vector<Quad> expected =
      oracle::Dense<Quad>(*graph, {}).moments(std::vector<Quad>(kRing + 2, 1), 4);
  check_close(24e18 + 24, expected[0], kTolerance, "closed form");
  Request request;
  request.order = 4;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    const Outcome outcome = evaluation::run(*evaluation::program_of(graph), request, 1, {});
    for (std::size_t k = 0; k < 4; ++k) check_close(outcome.value[k], expected[k], 1e-13, "ring");
  }
}

BOOST_AUTO_TEST_CASE(rewards_of_both_signs_and_on_ignored_rows) {
  for (const Family& family : models::all_families()) {
    if (family.decades > 10) continue;
    Case c(family, 77, 3, 2);
    std::mt19937 random(7);
    for (double& r : c.inputs.rewards) r = models::uniform(random, -1, 1);
    Request request;
    request.order = 4;
    request.n_rewards = 2;
    const Index n = c.graph->n_vertices();
    const Outcome outcome = evaluation::run(*c.program, request, c.batch, c.inputs);
    for (Index row = 0; row < c.batch; ++row) {
      for (Index j = 0; j < 2; ++j) {
        const std::vector<Quad> r = c.reward(row, j);
        std::vector<Quad> size(r);
        for (Quad& x : size) x = oracle::magnitude(x);
        const auto expected = c.rows[at(row)].moments(r, 4);
        const auto scale = c.rows[at(row)].moments(size, 4);
        for (std::size_t k = 0; k < 4; ++k) {
          const double found = outcome.value[at(row * 2 + j) * 4 + k];
          oracle::check_within(found, expected[k], scale[k], kTolerance, c.where("moment", row));
        }
      }
    }
    for (Index i = 0; i < ssize(c.inputs.rewards); ++i) {
      const Index v = i % n;
      if (v == 0 || c.graph->is_absorbing(v)) c.inputs.rewards[at(i)] = std::nan("");
    }
    const Outcome ignored = evaluation::run(*c.program, request, c.batch, c.inputs);
    BOOST_TEST(ignored.value == outcome.value, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(without_rewards_every_state_earns_one) {
  for (const Family& family : models::all_families()) {
    Case c(family, 31, 2, 1);
    std::fill(c.inputs.rewards.begin(), c.inputs.rewards.end(), 1.0);
    Request plain, ones;
    ones.n_rewards = 1;
    plain.order = ones.order = 3;
    const Outcome a = evaluation::run(*c.program, plain, c.batch, c.inputs);
    const Outcome b = evaluation::run(*c.program, ones, c.batch, c.inputs);
    BOOST_TEST(a.value == b.value, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_row_does_not_depend_on_batch_size_or_layout) {
  Family family = models::all_families()[6];
  constexpr Index kRows = 19;
  const Case c(family, 3, kRows, 2);
  const Index p = family.n_params, r = 2 * c.graph->n_vertices();
  Request request;
  request.order = 2;
  request.n_rewards = 2;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    for (Index batch = 1; batch <= kRows; ++batch) {
      for (const int layout : {0, 1, 2, 3}) {  // bit 0: one theta for all, bit 1: one reward set
        Inputs inputs;
        const Index thetas = (layout & 1) != 0 ? 1 : batch, rewards = (layout & 2) != 0 ? 1 : batch;
        inputs.theta.assign(c.inputs.theta.begin(), c.inputs.theta.begin() + thetas * p);
        inputs.rewards.assign(c.inputs.rewards.begin(), c.inputs.rewards.begin() + rewards * r);
        const Outcome together = evaluation::run(*c.program, request, batch, inputs);
        const Index row = batch - 1;  // the lane that moves through the blocks
        Inputs one;
        one.theta.assign(inputs.theta.end() - p, inputs.theta.end());
        one.rewards.assign(inputs.rewards.end() - r, inputs.rewards.end());
        const Outcome alone = evaluation::run(*c.program, request, 1, one);
        for (std::size_t m = 0; m < 4; ++m) {
          BOOST_TEST(together.value[at(row) * 4 + m] == alone.value[m]);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(several_batch_dimensions_broadcast_and_stride) {
  const Case c(models::all_families()[2], 9, 6, 1);
  const Index n = c.graph->n_vertices(), p = c.family.n_params;
  // theta (2, 1), rewards (1, 3) taken backwards, batch (2, 3).
  const Index shape[] = {2, 3};
  const Operand operands[] = {{c.inputs.theta.data(), false, p, {p, 0}},
                              {c.inputs.rewards.data() + 2 * n, false, n, {0, -n}}};
  Request request;
  request.order = 3;
  request.n_rewards = 1;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    std::vector<double> value(6 * 3);
    const Result result{value.data(), false};
    evaluate(*c.program, request, {shape, 2}, {operands, 2}, {&result, 1});
    for (Index i = 0; i < 2; ++i) {
      for (Index j = 0; j < 3; ++j) {
        const auto expected = c.rows[at(i)].moments(c.reward(2 - j, 0), 3);
        for (Index k = 0; k < 3; ++k) {
          check_close(value[at((i * 3 + j) * 3 + k)], expected[at(k)], kTolerance,
                      c.where("moment", i));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(an_empty_batch_is_nothing_and_no_batch_dimension_is_one_row) {
  const Case c(models::all_families()[0], 9, 1, 1);
  Request request;
  const Operand none{c.inputs.theta.data(), false, c.family.n_params, {}};
  double value = 0;
  const Result result{&value, false};
  evaluate(*c.program, request, {}, {&none, 1}, {&result, 1});
  const std::vector<Quad> ones(at(c.graph->n_vertices()), 1);
  check_close(value, c.rows[0].moments(ones, 1)[0], kTolerance, "without batch dimensions");
  value = 7;
  const Index shape[] = {3, 0};
  const Operand operand{nullptr, false, c.family.n_params, {0, 0}};
  evaluate(*c.program, request, {shape, 2}, {&operand, 1}, {&result, 1});
  BOOST_TEST(value == 7);
}

BOOST_AUTO_TEST_CASE(float32_operands_and_results_round_once) {
  const Case c(models::all_families()[11], 21, 11, 2);
  const std::vector<float> theta(c.inputs.theta.begin(), c.inputs.theta.end());
  const std::vector<float> rewards(c.inputs.rewards.begin(), c.inputs.rewards.end());
  const Index p = c.family.n_params, r = 2 * c.graph->n_vertices();
  Inputs widened;
  widened.theta.assign(theta.begin(), theta.end());
  widened.rewards.assign(rewards.begin(), rewards.end());
  Request request;
  request.order = 2;
  request.n_rewards = 2;
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    request.gradient = -1;
    request.value = true;
    const Outcome expected = evaluation::run(*c.program, request, c.batch, widened);
    std::vector<float> value(at(c.batch * 4));
    const Operand operands[] = {{theta.data(), true, p, {p}}, {rewards.data(), true, r, {r}}};
    const Result result{value.data(), true};
    evaluate(*c.program, request, {&c.batch, 1}, {operands, 2}, {&result, 1});
    for (std::size_t i = 0; i < value.size(); ++i) {
      BOOST_TEST(value[i] == static_cast<float>(expected.value[i]));
    }
  }
}

BOOST_AUTO_TEST_CASE(doubling_all_rates_halves_time_exactly) {
  for (const Family& base : models::all_families()) {
    if (base.discrete || base.n_params == 0) continue;
    Family family = base;
    Case c(family, 13, 4, 1);
    // The same model with every constant weight doubled: theta doubles for the rest.
    GraphArrays arrays = graph_to_arrays(*c.graph);
    for (std::size_t i = 2; i < arrays.edges.size(); i += 3) arrays.edges[i] *= 2;
    const std::size_t width = at(1 + family.n_params);
    for (std::size_t i = 0; i < arrays.start_param_edges.size(); ++i) {
      if (i % width != 0) arrays.start_param_edges[i] /= 2;
    }
    const ProgramPtr fast = evaluation::program_of(graph_from_arrays(arrays));
    Inputs doubled = c.inputs;
    for (double& t : doubled.theta) t *= 2;
    Request request;
    request.order = 3;
    request.n_rewards = 1;
    for (const KernelKind kernel : evaluation::kernels()) {
      request.kernel = kernel;
      const Outcome slow = evaluation::run(*c.program, request, c.batch, c.inputs);
      const Outcome quick = evaluation::run(*fast, request, c.batch, doubled);
      for (std::size_t i = 0; i < slow.value.size(); ++i) {
        BOOST_TEST(quick.value[i] == std::ldexp(slow.value[i], -1 - static_cast<int>(i % 3)));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(relabelled_vertices_give_permuted_results) {
  for (const Family& family : models::all_families()) {
    const Case c(family, 41, 2, 1);
    const Index n = c.graph->n_vertices();
    const GraphArrays arrays = graph_to_arrays(*c.graph);
    GraphArrays other = arrays;  // vertex v becomes n - v
    const auto renamed = [&](double v) { return v == 0 ? 0 : static_cast<double>(n) - v; };
    const std::size_t width = at(family.n_params);
    for (std::size_t i = 0; i < arrays.edges.size(); i += 3) {
      for (const std::size_t end : {i, i + 1}) other.edges[end] = renamed(arrays.edges[end]);
    }
    for (std::size_t i = 0; i < arrays.start_edges.size(); i += 2) {
      other.start_edges[i] = renamed(arrays.start_edges[i]);
    }
    for (std::size_t i = 0; i < arrays.param_edges.size(); i += 2 + width) {
      for (const std::size_t e : {i, i + 1}) other.param_edges[e] = renamed(arrays.param_edges[e]);
    }
    for (std::size_t i = 0; i < arrays.start_param_edges.size(); i += 1 + width) {
      other.start_param_edges[i] = renamed(arrays.start_param_edges[i]);
    }
    const ProgramPtr program = evaluation::program_of(graph_from_arrays(other));
    for (const Quantity quantity : {Quantity::moments, Quantity::sojourn, Quantity::absorption}) {
      Request request;
      request.quantity = quantity;
      const Outcome a = evaluation::run(*c.program, request, c.batch, c.inputs);
      const Outcome b = evaluation::run(*program, request, c.batch, c.inputs);
      const Index size = output_size(*program, request);
      for (Index i = 0; i < ssize(a.value); ++i) {
        const Index v = i % size;
        const Index j = size == 1 || v == 0 ? i : i - v + n - v;
        check_close(b.value[at(j)], a.value[at(i)], 1e-13, c.where("relabelled", i / size));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(moments_of_order_beyond_ten) {
  const Case c(models::all_families()[1], 2, 2, 1);
  check_moments(c, 25);
  const Case discrete(models::all_families()[15], 2, 2, 1);
  check_moments(discrete, 25);
  BOOST_TEST(discrete.graph->discrete);
}
