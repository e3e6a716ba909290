// Batch normalisation on arrays.
#include <vector>

#include "bindings/ops_windows.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

// (batch, ..., channels) as the kernels see it.
struct Channels {
    explicit Channels(const Operand& x)
        : batch(x[0]), channels(x.shape().back()), positions(x.size() / batch / channels) {}
    std::int64_t batch, channels, positions;
    std::int64_t rows() const { return batch * positions; }
    std::int64_t per_sample() const { return positions * channels; }

    template <class Args>
    void fill(Args& args) const {
        args.batch = batch;
        args.positions = positions;
        args.channels = channels;
        args.x_stride = per_sample();
    }
};

py::tuple batch_norm_statistics(const py::array& x_, const std::string& isa, const std::string& algorithm) {
    const Call call("batch_norm_statistics", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2);
    const Channels c(x);
    const Result mean = call.result({c.channels}), m2 = call.result({c.channels});
    if (call.reference()) {
        call.run_reference(
            [&] { reference::batch_norm_statistics(c.rows(), c.channels, x.f64(), mean.f64(), m2.f64()); });
    } else {
        BatchNormStatistics args;
        c.fill(args);
        args.x = x.f32();
        args.mean = mean.f32();
        args.m2 = m2.f32();
        call.run(args);
    }
    return py::make_tuple(mean.array(), m2.array());
}

py::array batch_norm(const py::array& x_, const py::array& mean_, const py::array& scale_,
                     const py::array& shift_, bool relu, const std::string& isa,
                     const std::string& algorithm) {
    const Call call("batch_norm", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2);
    const Channels c(x);
    const Operand mean = call.input("mean", mean_, {c.channels}),
                  scale = call.input("scale", scale_, {c.channels});
    const Operand shift = call.input("shift", shift_, {c.channels});
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] {
            reference::batch_norm_forward(c.rows(), c.channels, x.f64(), mean.f64(), scale.f64(), shift.f64(),
                                          relu, y.f64());
        });
    } else {
        BatchNormForward args;
        c.fill(args);
        args.relu = relu;
        args.x = x.f32();
        args.mean = mean.f32();
        args.scale = scale.f32();
        args.shift = shift.f32();
        args.y = y.f32();
        args.y_stride = c.per_sample();
        call.run(args);
    }
    return y.array();
}

PoolShape pool_of(const Call& call, const Operand& x, Pair pool_size, Pair strides) {
    return pool_shape(call, {x[1], x[2]}, x[3], pool_size, {strides, "valid"});
}

py::tuple patch_moments(const py::array& x_, Pair kernel_size, Pair strides, const std::string& padding,
                        Pair dilation_rate, const std::string& isa, const std::string& algorithm) {
    const Call call("patch_moments", isa, algorithm);
    const Operand x = call.input("x", x_, kImages);
    PatchMoments args;
    std::tie(args.shape.h, args.shape.w) =
        windows_of(call, {x[1], x[2]}, "kernel_size", kernel_size, "strides", "padding",
                   {strides, padding, dilation_rate});
    args.shape.in_channels = x[3];
    args.batch = x[0];
    const std::int64_t taps = kernel_size.first * kernel_size.second * x[3];
    const Result mean(py::array(py::dtype::of<double>(), Shape{taps}));
    const Result scatter(py::array(py::dtype::of<double>(), Shape{taps, taps}));
    if (call.reference()) {
        call.run_reference(
            [&] { reference::patch_moments(args.shape, x[0], x.f64(), mean.f64(), scatter.f64()); });
    } else {
        args.x = x.f32();
        args.x_stride = x.size() / x[0];
        args.mean = mean.f64();
        args.scatter = scatter.f64();
        call.run(args);
    }
    return py::make_tuple(mean.array(), scatter.array());
}

