// Pooling on arrays, and the gradients of a convolution below a max pool.
#include <cstring>

#include "bindings/ops_windows.h"
#include "kernels/parts.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

// ------------------------------------------------------------------------- convolution below a max pool

// The images with the convolution's padding written out, as the lists of PooledGradient want them.
std::vector<float> padded_images(const Conv2dShape& s, std::int64_t batch, const float* x) {
    const std::int64_t height = s.h.in + s.h.pad + s.h.pad_end(), width = s.w.in + s.w.pad + s.w.pad_end();
    std::vector<float> padded(static_cast<std::size_t>(batch * height * width * s.in_channels), 0.0f);
    const std::int64_t row = s.w.in * s.in_channels;
    for (std::int64_t n = 0; n < batch; ++n)
        for (std::int64_t y = 0; y < s.h.in; ++y)
            std::memcpy(padded.data() + ((n * height + y + s.h.pad) * width + s.w.pad) * s.in_channels,
                        x + (n * s.h.in + y) * row, static_cast<std::size_t>(row) * sizeof(float));
    return padded;
}

// The memory behind PooledLists. A list may be written past its last entry by a vector.
struct ListStorage {
    ListStorage(std::int64_t windows, std::int64_t channels)
        : count(size(channels)),
          x_offset(size(channels * (windows + kSlack))),
          value(channels * (windows + kSlack)) {
        lists.channel_count = count.data();
        lists.x_offset = x_offset.data();
        lists.value = value.data();
        lists.channel_capacity = windows + kSlack;
    }

    PooledLists lists;

  private:
    static constexpr std::int64_t kSlack = 16;
    static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

    std::vector<std::int32_t> count, x_offset;
    Buffer value;
};

struct PooledGradients {
    const Operand &x, &kernel, &dy;
    const Result &dx, &dkernel, &dbias;
};

void pooled_gradients_reference(const Conv2dShape& shape, const PoolShape& pool, const std::uint8_t* argmax,
                                const PooledGradients& g) {
    std::vector<double> dz(static_cast<std::size_t>(size_of(output_shape_of(shape, g.x[0]))));
    reference::unpool(pool, g.x[0], g.dy.f64(), argmax, dz.data());
    reference::conv2d_grad_input(shape, g.x[0], dz.data(), g.kernel.f64(), g.dx.f64());
    reference::conv2d_grad_kernel(shape, g.x[0], g.x.f64(), dz.data(), g.dkernel.f64(), g.dbias.f64());
}

// The kernel's gradient from lists of the pooled gradient, the input's from that itself. The algorithm that
// `call` names is the input gradient's.
void pooled_gradients(const Call& call, const Conv2dShape& shape, const PoolShape& pool,
                      const std::uint8_t* argmax, const PooledGradients& g) {
    const std::int64_t batch = g.x[0];
    const std::vector<float> padded = padded_images(shape, batch, g.x.f32());
    require(padded.size() <= std::size_t{std::numeric_limits<std::int32_t>::max()}, call.operation(),
            ": x: expected at most 2^31 - 1 padded elements, received ", padded.size());
    const ListStorage storage(batch * pool.h.out * pool.w.out, shape.out_channels);

    PooledGradient lists;
    lists.conv = shape;
    lists.pool = pool;
    lists.batch = batch;
    lists.x_stride = static_cast<std::int64_t>(padded.size()) / batch;
    lists.dy = g.dy.f32();
    lists.dy_stride = lists.argmax_stride = per_sample(g.dy);
    lists.argmax = argmax;
    lists.lists = storage.lists;
    call.any_algorithm().run(lists);

    std::vector<float> ohwi(static_cast<std::size_t>(g.kernel.size()));
    PooledConv2dGradKernel grad_kernel;
    grad_kernel.shape = shape;
    grad_kernel.x = padded.data();
    grad_kernel.lists = storage.lists;
    grad_kernel.dkernel = ohwi.data();
    grad_kernel.dbias = g.dbias.f32();
    call.any_algorithm().run(grad_kernel);
    const std::int64_t weights = g.kernel.size() / shape.out_channels;
    for (std::int64_t o = 0; o < shape.out_channels; ++o)
        for (std::int64_t i = 0; i < weights; ++i)
            g.dkernel.f32()[i * shape.out_channels + o] = ohwi[static_cast<std::size_t>(o * weights + i)];

    PooledConv2dGradInput grad_input;
    grad_input.shape = shape;
    grad_input.pool = pool;
    grad_input.batch = batch;
    grad_input.dy = g.dy.f32();
    grad_input.dy_stride = grad_input.argmax_stride = per_sample(g.dy);
    grad_input.argmax = argmax;
    grad_input.dx = g.dx.f32();
    grad_input.dx_stride = per_sample(g.dx);
    const Choice<PooledConv2dGradInput> choice = call.choice(grad_input);
    call.run_divided(choice, grad_input, g.kernel.f32(), {},
                     [](const PooledConv2dGradInput& whole, std::int64_t, const auto& go) { go(whole); });
}

