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
//
// Derivatives in time follow in the same row. With G = P - I = S / q, S the generator, the d-th one
// of f = start e^(St) exits is q^d start G^(d-1) e^(St) G exits: G is applied to both ends of the
// path, once, before the sweep. Differences of weights or of steps would cancel on stiff chains, and
// so would G^d at one end only. What a row holds:
//   pdf  d = 0, 1, ..      cdf, sf  those of the density      state  v_k G^d, and what v_k G^(d-1)
//   occupancy  d = 1, 2, ..: v_k G^(d-1)                      absorbs by class
#pragma once

#include <vector>

#include "distribution/uniformization_chain.h"

namespace phasic::PHASIC_ISA {

// T is the number type of a row, N that of the chain.
template <class T, class N>
class Observation {
 public:
  using Base = typename Traits<T>::Base;

  // Loads the chain and goes to step 0. order: of the derivatives in time that rows hold.
  void begin(const TransitionLayout& layout, Chain<N>& chain, Span<const T> edge,
             Span<const T> start, bool record, int order) {
    layout_ = &layout;
    order_ = order;
    const bool distribution = quantity() == Quantity::cdf || quantity() == Quantity::sf;
    paired_ = distribution && (record || order > 0 || Traits<T>::levels > 0);
    chain.load(layout, edge, start, n_vectors());
    chain.restart(!layout.by_vertex(), !layout.by_vertex() && order == 0, record);
    sum_ = N(0.0);
    absorbed_.assign(at(layout.n_classes), N(0.0));
    visits_.assign(quantity() == Quantity::accumulated_occupancy ? at(n()) : 0, N(0.0));
    observe_exits(chain);
    form_atom(start);
  }

  // Entries of a row.
  [[nodiscard]] Index width() const {
    switch (quantity()) {
      case Quantity::state_probability:
      case Quantity::accumulated_occupancy:
        return block() * (1 + order_);
      default:
        return first_density() + n_densities();
    }
  }
  // Entries of a row that belong to one order of derivative, where results are by vertex.
  [[nodiscard]] Index block() const {
    return quantity() == Quantity::state_probability ? n() + layout_->n_classes : n();
  }
  [[nodiscard]] bool paired() const { return paired_; }
  // The entry that holds the d-th derivative in time, d > 0, up to sign and q^d.
  [[nodiscard]] Index entry_of(int d) const { return first_density() + d - is_distribution(); }
  // Does entry i of a row hold a_k? (cdf and sf)
  [[nodiscard]] bool is_sum(Index i) const {
    return i < first_density() && (quantity() == Quantity::cdf) == (i == 0);
  }
  // Is entry i a sum of terms of either sign?
  [[nodiscard]] bool is_signed(Index i) const { return i > first_density(); }
  // The power of q that entry i lacks to what it stands for.
  [[nodiscard]] Index power(Index i) const { return std::max<Index>(i - first_density() + 1, 0); }
  // Exponent of entry i of the rows of a chunk in which the chain has the given one.
  [[nodiscard]] const Base& exponent(const Chain<N>& chain, const Base& chain_exponent,
                                     Index i) const {
    return is_sum(i) ? chain.start_exponent() : chain_exponent;
  }
  // A bound of entry i now (mantissa) and later, and from the start on (true value).
  [[nodiscard]] Base bound(const Chain<N>& chain, Index i) const {
    if (is_signed(i)) {
      return chain.norm(left(i)) * largest_;
    }
    return is_sum(i) ? chain.start_mass() : chain.mass();
  }
  [[nodiscard]] Base start_bound(const Chain<N>& chain, Index i) const {
    return is_signed(i) ? chain.start_norm(left(i)) * largest_ : chain.start_mass();
  }
  // Probability of being absorbed at time 0, the defect included; part of cdf and of pmf(0).
  [[nodiscard]] const T& atom() const { return atom_; }

  // Moves the chain by one chunk; rows: (kChunk, width), the rows before each of its steps.
  void advance(Chain<N>& chain, T* rows) {
    const Base unit = power_of_two(chain.exponent() - chain.start_exponent());
    switch (quantity()) {
      case Quantity::state_probability:
        return chain.advance_chunk([&](Index j) { read_states(chain, rows + j * width()); });
      case Quantity::accumulated_occupancy:
        return chain.advance_chunk([&](Index j) { read_visits(chain, rows + j * width()); });
      default:
        return chain.advance_chunk([&](Index j) { read(chain, unit, rows + j * width()); });
    }
  }

