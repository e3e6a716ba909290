// Convolution of bfloat16 arrays and its gradients by dot products of pairs (kernels/pairs.h). The arrays come
// as their 16-bit words; Python has checked shapes and windows. None where pairs are not in use, do not fit,
// or are estimated slower than float32.
#include "base/team.h"
#include "bindings/ops_images.h"
#include "kernels/pairs.h"

namespace fastcnn::bindings {

namespace {

using Words = py::array_t<std::uint16_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

// Memory beside what the call itself is lent.
using Paired = LentMemory<1>;

std::int64_t words_per_sample(const Words& array) { return array.size() / array.shape(0); }

// A pair is read as a float is.
const float* pairs_of(const Words& array) { return reinterpret_cast<const float*>(array.data()); }

// to[i] = words a[i] and b[i] (null: 0) as a pair.
void interleave(const std::uint16_t* a, const std::uint16_t* b, std::int64_t count, float* to) {
    for (std::int64_t i = 0; i < count; ++i) {
        const std::uint32_t pair = a[i] | (b ? std::uint32_t{b[i]} << 16 : 0u);
        std::memcpy(to + i, &pair, sizeof pair);
    }
}

// Calls run(begin, end) for shares of `count` pieces on as many threads as `words` are worth.
template <class Run>
void share_out(std::int64_t count, std::int64_t words, const Run& run) {
    const int threads = threads_for(words, kLeastFloats);
    const std::int64_t items = items_for(threads, count);
    run_items(threads, items, [&](std::int64_t item, int) {
        const Share share(count, item, items);
        run(share.begin, share.end);
    });
}

// Of float32's rows those with estimates compete; the others are for layers that pairs do not suit.
template <class Args>
bool is_faster(const Call& call, const Args& floats, const Row<Args>& row, const Args& pairs, bool packs) {
    if (row.kernel->declines && row.kernel->declines(pairs)) return false;
    if (pairs_always()) return true;
    const Choice<Args> choice = call.choice(floats, {packs ? 1.0 : 0.0, nullptr, true});
    if (choice.cycles == 0) return false;
    const double packed = packs ? static_cast<double>(row.kernel->packed(pairs)) : 0;
    return row.kernel->cost(pairs) + pack_cycles(packed, false) < choice.cycles;
}

template <class Args>
Choice<Args> choice_of(const Row<Args>& row) {
    Choice<Args> choice;
    choice.row = &row;
    return choice;
}

// Where a kernel writes, and how many rows a sample of that has.
template <class Args>
struct Written {
    float* Args::*pointer;
    std::int64_t Args::*stride;
    std::int64_t (*rows)(const Args& args);
    std::int64_t row;  // floats
};

// Runs a kernel block by block into memory of its thread, from where the results are rounded into `words`.
template <class Args>
void run_rounded(const Call& call, const Row<Args>& table_row, Args args, const float* weights,
                 std::int64_t least_unit, std::int64_t sample_floats, const Written<Args>& to,
                 std::uint16_t* words) {
    const Choice<Args> choice = choice_of(table_row);
    const Choice<RoundBfloat16> round = choose(RoundBfloat16{});
    const std::int64_t rows = to.rows(args), flops = args.batch * work_of(args.shape);
    const int threads = threads_for(flops, kLeastFlops);
    const ImageDivision division =
        ImageDivision::of(threads, args.batch, rows, std::max(least_unit, choice.row_unit(args)),
                          sample_floats, choice.packed(args));
    float* const origin = reinterpret_cast<float*>(words);  // only distances from it count
    args.*to.pointer = origin;
    args.*to.stride = rows * to.row;
    std::int64_t most = 0;
    for (std::int64_t item = 0; item < (division.parts > 1 ? division.parts : division.items); ++item)
        division.for_each_block(item, [&](auto... part) {
            const Args of = part_of(args, part...);
            most = std::max(most, of.batch * to.rows(of) * to.row);
        });
    const std::int64_t scratch = Layout::stride(scratch_of(choice, args, division));
    call.run_divided(choice, args, weights,
                     {threads, division.items, scratch + most, flops < kBriefFlops, 0},
                     [&](const Args& copy, std::int64_t item, const auto& go) {
                         division.for_each_block(item, [&](auto... part) {
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

Words images(std::int64_t batch, std::int64_t height, std::int64_t width, std::int64_t channels) {
    return Words(std::vector<py::ssize_t>{batch, height, width, channels});
}

py::object pairs_conv2d(const Words& x, const Words& kernel, const std::optional<Floats>& bias, Pair strides,
                        const std::string& padding, Pair dilation, std::int64_t groups, bool relu) {
    const PairRows* rows = pair_rows();
    const std::int64_t filters = kernel.shape(3);
    if (!rows || kernel.shape(2) % 2) return py::none();
    const Call call("conv2d", "", "");
    Conv2dForward floats;
    floats.shape = conv_shape(call, {x.shape(1), x.shape(2)}, x.shape(3), {kernel.shape(0), kernel.shape(1)},
                              filters, groups, {strides, padding, dilation});
    floats.batch = x.shape(0);
    floats.relu = relu;
    floats.bias = bias ? bias->data() : nullptr;
    Conv2dForward args = floats;
    args.shape.in_channels /= 2;
    if (!is_faster(call, floats, rows->forward, args, true)) return py::none();
    args.x = pairs_of(x);
    args.x_stride = words_per_sample(x) / 2;
    Words y = images(x.shape(0), args.shape.h.out, args.shape.w.out, filters);
    const std::int64_t lines = kernel.size() / (2 * filters);
    const Paired weights(lines * filters);
    {
        const std::uint16_t* const from = kernel.data();
        const py::gil_scoped_release release;
        share_out(lines, kernel.size(), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t line = begin; line < end; ++line)
                interleave(from + 2 * line * filters, from + (2 * line + 1) * filters, filters,
                           weights.data() + line * filters);
        });
    }
    const Written<Conv2dForward> to{&Conv2dForward::y, &Conv2dForward::y_stride,
                                    [](const Conv2dForward& f) { return f.shape.h.out; },
                                    args.shape.w.out * filters};
    run_rounded(call, rows->forward, args, weights.data(), 1, std::max(args.x_stride, words_per_sample(y)),
                to, y.mutable_data());
    return y;
}

py::object pairs_conv2d_grad_input(const Words& dy, const Words& kernel, Pair size, Pair strides,
                                   const std::string& padding, Pair dilation, std::int64_t groups) {
    const PairRows* rows = pair_rows();
    const std::int64_t channels = kernel.shape(2) * groups, filters = kernel.shape(3);
    if (!rows || filters / groups % 2) return py::none();
    const Call call("conv2d_grad_input", "", "");
    Conv2dGradInput floats;
    floats.shape = conv_shape(call, size, channels, {kernel.shape(0), kernel.shape(1)}, filters, groups,
                              {strides, padding, dilation});
    floats.batch = dy.shape(0);
    Conv2dGradInput args = floats;
    args.shape.out_channels /= 2;
    if (!is_faster(call, floats, rows->grad_input, args, true)) return py::none();
    args.dy = pairs_of(dy);
    args.dy_stride = words_per_sample(dy) / 2;
    Words dx = images(dy.shape(0), size.first, size.second, channels);
    const Written<Conv2dGradInput> to{&Conv2dGradInput::dx, &Conv2dGradInput::dx_stride,
                                      [](const Conv2dGradInput& g) { return g.shape.h.in; },
                                      size.second * channels};
    const Window& h = args.shape.h;
    run_rounded(call, rows->grad_input, args, pairs_of(kernel), h.extent() >= h.stride ? 1 : h.in,
                std::max(args.dy_stride, words_per_sample(dx)), to, dx.mutable_data());
    return dx;
}

Words rounded(const Floats& array, const Shape& shape) {
    Words words(std::vector<py::ssize_t>(shape.begin(), shape.end()));
    choose(RoundBfloat16{})({array.size(), array.data(), words.mutable_data()});
    return words;
}

// Two samples' images as one of pairs; the last of an odd number has zeros beside it.
void pair_samples(const Words& from, float* to) {
    const std::int64_t batch = from.shape(0), floats = words_per_sample(from), pairs = (batch + 1) / 2;
    const std::uint16_t* const words = from.data();
    constexpr std::int64_t kPiece = 4096;
    const std::int64_t pieces = (floats + kPiece - 1) / kPiece;
    share_out(pairs * pieces, from.size(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t pair = i / pieces, first = i % pieces * kPiece;
            const std::uint16_t* a = words + 2 * pair * floats + first;
            interleave(a, 2 * pair + 1 < batch ? a + floats : nullptr, std::min(kPiece, floats - first),
                       to + pair * floats + first);
        }
    });
}

py::object pairs_conv2d_grad_kernel(const Words& x, const Words& dy, Pair size, Pair strides,
                                    const std::string& padding, Pair dilation, std::int64_t groups) {
    const PairRows* rows = pair_rows();
    if (!rows || x.shape(0) < 2) return py::none();
    const Call call("conv2d_grad_kernel", "", "");
    const std::int64_t filters = dy.shape(3);
    Conv2dGradKernel floats;
    floats.shape = conv_shape(call, {x.shape(1), x.shape(2)}, x.shape(3), size, filters, groups,
                              {strides, padding, dilation});
    floats.batch = x.shape(0);
    Conv2dGradKernel args = floats;
    args.batch = (floats.batch + 1) / 2;
    if (!is_faster(call, floats, rows->grad_kernel, args, false)) return py::none();
    args.x_stride = words_per_sample(x);
    args.dy_stride = words_per_sample(dy);
    const Shape shape = kernel_shape_of(args.shape);
    Floats dkernel(std::vector<py::ssize_t>(shape.begin(), shape.end())), dbias(filters);
    args.dkernel = dkernel.mutable_data();

    // The bias's gradient is that of a 1x1 kernel over images of ones.
    Conv2dGradKernel sums = args;
    sums.shape = Conv2dShape();
    sums.shape.h = window(1, 1, 1, 1, Padding::valid);
    sums.shape.w = window(args.shape.h.out * args.shape.w.out, 1, 1, 1, Padding::valid);
    sums.shape.out_channels = filters;
    sums.x_stride = 0;
    sums.dkernel = dbias.mutable_data();

    const Paired pairs(args.batch * (args.x_stride + args.dy_stride) + sums.shape.w.in);
    float* const x_pairs = pairs.data();
    float* const dy_pairs = x_pairs + args.batch * args.x_stride;
    float* const ones = dy_pairs + args.batch * args.dy_stride;
    args.x = x_pairs;
    args.dy = sums.dy = dy_pairs;
    sums.x = ones;
    GradKernelJob job(call, choice_of(rows->grad_kernel), args, size_of(shape));
    GradKernelJob sums_job(call, choice_of(rows->grad_kernel), sums, filters);
    {
        const py::gil_scoped_release release;
        pair_samples(x, x_pairs);
        pair_samples(dy, dy_pairs);
        constexpr std::uint32_t kOnes = 0x3f803f80;
        for (std::int64_t i = 0; i < sums.shape.w.in; ++i) std::memcpy(ones + i, &kOnes, sizeof kOnes);
        for (GradKernelJob* each : {&job, &sums_job}) {
            const Lent memory(each->memory());
            each->use(memory.data());
            run_team(each->threads(), *each, Denormals::keep);
        }
    }
    return py::make_tuple(rounded(dkernel, shape), rounded(dbias, {filters}));
}

}  // namespace

void bind_pair_ops(py::module_& module) {
    using py::arg;
    module.def("pairs_active", [] { return pair_rows() != nullptr; });
    module.def("set_pairs", set_pairs, arg("used"), arg("always") = false);
    module.def("has_bfloat16_pairs", has_bfloat16_pairs);
    module.def("pairs_conv2d", pairs_conv2d, arg("x"), arg("kernel"), arg("bias").none(true), arg("strides"),
               arg("padding"), arg("dilation_rate"), arg("groups"), arg("relu"));
    module.def("pairs_conv2d_grad_input", pairs_conv2d_grad_input, arg("dy"), arg("kernel"), arg("size"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"));
    module.def("pairs_conv2d_grad_kernel", pairs_conv2d_grad_kernel, arg("x"), arg("dy"), arg("kernel_size"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"));
}

}  // namespace fastcnn::bindings
