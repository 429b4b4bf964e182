// Poisson weights against numbers computed with 60 digits, and their properties.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include "distribution/uniformization_series.h"

using namespace phasic;
using namespace phasic::PHASIC_ISA;

namespace {

constexpr double kRounding = std::numeric_limits<double>::epsilon() / 2;

// w_k(x) = mantissa * 2^exponent, from mpmath with 60 digits.
struct Weight {
  double x;
  Index k;
  double mantissa, exponent;
};
const std::vector<Weight> kWeights = {
    {1e-09, 0, 1.999999998, -1},
    {1e-09, 16, 1.312405791008404, -523},
    {0.001, 0, 1.99800099966675, -1},
    {0.001, 16, 1.2276235955219075, -204},
    {0.001, 48, 1.6147822252017092, -682},
    {0.7, 0, 1.986341215165638, -2},
    {0.7, 16, 1.420897254077543, -54},
    {0.7, 32, 1.8156778952645862, -136},
    {5.3, 0, 1.2778480401690155, -8},
    {5.3, 16, 1.5151425859749683, -14},
    {5.3, 48, 1.8554607951643414, -96},
    {17.25, 0, 1.0818575463058293, -25},
    {17.25, 16, 1.5154658929670948, -4},
    {17.25, 32, 1.8960927129643599, -12},
    {17.25, 96, 1.1930881190427376, -129},
    {100.1, 0, 1.5013146854220372, -145},
    {100.1, 16, 1.5810210326670926, -83},
    {100.1, 96, 1.195564821109049, -5},
    {100.1, 112, 1.22028245420229, -6},
    {100.1, 256, 1.7246088083781308, -128},
    {333.3, 0, 1.1093717336187894, -481},
    {333.3, 48, 1.3876956486414385, -282},
    {333.3, 240, 1.772415900425952, -27},
    {333.3, 336, 1.3774504247955457, -6},
    {333.3, 512, 1.8538244420687509, -66},
    {333.3, 1024, 1.9417623834692586, -669},
    {1000.7, 0, 1.2269467037526454, -1444},
    {1000.7, 16, 1.4276409598524722, -1329},
    {1000.7, 512, 1.0923123071167018, -216},
    {1000.7, 1008, 1.5660953498978631, -7},
    {1000.7, 1312, 1.9074028087920085, -71},
    {1000.7, 2000, 1.8602809316161157, -564},
    {12345.6, 11008, 1.3436353217387047, -117},
    {12345.6, 12336, 1.8321814697773324, -9},
    {12345.6, 14000, 1.4784849725294151, -162},
    {200000.0, 160000, 1.6516882550184377, -6210},
    {200000.0, 199984, 1.825846468796222, -11},
    {200000.0, 201600, 1.57457120274852, -20},
    {1000000.3333333334, 16, 1.0967061496496942, -1442421},
    {1000000.3333333334, 995200, 1.0447279518380383, -28},
    {1000000.3333333334, 1000000, 1.6340673535704735, -12},
    {1000000.3333333334, 1010000, 1.7539417513686555, -84},
    {33000000.0, 32976000, 1.5083266369703732, -27},
    {33000000.0, 33000000, 1.1378186134901733, -14},
    {1000000000.0, 999760000, 1.1272496846845748, -58},
    {1000000000.0, 1000000000, 1.6535601294933353, -17},
    {1000000000.0, 1000160000, 1.197435858818082, -35},
    {1000000000.0, 1000240000, 1.1321842807040094, -58},
};

// ln of the weight's reciprocal, roughly: what its relative error may grow with.
double depth(const Weight& w) { return -(std::log(w.mantissa) + w.exponent * std::log(2.0)); }

void check_weight(double mantissa, double exponent, const Weight& w, double roundings) {
  const double ratio = std::ldexp(mantissa / w.mantissa, static_cast<int>(exponent - w.exponent));
  const double tolerance = (roundings + 8 * std::max(0.0, depth(w))) * kRounding;
  BOOST_TEST(std::fabs(ratio - 1) <= tolerance, "x " << w.x << ", k " << w.k << ": off by "
                                                     << ratio - 1 << ", allowed " << tolerance);
}

template <class T>
void check_both_ways() {
  for (const Weight& w : kWeights) {
    T mantissa, exponent;
    poisson_anchor(static_cast<double>(w.k), T(w.x), mantissa, exponent);
    check_weight(lane(mantissa, 0), lane(exponent, 0), w, 8);
    // The same weight moved there chunk by chunk from up to 15 chunks before.
    const Index begin = std::max<Index>(0, w.k / kChunk - 15) * kChunk;
    if (lane(mantissa, 0) > 0 && begin < w.k && depth(w) < 200) {
      ChunkTables tables;
      const PoissonRate<T> rate{T(w.x)};
      poisson_anchor(static_cast<double>(begin), T(w.x), mantissa, exponent);
      for (Index c = begin / kChunk; c < w.k / kChunk; ++c) {
        tables.open(c / kSegmentChunks * kSegmentChunks);
        rate.advance(mantissa, exponent, tables.product(c));
      }
      check_weight(lane(mantissa, 0), lane(exponent, 0), w, 40);
    }
  }
}

double weight_at(double k, double x) {
  double mantissa, exponent;
  poisson_anchor(k, x, mantissa, exponent);
  return mantissa * power_of_two(exponent);
}

}  // namespace

