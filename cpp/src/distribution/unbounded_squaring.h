// pdf and sf of one row by squaring, in numbers without bounds and of twice the precision.
//
// 1. E_0 = e^(Sh) over the transient states by a Taylor series of non-negative terms, h a power of
//    two with q h <= 1/4 (discrete: E_0 = P, h = 1); E_(b+1) = E_b E_b. Rounding grows with q t, but
//    starts at 2^-104: no sum of rows needs to be mended.
// 2. t = m h + r exactly: the start row moves by e^(Sr), then by the binary digits of m.
// 3. Rows are read off by the exits (pdf) or by ones (sf). Derivatives in t: as in
//    uniformization_observe.h, powers of S / q at the start and one at the exits.
// 4. The adjoint goes back through all of it; the E_b are kept.
// The series of E_0 ends after kTerms terms: if q t is at least the number of states, paths with more
// steps than that in one of the 4 q t intervals are below 2^-64 of any entry.
#pragma once

#include <vector>

#include "distribution/unbounded.h"
#include "distribution/uniformization_chain.h"
#include "distribution/uniformization_times.h"

namespace phasic::PHASIC_ISA {

// A square matrix of numbers without bounds, by rows.
template <class N>
struct UnboundedMatrix {
  Index n = 0;
  std::vector<N> entry;
  explicit UnboundedMatrix(Index size) : n(size), entry(at(size * size), N(0.0)) {}
  N* row(Index i) { return entry.data() + i * n; }
  [[nodiscard]] const N* row(Index i) const { return entry.data() + i * n; }
};

// out += factor x
template <class N>
void add_multiple(const N& factor, const N* x, N* out, Index n) {
  if (is_nothing(factor)) {
    return;
  }
  for (Index j = 0; j < n; ++j) {
    if (!is_nothing(x[j])) {
      out[j] += factor * x[j];
    }
  }
}
template <class N>
N dot(const N* x, const N* y, Index n) {
  N sum(0.0);
  for (Index j = 0; j < n; ++j) {
    if (!is_nothing(x[j]) && !is_nothing(y[j])) {
      sum += x[j] * y[j];
    }
  }
  return sum;
}

// out += a b, or with a transposed, or with b transposed.
template <class N>
void add_product(const UnboundedMatrix<N>& a, const UnboundedMatrix<N>& b,
                 UnboundedMatrix<N>& out) {
  for (Index i = 0; i < a.n; ++i) {
    for (Index k = 0; k < a.n; ++k) {
      add_multiple(a.row(i)[k], b.row(k), out.row(i), a.n);
    }
  }
}
template <class N>
void add_transposed_product(const UnboundedMatrix<N>& a, const UnboundedMatrix<N>& b,
                            UnboundedMatrix<N>& out) {
  for (Index k = 0; k < a.n; ++k) {
    for (Index i = 0; i < a.n; ++i) {
      add_multiple(a.row(k)[i], b.row(k), out.row(i), a.n);
    }
  }
}
template <class N>
void add_product_transposed(const UnboundedMatrix<N>& a, const UnboundedMatrix<N>& b,
                            UnboundedMatrix<N>& out) {
  for (Index i = 0; i < a.n; ++i) {
    for (Index j = 0; j < a.n; ++j) {
      out.row(i)[j] += dot(a.row(i), b.row(j), a.n);
    }
  }
}
// T: double, or dual numbers of it.
template <class T>
class UnboundedSquaring {
 public:
  using N = typename UnboundedType<T>::type;
  using Scalar = Unbounded<Twice<double>>;
  using Matrix = UnboundedMatrix<N>;

  // As UnboundedSweep::forward; the quantity is pdf (discrete: at times > 0) or sf.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, int order, bool slopes, Span<T> out, Span<double> exponent) {
    layout_ = &layout;
    order_ = layout.discrete ? 0 : order;
    n_derivatives_ = layout.discrete ? 0 : order + (slopes ? 1 : 0);
    widen(edge, edge_);
    widen(start, start_);
    n_densities_ = is_pdf() ? n_derivatives_ + 1 : n_derivatives_;
    chain_.load(layout, Span<const N>(edge_), Span<const N>(start_), std::max(n_densities_ - 1, 1));
    form_readings();
    form_times(times);
    form_powers();
    slope_.resize(slopes ? times_.size() : 0);
    for (Index i = 0; i < ssize(times_); ++i) {
      move(times_[at(i)]);
      finish(i, out[i], exponent[i]);
    }
  }

