// Loops over padded rows of doubles, one vector of eight at a time, in one fixed order of operations.
#pragma once

#include <cstring>

#include "distribution/matrix_product.h"

namespace phasic::PHASIC_ISA {

// Eight doubles in as many registers as that takes.
struct Eight {
  static constexpr int kCount = static_cast<int>(kVector) / detail_product::kNative;
  detail_product::Storage part[kCount];

  Eight() : part{} {}
  explicit Eight(const double* x) { std::memcpy(part, x, sizeof(part)); }
  void store(double* x) const { std::memcpy(x, part, sizeof(part)); }
  // this += a b
  void add_product(const Eight& a, const Eight& b) {
    for (int i = 0; i < kCount; ++i) {
      part[i] += a.part[i] * b.part[i];
    }
  }
  // this -= f a
  void subtract_multiple(double f, const Eight& a) {
    for (int i = 0; i < kCount; ++i) {
      part[i] -= f * a.part[i];
    }
  }
  void subtract_product(const Eight& a, const Eight& b) {
    for (int i = 0; i < kCount; ++i) {
      part[i] -= a.part[i] * b.part[i];
    }
  }
  [[nodiscard]] double sum() const {
    double x[kVector];
    store(x);
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
  }
};

// n is a multiple of kVector.
[[nodiscard]] inline double dot_padded(const double* a, const double* b, Index n) {
  Eight sum;
  for (Index k = 0; k < n; k += kVector) {
    sum.add_product(Eight(a + k), Eight(b + k));
  }
  return sum.sum();
}

// a -= f b
inline void subtract_padded(double f, const double* b, double* a, Index n) {
  for (Index k = 0; k < n; k += kVector) {
    Eight x(a + k);
    x.subtract_multiple(f, Eight(b + k));
    x.store(a + k);
  }
}

}  // namespace phasic::PHASIC_ISA
