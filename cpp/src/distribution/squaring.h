// Density quantities of one parameter vector by squaring, with exact derivatives, all times at once.
//
// 1. h is a power of two with q h <= 1/4, so that t = m h + r with whole m and exact r < h. It is at
//    most the shortest time / (4 n), so that the few jumps of a step matter and no more.
// 2. Rows of state probabilities, one a time, are moved by r with a Taylor series, then by 2^k h
//    for every binary digit of m, while the step is squared (SquaringStep).
// 3. A derivative in t is one along S (1 + eps): d/d eps = t d/dt. It therefore keeps its digits
//    where applying S to the result would cancel them. At t = 0 it is taken at 2^-60 / q.
// Work: log2(t / h) products of n x n matrices for every pair of planes; nothing grows with q t else.
// Relative accuracy of every value to a few units of rounding times n and times its own decay.
#pragma once

#include <limits>
#include <numeric>

#include "distribution/squaring_rest.h"

namespace phasic::PHASIC_ISA {

struct SquaringInput {
  const Program* program = nullptr;
  const detail::TransitionLayout* layout = nullptr;
  const JetAlgebra* algebra = nullptr;
  Span<const double> edge;     // (n_planes, n_out)
  Span<const double> start;    // (n_planes, n_start)
  Span<const double> times;    // (n_times) >= 0; whole numbers if discrete
  std::vector<Span<const double>> time_tangent;  // (levels) (n_times) if the level is of times, or empty
  bool time_direction = false;  // the one extra direction is a derivative in each time
  Index n_levels() const { return ssize(time_tangent); }
};

class Squaring {
 public:
  // Results are out * 2^exponent. out: (n_planes, n_times) or (n_planes, n_times, n_vertices), where
  // there is no exponent. exponent: (n_times), whole numbers.
  void forward(const SquaringInput& in, Span<double> out, Span<double> exponent) {
    in_ = &in;
    load();
    set_times();
    if (!layout().discrete) {
      move_by_rest();
    }
    double digit = 1;
    for (bool more = any_from(digit); more; digit *= 2) {
      move_by_digit(digit);
      more = any_from(2 * digit);
      if (more) {
        step_.square();
      }
    }
    std::fill(out.begin(), out.end(), 0.0);
    std::fill(exponent.begin(), exponent.end(), 0.0);
    if (layout().by_vertex()) {
      write_vertices(out);
    } else {
      write_scalars(out, exponent);
    }
    differentiate_in_time(out);
  }

 private:
  [[nodiscard]] const detail::TransitionLayout& layout() const { return *in_->layout; }
  [[nodiscard]] const JetAlgebra& algebra() const { return *in_->algebra; }
  [[nodiscard]] Index n() const { return layout().n_positions; }
  [[nodiscard]] bool is_time_level(Index level) const {
    return !in_->time_tangent[at(level)].empty() && !layout().discrete;
  }
  [[nodiscard]] bool differentiates_time() const {
    bool any = in_->time_direction;
    for (Index level = 0; level < in_->n_levels(); ++level) {
      any = any || is_time_level(level);
    }
    return any && !layout().discrete;
  }

  // Rates times (1 + the sum of eps over everything that is a derivative in time).
  void load() {
    const Index planes = algebra().n_planes(), n_out = layout().n_out;
    generator_.load(algebra(), layout(), in_->edge);
    exit_ = generator_.exit;
    if (differentiates_time()) {
      edge_.assign(in_->edge.begin(), in_->edge.end());
      const auto add = [&](Index to, Index from) {
        for (Index e = 0; e < n_out; ++e) {
          edge_[at(to * n_out + e)] += in_->edge[from * n_out + e];
        }
      };
      for (Index p = 0; p < planes; ++p) {
        for (Index level = 0; level < in_->n_levels(); ++level) {
          const Index bit = Index{1} << level;
          if (is_time_level(level) && (p % algebra().n_base() & bit) == 0) {
            add(p + bit, p);
          }
        }
      }
      for (Index s = 0; s < algebra().n_base() && in_->time_direction; ++s) {
        add(algebra().plane(0, s), s);
      }
      generator_.load(algebra(), layout(), edge_);
    }
    row_.resize(algebra(), in_->times.size(), n());
    absorbed_.resize(algebra(), in_->times.size(), layout().n_classes);
    visits_.resize(algebra(), layout().quantity == Quantity::accumulated_occupancy ? row_.rows() : 0, n());
    row_exponent_.assign(at(row_.rows()), 0.0);
    load_start();
  }

