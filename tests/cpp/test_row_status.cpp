// What a row of the batch may meet, the sentence that explains it, and that it stays in its row.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>

#include "support/checks.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using checks::throws;
using evaluation::Inputs;
using evaluation::Outcome;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Coefficients = std::vector<double>;

struct ParamEdge {
  Index from, to;
  Coefficients coefficients;
};

// States (10), (20), .. for vertices 1, 2, ..
ProgramPtr program_with(Index n_vertices, const std::vector<ParamEdge>& edges, bool discrete = false,
                        double start = 1.0) {
  GraphBuilder builder(1, discrete);
  for (Index v = 1; v < n_vertices; ++v) {
    const auto tag = static_cast<std::int32_t>(10 * v);
    builder.add_vertex({&tag, 1});
  }
  if (start > 0) builder.add_edge(0, 1, start);
  for (const ParamEdge& edge : edges) {
    builder.add_edge(edge.from, edge.to, Span<const double>(edge.coefficients));
  }
  return evaluation::program_of(builder.freeze());
}

// (10) <-> (20) -> absorbed in (30), one parameter an edge.
ProgramPtr two_states(bool discrete = false) {
  return program_with(4, {{1, 2, {1, 0, 0}}, {2, 1, {0, 1, 0}}, {2, 3, {0, 0, 1}}}, discrete);
}

RowStatus status_of(const Program& program, const Request& request, const std::vector<double>& theta,
                    const std::vector<double>& rewards = {}) {
  return evaluation::run(program, request, 1, {theta, rewards, {}, {}, {}}).status[0];
}

