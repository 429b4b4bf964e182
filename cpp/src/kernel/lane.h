// Number types of the kernels: lanes (one vector register of parameter vectors) and dual numbers.
//
// Kernels are templates over a number type T: double (the reference), Vec<W> (W parameter vectors at
// once) or Dual of either, nested for higher derivatives. Everything here is header-only and is
// compiled once per instruction set inside namespace PHASIC_ISA, so that no inline function compiled
// for a wide instruction set can be picked by the linker for a machine without it.
#pragma once

#include <cmath>
#include <cstdint>

#include "phasic/base.h"

#ifndef PHASIC_ISA
#define PHASIC_ISA isa_generic
#endif

namespace phasic::PHASIC_ISA {

// GCC ignores a vector_size that depends on a template parameter, hence one specialisation a width.
template <int W>
struct VecStorage;
template <>
struct VecStorage<4> {
  typedef double type __attribute__((vector_size(32)));
};
template <>
struct VecStorage<8> {
  typedef double type __attribute__((vector_size(64)));
};

// W doubles in one GCC/Clang vector; arithmetic is elementwise.
template <int W>
struct Vec {
  using Storage = typename VecStorage<W>::type;
  Storage x;
  Vec() = default;
  Vec(double value) : x(value - Storage{}) {}  // unlike + 0, - 0 costs nothing
  explicit Vec(Storage value) : x(value) {}
  double operator[](int lane) const { return x[lane]; }
  void set(int lane, double value) { x[lane] = value; }
  Vec& operator+=(Vec o) { x += o.x; return *this; }
  Vec& operator-=(Vec o) { x -= o.x; return *this; }
  Vec& operator*=(Vec o) { x *= o.x; return *this; }
  Vec& operator/=(Vec o) { x /= o.x; return *this; }
  friend Vec operator+(Vec a, Vec b) { return Vec(a.x + b.x); }
  friend Vec operator-(Vec a, Vec b) { return Vec(a.x - b.x); }
  friend Vec operator*(Vec a, Vec b) { return Vec(a.x * b.x); }
  friend Vec operator/(Vec a, Vec b) { return Vec(a.x / b.x); }
  friend Vec operator-(Vec a) { return Vec(-a.x); }
};

// Two registers' worth of lanes, so that one chain of divisions and products hides the other's latency.
template <>
struct Vec<16> {
  Vec<8> low, high;
  Vec() = default;
  Vec(double value) : low(value), high(value) {}
  Vec(Vec<8> a, Vec<8> b) : low(a), high(b) {}
  double operator[](int lane) const { return lane < 8 ? low[lane] : high[lane - 8]; }
  Vec& operator+=(const Vec& o) { low += o.low; high += o.high; return *this; }
  Vec& operator-=(const Vec& o) { low -= o.low; high -= o.high; return *this; }
  Vec& operator*=(const Vec& o) { low *= o.low; high *= o.high; return *this; }
  friend Vec operator+(const Vec& a, const Vec& b) { return {a.low + b.low, a.high + b.high}; }
  friend Vec operator-(const Vec& a, const Vec& b) { return {a.low - b.low, a.high - b.high}; }
  friend Vec operator*(const Vec& a, const Vec& b) { return {a.low * b.low, a.high * b.high}; }
  friend Vec operator/(const Vec& a, const Vec& b) { return {a.low / b.low, a.high / b.high}; }
  friend Vec operator-(const Vec& a) { return {-a.low, -a.high}; }
};

// First-order dual number over T; Dual<Dual<T>> carries mixed second derivatives.
template <class T>
struct Dual {
  T value, tangent;
  Dual() = default;
  Dual(double v) : value(v), tangent(0.0) {}
  Dual(T v, T t) : value(v), tangent(t) {}
  Dual& operator+=(Dual o) { value += o.value; tangent += o.tangent; return *this; }
  Dual& operator-=(Dual o) { value -= o.value; tangent -= o.tangent; return *this; }
  Dual& operator*=(Dual o) { return *this = *this * o; }
  Dual& operator/=(Dual o) { return *this = *this / o; }
  friend Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.tangent + b.tangent}; }
  friend Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.tangent - b.tangent}; }
  friend Dual operator*(Dual a, Dual b) {
    return {a.value * b.value, a.value * b.tangent + a.tangent * b.value};
  }
  friend Dual operator/(Dual a, Dual b) {
    const T q = a.value / b.value;
    return {q, (a.tangent - q * b.tangent) / b.value};
  }
  friend Dual operator-(Dual a) { return {-a.value, -a.tangent}; }
};

