// Powers of two beside the numbers: how the density sweep keeps values far below the double range.
//
// A scaled number is x * 2^e with x a T and e a whole number, stored as a double a lane. The
// exponent is a constant for differentiation. Multiplying by powers of two and reading exponent
// bits are exact.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernel/lane.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kNoScale = -1e15;  // exponent of an exact zero: below every other

template <int W>
struct LaneBits;
template <>
struct LaneBits<4> {
  typedef std::uint64_t type __attribute__((vector_size(32)));
};
template <>
struct LaneBits<8> {
  typedef std::uint64_t type __attribute__((vector_size(64)));
};

inline constexpr double kShifter = 4503599627370496.0;  // 2^52: its low bits hold a small integer

inline double clamped(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}
template <int W>
Vec<W> clamped(Vec<W> x, double low, double high) {
  using V = typename Vec<W>::Storage;
  const V lo = V{} + low, hi = V{} + high;
  const V raised = x.x < lo ? lo : x.x;
  return Vec<W>(raised > hi ? hi : raised);
}

// 2^e for whole e: 0 below the normal range, 2^max_exponent above it.
inline double power_of_two(double e, double max_exponent = 1000.0) {
  const double shifted = clamped(e, -1023.0, max_exponent) + (1023.0 + kShifter);
  std::uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits <<= 52;
  double result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
template <int W>
Vec<W> power_of_two(Vec<W> e, double max_exponent = 1000.0) {
  using Bits = typename LaneBits<W>::type;
  const Vec<W> shifted = clamped(e, -1023.0, max_exponent) + Vec<W>(1023.0 + kShifter);
  const Bits bits = reinterpret_cast<Bits>(shifted.x) << 52;
  return Vec<W>(reinterpret_cast<typename Vec<W>::Storage>(bits));
}

// floor(log2 |x|); 0 for zero and subnormal x.
inline double exponent_of(double x) {
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const std::uint64_t field = (bits >> 52) & 0x7ff;
  return field == 0 ? 0.0 : static_cast<double>(field) - 1023.0;
}
template <int W>
Vec<W> exponent_of(Vec<W> x) {
  using Bits = typename LaneBits<W>::type;
  using V = typename Vec<W>::Storage;
  const Bits field = (reinterpret_cast<Bits>(x.x) >> 52) & 0x7ff;
  const Bits number = field | 0x4330000000000000;  // 2^52 + field
  const V value = reinterpret_cast<V>(number) - (kShifter + 1023.0);
  return Vec<W>(value == V{} - 1023.0 ? V{} : value);
}

// The upper 26 bits of x, so that products of two such numbers are exact.
inline double upper_half(double x) {
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits &= 0xfffffffff8000000;
  double result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
template <int W>
Vec<W> upper_half(Vec<W> x) {
  using Bits = typename LaneBits<W>::type;
  const Bits bits = reinterpret_cast<Bits>(x.x) & 0xfffffffff8000000;
  return Vec<W>(reinterpret_cast<typename Vec<W>::Storage>(bits));
}

// a b + c, rounded once where the machine can: for sums of two products, of which a compiler would
// fuse one for lanes and the other for a single number.
#if defined(__FMA__) || defined(__FP_FAST_FMA)
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
template <int W>
Vec<W> fused(Vec<W> a, Vec<W> b, Vec<W> c) {
  Vec<W> result;
  for (int i = 0; i < W; ++i) {
    result.x[i] = __builtin_fma(a.x[i], b.x[i], c.x[i]);
  }
  return result;
}
#else
template <class Base>
Base fused(const Base& a, const Base& b, const Base& c) {
  return a * b + c;
}
#endif

// a where condition > 0, else b.
inline double where_positive(double condition, double a, double b) { return condition > 0 ? a : b; }
template <int W>
Vec<W> where_positive(Vec<W> condition, Vec<W> a, Vec<W> b) {
  return Vec<W>(condition.x > typename Vec<W>::Storage{} ? a.x : b.x);
}

// --- a T times or divided by a base number that is constant for differentiation
template <class T>
T scaled(const T& x, const typename Traits<T>::Base& factor) {
  if constexpr (Traits<T>::levels == 0) {
    return x * factor;
  } else {
    return T(scaled(x.value, factor), scaled(x.tangent, factor));
  }
}
template <class T>
T divided(const T& x, const typename Traits<T>::Base& divisor) {
  if constexpr (Traits<T>::levels == 0) {
    return x / divisor;
  } else {
    return T(divided(x.value, divisor), divided(x.tangent, divisor));
  }
}

// Largest absolute component: the value and every derivative part count.
template <class T>
typename Traits<T>::Base magnitude(const T& x) {
  if constexpr (Traits<T>::levels == 0) {
    return elementwise_max(x, -x);
  } else {
    return elementwise_max(magnitude(x.value), magnitude(x.tangent));
  }
}

template <class T>
void set_primal(T& x, const typename Traits<T>::Base& value) {
  if constexpr (Traits<T>::levels == 0) {
    x = value;
  } else {
    set_primal(x.value, value);
  }
}

// a where condition > 0, else b, derivative parts included.
template <class T>
T selected(const typename Traits<T>::Base& condition, const T& a, const T& b) {
  if constexpr (Traits<T>::levels == 0) {
    return where_positive(condition, a, b);
  } else {
    return T(selected(condition, a.value, b.value), selected(condition, a.tangent, b.tangent));
  }
}

// One lane of x, derivative parts included, becomes that of y (or is added to).
template <class T>
void copy_lane(T& x, const T& y, int i) {
  if constexpr (Traits<T>::levels == 0) {
    set_lane(x, i, lane(y, i));
  } else {
    copy_lane(x.value, y.value, i);
    copy_lane(x.tangent, y.tangent, i);
  }
}
template <class T>
void add_lane(T& x, const T& y, int i) {
  if constexpr (Traits<T>::levels == 0) {
    set_lane(x, i, lane(x, i) + lane(y, i));
  } else {
    add_lane(x.value, y.value, i);
    add_lane(x.tangent, y.tangent, i);
  }
}

}  // namespace phasic::PHASIC_ISA
