// What the binding translation units share. XLA headers stay out of here.
#pragma once

#include <pybind11/pybind11.h>

namespace phasic::python {

void bind_graph(pybind11::module_& module);
void bind_transform(pybind11::module_& module);
void bind_trace(pybind11::module_& module);
void bind_evaluate(pybind11::module_& module);
void bind_sample(pybind11::module_& module);
void bind_quantile(pybind11::module_& module);
// Name -> capsule of every XLA FFI handler (ffi_handlers.cpp).
pybind11::dict ffi_targets();
// The handler that draws samples (ffi_sample.cpp).
pybind11::capsule sample_target();
// The handler that searches for quantiles (ffi_quantile.cpp).
pybind11::capsule quantile_target();

}  // namespace phasic::python
