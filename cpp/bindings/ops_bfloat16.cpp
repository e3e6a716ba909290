// Convolution of bfloat16 arrays and its gradients: by dot products of pairs (kernels/pairs.h) where they are
// in use, fit and are estimated faster, else by the float32 kernels. Arrays come as their 16-bit words;
// Python has checked shapes and windows.
//
// What is converted stays in memory that is kept from call to call, results are rounded while they are in L2:
// passes over memory, and fresh pages, would cost as much as a small convolution.
#include "base/team.h"
#include "bindings/ops_images.h"
#include "kernels/pairs.h"

namespace fastcnn::bindings {

namespace {

using Words = py::array_t<std::uint16_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

// Beside what the kernel's call is lent.
using Converted = LentMemory<1>;

std::int64_t words_per_sample(const Words& array) { return array.size() / array.shape(0); }

// A pair is read as a float is.
const float* pairs_of(const Words& array) { return reinterpret_cast<const float*>(array.data()); }

// Calls run(begin, end) for shares of `count` words on as many threads as they are worth.
template <class Run>
void share_out(std::int64_t count, const Run& run) {
    constexpr std::int64_t kUnit = 32;  // a cache line
    const int threads = threads_for(count, kLeastFloats);
    const std::int64_t units = (count + kUnit - 1) / kUnit, items = items_for(threads, units);
    run_items(threads, items, [&](std::int64_t item, int) {
        const Share share(units, item, items);
        run(share.begin * kUnit, std::min(share.end * kUnit, count));
    });
}

void widen(const std::uint16_t* words, std::int64_t count, float* to) {
    const Choice<ReadSamples> read = choose(ReadSamples{});
    share_out(count, [&](std::int64_t begin, std::int64_t end) {
        read({DType::bf16, end - begin, words + begin, to + begin});
    });
}

void round_words(const float* from, std::int64_t count, std::uint16_t* to) {
    const Choice<RoundBfloat16> round = choose(RoundBfloat16{});
    share_out(count,
              [&](std::int64_t begin, std::int64_t end) { round({end - begin, from + begin, to + begin}); });
}

// Rows of words, `row` long, in pairs of two rows each; the last of an odd number has zeros beside it.
void put_in_pairs(const std::uint16_t* words, std::int64_t rows, std::int64_t row, float* to) {
    const Choice<PairWords> pair = choose(PairWords{});
    const std::int64_t pairs = (rows + 1) / 2;
    share_out(pairs * row, [&](std::int64_t begin, std::int64_t end) {
        while (begin < end) {
            const std::int64_t p = begin / row, first = begin % row,
                               count = std::min(row - first, end - begin);
            const std::uint16_t* a = words + 2 * p * row + first;
            pair({count, a, 2 * p + 1 < rows ? a + row : nullptr, to + begin});
            begin += count;
        }
    });
}

// Whether pairs are estimated faster than float32, `converted` words of operands and result included. Rows
// without an estimate are for layers that pairs do not suit.
template <class Args>
bool is_faster(const Call& call, const Args& floats, const Row<Args>& row, const Args& pairs, bool packs,
               std::int64_t converted) {
    constexpr double kConversion = 0.8;  // cycles a word
    if (row.kernel->declines && row.kernel->declines(pairs)) return false;
    if (pairs_always()) return true;
    const Choice<Args> choice = call.choice(floats, packs ? kPackedOnce : Packing());
    if (choice.cycles == 0) return false;
    const double packed = packs ? static_cast<double>(row.kernel->packed(pairs)) : 0;
    return row.kernel->cost(pairs) + pack_cycles(packed, true) <
           choice.cycles + kConversion * static_cast<double>(converted);
}

template <class Args>
Choice<Args> choice_of(const Row<Args>& row) {
    Choice<Args> choice;
    choice.row = &row;
    return choice;
}

// Images that a kernel writes: its arguments for them, and their size.
template <class Args>
struct Images {
    float* Args::* pointer;
    std::int64_t Args::* stride;
    std::int64_t (*rows)(const Args& args);
    std::int64_t row;         // floats
    std::int64_t least_unit;  // rows that are not divided
    std::int64_t read;        // floats of a sample that is read
};

// Runs a kernel strip by strip into memory of its thread, from where the results are rounded into `words`.
template <class Args>
void run_in_strips(const Call& call, const Choice<Args>& choice, Args args, const float* weights,
                   const Images<Args>& to, std::uint16_t* words) {
    constexpr std::int64_t kStrip = 96 * 1024;  // floats
    const Choice<RoundBfloat16> round = choose(RoundBfloat16{});
    const std::int64_t rows = to.rows(args), flops = args.batch * work_of(args.shape);
    const std::int64_t unit = std::max(to.least_unit, choice.row_unit(args));
    const int threads = threads_for(flops, kLeastFlops);
    const ImageDivision division = ImageDivision::of(threads, args.batch, rows, unit,
                                                     std::max(to.read, rows * to.row), choice.packed(args));
    const std::int64_t strip = std::max<std::int64_t>(1, kStrip / (unit * to.row)) * unit;
    float* const origin = reinterpret_cast<float*>(words);  // only distances from it count
    args.*to.pointer = origin;
    args.*to.stride = rows * to.row;
    // visit(first sample, samples, first row, last row) for each strip of an item
    const auto for_each_strip = [&](std::int64_t item, const auto& visit) {
        division.for_each_block(
            item, [&](std::int64_t sample, std::int64_t samples, std::int64_t first, std::int64_t last) {
                if (samples * (last - first) <= strip) return visit(sample, samples, first, last);
                for (std::int64_t s = sample; s < sample + samples; ++s)
                    for (std::int64_t r = first; r < last; r += strip)
                        visit(s, std::int64_t{1}, r, std::min(last, r + strip));
            });
    };
    std::int64_t most = 0, scratch = 0;
    for (std::int64_t item = 0; item < (division.parts > 1 ? division.parts : division.items); ++item)
        for_each_strip(item, [&](auto... part) {
            const Args of = part_of(args, part...);
            most = std::max(most, of.batch * to.rows(of) * to.row);
            scratch = std::max(scratch, choice.scratch(of));
        });
    scratch = Layout::stride(scratch);
    call.run_divided(choice, args, weights, {threads, division.items, scratch + most, flops < kBriefFlops, 0},
                     [&](const Args& copy, std::int64_t item, const auto& go) {
                         for_each_strip(item, [&](auto... part) {
                             Args of = part_of(copy, part...);
                             float* const own = of.scratch + scratch;
                             const std::int64_t at = of.*to.pointer - origin, floats = to.rows(of) * to.row;
                             of.*to.pointer = own;
                             of.*to.stride = floats;
                             go(of);
                             round({of.batch * floats, own, words + at});
                         });
                     });
}

// Large weights are divided between the threads instead: then the whole result is float32 first.
template <class Args>
bool divides_weights(const Choice<Args>& choice, const Args& args) {
    return choice.row->kernel->divides_weights && weight_parts(choice.packed(args)) > 0;
}

template <class Args>
void run_rounded(const Call& call, const Choice<Args>& choice, Args args, const float* weights,
                 const Images<Args>& to, float* whole, std::uint16_t* words) {
    if (!whole) return run_in_strips(call, choice, args, weights, to, words);
    const std::int64_t sample = to.rows(args) * to.row;
    args.*to.pointer = whole;
    args.*to.stride = sample;
    run_on_images(call, choice, args, weights, work_of(args.shape), to.rows(args), to.least_unit,
                  std::max(to.read, sample));
    const py::gil_scoped_release release;
    round_words(whole, args.batch * sample, words);
}

Words images(std::int64_t batch, std::int64_t height, std::int64_t width, std::int64_t channels) {
    return Words(std::vector<py::ssize_t>{batch, height, width, channels});
}

Words bfloat16_conv2d(const Words& x, const Words& kernel, const std::optional<Floats>& bias, Pair strides,
                      const std::string& padding, Pair dilation, std::int64_t groups, bool relu) {
    const std::int64_t filters = kernel.shape(3);
    const Call call("conv2d", "", "");
    Conv2dForward floats;
    floats.shape = conv_shape(call, {x.shape(1), x.shape(2)}, x.shape(3), {kernel.shape(0), kernel.shape(1)},
                              filters, groups, {strides, padding, dilation});
    floats.batch = x.shape(0);
    floats.relu = relu;
    floats.bias = bias ? bias->data() : nullptr;
    floats.x_stride = words_per_sample(x);
    Words y = images(x.shape(0), floats.shape.h.out, floats.shape.w.out, filters);

    Conv2dForward args = floats;
    args.shape.in_channels /= 2;
    args.x_stride /= 2;
    const PairRows* rows = pair_rows();
    const bool pairs = rows && kernel.shape(2) % 2 == 0 &&
                       is_faster(call, floats, rows->forward, args, true, x.size() + y.size());
    if (!pairs) args = floats;
    const Choice<Conv2dForward> choice = pairs ? choice_of(rows->forward) : call.choice(floats, kPackedOnce);
    Layout layout;
    const std::int64_t weights_at = layout.book(kernel.size()), x_at = layout.book(pairs ? 0 : x.size());
    const std::int64_t y_at = layout.book(divides_weights(choice, args) ? y.size() : 0);
    const Converted memory(layout.size());
    float* const weights = memory.data() + weights_at;
    {
        const py::gil_scoped_release release;
        if (pairs) {
            args.x = pairs_of(x);
            put_in_pairs(kernel.data(), kernel.size() / filters, filters, weights);
        } else {
            args.x = memory.data() + x_at;
            widen(x.data(), x.size(), memory.data() + x_at);
            widen(kernel.data(), kernel.size(), weights);
        }
    }
    const Images<Conv2dForward> to{&Conv2dForward::y,
                                   &Conv2dForward::y_stride,
                                   [](const Conv2dForward& f) { return f.shape.h.out; },
                                   args.shape.w.out * filters,
                                   1,
                                   args.x_stride};
    run_rounded(call, choice, args, weights, to,
                divides_weights(choice, args) ? memory.data() + y_at : nullptr, y.mutable_data());
    return y;
}

Words bfloat16_conv2d_grad_input(const Words& dy, const Words& kernel, Pair size, Pair strides,
                                 const std::string& padding, Pair dilation, std::int64_t groups) {
    const std::int64_t channels = kernel.shape(2) * groups, filters = kernel.shape(3);
    const Call call("conv2d_grad_input", "", "");
    Conv2dGradInput floats;
    floats.shape = conv_shape(call, size, channels, {kernel.shape(0), kernel.shape(1)}, filters, groups,
                              {strides, padding, dilation});
    floats.batch = dy.shape(0);
    floats.dy_stride = words_per_sample(dy);
    Words dx = images(dy.shape(0), size.first, size.second, channels);

    Conv2dGradInput args = floats;
    args.shape.out_channels /= 2;
    args.dy_stride /= 2;
    const PairRows* rows = pair_rows();
    const bool pairs = rows && filters / groups % 2 == 0 &&
                       is_faster(call, floats, rows->grad_input, args, true, dy.size() + dx.size());
    if (!pairs) args = floats;
    const Choice<Conv2dGradInput> choice =
        pairs ? choice_of(rows->grad_input) : call.choice(floats, kPackedOnce);
    Layout layout;
    const std::int64_t weights_at = layout.book(pairs ? 0 : kernel.size());
    const std::int64_t dy_at = layout.book(pairs ? 0 : dy.size());
    const std::int64_t dx_at = layout.book(divides_weights(choice, args) ? dx.size() : 0);
    const Converted memory(layout.size());
    const float* weights = pairs ? pairs_of(kernel) : memory.data() + weights_at;
    args.dy = pairs ? pairs_of(dy) : memory.data() + dy_at;
    if (!pairs) {
        const py::gil_scoped_release release;
        widen(dy.data(), dy.size(), memory.data() + dy_at);
        widen(kernel.data(), kernel.size(), memory.data() + weights_at);
    }
    const Window& h = args.shape.h;
    const Images<Conv2dGradInput> to{&Conv2dGradInput::dx,
                                     &Conv2dGradInput::dx_stride,
                                     [](const Conv2dGradInput& g) { return g.shape.h.in; },
                                     size.second * channels,
                                     h.extent() >= h.stride ? 1 : h.in,
                                     args.dy_stride};
    run_rounded(call, choice, args, weights, to,
                divides_weights(choice, args) ? memory.data() + dx_at : nullptr, dx.mutable_data());
    return dx;
}

Words rounded(const Floats& array, const Shape& shape) {
    Words words(std::vector<py::ssize_t>(shape.begin(), shape.end()));
    const float* const from = array.data();
    std::uint16_t* const to = words.mutable_data();
    const py::gil_scoped_release release;
    round_words(from, words.size(), to);
    return words;
}

void run(GradKernelJob job) {
    const Lent memory(job.memory());
    job.use(memory.data());
    run_team(job.threads(), job, Denormals::keep);
}

py::tuple bfloat16_conv2d_grad_kernel(const Words& x, const Words& dy, Pair size, Pair strides,
                                      const std::string& padding, Pair dilation, std::int64_t groups) {
    const Call call("conv2d_grad_kernel", "", "");
    const std::int64_t filters = dy.shape(3);
    Conv2dGradKernel args;
    args.shape = conv_shape(call, {x.shape(1), x.shape(2)}, x.shape(3), size, filters, groups,
                            {strides, padding, dilation});
    args.batch = x.shape(0);
    args.x_stride = words_per_sample(x);
    args.dy_stride = words_per_sample(dy);
    const Shape shape = kernel_shape_of(args.shape);
    Floats dkernel(std::vector<py::ssize_t>(shape.begin(), shape.end())), dbias(filters);
    args.dkernel = dkernel.mutable_data();
    args.dbias = dbias.mutable_data();

    Conv2dGradKernel halved = args;  // samples in pairs
    halved.batch = (args.batch + 1) / 2;
    const PairRows* rows = pair_rows();
    const bool pairs = rows && args.batch > 1 &&
                       is_faster(call, args, rows->grad_kernel, halved, false, x.size() + dy.size());
    if (pairs) args = halved;
    // The bias's gradient is that of a 1x1 kernel over images of ones.
    Conv2dGradKernel sums = args;
    sums.shape = Conv2dShape();
    sums.shape.h = window(1, 1, 1, 1, Padding::valid);
    sums.shape.w = window(args.shape.h.out * args.shape.w.out, 1, 1, 1, Padding::valid);
    sums.shape.out_channels = filters;
    sums.x_stride = 0;
    sums.dkernel = dbias.mutable_data();
    sums.dbias = nullptr;

    Layout layout;
    const std::int64_t x_at = layout.book(args.batch * args.x_stride);
    const std::int64_t dy_at = layout.book(args.batch * args.dy_stride);
    const std::int64_t ones_at = layout.book(sums.shape.w.in);
    const Converted memory(layout.size());
    args.x = memory.data() + x_at;
    args.dy = sums.dy = memory.data() + dy_at;
    sums.x = memory.data() + ones_at;
    {
        const py::gil_scoped_release release;
        if (pairs) {
            args.dbias = nullptr;
            put_in_pairs(x.data(), x.shape(0), args.x_stride, memory.data() + x_at);
            put_in_pairs(dy.data(), dy.shape(0), args.dy_stride, memory.data() + dy_at);
            constexpr std::uint32_t kOnes = 0x3f803f80;
            for (std::int64_t i = 0; i < sums.shape.w.in; ++i)
                std::memcpy(memory.data() + ones_at + i, &kOnes, sizeof kOnes);
            run({call, choice_of(rows->grad_kernel), args, size_of(shape)});
            run({call, choice_of(rows->grad_kernel), sums, filters});
        } else {
            widen(x.data(), x.size(), memory.data() + x_at);
            widen(dy.data(), dy.size(), memory.data() + dy_at);
            run({call, call.choice(args), args, size_of(shape)});
        }
    }
    return py::make_tuple(rounded(dkernel, shape), rounded(dbias, {filters}));
}

}  // namespace

void bind_bfloat16_ops(py::module_& module) {
    using py::arg;
    module.def("pairs_active", [] { return pair_rows() != nullptr; });
    module.def("set_pairs", set_pairs, arg("used"), arg("always") = false);
    module.def("has_bfloat16_pairs", has_bfloat16_pairs);
    module.def("bfloat16_conv2d", bfloat16_conv2d, arg("x"), arg("kernel"), arg("bias").none(true),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"), arg("relu"));
    module.def("bfloat16_conv2d_grad_input", bfloat16_conv2d_grad_input, arg("dy"), arg("kernel"),
               arg("size"), arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"));
    module.def("bfloat16_conv2d_grad_kernel", bfloat16_conv2d_grad_kernel, arg("x"), arg("dy"),
               arg("kernel_size"), arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"));
}

}  // namespace fastcnn::bindings
