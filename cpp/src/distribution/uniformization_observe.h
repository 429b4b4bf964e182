// What is read off the chain at every step: one row of numbers, and its adjoint.
//
//   pdf  c_k, what step k absorbs            sf   m_k, the mass of v_k
//   cdf  a_k = c_0 + .. + c_(k-1)            state_probability  v_k, and the same sum by class
//   accumulated_occupancy  v_0 + .. + v_(k-1)
// Sums of non-negative terms only. m_k carries the exponent of the chain, a_k the one it started
// with; the chain is not rescaled for the last two quantities.
//
// Where derivatives are wanted, cdf and sf have paired rows, (a_k, m_k) and (m_k, a_k): the two add
// up to the start mass, so derivatives of the larger are those of the smaller with the other sign.
// Taken from the larger they would be differences of numbers near 1.
#pragma once

#include <vector>

#include "distribution/uniformization_chain.h"

namespace phasic::PHASIC_ISA {

template <class T>
class Observation {
 public:
  using Base = typename Traits<T>::Base;

  // Loads the chain and goes to step 0. slopes: derivatives in time are wanted.
  void begin(const TransitionLayout& layout, Chain<T>& chain, Span<const T> edge,
             Span<const T> start, bool record, bool slopes) {
    layout_ = &layout;
    const bool distribution = quantity() == Quantity::cdf || quantity() == Quantity::sf;
    paired_ = distribution && (record || slopes || Traits<T>::levels > 0);
    chain.load(layout, edge, start);
    chain.restart(!layout.by_vertex(), record);
    sum_ = T(0.0);
    absorbed_.assign(at(layout.n_classes), T(0.0));
    visits_.assign(quantity() == Quantity::accumulated_occupancy ? at(n()) : 0, T(0.0));
    atom_ = remainder_of<T>(Base(1.0), start.data(), nullptr, start.size());
    for (Index e = 0; e < start.size(); ++e) {
      if (layout.start_position[at(e)] < 0) {
        atom_ += start[e];
        if (layout.by_vertex()) {
          absorbed_[at(layout.start_class[at(e)])] += start[e];
        }
      }
    }
  }

  // Entries of a row.
  [[nodiscard]] Index width() const {
    switch (quantity()) {
      case Quantity::state_probability:
        return n() + layout_->n_classes;
      case Quantity::accumulated_occupancy:
        return n();
      default:
        return paired_ ? 2 : 1;
    }
  }
  [[nodiscard]] bool paired() const { return paired_; }
  // Does entry i of a row hold a_k? (cdf and sf)
  [[nodiscard]] bool is_sum(Index i) const { return (quantity() == Quantity::cdf) == (i == 0); }
  // Exponent of entry i of the rows of a chunk in which the chain has the given one.
  [[nodiscard]] const Base& exponent(const Chain<T>& chain, const Base& chain_exponent,
                                     Index i) const {
    return quantity() != Quantity::pdf && is_sum(i) ? chain.start_exponent() : chain_exponent;
  }
  // Probability of being absorbed at time 0, the defect included; part of cdf and of pmf(0).
  [[nodiscard]] const T& atom() const { return atom_; }

  // Moves the chain by one chunk; rows: (kChunk, width), the rows before each of its steps.
  void advance(Chain<T>& chain, T* rows) {
    const Base unit = power_of_two(chain.exponent() - chain.start_exponent());
    switch (quantity()) {
      case Quantity::pdf:
        return chain.advance_chunk([&](Index j) { rows[j] = chain.flux(); });
      case Quantity::sf:
      case Quantity::cdf:
        return chain.advance_chunk([&](Index j) {
          for (Index i = 0; i < width(); ++i) {
            rows[j * width() + i] = is_sum(i) ? sum_ : chain.total(chain.v());
          }
          if (paired_ || is_sum(0)) {
            sum_ += scaled(chain.flux(), unit);
          }
        });
      case Quantity::state_probability:
        return chain.advance_chunk([&](Index j) {
          T* const row = rows + j * width();
          std::copy_n(chain.v(), n(), row);
          std::copy(absorbed_.begin(), absorbed_.end(), row + n());
          chain.add_flux(absorbed_.data());
        });
      default:
        return chain.advance_chunk([&](Index j) {
          std::copy(visits_.begin(), visits_.end(), rows + j * n());
          for (Index i = 0; i < n(); ++i) {
            visits_[at(i)] += chain.v()[i];
          }
        });
    }
  }

