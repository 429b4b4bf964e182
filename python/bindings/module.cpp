// The module definition: error translation and the list of bound parts.
#include "bindings.h"

#include "phasic/base.h"

namespace py = pybind11;

namespace phasic::python {
namespace {

// The exception types that Python code names live in phasic._errors, which imports nothing.
void raise_from_module(const char* type_name, const char* text) {
  const py::object type = py::module_::import("phasic._errors").attr(type_name);
  PyErr_SetString(type.ptr(), text);
}

void translate(std::exception_ptr pointer) {
  if (!pointer) {
    return;
  }
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    switch (error.code()) {
      case ErrorCode::invalid_argument:
        PyErr_SetString(PyExc_ValueError, error.what());
        return;
      case ErrorCode::missing:
        PyErr_SetString(PyExc_KeyError, error.what());
        return;
      case ErrorCode::interrupted:
        PyErr_SetString(PyExc_KeyboardInterrupt, error.what());
        return;
      case ErrorCode::budget:
        raise_from_module("BudgetError", error.what());
        return;
      case ErrorCode::corrupt:
        raise_from_module("CacheCorruptionError", error.what());
        return;
      case ErrorCode::internal:
        raise_from_module("InternalError", error.what());
        return;
    }
  }
}

}  // namespace
}  // namespace phasic::python

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "Native core of phasic: graphs, traces and kernels.";
  py::register_exception_translator(&phasic::python::translate);
  phasic::python::bind_graph(module);
  phasic::python::bind_transform(module);
  phasic::python::bind_trace(module);
  phasic::python::bind_evaluate(module);
  phasic::python::bind_sample(module);
  phasic::python::bind_quantile(module);
  module.def("ffi_targets", &phasic::python::ffi_targets,
             "Capsules of the XLA FFI handlers, by target name.");
}
