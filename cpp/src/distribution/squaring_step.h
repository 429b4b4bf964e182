// The transition probabilities of one step, and of twice that step, with exact derivatives.
//
// 1. first(): e = exp(S h) by the Taylor series of the non-negative matrix S + q, in Horner's form,
//    q h <= 1/4; the columns of absorption and the matrix of occupancy ride along as an augmented
//    generator. Discrete: e = P.
// 2. square(): e <- e e, a <- a + e a, g <- g + e g. Sums and products of non-negative numbers.
// 3. After each of these every row is divided by its sum, absorption included, which is 1. Rounding
//    would double the error of that sum with every squaring; held at 1, errors keep a mean of zero
//    over the row and mixing averages them out, in the derivatives as well.
// 4. A row whose entries become tiny carries a power of two, so that tails do not underflow.
// Source: scaling and squaring of essentially non-negative matrices, Xue and Ye 2013 (Math. Comp.
// 82:1577), Shao, Gao and Xue 2014; the division by row sums is what GTH elimination does to pivots.
#pragma once

#include <cmath>

#include "distribution/jets.h"
#include "distribution/uniformization_layout.h"

namespace phasic::PHASIC_ISA {

// 1 - x - y - .. with the rounding of every step added at the end: exact but for one rounding.
class Remainder {
 public:
  void take(double x) {
    const double next = value_ - x, back = next + x;
    error_ += (value_ - back) - (x - (back - next));
    value_ = next;
  }
  [[nodiscard]] double value() const { return value_ + error_; }

 private:
  double value_ = 1, error_ = 0;
};

// Rates (discrete: probabilities) of one parameter vector, all planes.
struct JetGenerator {
  const detail::TransitionLayout* layout = nullptr;
  std::vector<double> transition;  // (n_planes, n_transitions)
  std::vector<double> exit;        // (n_planes, n_exits)
  std::vector<double> total;       // (n_planes, n_positions) what leaves a position
  std::vector<double> lacks;       // (n_positions) what the total lacks to 1; discrete
  double rate = 0;                 // the largest total

  // edge: (n_planes, n_out)
  void load(const JetAlgebra& algebra, const detail::TransitionLayout& from, Span<const double> edge) {
    layout = &from;
    const Index planes = algebra.n_planes(), n = from.n_positions;
    transition.assign(at(planes * from.n_transitions()), 0.0);
    exit.assign(at(planes * from.n_exits()), 0.0);
    total.assign(at(planes * n), 0.0);
    for (Index p = 0; p < planes; ++p) {
      const double* const w = edge.data() + p * from.n_out;
      for (Index e = 0; e < from.n_transitions(); ++e) {
        transition[at(p * from.n_transitions() + e)] = w[from.out[at(e)]];
      }
      for (Index e = 0; e < ssize(from.exit_out); ++e) {
        exit[at(p * from.n_exits() + from.exit_of[at(e)])] += w[from.exit_out[at(e)]];
      }
      for (Index k = 0; k < n; ++k) {
        for (Index e = from.out_begin[at(k)]; e < from.out_begin[at(k + 1)]; ++e) {
          total[at(p * n + k)] += w[e];
        }
      }
    }
    lacks.assign(at(from.discrete ? n : 0), 0.0);
    for (Index k = 0; k < ssize(lacks); ++k) {
      Remainder rest;
      for (Index e = from.out_begin[at(k)]; e < from.out_begin[at(k + 1)]; ++e) {
        rest.take(edge[e]);
      }
      lacks[at(k)] = std::max(rest.value(), 0.0);
    }
    rate = n == 0 ? 0.0 : *std::max_element(total.begin(), total.begin() + n);
  }
  // Coefficient of position k on itself in S + q.
  [[nodiscard]] double stay(Index plane, Index k) const {
    return (plane == 0 ? rate : 0.0) - total[at(plane * layout->n_positions + k)];
  }
};

// e^x to `kTerms` terms at x = q h <= 1/4: what is left out is below 1e-19 of every entry that at
// most a few jumps lead to, see Squaring for the choice of h.
inline constexpr int kTerms = 13;

class SquaringStep {
 public:
  JetMatrix e;                   // (n, n) times 2^exponent of the row
  JetMatrix a;                   // (n, n_classes) absorbed within the step
  JetMatrix g;                   // (n, n) occupancy within the step; (0, 0) unless asked for
  std::vector<double> exponent;  // (n) whole numbers