// Positions that no window has would send the kernels outside the image.
void require_positions(const Call& call, const PoolShape& pool, const py::array_t<std::uint8_t>& argmax) {
    const std::uint8_t* p = argmax.data();
    for (py::ssize_t i = 0; i < argmax.size(); ++i) {
        const std::int64_t window = i / pool.channels, oy = window / pool.w.out % pool.h.out;
        const std::int64_t y = pool.h.begin(oy) + p[i] / pool.w.size;
        const std::int64_t x = pool.w.begin(window % pool.w.out) + p[i] % pool.w.size;
        require(p[i] < pool.h.size * pool.w.size && y >= 0 && y < pool.h.in && x >= 0 && x < pool.w.in,
                call.operation(),
                ": argmax: expected positions of the pooling window inside the image, received ", int{p[i]},
                " at element ", i);
    }
}

py::tuple pooled_conv2d_grad(const py::array& x_, const py::array& kernel_, const py::array& dy_,
                             const py::array& argmax_, Pair strides, const std::string& padding,
                             Pair dilation_rate, Pair pool_size, Pair pool_strides,
                             const std::string& pool_padding, const std::string& isa,
                             const std::string& algorithm) {
    const Call call("pooled_conv2d_grad", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), kernel = kernel_input(call, kernel_);
    const Conv2dShape shape = conv_shape(call, {x[1], x[2]}, x[3], {kernel[0], kernel[1]}, kernel[3], 1,
                                         {strides, padding, dilation_rate});
    require_channels(call, kernel, x[3], 1);
    const PoolShape pool = fused_pool_shape(call, shape, pool_size, {pool_strides, pool_padding});
    const Pattern pooled = pattern_of(output_shape_of(pool, x[0]));
    const Operand dy = call.input("dy", dy_, pooled);
    require_array({call.operation(), "argmax"}, argmax_, py::dtype::of<std::uint8_t>(), pooled);
    const auto argmax = py::cast<py::array_t<std::uint8_t>>(argmax_);
    require_positions(call, pool, argmax);
    const Result dx = call.result(x.shape()), dkernel = call.result(kernel.shape()),
                 dbias = call.result({kernel[3]});
    const PooledGradients gradients{x, kernel, dy, dx, dkernel, dbias};
    const std::uint8_t* positions = argmax.data();
    if (call.reference())
        call.run_reference([&] { pooled_gradients_reference(shape, pool, positions, gradients); });
    else
        pooled_gradients(call, shape, pool, positions, gradients);
    return py::make_tuple(dx.array(), dkernel.array(), dbias.array());
}

// The kernel's gradient alone, without lists.
py::tuple pooled_conv2d_grad_kernel(const py::array& x_, const py::array& dy_, const py::array& argmax_,
                                    Pair kernel_size, Pair strides, const std::string& padding,
                                    Pair dilation_rate, std::int64_t groups, Pair pool_size,
                                    Pair pool_strides, const std::string& pool_padding,
                                    const OptionalArray& out, const std::string& isa,
                                    const std::string& algorithm) {
    const Call call("pooled_conv2d_grad_kernel", isa, algorithm);
    const Operand x = call.input("x", x_, kImages), dy = call.input("dy", dy_, kImages);
    const Conv2dShape shape =
        conv_shape(call, {x[1], x[2]}, x[3], kernel_size, dy[3], groups, {strides, padding, dilation_rate});
    const PoolShape pool = fused_pool_shape(call, shape, pool_size, {pool_strides, pool_padding});
    const Pattern pooled = pattern_of(output_shape_of(pool, x[0]));
    require_array({call.operation(), "dy"}, dy_, call.dtype(), pooled);
    require_array({call.operation(), "argmax"}, argmax_, py::dtype::of<std::uint8_t>(), pooled);
    const auto argmax = py::cast<py::array_t<std::uint8_t>>(argmax_);
    require_positions(call, pool, argmax);
    const Result dkernel = call.result(out, kernel_shape_of(shape), {&x, &dy}),
                 dbias = call.result({shape.out_channels});
    const std::uint8_t* positions = argmax.data();
    if (call.reference()) {
        call.run_reference([&] {
            reference::pooled_conv2d_grad_kernel(shape, pool, x[0], x.f64(), dy.f64(), positions,
                                                 dkernel.f64(), dbias.f64());
        });
    } else {
        PooledConv2dGradKernelDirect args;
        args.shape = shape;
        args.pool = pool;
        args.batch = x[0];
        args.x = x.f32();
        args.x_stride = per_sample(x);
        args.dy = dy.f32();
        args.dy_stride = args.argmax_stride = per_sample(dy);
        args.argmax = positions;
        args.dkernel = dkernel.f32();
        args.dbias = dbias.f32();
        call.run(args);
    }
    return py::make_tuple(dkernel.array(), dbias.array());
}

