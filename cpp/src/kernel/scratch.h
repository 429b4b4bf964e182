// Arrays of lanes whose memory is used again by the thread's next call.
//
// A large array that is freed goes back to the system, and the next one pays for every page of it
// anew: for one parameter vector that costs more than the arithmetic. Each thread keeps the last few
// arrays it freed, up to a few megabytes.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

#include "phasic/base.h"

namespace phasic::detail {

// Memory of exactly this size, aligned for any lane type; contents undefined.
[[nodiscard]] void* take_scratch(std::size_t bytes);
void give_scratch(void* memory, std::size_t bytes) noexcept;

// Elements that are resized into existence are not initialised.
template <class T>
struct ScratchAllocator {
  using value_type = T;
  ScratchAllocator() = default;
  template <class U>
  ScratchAllocator(const ScratchAllocator<U>&) noexcept {}
  [[nodiscard]] T* allocate(std::size_t n) { return static_cast<T*>(take_scratch(n * sizeof(T))); }
  void deallocate(T* memory, std::size_t n) noexcept { give_scratch(memory, n * sizeof(T)); }
  template <class U>
  void construct(U* place) noexcept {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class First, class... Rest>
  void construct(U* place, First&& first, Rest&&... rest) {
    ::new (static_cast<void*>(place)) U(static_cast<First&&>(first), static_cast<Rest&&>(rest)...);
  }
  friend bool operator==(const ScratchAllocator&, const ScratchAllocator&) noexcept { return true; }
  friend bool operator!=(const ScratchAllocator&, const ScratchAllocator&) noexcept { return false; }
};

template <class T>
using Scratch = std::vector<T, ScratchAllocator<T>>;

}  // namespace phasic::detail

namespace phasic {

template <class T>
[[nodiscard]] Index ssize(const detail::Scratch<T>& array) noexcept {
  return static_cast<Index>(array.size());
}

}  // namespace phasic
