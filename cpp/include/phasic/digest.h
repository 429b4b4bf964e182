// Content digests: BLAKE2b-256 (RFC 7693) of canonical bytes, written as 64 lower-case hex digits.
#pragma once

#include <array>
#include <string>

#include "phasic/base.h"

namespace phasic {

// Collects canonical bytes (little-endian, fixed width) and returns their digest.
class Hasher {
 public:
  explicit Hasher(const std::string& domain);  // e.g. "phasic-component-1"
  void add(Index value);
  void add(double value);  // -0.0 counts as 0.0
  void add_bytes(const void* data, std::size_t size);
  [[nodiscard]] std::string hex();  // finishes; call once

 private:
  void compress(bool last);
  std::array<std::uint64_t, 8> state_{};
  std::array<unsigned char, 128> block_{};
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace phasic