  // As UnboundedSweep::adjoint.
  void adjoint(Span<const T> out_bar, Span<const double> exponent, Span<T> edge_bar,
               Span<T> start_bar, Span<T> times_bar) {
    for (Index i = 0; i < times_bar.size() && !slope_.empty(); ++i) {
      times_bar[i] += out_bar[i] * plain<T>(slope_[at(i)], static_cast<std::int64_t>(exponent[i]));
    }
    if (edge_bar.empty() && start_bar.empty()) {
      return;
    }
    begin_reverse();
    for (Index i = 0; i < ssize(times_); ++i) {
      const Scalar unit(Twice<double>(1.0), -static_cast<std::int64_t>(exponent[i]));
      move_back(times_[at(i)], phasic::PHASIC_ISA::times(widened<N>(out_bar[i]), unit));
    }
    reverse_powers();
    reverse_start();
    collect(edge_bar, start_bar);
  }

 private:
  struct Time {
    double m, rest;  // t = m h + rest
    N step{0.0};     // its derivative parts
    std::vector<std::vector<N>> row;     // (n_vectors): after the rest and all digits
    std::vector<std::vector<N>> before;  // (digits, n_vectors): rows before each multiplication
  };

  [[nodiscard]] bool is_pdf() const { return layout_->quantity == Quantity::pdf; }
  [[nodiscard]] Index n() const { return layout_->n_positions; }
  static constexpr int kTerms = 24;  // (1/4)^k / k! is below 2^-120 from there on

  static void widen(Span<const T> from, std::vector<N>& to) {
    to.clear();
    for (const T& x : from) {
      to.push_back(widened<N>(x));
    }
  }

  // Columns: ones, exits, G exits.
  void form_readings() {
    ones_.assign(at(n()), N(1.0));
    exits_.assign(chain_.absorb(), chain_.absorb() + n());
    applied_.assign(at(n()), N(0.0));
    chain_.add_applied(exits_.data(), applied_.data());
  }

  // The d-th derivative, up to unit(d), is start G^a e^(St) reading.
  struct Reading {
    Index a;
    const std::vector<N>* column;
  };
  [[nodiscard]] Reading reading(int d) const {
    const int k = is_pdf() ? d : d - 1;  // of the density
    return k < 0    ? Reading{0, &ones_}
           : k == 0 ? Reading{0, &exits_}
                    : Reading{k - 1, &applied_};
  }
  [[nodiscard]] Scalar unit(int d) const {
    Scalar result(!is_pdf() && d > 0 ? -1.0 : 1.0);
    for (int i = 0; i < d + (is_pdf() && !layout_->discrete ? 1 : 0); ++i) {
      result *= Scalar(chain_.rate());
    }
    return result;
  }

  void form_times(Span<const T> times) {
    int e = 0;
    std::frexp(chain_.rate(), &e);
    step_ = layout_->discrete ? 1.0 : std::ldexp(1.0, -e - 2);
    times_.clear();
    double longest = 0;
    for (const T& t : times) {
      Time time;
      const double whole = primal(t) - (layout_->discrete && is_pdf() ? 1 : 0);
      time.m = std::floor(whole / step_);
      time.rest = whole - time.m * step_;
      time.step = layout_->discrete ? N(0.0) : widened<N>(nilpotent_part(t));
      longest = std::max(longest, time.m);
      times_.push_back(std::move(time));
    }
    n_digits_ = longest > 0 ? std::ilogb(longest) + 1 : 0;
  }
  [[nodiscard]] static bool digit(double m, int b) {
    return std::fmod(std::floor(std::ldexp(m, -b)), 2.0) == 1;
  }

