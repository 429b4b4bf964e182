// Numbers that neither under- nor overflow: a mantissa and a whole exponent of their own.
//
// Unbounded<M> has the face of a number type, M being Twice<double>: Dual and the templates of the
// density sweep take it. Mantissas are kept between 2^-100 and 2^100, which is rarely left, so that
// most operations only compare exponents. One lane only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "distribution/twice.h"

namespace phasic::PHASIC_ISA {

template <class M>
struct Unbounded {
  static constexpr std::int64_t kNegligible = 600;  // bits that a term may lie below another
  M mantissa;
  std::int64_t exponent;

  Unbounded() = default;
  Unbounded(double value) : mantissa(0.0), exponent(0) {
    int e = 0;
    mantissa = M(std::frexp(value, &e));
    exponent = e;
  }
  Unbounded(const M& m, std::int64_t e) : mantissa(m), exponent(e) {
    const double size = std::fabs(primal(m));
    if (!(size > kLeast && size < kMost)) {
      normalise(size);
    }
  }

  [[nodiscard]] bool is_zero() const { return primal(mantissa) == 0; }
  // floor(log2 |x|) of an x that is not 0.
  [[nodiscard]] std::int64_t magnitude_exponent() const {
    return exponent + std::ilogb(primal(mantissa));
  }
  // x * 2^-e as a double: 0 or infinite where it is out of range.
  [[nodiscard]] double plain(std::int64_t e = 0) const {
    constexpr std::int64_t kMostShift = 9999;
    const std::int64_t shift = std::clamp(exponent - e, -kMostShift, kMostShift);
    return std::ldexp(primal(mantissa), static_cast<int>(shift));
  }

  Unbounded& operator+=(const Unbounded& o) { return *this = *this + o; }
  Unbounded& operator-=(const Unbounded& o) { return *this = *this - o; }
  Unbounded& operator*=(const Unbounded& o) { return *this = *this * o; }
  friend Unbounded operator-(const Unbounded& a) {
    Unbounded result = a;
    result.mantissa = -a.mantissa;
    return result;
  }
  friend Unbounded operator+(const Unbounded& a, const Unbounded& b) {
    if (a.exponent == b.exponent) {
      return {a.mantissa + b.mantissa, a.exponent};
    }
    if (a.is_zero() || b.is_zero()) {
      return a.is_zero() ? b : a;
    }
    return a.exponent > b.exponent ? sum_of_ordered(a, b) : sum_of_ordered(b, a);
  }
  friend Unbounded operator-(const Unbounded& a, const Unbounded& b) { return a + (-b); }
  friend Unbounded operator*(const Unbounded& a, const Unbounded& b) {
    return {a.mantissa * b.mantissa, a.exponent + b.exponent};
  }
  friend Unbounded operator/(const Unbounded& a, double b) {
    int e = 0;
    const double m = std::frexp(b, &e);
    return {a.mantissa / m, a.exponent - e};
  }

 private:
  static constexpr double kLeast = 0x1p-100, kMost = 0x1p100;

  static Unbounded sum_of_ordered(const Unbounded& a, const Unbounded& b) {
    const std::int64_t shift = b.exponent - a.exponent;
    if (shift < -kNegligible) {
      return a;
    }
    return {a.mantissa + b.mantissa * power_of_two(static_cast<double>(shift)), a.exponent};
  }
  void normalise(double size) {
    if (size == 0) {
      exponent = 0;
    } else if (std::isfinite(size)) {
      const int e = std::ilogb(size);
      mantissa = mantissa * power_of_two(static_cast<double>(-e));
      exponent += e;
    }
  }
};

template <class M>
struct Traits<Unbounded<M>> {
  using Base = double;
  static constexpr int lanes = 1;
  static constexpr int levels = 0;
};
// As a double, which may be 0 or infinite where the number is not.
template <class M>
double primal(const Unbounded<M>& x) {
  return x.plain();
}
template <class M>
struct IsTwice<Unbounded<M>> : IsTwice<M> {};

template <class M>
struct IsUnbounded<Unbounded<M>> : std::true_type {};

template <class M>
Unbounded<M> absolute(const Unbounded<M>& x) {
  return primal(x.mantissa) < 0 ? -x : x;
}
// Is |x| <= |y|?
template <class M>
bool at_most(const Unbounded<M>& x, const Unbounded<M>& y) {
  return x.is_zero() || primal((absolute(x) - absolute(y)).mantissa) <= 0;
}

// T with numbers that are twice as precise and unbounded.
template <class T>
struct UnboundedType {
  using type = Unbounded<Twice<T>>;
};
template <class T>
struct UnboundedType<Dual<T>> {
  using type = Dual<typename UnboundedType<T>::type>;
};

// A number that is constant for differentiation, and the innermost value of x.
template <class N, class M>
N unbounded_constant(const Unbounded<M>& x) {
  if constexpr (Traits<N>::levels == 0) {
    return x;
  } else {
    return N(unbounded_constant<decltype(N::value)>(x), decltype(N::tangent)(0.0));
  }
}
template <class N>
const auto& innermost(const N& x) {
  if constexpr (Traits<N>::levels == 0) {
    return x;
  } else {
    return innermost(x.value);
  }
}
// Is x exactly 0, derivative parts included?
template <class N>
bool is_nothing(const N& x) {
  if constexpr (Traits<N>::levels == 0) {
    return x.is_zero();
  } else {
    return is_nothing(x.value) && is_nothing(x.tangent);
  }
}
// x times a constant.
template <class N, class M>
N times(const N& x, const Unbounded<M>& factor) {
  if constexpr (Traits<N>::levels == 0) {
    return x * factor;
  } else {
    return N(times(x.value, factor), times(x.tangent, factor));
  }
}
// x * 2^-e in doubles.
template <class T, class N>
T plain(const N& x, std::int64_t e) {
  if constexpr (Traits<N>::levels == 0) {
    return x.plain(e);
  } else {
    return T(plain<decltype(T::value)>(x.value, e), plain<decltype(T::tangent)>(x.tangent, e));
  }
}

}  // namespace phasic::PHASIC_ISA