// Traits: the lane type underneath, the number of lanes and of dual levels.
template <class T>
struct Traits {  // double
  using Base = double;
  static constexpr int lanes = 1;
  static constexpr int levels = 0;
};
template <int W>
struct Traits<Vec<W>> {
  using Base = Vec<W>;
  static constexpr int lanes = W;
  static constexpr int levels = 0;
};
template <class T>
struct Traits<Dual<T>> {
  using Base = typename Traits<T>::Base;
  static constexpr int lanes = Traits<T>::lanes;
  static constexpr int levels = Traits<T>::levels + 1;
};

// The value without any derivative part.
inline double primal(double x) { return x; }
template <int W>
Vec<W> primal(Vec<W> x) { return x; }
template <class T>
auto primal(const Dual<T>& x) { return primal(x.value); }

// Coefficient of e1 e2 .. ek: the mixed derivative along all tangents.
inline double top(double x) { return x; }
template <int W>
Vec<W> top(Vec<W> x) { return x; }
template <class T>
auto top(const Dual<T>& x) { return top(x.tangent); }

// True if some level has a tangent other than 0 in this lane.
template <class T>
bool has_tangent(const T&, int) { return false; }
template <class T>
bool has_tangent(const Dual<T>& x, int i);

inline double lane(double x, int) { return x; }
template <int W>
double lane(Vec<W> x, int i) { return x.x[i]; }
template <class T>
bool has_tangent(const Dual<T>& x, int i) {
  return lane(primal(x.tangent), i) != 0 || has_tangent(x.value, i);
}
inline void set_lane(double& x, int, double v) { x = v; }
template <int W>
void set_lane(Vec<W>& x, int i, double v) { x.x[i] = v; }
inline double lane(const Vec<16>& x, int i) { return x[i]; }
inline void set_lane(Vec<16>& x, int i, double v) { (i < 8 ? x.low : x.high).x[i % 8] = v; }

// A base number as a T with zero derivative parts.
template <class T>
T constant(const typename Traits<T>::Base& x) {
  if constexpr (Traits<T>::levels == 0) {
    return x;
  } else {
    return T(constant<decltype(T::value)>(x), decltype(T::tangent)(0.0));
  }
}
// x with tangent t added along level `level` (0 = innermost).
template <class T>
void add_tangent(T& x, int level, const typename Traits<T>::Base& t) {
  if constexpr (Traits<T>::levels == 0) {
    (void)x, (void)level, (void)t;
  } else if (level == Traits<T>::levels - 1) {
    x.tangent += constant<decltype(T::tangent)>(t);
  } else {
    add_tangent(x.value, level, t);
  }
}

// 1 / s where s > 0, else 0: a state that cannot leave contributes nothing (traps are found apart).
inline double reciprocal_or_zero(double s) { return s > 0 ? 1 / s : 0; }
template <int W>
Vec<W> reciprocal_or_zero(Vec<W> s) {
  using V = typename Vec<W>::Storage;
  const auto positive = s.x > V{};
  const V safe = positive ? s.x : V{} + 1.0;
  return Vec<W>(positive ? 1.0 / safe : V{});
}
inline Vec<16> reciprocal_or_zero(const Vec<16>& s) {
  return {reciprocal_or_zero(s.low), reciprocal_or_zero(s.high)};
}
template <class T>
Dual<T> reciprocal_or_zero(const Dual<T>& s) {
  const T r = reciprocal_or_zero(s.value);
  return {r, -(r * r * s.tangent)};
}

