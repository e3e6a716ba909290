// Convolution on arrays, and its gradients.
#include "bindings/ops_images.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

void conv2d_reference(const Conv2dShape& shape, const PoolShape* pool, std::int64_t batch, const Operand& x,
                      const Operand& kernel, const Operand& bias, bool relu, double* y,
                      std::uint8_t* argmax) {
    std::vector<double> before_pool(pool ? static_cast<std::size_t>(size_of(output_shape_of(shape, batch)))
                                         : 0);
    double* z = pool ? before_pool.data() : y;
    reference::conv2d_forward(shape, batch, x.f64(), kernel.f64(), bias.f64(), relu, z);
    if (pool) reference::pool_forward(Pooling::max, *pool, batch, z, y, argmax);
}

py::object conv2d(const py::array& x_, const py::array& kernel_, const OptionalArray& bias_, Pair strides,
                  const std::string& padding, Pair dilation_rate, std::int64_t groups, bool relu,
                  std::optional<Pair> pool_size, std::optional<Pair> pool_strides,
                  const std::string& pool_padding, const OptionalArray& out, const std::string& isa,
                  const std::string& algorithm) {
    const Call call("conv2d", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), kernel = kernel_input(call, kernel_);
    const Conv2dShape shape = conv_shape(call, {x[1], x[2]}, x[3], {kernel[0], kernel[1]}, kernel[3], groups,
                                         {strides, padding, dilation_rate});
    require_channels(call, kernel, x[3], groups);
    const Operand bias = call.input("bias", bias_, {kernel[3]});
    std::optional<PoolShape> pool;
    if (pool_size)
        pool = fused_pool_shape(call, shape, *pool_size, {pool_strides.value_or(*pool_size), pool_padding});
    const Shape y_shape = pool ? output_shape_of(*pool, x[0]) : output_shape_of(shape, x[0]);
    const Result y = call.result(out, y_shape, {&x, &kernel, &bias});
    py::array_t<std::uint8_t> argmax(pool ? y_shape : Shape{0});
    std::uint8_t* positions = pool ? argmax.mutable_data() : nullptr;
    if (call.reference()) {
        call.run_reference([&] {
            conv2d_reference(shape, pool ? &*pool : nullptr, x[0], x, kernel, bias, relu, y.f64(), positions);
        });
    } else {
        Conv2dForward args;
        args.shape = shape;
        args.relu = relu;
        args.pooled = pool.has_value();
        if (pool) args.pool = *pool;
        args.batch = x[0];
        args.x = x.f32();
        args.x_stride = per_sample(x);
        args.bias = bias.f32();
        args.y = y.f32();
        args.y_stride = args.argmax_stride = per_sample(y);
        args.argmax = positions;
        args.stream = !pool && passes_caches(y.array());
        run_on_images(call, call.choice(args, kPackedOnce), args, kernel.f32(), work_of(shape),
                      pool ? pool->h.out : shape.h.out, 1,
                      std::max(per_sample(x), shape.h.out * shape.w.out * shape.out_channels));
    }
    if (pool) return py::make_tuple(y.array(), argmax);
    return y.array();
}

py::array conv2d_grad_input(const py::array& dy_, const py::array& kernel_,
                            const std::array<std::int64_t, 4>& input_shape, Pair strides,
                            const std::string& padding, Pair dilation_rate, std::int64_t groups,
                            const OptionalArray& out, const std::string& isa, const std::string& algorithm) {
    const Call call("conv2d_grad_input", isa, algorithm);
    const auto [batch, height, width, channels] = input_shape;
    if (batch <= 0 || height <= 0 || width <= 0 || channels <= 0)
        fail(call.operation(), ": input_shape: expected positive (batch, height, width, channels), received ",
             fastcnn::to_string(Shape(input_shape.begin(), input_shape.end())));
    const Operand kernel = kernel_input(call, kernel_);
    const Conv2dShape shape = conv_shape(call, {height, width}, channels, {kernel[0], kernel[1]}, kernel[3],
                                         groups, {strides, padding, dilation_rate});
    require_channels(call, kernel, channels, groups);
    const Operand dy = call.input("dy", dy_, pattern_of(output_shape_of(shape, batch)));
    const Result dx = call.result(out, input_shape_of(shape, batch), {&dy, &kernel});
    if (call.reference()) {
        call.run_reference(
            [&] { reference::conv2d_grad_input(shape, dy[0], dy.f64(), kernel.f64(), dx.f64()); });
    } else {
        Conv2dGradInput args;
        args.shape = shape;
        args.batch = batch;
        args.dy = dy.f32();
        args.dy_stride = per_sample(dy);
        args.dx = dx.f32();
        args.dx_stride = per_sample(dx);
        // Where windows leave rows out, a part could begin between them.
        const bool any_row = shape.h.extent() >= shape.h.stride;
        run_on_images(call, call.choice(args, kPackedOnce), args, kernel.f32(), work_of(shape), height,
                      any_row ? 1 : height, std::max(per_sample(dx), per_sample(dy)));
    }
    return dx.array();
}