  // --- adjoint, from the last step to the first
  void begin_reverse() {
    absorbed_bar_.assign(at(std::max<Index>(layout_->n_classes, 1)), T(0.0));
    visits_bar_.assign(visits_.size(), T(0.0));
    sum_bar_ = T(0.0);
  }
  // d result / d (what the step absorbs), by class. unit: 2^(exponent of v - its first exponent).
  const T* absorbed(const T* row_bar, const Base& unit) {
    if (quantity() == Quantity::pdf) {
      absorbed_bar_[0] = row_bar[0];
    } else if (!layout_->by_vertex()) {
      absorbed_bar_[0] = scaled(sum_bar_, unit);
    }
    return absorbed_bar_.data();
  }
  // Adds the step's own source to z and moves the sums back over it.
  void add(const T* row_bar, T* z) {
    switch (quantity()) {
      case Quantity::pdf:
        return;
      case Quantity::cdf:
      case Quantity::sf:
        for (Index i = 0; i < width(); ++i) {
          if (is_sum(i)) {
            sum_bar_ += row_bar[i];
            continue;
          }
          for (Index u = 0; u < n(); ++u) {
            z[u] += row_bar[i];
          }
        }
        return;
      case Quantity::state_probability:
        for (Index i = 0; i < n(); ++i) {
          z[i] += row_bar[i];
        }
        for (Index a = 0; a < layout_->n_classes; ++a) {
          absorbed_bar_[at(a)] += row_bar[n() + a];
        }
        return;
      default:
        for (Index i = 0; i < n(); ++i) {
          z[i] += visits_bar_[at(i)];
          visits_bar_[at(i)] += row_bar[i];
        }
    }
  }
  // The atom lacks what the start puts into transient vertices.
  void add_atom_adjoint(const T& atom_bar, Span<T> start_bar) const {
    for (Index e = 0; e < start_bar.size(); ++e) {
      if (layout_->start_position[at(e)] >= 0) {
        start_bar[e] -= atom_bar;
      }
    }
  }
  // What the start puts into absorbing vertices at once.
  void collect(Span<T> start_bar) const {
    for (Index e = 0; e < start_bar.size() && layout_->by_vertex(); ++e) {
      if (layout_->start_class[at(e)] >= 0) {
        start_bar[e] += absorbed_bar_[at(layout_->start_class[at(e)])];
      }
    }
  }

 private:
  [[nodiscard]] Quantity quantity() const { return layout_->quantity; }
  [[nodiscard]] Index n() const { return layout_->n_positions; }

  const TransitionLayout* layout_ = nullptr;
  bool paired_ = false;
  T atom_, sum_{0.0}, sum_bar_;
  std::vector<T> absorbed_, absorbed_bar_;  // (n_classes)
  std::vector<T> visits_, visits_bar_;      // (n_positions)
};

// Joins a chain, its observation and whoever knows the adjoint of the rows:
//   rows.open_stretch(first, last, exponents)     before the chunks [first, last) are walked
//   const T* rows.of(chunk, exponent)             (kChunk, width) for one of them
template <class T, class Rows>
struct ReverseSource {
  using Base = typename Traits<T>::Base;
  const Chain<T>& chain;
  Observation<T>& observation;
  Rows& rows;
  const T* row_bar = nullptr;
  Base unit{1.0};

  void open_stretch(Index first, Index last, const Base* exponents) {
    rows.open_stretch(first, last, exponents);
  }
  void open_chunk(Index chunk, const Base& exponent) {
    row_bar = rows.of(chunk, exponent);
    unit = power_of_two(exponent - chain.start_exponent());
  }
  const T* absorbed(Index j) {
    return observation.absorbed(row_bar + j * observation.width(), unit);
  }
  void add(Index j, T* z) { observation.add(row_bar + j * observation.width(), z); }
};

}  // namespace phasic::PHASIC_ISA