  // --- adjoint, from the last step to the first
  void begin_reverse() {
    absorbed_bar_.assign(at(std::max<Index>(layout_->n_classes, 1)), N(0.0));
    flux_bar_.assign(absorbed_bar_.size(), N(0.0));
    visits_bar_.assign(visits_.size(), N(0.0));
    observed_bar_.assign(observed_.size(), N(0.0));
    sum_bar_ = N(0.0);
  }
  // d result / d (what v G^a absorbs in this step), by class, or null if nothing depends on it.
  // unit: 2^(exponent of v - its first exponent).
  const N* absorbed(const T* row_bar, const Base& unit, Index a) {
    if (quantity() == Quantity::state_probability) {
      return absorbed_by_class(row_bar, a);
    }
    if (quantity() == Quantity::accumulated_occupancy || a > 0) {
      return a > 0 ? nullptr : absorbed_bar_.data();
    }
    flux_bar_[0] = scaled(sum_bar_, unit);
    if (n_densities() > 0) {
      flux_bar_[0] += widened<N>(row_bar[first_density()]);
    }
    return flux_bar_.data();
  }
  // Adds the step's own source to z, (n_vectors, n), and moves the sums back over it. v: that step's.
  void add(const T* row_bar, const N* v, N* z) {
    switch (quantity()) {
      case Quantity::state_probability:
        return add_states(row_bar, z);
      case Quantity::accumulated_occupancy:
        return add_visits(row_bar, z);
      default:
        return add_densities(row_bar, v, z);
    }
  }
  // The adjoint of G exits, moved into that of P.
  // pair(x, y): adds the adjoint of x G y; exits(y): that of y as a sum of exits.
  template <class Pair, class Exits>
  void reverse_observed(const Chain<N>& chain, Pair&& pair, Exits&& exits) {
    if (!observed_.empty()) {
      pair(observed_bar_.data(), chain.absorb());
      transfer_.resize(at(n()));
      chain.apply_from_left(observed_bar_.data(), transfer_.data());
      exits(transfer_.data());
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
        start_bar[e] += rounded<T>(absorbed_bar_[at(layout_->start_class[at(e)])]);
      }
    }
  }

 private:
  [[nodiscard]] Quantity quantity() const { return layout_->quantity; }
  [[nodiscard]] Index n() const { return layout_->n_positions; }
  [[nodiscard]] int is_distribution() const { return quantity() == Quantity::pdf ? 0 : 1; }

  // The entries of a row from first_density() on are density derivatives 0, 1, .. n_densities() - 1.
  [[nodiscard]] Index first_density() const {
    return quantity() == Quantity::pdf ? 0 : paired_ ? 2 : 1;
  }
  [[nodiscard]] Index n_densities() const { return 1 + order_ - is_distribution(); }
  // A signed entry i is v G^left times G exits.
  [[nodiscard]] Index left(Index i) const { return i - first_density() - 1; }
  [[nodiscard]] Index n_vectors() const {
    switch (quantity()) {
      case Quantity::state_probability:
        return 1 + order_;
      case Quantity::accumulated_occupancy:
        return std::max(order_, 1);
      default:
        return std::max<Index>(n_densities() - 1, 1);
    }
  }

  void form_atom(Span<const T> start) {
    atom_ = remainder_of<T>(Base(1.0), start.data(), nullptr, start.size());
    for (Index e = 0; e < start.size(); ++e) {
      if (layout_->start_position[at(e)] < 0) {
        atom_ += start[e];
        if (layout_->by_vertex()) {
          absorbed_[at(layout_->start_class[at(e)])] += widened<N>(start[e]);
        }
      }
    }
  }

  // G exits and its largest entry, where derivatives are read off it.
  void observe_exits(const Chain<N>& chain) {
    observed_.assign(layout_->by_vertex() || n_densities() < 2 ? 0 : at(n()), N(0.0));
    largest_ = Base(0.0);
    if (!observed_.empty()) {
      chain.add_applied(chain.absorb(), observed_.data());
    }
    for (const N& x : observed_) {
      largest_ = elementwise_max(largest_, magnitude(primal(x)));
    }
  }

  void read(const Chain<N>& chain, const Base& unit, T* row) {
    for (Index i = 0; i < first_density(); ++i) {
      row[i] = rounded<T>(is_sum(i) ? sum_ : chain.total(chain.v()));
    }
    const bool summed = first_density() == 2 || quantity() == Quantity::cdf;
    if (!summed && n_densities() == 0) {
      return;
    }
    const N flux = chain.flux();
    if (summed) {
      sum_ += scaled(flux, unit);
    }
    for (Index i = first_density(); i < width(); ++i) {
      row[i] = rounded<T>(is_signed(i) ? chain.dot(chain.v(left(i)), observed_.data()) : flux);
    }
  }

