// Values of the density sweep: closed forms, a dense oracle in quadruple precision, lanes, limits.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/comparison.h"
#include "support/density_families.h"
#include "support/density_oracle.h"
#include "support/sweep.h"

using namespace sweep;
using oracle::Quad;

namespace {

// Relative. Rounding grows with rate * time (at most 2000 here) times 1e-16; truncation is 1e-14.
constexpr double kTolerance = 3e-13;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLn2 = 0.693147180559945309417;

struct Values {
  std::vector<double> out, log;  // the values, and their logarithms where they are scaled numbers
};

Values evaluate_model(const Model& model, Quantity quantity, const std::vector<double>& times,
                      const std::vector<double>& theta = {}) {
  Sweep<double> sweep(model);
  const Outcome<double> outcome = sweep.run(quantity, theta, times);
  Values values{outcome.values(), {}};
  for (std::size_t i = 0; i < outcome.exponent.size(); ++i) {
    values.log.push_back(std::log(outcome.out[i]) + outcome.exponent[i] * kLn2);
  }
  return values;
}

void check_logs(const std::vector<double>& found, const std::vector<double>& expected,
                double tolerance) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    // An absolute error of the logarithm is a relative one of the value.
    const double allowed = tolerance + 4e-16 * std::fabs(expected[i]);
    BOOST_TEST(std::fabs(found[i] - expected[i]) <= allowed,
               "time " << i << ": " << found[i] << ", expected " << expected[i]);
  }
}

GraphPtr erlang(Index n, double rate) {
  std::vector<Transition> transitions{{0, 1, 1.0}};
  for (Index i = 1; i <= n; ++i) transitions.push_back({i, i + 1, rate});
  return graph_of(n + 2, transitions);
}

double log_gamma(double x) { return std::lgamma(x); }

}  // namespace

BOOST_AUTO_TEST_CASE(exponential_from_time_zero_to_beyond_the_double_range) {
  const Model model(graph_of(3, {{0, 1, 1.0}, {1, 2, 1.3}}));
  const std::vector<double> times{0.0, 1e-9, 1e-3, 0.5, 7.0, 100.0, 500.0, 560.0, 4000.0};
  const Values pdf = evaluate_model(model, Quantity::pdf, times);
  const Values sf = evaluate_model(model, Quantity::sf, times);
  const Values cdf = evaluate_model(model, Quantity::cdf, times);
  std::vector<double> log_sf, log_pdf, log_cdf;
  for (const double t : times) {
    log_sf.push_back(-1.3 * t);
    log_pdf.push_back(std::log(1.3) - 1.3 * t);
    log_cdf.push_back(std::log(-std::expm1(-1.3 * t)));
  }
  check_logs(pdf.log, log_pdf, kTolerance);
  check_logs(sf.log, log_sf, kTolerance);
  BOOST_TEST(cdf.out[0] == 0.0);
  check_logs({cdf.log.begin() + 1, cdf.log.end()}, {log_cdf.begin() + 1, log_cdf.end()},
             kTolerance);
  BOOST_TEST(pdf.out[8] == 0.0);  // as a double; its logarithm was checked above
}

BOOST_AUTO_TEST_CASE(erlang_200_in_both_tails) {
  const Model model(erlang(200, 1.0));
  const std::vector<double> times{1e-6, 1e-3, 1.0, 50.0, 200.0, 500.0, 2000.0};
  std::vector<double> log_pdf;
  for (const double t : times) log_pdf.push_back(199 * std::log(t) - t - log_gamma(200.0));
  check_logs(evaluate_model(model, Quantity::pdf, times).log, log_pdf, 1e-12);
  // Regularised incomplete gamma functions, 60 digits, rounded.
  const Values cdf = evaluate_model(model, Quantity::cdf, {1.0, 50.0, 200.0, 500.0});
  const Values sf = evaluate_model(model, Quantity::sf, {1.0, 50.0, 200.0, 500.0});
  BOOST_TEST(std::fabs(cdf.log[0] - -864.2269997746446) <= 1e-12);
  BOOST_TEST(sf.out[0] == 1.0, boost::test_tools::tolerance(kTolerance));
  BOOST_TEST(cdf.out[1] == 2.0247590148473565e-57, boost::test_tools::tolerance(kTolerance));
  BOOST_TEST(sf.out[1] == 1.0, boost::test_tools::tolerance(kTolerance));
  BOOST_TEST(cdf.out[2] == 0.5094034180072363, boost::test_tools::tolerance(kTolerance));
  BOOST_TEST(sf.out[2] == 0.4905965819927637, boost::test_tools::tolerance(kTolerance));
  BOOST_TEST(cdf.out[3] == 1.0, boost::test_tools::tolerance(kTolerance));
  BOOST_TEST(sf.out[3] == 3.727281642311179e-53, boost::test_tools::tolerance(kTolerance));
}

