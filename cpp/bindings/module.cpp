// The native module: a table of contents. What Python sees is described in python/fastcnn/_core.pyi.
#include "base/check.h"
#include "bindings/bindings.h"

#ifndef FASTCNN_VERSION
#error "FASTCNN_VERSION: expected the package's version, set by CMakeLists.txt"
#endif

PYBIND11_MODULE(_core, module) {
    module.doc() = "fastcnn's native kernels and engine.";
    module.attr("__version__") = FASTCNN_VERSION;
    pybind11::register_exception<fastcnn::Error>(module, "Error", PyExc_ValueError);
    fastcnn::bind_config(module);
    fastcnn::bind_engine(module);
    fastcnn::bind_ops(module);
}
