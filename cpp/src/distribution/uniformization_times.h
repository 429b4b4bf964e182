// The times of one lane block: which of their number types the weights need.
//
// Poisson weights are functions of x = q t. They are base numbers if no time carries a derivative
// part, a T if some does, and a Dual<T> if the slope in t is wanted as well.
#pragma once

#include <limits>
#include <tuple>
#include <type_traits>
#include <vector>

#include "distribution/uniformization_scale.h"

namespace phasic::PHASIC_ISA {

inline constexpr double kLargestRate = 2147483647;  // q t beyond it is not evaluated

// 1 in lanes whose number satisfies the test, else 0.
template <class Base, class Test>
Base lanes_where(const Base& x, Test test) {
  Base result(0.0);
  for (int i = 0; i < Traits<Base>::lanes; ++i) {
    set_lane(result, i, test(lane(x, i)) ? 1.0 : 0.0);
  }
  return result;
}

// x with NaN in the lanes where valid is 0.
template <class T>
void mark_invalid(T& x, const typename Traits<T>::Base& valid) {
  using Base = typename Traits<T>::Base;
  set_primal(x, where_positive(valid, primal(x), Base(std::numeric_limits<double>::quiet_NaN())));
}

// True if some time carries a derivative part.
template <class T>
bool any_tangent(Span<const T> times) {
  if constexpr (Traits<T>::levels > 0) {
    for (const T& t : times) {
      T rest = t;
      set_primal(rest, typename Traits<T>::Base(0.0));
      if (max_lane(magnitude(rest)) != 0) {
        return true;
      }
    }
  }
  return false;
}

template <class X>
struct WeightType {
  using type = X;
};

// One F for each number type that weights beside a T can have.
template <template <class, class> class F, class T>
using EachWeight =
    std::conditional_t<Traits<T>::levels == 0, std::tuple<F<T, T>, F<T, Dual<T>>>,
                       std::tuple<F<T, typename Traits<T>::Base>, F<T, T>, F<T, Dual<T>>>>;

// Calls f(WeightType<X>) with the X that is needed.
template <class T, class F>
void with_weight_type(bool slopes, bool tangents, F&& f) {
  if (slopes) {
    f(WeightType<Dual<T>>{});
  } else if (tangents) {
    f(WeightType<T>{});
  } else {
    f(WeightType<typename Traits<T>::Base>{});
  }
}

template <class X, class T>
X rate_as(const T& rate) {
  if constexpr (Traits<X>::levels == 0) {
    return primal(rate);
  } else if constexpr (Traits<X>::levels == Traits<T>::levels) {
    return rate;
  } else {
    return X(rate, T(1.0));
  }
}

// rates = q t, and 0 in lanes where some number is out of range: these get valid = 0.
template <class T>
void form_rates(Span<const T> times, const typename Traits<T>::Base& q,
                typename Traits<T>::Base& valid, std::vector<T>& rates) {
  using Base = typename Traits<T>::Base;
  rates.resize(at(times.size()));
  for (Index i = 0; i < times.size(); ++i) {
    rates[at(i)] = scaled(times[i], q);
    valid *= lanes_where(primal(rates[at(i)]),
                         [](double x) { return x >= 0 && x <= kLargestRate; });
  }
  for (T& rate : rates) {
    set_primal(rate, where_positive(valid, primal(rate), Base(0.0)));
  }
}

}  // namespace phasic::PHASIC_ISA
