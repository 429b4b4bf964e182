// What of a block outlives the work on it: nothing, what elimination left, or its adjoint as well.
#pragma once

namespace phasic {

enum class Keep { one_block, factors, all };

}  // namespace phasic
