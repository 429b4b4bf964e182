// How numbers are written in messages: shortest text that reads back as the same double.
#pragma once

#include <string>

#include "phasic/base.h"

namespace phasic::detail {

[[nodiscard]] std::string number_text(double value);
[[nodiscard]] std::string number_text(Index value);
// "(2, 0, 1)": how a state is written.
[[nodiscard]] std::string state_text(Span<const std::int32_t> state);

}  // namespace phasic::detail