py::tuple batch_norm_pool(const py::array& x_, const py::array& mean_, const py::array& scale_,
                          const py::array& shift_, bool relu, Pair pool_size, Pair strides,
                          const std::string& isa, const std::string& algorithm) {
    const Call call("batch_norm_pool", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), mean = call.input("mean", mean_, {x[3]}),
                  scale = call.input("scale", scale_, {x[3]}), shift = call.input("shift", shift_, {x[3]});
    const PoolShape pool = pool_of(call, x, pool_size, strides);
    const Shape pooled = {x[0], pool.h.out, pool.w.out, x[3]};
    const Result y = call.result(pooled), picked = call.result(pooled);
    py::array_t<std::uint8_t> argmax(pooled);
    std::uint8_t* positions = argmax.mutable_data();
    if (call.reference()) {
        call.run_reference([&] {
            reference::batch_norm_pool(pool, x[0], x.f64(), mean.f64(), scale.f64(), shift.f64(), relu,
                                       y.f64(), positions, picked.f64());
        });
    } else {
        BatchNormPoolForward args;
        args.relu = relu;
        args.pool = pool;
        args.batch = x[0];
        args.x = x.f32();
        args.x_stride = x.size() / x[0];
        args.mean = mean.f32();
        args.scale = scale.f32();
        args.shift = shift.f32();
        args.y = y.f32();
        args.argmax = positions;
        args.picked = picked.f32();
        args.y_stride = args.argmax_stride = args.picked_stride = size_of(pooled) / x[0];
        call.run(args);
    }
    return py::make_tuple(y.array(), argmax, picked.array());
}

// What the gradient reads of each channel, and the activations around the normalisation.
struct GradientOperands {
    Operand mean, inv_std, scale, shift;
    bool relu, input_relu;

    GradientOperands(const Call& call, std::int64_t channels, const py::array& mean_,
                     const py::array& inv_std_, const py::array& scale_, const OptionalArray& shift_,
                     bool relu_, bool input_relu_)
        : mean(call.input("mean", mean_, {channels})),
          inv_std(call.input("inv_std", inv_std_, {channels})),
          scale(call.input("scale", scale_, {channels})),
          shift(call.input("shift", shift_, {channels})),
          relu(relu_),
          input_relu(input_relu_) {
        require(shift || !relu, call.operation(),
                ": shift: expected an array where relu is asked for, received None");
    }
    BatchNormGradient kernel_args(const float* a, const float* b) const {
        return {relu, input_relu, mean.f32(), inv_std.f32(), scale.f32(), shift.f32(), a, b};
    }
};

struct GradientResults {
    Result dx, sum_dy, sum_dy_x;
};

void batch_norm_grad_reference(const Channels& c, const Operand& x, const double* dy,
                               const GradientOperands& g, const GradientResults& r) {
    const std::int64_t n = c.rows(), channels = c.channels;
    std::vector<double> through(dy, dy + n * channels);
    if (g.relu)
        reference::batch_norm_relu_gradient(n, channels, x.f64(), g.mean.f64(), g.scale.f64(), g.shift.f64(),
                                            through.data());
    reference::batch_norm_reduce(n, channels, x.f64(), through.data(), g.mean.f64(), g.inv_std.f64(),
                                 r.sum_dy.f64(), r.sum_dy_x.f64());
    reference::batch_norm_backward(n, channels, x.f64(), through.data(), g.mean.f64(), g.inv_std.f64(),
                                   g.scale.f64(), r.sum_dy.f64(), r.sum_dy_x.f64(), r.dx.f64());
    if (g.input_relu) reference::activation_backward(Activation::relu, n * channels, x.f64(), r.dx.f64());
}

// The sums over rows of `x` and `dy`, and their means over `n` rows: a, then b.
std::vector<float> reduce(const Call& call, const Channels& c, const float* x, const float* dy,
                          const GradientOperands& g, const GradientResults& r, std::int64_t n) {
    BatchNormReduce args;
    c.fill(args);
    args.relu = g.relu;
    args.x = x;
    args.dy = dy;
    args.dy_stride = c.per_sample();
    args.mean = g.mean.f32();
    args.inv_std = g.inv_std.f32();
    args.scale = g.scale.f32();
    args.shift = g.shift.f32();
    args.sum_dy = r.sum_dy.f32();
    args.sum_dy_x = r.sum_dy_x.f32();
    call.run(args);
    std::vector<float> means;
    for (const Result* sum : {&r.sum_dy, &r.sum_dy_x})
        for (std::int64_t i = 0; i < c.channels; ++i) means.push_back(sum->f32()[i] / static_cast<float>(n));
    return means;
}

py::tuple batch_norm_grad(const py::array& x_, const py::array& dy_, const py::array& mean_,
                          const py::array& inv_std_, const py::array& scale_, const OptionalArray& shift_,
                          bool relu, bool input_relu, const std::string& isa, const std::string& algorithm) {
    const Call call("batch_norm_grad", isa, algorithm);
    const Operand x = call.input_any("x", x_, 2), dy = call.input("dy", dy_, pattern_of(x.shape()));
    const Channels c(x);
    const GradientOperands g(call, c.channels, mean_, inv_std_, scale_, shift_, relu, input_relu);
    const GradientResults r{call.result(x.shape()), call.result({c.channels}), call.result({c.channels})};
    if (call.reference()) {
        call.run_reference([&] { batch_norm_grad_reference(c, x, dy.f64(), g, r); });
    } else {
        const std::vector<float> means = reduce(call, c, x.f32(), dy.f32(), g, r, c.rows());
        BatchNormBackward args;
        c.fill(args);
        args.norm = g.kernel_args(means.data(), means.data() + c.channels);
        args.x = x.f32();
        args.dy = dy.f32();
        args.dy_stride = args.dx_stride = c.per_sample();
        args.dx = r.dx.f32();
        call.run(args);
    }
    return py::make_tuple(r.dx.array(), r.sum_dy.array(), r.sum_dy_x.array());
}

