// The kernels of api_layers.h on arrays. Shapes that they share with the graph come from there.
#include <pybind11/stl.h>

#include "bindings/function_names.h"
#include "bindings/ops_samples.h"
#include "graph/graph.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

// ---------------------------------------------------------------------------------------------- elementwise

py::array elementwise(const py::array& x_, const std::string& kind, double a, double b, double c,
                      const std::string& isa, const std::string& algorithm) {
    const Call call("elementwise", isa, algorithm);
    const Function function = function_of(call.operation(), kind);
    const Operand x = call.input_any("x", x_);
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] {
            for (std::int64_t i = 0; i < x.size(); ++i)
                y.f64()[i] = reference::elementwise(function, a, b, c, x.f64()[i]);
        });
        return y.array();
    }
    const Samples samples(x);
    ElementwiseForward args{
        .kind = function, .a = static_cast<float>(a), .b = static_cast<float>(b), .c = static_cast<float>(c)};
    args.batch = samples.batch;
    args.size = args.x_stride = args.y_stride = samples.size;
    args.x = x.f32();
    args.y = y.f32();
    run_samples(call, args, x.size(), [](ElementwiseForward& of, std::int64_t first) {
        of.x += first * of.x_stride;
        of.y += first * of.y_stride;
    });
    return y.array();
}

py::array elementwise_grad(const py::array& x_, const py::array& dy_, const std::string& kind, double a,
                           double b, double c, const std::string& isa, const std::string& algorithm) {
    const Call call("elementwise_grad", isa, algorithm);
    const Function function = function_of(call.operation(), kind);
    const Operand x = call.input_any("x", x_), dy = call.input("dy", dy_, pattern_of(x.shape()));
    const Result dx = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] {
            for (std::int64_t i = 0; i < x.size(); ++i)
                dx.f64()[i] = dy.f64()[i] * reference::elementwise_derivative(function, a, b, c, x.f64()[i]);
        });
        return dx.array();
    }
    const Samples samples(x);
    ElementwiseBackward args{
        .kind = function, .a = static_cast<float>(a), .b = static_cast<float>(b), .c = static_cast<float>(c)};
    args.batch = samples.batch;
    args.size = args.x_stride = args.dy_stride = args.dx_stride = samples.size;
    args.x = x.f32();
    args.dy = dy.f32();
    args.dx = dx.f32();
    call.run(args);
    return dx.array();
}

// --------------------------------------------------------------------------------------------- rearrangement

Shape sample_of(const Operand& x) { return Shape(x.shape().begin() + 1, x.shape().end()); }

Shape with_batch(std::int64_t batch, const Shape& sample) {
    Shape all = {batch};
    all.insert(all.end(), sample.begin(), sample.end());
    return all;
}

py::array permute(const py::array& x_, const std::vector<int>& axes, const std::string& isa,
                  const std::string& algorithm) {
    const Call call("permute", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2);
    const Shape in = sample_of(x);
    require(axes.size() == in.size() && in.size() <= kMaxRank, call.operation(), ": axes: expected ",
            in.size(), " of them, received ", axes.size());
    Shape out;
    for (const int axis : axes) {
        require(axis >= 0 && axis < static_cast<int>(in.size()), call.operation(),
                ": axes: expected axes of ", fastcnn::to_string(in), ", received ", axis);
        out.push_back(in[static_cast<std::size_t>(axis)]);
    }
    const Result y = call.result(with_batch(x[0], out));
    Permute args = permute_args(in, axes);
    if (call.reference()) {
        call.run_reference([&] { reference::permute(args, x[0], x.f64(), y.f64()); });
        return y.array();
    }
    args.batch = x[0];
    args.x_stride = args.y_stride = size_of(in);
    args.x = x.f32();
    args.y = y.f32();
    call.run(args);
    return y.array();
}

AxisMap axis_map(const Call& call, const std::string& kind, std::int64_t in, Pair amount) {
    if (kind == "pad") return AxisMap::padded(in, amount.first, amount.second);
    if (kind == "repeat") return AxisMap::repeated(in, amount.first);
    if (kind == "linear") return AxisMap::interpolated(in, amount.first);
    if (kind == "mean") return AxisMap::adaptive_mean(in, amount.first);
    fail(call.operation(), ": kind: expected one of 'pad', 'repeat', 'linear', 'mean', received '", kind,
         "'");
}

