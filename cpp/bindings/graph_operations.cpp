// A graph's operations as plain Python data, for those who write a network down in another language.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/engine.h"
#include "bindings/function_names.h"
#include "graph/graph.h"

namespace fastcnn {

namespace {

py::tuple tuple(const Shape& shape) { return py::tuple(py::cast(shape)); }

py::dict window(const Window& w) {
    py::dict d;
    d["size"] = w.size;
    d["stride"] = w.stride;
    d["dilation"] = w.dilation;
    d["inputs"] = w.in;
    d["outputs"] = w.out;
    d["pad_begin"] = w.pad;
    d["pad_end"] = w.pad_end();
    return d;
}

py::dict axis(const AxisMap& map) {
    const AxisTaps taps = map.taps();
    py::dict d;
    d["inputs"] = map.in();
    d["begin"] = py::array_t<std::int32_t>(map.out() + 1, taps.begin);
    d["index"] = py::array_t<std::int32_t>(map.taps_count(), taps.index);
    d["weight"] = py::array_t<float>(map.taps_count(), taps.weight);
    return d;
}

// What one kind of operation says of itself: its name, the roles of its parameters, and everything else. An
// overload for each kind: one that is missing does not compile.
struct Describe {
    py::dict parameters, attributes;

    void parameter(const char* role, int index) {
        if (index != kAbsent) parameters[role] = index;
    }

    const char* operator()(const Conv2dOp& op) {
        parameter("kernel", op.kernel);
        parameter("bias", op.bias);
        attributes["height"] = window(op.h);
        attributes["width"] = window(op.w);
        attributes["filters"] = op.filters;
        attributes["groups"] = op.groups;
        return "conv2d";
    }
    const char* operator()(const Conv2dTransposeOp& op) {
        parameter("kernel", op.kernel);
        parameter("bias", op.bias);
        attributes["height"] = window(op.h);
        attributes["width"] = window(op.w);
        attributes["filters"] = op.filters;
        return "conv2d_transpose";
    }
    const char* operator()(const PoolOp& op) {
        attributes["function"] = op.average ? "average" : "max";
        attributes["height"] = window(op.h);
        attributes["width"] = window(op.w);
        return "pool2d";
    }
    const char* operator()(const AdaptiveMaxOp&) { return "adaptive_max_pool2d"; }
    const char* operator()(const DenseOp& op) {
        parameter("kernel", op.kernel);
        parameter("bias", op.bias);
        attributes["units"] = op.units;
        return "dense";
    }
    const char* operator()(const ActivationOp& op) {
        attributes["function"] = name_of(op.name);
        return "activation";
    }
    const char* operator()(const ElementwiseOp& op) {
        attributes["function"] = name_of(op.kind);
        attributes["a"] = op.a;
        attributes["b"] = op.b;
        attributes["c"] = op.c;
        return "elementwise";
    }
    const char* operator()(const ReshapeOp&) { return "reshape"; }
    const char* operator()(const PermuteOp& op) {
        attributes["axes"] = py::tuple(py::cast(op.axes));
        return "permute";
    }
    const char* operator()(const ResampleOp& op) {
        attributes["height"] = axis(op.h);
        attributes["width"] = axis(op.w);
        return "resample2d";
    }
    const char* operator()(const PReluOp& op) {
        parameter("alpha", op.alpha);
        return "prelu";
    }
    const char* operator()(const BatchNormOp& op) {
        parameter("gamma", op.gamma);
        parameter("beta", op.beta);
        parameter("moving_mean", op.moving_mean);
        parameter("moving_variance", op.moving_variance);
        attributes["momentum"] = op.momentum;
        attributes["epsilon"] = op.epsilon;
        attributes["frozen"] = op.frozen;
        return "batch_norm";
    }
    const char* operator()(const NormalizeOp& op) {
        parameter("gamma", op.gamma);
        parameter("beta", op.beta);
        attributes["function"] = name_of(op.kind);
        attributes["outer"] = op.shape.outer;
        attributes["positions"] = op.shape.positions;
        attributes["groups"] = op.shape.groups;
        attributes["channels"] = op.shape.channels;
        attributes["epsilon"] = op.epsilon;
        return "normalize";
    }
    const char* operator()(const DropoutOp& op) {
        attributes["rate"] = op.rate;
        attributes["seed"] = op.seed;
        return "dropout";
    }
    const char* operator()(const NoiseOp& op) {
        attributes["function"] = name_of(op.kind);
        attributes["rate"] = op.rate;
        attributes["seed"] = op.seed;
        attributes["shared"] = op.shared;
        return "noise";
    }
    const char* operator()(const ScaleOp& op) {
        parameter("mean", op.a);
        parameter("variance", op.b);
        attributes["function"] = name_of(op.kind);
        attributes["epsilon"] = op.epsilon;
        attributes["shape"] = tuple(op.shape);
        if (op.a == kAbsent) attributes["a"] = py::cast(op.a_values);
        if (op.b == kAbsent) attributes["b"] = py::cast(op.b_values);
        return "scale";
    }
    const char* operator()(const WarpOp& op) {
        attributes["function"] = name_of(op.kind);
        attributes["seed"] = op.seed;
        if (op.otherwise) {  // at inference
            attributes["height"] = axis(op.otherwise->h);
            attributes["width"] = axis(op.otherwise->w);
        }
        return "warp";
    }
    const char* operator()(const RecolorOp& op) {
        attributes["function"] = name_of(op.shape.kind);
        attributes["seed"] = op.seed;
        return "recolor";
    }
    const char* operator()(const EraseOp& op) {
        attributes["seed"] = op.seed;
        return "erase";
    }
    const char* operator()(const ActivityOp& op) {
        attributes["l1"] = op.l1;
        attributes["l2"] = op.l2;
        return "activity";
    }
    const char* operator()(const HostOp& op) {
        int number = 0;
        for (const int index : op.parameters) parameter(std::to_string(number++).c_str(), index);
        return "host";
    }
};

}  // namespace

py::list operations_of(const Graph& graph) {
    py::list list;
    for (const Node& node : graph.nodes()) {
        Describe describe;
        py::dict operation;
        operation["kind"] = std::visit(describe, node.op);
        operation["layer"] = node.layer;
        operation["input_shape"] = tuple(node.in);
        operation["output_shape"] = tuple(node.out);
        operation["parameters"] = describe.parameters;
        operation["attributes"] = describe.attributes;
        list.append(std::move(operation));
    }
    return list;
}

}  // namespace fastcnn
