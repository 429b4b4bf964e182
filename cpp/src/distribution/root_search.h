// The search for one quantile: what to try next, given the distribution at what was tried last.
//
// 1. Below the median the cdf is compared, above it the survival function, so that neither tail cancels.
// 2. A try that reaches the level bounds the root from above, any other from below.
// 3. Steps are Newton's where the function is nearly straight: log F against log t in the lower tail (a
//    power), log S against t in the upper one (an exponential). A step out of bounds is replaced by
//    bisection, and so is the third that halves neither the bounds nor the step before; without an upper
//    bound t grows.
// 4. Continuous time ends at rounding: a step, the bounds or the residual. Discrete time ends when the
//    bounds are neighbours.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace phasic::detail {

class RootSearch {
 public:
  // level: in (F(0), 1); limit: the probability of absorption at all; guess: > 0.
  void begin(double level, double atom, double limit, double guess, bool discrete) noexcept {
    level_ = level;
    atom_ = atom;
    rest_ = 1 - limit;
    discrete_ = discrete;
    t_ = discrete ? std::max(1.0, std::round(guess)) : guess;
    low_ = 0;
    high_ = step_ = kInfinity;
    slow_ = 0;
    done_ = false;
  }
  void finish(double t) noexcept {
    t_ = t;
    done_ = true;
  }

  [[nodiscard]] double t() const noexcept { return t_; }  // to try; the root once is_done()
  [[nodiscard]] bool is_done() const noexcept { return done_; }
  [[nodiscard]] bool is_upper() const noexcept { return level_ > 0.5; }

  // Whether a distribution of these values has reached the level. In discrete time equality is up to the
  // rounding of the values, and of the level, which is a double.
  [[nodiscard]] bool reaches(double cdf, double sf) const noexcept {
    const double relative = discrete_ ? kJumpTolerance : 0;
    const double absolute = discrete_ ? 0x1p-54 : 0;
    return is_upper() ? sf <= (1 - level_) * (1 + relative) + absolute
                      : cdf >= level_ * (1 - relative);
  }

  // What was found at t().
  void update(double cdf, double sf, double pdf) noexcept {
    if (done_) {
      return;
    }
    const double width = high_ - low_;
    (reaches(cdf, sf) ? high_ : low_) = t_;
    const double residual = is_upper() ? sf / (1 - level_) - 1 : cdf / level_ - 1;
    if (discrete_ ? high_ - low_ <= 1
                  : std::abs(residual) <= kRounding || high_ <= low_ * (1 + 2 * kRounding)) {
      return finish(discrete_ ? high_ : t_);
    }
    double next = newton(cdf, sf, pdf);
    const double step = std::abs(next - t_);
    slow_ = high_ - low_ > 0.5 * width && !(step < 0.5 * step_) ? slow_ + 1 : 0;
    step_ = step;
    if (!discrete_ && next > low_ && next < high_ && step <= kRounding * t_) {
      return finish(next);
    }
    if (discrete_) {
      next = std::ceil(next);
      next = next <= low_ ? low_ + 1 : next >= high_ ? high_ - 1 : next;
    }
    if (high_ == kInfinity) {
      t_ = next > low_ ? std::min(next, kGrowth * t_) : kGrowth * t_;
    } else if (slow_ >= 3 || !(next > low_ && next < high_)) {
      t_ = middle();
      slow_ = 0;
    } else {
      t_ = next;
    }
    done_ = !(t_ <= std::numeric_limits<double>::max());
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static constexpr double kRounding = std::numeric_limits<double>::epsilon();
  static constexpr double kJumpTolerance = 64 * kRounding;
  static constexpr double kGrowth = 8;

  [[nodiscard]] double newton(double cdf, double sf, double pdf) const noexcept {
    if (is_upper()) {
      const double rest = sf - rest_, wanted = 1 - level_ - rest_;
      return t_ + std::log(rest / wanted) * (rest / pdf);
    }
    const double grown = cdf - atom_, wanted = level_ - atom_;
    return t_ * std::exp(std::log(wanted / grown) * (grown / (t_ * pdf)));
  }

  [[nodiscard]] double middle() const noexcept {
    if (discrete_) {
      return low_ + std::floor((high_ - low_) / 2);
    }
    if (low_ == 0) {
      return high_ / kGrowth;
    }
    return high_ > 4 * low_ ? std::sqrt(low_) * std::sqrt(high_) : low_ + (high_ - low_) / 2;
  }

  double level_ = 0.5, atom_ = 0, rest_ = 0;
  double t_ = 1, low_ = 0, high_ = kInfinity;
  double step_ = kInfinity;  // length of the last step
  int slow_ = 0;
  bool discrete_ = false, done_ = true;
};

}  // namespace phasic::detail
