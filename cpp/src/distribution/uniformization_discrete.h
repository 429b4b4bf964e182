// All density quantities of a discrete chain for one lane block, forward and adjoint.
//
// No weights: the result at time n is row n of the observation (pmf: row n - 1, and the atom at
// n = 0), picked lane by lane since every lane has its own n. Times are not differentiable.
#pragma once

#include "distribution/uniformization_scalar.h"

namespace phasic::PHASIC_ISA {

template <class T>
class DiscreteSweep {
 public:
  using Base = typename Traits<T>::Base;
  static constexpr int kLanes = Traits<T>::lanes;

  // out * 2^out_exponent is the result; out: (n_times), or (n_times, n_vertices) with exponent 0.
  void forward(const TransitionLayout& layout, Span<const T> edge, Span<const T> start,
               Span<const T> times, bool edges, Span<T> out, Span<Base> out_exponent) {
    layout_ = &layout;
    observation_.begin(layout, chain_, edge, start, edges, 0);
    const Index steps = form_rows(times);
    const bool pmf = layout.quantity == Quantity::pdf;
    std::fill(out.begin(), out.end(), pmf ? observation_.atom() : T(0.0));
    std::fill(out_exponent.begin(), out_exponent.end(), Base(0.0));
    rows_.resize(at(kChunk * width()));
    own_.assign(layout.by_vertex() ? 0 : at(times.size()), Base(1.0));
    while (chain_.n_chunks() * kChunk < steps) {
      const Index first = chain_.n_chunks() * kChunk;
      const Base exponent = chain_.exponent();
      observation_.advance(chain_, rows_.data());
      for_each_in(first, [&](Index time, int lane_index, Index k) {
        pick(rows_.data() + (k - first) * width(), exponent, time, lane_index, out, out_exponent);
      });
    }
    for (T& value : out) {
      mark_invalid(value, valid_);
    }
    out_exponent_.assign(out_exponent.begin(), out_exponent.end());
    out_.assign(out.begin(), out.end());
  }

  // As in ScalarSweep.
  void find_lost(int l, bool relative, std::vector<Index>& times) const {
    std::optional<LostMass> mass;
    for (const Pick& p : picks_) {
      const double value = lane(primal(out_[at(p.time)]), l);
      const double exponent =
          value > 0 ? lane(out_exponent_[at(p.time)], l) + std::ilogb(value) : kNoScale;
      if (p.lane_index != l || p.row < 0 || exponent > kUsualExponent) {
        continue;
      }
      if (!mass) {
        mass.emplace(chain_, l);
      }
      if (mass->matters(p.row + 1, exponent, 0, !relative, false, [&p](Index b, Index e) {
            return p.row >= b && (e < 0 || p.row < e) ? 0.0 : kNoScale;
          })) {
        times.push_back(p.time);
      }
    }
  }
  [[nodiscard]] bool cut_off(int l) const { return lane(cut_off_, l) > 0; }

  // All += .
  void adjoint(Span<const T> out_bar, Span<T> edge_bar, Span<T> start_bar) {
    out_bar_ = out_bar;
    choose_unit();
    cut_off_ = Base(0.0);
    observation_.begin_reverse();
    if (chain_.n_chunks() > 0) {
      Rows rows{*this};
      reverse_.run(chain_, ReverseSource<T, T, Rows>{chain_, observation_, rows});
      reverse_.collect(unit_, edge_bar, start_bar);
    }
    if (layout_->by_vertex()) {
      observation_.collect(start_bar);
    } else {
      add_atom_adjoint(start_bar);
    }
  }

 private:
  struct Pick {
    Index row, time;
    int lane_index;
  };

  [[nodiscard]] Index width() const { return observation_.width(); }

  // Sorts what is to be picked by row; returns how many rows are needed.
  Index form_rows(Span<const T> times) {
    valid_ = lanes_where(chain_.start_mass(), [](double m) { return m >= 0 && m <= 2; });
    for (const T& t : times) {
      valid_ *= lanes_where(primal(t), [](double n) { return n >= 0 && n <= kLargestRate; });
    }
    picks_.clear();
    for (Index i = 0; i < times.size(); ++i) {
      for (int l = 0; l < kLanes; ++l) {
        if (lane(valid_, l) == 1) {
          const Index n = static_cast<Index>(lane(primal(times[i]), l));
          picks_.push_back({layout_->quantity == Quantity::pdf ? n - 1 : n, i, l});
        }
      }
    }
    std::sort(picks_.begin(), picks_.end(),
              [](const Pick& a, const Pick& b) { return a.row < b.row; });
    return picks_.empty() ? 0 : picks_.back().row + 1;
  }

  // f(time, lane, row) for the picks in the chunk that begins at row `first`.
  template <class F>
  void for_each_in(Index first, F&& f) const {
    auto pick = std::lower_bound(picks_.begin(), picks_.end(), first,
                                 [](const Pick& p, Index row) { return p.row < row; });
    for (; pick != picks_.end() && pick->row < first + kChunk; ++pick) {
      f(pick->time, pick->lane_index, pick->row);
    }
  }