  void prepare(const JetAlgebra& algebra, const Program& program,
               const detail::TransitionLayout& layout) {
    algebra_ = &algebra;
    layout_ = &layout;
    const Index n = layout.n_positions;
    const bool occupancy = layout.quantity == Quantity::accumulated_occupancy;
    for (JetMatrix* m : {&e, &next_e_, &left_}) {
      m->resize(algebra, n, n);
    }
    for (JetMatrix* m : {&a, &next_a_}) {
      m->resize(algebra, n, layout.n_classes);
    }
    for (JetMatrix* m : {&g, &next_g_}) {
      m->resize(algebra, occupancy ? n : 0, occupancy ? n : 0);
    }
    exponent.assign(at(n), 0.0);
    first_column_.resize(at(n));
    last_column_.resize(at(n));
    for (Index b = 0; b < program.n_blocks(); ++b) {
      for (Index k = program.block_begin[at(b)]; k < program.block_begin[at(b + 1)]; ++k) {
        first_column_[at(k)] = program.block_begin[at(b)];
        last_column_[at(k)] = program.block_begin[at(b + 1)];
      }
    }
  }

  // Where the inner sums of x * e and of e * x run.
  [[nodiscard]] InnerBounds bounds_right() const { return {first_column_, {}}; }
  [[nodiscard]] InnerBounds bounds_left() const { return {{}, last_column_}; }

  void first(const JetGenerator& s, double h) {
    add_identity(e, 1.0);
    double absorbing = 1;  // the series of an absorbing vertex, which stays with rate q
    for (int k = kTerms; k >= 1; --k) {
      const double f = h / k;
      apply(s, f, e, next_e_);
      apply(s, f, a, next_a_);
      for (Index p = 0; p < algebra_->n_planes(); ++p) {
        for (Index x = 0; x < s.layout->n_exits(); ++x) {
          next_a_.row(p, s.layout->exit_position[at(x)])[s.layout->exit_class[at(x)]] +=
              f * absorbing * s.exit[at(p * s.layout->n_exits() + x)];
        }
      }
      if (g.rows() > 0) {
        apply(s, f, g, next_g_);
        add_identity(next_g_, f * absorbing);
        std::swap(g, next_g_);
      }
      add_identity(next_e_, 1.0);
      std::swap(e, next_e_);
      std::swap(a, next_a_);
      absorbing = absorbing * s.rate * f + 1;
    }
    for (double& x : g.values()) {
      x /= absorbing;  // e^(q h), which the division takes out of e and a
    }
    divide_rows();
  }

  // Discrete: what a row lacks to 1 is the probability to stay.
  void first(const JetGenerator& p) {
    for (Index s = 0; s < algebra_->n_planes(); ++s) {
      for (Index k = 0; k < e.rows(); ++k) {
        e.row(s, k)[k] = s == 0 ? p.lacks[at(k)] : -p.total[at(s * e.rows() + k)];
        for (Index t = layout_->begin[at(k)]; t < layout_->begin[at(k + 1)]; ++t) {
          e.row(s, k)[layout_->target[at(t)]] += p.transition[at(s * layout_->n_transitions() + t)];
        }
      }
      for (Index x = 0; x < layout_->n_exits(); ++x) {
        a.row(s, layout_->exit_position[at(x)])[layout_->exit_class[at(x)]] +=
            p.exit[at(s * layout_->n_exits() + x)];
      }
    }
    if (g.rows() > 0) {
      add_identity(g, 1.0);
    }
    divide_rows();
  }

  void square() {
    next_e_.clear();
    next_a_.clear();
    add_product(*algebra_, e, a, next_a_, bounds_left());
    add_scaled(next_a_, exponent, a);
    std::swap(a, next_a_);
    if (g.rows() > 0) {
      next_g_.clear();
      add_product(*algebra_, e, g, next_g_, {first_column_, last_column_});
      add_scaled(next_g_, exponent, g);
      std::swap(g, next_g_);
    }
    next_exponent_ = exponent;
    const JetMatrix& left = align(e, next_exponent_, left_);
    add_product(*algebra_, left, e, next_e_, {first_column_, last_column_});
    std::swap(e, next_e_);
    std::swap(exponent, next_exponent_);
    divide_rows();
    rescale(e, exponent);
  }

  // Rows of x (times 2^row_exponent) as left factors of e: entry l takes the exponent of row l of e,
  // and the row one that its largest entry allows. Returns x itself where no row of e has any.
  const JetMatrix& align(const JetMatrix& x, std::vector<double>& row_exponent, JetMatrix& scratch) const {
    if (std::all_of(exponent.begin(), exponent.end(), [](double y) { return y == 0; })) {
      return x;
    }
    scratch.resize(*algebra_, x.rows(), x.columns());
    for (Index i = 0; i < x.rows(); ++i) {
      double most = kNoExponent;
      for (Index p = 0; p < algebra_->n_planes(); ++p) {
        for (Index l = 0; l < x.columns(); ++l) {
          const double value = x.row(p, i)[l];
          most = value == 0 ? most : std::max(most, exponent[at(l)] + std::ilogb(value));
        }
      }
      most = most == kNoExponent ? 0 : most;
      for (Index l = 0; l < x.columns(); ++l) {
        const double unit = std::exp2(std::min(exponent[at(l)] - most, kLargestExponent));
        for (Index p = 0; p < algebra_->n_planes(); ++p) {
          scratch.row(p, i)[l] = unit * x.row(p, i)[l];  // at most 2; an exact 0 stays one
        }
      }
      row_exponent[at(i)] += most;
    }
    return scratch;
  }

