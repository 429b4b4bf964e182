// Comparison of doubles with the oracle's numbers.
#pragma once

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

#include "phasic/base.h"
#include "support/quad.h"

namespace oracle {

inline Quad magnitude(Quad x) { return x < 0 ? -x : x; }

inline std::vector<Quad> widen(const double* values, phasic::Index count) {
  return {values, values + count};
}

// |found - expected| <= tolerance * scale; found must be a number.
inline void check_within(double found, Quad expected, Quad scale, double tolerance,
                         const std::string& where) {
  const bool close = magnitude(expected - found) <= tolerance * scale;
  BOOST_TEST(close, where << ": found " << found << ", expected " << static_cast<double>(expected)
                          << ", off by "
                          << static_cast<double>(magnitude(expected - found) / scale));
}

// |found - expected| <= tolerance * |expected|.
inline void check_close(double found, Quad expected, double tolerance, const std::string& where) {
  check_within(found, expected, magnitude(expected), tolerance, where);
}

}  // namespace oracle
