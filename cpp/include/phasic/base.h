// Vocabulary shared by every layer: Index, Span, Error, checked narrowing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace phasic {

// Counts and subscripts. Signed, so that differences and reverse loops are safe.
using Index = std::int64_t;

// Who is at fault decides how a caller (or the Python layer) reports an error.
enum class ErrorCode {
  invalid_argument,  // the user's input; ValueError in Python
  missing,           // something looked up by name is absent; KeyError
  budget,            // a predicted cost exceeds a stated budget; ValueError family
  corrupt,           // stored bytes are damaged; CacheCorruptionError
  interrupted,       // the caller asked to stop; KeyboardInterrupt
  internal,          // our bug; InternalError
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& text) : std::runtime_error(text), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

[[noreturn]] inline void fail(const std::string& text) {
  throw Error(ErrorCode::invalid_argument, text);
}

// A non-owning view of contiguous elements: pointer and length travel together.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T* data, Index size) noexcept : data_(data), size_(size) {}
  template <class U, class A,
            class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>>
  Span(std::vector<U, A>& v) noexcept : data_(v.data()), size_(static_cast<Index>(v.size())) {}
  template <class U, class A,
            class = std::enable_if_t<std::is_convertible_v<const U (*)[], T (*)[]>>>
  Span(const std::vector<U, A>& v) noexcept
      : data_(v.data()), size_(static_cast<Index>(v.size())) {}
  template <class U, class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>>
  constexpr Span(Span<U> other) noexcept : data_(other.data()), size_(other.size()) {}

  [[nodiscard]] constexpr T* data() const noexcept { return data_; }
  [[nodiscard]] constexpr Index size() const noexcept { return size_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T& operator[](Index i) const noexcept { return data_[i]; }
  [[nodiscard]] constexpr T* begin() const noexcept { return data_; }
  [[nodiscard]] constexpr T* end() const noexcept { return data_ + size_; }
  [[nodiscard]] constexpr Span subspan(Index offset, Index count) const noexcept {
    return Span(data_ + offset, count);
  }

 private:
  T* data_ = nullptr;
  Index size_ = 0;
};

template <class T>
[[nodiscard]] Index ssize(const std::vector<T>& v) noexcept {
  return static_cast<Index>(v.size());
}

// Signed subscript into a vector without a conversion warning at every use.
[[nodiscard]] constexpr std::size_t at(Index i) noexcept { return static_cast<std::size_t>(i); }

// Narrow a count to the 32-bit type that flat programs store; a size that does not fit is an error.
[[nodiscard]] inline std::int32_t narrow32(Index value, const char* what) {
  if (value < 0 || value > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::budget, std::string(what) + " is " + std::to_string(value) +
                                       ", expected at most 2147483647");
  }
  return static_cast<std::int32_t>(value);
}

}  // namespace phasic