// dy, argmax and picked as batch_norm_pool() shapes them. The sums run over windows.
py::tuple batch_norm_pool_grad(const py::array& x_, const py::array& dy_, const py::array& argmax_,
                               const py::array& picked_, const py::array& mean_, const py::array& inv_std_,
                               const py::array& scale_, const OptionalArray& shift_, bool relu,
                               bool input_relu, Pair pool_size, Pair strides, const std::string& isa,
                               const std::string& algorithm) {
    const Call call("batch_norm_pool_grad", isa, algorithm);
    const Operand x = call.input("x", x_, kImages);
    const PoolShape pool = pool_of(call, x, pool_size, strides);
    const Pattern pooled = {x[0], pool.h.out, pool.w.out, x[3]};
    const Operand dy = call.input("dy", dy_, pooled), picked = call.input("picked", picked_, pooled);
    require_array({call.operation(), "argmax"}, argmax_, py::dtype::of<std::uint8_t>(), pooled);
    const std::uint8_t* argmax = static_cast<const std::uint8_t*>(argmax_.data());
    const GradientOperands g(call, x[3], mean_, inv_std_, scale_, shift_, relu, input_relu);
    const Channels c(x);
    const GradientResults r{call.result(x.shape()), call.result({c.channels}), call.result({c.channels})};
    if (call.reference()) {
        call.run_reference([&] {
            std::vector<double> dense(static_cast<std::size_t>(x.size()));
            reference::unpool(pool, x[0], dy.f64(), argmax, dense.data());
            batch_norm_grad_reference(c, x, dense.data(), g, r);
        });
    } else {
        const std::vector<float> means =
            reduce(call.any_algorithm(), Channels(dy), picked.f32(), dy.f32(), g, r, c.rows());
        BatchNormPoolBackward args;
        args.norm = g.kernel_args(means.data(), means.data() + c.channels);
        args.pool = pool;
        args.batch = x[0];
        args.x = x.f32();
        args.dy = dy.f32();
        args.argmax = argmax;
        args.x_stride = args.dx_stride = c.per_sample();
        args.dy_stride = args.argmax_stride = dy.size() / x[0];
        args.dx = r.dx.f32();
        call.run(args);
    }
    return py::make_tuple(r.dx.array(), r.sum_dy.array(), r.sum_dy_x.array());
}

}  // namespace

void bind_norm_ops(py::module_& module) {
    using py::arg;
    module.def("patch_moments", patch_moments, arg("x"), arg("kernel_size"), arg("strides"), arg("padding"),
               arg("dilation_rate"), arg("isa") = "", arg("algorithm") = "");
    module.def("batch_norm_statistics", batch_norm_statistics, arg("x"), arg("isa") = "",
               arg("algorithm") = "");
    module.def("batch_norm", batch_norm, arg("x"), arg("mean"), arg("scale"), arg("shift"),
               arg("relu") = false, arg("isa") = "", arg("algorithm") = "");
    module.def("batch_norm_pool", batch_norm_pool, arg("x"), arg("mean"), arg("scale"), arg("shift"),
               arg("relu"), arg("pool_size"), arg("strides"), arg("isa") = "", arg("algorithm") = "");
    module.def("batch_norm_grad", batch_norm_grad, arg("x"), arg("dy"), arg("mean"), arg("inv_std"),
               arg("scale"), arg("shift") = py::none(), arg("relu") = false, arg("input_relu") = false,
               arg("isa") = "", arg("algorithm") = "");
    module.def("batch_norm_pool_grad", batch_norm_pool_grad, arg("x"), arg("dy"), arg("argmax"),
               arg("picked"), arg("mean"), arg("inv_std"), arg("scale"), arg("shift"), arg("relu"),
               arg("input_relu"), arg("pool_size"), arg("strides"), arg("isa") = "", arg("algorithm") = "");
}

}  // namespace fastcnn::bindings
