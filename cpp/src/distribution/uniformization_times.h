// The times of one lane block.
//
// A time t0 + d, d its derivative parts, is taken as f(t0) + f'(t0) d + f''(t0) d^2 / 2 + ..: weights
// need t0 alone, and the derivatives in time are read off the chain.
#pragma once

#include <limits>
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

// The derivative parts of t alone.
template <class T>
T nilpotent_part(const T& t) {
  T rest = t;
  set_primal(rest, typename Traits<T>::Base(0.0));
  return rest;
}

// sum over d = 0 .. order of derivative(d) step^d / d!
template <class T, class Derivative>
T taylor_sum(const T& step, int order, Derivative&& derivative) {
  T sum = derivative(0), power(1.0);
  for (int d = 1; d <= order; ++d) {
    power = scaled(power * step, typename Traits<T>::Base(1.0 / d));
    sum += derivative(d) * power;
  }
  return sum;
}
// step^d / d!
template <class T>
T taylor_weight(const T& step, int d) {
  T power(1.0);
  for (int i = 1; i <= d; ++i) {
    power = scaled(power * step, typename Traits<T>::Base(1.0 / i));
  }
  return power;
}

template <class T>
typename Traits<T>::Base longest_of(Span<const T> times) {
  typename Traits<T>::Base longest(0.0);
  for (const T& t : times) {
    longest = elementwise_max(longest, primal(t));
  }
  return longest;
}

// rates = q t, and 0 in lanes where some number is out of range: these get valid = 0.
template <class T>
void form_rates(Span<const T> times, const typename Traits<T>::Base& q,
                typename Traits<T>::Base& valid,
                std::vector<typename Traits<T>::Base>& rates) {
  using Base = typename Traits<T>::Base;
  rates.resize(at(times.size()));
  for (Index i = 0; i < times.size(); ++i) {
    rates[at(i)] = primal(times[i]) * q;
    valid *= lanes_where(rates[at(i)], [](double x) { return x >= 0 && x <= kLargestRate; });
  }
  for (Base& rate : rates) {
    rate = where_positive(valid, rate, Base(0.0));
  }
}

}  // namespace phasic::PHASIC_ISA
