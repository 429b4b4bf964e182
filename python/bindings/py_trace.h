// What Python sees as phasic.Trace: either kind of trace, shared and immutable.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "phasic/trace.h"

namespace phasic::python {

struct PyTrace {
  std::variant<ComponentTracePtr, ProgramPtr> held;

  [[nodiscard]] bool is_program() const { return std::holds_alternative<ProgramPtr>(held); }
  // Throw Error{invalid_argument} when the trace is of the other kind.
  [[nodiscard]] const ProgramPtr& program() const;
  [[nodiscard]] const ComponentTracePtr& component() const;
  [[nodiscard]] const std::string& digest() const;
};

}  // namespace phasic::python
