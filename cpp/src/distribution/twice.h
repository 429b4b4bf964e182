// Numbers of twice the working precision, an unevaluated sum high + low with |low| <= ulp(high) / 2.
//
// Twice<B> has the face of a number type over the base B (double or lanes), so that Dual and the
// templates of the density sweep take it. Relative error of an operation: about 2^-104; a sum of
// numbers of either sign has it relative to the larger one. Products are split exactly by a fused
// multiply-add where the machine has one.
//
// T. J. Dekker, A floating-point technique for extending the available precision (1971).
#pragma once

#include <type_traits>

#include "distribution/uniformization_scale.h"

namespace phasic::PHASIC_ISA {

#if defined(__FMA__) || defined(__FP_FAST_FMA)
inline double product_error(double a, double b, double p) { return __builtin_fma(a, b, -p); }
template <int W>
Vec<W> product_error(Vec<W> a, Vec<W> b, Vec<W> p) {
  Vec<W> result;
  for (int i = 0; i < W; ++i) {
    result.x[i] = __builtin_fma(a.x[i], b.x[i], -p.x[i]);
  }
  return result;
}
#else
// a b - p for p = a b rounded. Nothing is contracted here since there is no fused multiply-add.
template <class B>
B product_error(const B& a, const B& b, const B& p) {
  const B a_high = upper_half(a), b_high = upper_half(b);
  const B a_low = a - a_high, b_low = b - b_high;
  return ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low;
}
#endif

template <class B>
struct Twice {
  B high, low;
  Twice() = default;
  Twice(const B& value) : high(value), low(0.0) {}
  Twice(const B& h, const B& l) : high(h), low(l) {}

  // a + b for |a| >= |b|.
  static Twice of_ordered(const B& a, const B& b) {
    const B sum = a + b;
    return {sum, b - (sum - a)};
  }
  static Twice of_sum(const B& a, const B& b) {
    const B sum = a + b, part = sum - a;
    return {sum, (a - (sum - part)) + (b - part)};
  }
  static Twice of_product(const B& a, const B& b) {
    const B p = a * b;
    return {p, product_error(a, b, p)};
  }

  Twice& operator+=(const Twice& o) { return *this = *this + o; }
  Twice& operator-=(const Twice& o) { return *this = *this - o; }
  Twice& operator*=(const Twice& o) { return *this = *this * o; }
  friend Twice operator-(const Twice& a) { return {-a.high, -a.low}; }
  friend Twice operator+(const Twice& a, const Twice& b) {
    const Twice s = of_sum(a.high, b.high);
    return of_ordered(s.high, s.low + (a.low + b.low));
  }
  friend Twice operator-(const Twice& a, const Twice& b) { return a + (-b); }
  friend Twice operator*(const Twice& a, const Twice& b) {
    const Twice p = of_product(a.high, b.high);
    return of_ordered(p.high, p.low + fused(a.low, b.high, B(a.high * b.low)));
  }
  friend Twice operator*(const Twice& a, const B& b) {
    const Twice p = of_product(a.high, b);
    return of_ordered(p.high, p.low + a.low * b);
  }
  friend Twice operator/(const Twice& a, const B& b) {
    const B quotient = a.high / b;
    const Twice p = of_product(quotient, b);
    return of_ordered(quotient, (((a.high - p.high) - p.low) + a.low) / b);
  }
};

template <class B>
struct Traits<Twice<B>> {
  using Base = B;
  static constexpr int lanes = Traits<B>::lanes;
  static constexpr int levels = 0;
};
template <class B>
B primal(const Twice<B>& x) {
  return x.high;
}

// The number type of twice the precision of T, level by level.
template <class T>
struct PreciseType {
  using type = Twice<T>;
};
template <class T>
struct PreciseType<Dual<T>> {
  using type = Dual<typename PreciseType<T>::type>;
};
template <class T>
using Precise = typename PreciseType<T>::type;

// Does N have exponents of its own, beyond those of a double?
template <class N>
struct IsUnbounded : std::false_type {};
template <class T>
struct IsUnbounded<Dual<T>> : IsUnbounded<T> {};

template <class N>
struct IsTwice : std::false_type {};
template <class B>
struct IsTwice<Twice<B>> : std::true_type {};
template <class T>
struct IsTwice<Dual<T>> : IsTwice<T> {};

// x as an N, which is T or has more digits or range, and back.
template <class N, class T>
N widened(const T& x) {
  if constexpr (std::is_same_v<N, T>) {
    return x;
  } else if constexpr (Traits<T>::levels == 0) {
    return N(x);
  } else {
    return N(widened<decltype(N::value)>(x.value), widened<decltype(N::tangent)>(x.tangent));
  }
}
template <class T, class N>
T rounded(const N& x) {
  if constexpr (std::is_same_v<N, T>) {
    return x;
  } else if constexpr (Traits<T>::levels == 0) {
    return primal(x);
  } else {
    return T(rounded<decltype(T::value)>(x.value), rounded<decltype(T::tangent)>(x.tangent));
  }
}

}  // namespace phasic::PHASIC_ISA
