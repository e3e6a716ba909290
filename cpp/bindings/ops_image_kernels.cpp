// The kernels of api_images.h on arrays, and the random numbers that the graph's operations give them.
#include <pybind11/stl.h>

#include "bindings/function_names.h"
#include "bindings/ops_samples.h"
#include "graph/graph.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

const Pattern kImages = {"batch", "height", "width", "channels"};

// Each sample's numbers; the oracle's as doubles.
Operand numbers_of(const Call& call, const py::array& array, std::int64_t batch, std::int64_t count) {
    return call.input("parameters", array, {batch, count});
}

py::array scale(const py::array& x_, const py::array& a, const py::array& b, const std::string& kind,
                float epsilon, bool backward, const std::string& isa, const std::string& algorithm) {
    const Call call("scale", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2), first = call.input_any("a", a, 1);
    const Operand second = call.input("b", b, pattern_of(first.shape()));
    const Shape sample(x.shape().begin() + 1, x.shape().end());
    Scale args;
    args.kind = scale_of(call.operation(), kind);
    args.epsilon = epsilon;
    args.backward = backward;
    require(first.shape().size() == sample.size() && broadcast_args(sample, first.shape(), args.broadcast),
            call.operation(), ": a: expected the shape of a sample ", fastcnn::to_string(sample),
            " or 1 along some axes, received ", fastcnn::to_string(first.shape()));
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference(
            [&] { reference::scale(args, x[0], first.f64(), second.f64(), x.f64(), y.f64()); });
        return y.array();
    }
    args.a = first.f32();
    args.b = second.f32();
    args.batch = x[0];
    args.x_stride = args.y_stride = x.size() / x[0];
    args.x = x.f32();
    args.y = y.f32();
    call.run(args);
    return y.array();
}

WarpShape warp_shape(const Call& call, const Operand& in, Pair in_size, Pair out_size,
                     const std::string& interpolation, const std::string& fill_mode, float fill_value) {
    require(interpolation == "bilinear" || interpolation == "nearest", call.operation(),
            ": interpolation: expected 'bilinear' or 'nearest', received '", interpolation, "'");
    return {in_size.first,
            in_size.second,
            out_size.first,
            out_size.second,
            in[3],
            interpolation == "bilinear",
            fill_of(call.operation(), fill_mode),
            fill_value};
}

// (height, width) of the result; 0, 0: of x.
py::array warp(const py::array& x_, const py::array& transforms, const std::string& interpolation,
               const std::string& fill_mode, float fill_value, Pair output_size, const std::string& isa,
               const std::string& algorithm) {
    const Call call("warp", isa, algorithm);
    const Operand x = call.input("x", x_, kImages);
    const Operand numbers = numbers_of(call, transforms, x[0], kTransform);
    if (output_size.first == 0) output_size = {x[1], x[2]};
    const WarpShape shape =
        warp_shape(call, x, {x[1], x[2]}, output_size, interpolation, fill_mode, fill_value);
    const Result y = call.result({x[0], output_size.first, output_size.second, x[3]});
    if (call.reference()) {
        call.run_reference([&] { reference::warp_forward(shape, x[0], numbers.f64(), x.f64(), y.f64()); });
        return y.array();
    }
    WarpForward args{.shape = shape, .parameters = numbers.f32(), .batch = x[0]};
    args.x = x.f32();
    args.x_stride = x.size() / x[0];
    args.y = y.f32();
    args.y_stride = y.size() / x[0];
    call.run(args);
    return y.array();
}

py::array warp_grad(const py::array& dy_, const py::array& transforms, Pair input_size,
                    const std::string& interpolation, const std::string& fill_mode, const std::string& isa,
                    const std::string& algorithm) {
    const Call call("warp_grad", isa, algorithm);
    const Operand dy = call.input("dy", dy_, kImages);
    const Operand numbers = numbers_of(call, transforms, dy[0], kTransform);
    const WarpShape shape = warp_shape(call, dy, input_size, {dy[1], dy[2]}, interpolation, fill_mode, 0.0f);
    const Result dx = call.result({dy[0], input_size.first, input_size.second, dy[3]});
    if (call.reference()) {
        call.run_reference(
            [&] { reference::warp_backward(shape, dy[0], numbers.f64(), dy.f64(), dx.f64()); });
        return dx.array();
    }
    WarpBackward args{.shape = shape, .parameters = numbers.f32(), .batch = dy[0]};
    args.dy = dy.f32();
    args.dy_stride = dy.size() / dy[0];
    args.dx = dx.f32();
    args.dx_stride = dx.size() / dy[0];
    call.run(args);
    return dx.array();
}

RecolorShape recolor_shape(const Call& call, const std::string& kind, const Operand& x,
                           std::pair<float, float> value_range) {
    return {recolor_of(call.operation(), kind), x[1] * x[2], x[3], value_range.first, value_range.second};
}

