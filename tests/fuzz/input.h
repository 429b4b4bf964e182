// What fuzz targets share: reading numbers off the input, and the check that cannot be compiled out.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace fuzz {

// Takes numbers from the front; an input that is used up gives zeros.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool is_empty() const noexcept { return size_ == 0; }
  std::uint8_t byte() noexcept {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  // A number in [0, bound).
  std::int64_t below(std::int64_t bound) noexcept { return byte() % bound; }
  [[nodiscard]] std::string_view rest() const noexcept {
    return {reinterpret_cast<const char*>(data_), size_};
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// Ends the process: the fuzzer saves the input that led here.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace fuzz