void explains(const Program& program, const Request& request, RowStatus expected,
              const std::vector<double>& theta, const std::vector<double>& rewards,
              const std::vector<std::string>& words) {
  for (const KernelKind kernel : evaluation::kernels()) {
    Request with_kernel = request;
    with_kernel.kernel = kernel;
    const Outcome outcome =
        evaluation::run(program, with_kernel, 1, {theta, rewards, {}, {}, {}});
    BOOST_TEST((outcome.status[0] == expected),
               "status " << static_cast<int>(outcome.status[0]) << ", expected "
                         << static_cast<int>(expected));
    for (const double value : outcome.value) {
      BOOST_TEST((expected == RowStatus::trapped ? value == kInfinity : std::isnan(value)));
    }
  }
  const std::string text = explain(program, request, expected, theta, rewards, {});
  for (const std::string& word : words) {
    BOOST_TEST(text.find(word) != std::string::npos, "'" << word << "' is not in: " << text);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_good_row_is_ok) {
  BOOST_TEST((status_of(*two_states(), {}, {1, 2, 3}) == RowStatus::ok));
  BOOST_TEST(!explain(*two_states(), {}, RowStatus::ok, Coefficients{1, 2, 3}, {}, {}).empty());
}

BOOST_AUTO_TEST_CASE(numbers_that_are_not_finite_are_named) {
  const ProgramPtr program = two_states();
  Request request;
  explains(*program, request, RowStatus::not_finite, {1, kNaN, 3}, {}, {"theta[1]", "nan"});
  explains(*program, request, RowStatus::not_finite, {1, 2, kInfinity}, {}, {"theta[2]", "inf"});
  explains(*program, request, RowStatus::not_finite, {-kInfinity, 2, 3}, {}, {"theta[0]", "-inf"});
  request.n_rewards = 2;
  const std::vector<double> rewards{0, 1, 1, 0, 0, 1, kNaN, 0};
  explains(*program, request, RowStatus::not_finite, {1, 2, 3}, rewards, {"rewards[6]", "nan"});
  // Finite parameters whose weight is not.
  const ProgramPtr steep = program_with(3, {{1, 2, {1e300}}});
  explains(*steep, {}, RowStatus::not_finite, {1e300}, {}, {"(10)", "(20)", "inf"});
}

BOOST_AUTO_TEST_CASE(negative_weights_name_their_edge) {
  const ProgramPtr program = two_states();
  const std::vector<std::string> words{"(20)", "(10)", "-0.5", ">= 0"};
  explains(*program, {}, RowStatus::negative_weight, {1, -0.5, 3}, {}, words);
  explains(*two_states(true), {}, RowStatus::negative_weight, {0.1, -0.5, 0.3}, {}, words);
  const ProgramPtr start = program_with(3, {{0, 1, {1, 0}}, {1, 2, {0, 1}}}, false, 0);
  explains(*start, {}, RowStatus::negative_weight, {-0.5, 1}, {}, {"starting vertex", "-0.5"});
  const ProgramPtr loop = program_with(3, {{1, 1, {1, 0}}, {1, 2, {0, 1}}});
  explains(*loop, {}, RowStatus::negative_weight, {-0.5, 1}, {}, {"(10)", "-0.5"});
  const ProgramPtr mixed = program_with(3, {{1, 2, {1, -1}}});
  explains(*mixed, {}, RowStatus::negative_weight, {1, 3}, {}, {"(10)", "(20)", "-2"});
}

BOOST_AUTO_TEST_CASE(a_weight_that_is_negative_only_by_rounding_gets_the_same_verdict_everywhere) {
  // 3 theta_0 - theta_1 at (1/3, 1) is 0 if the product is rounded, -5.6e-17 if it is fused.
  const ProgramPtr program = program_with(4, {{1, 2, {3, -1}}, {1, 3, {1, 1}}, {2, 3, {1, 1}}});
  for (const std::vector<double>& theta : {Coefficients{1.0 / 3, 1}, {0.1, 0.3}, {0.7, 2.1}}) {
    for (const KernelKind kernel : evaluation::kernels()) {
      Request request;
      request.kernel = kernel;
      const RowStatus status = status_of(*program, request, theta);
      BOOST_TEST((status == status_of(*program, {}, theta)));
      BOOST_CHECK_NO_THROW((void)explain(*program, request, status, theta, {}, {}));
    }
  }
}

BOOST_AUTO_TEST_CASE(probabilities_above_one_name_their_state) {
  const ProgramPtr start = program_with(3, {{0, 1, {1, 0}}, {1, 2, {0, 1}}}, false, 0);
  explains(*start, {}, RowStatus::start_exceeds_one, {1.25, 1}, {},
           {"starting vertex", "1.25", "at most 1"});
  BOOST_TEST((status_of(*start, {}, {1 + 1e-13, 1}) == RowStatus::ok));
  const ProgramPtr program = two_states(true);
  explains(*program, {}, RowStatus::row_exceeds_one, {0.5, 0.75, 0.5}, {},
           {"(20)", "1.25", "at most 1"});
  BOOST_TEST((status_of(*program, {}, {0.5, 0.5, 0.5 + 1e-13}) == RowStatus::ok));
  // The same sums are rates in continuous time.
  BOOST_TEST((status_of(*two_states(false), {}, {0.5, 0.75, 0.5}) == RowStatus::ok));
  // Self loops count, and a row that is off by rounding alone is not the one to blame.
  const ProgramPtr loop =
      program_with(4, {{1, 2, {1, 0}}, {2, 2, {0, 1}}, {2, 3, {0, 0.5}}}, true);
  explains(*loop, {}, RowStatus::row_exceeds_one, {1 + 1e-14, 1}, {}, {"(20)", "1.5"});
}

BOOST_AUTO_TEST_CASE(traps_are_named_and_infinite) {
  const ProgramPtr program = two_states();
  explains(*program, {}, RowStatus::trapped, {1, 2, 0}, {}, {"infinite", "2 states", "(10)", "(20)"});
  explains(*two_states(true), {}, RowStatus::trapped, {0, 0.2, 0.3}, {}, {"1 state ", "(10)"});
  Request cross;
  cross.quantity = Quantity::cross_moments;
  cross.n_rewards = 2;
  explains(*program, cross, RowStatus::trapped, {1, 2, 0}, {0, 1, 0, 0, 0, 1, 1, 0}, {"(20)"});
  // Six trapped states: five are listed.
  std::vector<ParamEdge> edges{{1, 8, {1}}, {1, 2, {1}}, {7, 2, {1}}};
  for (Index v = 2; v < 7; ++v) edges.push_back({v, v + 1, {1}});
  const ProgramPtr ring = program_with(9, edges);
  explains(*ring, {}, RowStatus::trapped, {1}, {}, {"6 states", "(20)", "(60)", "..."});
  BOOST_TEST(explain(*ring, {}, RowStatus::trapped, Coefficients{1}, {}, {}).find("(70)") ==
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(gradients_of_infinite_expectations_are_nan_and_reported) {
  const ProgramPtr program = two_states();
  for (const bool value : {false, true}) {
    Request request;
    request.value = value;
    request.gradient = 0;
    const Outcome outcome =
        evaluation::run(*program, request, 2, {{1, 2, 0, 1, 2, 3}, {}, {}, {}, {1}});
    BOOST_TEST((outcome.status[0] == RowStatus::trapped));
    BOOST_TEST((outcome.status[1] == RowStatus::ok));
    for (std::size_t i = 0; i < 3; ++i) BOOST_TEST(std::isnan(outcome.gradient[i]));
    for (std::size_t i = 3; i < 6; ++i) BOOST_TEST(std::isfinite(outcome.gradient[i]));
  }
}

BOOST_AUTO_TEST_CASE(results_beyond_the_range_of_doubles_are_reported) {
  const ProgramPtr program = two_states();
  const std::vector<std::string> words{"range", "1e-290", "rescale"};
  explains(*program, {}, RowStatus::out_of_range, {1e-300, 1e-300, 1e-300}, {}, words);
  explains(*program, {}, RowStatus::out_of_range, {1e300, 1e300, 1e300}, {}, words);
  Request third;
  third.order = 3;
  explains(*program, third, RowStatus::out_of_range, {1e-150, 1e-150, 1e-150}, {}, words);
  BOOST_TEST((status_of(*program, {}, {1e-150, 1e-150, 1e-150}) == RowStatus::ok));
  Request rewards;
  rewards.n_rewards = 1;
  explains(*program, rewards, RowStatus::out_of_range, {1e-10, 1e-10, 1e-10}, {0, 1e308, 1e308, 0},
           words);
}

BOOST_AUTO_TEST_CASE(derivatives_beyond_the_range_of_doubles_are_reported) {
  // E = 1 / theta is in range, its derivative -1 / theta^2 is not.
  const ProgramPtr program = program_with(3, {{1, 2, {1}}});
  for (const KernelKind kernel : evaluation::kernels()) {
    Request forward;
    forward.kernel = kernel;
    forward.levels = {Part::theta};
    Outcome outcome = evaluation::run(*program, forward, 2, {{1e-200, 2}, {}, {}, {{1}}, {}});
    BOOST_TEST((outcome.status[0] == RowStatus::out_of_range));
    BOOST_TEST(std::isnan(outcome.value[0]));
    BOOST_TEST(outcome.value[1] == -0.25);
    for (const bool value : {false, true}) {
      Request reverse;
      reverse.kernel = kernel;
      reverse.value = value;
      reverse.gradient = 0;
      outcome = evaluation::run(*program, reverse, 2, {{1e-200, 2}, {}, {}, {}, {1}});
      BOOST_TEST((outcome.status[0] == RowStatus::out_of_range));
      BOOST_TEST(std::isnan(outcome.gradient[0]));
      BOOST_TEST(outcome.gradient[1] == -0.25);
    }
  }
}

BOOST_AUTO_TEST_CASE(statuses_of_densities_are_explained) {
  Request request;
  request.quantity = Quantity::cdf;
  request.n_times = 2;
  request.max_operations = 1000;
  const std::vector<double> theta{1, 2, 3};
  const auto says = [&](const Program& program, RowStatus status, const std::vector<double>& times,
                        const std::string& word) {
    const std::string text = explain(program, request, status, theta, {}, times);
    BOOST_TEST(text.find(word) != std::string::npos, "'" << word << "' is not in: " << text);
  };
  says(*two_states(), RowStatus::bad_time, {1, -2}, "t[1] is -2");
  says(*two_states(true), RowStatus::bad_time, {1, 2.5}, "t[1] is 2.5, expected a whole number");
  says(*two_states(), RowStatus::not_finite, {kNaN, 1}, "t[0] is nan");
  says(*two_states(), RowStatus::over_budget, {1, 1}, "max_operations = 1000");
  request.max_operations = 1e9;
  request.quantity = Quantity::pdf;
  request.density = DensityMethod::krylov;
  says(*two_states(), RowStatus::not_converged, {1e4, 2e4}, "leave an estimated error of");
}

BOOST_AUTO_TEST_CASE(a_bad_row_does_not_disturb_its_neighbours) {
  const ProgramPtr program = two_states(true);
  const std::vector<std::pair<RowStatus, Coefficients>> bad = {
      {RowStatus::not_finite, {kNaN, kNaN, kNaN}},    {RowStatus::not_finite, {kInfinity, 0.1, 0.1}},
      {RowStatus::negative_weight, {0.1, -1e308, 0.1}}, {RowStatus::row_exceeds_one, {0.1, 1e308, 0.1}},
      {RowStatus::trapped, {0.5, 0.5, 0}},            {RowStatus::out_of_range, {1e-300, 0.1, 0.1}}};
  constexpr Index kRows = 19;
  std::mt19937 random(1);
  std::vector<double> theta(at(kRows * 3));
  for (double& x : theta) x = models::uniform(random, 0.1, 0.4);
  for (const KernelKind kernel : evaluation::kernels()) {
    for (const bool gradient : {false, true}) {
      Request request;
      request.kernel = kernel;
      request.gradient = gradient ? 0 : -1;
      const Outcome good = evaluation::run(*program, request, kRows, {theta, {}, {}, {}, {}});
      for (const auto& [status, values] : bad) {
        for (Index row = 0; row < kRows; ++row) {
          std::vector<double> changed = theta;
          std::copy(values.begin(), values.end(), changed.begin() + row * 3);
          const Outcome outcome = evaluation::run(*program, request, kRows, {changed, {}, {}, {}, {}});
          for (Index other = 0; other < kRows; ++other) {
            const bool same = outcome.value[at(other)] == good.value[at(other)];
            BOOST_TEST((outcome.status[at(other)] == (other == row ? status : RowStatus::ok)));
            BOOST_TEST(same == (other != row));
            for (Index i = 3 * other; gradient && i < 3 * other + 3; ++i) {
              BOOST_TEST((outcome.gradient[at(i)] == good.gradient[at(i)]) == (other != row));
            }
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(requests_that_contradict_themselves_are_refused) {
  const ProgramPtr program = two_states();
  const std::vector<double> numbers(100, 0.5);
  std::vector<double> out(100);
  const auto refused = [&](const Request& request, const std::vector<Index>& sizes,
                           std::size_t n_results, const std::string& word) {
    std::vector<Operand> operands;
    for (const Index size : sizes) operands.push_back({numbers.data(), false, size, {}});
    const std::vector<Result> results(n_results, Result{out.data(), false});
    throws([&] { evaluate(*program, request, {}, operands, results); },
           ErrorCode::invalid_argument, {word});
  };
  const auto with = [](auto change) {
    Request request;
    change(request);
    return request;
  };
  refused({}, {2}, 1, "3");
  refused({}, {}, 1, "operands");
  refused({}, {3, 3}, 1, "operands");
  refused({}, {3}, 0, "results");
  refused({}, {3}, 2, "results");
  refused(with([](Request& r) { r.value = false; }), {3}, 0, "neither");
  refused(with([](Request& r) { r.levels.assign(3, Part::theta); }), {3, 3, 3, 3}, 1, "at most 2");
  refused(with([](Request& r) { r.order = 0; }), {3}, 1, "order");
  refused(with([](Request& r) { r.order = -1; }), {3}, 1, "order");
  refused(with([](Request& r) { r.order = 2, r.quantity = Quantity::sojourn; }), {3}, 1, "order");
  refused(with([](Request& r) { r.n_rewards = 0; }), {3, 0}, 1, "n_rewards");
  refused(with([](Request& r) { r.n_rewards = 1, r.quantity = Quantity::sojourn; }), {3, 4}, 1,
          "n_rewards");
  refused(with([](Request& r) { r.n_times = 1; }), {3, 1}, 1, "n_times");
  refused(with([](Request& r) { r.quantity = Quantity::cdf; }), {3}, 1, "n_times");
  refused(with([](Request& r) { r.levels = {Part::rewards}; }), {3, 4}, 1, "tangent");
  refused(with([](Request& r) { r.levels = {Part::times}; }), {3, 1}, 1, "tangent");
  refused(with([](Request& r) { r.gradient = 1; }), {3}, 2, "gradient");
  refused(with([](Request& r) { r.gradient = 0, r.order = 2; }), {3}, 2, "value and gradient");
  refused(with([](Request& r) { r.gradient = 0, r.value = false; }), {3, 2}, 1, "operand 1");
  refused(with([](Request& r) { r.gradient = 0, r.levels = {Part::theta}; }), {3, 3}, 2,
          "value and gradient");
  refused(with([](Request& r) { r.n_rewards = 2; }), {3, 4}, 1, "expected 8");
  const Index batch = 4;
  const Operand no_stride{numbers.data(), false, 3, {}};
  const Result result{out.data(), false};
  throws([&] { evaluate(*program, {}, {&batch, 1}, {&no_stride, 1}, {&result, 1}); },
         ErrorCode::invalid_argument, {"strides"});
}

BOOST_AUTO_TEST_CASE(a_model_that_stands_still_is_evaluated_at_any_time) {
  // Three quarters of the mass wait in (10), which nothing leaves at theta = 0.
  const ProgramPtr program = program_with(3, {{1, 2, {1}}}, false, 0.75);
  const auto check = [&](Quantity quantity, double time, bool gradient, double expected) {
    Request request;
    request.quantity = quantity;
    request.n_times = 1;
    request.gradient = gradient ? 0 : -1;
    const std::size_t entry = quantity >= Quantity::state_probability ? 1 : 0;  // of vertex 1
    for (const KernelKind kernel : evaluation::kernels()) {
      request.kernel = kernel;
      const Outcome found = evaluation::run(*program, request, 1, {{0}, {}, {time}, {}, {}});
      BOOST_TEST((found.status[0] == RowStatus::ok));
      BOOST_TEST((gradient ? found.gradient : found.value)[entry] == expected,
                 boost::test_tools::tolerance(1e-15));
    }
  };
  for (const double time : {1.0, 1e9, 1e15, 1e90}) {
    check(Quantity::pdf, time, false, 0);
    check(Quantity::pdf, time, true, 0.75);
    check(Quantity::cdf, time, false, 0.25);
    check(Quantity::cdf, time, true, 0.75 * time);
    check(Quantity::sf, time, false, 0.75);
    check(Quantity::sf, time, true, -0.75 * time);
    check(Quantity::state_probability, time, false, 0.75);
    check(Quantity::accumulated_occupancy, time, false, 0.75 * time);
  }
}

// Everything is absorbed at time 0; there is no row to sum over.
BOOST_AUTO_TEST_CASE(a_model_without_transient_vertices_has_derivatives_of_zero) {
  GraphBuilder builder(1);
  const std::int32_t state = 1;
  builder.add_edge(0, builder.add_vertex({&state, 1}), 1.0);
  const ProgramPtr program = evaluation::program_of(builder.freeze());
  for (const Quantity quantity : {Quantity::pdf, Quantity::cdf, Quantity::sf}) {
    Request request;
    request.quantity = quantity;
    request.n_times = 2;
    request.levels = {Part::times};
    evaluation::Inputs inputs;
    inputs.times = {0.5, 2.0};
    inputs.tangents = {{1.0, 1.0}};
    for (const KernelKind kernel : evaluation::kernels()) {
      request.kernel = kernel;
      const evaluation::Outcome outcome = evaluation::run(*program, request, 1, inputs);
      BOOST_TEST((outcome.status[0] == RowStatus::ok));
      BOOST_TEST(outcome.value == std::vector<double>({0.0, 0.0}),
                 boost::test_tools::per_element());
    }
  }
}
