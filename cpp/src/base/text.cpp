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

}  // namespace phasic::detail