  void load_start() {
    const Index planes = algebra().n_planes();
    atom_.assign(at(planes), 0.0);
    Remainder rest;  // what the start does not put into transient vertices
    for (Index s = 0; s < ssize(layout().start_position); ++s) {
      rest.take(layout().start_position[at(s)] >= 0 ? in_->start[s] : 0.0);
    }
    for (Index p = 0; p < planes; ++p) {
      for (Index s = 0; s < ssize(layout().start_position); ++s) {
        const double w = in_->start[p * ssize(layout().start_position) + s];
        const Index position = layout().start_position[at(s)];
        atom_[at(p)] -= position >= 0 ? w : 0.0;
        for (Index i = 0; i < row_.rows(); ++i) {
          if (position >= 0) {
            row_.row(p, i)[position] += w;
          } else if (layout().quantity == Quantity::state_probability) {
            absorbed_.row(p, i)[layout().start_class[at(s)]] += w;
          }
        }
      }
    }
    double at_once = 0;  // what the start puts into absorbing vertices
    for (Index s = 0; s < ssize(layout().start_position); ++s) {
      at_once += layout().start_position[at(s)] >= 0 ? 0.0 : in_->start[s];
    }
    atom_[0] = std::max(rest.value(), at_once);  // start weights may exceed 1 by rounding
  }

  // Splits the times into whole steps and rests, and forms the first step.
  void set_times() {
    const double infinity = std::numeric_limits<double>::infinity();
    times_.assign(in_->times.begin(), in_->times.end());
    steps_.assign(times_.size(), 0.0);
    rest_.assign(times_.size(), 0.0);
    step_.prepare(algebra(), *in_->program, layout());
    if (layout().discrete) {
      const bool pmf = layout().quantity == Quantity::pdf;
      for (std::size_t i = 0; i < times_.size(); ++i) {
        steps_[i] = pmf ? std::max(times_[i] - 1, 0.0) : times_[i];
      }
      step_.first(generator_);
      return;
    }
    const double q = generator_.rate;
    double shortest = infinity;
    for (double& t : times_) {
      if (t == 0 && differentiates_time()) {
        t = q > 0 ? std::ldexp(1 / q, -60) : 1.0;
      }
      shortest = t > 0 ? std::min(shortest, t) : shortest;
    }
    const double longest_step = std::min(0.25 / q, shortest / (4.0 * static_cast<double>(std::max<Index>(n(), 1))));
    const double h = std::isfinite(longest_step) ? std::exp2(std::floor(std::log2(longest_step))) : 1.0;
    for (std::size_t i = 0; i < times_.size(); ++i) {
      steps_[i] = std::floor(times_[i] / h);
      rest_[i] = times_[i] - steps_[i] * h;
    }
    step_.first(generator_, h);
  }

  [[nodiscard]] bool any_from(double digit) const {
    return std::any_of(steps_.begin(), steps_.end(), [=](double m) { return m >= digit; });
  }

  void move_by_rest() {
    rest_series_.prepare(algebra(), layout());
    for (Index i = 0; i < row_.rows(); ++i) {
      if (rest_[at(i)] > 0) {
        rest_series_.move(generator_, rest_[at(i)], i, row_, absorbed_, visits_);
      }
    }
  }