  // Gives rows whose largest entry is small a power of two.
  void rescale(JetMatrix& x, std::vector<double>& row_exponent) const {
    constexpr double kSmall = 1e-60;
    for (Index i = 0; i < x.rows(); ++i) {
      double largest = 0;
      for (Index p = 0; p < algebra_->n_planes(); ++p) {
        const double* const row = x.row(p, i);
        for (Index j = 0; j < x.columns(); ++j) {
          largest = std::max(largest, std::fabs(row[j]));
        }
      }
      if (largest > 0 && largest < kSmall) {
        const int shift = std::ilogb(largest);
        for (Index p = 0; p < algebra_->n_planes(); ++p) {
          for (Index j = 0; j < x.columns(); ++j) {
            x.row(p, i)[j] = std::ldexp(x.row(p, i)[j], -shift);
          }
        }
        row_exponent[at(i)] += shift;
      }
    }
  }

 private:
  static constexpr double kNoExponent = -1e300, kLargestExponent = 1000;

  void add_identity(JetMatrix& x, double value) const {
    for (Index k = 0; k < x.rows(); ++k) {
      x.row(0, k)[k] += value;
    }
  }

  // out = f (S + q) x
  void apply(const JetGenerator& s, double f, const JetMatrix& x, JetMatrix& out) const {
    const Index width = x.stride(), n = x.rows(), n_transitions = layout_->n_transitions();
    const auto add = [width](double c, const double* from, double* to) {
      for (Index j = 0; j < width && c != 0; ++j) {
        to[j] += c * from[j];
      }
    };
    out.clear();
    for (const PlaneProduct& p : algebra_->products()) {
      for (Index k = 0; k < n; ++k) {
        double* const to = out.row(p.out, k);
        add(f * s.stay(p.left, k), x.row(p.right, k), to);
        for (Index t = layout_->begin[at(k)]; t < layout_->begin[at(k + 1)]; ++t) {
          add(f * s.transition[at(p.left * n_transitions + t)],
              x.row(p.right, layout_->target[at(t)]), to);
        }
      }
    }
  }

  // x = 2^row_exponent x + y
  void add_scaled(JetMatrix& x, const std::vector<double>& row_exponent, const JetMatrix& y) const {
    for (Index p = 0; p < algebra_->n_planes(); ++p) {
      for (Index i = 0; i < x.rows(); ++i) {
        const double unit = std::exp2(row_exponent[at(i)]);
        for (Index j = 0; j < x.columns(); ++j) {
          x.row(p, i)[j] = unit * x.row(p, i)[j] + y.row(p, i)[j];
        }
      }
    }
  }

  // Divides the rows of e and a by what they sum to.
  void divide_rows() {
    const Index planes = algebra_->n_planes();
    std::vector<double> sum(at(planes)), inverse(at(planes));
    for (Index k = 0; k < e.rows(); ++k) {
      const double unit = std::exp2(exponent[at(k)]);
      for (Index p = 0; p < planes; ++p) {
        double inside = 0, absorbed = 0;
        for (Index j = 0; j < e.columns(); ++j) {
          inside += e.row(p, k)[j];
        }
        for (Index j = 0; j < a.columns(); ++j) {
          absorbed += a.row(p, k)[j];
        }
        sum[at(p)] = unit * inside + absorbed;
      }
      algebra_->invert(sum, inverse);
      multiply_row(inverse, e, k);
      multiply_row(inverse, a, k);
    }
  }

  void multiply_row(const std::vector<double>& factor, JetMatrix& x, Index k) {
    const Index planes = algebra_->n_planes(), width = x.stride();
    row_.assign(at(planes * width), 0.0);
    for (const PlaneProduct& p : algebra_->products()) {
      const double c = factor[at(p.left)];
      const double* const from = x.row(p.right, k);
      double* const to = row_.data() + p.out * width;
      for (Index j = 0; j < width; ++j) {
        to[j] += c * from[j];
      }
    }
    for (Index p = 0; p < planes; ++p) {
      std::copy_n(row_.data() + p * width, width, x.row(p, k));
    }
  }

  const JetAlgebra* algebra_ = nullptr;
  const detail::TransitionLayout* layout_ = nullptr;
  JetMatrix next_e_, next_a_, next_g_, left_;
  std::vector<double> next_exponent_, row_;
  std::vector<std::int32_t> first_column_, last_column_;
};

}  // namespace phasic::PHASIC_ISA
