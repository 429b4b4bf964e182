#include "base/text.h"

#include <charconv>

namespace phasic::detail {

std::string number_text(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, result.ptr);
}

std::string number_text(Index value) { return std::to_string(value); }

std::string state_text(Span<const std::int32_t> state) {
  std::string text = "(";
  for (Index i = 0; i < state.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(state[i]);
  }
  return text + ")";
}

std::string printable_text(std::string_view bytes, std::size_t max_length) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes.substr(0, max_length)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20U && byte < 0x7fU) {
      text.push_back(c);
    } else {
      text += {'\\', 'x', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  return bytes.size() > max_length ? text + "..." : text;
}

}  // namespace phasic::detail
