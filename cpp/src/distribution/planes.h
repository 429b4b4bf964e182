// Numbers with derivative parts as planes of doubles, one plane for each set of levels.
#pragma once

#include "kernel/lane.h"

namespace phasic::PHASIC_ISA {

// The part of x in one lane that belongs to the levels in the bit set.
template <class T>
double plane_of(const T& x, Index levels, int i) {
  if constexpr (Traits<T>::levels == 0) {
    (void)levels;
    return lane(x, i);
  } else {
    constexpr Index kBit = Index{1} << (Traits<T>::levels - 1);
    return (levels & kBit) != 0 ? plane_of(x.tangent, levels & ~kBit, i) : plane_of(x.value, levels, i);
  }
}
template <class T>
void set_plane(T& x, Index levels, int i, double y) {
  if constexpr (Traits<T>::levels == 0) {
    (void)levels;
    set_lane(x, i, y);
  } else {
    constexpr Index kBit = Index{1} << (Traits<T>::levels - 1);
    if ((levels & kBit) != 0) {
      set_plane(x.tangent, levels & ~kBit, i, y);
    } else {
      set_plane(x.value, levels, i, y);
    }
  }
}

}  // namespace phasic::PHASIC_ISA
