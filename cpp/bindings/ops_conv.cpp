// Convolution, pooling and dense layers on arrays.
#include <cstring>
#include <limits>
#include <utility>

#include "bindings/ops_call.h"
#include "kernels/parts.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

// How a window slides: the arguments that all of these operations share.
struct Sliding {
    Pair strides;
    std::string padding;
    Pair dilation{1, 1};
};

Padding padding_of(const Call& call, const char* argument, const std::string& name) {
    return named<Padding>(call, argument, name, {{"valid", Padding::valid}, {"same", Padding::same}});
}

void require_positive(const Call& call, const char* argument, Pair pair) {
    require(pair.first > 0 && pair.second > 0, call.operation(), ": ", argument,
            ": expected two positive numbers, received (", pair.first, ", ", pair.second, ")");
}

// The windows over (height, width), refused where they do not fit.
std::pair<Window, Window> windows_of(const Call& call, Pair in, const char* size_name, Pair size,
                                     const char* strides_name, const char* padding_name,
                                     const Sliding& sliding) {
    require_positive(call, size_name, size);
    require_positive(call, strides_name, sliding.strides);
    require_positive(call, "dilation_rate", sliding.dilation);
    const Padding padding = padding_of(call, padding_name, sliding.padding);
    const Window h = window(in.first, size.first, sliding.strides.first, sliding.dilation.first, padding);
    const Window w = window(in.second, size.second, sliding.strides.second, sliding.dilation.second, padding);
    require(h.out > 0 && w.out > 0, call.operation(), ": ", size_name, ": expected a window of at most ",
            in.first, " x ", in.second, ", the image's size, received ", h.extent(), " x ", w.extent(),
            " with padding '", sliding.padding, "'");
    return {h, w};
}

Conv2dShape conv_shape(const Call& call, Pair in, std::int64_t in_channels, Pair kernel_size,
                       std::int64_t out_channels, std::int64_t groups, const Sliding& sliding) {
    require(groups > 0 && in_channels % groups == 0 && out_channels % groups == 0, call.operation(),
            ": groups: expected a divisor of ", in_channels, " input and ", out_channels,
            " output channels, received ", groups);
    Conv2dShape shape;
    std::tie(shape.h, shape.w) =
        windows_of(call, in, "kernel_size", kernel_size, "strides", "padding", sliding);
    shape.in_channels = in_channels;
    shape.out_channels = out_channels;
    shape.groups = groups;
    return shape;
}

PoolShape pool_shape(const Call& call, Pair in, std::int64_t channels, Pair size, const Sliding& sliding,
                     const char* strides_name = "strides", const char* padding_name = "padding") {
    PoolShape shape;
    std::tie(shape.h, shape.w) = windows_of(call, in, "pool_size", size, strides_name, padding_name, sliding);
    shape.channels = channels;
    return shape;
}

// The pool over a convolution's output, whose maxima are remembered in bytes.
PoolShape fused_pool_shape(const Call& call, const Conv2dShape& conv, Pair size, const Sliding& sliding) {
    const PoolShape shape = pool_shape(call, {conv.h.out, conv.w.out}, conv.out_channels, size, sliding,
                                       "pool_strides", "pool_padding");
    require(shape.h.size * shape.w.size <= kMaxPoolPositions, call.operation(),
            ": pool_size: expected at most ", kMaxPoolPositions, " positions, received ", shape.h.size, " x ",
            shape.w.size);
    return shape;
}

Shape input_shape_of(const Conv2dShape& s, std::int64_t batch) {
    return {batch, s.h.in, s.w.in, s.in_channels};
}
Shape output_shape_of(const Conv2dShape& s, std::int64_t batch) {
    return {batch, s.h.out, s.w.out, s.out_channels};
}
Shape output_shape_of(const PoolShape& s, std::int64_t batch) {
    return {batch, s.h.out, s.w.out, s.channels};
}
Shape kernel_shape_of(const Conv2dShape& s) {
    return {s.h.size, s.w.size, s.in_channels / s.groups, s.out_channels};
}

// Elements of one sample: the stride between samples of a dense array.
std::int64_t per_sample(const Operand& operand) { return operand.size() / operand[0]; }

const Pattern kImages = {"batch", "height", "width", "channels"};

Operand kernel_input(const Call& call, const py::array& kernel) {
    return call.input("kernel", kernel, {"height", "width", "channels / groups", "filters"});
}