// kind and amounts: as the graph's operations make the taps of height and width. Where `transposed`, x has
// the shape of that operation's result.
py::array resample(const py::array& x_, const std::string& kind, Pair input_size, Pair height, Pair width,
                   bool transposed, const std::string& isa, const std::string& algorithm) {
    const Call call("resample", isa, algorithm);
    AxisMap h = axis_map(call, kind, input_size.first, height);
    AxisMap w = axis_map(call, kind, input_size.second, width);
    if (transposed) {
        h = h.transposed();
        w = w.transposed();
    }
    const Operand x = call.input("x", x_, {"batch", h.in(), w.in(), "channels"});
    const Result y = call.result({x[0], h.out(), w.out(), x[3]});
    Resample args;
    args.h = h.taps();
    args.w = w.taps();
    args.out_height = h.out();
    args.out_width = w.out();
    args.in_width = w.in();
    args.channels = x[3];
    if (call.reference()) {
        call.run_reference([&] { reference::resample(args, x[0], h.in(), x.f64(), y.f64()); });
        return y.array();
    }
    args.batch = x[0];
    args.x = x.f32();
    args.x_stride = x.size() / x[0];
    args.y = y.f32();
    args.y_stride = y.size() / x[0];
    call.run(args);
    return y.array();
}

// -------------------------------------------------------------------------------------- adaptive max pooling

py::array adaptive_max_pool(const py::array& x_, Pair output_size, const std::string& isa,
                            const std::string& algorithm) {
    const Call call("adaptive_max_pool", isa, algorithm);
    const Operand x = call.input("x", x_, {"batch", "height", "width", "channels"});
    const AdaptiveMaxShape shape{x[1], x[2], output_size.first, output_size.second, x[3]};
    const Result y = call.result({x[0], shape.out_height, shape.out_width, x[3]});
    if (call.reference()) {
        call.run_reference([&] { reference::adaptive_max_forward(shape, x[0], x.f64(), y.f64()); });
        return y.array();
    }
    call.run(AdaptiveMaxForward{shape, x[0], x.f32(), x.size() / x[0], y.f32(), y.size() / x[0]});
    return y.array();
}

py::array adaptive_max_pool_grad(const py::array& x_, const py::array& dy_, const std::string& isa,
                                 const std::string& algorithm) {
    const Call call("adaptive_max_pool_grad", isa, algorithm);
    const Operand x = call.input("x", x_, {"batch", "height", "width", "channels"});
    const Operand dy = call.input("dy", dy_, {x[0], "height", "width", x[3]});
    const AdaptiveMaxShape shape{x[1], x[2], dy[1], dy[2], x[3]};
    const Result dx = call.result(x.shape());
    if (call.reference()) {
        call.run_reference(
            [&] { reference::adaptive_max_backward(shape, x[0], x.f64(), dy.f64(), dx.f64()); });
        return dx.array();
    }
    call.run(AdaptiveMaxBackward{shape, x[0], x.f32(), x.size() / x[0], dy.f32(), dy.size() / x[0], dx.f32(),
                                 x.size() / x[0]});
    return dx.array();
}

// ------------------------------------------------------------------------------------------------- broadcast

Broadcast broadcast_of(const Call& call, const Shape& sample, const Shape& small) {
    Broadcast broadcast;
    require(small.size() == sample.size() && broadcast_args(sample, small, broadcast), call.operation(),
            ": shape: expected that of a sample ", fastcnn::to_string(sample),
            " or 1 along some axes, received ", fastcnn::to_string(small));
    return broadcast;
}

py::array prelu(const py::array& x_, const py::array& alpha_, const std::string& isa,
                const std::string& algorithm) {
    const Call call("prelu", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2), alpha = call.input_any("alpha", alpha_, 1);
    const Broadcast broadcast = broadcast_of(call, sample_of(x), alpha.shape());
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] { reference::prelu_forward(broadcast, x[0], alpha.f64(), x.f64(), y.f64()); });
        return y.array();
    }
    const std::int64_t size = x.size() / x[0];
    call.run(PReluForward{broadcast, alpha.f32(), x[0], x.f32(), size, y.f32(), size});
    return y.array();
}

