// The graph's operations on single samples.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/check.h"
#include "bindings/engine.h"
#include "bindings/function_names.h"
#include "bindings/host_function.h"

namespace fastcnn {

Padding padding_of(const std::string& layer, const std::string& name) {
    require(name == "valid" || name == "same", layer, ": padding: expected 'valid' or 'same', received '",
            name, "'");
    return name == "same" ? Padding::same : Padding::valid;
}

bool is_average(const std::string& layer, const std::string& kind) {
    require(kind == "max" || kind == "average", layer, ": kind: expected 'max' or 'average', received '",
            kind, "'");
    return kind == "average";
}

namespace {

py::tuple tuple(const Shape& shape) { return py::tuple(py::cast(shape)); }

}  // namespace

void bind_sample_ops(py::class_<Graph>& graph) {
    using py::arg;
    graph
        .def(
            "depthwise_conv2d",
            [](Graph& g, const std::string& name, std::int64_t depth_multiplier, Pair kernel_size,
               Pair strides, const std::string& padding, Pair dilation_rate, int kernel, int bias) {
                return tuple(g.depthwise_conv2d(name, depth_multiplier, kernel_size, strides,
                                                padding_of(name, padding), dilation_rate, kernel, bias));
            },
            arg("name"), py::kw_only(), arg("depth_multiplier"), arg("kernel_size"), arg("strides"),
            arg("padding"), arg("dilation_rate"), arg("kernel"), arg("bias"))
        .def(
            "conv2d_transpose",
            [](Graph& g, const std::string& name, std::int64_t filters, Pair kernel_size, Pair strides,
               const std::string& padding, Pair output_padding, Pair dilation_rate, int kernel, int bias) {
                return tuple(g.conv2d_transpose(name, filters, kernel_size, strides,
                                                padding_of(name, padding), output_padding, dilation_rate,
                                                kernel, bias));
            },
            arg("name"), py::kw_only(), arg("filters"), arg("kernel_size"), arg("strides"), arg("padding"),
            arg("output_padding"), arg("dilation_rate"), arg("kernel"), arg("bias"))
        .def(
            "elementwise",
            [](Graph& g, const std::string& name, const std::string& kind, float a, float b, float c) {
                return tuple(g.elementwise(name, {function_of(name, kind), a, b, c}));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("a") = 0.0f, arg("b") = 0.0f, arg("c") = 0.0f)
        .def(
            "permute",
            [](Graph& g, const std::string& name, std::vector<int> axes) {
                return tuple(g.permute(name, std::move(axes)));
            },
            arg("name"), py::kw_only(), arg("axes"))
        .def(
            "pad2d",
            [](Graph& g, const std::string& name, Pair height, Pair width) {
                return tuple(g.pad2d(name, height, width));
            },
            arg("name"), py::kw_only(), arg("height"), arg("width"))
        .def(
            "upsample2d",
            [](Graph& g, const std::string& name, Pair size, bool bilinear) {
                return tuple(g.upsample2d(name, size, bilinear));
            },
            arg("name"), py::kw_only(), arg("size"), arg("bilinear"))
        .def(
            "adaptive_pool2d",
            [](Graph& g, const std::string& name, const std::string& kind, Pair output_size) {
                return tuple(g.adaptive_pool2d(name, is_average(name, kind), output_size));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("output_size"))
        .def(
            "prelu",
            [](Graph& g, const std::string& name, const Shape& alpha_shape, int alpha) {
                return tuple(g.prelu(name, alpha_shape, alpha));
            },
            arg("name"), py::kw_only(), arg("alpha_shape"), arg("alpha"))
        .def(
            "normalize",
            [](Graph& g, const std::string& name, const std::string& kind, int axes, float epsilon, int gamma,
               int beta) {
                return tuple(g.normalize(name, normalize_of(name, kind), axes, epsilon, gamma, beta));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("axes"), arg("epsilon"), arg("gamma"), arg("beta"))
        .def(
            "group_norm",
            [](Graph& g, const std::string& name, std::int64_t groups, float epsilon, int gamma, int beta) {
                return tuple(g.group_norm(name, groups, epsilon, gamma, beta));
            },
            arg("name"), py::kw_only(), arg("groups"), arg("epsilon"), arg("gamma"), arg("beta"))
        .def(
            "noise",
            [](Graph& g, const std::string& name, const std::string& kind, float rate, std::uint64_t seed,
               const Shape& noise_shape, bool shared) {
                return tuple(g.noise(name, noise_of(name, kind), rate, seed, noise_shape, shared));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("rate"), arg("seed"), arg("noise_shape"),
            arg("shared"))
        .def(
            "host",
            [](Graph& g, const std::string& name, const py::object& layer, Shape output_shape,
               std::vector<int> parameters) {
                auto function = make_host_function(layer, name, g.output_shape(), output_shape);
                return tuple(
                    g.host(name, std::move(function), std::move(output_shape), std::move(parameters)));
            },
            arg("name"), py::kw_only(), arg("layer"), arg("output_shape"), arg("parameters"))
        .def(
            "activity",
            [](Graph& g, const std::string& name, float l1, float l2) {
                return tuple(g.activity(name, l1, l2));
            },
            arg("name"), py::kw_only(), arg("l1"), arg("l2"));
}

}  // namespace fastcnn
