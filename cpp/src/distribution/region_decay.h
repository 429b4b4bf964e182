// Which regions of the uniformised chain no longer matter: the certificate for forgetting them.
//
// v and w = v P are two consecutive vectors. A cut r parts the regions into U_r, those from r on, and
// D_r, those before; nothing flows from D_r into U_r.
//   a = max over U_r of w / v      b = min over D_r of w / v      g = 1 - a / b
//   s(l, r), l >= r: the largest part of an entry of w in D_r that flows there from U_l in this step
// 1. Later U_r decays by a in every step at least: U P <= a U, entry by entry, stays true.
// 2. D_r decays by b (1 - s_k) at most, s_k being s(r, r) in step k: w P >= b v P, but for inflow.
// 3. So s_k <= s(r, r) q^k with q = a / (b (1 - s / (1 - q))); where 8 s(r, r) <= g^2 (the cut is
//    valid), q <= 1 - g / 2. The same holds for s(l, r), of a faster U_l.
// 4. Without the regions from c on, let every later entry of region l lack at most the part e(l) of
//    itself: 1 from c on. At a valid cut r <= c, D_r then lacks at most what flows into it,
//      e(r - 1) = (2 / g) sum over l = r .. c of e(l) s(l, r).
// 5. What is absorbed and what is left in all lack the sums of e(l) times the parts of the regions,
//    which shrink further.
// The regions from c on are forgotten where 4. and 5. give less than 2^-110 of what is there: this is
// relative to every later result, far tails included. A derivative in parameters of what is left out
// is larger by up to 33 times the number of steps for each order, still far below rounding.
//
// Quotients of iterates of non-negative matrices as bounds: L. Collatz (1942), H. Wielandt (1950).
#pragma once

#include <algorithm>

#include "distribution/twice.h"
#include "distribution/uniformization_layout.h"

namespace phasic::PHASIC_ISA {

using phasic::detail::kMaxRegions;
using phasic::detail::TransitionLayout;

inline constexpr double kForgotten = 0x1p-110;
inline constexpr double kLeastGap = 0x1p-20;

template <class N>
class RegionDecay {
 public:
  using Base = typename Traits<N>::Base;

  // weight, absorb: of P. before, after: v and v P, of which the first n_regions may be other than 0.
  RegionDecay(const TransitionLayout& layout, const N* weight, const N* absorb, const N* before,
              const N* after, Index n_regions)
      : layout_(layout), n_regions_(n_regions) {
    std::fill(inflow_, inflow_ + kMaxRegions, Base(0.0));
    for (auto& row : share_) {
      std::fill(row, row + kMaxRegions, Base(0.0));
    }
    for (Index w = 0; w < layout_.region_begin[at(n_regions_)]; ++w) {
      const Index i = layout_.region_position[at(w)], r = layout_.region[at(i)];
      const Base x = primal(before[i]), y = primal(after[i]);
      region_[r].add(x, y, primal(absorb[i]));
      Index highest = r;
      for (Index e = layout_.in_begin[at(i)]; e < layout_.in_begin[at(i + 1)]; ++e) {
        const Index source = layout_.in_source[at(e)], from = layout_.region[at(source)];
        if (from > r && from < n_regions_) {
          inflow_[from] += primal(before[source]) * primal(weight[layout_.in_weight[at(e)]]);
          highest = std::max(highest, from);
        }
      }
      add_inflow(r, highest, y);
    }
    form_cuts();
  }

  // How many regions need to be kept, of those that are left.
  [[nodiscard]] Base kept(const Base& left) const {
    Base result = left;
    for (Index c = n_regions_ - 1; c > 0; --c) {
      const Base may = may_forget(c);
      if (max_lane(may) == 0) {
        break;
      }
      const Base cut(static_cast<double>(c));
      result = where_positive(may, elementwise_min(result, cut), result);
    }
    return where_positive(mass_, result, Base(1.0));
  }

 private:
  static constexpr double kHuge = 1e30, kTiny = 1e-280;

  // The largest and the least quotient, mass and absorption.
  struct Region {
    Base slowest{0.0}, quickest{kHuge}, mass{0.0}, flux{0.0};