BOOST_AUTO_TEST_CASE(powers_of_two_and_exponents_are_exact) {
  for (int e = -1022; e <= 1000; e += 7) {
    BOOST_TEST(power_of_two(static_cast<double>(e)) == std::ldexp(1.0, e));
    BOOST_TEST(lane(power_of_two(Vec<8>(e)), 5) == std::ldexp(1.0, e));
    for (const double m : {1.0, 1.5, 1.9999999999999998}) {
      BOOST_TEST(exponent_of(-std::ldexp(m, e)) == e);
      BOOST_TEST(lane(exponent_of(Vec<4>(std::ldexp(m, e))), 3) == e);
    }
  }
  BOOST_TEST(power_of_two(-1e15) == 0.0);
  BOOST_TEST(power_of_two(5000.0) == std::ldexp(1.0, 1000));
  BOOST_TEST(exponent_of(0.0) == 0.0);
}

BOOST_AUTO_TEST_CASE(elementary_functions_agree_with_the_library) {
  for (double x = 1e-300; x < 1e300; x *= 1.7) {
    const double error = positive_logarithm(x) - std::log(x);
    BOOST_TEST(std::fabs(error) <= 4 * kRounding * std::fabs(std::log(x)));
    BOOST_TEST(lane(positive_logarithm(Vec<8>(x)), 0) == positive_logarithm(x));
  }
  for (double y = -700; y < 700; y += 0.37) {
    double mantissa, exponent;
    scaled_exponential(y, mantissa, exponent);
    const double value = std::ldexp(mantissa, static_cast<int>(exponent));
    BOOST_TEST(std::fabs(value - std::exp(y)) <= 6 * kRounding * std::exp(y));
  }
}

BOOST_AUTO_TEST_CASE(weights_agree_with_sixty_digits) {
  check_both_ways<double>();
  check_both_ways<Vec<8>>();
}

BOOST_AUTO_TEST_CASE(weights_sum_to_one) {
  for (const double x : {1e-3, 0.7, 10.0, 300.0, 5e3, 1e6, 1e9}) {
    const double width = 9 * std::sqrt(x) + 40;
    const Index begin = static_cast<Index>(std::max(0.0, x - width)) / kChunk;
    const Index end = static_cast<Index>(x + width) / kChunk + 1;
    const PoissonRate<double> rate{x};
    ChunkTables tables;
    double mantissa = 0, exponent = 0;
    long double sum = 0;
    for (Index c = begin; c < end; ++c) {
      tables.open(c / kSegmentChunks * kSegmentChunks);
      if ((c - begin) % kAnchorChunks == 0) {
        poisson_anchor(static_cast<double>(c * kChunk), x, mantissa, exponent);
      }
      double power = std::ldexp(mantissa, static_cast<int>(exponent));
      for (Index j = 0; j < kChunk; ++j, power *= x) {
        sum += static_cast<long double>(power) * tables.factor(c)[j];
      }
      rate.advance(mantissa, exponent, tables.product(c));
    }
    BOOST_TEST(std::fabs(static_cast<double>(sum - 1)) <= 2e-15, "x " << x);
  }
}

BOOST_AUTO_TEST_CASE(at_rate_zero_the_first_weight_is_one) {
  BOOST_TEST(weight_at(0.0, 0.0) == 1.0);
  BOOST_TEST(weight_at(16.0, 0.0) == 0.0);
}

BOOST_AUTO_TEST_CASE(tail_bounds_hold) {
  for (const double x : {0.5, 3.0, 40.0, 700.0}) {
    std::vector<double> w{std::exp(-x)};
    for (Index k = 1; k < 2000; ++k) w.push_back(w.back() * x / static_cast<double>(k));
    for (Index k = 1; k < 1500; k += 3) {
      double above = 0, below = 0;
      for (Index j = 1999; j >= k; --j) above += w[at(j)];
      for (Index j = 0; j < k; ++j) below += w[at(j)];
      const double here = static_cast<double>(k);
      if (w[at(k)] > 1e-290) {
        BOOST_TEST(above <= w[at(k)] * upper_tail_factor(here, x) * (1 + 1e-12));
        BOOST_TEST(below <= w[at(k)] * lower_tail_factor(here, x) * (1 + 1e-12));
      }
    }
    for (const double log_tail : {5.0, 36.0, 100.0}) {
      const Index edge = static_cast<Index>(poisson_right_edge(x, log_tail));
      double above = 0;
      for (Index j = 1999; j > edge; --j) above += w[at(j)];
      BOOST_TEST(above <= std::exp(-log_tail));
    }
  }
  BOOST_TEST(poisson_right_edge(0.0, 36.0) <= 3.0);
  BOOST_TEST(poisson_right_edge(1e-6, 36.0) <= 5.0);
}
