// The parts of the native module, one function each: what _core.pyi describes under its headings.
#pragma once

#include <pybind11/pybind11.h>

namespace fastcnn {

// "configuration" and "process state": threads, instruction sets, build.
void bind_config(pybind11::module_& module);
// "parameters", "graph" and "running".
void bind_engine(pybind11::module_& module);
// "kernels on arrays".
void bind_ops(pybind11::module_& module);

}  // namespace fastcnn