    void add(const Base& x, const Base& y, const Base& absorb) {
      const Base quotient = y / where_positive(x, x, Base(1.0));
      const Base none = where_positive(y, Base(kHuge), Base(0.0));  // of an entry that was empty
      slowest = elementwise_max(slowest, where_positive(x, quotient, none));
      quickest = elementwise_min(quickest, where_positive(x, quotient, Base(kHuge)));
      mass += y;
      flux += y * absorb;
    }
  };

  // 1 in lanes that may forget the regions from c on, else 0.
  [[nodiscard]] Base may_forget(Index c) const {
    Base lack[kMaxRegions];  // e of the file header
    lack[c] = 1.0;
    for (Index r = c; r > 0; --r) {
      Base sum(0.0);
      for (Index l = r; l <= c; ++l) {
        sum += lack[l] * share_[l][r - 1];
      }
      lack[r - 1] =
          where_positive(valid_[r], elementwise_min(lack[r], sum * twice_inverse_gap_[r]), lack[r]);
    }
    Base mass(0.0), flux(0.0), mass_kept(0.0), flux_kept(0.0);
    for (Index r = 0; r < n_regions_; ++r) {
      const Base& part = lack[std::min(r, c)];
      mass += part * region_[r].mass;
      flux += part * region_[r].flux;
      const Base same = where_positive(part - lack[0], Base(0.0), Base(1.0));
      mass_kept += same * region_[r].mass;
      flux_kept += same * region_[r].flux;
    }
    const Base yes = where_positive(Base(kForgotten) - lack[0], Base(1.0), Base(0.0));
    const Base more = where_positive(mass_kept * kForgotten - mass, yes, Base(0.0));
    return where_positive(flux - flux_kept * kForgotten, Base(0.0), more);
  }

  void form_cuts() {
    for (Index l = 1; l < n_regions_; ++l) {  // from entries of one region to those of all before it
      for (Index r = 1; r < l; ++r) {
        share_[l][r] = elementwise_max(share_[l][r], share_[l][r - 1]);
      }
    }
    Base quickest[kMaxRegions], slowest(0.0);
    quickest[0] = kHuge;
    for (Index r = 1; r < n_regions_; ++r) {
      quickest[r] = elementwise_min(quickest[r - 1], region_[r - 1].quickest);
    }
    for (Index r = n_regions_ - 1; r > 0; --r) {
      slowest = elementwise_max(slowest, region_[r].slowest);
      const Base gap = (quickest[r] - slowest) / where_positive(quickest[r], quickest[r], Base(1.0));
      const Base decays = where_positive(gap - kLeastGap, Base(1.0), Base(0.0));
      valid_[r] = where_positive(gap * gap - share_[r][r - 1] * 8.0, decays, Base(0.0));
      twice_inverse_gap_[r] = 2.0 / where_positive(decays, gap, Base(1.0));
      mass_ += region_[r].mass;
    }
    mass_ += region_[0].mass;
  }

  // Adds a position of region r, with the entry y, to what flows there from later regions.
  void add_inflow(Index r, Index highest, const Base& y) {
    const Base large = y - kTiny;
    const Base inverse = 1.0 / where_positive(large, y, Base(1.0));
    Base sum(0.0);
    for (Index cut = highest; cut > r; --cut) {
      sum += inflow_[cut];
      inflow_[cut] = 0.0;
      const Base otherwise = where_positive(sum, Base(1.0), Base(0.0));
      Base& share = share_[cut][r];
      share = elementwise_max(share, where_positive(large, sum * inverse, otherwise));
    }
  }

  const TransitionLayout& layout_;
  Index n_regions_;
  Region region_[kMaxRegions];
  Base inflow_[kMaxRegions];  // into the open position, by region
  Base share_[kMaxRegions][kMaxRegions];      // [l][r]: s(l, r + 1)
  Base valid_[kMaxRegions], twice_inverse_gap_[kMaxRegions];
  Base mass_{0.0};
};

}  // namespace phasic::PHASIC_ISA
