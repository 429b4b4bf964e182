#include "phasic/graph.h"

#include "base/text.h"

namespace phasic {

bool Graph::is_absorbing(Index vertex) const noexcept {
  if (vertex == 0) return false;
  for (Index e = row_begin[at(vertex)]; e < row_begin[at(vertex + 1)]; ++e) {
    if (target[at(e)] != vertex) return false;
  }
  return true;
}

std::string Graph::state_text(Index vertex) const { return detail::state_text(state(vertex)); }

}  // namespace phasic