  // Moves by the step those times whose digit is 1.
  void move_by_digit(double digit) {
    chosen_.clear();
    for (Index i = 0; i < row_.rows(); ++i) {
      if (std::fmod(std::floor(steps_[at(i)] / digit), 2.0) == 1) {
        chosen_.push_back(i);
      }
    }
    if (chosen_.empty()) {
      return;
    }
    const Index count = ssize(chosen_);
    from_.resize(algebra(), count, n());
    exponent_.clear();
    for (Index c = 0; c < count; ++c) {
      exponent_.push_back(row_exponent_[at(chosen_[at(c)])]);
    }
    each_chosen([&](Index p, Index c, Index i) { std::copy_n(row_.row(p, i), n(), from_.row(p, c)); });
    gather(step_.a, absorbed_);
    if (visits_.rows() > 0) {
      gather(step_.g, visits_);
    }
    const JetMatrix& left = step_.align(from_, exponent_, aligned_);
    to_.resize(algebra(), count, n());
    add_product(algebra(), left, step_.e, to_, step_.bounds_right());
    step_.rescale(to_, exponent_);
    each_chosen([&](Index p, Index c, Index i) { std::copy_n(to_.row(p, c), n(), row_.row(p, i)); });
    for (Index c = 0; c < count; ++c) {
      row_exponent_[at(chosen_[at(c)])] = exponent_[at(c)];
    }
  }

  template <class F>
  void each_chosen(F&& f) const {
    for (Index p = 0; p < algebra().n_planes(); ++p) {
      for (Index c = 0; c < ssize(chosen_); ++c) {
        f(p, c, chosen_[at(c)]);
      }
    }
  }

  // sum += 2^exponent from * step, for the chosen rows
  void gather(const JetMatrix& step, JetMatrix& sum) {
    to_.resize(algebra(), from_.rows(), step.columns());
    add_product(algebra(), from_, step, to_, {});
    each_chosen([&](Index p, Index c, Index i) {
      const double unit = std::exp2(exponent_[at(c)]);
      for (Index j = 0; j < step.columns(); ++j) {
        sum.row(p, i)[j] += unit * to_.row(p, c)[j];
      }
    });
  }

  // --- results
  // The plane with one derivative in time less, -1 if p has none. What an occupancy grows by with t is
  // the state probability; along S (1 + eps) it would be t times that minus the occupancy.
  [[nodiscard]] Index without_time(Index p) const {
    if (layout().discrete) {
      return -1;
    }
    if (in_->time_direction && p >= algebra().n_base()) {
      return p - algebra().n_base();
    }
    for (Index level = 0; level < in_->n_levels(); ++level) {
      const Index bit = Index{1} << level;
      if (is_time_level(level) && (p % algebra().n_base() & bit) != 0) {
        return p - bit;
      }
    }
    return -1;
  }

  void write_vertices(Span<double> out) const {
    const Index n_vertices = layout().n_vertices, n_times = row_.rows();
    const bool occupancy = layout().quantity == Quantity::accumulated_occupancy;
    for (Index p = 0; p < algebra().n_planes(); ++p) {
      for (Index i = 0; i < n_times; ++i) {
        double* const to = out.data() + (p * n_times + i) * n_vertices;
        const double unit = std::exp2(row_exponent_[at(i)]);
        const Index slope_of = occupancy ? without_time(p) : -1;
        const double* const row = slope_of >= 0 ? row_.row(slope_of, i) : row_.row(p, i);
        const double scale = slope_of >= 0 ? unit * times_[at(i)] : unit;
        for (Index k = 0; k < n(); ++k) {
          to[layout().vertex[at(k)]] = occupancy && slope_of < 0 ? visits_.row(p, i)[k] : scale * row[k];
        }
        for (Index c = 0; c < layout().n_classes && !occupancy; ++c) {
          to[layout().vertex[at(n() + c)]] = absorbed_.row(p, i)[c];
        }
      }
    }
  }

