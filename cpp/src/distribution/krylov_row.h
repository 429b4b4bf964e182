// pdf, cdf and sf of one parameter vector from shift-invert Krylov spaces.
//
// 1. Times are cut into windows (T/512, T]; each has a space of its own with gamma = T/32. At t = 0
//    the generator is applied instead.
// 2. With start a, generator S, exit rates s, Z = (I - gamma S)^-1: sf = a e^(St) 1 from the space of
//    1; cdf = 1 - sf. pdf = a e^(St) s = a Z^-1 e^(St) Z s from the space of Z s, whose entries are at
//    most 1/gamma however fast the exits are.
// 3. Derivatives in theta are parts of the space (krylov_space.h), in t powers of the projected
//    generator on steps that are short and smooth (krylov_exponential.h).
// 4. The dimension grows by 8 until the results at times T/2048 2^i agree with those before, and with
//    those of half the step; then at the times that are asked for. What they differ by, with an
//    allowance for rounding, is the error.
// 5. Tangents are divided by the relative change of rates that they cause, or else of results
//    (krylov_model.h).
// Accuracy is relative to the largest value over all times, and to the largest derivative; in theta, if
// it is larger, to the largest value times these changes.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "distribution/krylov.h"
#include "distribution/krylov_exponential.h"
#include "distribution/krylov_model.h"
#include "distribution/krylov_space.h"

namespace phasic::PHASIC_ISA {

template <class T>
class KrylovRow {
 public:
  using Input = phasic::detail::KrylovInput;
  using Report = phasic::detail::KrylovReport;

  Report run(const Input& in, Span<double> out) {
    in_ = &in;
    n_times_ = in.times.size();
    order_.resize(at(n_times_));
    std::iota(order_.begin(), order_.end(), Index{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](Index a, Index b) { return in.times[a] > in.times[b]; });
    space_.resize(*in.program);
    model_.load(*in.program, in.theta, n_times_ > 0 ? in.times[order_[0]] : 0.0);
    run_windows(out);
    if (!report_.converged && model_.raise_units(out.subspan(0, kParts * n_times_))) {
      run_windows(out);
    }
    return report_;
  }

 private:
  using Model = KrylovModel<T>;
  static constexpr Index kParts = Model::kParts;
  static constexpr Index kFirstDimension = 16, kMoreDimensions = 8;
  static constexpr double kStop = 1e-11, kStopSlope = 1e-9;  // shares at which a space is large enough
  static constexpr double kRestError = 40;  // a rest of 5/4 steps errs by at most as many whole ones
  static constexpr double kGamma = 1.0 / 32;  // of the longest time
  static constexpr double kRounding = 4e-14, kVectorRounding = 2e-15, kDifferenceRounding = 4e-15,
                          kMatrixRounding = 2e-16;
  static constexpr int kLeastDoublings = 11, kMostDoublings = 17;  // steps of T / 2048 and less

  [[nodiscard]] Index orders() const { return in_->time_order + 1; }
  // Results (order, parts) in one count. Of those in parts, all of them together are what is asked for.
  [[nodiscard]] static bool matters(Index e) { return e % kParts == kParts - 1; }
  [[nodiscard]] static bool is_value(Index e) { return kParts == 1 && e == 0; }

  void run_windows(Span<double> out) {
    std::fill(out.begin(), out.end(), 0.0);
    error_.assign(at(orders() * kParts), 0.0);
    time_error_.assign(at(out.size()), 0.0);
    report_ = {};
    at_zero(out);
    for (std::size_t i = 0; i < order_.size() && in_->times[order_[i]] > 0;) {
      const double longest = in_->times[order_[i]];
      std::vector<Index> window;
      for (; i < order_.size() && in_->times[order_[i]] > longest / phasic::detail::kKrylovWindow; ++i) {
        window.push_back(order_[i]);
      }
      run_window(longest, window, out);
    }
    settle(out);
  }

  [[nodiscard]] std::vector<T> first_vector() const {
    return in_->quantity == Quantity::pdf ? model_.exits()
                                          : std::vector<T>(at(in_->program->n_positions), T(1.0));
  }

  void at_zero(Span<double> out) const {
    for (Index i = 0; i < n_times_; ++i) {
      if (in_->times[i] == 0) {
        std::vector<T> x = first_vector();
        for (Index order = 0; order < orders(); ++order) {
          for (Index parts = 0; parts < kParts; ++parts) {
            out[(order * kParts + parts) * n_times_ + i] = Model::part(model_.started(x), parts) * model_.unit(parts);
          }
          x = model_.generated(x);
        }
      }
    }
  }