// (dx, dalpha)
py::tuple prelu_grad(const py::array& x_, const py::array& alpha_, const py::array& dy_,
                     const std::string& isa, const std::string& algorithm) {
    const Call call("prelu_grad", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2), alpha = call.input_any("alpha", alpha_, 1);
    const Operand dy = call.input("dy", dy_, pattern_of(x.shape()));
    const Broadcast broadcast = broadcast_of(call, sample_of(x), alpha.shape());
    const Result dx = call.result(x.shape()), dalpha = call.result(alpha.shape());
    if (call.reference()) {
        call.run_reference([&] {
            reference::prelu_backward(broadcast, x[0], alpha.f64(), x.f64(), dy.f64(), dx.f64(),
                                      dalpha.f64());
        });
        return py::make_tuple(dx.array(), dalpha.array());
    }
    PReluBackward args;
    args.broadcast = broadcast;
    args.alpha = alpha.f32();
    args.batch = x[0];
    args.x = x.f32();
    args.dy = dy.f32();
    args.dx = dx.f32();
    args.x_stride = args.dy_stride = args.dx_stride = x.size() / x[0];
    args.dalpha = dalpha.f32();
    call.run(args);
    return py::make_tuple(dx.array(), dalpha.array());
}

// ------------------------------------------------------------------------------------- normalisation, sample

// x: (batch, outer, positions, groups, channels); gamma, beta: (groups, channels) or None
const Pattern kNormalized = {"batch", "outer", "positions", "groups", "channels"};

struct NormalizeCall {
    NormalizeCall(const char* operation, const py::array& x_, const std::string& kind_,
                  const OptionalArray& gamma_, const std::string& isa, const std::string& algorithm)
        : call(operation, isa, algorithm),
          kind(normalize_of(operation, kind_)),
          x(call.input("x", x_, kNormalized)),
          shape{x[1], x[2], x[3], x[4]},
          gamma(call.input("gamma", gamma_, {x[3], x[4]})),
          size(x.size() / x[0]),
          statistics(static_cast<std::size_t>(kNormalizeStatistics * x[0] * x[1] * x[3])) {}

    // Also fills in the statistics.
    void forward(double epsilon, const float* beta, float* y) {
        NormalizeForward args{kind,
                              shape,
                              static_cast<float>(epsilon),
                              gamma.f32(),
                              beta,
                              x[0],
                              x.f32(),
                              size,
                              y,
                              size,
                              statistics.data(),
                              kNormalizeStatistics * shape.outer * shape.groups};
        call.any_algorithm().run(args);
    }

    Call call;
    NormalizeKind kind;
    Operand x;
    NormalizeShape shape;
    Operand gamma;
    std::int64_t size;
    std::vector<float> statistics;
};

py::array normalize(const py::array& x, const std::string& kind, double epsilon, const OptionalArray& gamma,
                    const OptionalArray& beta_, const std::string& isa, const std::string& algorithm) {
    NormalizeCall c("normalize", x, kind, gamma, isa, algorithm);
    const Operand beta = c.call.input("beta", beta_, {c.x[3], c.x[4]});
    const Result y = c.call.result(c.x.shape());
    if (c.call.reference())
        c.call.run_reference([&] {
            reference::normalize_forward(c.kind, c.shape, epsilon, c.x[0], c.gamma.f64(), beta.f64(),
                                         c.x.f64(), y.f64());
        });
    else
        c.forward(epsilon, beta.f32(), y.f32());
    return y.array();
}

