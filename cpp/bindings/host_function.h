// Layers, losses, penalties and constraints written in Python.
#pragma once

#include <memory>
#include <string>

#include <pybind11/pybind11.h>

#include "base/shape.h"
#include "graph/host_function.h"

namespace fastcnn {

// The layer answers to _host_forward(x, training) with y, and to _host_backward(x, dy) with (dx, gradients).
// It is not kept alive: whoever holds the graph holds the layer.
std::shared_ptr<HostFunction> make_host_function(const pybind11::object& layer, std::string name, Shape in,
                                                 Shape out);

// The loss answers to _host_loss(y_true, y_pred, weight, wants_gradient) with (loss, gradient), numbers
// reduced over the batch. It is kept alive.
std::shared_ptr<HostLoss> make_host_loss(const pybind11::object& loss, Shape output);

// The object answers to _host_penalty(values, wants_gradient) with (penalty, gradient), or to
// _host_constrain(values) with the values that are allowed. It is kept alive.
std::shared_ptr<HostWeights> make_host_weights(const pybind11::object& function, Shape shape);

}  // namespace fastcnn