py::tuple conv2d_grad_kernel(const py::array& x_, const py::array& dy_, Pair kernel_size, Pair strides,
                             const std::string& padding, Pair dilation_rate, std::int64_t groups,
                             const OptionalArray& out, const std::string& isa, const std::string& algorithm) {
    const Call call("conv2d_grad_kernel", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), dy = call.input("dy", dy_, kImages);
    const Conv2dShape shape =
        conv_shape(call, {x[1], x[2]}, x[3], kernel_size, dy[3], groups, {strides, padding, dilation_rate});
    require_array({call.operation(), "dy"}, dy_, call.dtype(), pattern_of(output_shape_of(shape, x[0])));
    const Result dkernel = call.result(out, kernel_shape_of(shape), {&x, &dy}), dbias = call.result({dy[3]});
    if (call.reference()) {
        call.run_reference([&] {
            reference::conv2d_grad_kernel(shape, x[0], x.f64(), dy.f64(), dkernel.f64(), dbias.f64());
        });
    } else {
        Conv2dGradKernel args;
        args.shape = shape;
        args.batch = x[0];
        args.x = x.f32();
        args.x_stride = per_sample(x);
        args.dy = dy.f32();
        args.dy_stride = per_sample(dy);
        args.dkernel = dkernel.f32();
        args.dbias = dbias.f32();
        GradKernelJob job(call, call.choice(args), args, dkernel.size());
        const py::gil_scoped_release release;
        const Lent memory(job.memory(), call.exact());
        job.use(memory.data());
        run_team(job.threads(), job, Denormals::keep);
    }
    return py::make_tuple(dkernel.array(), dbias.array());
}

// Floats that a kernel asks for: what it may then use for any batch up to this one.
std::int64_t conv2d_scratch(const std::string& direction, std::int64_t batch, Pair size,
                            std::int64_t channels, Pair kernel_size, std::int64_t filters, Pair strides,
                            const std::string& padding, Pair dilation_rate, std::int64_t groups, bool pooled,
                            const std::string& isa, const std::string& algorithm) {
    const Call call("conv2d_scratch", isa, algorithm);
    require(direction == "forward" || direction == "grad_input" || direction == "grad_kernel",
            "conv2d_scratch: direction: expected 'forward', 'grad_input' or 'grad_kernel', received '",
            direction, "'");
    const Conv2dShape shape =
        conv_shape(call, size, channels, kernel_size, filters, groups, {strides, padding, dilation_rate});
    const auto floats = [&](auto args) {
        args.shape = shape;
        args.batch = batch;
        return call.choice(args).scratch(args);
    };
    if (direction == "grad_input") return floats(Conv2dGradInput{});
    if (direction == "grad_kernel") return floats(Conv2dGradKernel{});
    Conv2dForward forward;
    forward.pooled = pooled;
    if (pooled) forward.pool = fused_pool_shape(call, shape, {2, 2}, {{2, 2}, "valid"});
    return floats(forward);
}

}  // namespace

void bind_conv_ops(py::module_& module) {
    using py::arg;
    module.def("conv2d", conv2d, arg("x"), arg("kernel"), arg("bias").none(true), arg("strides"),
               arg("padding"), arg("dilation_rate"), arg("groups"), arg("relu"),
               arg("pool_size") = py::none(), arg("pool_strides") = py::none(), arg("pool_padding") = "valid",
               arg("out") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("conv2d_grad_input", conv2d_grad_input, arg("dy"), arg("kernel"), arg("input_shape"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"), arg("out") = py::none(),
               arg("isa") = "", arg("algorithm") = "");
    module.def("conv2d_grad_kernel", conv2d_grad_kernel, arg("x"), arg("dy"), arg("kernel_size"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"), arg("out") = py::none(),
               arg("isa") = "", arg("algorithm") = "");
    module.def("conv2d_scratch", conv2d_scratch, arg("direction"), arg("batch"), arg("size"), arg("channels"),
               arg("kernel_size"), arg("filters"), arg("strides") = Pair{1, 1}, arg("padding") = "valid",
               arg("dilation_rate") = Pair{1, 1}, arg("groups") = 1, arg("pooled") = false, arg("isa") = "",
               arg("algorithm") = "");
}

}  // namespace fastcnn::bindings