// (dx, dgamma, dbeta)
py::tuple normalize_grad(const py::array& x, const py::array& dy_, const std::string& kind, double epsilon,
                         const OptionalArray& gamma, const std::string& isa, const std::string& algorithm) {
    NormalizeCall c("normalize_grad", x, kind, gamma, isa, algorithm);
    const Operand dy = c.call.input("dy", dy_, pattern_of(c.x.shape()));
    const Result dx = c.call.result(c.x.shape());
    const Result dgamma = c.call.result({c.x[3], c.x[4]}), dbeta = c.call.result({c.x[3], c.x[4]});
    if (c.call.reference()) {
        c.call.run_reference([&] {
            reference::normalize_backward(c.kind, c.shape, epsilon, c.x[0], c.gamma.f64(), c.x.f64(),
                                          dy.f64(), dx.f64(), dgamma.f64(), dbeta.f64());
        });
        return py::make_tuple(dx.array(), dgamma.array(), dbeta.array());
    }
    c.forward(epsilon, nullptr, dx.f32());
    NormalizeBackward args;
    args.kind = c.kind;
    args.shape = c.shape;
    args.epsilon = static_cast<float>(epsilon);
    args.gamma = c.gamma.f32();
    args.batch = c.x[0];
    args.x = c.x.f32();
    args.dy = dy.f32();
    args.dx = dx.f32();
    args.x_stride = args.dy_stride = args.dx_stride = c.size;
    args.statistics = c.statistics.data();
    args.statistics_stride = kNormalizeStatistics * c.shape.outer * c.shape.groups;
    args.dgamma = dgamma.f32();
    args.dbeta = dbeta.f32();
    c.call.run(args);
    return py::make_tuple(dx.array(), dgamma.array(), dbeta.array());
}

// ----------------------------------------------------------------------------------------------------- noise

py::array noise(const py::array& x_, const std::string& kind, double rate, std::uint64_t seed,
                const Shape& noise_shape, bool shared, bool backward, std::uint32_t layer, std::uint32_t step,
                std::int64_t first_sample, const std::string& isa, const std::string& algorithm) {
    const Call call("noise", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2);
    Noise args;
    args.kind = noise_of(call.operation(), kind);
    args.rate = static_cast<float>(rate);
    args.seed = seed;
    args.layer = layer;
    args.step = step;
    args.shared = shared;
    args.backward = backward;
    args.broadcast = broadcast_of(call, sample_of(x), noise_shape);
    args.first_sample = first_sample;
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] { reference::noise(args, x[0], x.f64(), y.f64()); });
        return y.array();
    }
    args.batch = x[0];
    args.x_stride = args.y_stride = x.size() / x[0];
    args.x = x.f32();
    args.y = y.f32();
    call.run(args);
    return y.array();
}

}  // namespace

void bind_sample_kernels(py::module_& module) {
    using py::arg;
    module.def("elementwise", elementwise, arg("x"), arg("kind"), arg("a") = 0.0, arg("b") = 0.0,
               arg("c") = 0.0, arg("isa") = "", arg("algorithm") = "");
    module.def("elementwise_grad", elementwise_grad, arg("x"), arg("dy"), arg("kind"), arg("a") = 0.0,
               arg("b") = 0.0, arg("c") = 0.0, arg("isa") = "", arg("algorithm") = "");
    module.def("permute", permute, arg("x"), arg("axes"), arg("isa") = "", arg("algorithm") = "");
    module.def("resample", resample, arg("x"), arg("kind"), arg("input_size"), arg("height"), arg("width"),
               arg("transposed") = false, arg("isa") = "", arg("algorithm") = "");
    module.def("adaptive_max_pool", adaptive_max_pool, arg("x"), arg("output_size"), arg("isa") = "",
               arg("algorithm") = "");
    module.def("adaptive_max_pool_grad", adaptive_max_pool_grad, arg("x"), arg("dy"), arg("isa") = "",
               arg("algorithm") = "");
    module.def("prelu", prelu, arg("x"), arg("alpha"), arg("isa") = "", arg("algorithm") = "");
    module.def("prelu_grad", prelu_grad, arg("x"), arg("alpha"), arg("dy"), arg("isa") = "",
               arg("algorithm") = "");
    module.def("normalize", normalize, arg("x"), arg("kind"), arg("epsilon"), arg("gamma") = py::none(),
               arg("beta") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("normalize_grad", normalize_grad, arg("x"), arg("dy"), arg("kind"), arg("epsilon"),
               arg("gamma") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("noise", noise, arg("x"), arg("kind"), arg("rate"), arg("seed"), arg("noise_shape"),
               arg("shared") = false, arg("backward") = false, arg("layer") = 0, arg("step") = 0,
               arg("first_sample") = 0, arg("isa") = "", arg("algorithm") = "");
}

}  // namespace fastcnn::bindings
