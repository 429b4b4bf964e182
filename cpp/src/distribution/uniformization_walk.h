// The order in which a step walks over the positions of the first regions: those with equally many
// transitions follow each other (a run), since loops of changing length cost more than the arithmetic
// in them.
#pragma once

#include <type_traits>
#include <vector>

#include "distribution/twice.h"
#include "distribution/uniformization_layout.h"

namespace phasic::PHASIC_ISA {

using phasic::detail::TransitionLayout;

struct Run {
  std::int32_t begin, end;  // of the walk
  std::int32_t degree;      // transitions of each of its positions
};

struct Walk {
  Index n_regions = -1;                // that it covers
  std::vector<std::int32_t> position;  // by degree, then by region
  std::vector<Run> run;

  // begin: (n_positions + 1) of the transitions that count.
  void form(const TransitionLayout& layout, Index regions, const std::vector<std::int32_t>& begin) {
    n_regions = regions;
    const Index n = layout.region_begin[at(regions)];
    const auto degree_of = [&](std::int32_t i) { return begin[at(i + 1)] - begin[at(i)]; };
    next_.clear();
    for (Index w = 0; w < n; ++w) {
      const auto d = at(degree_of(layout.region_position[at(w)]));
      if (d + 1 >= next_.size()) {
        next_.resize(d + 2, 0);
      }
      ++next_[d + 1];
    }
    run.clear();
    for (std::size_t d = 0; d + 1 < next_.size(); ++d) {
      next_[d + 1] += next_[d];
      if (next_[d + 1] > next_[d]) {
        run.push_back({next_[d], next_[d + 1], static_cast<std::int32_t>(d)});
      }
    }
    position.resize(at(n));
    for (Index w = 0; w < n; ++w) {
      const std::int32_t i = layout.region_position[at(w)];
      position[at(next_[at(degree_of(i))]++)] = i;
    }
  }

 private:
  std::vector<std::int32_t> next_;
};

// Calls f with the degree of a run as a constant, -1 if it is a large one or if arithmetic on N weighs
// more than loops.
inline constexpr int kUnrolled = 12;

template <int kLast, class F>
void with_degree_below(std::int32_t degree, F&& f) {
  if constexpr (kLast < 0) {
    f(std::integral_constant<int, -1>{});
  } else {
    if (degree == kLast) {
      f(std::integral_constant<int, kLast>{});
    } else {
      with_degree_below<kLast - 1>(degree, f);
    }
  }
}
template <class N, class F>
void with_degree(std::int32_t degree, F&& f) {
  constexpr bool kPlain = std::is_same_v<N, typename Traits<N>::Base>;
  with_degree_below<kPlain ? kUnrolled : -1>(degree, f);
}

// The transitions into the positions of a walk, in its order.
struct IncomingWalk {
  Walk walk;
  std::vector<std::int32_t> source, weight;

  void form(const TransitionLayout& layout, Index regions) {
    walk.form(layout, regions, layout.in_begin);
    source.clear();
    weight.clear();
    for (const std::int32_t i : walk.position) {
      for (std::int32_t e = layout.in_begin[at(i)]; e < layout.in_begin[at(i + 1)]; ++e) {
        source.push_back(layout.in_source[at(e)]);
        weight.push_back(layout.in_weight[at(e)]);
      }
    }
  }
};

}  // namespace phasic::PHASIC_ISA