// -------------------------------------------------------------------------------------------------- pooling

Pooling pooling_of(const Call& call, const std::string& kind) {
    return named<Pooling>(call, "kind", kind, {{"max", Pooling::max}, {"average", Pooling::average}});
}

py::array pool2d(const py::array& x_, const std::string& kind, Pair pool_size, Pair strides,
                 const std::string& padding, const OptionalArray& out, const std::string& isa,
                 const std::string& algorithm) {
    const Call call("pool2d", isa, algorithm);
    const Pooling pooling = pooling_of(call, kind);
    const Operand x = call.input("x", x_, kImages);
    const PoolShape shape = pool_shape(call, {x[1], x[2]}, x[3], pool_size, {strides, padding});
    const Result y = call.result(out, output_shape_of(shape, x[0]), {&x});
    if (call.reference()) {
        call.run_reference([&] { reference::pool_forward(pooling, shape, x[0], x.f64(), y.f64()); });
    } else {
        PoolForward args;
        args.kind = pooling;
        args.shape = shape;
        args.batch = x[0];
        args.x = x.f32();
        args.x_stride = per_sample(x);
        args.y = y.f32();
        args.y_stride = per_sample(y);
        const Choice<PoolForward> choice = call.choice(args);
        const int threads = threads_for(x.size(), kLeastFloats);
        const ImageDivision division = ImageDivision::of(threads, x[0], shape.h.out, 1, per_sample(x), 0);
        call.run_divided(choice, args, nullptr, {threads, division.items, 0, x.size() < kBriefFloats},
                         [&](const PoolForward& copy, std::int64_t item, const auto& go) {
                             division.for_each_block(item, [&](auto... part) { go(part_of(copy, part...)); });
                         });
    }
    return y.array();
}

py::array pool2d_grad(const py::array& x_, const py::array& dy_, const std::string& kind, Pair pool_size,
                      Pair strides, const std::string& padding, const OptionalArray& out,
                      const std::string& isa, const std::string& algorithm) {
    const Call call("pool2d_grad", isa, algorithm);
    const Pooling pooling = pooling_of(call, kind);
    const Operand x = call.input("x", x_, kImages);
    const PoolShape shape = pool_shape(call, {x[1], x[2]}, x[3], pool_size, {strides, padding});
    const Operand dy = call.input("dy", dy_, pattern_of(output_shape_of(shape, x[0])));
    const Result dx = call.result(out, x.shape(), {&x, &dy});
    if (call.reference()) {
        call.run_reference(
            [&] { reference::pool_backward(pooling, shape, x[0], x.f64(), dy.f64(), dx.f64()); });
    } else {
        PoolBackward args;
        args.kind = pooling;
        args.shape = shape;
        args.batch = x[0];
        args.x = x.f32();
        args.x_stride = args.dx_stride = per_sample(x);
        args.dy = dy.f32();
        args.dy_stride = per_sample(dy);
        args.dx = dx.f32();
        const int threads = threads_for(x.size(), kLeastFloats);
        const std::int64_t items = items_for(threads, x[0]);
        call.run_divided(call.choice(args), args, nullptr, {threads, items, 0, x.size() < kBriefFloats},
                         [&](PoolBackward& copy, std::int64_t item, const auto& go) {
                             const Share share(x[0], item, items);
                             copy.batch = share.end - share.begin;
                             copy.x += share.begin * copy.x_stride;
                             copy.dy += share.begin * copy.dy_stride;
                             copy.dx += share.begin * copy.dx_stride;
                             go(copy);
                         });
    }
    return dx.array();
}

}  // namespace

void bind_pool_ops(py::module_& module) {
    using py::arg;
    module.def("pooled_conv2d_grad", pooled_conv2d_grad, arg("x"), arg("kernel"), arg("dy"), arg("argmax"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("pool_size"), arg("pool_strides"),
               arg("pool_padding"), arg("isa") = "", arg("algorithm") = "");
    module.def("pooled_conv2d_grad_kernel", pooled_conv2d_grad_kernel, arg("x"), arg("dy"), arg("argmax"),
               arg("kernel_size"), arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"),
               arg("pool_size"), arg("pool_strides"), arg("pool_padding"), arg("out") = py::none(),
               arg("isa") = "", arg("algorithm") = "");
    module.def("pool2d", pool2d, arg("x"), arg("kind"), arg("pool_size"), arg("strides"), arg("padding"),
               arg("out") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("pool2d_grad", pool2d_grad, arg("x"), arg("dy"), arg("kind"), arg("pool_size"), arg("strides"),
               arg("padding"), arg("out") = py::none(), arg("isa") = "", arg("algorithm") = "");
}

}  // namespace fastcnn::bindings