// What takes the place of a reciprocal pivot of 0 where multipliers are formed, and the exit rate that
// goes with it: the last vertex of a trap has nothing left to leave by, so it gets exit rate 1, which
// no absorbing vertex sees. What flows into the trap then counts as leaving where it came from.
inline double or_one(double inverse) { return inverse == 0 ? 1 : inverse; }
inline double exit_of_trap(double inverse) { return inverse == 0 ? 1 : 0; }
template <int W>
Vec<W> or_one(Vec<W> inverse) {
  return Vec<W>(inverse.x == 0.0 ? typename Vec<W>::Storage{} + 1.0 : inverse.x);
}
template <int W>
Vec<W> exit_of_trap(Vec<W> inverse) {
  using V = typename Vec<W>::Storage;
  return Vec<W>(inverse.x == 0.0 ? V{} + 1.0 : V{});
}
// x, or 0 where the pivot is.
template <int W>
Vec<W> zero_of_trap(Vec<W> inverse, Vec<W> x) {
  return Vec<W>(inverse.x == 0.0 ? typename Vec<W>::Storage{} : x.x);
}
inline Vec<16> or_one(const Vec<16>& x) { return {or_one(x.low), or_one(x.high)}; }
inline Vec<16> exit_of_trap(const Vec<16>& x) {
  return {exit_of_trap(x.low), exit_of_trap(x.high)};
}
template <class T>
Dual<T> or_one(const Dual<T>& inverse) {
  return {or_one(inverse.value), inverse.tangent};  // the tangent of 0 is 0
}
template <class T>
Dual<T> exit_of_trap(const Dual<T>& inverse) {
  return {exit_of_trap(inverse.value), T(0.0)};
}

// All three of a pivot at once; where it is not positive, the numbers of a trap.
template <class T>
struct PivotInverse {
  T inverse, multiplier, exit_of_trap;
};
template <class T>
PivotInverse<T> invert_pivot(const T& pivot) {
  const T inverse = reciprocal_or_zero(pivot);
  return {inverse, or_one(inverse), exit_of_trap(inverse)};
}
template <int W>
PivotInverse<Vec<W>> invert_pivot(Vec<W> pivot) {
  using V = typename Vec<W>::Storage;
  const V zero{}, one = zero + 1.0, quotient = one / pivot.x;  // does not wait for the comparison
  const auto positive = pivot.x > zero;
  return {Vec<W>(positive ? quotient : zero), Vec<W>(positive ? quotient : one),
          Vec<W>(positive ? zero : one)};
}
inline PivotInverse<Vec<16>> invert_pivot(const Vec<16>& pivot) {
  const auto low = invert_pivot(pivot.low), high = invert_pivot(pivot.high);
  return {{low.inverse, high.inverse},
          {low.multiplier, high.multiplier},
          {low.exit_of_trap, high.exit_of_trap}};
}

inline double elementwise_max(double a, double b) { return a > b ? a : b; }
template <int W>
Vec<W> elementwise_max(Vec<W> a, Vec<W> b) { return Vec<W>(a.x > b.x ? a.x : b.x); }

inline double elementwise_min(double a, double b) { return a < b ? a : b; }
template <int W>
Vec<W> elementwise_min(Vec<W> a, Vec<W> b) { return Vec<W>(a.x < b.x ? a.x : b.x); }

inline Vec<16> elementwise_max(const Vec<16>& a, const Vec<16>& b) {
  return {elementwise_max(a.low, b.low), elementwise_max(a.high, b.high)};
}
inline Vec<16> elementwise_min(const Vec<16>& a, const Vec<16>& b) {
  return {elementwise_min(a.low, b.low), elementwise_min(a.high, b.high)};
}

inline double max_lane(double x) { return x; }
template <int W>
double max_lane(Vec<W> x) {
  double m = x.x[0];
  for (int i = 1; i < W; ++i) m = x.x[i] > m ? x.x[i] : m;
  return m;
}

}  // namespace phasic::PHASIC_ISA