  // c_k = e^-x x^k / k! for k < kTerms.
  [[nodiscard]] static std::vector<Scalar> weights(double x) {
    std::vector<Scalar> c{exponential(-x)};
    for (int k = 1; k < kTerms; ++k) {
      c.push_back(c.back() * Scalar(x) / k);
    }
    return c;
  }
  // e^x, |x| <= 1/2, by its series.
  [[nodiscard]] static Scalar exponential(double x) {
    Scalar sum(1.0);
    for (int k = 2 * kTerms; k > 0; --k) {
      sum = Scalar(1.0) + sum * Scalar(x) / k;
    }
    return sum;
  }

  // out += P x for a matrix x; out += P^T x.
  void add_applied(const Matrix& x, Matrix& out) const {
    for_each_entry([&](Index i, Index j, const N& p) { add_multiple(p, x.row(j), out.row(i), n()); });
  }
  void add_applied_transposed(const Matrix& x, Matrix& out) const {
    for_each_entry([&](Index i, Index j, const N& p) { add_multiple(p, x.row(i), out.row(j), n()); });
  }
  template <class F>
  void for_each_entry(F&& f) const {
    for (Index i = 0; i < n(); ++i) {
      f(i, i, chain_.stay()[i]);
      for (std::int32_t e = layout_->begin[at(i)]; e < layout_->begin[at(i + 1)]; ++e) {
        f(i, Index{layout_->target[at(e)]}, chain_.transition(e));
      }
    }
  }

  // The Taylor series by Horner's rule, its stages kept, and the powers of two of E_0.
  void form_powers() {
    stages_.clear();
    power_.clear();
    if (n_digits_ == 0) {
      return;
    }
    const std::vector<Scalar> c =
        layout_->discrete ? std::vector<Scalar>{Scalar(0.0), Scalar(1.0)}
                          : weights(chain_.rate() * step_);
    for (Index k = ssize(c) - 1; k >= 0; --k) {
      Matrix stage(n());
      if (!stages_.empty()) {
        add_applied(stages_.back(), stage);
      }
      for (Index i = 0; i < n(); ++i) {
        stage.row(i)[i] += unbounded_constant<N>(c[at(k)]);
      }
      stages_.push_back(std::move(stage));
    }
    power_.push_back(stages_.back());
    while (ssize(power_) < n_digits_) {
      Matrix next(n());
      add_product(power_.back(), power_.back(), next);
      power_.push_back(std::move(next));
    }
  }

  void move(Time& time) {
    time.row.clear();
    time.before.clear();
    for (Index a = 0; a < chain_.n_vectors(); ++a) {
      std::vector<N> first(chain_.start_vector(a), chain_.start_vector(a) + n());
      if (time.rest > 0) {
        first = moved_by_rest(time.rest, first);
      }
      time.row.push_back(std::move(first));
    }
    for (int b = 0; b < n_digits_; ++b) {
      for (Index a = 0; a < chain_.n_vectors() && digit(time.m, b); ++a) {
        std::vector<N> next(at(n()), N(0.0));
        for (Index i = 0; i < n(); ++i) {
          add_multiple(time.row[at(a)][at(i)], power_[at(b)].row(i), next.data(), n());
        }
        time.before.push_back(std::move(time.row[at(a)]));
        time.row[at(a)] = std::move(next);
      }
    }
  }
  [[nodiscard]] std::vector<N> moved_by_rest(double rest, const std::vector<N>& from) const {
    std::vector<N> sum(at(n()), N(0.0)), v = from;
    for (const Scalar& c : weights(chain_.rate() * rest)) {
      for (Index i = 0; i < n(); ++i) {
        sum[at(i)] += phasic::PHASIC_ISA::times(v[at(i)], c);
      }
      v = applied_from_left(v);
    }
    return sum;
  }
  [[nodiscard]] std::vector<N> applied_from_left(const std::vector<N>& v) const {
    std::vector<N> next(at(n()), N(0.0));
    for_each_entry([&](Index i, Index j, const N& p) { next[at(j)] += v[at(i)] * p; });
    return next;
  }