py::array recolor(const py::array& x_, const py::array& parameters, const std::string& kind,
                  std::pair<float, float> value_range, const std::string& isa, const std::string& algorithm) {
    const Call call("recolor", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), numbers = numbers_of(call, parameters, x[0], kRecolor);
    const RecolorShape shape = recolor_shape(call, kind, x, value_range);
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] { reference::recolor_forward(shape, x[0], numbers.f64(), x.f64(), y.f64()); });
        return y.array();
    }
    const std::int64_t size = x.size() / x[0];
    call.run(RecolorForward{shape, numbers.f32(), x[0], x.f32(), size, y.f32(), size});
    return y.array();
}

py::array recolor_grad(const py::array& x_, const py::array& dy_, const py::array& parameters,
                       const std::string& kind, std::pair<float, float> value_range, const std::string& isa,
                       const std::string& algorithm) {
    const Call call("recolor_grad", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), numbers = numbers_of(call, parameters, x[0], kRecolor);
    const Operand dy = call.input("dy", dy_, pattern_of(x.shape()));
    const RecolorShape shape = recolor_shape(call, kind, x, value_range);
    const Result dx = call.result(x.shape());
    if (call.reference()) {
        call.run_reference(
            [&] { reference::recolor_backward(shape, x[0], numbers.f64(), x.f64(), dy.f64(), dx.f64()); });
        return dx.array();
    }
    const std::int64_t size = x.size() / x[0];
    call.run(RecolorBackward{shape, numbers.f32(), x[0], x.f32(), size, dy.f32(), size, dx.f32(), size});
    return dx.array();
}

// fill: a number a channel; None: noise.
py::array erase(const py::array& x_, const py::array& boxes, const OptionalArray& fill_, float deviation,
                std::pair<float, float> value_range, std::uint64_t seed, std::uint32_t layer,
                std::uint32_t step, std::int64_t first_sample, bool backward, const std::string& isa,
                const std::string& algorithm) {
    const Call call("erase", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), numbers = numbers_of(call, boxes, x[0], kBox);
    const Operand fill = call.input("fill", fill_, {x[3]});
    Erase args;
    args.shape = {x[1], x[2], x[3], !fill, deviation, value_range.first, value_range.second};
    args.backward = backward;
    args.seed = seed;
    args.layer = layer;
    args.step = step;
    args.first_sample = first_sample;
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference(
            [&] { reference::erase(args, x[0], numbers.f64(), fill.f64(), x.f64(), y.f64()); });
        return y.array();
    }
    args.fill = fill.f32();
    args.parameters = numbers.f32();
    args.batch = x[0];
    args.x_stride = args.y_stride = x.size() / x[0];
    args.x = x.f32();
    args.y = y.f32();
    call.run(args);
    return y.array();
}

// What operation `node` of the graph draws for samples [0, batch): (batch, numbers), as its kernel gets them.
py::array draw_numbers(const Graph& graph, std::size_t node, std::int64_t batch, std::uint32_t layer,
                       std::uint32_t step) {
    require(node < graph.nodes().size(), "draw_numbers: node: expected one of ", graph.nodes().size(),
            ", received ", node);
    return std::visit(
        [&](const auto& op) -> py::array {
            using Op = std::decay_t<decltype(op)>;
            if constexpr (requires { Op::kNumbers; }) {
                py::array_t<float> numbers({batch, Op::kNumbers});
                for (std::int64_t s = 0; s < batch; ++s)
                    op.draw({layer, step, s}, numbers.mutable_data() + s * Op::kNumbers);
                return numbers;
            } else {
                fail(
                    "draw_numbers: node: expected an operation that draws numbers for each sample, received "
                    "another");
            }
        },
        graph.nodes()[node].op);
}

}  // namespace

void bind_image_kernels(py::module_& module) {
    using py::arg;
    const std::pair<float, float> bytes{0.0f, 255.0f};
    module.def("scale", scale, arg("x"), arg("a"), arg("b"), arg("kind"), arg("epsilon") = 0.0f,
               arg("backward") = false, arg("isa") = "", arg("algorithm") = "");
    module.def("warp", warp, arg("x"), arg("transforms"), arg("interpolation") = "bilinear",
               arg("fill_mode") = "constant", arg("fill_value") = 0.0f, arg("output_size") = Pair{0, 0},
               arg("isa") = "", arg("algorithm") = "");
    module.def("warp_grad", warp_grad, arg("dy"), arg("transforms"), arg("input_size"),
               arg("interpolation") = "bilinear", arg("fill_mode") = "constant", arg("isa") = "",
               arg("algorithm") = "");
    module.def("recolor", recolor, arg("x"), arg("parameters"), arg("kind"), arg("value_range") = bytes,
               arg("isa") = "", arg("algorithm") = "");
    module.def("recolor_grad", recolor_grad, arg("x"), arg("dy"), arg("parameters"), arg("kind"),
               arg("value_range") = bytes, arg("isa") = "", arg("algorithm") = "");
    module.def("erase", erase, arg("x"), arg("boxes"), arg("fill") = py::none(), arg("deviation") = 255.0f,
               arg("value_range") = bytes, arg("seed") = 0, arg("layer") = 0, arg("step") = 0,
               arg("first_sample") = 0, arg("backward") = false, arg("isa") = "", arg("algorithm") = "");
    module.def("draw_numbers", draw_numbers, arg("graph"), arg("node"), arg("batch"), arg("layer") = 0,
               arg("step") = 0);
}

}  // namespace fastcnn::bindings
