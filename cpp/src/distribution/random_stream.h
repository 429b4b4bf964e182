// A stream of random words for each draw, and exponential variates from it, equal on every machine.
//
// 1. Philox4x64-10 maps (key, counter) to 256 bits; the counter holds the draw's number, so that any
//    draw can be made first, last or alone.
// 2. Those bits are the state of a xoshiro256++ generator, which serves the one draw.
// 3. Exponential variates come from 256 layers of equal area under exp(-x): 99 of 100 cost one word,
//    one product and one comparison, and the tail is the same distribution again, moved.
// 4. Logarithms are a series in + - * /, since the system's may differ in the last bit from machine
//    to machine.
// Sources: Salmon, Moraes, Dror, Shaw 2011 (SC11, Philox); Blackman, Vigna 2021 (ACM TOMS 47:36,
// xoshiro256++); Marsaglia, Tsang 2000 (J. Stat. Softw. 5:8, layers).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace phasic::detail {

__extension__ typedef unsigned __int128 Wide;

[[nodiscard]] inline std::uint64_t high_half(Wide product) noexcept {
  return static_cast<std::uint64_t>(product >> 64);
}

using PhiloxKey = std::array<std::uint64_t, 2>;
using PhiloxBlock = std::array<std::uint64_t, 4>;

[[nodiscard]] inline PhiloxBlock philox(PhiloxKey key, PhiloxBlock counter) noexcept {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const Wide a = Wide{0xD2E7470EE14C6C93u} * counter[0];
    const Wide b = Wide{0xCA5A826395121157u} * counter[2];
    counter = {high_half(b) ^ counter[1] ^ key[0], static_cast<std::uint64_t>(b),
               high_half(a) ^ counter[3] ^ key[1], static_cast<std::uint64_t>(a)};
    key[0] += 0x9E3779B97F4A7C15u;  // the golden ratio
    key[1] += 0xBB67AE8584CAA73Bu;  // sqrt(3) - 1
  }
  return counter;
}

inline constexpr double kLn2High = 0x1.62e42fefa38p-1;  // 42 bits: times a small integer exact
inline constexpr double kLn2Low = 0x1.ef35793c7673p-45;

// log((1 + s) / (1 - s)) for |s| <= 0.1716, to rounding: 2 atanh(s) by its series.
[[nodiscard]] inline double log_of_ratio(double s) noexcept {
  const double z = s * s;
  double sum = 1.0 / 21;
  for (const double c : {1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5,
                         1.0 / 3}) {
    sum = sum * z + c;
  }
  return 2 * (s + s * (z * sum));
}

// -log(x) for a normal number x > 0.
[[nodiscard]] inline double negative_log(double x) noexcept {
  int e = 0;
  double m = std::frexp(x, &e);  // [1/2, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --e;
  }
  return -e * kLn2High + (-e * kLn2Low - log_of_ratio((m - 1) / (m + 1)));
}

// -log(1 - p) for p in (0, 1).
[[nodiscard]] inline double negative_log_of_complement(double p) noexcept {
  constexpr double kDirect = 0.29;  // 1 - p stays above 1/sqrt(2)
  return p < kDirect ? log_of_ratio(p / (2 - p)) : negative_log(1 - p);
}

// Layers of equal area under exp(-x), the lowest first; it holds the tail beyond `edge[1]`.
struct ExponentialLayers {
  static constexpr int kCount = 256;
  static constexpr double kTail = 0x1.ec9d9297ebb83p+2;         // where the tail begins
  static constexpr double kTailHeight = 0x1.dc31c329f0b48p-12;  // exp(-kTail)

  double edge[kCount + 1];    // layer i lies over [0, edge[i]]; all of it up to edge[i + 1] is below exp
  double height[kCount + 1];  // exp(-edge[i]); the lowest entry is not used
  double unit[kCount];        // edge[i] 2^-53

  ExponentialLayers() noexcept {
    const double area = (kTail + 1) * kTailHeight;
    edge[0] = area / kTailHeight;
    edge[1] = kTail;
    height[0] = 0;
    height[1] = kTailHeight;
    for (int i = 2; i < kCount; ++i) {
      height[i] = height[i - 1] + area / edge[i - 1];
      edge[i] = negative_log(height[i]);
    }
    edge[kCount] = 0;
    height[kCount] = 1;
    for (int i = 0; i < kCount; ++i) {
      unit[i] = edge[i] * 0x1p-53;
    }
  }
};

inline const ExponentialLayers kLayers;

// The random words of one draw.
class Stream {
 public:
  Stream(const PhiloxKey& key, const PhiloxBlock& counter) noexcept : s_(philox(key, counter)) {
    s_[3] |= static_cast<std::uint64_t>((s_[0] | s_[1] | s_[2]) == 0);  // xoshiro needs a bit set
  }

  [[nodiscard]] std::uint64_t word() noexcept {
    const std::uint64_t result = rotated(s_[0] + s_[3], 23) + s_[0];
    const std::uint64_t t = s_[1] << 17;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = rotated(s_[3], 45);
    return result;
  }

  // A standard exponential variate, positive.
  [[nodiscard]] double exponential() noexcept {
    double before = 0;  // the tail is the whole distribution again, moved
    while (true) {
      const std::uint64_t w = word();
      const std::uint64_t layer = w % ExponentialLayers::kCount;
      const double x = (static_cast<double>(static_cast<std::int64_t>(w >> 11)) + 0.5) *
                       kLayers.unit[layer];
      if (x < kLayers.edge[layer + 1] || (layer > 0 && is_below(x, layer))) {
        return before + x;
      }
      before += layer == 0 ? ExponentialLayers::kTail : 0;
    }
  }

 private:
  // Whether a uniform height in the layer is below exp(-x).
  [[nodiscard]] bool is_below(double x, std::uint64_t layer) noexcept {
    const double u = (static_cast<double>(static_cast<std::int64_t>(word() >> 11)) + 0.5) * 0x1p-53;
    const double low = kLayers.height[layer];
    return negative_log(low + u * (kLayers.height[layer + 1] - low)) > x;
  }

  [[nodiscard]] static std::uint64_t rotated(std::uint64_t x, int k) noexcept {
    return (x << k) | (x >> (64 - k));
  }

  std::array<std::uint64_t, 4> s_;
};

}  // namespace phasic::detail
