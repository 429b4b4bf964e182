// Poisson weights w_k(x) = e^-x x^k / k! without loss, at any x and in any number of lanes.
//
// 1. An anchor w_k, k = 0 or a multiple of kChunk, comes from Loader's saddle-point form
//    w_k = exp(-D(k, x) - delta(k)) / sqrt(2 pi k): no difference of large logarithms.
// 2. From one chunk of kChunk steps to the next the weight is multiplied by x^kChunk (held in twice
//    the working precision) and by the product of the reciprocals 1 / (k + 1) (rounded once).
// 3. Weights are scaled numbers (mantissa and power of two), so that far tails neither under- nor
//    overflow.
// Relative error of a weight: about (2 + D(k, x)) units of rounding.
//
// C. Loader, Fast and accurate computation of binomial probabilities (2000).
#pragma once

#include <cmath>

#include "distribution/uniformization_scale.h"

namespace phasic::PHASIC_ISA {

inline constexpr Index kChunk = 16;         // steps between two looks at scales and weights
inline constexpr Index kAnchorChunks = 16;  // chunks that one anchor serves

// ln n! - (n ln n - n + ln(2 pi n) / 2), n >= 16.
inline double stirling_error(double n) {
  const double z = 1 / (n * n);
  return (1.0 / 12 -
          z * (1.0 / 360 -
               z * (1.0 / 1260 - z * (1.0 / 1680 - z * (1.0 / 1188 - z * (691.0 / 360360)))))) /
         n;
}

// ln x for positive normal x.
template <class Base>
Base positive_logarithm(const Base& x) {
  const Base e = exponent_of(x * 1.4142135623730951);  // x / 2^e in [1/sqrt 2, sqrt 2)
  const Base m = x * power_of_two(-e);
  const Base s = (m - 1.0) / (m + 1.0);
  const Base z = s * s;
  Base series(1.0 / 23);
  for (int odd = 21; odd >= 3; odd -= 2) {
    series = series * z + 1.0 / odd;
  }
  const Base rest = (s * z * series + s) * 2.0;
  return e * 0.69314718055994529 + rest;
}

// e^y as mantissa in [1/sqrt 2, sqrt 2] and exponent.
template <class Base>
void scaled_exponential(const Base& y, Base& mantissa, Base& exponent) {
  constexpr double kRounder = 1.5 * kShifter;
  const Base shifted = y * 1.4426950408889634 + kRounder;
  exponent = shifted - kRounder;
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  const Base r = (y - exponent * kLn2High) - exponent * kLn2Low;
  Base series(1.0 / 14);
  for (int i = 13; i >= 1; --i) {
    series = (series * r + 1.0) * (1.0 / i);
  }
  mantissa = series * r + 1.0;
}

// k ln(k / x) + x - k, the deviance of the Poisson distribution. x > 0. With v = (k - x) / (k + x)
// it is (k - x) v + 2 k (atanh v - v); the series keeps its relative accuracy where the logarithm
// does not, for |v| < 0.4.
template <class Base>
Base deviance(double k, const Base& x) {
  const Base difference = Base(k) - x;
  const Base sum = x + k;
  const Base v = difference / sum;
  const Base z = v * v;
  Base series(1.0 / 45);
  for (int odd = 43; odd >= 3; odd -= 2) {
    series = series * z + 1.0 / odd;
  }
  const Base near = fused(v * z * series, Base(2 * k), difference * v);
  const Base far = positive_logarithm(Base(k) / x) * k - difference;
  return where_positive(Base(0.16) - z, near, far);
}

// w_k(x) for k = 0 or k >= 16 as mantissa (primal in [1, 2), or 0) and exponent.
inline constexpr double kSmallestRate = 1e-290;
template <class Base>
void poisson_anchor(double k, const Base& x, Base& mantissa, Base& exponent) {
  Base m;
  if (k == 0) {
    scaled_exponential(-x, m, exponent);
  } else {
    scaled_exponential(-deviance(k, elementwise_max(x, Base(kSmallestRate))), m, exponent);
    constexpr double kTwoPi = 6.283185307179586;
    m = where_positive(x, m * (std::exp(-stirling_error(k)) / std::sqrt(kTwoPi * k)), Base(0.0));
  }
  const Base e = exponent_of(m);
  mantissa = m * power_of_two(-e);
  exponent += e;
}

// Pr(N >= k) <= w_k * upper_tail_factor(k, x), and Pr(N < k) <= w_k * lower_tail_factor(k, x):
// geometric series. Infinite where the side is not a tail.
inline double upper_tail_factor(double k, double x) {
  return k + 1 > x ? (k + 1) / (k + 1 - x) : std::numeric_limits<double>::infinity();
}
inline double lower_tail_factor(double k, double x) {
  return k < x + 1 ? k / (x + 1 - k) : std::numeric_limits<double>::infinity();
}

// A k beyond which the Poisson tail is below exp(-log_tail) (Bernstein; for small x from x^k / k!).
inline double poisson_right_edge(double x, double log_tail) {
  if (x < 1) {
    double k = 1, log_bound = 0;
    do {
      log_bound += std::log(x > 0 ? x / k : 1e-300);
      k += 1;
    } while (log_bound > -log_tail);
    return k;
  }
  const double third = log_tail / 3;
  return std::ceil(x + third + std::sqrt(third * third + 2 * x * log_tail)) + 1;
}

// x prepared for moving a weight from one chunk to the next.
template <class Base>
struct PoissonRate {
  Base x;
  Base power;           // (x / 2^e)^kChunk
  Base power_low;       // what it lacks to the exact power
  Base power_exponent;  // kChunk * e

  PoissonRate() = default;
  explicit PoissonRate(const Base& rate) : x(rate) {
    const Base e = exponent_of(rate);
    power = rate * power_of_two(-e);
    power_low = 0.0;
    for (Index i = 1; i < kChunk; i *= 2) {
      const Base upper = upper_half(power);
      const Base lower = power - upper;
      const Base leading = upper * upper;  // exact
      const Base least = power * power_low * 2.0;
      const Base less = lower * lower + least;
      const Base rest = upper * lower * 2.0 + less;
      power = leading + rest;
      power_low = rest - (power - leading);
    }
    power_exponent = e * static_cast<double>(kChunk);
  }

  // w_k becomes w_(k + kChunk); factor is the product of 1 / (k + 1) .. 1 / (k + kChunk).
  void advance(Base& mantissa, Base& exponent, double factor) const {
    const Base w = mantissa * factor;
    const Base low = w * power_low;
    mantissa = w * power + low;
    const Base e = exponent_of(mantissa);
    mantissa = mantissa * power_of_two(-e);
    exponent += e + power_exponent;
  }
};

}  // namespace phasic::PHASIC_ISA