  void pick(const T* row, const Base& exponent, Index time, int lane_index, Span<T> out,
            Span<Base> out_exponent) {
    if (layout_->by_vertex()) {
      for (Index u = 0; u < width(); ++u) {
        copy_lane(out[time * layout_->n_vertices + layout_->vertex[at(u)]], row[u], lane_index);
      }
      return;
    }
    const bool cdf = layout_->quantity == Quantity::cdf;
    const T atom = cdf ? observation_.atom() : T(0.0);
    const Base size = exponent_of(magnitude(row[0]));
    const ScaledResult<T> own(scaled(row[0], power_of_two(-size)),
                              observation_.exponent(chain_, exponent, 0) + size, atom);
    T value = own.value;
    if (observation_.paired()) {
      const Base unit = power_of_two(observation_.exponent(chain_, exponent, 1));
      T complement = -scaled(row[1], unit) - (cdf ? T(0.0) : observation_.atom());
      const Base mine = own_is_smaller(row, exponent);
      set_primal(complement, primal(value));
      value = selected(mine, value, complement);
      set_lane(own_[at(time)], lane_index, lane(mine, lane_index));
    }
    copy_lane(out[time], value, lane_index);
    set_lane(out_exponent[time], lane_index, lane(own.exponent, lane_index));
  }

  [[nodiscard]] Base own_is_smaller(const T* row, const Base& exponent) const {
    const Base own = primal(row[0]) * power_of_two(observation_.exponent(chain_, exponent, 0));
    const Base other = primal(row[1]) * power_of_two(observation_.exponent(chain_, exponent, 1));
    return where_positive(own - other, Base(0.0), Base(1.0));
  }

  // --- adjoint
  void choose_unit() {
    Base largest(0.0);
    for (Index i = 0; i < out_bar_.size() && !layout_->by_vertex(); ++i) {
      largest = elementwise_max(largest, magnitude(out_bar_[i]) * magnitude(out_[at(i)]));
    }
    unit_ = exponent_of(largest);
  }

  // d <out_bar, out> / d rows, a chunk at a time.
  struct Rows {
    DiscreteSweep& sweep;
    void open_stretch(Index, Index, const Base*) {}
    const T* of(Index chunk, const Base& exponent) {
      std::fill(sweep.rows_.begin(), sweep.rows_.end(), T(0.0));
      sweep.for_each_in(chunk * kChunk, [&](Index time, int lane_index, Index k) {
        sweep.add_picked(exponent, time, lane_index,
                         sweep.rows_.data() + (k - chunk * kChunk) * sweep.width());
      });
      return sweep.rows_.data();
    }
  };

  void add_picked(const Base& exponent, Index time, int lane_index, T* row_bar) {
    if (layout_->by_vertex()) {
      for (Index u = 0; u < width(); ++u) {
        add_lane(row_bar[u], out_bar_[time * layout_->n_vertices + layout_->vertex[at(u)]],
                 lane_index);
      }
      return;
    }
    const Base bar_exponent = exponent_of(magnitude(out_bar_[time]));
    const Base unit = out_exponent_[at(time)] + unit_ - bar_exponent;
    for (Index s = 0; s < width(); ++s) {
      const T bar = scaled(series_share(time, s), power_of_two(-bar_exponent));
      const Base shift = observation_.exponent(chain_, exponent, s) - unit;
      if (lane(shift, lane_index) > kLargestExponent && lane(magnitude(bar), lane_index) > 0) {
        set_lane(cut_off_, lane_index, 1.0);
      }
      add_lane(row_bar[s], scaled(bar, power_of_two(shift, kLargestExponent)), lane_index);
    }
  }

  // The part of a cotangent that goes into an entry of the row.
  [[nodiscard]] T series_share(Index time, Index series) const {
    return scaled(out_bar_[time], series == 0 ? own_[at(time)] : own_[at(time)] - 1.0);
  }

  // cdf = atom + a_n or 1 - m_n, sf = m_n or 1 - atom - a_n, pmf(0) = atom.
  void add_atom_adjoint(Span<T> start_bar) const {
    T atom_bar(0.0);
    for (const Pick& p : picks_) {
      if (layout_->quantity != Quantity::pdf) {
        add_lane(atom_bar, series_share(p.time, layout_->quantity == Quantity::cdf ? 0 : 1),
                 p.lane_index);
      } else if (p.row < 0) {
        add_lane(atom_bar, out_bar_[p.time], p.lane_index);
      }
    }
    observation_.add_atom_adjoint(atom_bar, start_bar);
  }

  // Beyond it adjoints of states might leave the double range.
  static constexpr double kLargestExponent = 900;

  const TransitionLayout* layout_ = nullptr;
  Chain<T> chain_;
  Observation<T, T> observation_;
  ChainReverse<T> reverse_;
  Base valid_, unit_, cut_off_;
  Span<const T> out_bar_;
  std::vector<Pick> picks_;
  std::vector<T> rows_, out_;
  std::vector<Base> out_exponent_, own_;  // own_: 1 in lanes that take derivatives from entry 0
};

}  // namespace phasic::PHASIC_ISA
