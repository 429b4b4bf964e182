// How numbers are written in messages: shortest text that reads back as the same double.
#pragma once

#include <string>
#include <string_view>

#include "phasic/base.h"

namespace phasic::detail {

[[nodiscard]] std::string number_text(double value);
[[nodiscard]] std::string number_text(Index value);
// "(2, 0, 1)": how a state is written.
[[nodiscard]] std::string state_text(Span<const std::int32_t> state);
// Bytes of any origin as printable ASCII (others become \xNN), cut after max_length.
[[nodiscard]] std::string printable_text(std::string_view bytes, std::size_t max_length = 160);

}  // namespace phasic::detail