  // --- one window
  void run_window(double longest, const std::vector<Index>& window, Span<double> out) {
    gamma_ = longest * kGamma;
    space_.factor(model_.theta(), gamma_);
    std::vector<T> first = first_vector();
    if (in_->quantity == Quantity::pdf) {
      space_.solve(first);
    }
    space_.begin(first);
    coefficient_.clear();
    doublings_ = kLeastDoublings;
    probes_.clear();
    exponential_ = {};
    for (Index m = kFirstDimension;; m += kMoreDimensions) {
      space_.extend(m);
      if (space_.dimension() == 0) {
        return;  // nothing is ever absorbed, or nothing starts
      }
      std::swap(exponential_, smaller_);
      prepare();
      probe(in_->times[window.back()] / longest);
      const bool last = m >= phasic::detail::kKrylovDimension;
      if (!last && !enough()) {
        continue;
      }
      add_step_errors();
      if (!last && !enough() && doublings_ < kMostDoublings) {
        doublings_ += 2;
        probes_.clear();
        prepare();
        probe(in_->times[window.back()] / longest);
        continue;
      }
      evaluate(window, out);
      if (last || enough()) {
        break;
      }
    }
    for (Index e = 0; e < ssize(error_); ++e) {
      const double error = window_error_[at(e)] + window_rounding_[at(e)];
      error_[at(e)] = std::max(error_[at(e)], error);
      for (const Index i : window) {
        time_error_[at(e * n_times_ + i)] = error;
      }
    }
    report_.dimension = std::max(report_.dimension, space_.dimension());
  }

  void prepare() {
    const Index m = space_.dimension();
    exponential_.prepare(space_.projected(), m, step(), doublings_);
    std::vector<T> v;
    for (Index j = ssize(coefficient_); j < m; ++j) {
      space_.read(j, v);
      coefficient_.push_back(T(space_.norm()) * model_.started(v));
    }
  }

  // y (1, padded dimension) := (orders, padded dimension), the derivatives after another time tau gamma.
  void advance(ProjectedExponential& exponential, double tau, std::vector<double>& y) const {
    const double piece = tau / static_cast<double>(orders());
    const Index width = ssize(y);
    std::vector<double> forward, backward;
    for (Index p = 0; p < orders(); ++p) {
      exponential.apply(piece, y, forward, &backward);
      if (p == 0) {
        y = in_->quantity == Quantity::pdf ? backward : forward;
        continue;
      }
      y = forward;
      for (Index j = 0; j < width; ++j) {
        const Index from = (p - 1) * width + j;
        y.push_back((forward[at(from)] - backward[at(from)]) / gamma_);
      }
    }
  }

  static std::vector<double> first_unit(Index dimension) {
    std::vector<double> y(at(padded(dimension)), 0.0);
    y[0] = 1.0;
    return y;
  }

  // A step in units of gamma.
  [[nodiscard]] double step() const { return std::ldexp(1 / kGamma, -doublings_); }

