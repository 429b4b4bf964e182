// Trace bytes made by hand: the layout documented in cpp/src/trace/codec.cpp.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "phasic/digest.h"
#include "phasic/trace.h"

namespace sealed {

inline constexpr std::size_t kHeader = 19, kChecksum = 64;

template <class T>
void append_number(std::string& bytes, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes.append(raw, sizeof(T));
}
template <class T>
void append_list(std::string& bytes, const T* values, std::size_t count) {
  append_number(bytes, static_cast<std::uint64_t>(count));
  bytes.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}
template <class Container>
void append_list(std::string& bytes, const Container& values) {
  append_list(bytes, values.data(), values.size());
}

// Any payload under a valid header and checksum: what an attacker can always make.
inline std::string seal(char kind, const std::string& payload) {
  std::string bytes = "PHASICTR";
  bytes += {kind, static_cast<char>(phasic::kTraceFormatMajor), static_cast<char>(phasic::kTraceFormatMinor)};
  append_number(bytes, static_cast<std::uint64_t>(payload.size()));
  bytes += payload;
  phasic::Hasher hasher("phasic-trace-bytes-1");
  hasher.add_bytes(bytes.data(), bytes.size());
  return bytes + hasher.hex();
}
inline std::string payload_of(const std::string& bytes) {
  return bytes.substr(kHeader, bytes.size() - kHeader - kChecksum);
}

}  // namespace sealed
