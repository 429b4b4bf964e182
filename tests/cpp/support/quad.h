// Numbers of the oracle: quadruple precision (113 bits), and first-order jets over any number.
#pragma once

namespace oracle {

#if defined(__SIZEOF_FLOAT128__)
__extension__ typedef __float128 Quad;
#else
using Quad = long double;  // 113 bits on AArch64
#endif

// value + slope * epsilon with epsilon^2 = 0. Jet<Jet<T>> carries mixed second derivatives, and so on.
template <class T>
struct Jet {
  T value{}, slope{};
  Jet() = default;
  Jet(double v) : value(v) {}
  Jet(T v, T s) : value(v), slope(s) {}
  Jet& operator+=(const Jet& o) { return *this = *this + o; }
  friend Jet operator+(const Jet& a, const Jet& b) { return {a.value + b.value, a.slope + b.slope}; }
  friend Jet operator-(const Jet& a, const Jet& b) { return {a.value - b.value, a.slope - b.slope}; }
  friend Jet operator*(const Jet& a, const Jet& b) {
    return {a.value * b.value, a.value * b.slope + a.slope * b.value};
  }
  friend Jet operator/(const Jet& a, const Jet& b) {
    const T q = a.value / b.value;
    return {q, (a.slope - q * b.slope) / b.value};
  }
};

using Jet1 = Jet<Quad>;
using Jet2 = Jet<Jet1>;
using Jet3 = Jet<Jet2>;

inline Quad primal(Quad x) { return x; }
template <class T>
Quad primal(const Jet<T>& x) { return primal(x.value); }

// The coefficient of the product of all epsilons: the mixed derivative along every seeded direction.
inline Quad top(Quad x) { return x; }
template <class T>
Quad top(const Jet<T>& x) { return top(x.slope); }

// x + direction * epsilon of level `level` (0 = outermost). A plain number has no level.
inline void seed(Quad&, int, double) {}
template <class T>
void seed(Jet<T>& x, int level, double direction) {
  if (level == 0) {
    x.slope += T(direction);
  } else {
    seed(x.value, level - 1, direction);
  }
}

}  // namespace oracle