  void finish(Index i, T& out, double& exponent) {
    const Time& time = times_[at(i)];
    const auto derivative = [&](int d) {
      const Reading r = reading(d);
      return phasic::PHASIC_ISA::times(dot(time.row[at(r.a)].data(), r.column->data(), n()), unit(d));
    };
    const N value = taylor_sum(time.step, order_, derivative);
    const Scalar& size = innermost(value);
    const std::int64_t e = size.is_zero() ? 0 : size.magnitude_exponent();
    exponent = static_cast<double>(e);
    out = plain<T>(value, e);
    if (!slope_.empty()) {
      slope_[at(i)] = n_derivatives_ == 0 ? N(0.0) : taylor_sum(time.step, order_, [&](int d) {
        return derivative(d + 1);
      });
    }
  }

  // --- adjoint
  void begin_reverse() {
    entry_bar_.assign(at(layout_->n_transitions()), N(0.0));
    stay_bar_.assign(at(n()), N(0.0));
    exits_bar_.assign(at(n()), N(0.0));
    applied_bar_.assign(at(n()), N(0.0));
    first_bar_.assign(at(chain_.n_vectors()), std::vector<N>(at(n()), N(0.0)));
    power_bar_.assign(power_.size(), Matrix(n()));
  }

  // Adds the adjoint of sum over its entries of x_i P_ij z_j.
  void add_pair(const N* x, const N* z) {
    for (Index i = 0; i < n(); ++i) {
      stay_bar_[at(i)] += x[i] * z[i];
      for (std::int32_t e = layout_->begin[at(i)]; e < layout_->begin[at(i + 1)]; ++e) {
        entry_bar_[at(e)] += x[i] * z[layout_->target[at(e)]];
      }
    }
  }

  void move_back(const Time& time, const N& bar) {
    std::vector<std::vector<N>> z(at(chain_.n_vectors()), std::vector<N>(at(n()), N(0.0)));
    for (int d = 0; d <= order_; ++d) {
      const N weight = phasic::PHASIC_ISA::times(bar * taylor_weight(time.step, d), unit(d));
      const Reading r = reading(d);
      add_multiple(weight, r.column->data(), z[at(r.a)].data(), n());
      if (r.column != &ones_) {
        std::vector<N>& column_bar = r.column == &exits_ ? exits_bar_ : applied_bar_;
        add_multiple(weight, time.row[at(r.a)].data(), column_bar.data(), n());
      }
    }
    Index next = ssize(time.before);
    for (int b = n_digits_ - 1; b >= 0; --b) {
      for (Index a = chain_.n_vectors() - 1; a >= 0 && digit(time.m, b); --a) {
        move_back_by_power(b, time.before[at(--next)], z[at(a)]);
      }
    }
    for (Index a = 0; a < chain_.n_vectors(); ++a) {
      if (time.rest > 0) {
        move_back_by_rest(time.rest, a, z[at(a)]);
      }
      for (Index i = 0; i < n(); ++i) {
        first_bar_[at(a)][at(i)] += z[at(a)][at(i)];
      }
    }
  }
  void move_back_by_power(int b, const std::vector<N>& before, std::vector<N>& z) {
    std::vector<N> earlier(at(n()), N(0.0));
    for (Index i = 0; i < n(); ++i) {
      add_multiple(before[at(i)], z.data(), power_bar_[at(b)].row(i), n());
      earlier[at(i)] = dot(power_[at(b)].row(i), z.data(), n());
    }
    z = std::move(earlier);
  }
  void move_back_by_rest(double rest, Index a, std::vector<N>& z) {
    const std::vector<Scalar> c = weights(chain_.rate() * rest);
    std::vector<std::vector<N>> v{{chain_.start_vector(a), chain_.start_vector(a) + n()}};
    while (ssize(v) < ssize(c)) {
      v.push_back(applied_from_left(v.back()));
    }
    std::vector<N> sum(at(n()), N(0.0));
    for (Index k = ssize(c) - 1; k >= 0; --k) {
      std::vector<N> u(at(n()), N(0.0));
      if (k + 1 < ssize(c)) {
        add_pair(v[at(k)].data(), sum.data());
        for_each_entry([&](Index i, Index j, const N& p) { u[at(i)] += p * sum[at(j)]; });
      }
      for (Index i = 0; i < n(); ++i) {
        u[at(i)] += phasic::PHASIC_ISA::times(z[at(i)], c[at(k)]);
      }
      sum = std::move(u);
    }
    z = std::move(sum);
  }

