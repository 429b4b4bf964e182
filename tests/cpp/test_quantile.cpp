// The search for a root on laws that are known in closed form, and the quantiles of small models.
#include <boost/test/unit_test.hpp>

#include <cmath>

#include "distribution/root_search.h"
#include "phasic/quantile.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using detail::RootSearch;

namespace {

// A mixture of exponentials: share of rate 1, the rest of rate `fast`.
struct Mixture {
  double share, fast;
  [[nodiscard]] double sf(double t) const {
    return share * std::exp(-t) + (1 - share) * std::exp(-fast * t);
  }
  [[nodiscard]] double cdf(double t) const {
    return -share * std::expm1(-t) - (1 - share) * std::expm1(-fast * t);
  }
  [[nodiscard]] double pdf(double t) const {
    return share * std::exp(-t) + (1 - share) * fast * std::exp(-fast * t);
  }
};

int rounds_of(RootSearch& search, const Mixture& law) {
  int rounds = 0;
  for (; !search.is_done() && rounds < 300; ++rounds) {
    search.update(law.cdf(search.t()), law.sf(search.t()), law.pdf(search.t()));
  }
  return rounds;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_root_is_found_from_any_guess_on_flat_and_steep_laws) {
  for (const Mixture& law : {Mixture{1, 1}, Mixture{0.5, 1e6}, Mixture{0.5, 1e15}, Mixture{1e-9, 1e3}}) {
    for (const double level : {1e-250, 1e-9, 0.3, 0.5, 0.5000001, 0.999, 1 - 0x1p-53}) {
      for (const double guess : {1e-30, 1.0, 1e30}) {
        RootSearch search;
        search.begin(level, 0, 1, guess, false);
        BOOST_TEST(rounds_of(search, law) < 150);
        BOOST_TEST(search.is_done());
        const double t = search.t();
        const double error = level > 0.5 ? law.sf(t) - (1 - level) : law.cdf(t) - level;
        const double scale = std::min(level, 1 - level) + t * law.pdf(t);
        BOOST_TEST(std::abs(error) <= 8e-16 * scale);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_good_guess_takes_few_rounds) {
  for (const double level : {1e-12, 0.1, 0.5, 0.9, 1 - 1e-12}) {
    RootSearch search;
    search.begin(level, 0, 1, 1, false);
    BOOST_TEST(rounds_of(search, {1, 1}) <= 8);
  }
}

BOOST_AUTO_TEST_CASE(steps_of_a_geometric_law) {
  for (const double p : {0.5, 0.01, 1e-9}) {
    const auto alive = [p](double t) { return std::exp(t * std::log1p(-p)); };
    const auto dead = [p](double t) { return -std::expm1(t * std::log1p(-p)); };
    for (const double level : {0.1, 0.5, 0.9, 0.999999}) {
      RootSearch search;
      search.begin(level, 0, 1, 1 / p, true);
      for (int i = 0; i < 200 && !search.is_done(); ++i) {
        const double t = search.t();
        search.update(dead(t), alive(t), p * alive(t - 1));
      }
      BOOST_TEST(search.is_done());
      BOOST_TEST(alive(search.t()) <= (1 - level) * (1 + 2e-14) + 0x1p-54);
      BOOST_TEST(alive(search.t() - 1) > 1 - level);
      BOOST_TEST(search.t() == std::floor(search.t()));
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_levels_and_statuses) {
  GraphBuilder builder(1);
  const std::int32_t one = 1, two = 2;
  const Index a = builder.find_or_create_vertex({&one, 1}), end = builder.find_or_create_vertex({&two, 1});
  builder.add_edge(0, a, 0.75);
  const double rate = 1;
  builder.add_edge(a, end, Span<const double>(&rate, 1));
  const ProgramPtr program = evaluation::program_of(builder.freeze());
  QuantileRequest request;
  request.n_levels = 3;
  constexpr Index kRows = 20;  // more than one group
  std::vector<double> theta, levels{0.25, 0.625, 1}, value(at(3 * kRows));
  for (Index row = 0; row < kRows; ++row) theta.push_back(static_cast<double>(row));
  theta[2] = -1;
  std::vector<QuantileStatus> status(at(kRows));
  const auto run = [&] {
    quantile(*program, request, {&kRows, 1}, {theta.data(), false, 1, {1}},
             {levels.data(), false, 3, {0}}, {value.data(), false}, status.data());
  };
  run();
  for (Index row = 3; row < kRows; ++row) {
    BOOST_TEST(value[at(3 * row)] == 0);
    BOOST_TEST(value[at(3 * row + 1)] == std::log(2.0) / theta[at(row)],
               boost::test_tools::tolerance(1e-15));
    BOOST_TEST(std::isinf(value[at(3 * row + 2)]));
    BOOST_TEST((status[at(row)] == QuantileStatus::ok));
  }
  BOOST_TEST(value[0] == 0);  // a trap: nothing but the defect is absorbed
  BOOST_TEST(std::isinf(value[1]));
  BOOST_TEST(std::isnan(value[6]));
  BOOST_TEST((static_cast<int>(status[2]) == static_cast<int>(RowStatus::negative_weight)));
  levels[1] = 1.5;
  run();
  BOOST_TEST((status[5] == QuantileStatus::bad_level));
  BOOST_TEST(std::isnan(value[15]));
  request.n_levels = 0;
  BOOST_CHECK_THROW(run(), Error);
}