  // Results at times around 2^i steps, from the shortest time (as a share of the longest) on, and
  // their errors: what they differ by from those of the last dimension.
  void probe(double shortest) {
    const int digits = static_cast<int>(std::floor(std::log2(shortest)));
    first_probe_ = doublings_ + digits - 1;  // at least 1: see kLeastDoublings
    const std::vector<std::vector<double>> found = moved(base());
    window_error_.assign(error_.size(), 0.0);
    window_scale_.assign(error_.size(), 0.0);
    window_rounding_.assign(error_.size(), 0.0);
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!space_.invariant()) {
        add_errors(probes_.empty() ? found[i] : change_of(found[i], probes_[i]), 1.0);
      }
      for (Index e = 0; e < ssize(error_); ++e) {
        const Index order = e / kParts, parts = e % kParts;
        window_rounding_[at(e)] =
            std::max(window_rounding_[at(e)], rounding_of(found[i], order, parts));
        window_scale_[at(e)] = std::max(window_scale_[at(e)], std::fabs(sum_of(found[i], order, parts)));
      }
    }
    probes_ = found;
  }

  void add_errors(const std::vector<double>& change, double factor) {
    for (Index e = 0; e < ssize(error_); ++e) {
      const double error = factor * std::fabs(sum_of(change, e / kParts, e % kParts));
      window_error_[at(e)] = std::max(window_error_[at(e)], std::isfinite(error) ? error : kInfinity);
    }
  }

  [[nodiscard]] bool enough() const {
    bool small = true;
    for (Index e = 0; e < ssize(error_); ++e) {
      const double share = is_value(e) ? kStop : kStopSlope;
      small = small && (!matters(e) || window_error_[at(e)] <= share * window_scale_[at(e)]);
    }
    return small;
  }

  // What steps of half the size would change. All steps commute, so it is their number times what one
  // more of them does, at probes with fewer steps than any time has: fast modes decay with each.
  void add_step_errors() {
    double steps = std::exp2(first_probe_);
    std::vector<double> whole, half, twice;
    for (const std::vector<double>& y : probes_) {
      exponential_.apply(step(), y, whole, nullptr);
      exponential_.apply(step() / 2, y, half, nullptr);
      exponential_.apply(step() / 2, half, twice, nullptr);
      add_errors(change_of(whole, twice), steps + kRestError);
      steps *= 2;
    }
  }

  // Coefficients after one step, which takes up H^-1 and derivatives in t.
  [[nodiscard]] std::vector<double> base() {
    std::vector<double> y = first_unit(space_.dimension());
    advance(exponential_, step() * static_cast<double>(orders()), y);
    return y;
  }
  // The same 2^i steps later, from the first probe on.
  [[nodiscard]] std::vector<std::vector<double>> moved(const std::vector<double>& y) {
    std::vector<std::vector<double>> found;
    for (int i = first_probe_; i <= doublings_; ++i) {
      found.push_back(y);
      exponential_.move(i, found.back());
    }
    return found;
  }

  // What coefficients have changed by since those of a smaller dimension.
  [[nodiscard]] std::vector<double> change_of(const std::vector<double>& found,
                                              const std::vector<double>& before) const {
    std::vector<double> change = found;
    const Index old_width = ssize(before) / orders(), width = ssize(found) / orders();
    for (Index order = 0; order < orders(); ++order) {
      for (Index j = 0; j < old_width; ++j) {
        change[at(order * width + j)] -= before[at(order * old_width + j)];
      }
    }
    return change;
  }

  // The result that coefficients (orders, padded dimension) give.
  [[nodiscard]] double sum_of(const std::vector<double>& y, Index order, Index parts) const {
    double sum = 0;
    for (Index j = 0; j < space_.dimension(); ++j) {
      sum += Model::part(coefficient_[at(j)], parts) * y[at(order * ssize(y) / orders() + j)];
    }
    return sum;
  }
  // An allowance for rounding: of the terms of the sum, of the vectors of the space, of derivatives in t,
  // which are differences, and of the matrices of steps, which are nothing to what they leave of a far
  // tail. Where nothing of the kind is reached from the start, the result is exact.
  [[nodiscard]] double rounding_of(const std::vector<double>& y, Index order, Index parts) const {
    double weight = 0;
    for (const T& c : coefficient_) {
      weight += Model::part(c, parts) * Model::part(c, parts);
    }
    const double terms = std::sqrt(weight), vectors = kVectorRounding * space_.norm();
    const Index width = ssize(y) / orders();
    double rounding = 0;
    for (Index o = 0; o <= order && terms > 0; ++o) {
      const double* const x = y.data() + o * width;
      const double share = o == order ? kRounding * terms + (space_.invariant() ? 10 : 1) * vectors
                                      : kDifferenceRounding * terms;
      rounding = rounding / gamma_ + share * std::sqrt(dot_padded(x, x, width));
    }
    const double backward = in_->quantity == Quantity::pdf ? 1 / step() : 1.0;
    return rounding + kMatrixRounding * terms * backward * std::pow(step() * gamma_, -order);
  }

  // Coefficients (orders, padded dimension) at time t. The rest is not so short that rounding in fast
  // modes would be seen, nor much longer than a step.
  [[nodiscard]] std::vector<double> coefficients(ProjectedExponential& exponential, Index dimension,
                                                 double t) const {
    const double size = gamma_ * step();
    const auto steps = static_cast<Index>(std::max(std::floor(t / size - 0.25), 0.0));
    std::vector<double> y = first_unit(dimension);
    for (int digit = 0; digit <= doublings_; ++digit) {
      if ((steps >> digit & 1) != 0) {
        exponential.move(digit, y);
      }
    }
    advance(exponential, (t - static_cast<double>(steps) * size) / gamma_, y);
    return y;
  }

  // All orders and parts at the times of the window; sets scales to theirs and raises the errors to
  // what the dimension before would have given.
  void evaluate(const std::vector<Index>& window, Span<double> out) {
    window_scale_.assign(error_.size(), 0.0);
    for (const Index i : window) {
      const std::vector<double> y = coefficients(exponential_, space_.dimension(), in_->times[i]);
      if (!space_.invariant()) {
        const Index before = smaller_.dimension();
        add_errors(before == 0 ? y : change_of(y, coefficients(smaller_, before, in_->times[i])), 1.0);
      }
      for (Index e = 0; e < ssize(error_); ++e) {
        const Index order = e / kParts, parts = e % kParts;
        const double value = sum_of(y, order, parts);
        window_scale_[at(e)] = std::max(window_scale_[at(e)], std::fabs(value));
        out[e * n_times_ + i] = value * model_.unit(parts);
      }
    }
  }

  // Turns sf into cdf, and compares errors with the results. Values below 0 are within the error of it.
  void settle(Span<double> out) {
    if (in_->quantity == Quantity::cdf) {
      for (Index o = 0; o < out.size(); ++o) {
        out[o] = (o < n_times_ ? 1.0 : 0.0) - out[o];
      }
    }
    for (Index i = 0; i < n_times_; ++i) {
      out[i] = out[i] < 0 ? 0.0 : out[i];
    }
    report_.converged = true;
    allowed_.clear();
    double value = 0;
    for (Index e = 0; e < ssize(error_); ++e) {
      double largest = 0;
      bool finite = true;
      for (Index o = e * n_times_; o < (e + 1) * n_times_; ++o) {
        largest = std::max(largest, std::fabs(out[o]));
        finite = finite && std::isfinite(out[o]);
      }
      largest /= model_.unit(e % kParts);
      value = e == 0 ? largest : value;
      const double scale = std::max(largest, e < kParts ? value : 0.0);
      const double allowed =
          scale * (is_value(e) ? phasic::detail::kKrylovError : phasic::detail::kKrylovSlopeError);
      report_.error = e == 0 && error_[0] > 0 ? error_[0] / scale : report_.error;
      report_.converged = report_.converged && finite && (!matters(e) || error_[at(e)] <= allowed);
      allowed_.push_back(allowed);
    }
    find_weak(out);
  }

  void find_weak(Span<const double> out) {
    report_.weak.assign(at(n_times_), 0);
    for (Index i = 0; i < n_times_; ++i) {
      bool strong = in_->times[i] > 0;
      double natural = std::max(out[i] - time_error_[at(i)], 0.0);  // of derivatives in t: value / t ..
      for (Index e = 0; e < ssize(error_); ++e) {
        const double error = time_error_[at(e * n_times_ + i)];
        const double own = std::fabs(out[e * n_times_ + i]) / model_.unit(e % kParts);
        natural /= e > 0 && e % kParts == 0 ? in_->times[i] : 1.0;
        const double share = is_value(e)
                                 ? phasic::detail::kKrylovOwnError * own
                                 : phasic::detail::kKrylovOwnSlopeError * std::max(own, natural);
        strong = strong && std::isfinite(own) &&
                 (!matters(e) || (error <= share && error <= allowed_[at(e)]));
      }
      report_.weak[at(i)] = strong ? 0 : 1;
    }
  }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  const Input* in_ = nullptr;
  Index n_times_ = 0;
  int doublings_ = kLeastDoublings, first_probe_ = 0;
  double gamma_ = 1;
  Model model_;
  KrylovSpace<T> space_;
  ProjectedExponential exponential_, smaller_;  // of the dimension at hand and the one before
  std::vector<Index> order_;               // of times, longest first
  std::vector<T> coefficient_;             // (dimension) start times basis, times the first vector's norm
  std::vector<std::vector<double>> probes_;  // of the last dimension
  std::vector<double> window_error_, window_scale_, window_rounding_, error_;  // of orders and parts
  std::vector<double> time_error_;  // of every result
  std::vector<double> allowed_;     // errors of orders and parts
  Report report_;
};