void require_channels(const Call& call, const Operand& kernel, std::int64_t in_channels,
                      std::int64_t groups) {
    if (kernel[2] * groups == in_channels) return;
    fail(call.operation(), ": kernel: expected ", in_channels, " input channels / ", groups,
         " groups on its third axis, received shape ", fastcnn::to_string(kernel.shape()));
}

// A sample's work as dense operations: with one or two input channels a group there is nothing to reuse, and
// a quarter of their speed is reached.
std::int64_t work_of(const Conv2dShape& c) { return flops_of(c) * (c.in_channels / c.groups < 3 ? 4 : 1); }

// Whether a result is so large that its beginning has left the caches when its end is written: written past
// them, it spares reading what is overwritten. (A smaller one is still there for the next operation, which
// would have to fetch all from memory.)
bool passes_caches(const Result& y) {
    constexpr std::int64_t kBytes = 8 << 20, kLine = 64, kSize = sizeof(float);
    return y.size() * kSize >= kBytes && y.shape().back() * kSize % kLine == 0 &&
           reinterpret_cast<std::uintptr_t>(y.f32()) % kLine == 0;
}

// Scratch that each thread needs for the blocks of a divided call.
template <class Args>
std::int64_t scratch_of(const Choice<Args>& choice, const Args& args, const ImageDivision& division) {
    std::int64_t floats = 0;
    for (std::int64_t item = 0; item < (division.parts > 1 ? division.parts : division.items); ++item)
        division.for_each_block(
            item, [&](auto... part) { floats = std::max(floats, choice.scratch(part_of(args, part...))); });
    return floats;
}

// Runs the kernel on the team, divided by samples or runs of at least `least_unit` rows of the result.
template <class Args>
void run_on_images(const Call& call, const Args& args, const float* weights, std::int64_t flops,
                   std::int64_t rows, std::int64_t least_unit, std::int64_t sample_floats) {
    const Choice<Args> choice = call.choice(args, {weights ? 1.0 : 0.0, nullptr, true});
    const int threads = threads_for(args.batch * flops, kLeastFlops);
    const ImageDivision division =
        ImageDivision::of(threads, args.batch, rows, std::max(least_unit, choice.row_unit(args)),
                          sample_floats, choice.packed(args));
    const std::int64_t parts = choice.row->kernel->divides_weights ? weight_parts(choice.packed(args)) : 0;
    const std::int64_t scratch = parts ? choice.scratch(args) : scratch_of(choice, args, division);
    call.run_divided(choice, args, weights,
                     {threads, division.items, scratch, args.batch * flops < kBriefFlops, parts},
                     [&](const Args& copy, std::int64_t item, const auto& go) {
                         division.for_each_block(item, [&](auto... part) { go(part_of(copy, part...)); });
                     });
}

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
        args.stream = !pool && passes_caches(y);
        run_on_images(call, args, kernel.f32(), work_of(shape), pool ? pool->h.out : shape.h.out, 1,
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
        run_on_images(call, args, kernel.f32(), work_of(shape), height, any_row ? 1 : height,
                      std::max(per_sample(dx), per_sample(dy)));
    }
    return dx.array();
}

// The gradient summed in lanes: fixed runs of samples or rows, each summed in order by one thread, then the
// lanes in order. Their number depends on the shape alone, and so do the bits.
class GradKernelJob final : public Job {
  public:
    GradKernelJob(const Call& call, const Conv2dGradKernel& args, std::int64_t weights)
        : args_(args),
          weights_(weights),
          bias_at_(Layout::round_up(weights)),
          stride_(Layout::stride(bias_at_ + args.shape.out_channels)),
          choice_(call.choice(args)),
          sum_(call.any_algorithm().choice(SumGradients{})) {
        const Conv2dShape& c = args.shape;
        division_.batch = args.batch;
        division_.rows = c.h.out;
        const std::int64_t wanted = lanes_wanted();
        if (args.batch < wanted) division_.parts = std::min(c.h.out, wanted / args.batch);
        division_.items = division_.parts > 1 ? args.batch * division_.parts : std::min(args.batch, wanted);
        const std::int64_t floats =
            std::max(c.h.in * c.w.in * c.in_channels, c.h.out * c.w.out * c.out_channels);
        division_.block = std::max<std::int64_t>(1, std::max<std::int64_t>(128 * 1024, weights / 2) / floats);
        threads_ =
            std::min(threads_for(args.batch * work_of(c), kLeastFlops), static_cast<int>(division_.items));
        scratch_ = Layout::stride(scratch_of(choice_, args, division_));
    }

    int threads() const { return threads_; }
    std::int64_t memory() const { return (lanes() > 1 ? lanes() * stride_ : 0) + threads_ * scratch_; }
    void use(float* memory) { memory_ = memory; }

