// One row of state probabilities moved by less than a step, with what it absorbs and visits.
//
// The Taylor series of the generator augmented by columns of absorption and of occupancy, all of it
// shifted by q so that no term is negative: SquaringStep::first applied to a row instead.
#pragma once

#include "distribution/squaring_step.h"

namespace phasic::PHASIC_ISA {

class RestSeries {
 public:
  void prepare(const JetAlgebra& algebra, const detail::TransitionLayout& layout) {
    algebra_ = &algebra;
    layout_ = &layout;
    const bool occupancy = layout.quantity == Quantity::accumulated_occupancy;
    for (Row* row : {&term_, &next_, &sum_}) {
      row->inside.resize(at(algebra.n_planes() * layout.n_positions));
      row->absorbed.resize(at(algebra.n_planes() * layout.n_classes));
      row->visits.resize(occupancy ? row->inside.size() : 0);
    }
  }

  // Row i of the three matrices after another `time` <= 1 / (4 q). visits may have no rows.
  void move(const JetGenerator& s, double time, Index i, JetMatrix& inside, JetMatrix& absorbed,
            JetMatrix& visits) {
    term_.clear();
    for (Index p = 0; p < algebra_->n_planes(); ++p) {
      std::copy_n(inside.row(p, i), layout_->n_positions, term_.inside.begin() + p * layout_->n_positions);
    }
    sum_ = term_;
    for (int k = 1; k <= kTerms; ++k) {
      advance(s, time / k);
      sum_.add(term_);
    }
    const double decay = std::exp(-s.rate * time);
    for (Index p = 0; p < algebra_->n_planes(); ++p) {
      for (Index k = 0; k < layout_->n_positions; ++k) {
        inside.row(p, i)[k] = decay * sum_.inside[at(p * layout_->n_positions + k)];
      }
      for (Index k = 0; k < layout_->n_positions && visits.rows() > 0; ++k) {
        visits.row(p, i)[k] = decay * sum_.visits[at(p * layout_->n_positions + k)];
      }
      for (Index c = 0; c < layout_->n_classes; ++c) {
        absorbed.row(p, i)[c] += decay * sum_.absorbed[at(p * layout_->n_classes + c)];
      }
    }
  }

 private:
  struct Row {
    std::vector<double> inside, absorbed, visits;  // (n_planes, n_positions | n_classes | n_positions)
    void clear() {
      for (std::vector<double>* x : {&inside, &absorbed, &visits}) {
        std::fill(x->begin(), x->end(), 0.0);
      }
    }
    void add(const Row& other) {
      const auto add_to = [](std::vector<double>& x, const std::vector<double>& y) {
        std::transform(x.begin(), x.end(), y.begin(), x.begin(), std::plus<>());
      };
      add_to(inside, other.inside);
      add_to(absorbed, other.absorbed);
      add_to(visits, other.visits);
    }
  };

  // term <- f term (S + q), augmented
  void advance(const JetGenerator& s, double f) {
    const detail::TransitionLayout& layout = *layout_;
    const Index n = layout.n_positions, n_transitions = layout.n_transitions();
    next_.clear();
    for (const PlaneProduct& p : algebra_->products()) {
      const double* const from = term_.inside.data() + p.right * n;
      double* const to = next_.inside.data() + p.out * n;
      for (Index k = 0; k < n; ++k) {
        const double x = f * from[k];
        to[k] += x * s.stay(p.left, k);
        for (Index t = layout.begin[at(k)]; t < layout.begin[at(k + 1)]; ++t) {
          to[layout.target[at(t)]] += x * s.transition[at(p.left * n_transitions + t)];
        }
      }
      for (Index x = 0; x < layout.n_exits(); ++x) {
        next_.absorbed[at(p.out * layout.n_classes + layout.exit_class[at(x)])] +=
            f * from[layout.exit_position[at(x)]] * s.exit[at(p.left * layout.n_exits() + x)];
      }
    }
    for (std::size_t c = 0; c < next_.absorbed.size(); ++c) {
      next_.absorbed[c] += f * s.rate * term_.absorbed[c];
    }
    for (std::size_t k = 0; k < next_.visits.size(); ++k) {
      next_.visits[k] = f * (s.rate * term_.visits[k] + term_.inside[k]);
    }
    std::swap(term_, next_);
  }

  const JetAlgebra* algebra_ = nullptr;
  const detail::TransitionLayout* layout_ = nullptr;
  Row term_, next_, sum_;
};

}  // namespace phasic::PHASIC_ISA
