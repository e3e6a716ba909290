// What the bindings of the engine share.
#pragma once

#include <pybind11/numpy.h>

#include "engine/network.h"

namespace fastcnn {

namespace py = pybind11;

// Element type of a user's array; throws Error where there is none.
DType dtype_of(const char* operation, const py::array& x);

// A user's array of samples, read in place. The array must outlive the result.
InputArray input_array(const char* operation, const py::array& x, const Shape& sample);

// What explain() returns.
py::list plan_as_list(const Plan& plan);

// The same with times.
py::list profile_as_list(const Profile& profile);

// Arguments of a layer by name.
Padding padding_of(const std::string& layer, const std::string& name);
bool is_average(const std::string& layer, const std::string& kind);

// What Graph.operations() returns.
py::list operations_of(const Graph& graph);

// The graph's operations on single samples.
void bind_sample_ops(py::class_<Graph>& graph);
void bind_image_ops(py::class_<Graph>& graph);
void bind_updater(py::module_& module);
void bind_trainer(py::module_& module);
void bind_profile(py::module_& module);

}  // namespace fastcnn