    std::int64_t next_phase() override {
        ++phase_;
        if (phase_ == 1) return lanes();
        return phase_ == 2 && lanes() > 1 ? sums() : 0;
    }

    bool is_brief() const override { return args_.batch * work_of(args_.shape) < kBriefFlops; }

    void run(std::int64_t item, int thread) override { phase_ == 1 ? run_lane(item, thread) : run_sum(item); }

  private:
    std::int64_t lanes() const { return division_.items; }

    // As many as there may be threads, but so few that summing them (lanes * weights) stays far below the
    // work (positions * weights).
    std::int64_t lanes_wanted() const {
        constexpr std::int64_t kMost = 8, kPositions = 512, kFloats = 8 * 1024 * 1024;
        const std::int64_t positions = args_.batch * args_.shape.h.out * args_.shape.w.out;
        if (args_.batch * work_of(args_.shape) < 2 * kLeastFlops) return 1;
        std::int64_t wanted = 2;
        while (wanted < kMost && 2 * wanted * kPositions <= positions && 2 * wanted * weights_ <= kFloats)
            wanted *= 2;
        return wanted;
    }

    std::int64_t sums() const { return items_for(threads_, weights_ / 4096); }

    void run_lane(std::int64_t lane, int thread) {
        Conv2dGradKernel a = args_;
        if (lanes() > 1) {
            a.dkernel = memory_ + lane * stride_;
            a.dbias = a.dkernel + bias_at_;
        }
        a.scratch = memory_ + memory() - (thread + 1) * scratch_;
        a.accumulate = false;
        division_.for_each_block(lane, [&](auto... part) {
            choice_(part_of(a, part...));
            a.accumulate = true;
        });
    }

    void run_sum(std::int64_t item) {
        const Share share(weights_, item, sums());
        sum(share.begin, share.end - share.begin, args_.dkernel + share.begin);
        if (item == 0) sum(bias_at_, args_.shape.out_channels, args_.dbias);
    }

    void sum(std::int64_t at, std::int64_t size, float* out) const {
        SumGradients s;
        s.size = size;
        s.lanes = lanes();
        s.lane = memory_ + at;
        s.lane_stride = stride_;
        s.gradient = out;
        sum_(s);
    }

    const Conv2dGradKernel args_;
    const std::int64_t weights_, bias_at_, stride_;
    const Choice<Conv2dGradKernel> choice_;
    const Choice<SumGradients> sum_;
    ImageDivision division_;
    int threads_ = 1, phase_ = 0;
    std::int64_t scratch_ = 0;
    float* memory_ = nullptr;
};

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
        GradKernelJob job(call, args, dkernel.size());
        const py::gil_scoped_release release;
        const Lent memory(job.memory(), call.exact());
        job.use(memory.data());
        run_team(job.threads(), job, Denormals::keep);
    }
    return py::make_tuple(dkernel.array(), dbias.array());
}

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
    ListStorage(std::int64_t windows, std::int64_t slots, std::int64_t channels)
        : count(size(channels)),
          x_offset(size(channels * (windows + kSlack))),
          slot_end(size(windows * slots)),
          channel(size(windows * (channels + kSlack))),
          value(channels * (windows + kSlack)) {
        lists.channel_count = count.data();
        lists.x_offset = x_offset.data();
        lists.value = value.data();
        lists.channel_capacity = windows + kSlack;
        lists.slot_end = slot_end.data();
        lists.channel = channel.data();
        lists.window_capacity = channels + kSlack;
    }

    PooledLists lists;

  private:
    static constexpr std::int64_t kSlack = 16;
    static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

    std::vector<std::int32_t> count, x_offset, slot_end, channel;
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

// Compresses the pooled gradient into lists, then takes both gradients of the convolution from them. The
// algorithm that `call` names is the input gradient's.
void pooled_gradients(const Call& call, const Conv2dShape& shape, const PoolShape& pool,
                      const std::uint8_t* argmax, const PooledGradients& g) {
    const std::int64_t batch = g.x[0];
    const std::vector<float> padded = padded_images(shape, batch, g.x.f32());
    require(padded.size() <= std::size_t{std::numeric_limits<std::int32_t>::max()}, call.operation(),
            ": x: expected at most 2^31 - 1 padded elements, received ", padded.size());
    const ListStorage storage(batch * pool.h.out * pool.w.out, pool.h.size * pool.w.size, shape.out_channels);

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
    grad_input.dy_stride = per_sample(g.dy);
    grad_input.lists = storage.lists;
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