inline phasic::detail::KrylovReport with_slopes(const phasic::detail::KrylovInput& in, Span<double> out);

inline phasic::detail::KrylovReport krylov_row(const phasic::detail::KrylovInput& in, Span<double> out) {
  if (in.quantity != Quantity::pdf && in.time_order > 0) {
    return with_slopes(in, out);
  }
  switch (in.n_levels) {
    case 0:
      return KrylovRow<double>().run(in, out);
    case 1:
      return KrylovRow<Dual<double>>().run(in, out);
    default:
      return KrylovRow<Dual<Dual<double>>>().run(in, out);
  }
}

// cdf and sf with their slopes, which are those of the density.
inline phasic::detail::KrylovReport with_slopes(const phasic::detail::KrylovInput& in, Span<double> out) {
  phasic::detail::KrylovInput value = in, slope = in;
  value.time_order = 0;
  slope.quantity = Quantity::pdf;
  slope.time_order = in.time_order - 1;
  const Index size = out.size() / (in.time_order + 1);
  const phasic::detail::KrylovReport of_slope = krylov_row(slope, out.subspan(size, out.size() - size));
  phasic::detail::KrylovReport report = krylov_row(value, out.subspan(0, size));
  if (in.quantity == Quantity::sf) {
    std::transform(out.begin() + size, out.end(), out.begin() + size, std::negate<>());
  }
  report.converged = report.converged && of_slope.converged;
  report.dimension = std::max(report.dimension, of_slope.dimension);
  std::transform(report.weak.begin(), report.weak.end(), of_slope.weak.begin(), report.weak.begin(),
                 std::bit_or<char>());
  return report;
}

}  // namespace phasic::PHASIC_ISA