  void write_scalars(Span<double> out, Span<double> exponent) const {
    const Index planes = algebra().n_planes(), n_times = row_.rows();
    std::vector<double> value(at(planes));
    for (Index i = 0; i < n_times; ++i) {
      if (layout().quantity == Quantity::pdf) {
        exponent[i] = flux(i, value);
      } else {
        exponent[i] = distribution(i, value);
      }
      for (Index p = 0; p < planes; ++p) {
        out[p * n_times + i] = value[at(p)];
      }
    }
  }

  // Probability density (discrete: mass) of being absorbed now; returns the exponent.
  double flux(Index i, std::vector<double>& value) const {
    if (layout().discrete && in_->times[i] == 0) {
      value = atom_;
      return 0;
    }
    std::fill(value.begin(), value.end(), 0.0);
    for (const PlaneProduct& p : algebra().products()) {
      for (Index x = 0; x < layout().n_exits(); ++x) {
        value[at(p.out)] += row_.row(p.left, i)[layout().exit_position[at(x)]] *
                            exit_[at(p.right * layout().n_exits() + x)];
      }
    }
    return row_exponent_[at(i)];
  }

  // cdf and sf add up to 1: derivatives of the larger are those of the smaller with the other sign.
  double distribution(Index i, std::vector<double>& value) const {
    const bool cdf = layout().quantity == Quantity::cdf;
    const double unit = std::exp2(row_exponent_[at(i)]);
    std::vector<double> inside(value.size()), ended(atom_);
    for (Index p = 0; p < algebra().n_planes(); ++p) {
      const double* const row = row_.row(p, i);
      inside[at(p)] = std::accumulate(row, row + n(), 0.0);
      const double* const classes = absorbed_.row(p, i);
      ended[at(p)] += std::accumulate(classes, classes + layout().n_classes, 0.0);
    }
    const bool inside_is_smaller = unit * inside[0] < ended[0];
    const double to_cdf = unit, to_sf = cdf ? 1.0 : std::exp2(-row_exponent_[at(i)]);
    for (std::size_t p = 0; p < value.size(); ++p) {
      const bool own = p == 0 || inside_is_smaller != cdf;
      value[p] = cdf ? (own ? ended[p] : -to_cdf * inside[p]) : (own ? inside[p] : -to_sf * ended[p]);
    }
    return cdf ? 0.0 : row_exponent_[at(i)];
  }

  // d/d eps = t d/dt, for the planes that a derivative in time takes part in.
  void differentiate_in_time(Span<double> out) const {
    if (!differentiates_time()) {
      return;
    }
    const Index planes = algebra().n_planes(), n_times = row_.rows();
    const Index width = out.size() / (planes * n_times);
    for (Index p = 0; p < planes; ++p) {
      for (Index i = 0; i < n_times; ++i) {
        double factor = in_->time_direction && p >= algebra().n_base() ? 1 / times_[at(i)] : 1.0;
        for (Index level = 0; level < in_->n_levels(); ++level) {
          if (is_time_level(level) && (p % algebra().n_base() >> level & 1) == 1) {
            factor *= in_->time_tangent[at(level)][i] / times_[at(i)];
          }
        }
        double* const from = out.data() + (p * n_times + i) * width;
        std::transform(from, from + width, from, [=](double x) { return factor * x; });
      }
    }
  }

  const SquaringInput* in_ = nullptr;
  JetGenerator generator_;
  SquaringStep step_;
  RestSeries rest_series_;
  JetMatrix row_;       // (n_times, n) times 2^row_exponent
  JetMatrix absorbed_;  // (n_times, n_classes)
  JetMatrix visits_;    // (n_times, n) or (0, n)
  JetMatrix from_, to_, aligned_;
  std::vector<double> row_exponent_, exponent_, atom_, edge_, exit_, times_, steps_, rest_;
  std::vector<Index> chosen_;
};

}  // namespace phasic::PHASIC_ISA
