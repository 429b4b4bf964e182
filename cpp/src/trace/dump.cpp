// The recorded arithmetic as text, a line a step.

#include <sstream>

#include "phasic/trace.h"

namespace phasic {

std::string dump(const ComponentTrace& trace) {
  std::ostringstream out;
  out << "component " << trace.digest << ": " << trace.pattern.n() << " vertices, "
      << trace.pattern.column.size() << " edges, " << trace.n_operations << " operations, order "
      << trace.ordering << '\n';
  const auto list = [&](const std::vector<std::int32_t>& steps, Index begin, Index end) {
    out << '{';
    for (Index e = begin; e < end; ++e) {
      out << (e > begin ? ", " : "") << trace.order[at(steps[at(e)])];
    }
    out << '}';
  };
  for (Index k = 0; k < trace.pattern.n(); ++k) {
    const std::int32_t v = trace.order[at(k)];
    out << "eliminate " << v << ": pivot = exit[" << v << "] + sum of rates to ";
    list(trace.upper, trace.upper_begin[at(k)], trace.upper_begin[at(k + 1)]);
    out << "; redirect ";
    list(trace.lower, trace.lower_begin[at(k)], trace.lower_begin[at(k + 1)]);
    out << '\n';
  }
  return out.str();
}

std::string dump(const Program& program) {
  std::ostringstream out;
  out << "program " << program.digest << ": " << program.graph->n_vertices() << " vertices, "
      << program.n_positions << " reachable and transient, " << program.graph->param_length
      << " parameters, " << (program.graph->discrete ? "discrete" : "continuous") << ", "
      << program.slot_base.back() << " slots, " << program.n_operations << " operations\n";
  for (const ComponentTracePtr& component : program.components) {
    out << dump(*component);
  }
  return out.str();
}

}  // namespace phasic
