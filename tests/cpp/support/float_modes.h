// The floating-point state that XLA sets before it calls a handler.
#pragma once

#include <cstdint>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace float_modes {

#if defined(__x86_64__) || defined(__i386__)
inline std::uint64_t state() { return _mm_getcsr(); }
inline void set_state(std::uint64_t value) { _mm_setcsr(static_cast<unsigned>(value)); }
inline constexpr std::uint64_t kFlush = 0x8040, kRoundUp = 0x4000;
#else
inline std::uint64_t state() {
  std::uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
inline void set_state(std::uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
inline constexpr std::uint64_t kFlush = 1u << 24, kRoundUp = 1u << 22;
#endif

// Subnormals are flushed (and, where the machine can, read as zero) while this lives.
class Flushed {
 public:
  explicit Flushed(std::uint64_t more = 0) : saved_(state()) { set_state(saved_ | kFlush | more); }
  ~Flushed() { set_state(saved_); }
  Flushed(const Flushed&) = delete;
  Flushed& operator=(const Flushed&) = delete;

 private:
  std::uint64_t saved_;
};

// Half of the least normal double: 0 if subnormals are flushed.
inline double half_of_least_normal() {
  volatile double least = 2.2250738585072014e-308;
  volatile double half = least * 0.5;
  return half;
}

}  // namespace float_modes
