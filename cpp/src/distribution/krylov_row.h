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
//    those of half the step; then at the times that are asked for. What they differ by at a time is its
//    error, with what rounding costs: numbers disturbed on purpose, by 1e5 times as much, show that.
//    It is a share of the result itself wherever the model allows; early times may take a window more.
// 5. Tangents are divided by the relative change of rates that they cause, or else of results
//    (krylov_model.h).
// What is promised is relative to the largest value over all times, and to the largest derivative; in
// theta, if it is larger, to the largest value times these changes.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "distribution/krylov.h"
#include "distribution/krylov_exponential.h"
#include "distribution/krylov_model.h"
#include "distribution/krylov_results.h"
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
  static constexpr double kNextWindow = 4;    // a window of weak times is at least so much shorter
  static constexpr double kDecayError = 8;    // a mode decays at most so much less than any vector
  static constexpr double kWholeSteps = 64;   // more than there are of the first whole matrix
  static constexpr double kPerturbation = 1.0 / (1LL << 36), kPerturbed = 7e-15 / kPerturbation,
                          kTermRounding = 4e-15, kMatrixRounding = 2e-16, kWholeRounding = 1e-13,
                          kSlopeRounding = 4e-15, kVectorRounding = 2e-14;
  static constexpr double kLeastShare = 1e-260;  // of the terms, which some of them may underflow
  static constexpr double kUsualDimension = 24;  // rounding adds up in larger ones
  static constexpr double kMostLoss = 1e8;  // from which on the vectors of a space may lack others
  static constexpr int kLeastDoublings = 11, kMostDoublings = 17;  // steps of T / 2048 and less

  [[nodiscard]] Index orders() const { return in_->time_order + 1; }
  [[nodiscard]] Index n_results() const { return orders() * kParts; }
  // Results (order, parts) in one count. Of those in parts, all of them together are what is asked for.
  [[nodiscard]] static bool matters(Index e) { return e % kParts == kParts - 1; }
  [[nodiscard]] static bool is_value(Index e) { return kParts == 1 && e == 0; }

  void run_windows(Span<double> out) {
    std::fill(out.begin(), out.end(), 0.0);
    time_error_.assign(at(out.size()), 0.0);
    converged_.assign(at(n_times_), 1);
    report_ = {};
    at_zero(out);
    for (std::size_t i = 0; i < order_.size() && in_->times[order_[i]] > 0;) {
      const double longest = in_->times[order_[i]];
      std::vector<Index> window;
      for (; i < order_.size() && in_->times[order_[i]] > longest / phasic::detail::kKrylovWindow; ++i) {
        window.push_back(order_[i]);
      }
      run_window(longest, window, out);
      i -= early_weak(window, out);
    }
    settle(out);
  }

  // The number of the earliest times of a window that are worth one of their own. What is small because
  // it is early has all its digits there; cdf has not, being 1 - sf.
  [[nodiscard]] std::size_t early_weak(const std::vector<Index>& window, Span<const double> out) const {
    const auto strong = [&](Index i) { return is_strong(i, out); };
    if (!in_->own_digits || in_->quantity == Quantity::cdf ||
        std::none_of(window.begin(), window.end(), strong)) {
      return 0;
    }
    auto first = std::find_if(window.rbegin(), window.rend(), strong).base();
    const double longest = in_->times[window.front()];
    first = std::find_if(first, window.end(),
                         [&](Index i) { return in_->times[i] <= longest / kNextWindow; });
    return static_cast<std::size_t>(window.end() - first);
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
            out[(order * kParts + parts) * n_times_ + i] =
                Model::part(model_.started(x), parts) * model_.unit(parts);
          }
          x = model_.generated(x);
        }
      }
    }
  }

  void run_window(double longest, const std::vector<Index>& window, Span<double> out) {
    gamma_ = longest * kGamma;
    space_.factor(model_.theta(), gamma_);
    std::vector<T> first = first_vector();
    if (in_->quantity == Quantity::pdf) {
      space_.solve(first);
    }
    space_.begin(first);
    results_.begin(orders());
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
    for (const Index i : window) {
      converged_[at(i)] = enough() ? 1 : 0;
    }
    report_.dimension = std::max(report_.dimension, space_.dimension());
  }

  void prepare() {
    const Index m = space_.dimension();
    exponential_.prepare(space_.projected(), m, step(), doublings_);
    std::vector<T> v;
    for (Index j = results_.dimension(); j < m; ++j) {
      space_.read(j, v);
      results_.add(T(space_.norm()) * model_.started(v));
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

  // The size of what steps leave of a unit vector that no mode is likely to lack: errors decay like it.
  [[nodiscard]] double left_after(Index steps) {
    const Index m = space_.dimension();
    std::vector<double> y(at(padded(m)), 0.0);
    NoiseStream random;
    for (Index j = 0; j < m; ++j) {
      y[at(j)] = std::copysign(1 / std::sqrt(static_cast<double>(m)), random.next());
    }
    move_steps(exponential_, steps, y);
    return size_of(y);
  }

  // A step in units of gamma.
  [[nodiscard]] double step() const { return std::ldexp(1 / kGamma, -doublings_); }

  // Results at times around 2^i steps, from the shortest time (as a share of the longest) on, and
  // their errors: what they differ by from those of the last dimension.
  void probe(double shortest) {
    const int digits = static_cast<int>(std::floor(std::log2(shortest)));
    first_probe_ = doublings_ + digits - 1;  // at least 1: see kLeastDoublings
    base_ = first_unit(space_.dimension());
    advance(exponential_, step() * static_cast<double>(orders()), base_);
    const std::vector<std::vector<double>> found = moved(base_);
    probe_left_.clear();
    for (int i = first_probe_; i <= doublings_; ++i) {
      probe_left_.push_back(left_after(Index{1} << i));
    }
    window_error_.assign(at(n_results()), 0.0);
    window_scale_.assign(at(n_results()), 0.0);
    probe_error_.assign(found.size(), std::vector<double>(at(n_results()), 0.0));
    step_error_ = probe_error_;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!space_.invariant()) {
        add_errors(probes_.empty() ? found[i] : results_.change(found[i], probes_[i]), 1.0, probe_error_[i]);
      }
      for (Index e = 0; e < n_results(); ++e) {
        window_scale_[at(e)] =
            std::max(window_scale_[at(e)], std::fabs(results_.sum(found[i], e / kParts, e % kParts)));
      }
    }
    probes_ = found;
  }

  // errors: of orders and parts at one time, raised to what the change says; so is the window's.
  void add_errors(const std::vector<double>& change, double factor, std::vector<double>& errors) {
    for (Index e = 0; e < n_results(); ++e) {
      const double found = factor * std::fabs(results_.sum(change, e / kParts, e % kParts));
      const double error = std::isfinite(found) ? found : kInfinity;
      errors[at(e)] = std::max(errors[at(e)], error);
      window_error_[at(e)] = std::max(window_error_[at(e)], error);
    }
  }

  [[nodiscard]] bool enough() const {
    bool small = true;
    for (Index e = 0; e < n_results(); ++e) {
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
    for (std::size_t i = 0; i < probes_.size(); ++i) {
      whole = probes_[i];
      exponential_.move(0, whole);
      exponential_.apply(step() / 2, probes_[i], half, nullptr);
      exponential_.apply(step() / 2, half, twice, nullptr);
      add_errors(results_.change(whole, twice), steps + kRestError, step_error_[i]);
      steps *= 2;
    }
  }

  // Coefficients y and 2^i steps more, from the first probe on.
  [[nodiscard]] std::vector<std::vector<double>> moved(const std::vector<double>& y) {
    std::vector<std::vector<double>> found;
    for (int i = first_probe_; i <= doublings_; ++i) {
      found.push_back(y);
      exponential_.move(i, found.back());
    }
    return found;
  }

  // Of derivatives in t, which are differences.
  [[nodiscard]] double difference_rounding(const std::vector<double>& y, Index order, Index parts) const {
    const double terms = results_.size(parts);
    const Index width = ssize(y) / orders();
    double rounding = 0;
    for (Index o = 0; o <= order && terms > 0; ++o) {
      const double* const x = y.data() + o * width;
      const double share = o == order ? 10 * terms + space_.norm() : terms;
      rounding = rounding / gamma_ + kSlopeRounding * share * std::sqrt(dot_padded(x, x, width));
    }
    const double backward = in_->quantity == Quantity::pdf ? 1 / step() : 1.0;
    return rounding + kMatrixRounding * terms * backward * std::pow(step() * gamma_, -order);
  }
  [[nodiscard]] static double size_of(const std::vector<double>& y) {
    return std::sqrt(dot_padded(y.data(), y.data(), ssize(y)));
  }

  // Whole steps before time t. The rest is not so short that rounding in fast modes would be seen, nor
  // much longer than a step.
  [[nodiscard]] Index steps_to(double t) const {
    return static_cast<Index>(std::max(std::floor(t / (gamma_ * step()) - 0.25), 0.0));
  }
  void move_steps(ProjectedExponential& exponential, Index steps, std::vector<double>& y) const {
    for (int digit = 0; digit <= doublings_; ++digit) {
      if ((steps >> digit & 1) != 0) {
        exponential.move(digit, y);
      }
    }
  }
  // Coefficients (orders, padded dimension) at time t.
  [[nodiscard]] std::vector<double> coefficients(ProjectedExponential& exponential, Index dimension,
                                                 double t) const {
    const Index steps = steps_to(t);
    std::vector<double> y = first_unit(dimension);
    move_steps(exponential, steps, y);
    advance(exponential, t / gamma_ - static_cast<double>(steps) * step(), y);
    return y;
  }

  // The last probe with at most as many steps as time t has.
  [[nodiscard]] std::size_t probe_before(double t) const {
    const int digits = static_cast<int>(std::floor(std::log2(t / (gamma_ * step()) - 1.0)));
    return static_cast<std::size_t>(std::clamp(digits, first_probe_, doublings_) - first_probe_);
  }

  // All orders and parts at the times of the window; sets scales to theirs and raises the window's errors
  // to what the dimension before would have given.
  void evaluate(const std::vector<Index>& window, Span<double> out) {
    window_scale_.assign(at(n_results()), 0.0);
    disturb();
    settled_ = left_after(Index{1} << exponential_.first_whole());
    for (const Index i : window) {
      const double t = in_->times[i];
      const std::vector<double> y = coefficients(exponential_, space_.dimension(), t);
      const std::vector<double> other = coefficients(perturbed_, space_.dimension(), t);
      std::vector<double> change(at(n_results()), 0.0);
      if (!space_.invariant()) {
        const Index before = smaller_.dimension();
        add_errors(before == 0 ? y : results_.change(y, coefficients(smaller_, before, t)), 1.0, change);
      }
      const std::size_t from = probe_before(t);
      const double left = left_after(steps_to(t));
      for (Index e = 0; e < n_results(); ++e) {
        const double value = results_.sum(y, e / kParts, e % kParts);
        window_scale_[at(e)] = std::max(window_scale_[at(e)], std::fabs(value));
        out[e * n_times_ + i] = value * model_.unit(e % kParts);
        const double error = rounding_of(y, other, e / kParts, e % kParts, from, left) +
                             truncation_of(change[at(e)], e, from, left);
        time_error_[at(e * n_times_ + i)] = std::isfinite(error) ? error : kInfinity;
      }
    }
  }

  // What dimension and step cost at one time: what is known of the probes before and after it.
  [[nodiscard]] double truncation_of(double change, Index e, std::size_t from, double left) const {
    const std::size_t to = std::min(from + 1, probes_.size() - 1);
    const double decay = std::min(1.0, kDecayError * left / probe_left_[from]);
    return std::max({change, decay * probe_error_[from][at(e)], probe_error_[to][at(e)]}) +
           2 * decay * step_error_[from][at(e)];
  }

  // What rounding costs at one time: what disturbed numbers change it by; the terms of the sum; the
  // matrices of steps, whose errors are of size 1 until the whole ones begin; what the vectors of
  // the space have lost of others. Derivatives in t have one of their own besides.
  [[nodiscard]] double rounding_of(const std::vector<double>& y, const std::vector<double>& other,
                                   Index order, Index parts, std::size_t from, double left) const {
    const double difference =
        std::fabs(results_.perturbed_sum(other, order, parts) - results_.sum(y, order, parts));
    double terms = results_.terms(base_, order, parts), vectors = size_of(base_);
    for (std::size_t p = 0; p <= from; ++p) {
      terms = std::max(terms, results_.terms(probes_[p], order, parts));
      vectors = std::max(vectors, size_of(probes_[p]));
    }
    const double steps = std::min(1.0, kWholeSteps * left / settled_);  // 1 for 0 over 0
    const double of_terms = kTermRounding + (left < settled_ ? kWholeRounding / settled_ : 0.0);
    const double size = std::max(static_cast<double>(space_.dimension()) / kUsualDimension, 1.0);
    const double rounding = kPerturbed * size * size * difference +
                            of_terms * results_.terms(y, order, parts) +
                            (kMatrixRounding * steps + kLeastShare) * terms +
                            (lost_ ? kVectorRounding * space_.norm() * vectors : 0.0);
    return order == 0 ? rounding : std::max(rounding, difference_rounding(y, order, parts));
  }

  // All that rounding has touched, changed at random by far more than it.
  void disturb() {
    const Index m = space_.dimension(), width = padded(m);
    const std::vector<double>& loss = space_.losses();
    std::vector<double> h = space_.projected();
    NoiseStream random;
    for (Index j = 0; j < m; ++j) {
      for (Index i = 0; i <= std::min(j + 1, m - 1); ++i) {
        h[at(i * width + j)] *= 1 + kPerturbation * loss[at(std::max(i, j))] * random.next();
      }
    }
    perturbed_.prepare(std::move(h), m, step(), doublings_, kPerturbation);
    results_.perturb(loss, kPerturbation);
    lost_ = space_.invariant() ||
            *std::max_element(loss.begin(), loss.begin() + m) > kMostLoss;
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
    for (Index e = 0; e < n_results(); ++e) {
      double largest = 0, error = 0;
      bool finite = true;
      for (Index o = e * n_times_; o < (e + 1) * n_times_; ++o) {
        largest = std::max(largest, std::fabs(out[o]));
        error = std::max(error, time_error_[at(o)]);
        finite = finite && std::isfinite(out[o]);
      }
      largest /= model_.unit(e % kParts);
      value = e == 0 ? largest : value;
      const double scale = std::max(largest, e < kParts ? value : 0.0);
      const double allowed =
          scale * (is_value(e) ? phasic::detail::kKrylovError : phasic::detail::kKrylovSlopeError);
      report_.error = e == 0 && error > 0 ? error / scale : report_.error;
      report_.converged = report_.converged && finite && (!matters(e) || error <= allowed);
      allowed_.push_back(allowed);
    }
    find_weak(out);
  }

  void find_weak(Span<const double> out) {
    report_.weak.assign(at(n_times_), 0);
    for (Index i = 0; i < n_times_; ++i) {
      bool strong = is_strong(i, out);
      for (Index e = 0; e < n_results(); ++e) {
        strong = strong && (!matters(e) || time_error_[at(e * n_times_ + i)] <= allowed_[at(e)]);
      }
      report_.weak[at(i)] = strong ? 0 : 1;
    }
  }

  // Whether the errors of what is wanted at a time are small shares of the results themselves.
  [[nodiscard]] bool is_strong(Index i, Span<const double> out) const {
    bool strong = in_->times[i] > 0 && converged_[at(i)] != 0;
    double natural = std::max(out[i] - time_error_[at(i)], 0.0);  // of derivatives in t: value / t ..
    for (Index e = 0; e < n_results(); ++e) {
      const double own = std::fabs(out[e * n_times_ + i]) / model_.unit(e % kParts);
      natural /= e > 0 && e % kParts == 0 ? in_->times[i] : 1.0;
      const double share = is_value(e) ? phasic::detail::kKrylovOwnError * own
                                       : phasic::detail::kKrylovOwnSlopeError * std::max(own, natural);
      strong = strong && std::isfinite(own) && (!matters(e) || time_error_[at(e * n_times_ + i)] <= share);
    }
    return strong;
  }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  const Input* in_ = nullptr;
  Index n_times_ = 0;
  int doublings_ = kLeastDoublings, first_probe_ = 0;
  double settled_ = 0;  // left_after() where whole matrices begin
  double gamma_ = 1;
  Model model_;
  KrylovSpace<T> space_;
  ProjectedExponential exponential_, smaller_, perturbed_;  // of the dimension at hand and the one before
  std::vector<Index> order_;               // of times, longest first
  bool lost_ = false;  // whether parts of vectors may have been lost in others
  KrylovResults<T> results_;
  std::vector<double> base_;  // coefficients after one step for each order
  std::vector<std::vector<double>> probes_;  // the same 2^i steps later, of the last dimension
  std::vector<double> probe_left_;           // see left_after()
  std::vector<std::vector<double>> probe_error_, step_error_;  // at each probe, of orders and parts
  std::vector<double> window_error_, window_scale_;  // of orders and parts
  std::vector<double> time_error_;   // of every result
  std::vector<char> converged_;  // whose space was large enough
  std::vector<double> allowed_;     // errors of orders and parts
  Report report_;
};

}  // namespace phasic::PHASIC_ISA