  void reverse_powers() {
    for (Index b = ssize(power_) - 1; b > 0; --b) {
      add_product_transposed(power_bar_[at(b)], power_[at(b - 1)], power_bar_[at(b - 1)]);
      add_transposed_product(power_[at(b - 1)], power_bar_[at(b)], power_bar_[at(b - 1)]);
    }
    if (power_.empty()) {
      return;
    }
    Matrix bar = power_bar_[0];
    for (Index k = ssize(stages_) - 1; k > 0; --k) {  // stage k = c I + P stage (k - 1)
      const Matrix& earlier = stages_[at(k - 1)];
      for (Index i = 0; i < n(); ++i) {
        stay_bar_[at(i)] += dot(bar.row(i), earlier.row(i), n());
        for (std::int32_t e = layout_->begin[at(i)]; e < layout_->begin[at(i + 1)]; ++e) {
          entry_bar_[at(e)] += dot(bar.row(i), earlier.row(layout_->target[at(e)]), n());
        }
      }
      Matrix next(n());
      add_applied_transposed(bar, next);
      bar = std::move(next);
    }
  }

  // G exits and start G^a, G = P - I: x G y has the adjoint of x P y, and moves on without it.
  void reverse_start() {
    add_pair(applied_bar_.data(), exits_.data());
    std::vector<N> moved(at(n()));
    chain_.apply_from_left(applied_bar_.data(), moved.data());
    for (Index i = 0; i < n(); ++i) {
      exits_bar_[at(i)] += moved[at(i)];
    }
    for (Index a = chain_.n_vectors() - 1; a > 0; --a) {
      add_pair(chain_.start_vector(a - 1), first_bar_[at(a)].data());
      chain_.add_applied(first_bar_[at(a)].data(), first_bar_[at(a - 1)].data());
    }
  }

  // The probability to stay is what the others lack to 1.
  void collect(Span<T> edge_bar, Span<T> start_bar) const {
    const double rate = chain_.rate();
    for (Index i = 0; i < n() && !edge_bar.empty(); ++i) {
      for (std::int32_t e = layout_->begin[at(i)]; e < layout_->begin[at(i + 1)]; ++e) {
        edge_bar[layout_->out[at(e)]] +=
            rounded<T>(divided(entry_bar_[at(e)] - stay_bar_[at(i)], rate));
      }
    }
    for (Index x = 0; x < ssize(layout_->exit_out) && !edge_bar.empty(); ++x) {
      const Index i = layout_->exit_position[at(layout_->exit_of[at(x)])];
      edge_bar[layout_->exit_out[at(x)]] +=
          rounded<T>(divided(exits_bar_[at(i)] - stay_bar_[at(i)], rate));
    }
    for (Index e = 0; e < start_bar.size(); ++e) {
      if (layout_->start_position[at(e)] >= 0) {
        start_bar[e] += rounded<T>(first_bar_[0][at(layout_->start_position[at(e)])]);
      }
    }
  }

  const TransitionLayout* layout_ = nullptr;
  int order_ = 0, n_derivatives_ = 0, n_densities_ = 0, n_digits_ = 0;
  double step_ = 1;
  Chain<N> chain_;
  std::vector<Time> times_;
  std::vector<Matrix> stages_, power_, power_bar_;
  std::vector<N> edge_, start_, ones_, exits_, applied_, slope_;
  std::vector<N> entry_bar_, stay_bar_, exits_bar_, applied_bar_;
  std::vector<std::vector<N>> first_bar_;  // (n_vectors, n)
};

}  // namespace phasic::PHASIC_ISA