BOOST_AUTO_TEST_CASE(hypoexponential_with_nearby_and_distant_rates) {
  // Rates 1 and 3: pdf = 3 (e^-t - e^-3t) / 2 = 3 e^-2t sinh(t).
  const Model model(graph_of(4, {{0, 1, 1.0}, {1, 2, 1.0}, {2, 3, 3.0}}));
  const std::vector<double> times{1e-8, 0.01, 1.0, 30.0, 300.0};
  const Values pdf = evaluate_model(model, Quantity::pdf, times);
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double t = times[i];
    BOOST_TEST(pdf.out[i] == 1.5 * std::exp(-t) * -std::expm1(-2 * t),
               boost::test_tools::tolerance(kTolerance));
  }
}

BOOST_AUTO_TEST_CASE(geometric_and_negative_binomial) {
  const double p = 0.3;
  const Model geometric(graph_of(3, {{0, 1, 1.0}, {1, 2, p}}, true));
  const std::vector<double> n{0, 1, 2, 16, 17, 500, 30000};
  const Values pmf = evaluate_model(geometric, Quantity::pdf, n);
  const Values sf = evaluate_model(geometric, Quantity::sf, n);
  BOOST_TEST(pmf.out[0] == 0.0);
  for (std::size_t i = 0; i < n.size(); ++i) {
    const double log_stay = n[i] * std::log1p(-p);
    BOOST_TEST(std::fabs(sf.log[i] - log_stay) <= 1e-13 + 1e-15 * n[i]);
    if (i > 0) {
      const double expected = std::log(p) + (n[i] - 1) * std::log1p(-p);
      BOOST_TEST(std::fabs(pmf.log[i] - expected) <= 1e-13 + 1e-15 * n[i]);
    }
  }
  std::vector<Transition> transitions{{0, 1, 1.0}};
  for (Index i = 1; i <= 6; ++i) transitions.push_back({i, i + 1, p});
  const Model negative_binomial(graph_of(8, transitions, true));
  const std::vector<double> m{5, 6, 7, 40, 400};
  const Values found = evaluate_model(negative_binomial, Quantity::pdf, m);
  BOOST_TEST(found.out[0] == 0.0);
  for (std::size_t i = 1; i < m.size(); ++i) {
    const double expected = log_gamma(m[i]) - log_gamma(6.0) - log_gamma(m[i] - 5) +
                            6 * std::log(p) + (m[i] - 6) * std::log1p(-p);
    BOOST_TEST(std::fabs(found.log[i] - expected) <= 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(defect_atom_and_trap) {
  // 0.5 to vertex 1 (which may be trapped in 2), 0.25 absorbed at once, 0.25 defect.
  const std::vector<Transition> transitions{{0, 1, 0.5}, {0, 4, 0.25}, {1, 2, 1.0},
                                            {1, 4, 3.0}, {2, 3, 2.0},  {3, 2, 5.0}};
  const Model model(graph_of(5, transitions));
  const std::vector<double> times{0.0, 0.2, 300.0};
  const Values cdf = evaluate_model(model, Quantity::cdf, times);
  const Values sf = evaluate_model(model, Quantity::sf, times);
  const Values pdf = evaluate_model(model, Quantity::pdf, times);
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double gone = -0.5 * std::expm1(-4 * times[i]);
    BOOST_TEST(cdf.out[i] == 0.5 + 0.75 * gone, boost::test_tools::tolerance(kTolerance));
    BOOST_TEST(sf.out[i] == 0.5 - 0.75 * gone, boost::test_tools::tolerance(kTolerance));
  }
  BOOST_TEST(std::fabs(pdf.log[2] - (std::log(1.5) - 1200)) <= 1e-12);
  const Values state = evaluate_model(model, Quantity::state_probability, {0.0});
  const std::vector<double> expected{0.0, 0.5, 0.0, 0.0, 0.25};
  BOOST_TEST(state.out == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(everything_absorbed_at_once) {
  const Model model(graph_of(3, {{0, 2, 0.75}, {1, 2, 1.0}}));
  for (const double t : {0.0, 5.0}) {
    BOOST_TEST(evaluate_model(model, Quantity::pdf, {t}).out[0] == 0.0);
    BOOST_TEST(evaluate_model(model, Quantity::sf, {t}).out[0] == 0.0);
    BOOST_TEST(evaluate_model(model, Quantity::cdf, {t}).out[0] == 1.0);
    const std::vector<double> expected{0.0, 0.0, 0.75};
    BOOST_TEST(evaluate_model(model, Quantity::state_probability, {t}).out == expected,
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_tiny_defect_is_not_lost) {
  const Model model(graph_of(3, {{0, 1, 1 - 0x1p-53}, {1, 2, 1.0}}));
  const Values cdf = evaluate_model(model, Quantity::cdf, {0.0, 1e-20});
  BOOST_TEST(cdf.out[0] == 0x1p-53);
  BOOST_TEST(cdf.out[1] == 0x1p-53 + 1e-20, boost::test_tools::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(every_quantity_agrees_with_the_dense_oracle) {
  for (const models::Family& family : density::families()) {
    for (unsigned seed = 1; seed <= 3; ++seed) {
      const GraphPtr graph = models::random_model(family, seed);
      const Model model(graph);
      std::mt19937 random(seed);
      const std::vector<double> theta = models::random_theta(family, random);
      const oracle::Transient<Quad> transient(*graph, {theta.begin(), theta.end()});
      const std::vector<double> times = density::times_for(*graph, theta);
      for (const Quantity quantity : density::quantities()) {
        const Values found = evaluate_model(model, quantity, times, theta);
        std::vector<Quad> expected;
        for (const double t : times) {
          for (const Quad x : transient(quantity, Quad(t))) expected.push_back(x);
        }
        BOOST_REQUIRE(found.out.size() == expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          if (oracle::magnitude(expected[i]) < Quad(1e-290)) continue;
          oracle::check_close(found.out[i], expected[i], kTolerance,
                              family.name + ", quantity " +
                                  std::to_string(static_cast<int>(quantity)) + ", entry " +
                                  std::to_string(i));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(many_segments_of_steps) {
  // A fast pair that leaks slowly: rate * time is 33000, more than 8 segments of 4096 steps.
  const double fast = 1e4, leak = 0.7;
  const std::vector<Transition> transitions{
      {0, 1, 1.0}, {1, 2, fast}, {2, 1, fast}, {2, 3, leak}};
  const GraphPtr graph = graph_of(4, transitions);
  const Model model(graph);
  const oracle::Transient<Quad> transient(*graph, {});
  const std::vector<double> times{1e-7, 0.01, 1.0, 3.2};
  for (const Quantity quantity : density::quantities()) {
    const Values found = evaluate_model(model, quantity, times);
    std::size_t i = 0;
    for (const double t : times) {
      for (const Quad x : transient(quantity, Quad(t))) {
        oracle::check_close(found.out[i++], x, 2e-12, "time " + std::to_string(t));
      }
    }
  }
}

namespace {

// Lanes with their own theta and times are what one lane alone is, bit for bit.
template <class T>
void check_lanes(const models::Family& family) {
  constexpr int kLanes = Traits<T>::lanes;
  const GraphPtr graph = models::random_model(family, 5);
  const Model model(graph);
  std::mt19937 random(3);
  std::vector<std::vector<double>> theta, times;
  for (int l = 0; l < kLanes; ++l) {
    theta.push_back(models::random_theta(family, random));
    times.push_back(density::times_for(*graph, theta.back()));
    if (!graph->discrete) {
      for (double& t : times.back()) t *= models::uniform(random, 0.1, 1);
    }
  }
  const auto gather = [](const std::vector<std::vector<double>>& rows) {
    std::vector<T> result(rows[0].size());
    for (std::size_t i = 0; i < result.size(); ++i) {
      for (int l = 0; l < kLanes; ++l) set_lane(result[i], l, rows[at(l)][i]);
    }
    return result;
  };
  for (const Quantity quantity : density::quantities()) {
    Sweep<T> sweep(model);
    const Outcome<T> all = sweep.run(quantity, gather(theta), gather(times));
    for (int l = 0; l < kLanes; ++l) {
      const Values one = evaluate_model(model, quantity, times[at(l)], theta[at(l)]);
      for (std::size_t i = 0; i < one.out.size(); ++i) {
        const double found = lane(all.values()[i], l);
        BOOST_TEST(found == one.out[i],
                   family.name << ": " << found << ", alone " << one.out[i]);
      }
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(lanes_do_not_mix) {
  for (const models::Family& family : density::families()) {
    check_lanes<Vec<4>>(family);
    check_lanes<Vec<8>>(family);
  }
}

BOOST_AUTO_TEST_CASE(a_bad_lane_is_nan_and_disturbs_no_other) {
  const Model model(graph_of(3, {{0, 1, 1.0}, {1, 2, 1.3}}));
  using V = Vec<4>;
  V t(0.5);
  set_lane(t, 1, -1.0);
  set_lane(t, 2, kInfinity);
  set_lane(t, 3, std::numeric_limits<double>::quiet_NaN());
  for (const Quantity quantity : density::quantities()) {
    Sweep<V> sweep(model);
    const Outcome<V> outcome = sweep.run(quantity, {}, {t});
    const double alone = evaluate_model(model, quantity, {0.5}).out.back();
    BOOST_TEST(lane(outcome.values().back(), 0) == alone);
    if (quantity != Quantity::accumulated_occupancy) {  // its last entry is an absorbing vertex
      for (int l = 1; l < 4; ++l) BOOST_TEST(std::isnan(lane(outcome.values().back(), l)));
    }
  }
}

BOOST_AUTO_TEST_CASE(results_do_not_depend_on_the_unit_of_time) {
  const double unit = 0x1p-40;
  const std::vector<Transition> a{{0, 1, 0.75}, {1, 2, 0.4}, {2, 1, 1.1}, {2, 3, 0.3}, {1, 3, 2.0}};
  std::vector<Transition> b = a;
  for (std::size_t i = 1; i < b.size(); ++i) b[i].weight *= unit;
  const std::vector<double> t{0.0, 0.1, 3.0, 200.0}, s{0.0, 0.1 / unit, 3.0 / unit, 200.0 / unit};
  const Model model_a(graph_of(4, a)), model_b(graph_of(4, b));
  for (const Quantity quantity : density::quantities()) {
    const Values x = evaluate_model(model_a, quantity, t), y = evaluate_model(model_b, quantity, s);
    const double factor = quantity == Quantity::pdf                     ? unit
                          : quantity == Quantity::accumulated_occupancy ? 1 / unit
                                                                        : 1;
    for (std::size_t i = 0; i < x.out.size(); ++i) BOOST_TEST(y.out[i] == x.out[i] * factor);
  }
}

BOOST_AUTO_TEST_CASE(parts_add_up) {
  for (const models::Family& family : density::families()) {
    const GraphPtr graph = models::random_model(family, 9);
    const Model model(graph);
    std::mt19937 random(1);
    const std::vector<double> theta = models::random_theta(family, random);
    const std::vector<double> times = density::times_for(*graph, theta);
    const Values cdf = evaluate_model(model, Quantity::cdf, times, theta);
    const Values sf = evaluate_model(model, Quantity::sf, times, theta);
    const Values state = evaluate_model(model, Quantity::state_probability, times, theta);
    for (std::size_t i = 0; i < times.size(); ++i) {
      double transient = 0;
      for (Index v = 1; v < graph->n_vertices(); ++v) {
        if (!graph->is_absorbing(v)) transient += state.out[i * at(graph->n_vertices()) + at(v)];
      }
      BOOST_TEST(std::fabs(cdf.out[i] + sf.out[i] - 1) <= kTolerance, family.name);
      BOOST_TEST(std::fabs(transient - sf.out[i]) <= kTolerance * sf.out[i], family.name);
    }
  }
}

BOOST_AUTO_TEST_CASE(buffers_are_reused_without_traces_of_earlier_models) {
  const Model large(erlang(60, 2.0)), small(graph_of(3, {{0, 1, 1.0}, {1, 2, 1.3}}));
  Sweep<double> on_large(large);
  const double alone = on_large.run(Quantity::pdf, {}, {20.0}).out[0];
  Uniformization<double> sweep;
  const auto run = [&](const Model& model, Quantity quantity, double time) {
    const auto layout = phasic::detail::make_transition_layout(*model.program, quantity);
    std::vector<double> edge, start, out(1), exponent(1);
    for (const std::int32_t e : model.program->out_edge) {
      edge.push_back(model.graph().constant[at(e)]);
    }
    for (const std::int32_t e : model.program->start_edge) {
      start.push_back(model.graph().constant[at(e)]);
    }
    sweep.prepare(layout);
    sweep.forward({Span<const double>(edge), Span<const double>(start), {&time, 1}},
                  Span<double>(out), Span<double>(exponent));
    return out[0];
  };
  BOOST_TEST(run(large, Quantity::pdf, 20.0) == alone);
  BOOST_TEST(run(small, Quantity::sf, 1.0) == std::exp(-1.3), boost::test_tools::tolerance(1e-14));
  BOOST_TEST(run(small, Quantity::cdf, 1.0) == -std::expm1(-1.3),
             boost::test_tools::tolerance(1e-14));
  BOOST_TEST(run(large, Quantity::pdf, 20.0) == alone);
}

BOOST_AUTO_TEST_CASE(predictions_grow_with_the_work) {
  using namespace phasic::detail;
  const Model model(erlang(20, 1.0));
  const auto predict = [&](double time, Index n_times) {
    return predicted_operations(*model.program, Quantity::pdf, 1.0, time, n_times);
  };
  BOOST_TEST(predict(1.0, 1) < predict(100.0, 1));
  BOOST_TEST(predict(100.0, 1) < predict(100.0, 50));
  BOOST_TEST(predict(1e9, 1) > 1e10);
  BOOST_TEST(predicted_steps(true, 1.0, 1000.0) == 1001.0);
}
