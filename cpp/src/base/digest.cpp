// BLAKE2b with a 32-byte digest and no key.
//
// 1. The state starts as the initial values, the first xored with the parameter word.
// 2. Input is gathered in blocks of 128 bytes; each full block that is not the last is compressed.
// 3. hex() pads the last block with zeros, compresses it with the last-block flag set, and writes
//    the first four state words, little-endian.
//
// Source: RFC 7693, sections 2.6 to 3.3.
#include "phasic/digest.h"

#include <algorithm>
#include <cstring>

namespace phasic {
namespace {

constexpr std::uint64_t kInitial[8] = {
    0x6a09e667f3bcc908U, 0xbb67ae8584caa73bU, 0x3c6ef372fe94f82bU, 0xa54ff53a5f1d36f1U,
    0x510e527fade682d1U, 0x9b05688c2b3e6c1fU, 0x1f83d9abfb41bd6bU, 0x5be0cd19137e2179U};

constexpr unsigned char kSchedule[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

constexpr std::uint64_t kDigestBytes = 32;
constexpr std::uint64_t kParameterWord = 0x01010000U | kDigestBytes;  // fanout 1, depth 1, no key

constexpr std::uint64_t rotate_right(std::uint64_t x, int n) noexcept {
  return (x >> n) | (x << (64 - n));
}

std::uint64_t load_word(const unsigned char* bytes) noexcept {
  std::uint64_t word = 0;
  for (int i = 7; i >= 0; --i) word = (word << 8) | bytes[i];
  return word;
}

void mix(std::uint64_t* v, int a, int b, int c, int d, std::uint64_t x, std::uint64_t y) noexcept {
  v[a] += v[b] + x;
  v[d] = rotate_right(v[d] ^ v[a], 32);
  v[c] += v[d];
  v[b] = rotate_right(v[b] ^ v[c], 24);
  v[a] += v[b] + y;
  v[d] = rotate_right(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = rotate_right(v[b] ^ v[c], 63);
}

}  // namespace

Hasher::Hasher(const std::string& domain) {
  std::copy(std::begin(kInitial), std::end(kInitial), state_.begin());
  state_[0] ^= kParameterWord;
  add(static_cast<Index>(domain.size()));
  add_bytes(domain.data(), domain.size());
}

void Hasher::add(Index value) {
  const auto bits = static_cast<std::uint64_t>(value);
  unsigned char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(bits >> (8 * i));
  add_bytes(bytes, sizeof bytes);
}

void Hasher::add(double value) {
  const double canonical = value == 0.0 ? 0.0 : value;
  Index bits = 0;
  static_assert(sizeof bits == sizeof canonical);
  std::memcpy(&bits, &canonical, sizeof bits);
  add(bits);
}

void Hasher::add_bytes(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  while (size > 0) {
    if (filled_ == block_.size()) {  // more follows, so this block is not the last
      compress(false);
      filled_ = 0;
    }
    const std::size_t count = std::min(size, block_.size() - filled_);
    std::memcpy(block_.data() + filled_, bytes, count);
    filled_ += count;
    total_ += count;
    bytes += count;
    size -= count;
  }
}

std::string Hasher::hex() {
  std::fill(block_.begin() + static_cast<std::ptrdiff_t>(filled_), block_.end(),
            static_cast<unsigned char>(0));
  compress(true);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * kDigestBytes);
  for (std::size_t i = 0; i < kDigestBytes; ++i) {
    const auto byte = static_cast<unsigned>(state_[i / 8] >> (8 * (i % 8))) & 0xffU;
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15U]);
  }
  return text;
}

void Hasher::compress(bool last) {
  std::uint64_t v[16];
  std::uint64_t m[16];
  for (std::size_t i = 0; i < 8; ++i) {
    v[i] = state_[i];
    v[i + 8] = kInitial[i];
  }
  for (std::size_t i = 0; i < 16; ++i) m[i] = load_word(block_.data() + 8 * i);
  v[12] ^= total_;  // inputs stay below 2^64 bytes, so the high counter word is 0
  if (last) v[14] = ~v[14];
  for (const auto& s : kSchedule) {
    mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
    mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
    mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
    mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
    mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  for (std::size_t i = 0; i < 8; ++i) state_[i] ^= v[i] ^ v[i + 8];
}

}  // namespace phasic