  void read_states(const Chain<N>& chain, T* row) {
    for (Index d = 0; d <= order_; ++d, row += block()) {
      for (Index i = 0; i < n(); ++i) {
        row[i] = rounded<T>(chain.v(d)[i]);
      }
      if (d > 0) {
        flux_.assign(absorbed_.size(), N(0.0));
        chain.add_flux(chain.v(d - 1), flux_.data());
      }
      for (Index c = 0; c < layout_->n_classes; ++c) {
        row[n() + c] = rounded<T>(d > 0 ? flux_[at(c)] : absorbed_[at(c)]);
      }
    }
    chain.add_flux(chain.v(), absorbed_.data());
  }

  void read_visits(const Chain<N>& chain, T* row) {
    for (Index i = 0; i < n(); ++i) {
      row[i] = rounded<T>(visits_[at(i)]);
      visits_[at(i)] += chain.v()[i];
    }
    for (Index d = 1; d <= order_; ++d) {
      for (Index i = 0; i < n(); ++i) {
        row[d * n() + i] = rounded<T>(chain.v(d - 1)[i]);
      }
    }
  }

  const N* absorbed_by_class(const T* row_bar, Index a) {
    for (Index c = 0; c < layout_->n_classes; ++c) {
      flux_bar_[at(c)] = a == 0 ? absorbed_bar_[at(c)] : N(0.0);
      if (a < order_) {
        flux_bar_[at(c)] += widened<N>(row_bar[(a + 1) * block() + n() + c]);
      }
    }
    return flux_bar_.data();
  }

  void add_states(const T* row_bar, N* z) {
    for (Index d = 0; d <= order_; ++d) {
      for (Index i = 0; i < n(); ++i) {
        z[d * n() + i] += widened<N>(row_bar[d * block() + i]);
      }
    }
    for (Index a = 0; a < layout_->n_classes; ++a) {
      absorbed_bar_[at(a)] += widened<N>(row_bar[n() + a]);
    }
  }

  void add_visits(const T* row_bar, N* z) {
    for (Index i = 0; i < n(); ++i) {
      z[i] += visits_bar_[at(i)];
      visits_bar_[at(i)] += widened<N>(row_bar[i]);
    }
    for (Index d = 1; d <= order_; ++d) {
      for (Index i = 0; i < n(); ++i) {
        z[(d - 1) * n() + i] += widened<N>(row_bar[d * n() + i]);
      }
    }
  }

  void add_densities(const T* row_bar, const N* v, N* z) {
    for (Index i = 0; i < first_density(); ++i) {
      const N bar = widened<N>(row_bar[i]);
      if (is_sum(i)) {
        sum_bar_ += bar;
        continue;
      }
      for (Index u = 0; u < n(); ++u) {
        z[u] += bar;
      }
    }
    for (Index i = first_density() + 1; i < width(); ++i) {
      const N bar = widened<N>(row_bar[i]);
      for (Index u = 0; u < n(); ++u) {
        z[left(i) * n() + u] += bar * observed_[at(u)];
        observed_bar_[at(u)] += bar * v[left(i) * n() + u];
      }
    }
  }

  const TransitionLayout* layout_ = nullptr;
  bool paired_ = false;
  int order_ = 0;
  T atom_;
  N sum_{0.0}, sum_bar_;
  std::vector<N> absorbed_, absorbed_bar_, flux_, flux_bar_;  // (n_classes)
  std::vector<N> visits_, visits_bar_;                        // (n_positions)
  std::vector<N> observed_, observed_bar_, transfer_;         // (n_positions) G exits
  Base largest_;                                              // magnitude of G exits
};

// Joins a chain, its observation and whoever knows the adjoint of the rows:
//   rows.open_stretch(first, last, exponents)     before the chunks [first, last) are walked
//   const T* rows.of(chunk, exponent)             (kChunk, width) for one of them
template <class T, class N, class Rows>
struct ReverseSource {
  using Base = typename Traits<T>::Base;
  const Chain<N>& chain;
  Observation<T, N>& observation;
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
  const N* absorbed(Index j, Index a) {
    return observation.absorbed(row_bar + j * observation.width(), unit, a);
  }
  void add(Index j, const N* v, N* z) {
    observation.add(row_bar + j * observation.width(), v, z);
  }
  template <class Pair, class Exits>
  void finish(Pair&& pair, Exits&& exits) {
    observation.reverse_observed(chain, pair, exits);
  }
};

}  // namespace phasic::PHASIC_ISA
