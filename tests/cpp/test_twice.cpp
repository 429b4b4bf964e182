// Numbers of twice the working precision against quadruple precision.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <random>

#include "distribution/twice.h"
#include "support/quad.h"

using namespace phasic;
using namespace phasic::PHASIC_ISA;
using oracle::Quad;

namespace {

constexpr double kUnit = 0x1p-103;  // the oracle has 113 bits

Quad value(const Twice<double>& x) { return static_cast<Quad>(x.high) + x.low; }
Quad magnitude(Quad x) { return x < 0 ? -x : x; }

Twice<double> random_number(std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  const double high = std::ldexp(uniform(random), static_cast<int>(40 * uniform(random)));
  return Twice<double>::of_sum(high, high * 0x1p-54 * uniform(random));
}

void check(const Twice<double>& found, Quad expected, Quad scale, const char* what) {
  const Quad error = magnitude(value(found) - expected);
  BOOST_TEST((error <= kUnit * scale), what << ": off by "
                                            << static_cast<double>(error / scale));
  BOOST_TEST(found.high + found.low == found.high);
}

}  // namespace

BOOST_AUTO_TEST_CASE(operations_keep_twice_the_digits) {
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    const Twice<double> a = random_number(random), b = random_number(random);
    const Quad x = value(a), y = value(b), size = magnitude(x) + magnitude(y);
    check(a + b, x + y, size, "sum");
    check(a - b, x - y, size, "difference");
    check(a * b, x * y, magnitude(x * y), "product");
    check(a * b.high, x * b.high, magnitude(x * b.high), "product with a double");
    check(a / b.high, x / b.high, magnitude(x / b.high), "quotient by a double");
  }
}

BOOST_AUTO_TEST_CASE(lanes_work_alike) {
  std::mt19937 random(6);
  const Twice<double> a = random_number(random), b = random_number(random);
  const Twice<Vec<4>> c(Vec<4>(a.high), Vec<4>(a.low)), d(Vec<4>(b.high), Vec<4>(b.low));
  const Twice<double> one = a * b + a / b.high;
  const Twice<Vec<4>> all = c * d + c / d.high;
  BOOST_TEST(lane(all.high, 2) == one.high);
  BOOST_TEST(lane(all.low, 2) == one.low);
}

BOOST_AUTO_TEST_CASE(dual_numbers_are_widened_part_by_part) {
  const Dual<double> x(1.5, 0.25);
  const auto y = widened<Precise<Dual<double>>>(x);
  const Dual<double> square = rounded<Dual<double>>(y * y);
  BOOST_TEST(square.value == 2.25);
  BOOST_TEST(square.tangent == 0.75);
}
