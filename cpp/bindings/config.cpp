// Configuration and process state.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>

#include "base/check.h"
#include "base/memory.h"
#include "base/threads.h"
#include "bindings/bindings.h"
#include "isa/isa.h"
#include "kernels/amx.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastcnn {

namespace {

py::dict build_config() {
    py::list compiled;
    for (Isa isa : compiled_isas()) compiled.append(name_of(isa));
    const char* cap = std::getenv("FASTCNN_MAX_ISA");
    py::dict config;
    config["compiler"] = FASTCNN_COMPILER;
    config["build_type"] = FASTCNN_BUILD_TYPE;
    config["cuda"] = false;
    config["isa_compiled"] = compiled;
    config["isa_detected"] = name_of(detected_isa());
    config["isa_active"] = name_of(active_isa());
    config["isa_cap"] = cap && *cap ? py::object(py::str(cap)) : py::none();
    const AmxLevel amx = amx_level();
    config["amx"] = amx ? name_of(amx.isa) : amx.declined;
    return config;
}

py::dict threads() {
    const ThreadConfig found = thread_config();
    py::dict config;
    config["threads"] = found.threads;
    config["reason"] = found.reason;
    config["affinity"] = found.affinity;
    config["cgroup_quota"] = found.quota > 0 ? py::object(py::float_(found.quota)) : py::none();
    return config;
}

}  // namespace

void bind_config(py::module_& module) {
    // Unknown values of FASTCNN_MAX_ISA, FASTCNN_WINOGRAD and FASTCNN_EMULATE_AMX are refused when the
    // package is imported.
    active_isa();
    winograd_allowed();
    module.def("winograd_allowed", winograd_allowed);
    module.def("set_winograd", set_winograd, py::arg("allowed"));
    amx_level();
    module.def("amx_active", [] { return static_cast<bool>(amx_level()); });
    module.def("set_amx_emulated", set_amx_emulated, py::arg("emulated"));
    module.def("build_config", build_config);
    module.def("thread_config", threads);
    module.def("get_num_threads", thread_count);
    module.def(
        "set_num_threads",
        [](int n) {
            require(n >= 0 && n <= 1024, "set_num_threads: n: expected an integer from 0 to 1024, received ",
                    n);
            set_thread_count(n);
        },
        py::arg("n"));
    module.def("float_state", float_state);
    module.def("native_allocations", [] { return allocation_count().load(); });
}

}  // namespace fastcnn
