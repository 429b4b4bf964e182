// Densities by squaring: a dense oracle in quadruple precision, entry by entry; the choice of method.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "distribution/squaring.h"
#include "support/comparison.h"
#include "support/density_families.h"
#include "support/density_oracle.h"
#include "support/evaluation.h"

using namespace phasic;
using oracle::Quad;

namespace {

constexpr Quantity kQuantities[] = {Quantity::pdf, Quantity::cdf, Quantity::sf,
                                    Quantity::state_probability, Quantity::accumulated_occupancy};

Request request_of(Quantity quantity, Index n_times) {
  Request request;
  request.quantity = quantity;
  request.n_times = n_times;
  request.density = DensityMethod::squaring;
  return request;
}

}  // namespace

BOOST_AUTO_TEST_CASE(values_keep_their_relative_accuracy_entry_by_entry) {
  for (const models::Family& family : density::families()) {
    const GraphPtr graph = models::random_model(family, 1);
    const ProgramPtr program = evaluation::program_of(graph);
    std::mt19937 random(1);
    const std::vector<double> theta = models::random_theta(family, random);
    const oracle::Transient<Quad> transient(*graph, {theta.begin(), theta.end()});
    const std::vector<double> times = density::times_for(*graph, theta);
    for (const Quantity quantity : kQuantities) {
      evaluation::Inputs inputs;
      inputs.theta = theta;
      inputs.times = times;
      const std::vector<double> found =
          evaluation::run(*program, request_of(quantity, ssize(times)), 1, inputs).value;
      std::vector<Quad> expected;
      for (const double t : times) {
        for (const Quad x : transient(quantity, Quad(t))) expected.push_back(x);
      }
      BOOST_REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (oracle::magnitude(expected[i]) < Quad(1e-290)) continue;
        oracle::check_close(found[i], expected[i], 1e-12,
                            family.name + ", quantity " +
                                std::to_string(static_cast<int>(quantity)) + ", entry " +
                                std::to_string(i));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(products_of_jets_are_products_of_polynomials) {
  // (2 + 3 a + 5 b + 7 ab + 11 m + 13 ma + 17 mb + 19 mab) and its inverse, a^2 = b^2 = m^2 = 0
  const PHASIC_ISA::JetAlgebra algebra(2, 1);
  const std::vector<double> x{2, 3, 5, 7, 11, 13, 17, 19};
  std::vector<double> inverse(8), one(8);
  algebra.invert(x, inverse);
  for (const auto& p : algebra.products()) {
    one[at(p.out)] += x[at(p.left)] * inverse[at(p.right)];
  }
  BOOST_TEST(one[0] == 1.0);
  for (std::size_t i = 1; i < one.size(); ++i) BOOST_TEST(std::fabs(one[i]) < 1e-13);
}

BOOST_AUTO_TEST_CASE(products_of_matrices_of_every_shape_agree_with_plain_sums) {
  for (Index n = 1; n <= 35; n += n < 18 ? 1 : 5) {
    const PHASIC_ISA::JetAlgebra algebra(0, 0);
    PHASIC_ISA::JetMatrix left, right, out;
    left.resize(algebra, n, n);
    right.resize(algebra, n, n);
    out.resize(algebra, n, n);
    std::vector<std::int32_t> begin, end;  // a lower triangle of blocks of three
    for (Index i = 0; i < n; ++i) {
      begin.push_back(static_cast<std::int32_t>(i / 3 * 3));
      end.push_back(static_cast<std::int32_t>(std::min(i / 3 * 3 + 3, n)));
      for (Index j = 0; j < end.back(); ++j) {
        left.row(0, i)[j] = static_cast<double>((i + 2 * j) % 7);
        right.row(0, i)[j] = static_cast<double>((3 * i + j) % 5);
      }
    }
    add_product(algebra, left, right, out, {begin, end});
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < n; ++j) {
        double sum = 0;
        for (Index l = 0; l < n; ++l) sum += left.row(0, i)[l] * right.row(0, l)[j];
        BOOST_TEST(out.row(0, i)[j] == sum);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_cheaper_method_is_planned) {
  const GraphPtr graph = models::random_model(density::families()[1], 1);
  const ProgramPtr program = evaluation::program_of(graph);
  std::mt19937 random(1);
  const std::vector<double> theta = models::random_theta(density::families()[1], random);
  Request request = request_of(Quantity::pdf, 1);
  request.density = DensityMethod::automatic;
  const double unit = 1 / density::rate_of(*graph, theta);
  const auto plan = [&](double t) { return density_plan(*program, request, theta, {&t, 1}); };
  BOOST_TEST((plan(unit).method == DensityMethod::uniformization));
  BOOST_TEST((plan(1e6 * unit).method == DensityMethod::squaring));
  BOOST_TEST(plan(1e30 * unit).within_budget);
  request.density = DensityMethod::uniformization;
  BOOST_TEST(!plan(1e30 * unit).within_budget);
}
