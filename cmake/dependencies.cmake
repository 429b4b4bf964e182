# Finds header-only dependencies: an explicit folder, then a system package, then the Python
# environment that runs the build (PEP 517 requirements, located without importing them).

# Sets ${out} to the include folder ${relative} inside the installed Python package ${package}.
function(phasic_python_include out package relative)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(NOT Python_EXECUTABLE)
    return()
  endif()
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
      "import importlib.util as u, pathlib; s = u.find_spec('${package}'); print(pathlib.Path(list(s.submodule_search_locations)[0]) / '${relative}' if s else '')"
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(found AND EXISTS "${found}")
    set(${out} "${found}" PARENT_SCOPE)
  endif()
endfunction()

find_package(Threads REQUIRED)

set(json_include "${PHASIC_JSON_INCLUDE_DIR}")
if(NOT json_include)
  find_package(nlohmann_json 3.11 QUIET)
  if(nlohmann_json_FOUND)
    get_target_property(json_include nlohmann_json::nlohmann_json INTERFACE_INCLUDE_DIRECTORIES)
  else()
    phasic_python_include(json_include nlohmann_json include)
  endif()
endif()
if(NOT json_include)
  message(FATAL_ERROR "nlohmann/json.hpp (3.11 or newer) was not found. Install the PyPI package "
    "nlohmann-json or a system package, or set PHASIC_JSON_INCLUDE_DIR.")
endif()

if(PHASIC_BUILD_TESTS)
  set(boost_include "${PHASIC_BOOST_INCLUDE_DIR}")
  if(NOT boost_include)
    find_path(system_boost boost/test/included/unit_test.hpp)
    if(system_boost)
      set(boost_include "${system_boost}")
    else()
      phasic_python_include(boost_include boost_headers include)
    endif()
  endif()
  if(NOT boost_include)
    message(FATAL_ERROR "boost/test/included/unit_test.hpp was not found. Install the PyPI package "
      "boost-headers, or set PHASIC_BOOST_INCLUDE_DIR.")
  endif()
endif()

if(PHASIC_BUILD_PYTHON)
  set(xla_include "${PHASIC_XLA_INCLUDE_DIR}")
  if(NOT xla_include)
    phasic_python_include(xla_include jaxlib include)
  endif()
  if(NOT xla_include)
    message(FATAL_ERROR "xla/ffi/api/ffi.h was not found. Install jaxlib in the build environment, "
      "or set PHASIC_XLA_INCLUDE_DIR.")
  endif()
endif()
