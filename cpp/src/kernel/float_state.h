// Subnormals on, round to nearest: XLA calls handlers with FTZ and DAZ set, and threads inherit that.
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#include <cstdint>

namespace phasic {

// Sets the default floating-point state of this thread for its lifetime, then restores the old one.
class FloatState {
 public:
#if defined(__x86_64__) || defined(__i386__)
  FloatState() noexcept : saved_(_mm_getcsr()) {
    constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040, kRounding = 0x6000;
    _mm_setcsr(saved_ & ~(kFlushToZero | kDenormalsAreZero | kRounding));
  }
  ~FloatState() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FloatState() noexcept {
    constexpr std::uint64_t kFlushToZero = 1u << 24, kRounding = 3u << 22;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved_ & ~(kFlushToZero | kRounding)));
  }
  ~FloatState() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  std::uint64_t saved_;
#else
#error "phasic supports x86-64 and AArch64"
#endif
 public:
  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;
};

}  // namespace phasic
