// Derivatives of the density sweep: closed forms, jets over a dense oracle in quadruple precision,
// and the adjoint against tangents.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "support/comparison.h"
#include "support/density_families.h"
#include "support/density_oracle.h"
#include "support/sweep.h"

using namespace sweep;
using oracle::Jet1;
using oracle::Jet2;
using oracle::magnitude;
using oracle::Quad;
using D = Dual<double>;
using DD = Dual<D>;

namespace {

// Relative to the largest of the entries that are compared. Rounding grows with (rate * time)^2 in
// second derivatives.
constexpr double kTolerance = 1e-10;
constexpr double kOracleFloor = 1e-18;  // the oracle's own rounding, over the tolerance

std::vector<double> random_direction(std::size_t n, std::mt19937& random) {
  std::vector<double> direction(n);
  for (double& x : direction) x = models::uniform(random, -1, 1);
  return direction;
}

// A model with a parameter vector, times and directions in both.
struct Case {
  std::string name;
  GraphPtr graph;
  Model model;
  std::vector<double> theta, times, theta_direction, time_direction;

  Case(const models::Family& family, unsigned seed)
      : name(family.name), graph(models::random_model(family, seed)), model(graph) {
    std::mt19937 random(seed);
    theta = models::random_theta(family, random);
    times = density::times_for(*graph, theta);
    theta_direction = random_direction(theta.size(), random);
    time_direction = random_direction(times.size(), random);
    for (std::size_t i = 0; i < times.size(); ++i) {
      time_direction[i] *= graph->discrete ? 0 : times[i];
    }
  }
};

// values[i] + directions[i] * epsilon along every level of T.
template <class T>
std::vector<T> seeded(const std::vector<double>& values, const std::vector<double>& directions) {
  std::vector<T> result;
  for (std::size_t i = 0; i < values.size(); ++i) {
    T x(values[i]);
    for (int level = 0; level < Traits<T>::levels; ++level) add_tangent(x, level, directions[i]);
    result.push_back(x);
  }
  return result;
}
template <class T>
std::vector<T> jets(const std::vector<double>& values, const std::vector<double>& directions,
                    int levels) {
  std::vector<T> result;
  for (std::size_t i = 0; i < values.size(); ++i) {
    T x(values[i]);
    for (int level = 0; level < levels; ++level) oracle::seed(x, level, directions[i]);
    result.push_back(x);
  }
  return result;
}

void check_tangents(const Case& c, Quantity quantity) {
  Sweep<DD> sweep(c.model);
  const std::vector<DD> found =
      sweep.run(quantity, seeded<DD>(c.theta, c.theta_direction),
                seeded<DD>(c.times, c.time_direction)).values();
  const oracle::Transient<Jet2> transient(*c.graph, jets<Jet2>(c.theta, c.theta_direction, 2));
  std::size_t i = 0;
  for (const Jet2& t : jets<Jet2>(c.times, c.time_direction, 2)) {
    const std::vector<Jet2> expected = transient(quantity, t);
    // Probabilities of absorbing vertices near 1 have derivatives near 0 to rounding only.
    const bool state = quantity == Quantity::state_probability;
    Quad scale1 = state ? 0.01 : kOracleFloor, scale2 = state ? 10 : kOracleFloor;
    for (const Jet2& x : expected) {
      scale1 = std::max(scale1, magnitude(x.value.slope));
      scale2 = std::max(scale2, std::max(magnitude(x.slope.slope), scale1));
    }
    for (const Jet2& x : expected) {
      const std::string where = c.name + ", quantity " +
                                std::to_string(static_cast<int>(quantity)) + ", entry " +
                                std::to_string(i);
      oracle::check_within(found[i].value.tangent, x.value.slope, scale1, kTolerance, where);
      oracle::check_within(found[i].tangent.tangent, x.slope.slope, scale2, kTolerance,
                           where + ", second derivative");
      ++i;
    }
  }
}

// Gradient of <bar, results> in theta and times: <gradient, direction> = <bar, tangent>, the same
// one level up (Hessian-vector products), and the value itself is that of a sweep without adjoint.
void check_adjoint(const Case& c, Quantity quantity, bool moving_times) {
  std::mt19937 random(17);
  const std::vector<double> bar =
      random_direction(at(c.model.size(quantity, ssize(c.times))), random);
  const std::vector<double> time_direction =
      moving_times ? c.time_direction : std::vector<double>(c.times.size(), 0.0);
  const auto theta = seeded<DD>(c.theta, c.theta_direction);
  const auto times = seeded<DD>(c.times, time_direction);
  Sweep<DD> forward(c.model);
  const std::vector<DD> tangent = forward.run(quantity, theta, times).values();
  Sweep<D> reverse(c.model);
  const Outcome<D> outcome = reverse.run(quantity, seeded<D>(c.theta, c.theta_direction),
                                         seeded<D>(c.times, time_direction), as<D>(bar));
  double first = 0, second = 0, scale1 = 1e-250, scale2 = 1e-250;
  const auto add = [&](double x, double& sum, double& scale, double sign) {
    sum += sign * x;
    scale = std::max(scale, std::fabs(x));
  };
  for (std::size_t i = 0; i < bar.size(); ++i) {
    add(bar[i] * tangent[i].value.tangent, first, scale1, 1);
    add(bar[i] * tangent[i].tangent.tangent, second, scale2, 1);
  }
  for (std::size_t i = 0; i < c.theta.size(); ++i) {
    add(outcome.theta_bar[i].value * c.theta_direction[i], first, scale1, -1);
    add(outcome.theta_bar[i].tangent * c.theta_direction[i], second, scale2, -1);
  }
  for (std::size_t i = 0; i < c.times.size() && !c.graph->discrete; ++i) {
    add(outcome.times_bar[i].value * time_direction[i], first, scale1, -1);
    add(outcome.times_bar[i].tangent * time_direction[i], second, scale2, -1);
  }
  const std::string where = c.name + ", quantity " + std::to_string(static_cast<int>(quantity));
  BOOST_TEST(std::fabs(first) <= kTolerance * scale1, where << ": off by " << first / scale1);
  BOOST_TEST(std::fabs(second) <= kTolerance * scale2, where << ": off by " << second / scale2);
  Sweep<double> plain(c.model);
  const std::vector<double> value = plain.run(quantity, c.theta, c.times).values();
  for (std::size_t i = 0; i < value.size(); ++i) {
    BOOST_TEST(std::fabs(outcome.values()[i].value - value[i]) <= 1e-13 * value[i] + 1e-300, where);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(exponential_in_rate_and_time) {
  // f = a e^-at with a = 1.3 + e, t moved likewise: mixed second derivatives in closed form.
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v < 3; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  const double one = 1.0;
  builder.add_edge(1, 2, Span<const double>(&one, 1));
  const Model model(builder.freeze());
  const double a = 1.3;
  for (const double t : {0.0, 1e-7, 0.4, 20.0, 500.0}) {
    const DD rate(D(a, 1.0), D(0.0, 0.0)), time(D(t, 0.0), D(1.0, 0.0));
    Sweep<DD> sweep(model);
    const DD f = sweep.run(Quantity::pdf, {rate}, {time}).values()[0];
    const DD s = sweep.run(Quantity::sf, {rate}, {time}).values()[0];
    const DD g = sweep.run(Quantity::cdf, {rate}, {time}).values()[0];
    const double e = std::exp(-a * t);
    const auto tolerance = boost::test_tools::tolerance(1e-12);
    BOOST_TEST(f.value.tangent == (1 - a * t) * e, tolerance);
    BOOST_TEST(f.tangent.value == -a * a * e, tolerance);
    BOOST_TEST(f.tangent.tangent == (a * a * t - 2 * a) * e, tolerance);
    BOOST_TEST(s.value.tangent == -t * e, tolerance);
    BOOST_TEST(s.tangent.value == -a * e, tolerance);
    BOOST_TEST(s.tangent.tangent == (a * t - 1) * e, tolerance);
    BOOST_TEST(g.value.tangent == t * e, tolerance);
    BOOST_TEST(g.tangent.value == a * e, tolerance);
  }
}

BOOST_AUTO_TEST_CASE(log_densities_beyond_the_double_range) {
  // Erlang-n with rate a: d log f / d a = n / a - t, d log f / d t = (n - 1) / t - a.
  GraphBuilder builder(1);
  const Index n = 150;
  for (std::int32_t v = 1; v <= n + 1; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  const double one = 1.0;
  for (Index i = 1; i <= n; ++i) builder.add_edge(i, i + 1, Span<const double>(&one, 1));
  const Model model(builder.freeze());
  const double a = 1.25;
  for (const double t : {1e-5, 1e-2, 1.0, 300.0, 2000.0, 30000.0}) {
    Sweep<D> sweep(model);
    const Outcome<D> tangent = sweep.run(Quantity::pdf, {D(a, 1.0)}, {D(t)});
    const auto tolerance = boost::test_tools::tolerance(1e-11);
    BOOST_TEST(tangent.out[0].tangent / tangent.out[0].value == 150 / a - t, tolerance);
    Sweep<double> reverse(model);
    const Outcome<double> gradient =
        reverse.run(Quantity::pdf, {a}, {t}, {1.0}, Cotangent::of_logarithm);
    BOOST_TEST(gradient.theta_bar[0] == 150 / a - t, tolerance);
    BOOST_TEST(gradient.times_bar[0] == 149 / t - a, tolerance);
    // Hessian of the logarithm, from the dual adjoint: -n / a^2.
    Sweep<D> hessian(model);
    const Outcome<D> second =
        hessian.run(Quantity::pdf, {D(a, 1.0)}, {D(t)}, {D(1.0)}, Cotangent::of_logarithm);
    BOOST_TEST(std::fabs(second.theta_bar[0].tangent + 150 / (a * a)) <= 1e-13 * (14400 + t * t));
  }
}

BOOST_AUTO_TEST_CASE(distribution_functions_near_one_keep_small_derivatives) {
  // Two stages of rate a: sf = (1 + at) e^-at, d sf / d a = -a t^2 e^-at, also where either is 1.
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v < 4; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  const double one = 1.0;
  builder.add_edge(1, 2, Span<const double>(&one, 1));
  builder.add_edge(2, 3, Span<const double>(&one, 1));
  const Model model(builder.freeze());
  const double a = 2.0;
  for (const double t : {1e-9, 1e-3, 1.0, 40.0, 200.0}) {
    const double expected = a * t * t * std::exp(-a * t);
    const auto tolerance = boost::test_tools::tolerance(1e-11);
    for (const Quantity quantity : {Quantity::cdf, Quantity::sf}) {
      const double sign = quantity == Quantity::cdf ? 1 : -1;
      Sweep<D> forward(model);
      BOOST_TEST(forward.run(quantity, {D(a, 1.0)}, {D(t)}).out[0].tangent == sign * expected,
                 tolerance);
      Sweep<double> reverse(model);
      const Outcome<double> outcome = reverse.run(quantity, {a}, {t}, {1.0});
      BOOST_TEST(outcome.theta_bar[0] == sign * expected, tolerance);
      BOOST_TEST(outcome.times_bar[0] == sign * a * a * t * std::exp(-a * t), tolerance);
    }
  }
}

BOOST_AUTO_TEST_CASE(tangents_agree_with_the_dense_oracle) {
  for (const models::Family& family : density::families()) {
    const Case c(family, 11);
    for (const Quantity quantity : density::quantities()) check_tangents(c, quantity);
  }
}

BOOST_AUTO_TEST_CASE(adjoints_agree_with_tangents) {
  for (const models::Family& family : density::families()) {
    for (unsigned seed = 1; seed <= 4; ++seed) {
      const Case c(family, seed);
      for (const Quantity quantity : density::quantities()) {
        check_adjoint(c, quantity, true);
        check_adjoint(c, quantity, false);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(adjoint_over_checkpoints_and_segments) {
  // Rate times time 20000: several segments and many checkpoints; the decay needs rescaling.
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v < 4; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  const double fast[] = {1e3, 0.0}, leak[] = {0.0, 1.0};
  builder.add_edge(1, 2, Span<const double>(fast, 2));
  builder.add_edge(2, 1, Span<const double>(fast, 2));
  builder.add_edge(2, 3, Span<const double>(leak, 2));
  const GraphPtr graph = builder.freeze();
  const Model model(graph);
  const std::vector<double> theta{1.0, 40.0}, times{1e-3, 1.0, 20.0};
  for (const Quantity quantity : density::quantities()) {
    const Index width = model.size(quantity, 1);
    for (Index i = 0; i < 3; ++i) {
      for (Index u = 0; u < width; ++u) {
        std::vector<double> bar(at(3 * width), 0.0);
        bar[at(i * width + u)] = 1;
        Sweep<double> reverse(model);
        const Outcome<double> outcome = reverse.run(quantity, theta, times, bar);
        Quad expected[2];
        Quad scale = quantity == Quantity::state_probability ? 0.01 : kOracleFloor;
        for (int k = 0; k < 2; ++k) {
          const std::vector<double> direction{k == 0 ? 1.0 : 0.0, k == 1 ? 1.0 : 0.0};
          const oracle::Transient<Jet1> transient(*graph, jets<Jet1>(theta, direction, 1));
          expected[k] = transient(quantity, Jet1(times[at(i)]))[at(u)].slope;
          scale = std::max(scale, magnitude(expected[k]));
        }
        for (int k = 0; k < 2; ++k) {
          oracle::check_within(outcome.theta_bar[at(k)], expected[k], scale, kTolerance,
                               "quantity " + std::to_string(static_cast<int>(quantity)) +
                                   ", time " + std::to_string(i) + ", entry " + std::to_string(u));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(lanes_of_the_adjoint_do_not_mix) {
  using V = Vec<8>;
  const Case c(density::families()[5], 2);
  for (const Quantity quantity : density::quantities()) {
    std::vector<V> theta(c.theta.size()), times(c.times.size());
    std::vector<std::vector<double>> theta_of(8), times_of(8);
    for (int l = 0; l < 8; ++l) {
      for (std::size_t i = 0; i < theta.size(); ++i) {
        theta_of[at(l)].push_back(c.theta[i] * (1 + 0.1 * l));
        set_lane(theta[i], l, theta_of[at(l)].back());
      }
      for (std::size_t i = 0; i < times.size(); ++i) {
        times_of[at(l)].push_back(c.times[i] * (2 - 0.2 * l));
        set_lane(times[i], l, times_of[at(l)].back());
      }
    }
    const std::vector<double> bar(at(c.model.size(quantity, ssize(c.times))), 1.0);
    Sweep<V> sweep(c.model);
    const Outcome<V> all = sweep.run(quantity, theta, times, as<V>(bar));
    for (int l = 0; l < 8; ++l) {
      Sweep<double> single(c.model);
      const Outcome<double> one = single.run(quantity, theta_of[at(l)], times_of[at(l)], bar);
      for (std::size_t i = 0; i < theta.size(); ++i) {
        BOOST_TEST(lane(all.theta_bar[i], l) == one.theta_bar[i]);
      }
      for (std::size_t i = 0; i < times.size(); ++i) {
        BOOST_TEST(lane(all.times_bar[i], l) == one.times_bar[i]);
      }
    }
  }
}
