// Convolution of bfloat16 arrays and its gradients with AMX tiles. The arrays come as their 16-bit words;
// Python has checked shapes and windows.
//
// Samples are taken together until 16 lines of a row fill a tile, and divided between the threads in such
// groups.
#include <algorithm>

#include "base/check.h"
#include "bindings/ops_call.h"
#include "kernels/amx.h"

namespace fastcnn::bindings {

namespace {

using Words = py::array_t<std::uint16_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;
using Pair = std::pair<std::int64_t, std::int64_t>;

constexpr std::int64_t kTileLines = 16;
constexpr std::int64_t kLanes = 8;  // of a kernel's gradient

std::int64_t size_of_sample(const Words& array) { return array.size() / array.shape(0); }

struct Groups {
    std::int64_t batch, samples, count;  // samples in a group, groups
    Groups(std::int64_t samples_in_all, std::int64_t width) : batch(samples_in_all) {
        // Two threads at least get one each where there are two samples.
        samples = std::clamp<std::int64_t>(kTileLines / width, 1, (batch + 1) / 2);
        count = (batch + samples - 1) / samples;
    }
    std::int64_t first(std::int64_t group) const { return group * samples; }
    std::int64_t in(std::int64_t group) const { return std::min(samples, batch - first(group)); }
};

// How a window slides, as Python gives it.
struct Windows {
    Window h, w;
    Windows(Pair size, Pair kernel, Pair strides, Pair dilation, const std::string& padding) {
        const Padding pad = padding == "same" ? Padding::same : Padding::valid;
        h = window(size.first, kernel.first, strides.first, dilation.first, pad);
        w = window(size.second, kernel.second, strides.second, dilation.second, pad);
    }
};
Pair size_of_images(const Words& x) { return {x.shape(1), x.shape(2)}; }
Pair size_of_kernel(const Floats& kernel) { return {kernel.shape(0), kernel.shape(1)}; }

AmxRead reading(const Words& from, const Groups& groups, std::int64_t group, AmxImage to) {
    AmxRead r;
    r.stride = size_of_sample(from);
    r.words = from.data() + groups.first(group) * r.stride;
    r.count = groups.in(group);
    r.image = to;
    return r;
}

std::uint16_t* words(float* memory) { return reinterpret_cast<std::uint16_t*>(memory); }

const AmxRows& rows_in_use() {
    require(static_cast<bool>(amx_level()), "bfloat16 tiles: ", amx_level().declined);
    return *amx_level().rows;
}

// y = the convolution that `a` describes, or, `a` being transposed, an input's gradient.
Words convolve(AmxConv a, const Words& x, const Floats& kernel, const Floats* bias) {
    const AmxRows& rows = rows_in_use();
    const Groups groups(x.shape(0), a.out_width);
    a.x = (a.transposed ? amx_gradient : amx_input)(a.h, a.w, groups.samples, a.channels);
    a.y = {nullptr, a.out_height, a.out_width, 0, 0, groups.samples, a.filters};
    a.bias = bias ? bias->data() : nullptr;
    Words y(std::vector<py::ssize_t>{x.shape(0), a.out_height, a.out_width, a.filters.count});
    std::uint16_t* to = y.mutable_data();
    const std::int64_t y_stride = size_of_sample(y);

    Layout layout;
    const std::int64_t x_at = layout.book(a.x.floats()), y_at = layout.book(a.y.floats());
    const std::int64_t scratch_at = layout.book(rows.amx_conv->scratch(a));
    const std::int64_t packed = Layout::round_up(rows.amx_conv->packed(a));
    const std::int64_t products =
        a.transposed ? x.size() * a.filters.in_group() : y.size() * a.channels.in_group();
    const std::int64_t work = 2 * products * a.h.size * a.w.size;
    const int threads = threads_for(work / 8, kLeastFlops);
    const py::gil_scoped_release release;
    const Lent lent(packed + threads * layout.size());
    float* const memory = lent.data();  // the caller's, whichever thread runs
    const std::int64_t parts = items_for(threads, a.filters.size() / 32);
    run_items(threads, parts, [&](std::int64_t part, int) {
        rows.amx_conv->pack(a, kernel.data(), memory, static_cast<int>(part), static_cast<int>(parts));
    });
    run_items(threads, groups.count, [&](std::int64_t group, int thread) {
        float* own = memory + packed + thread * layout.size();
        AmxConv of = a;
        of.x.data = words(own + x_at);
        of.y.data = words(own + y_at);
        of.kernel = memory;
        of.scratch = own + scratch_at;
        of.count = groups.in(group);
        rows.amx_read->run(reading(x, groups, group, of.x));
        rows.amx_conv->run(of);
        rows.amx_write->run({of.y, to + groups.first(group) * y_stride, y_stride, of.count});
    });
    return y;
}

Words amx_conv2d(const Words& x, const Floats& kernel, const std::optional<Floats>& bias, Pair strides,
                 const std::string& padding, Pair dilation, std::int64_t groups, bool relu) {
    const Windows windows(size_of_images(x), size_of_kernel(kernel), strides, dilation, padding);
    AmxConv a;
    a.h = windows.h;
    a.w = windows.w;
    a.channels = {x.shape(3), groups};
    a.filters = {kernel.shape(3), groups};
    a.relu = relu;
    a.out_height = a.h.out;
    a.out_width = a.w.out;
    return convolve(a, x, kernel, bias ? &*bias : nullptr);
}

Words amx_conv2d_grad_input(const Words& dy, const Floats& kernel, Pair size, Pair strides,
                            const std::string& padding, Pair dilation, std::int64_t groups) {
    const Windows windows(size, size_of_kernel(kernel), strides, dilation, padding);
    AmxConv a;
    a.h = windows.h;
    a.w = windows.w;
    a.channels = {kernel.shape(3), groups};
    a.filters = {kernel.shape(2) * groups, groups};
    a.transposed = true;
    a.out_height = a.h.in;
    a.out_width = a.w.in;
    return convolve(a, dy, kernel, nullptr);
}

// The kernel's gradient and the bias's: float32. Lanes
// are runs of groups, summed in order, whatever the number of threads.
py::tuple amx_conv2d_grad_kernel(const Words& x, const Words& dy, Pair kernel_size, Pair strides,
                                 const std::string& padding, Pair dilation, std::int64_t in_groups) {
    const AmxRows& rows = rows_in_use();
    const Windows windows(size_of_images(x), kernel_size, strides, dilation, padding);
    AmxGradKernel g;
    g.h = windows.h;
    g.w = windows.w;
    g.channels = {x.shape(3), in_groups};
    g.filters = {dy.shape(3), in_groups};
    const Groups groups(x.shape(0), g.w.out);
    g.x = amx_input(g.h, g.w, groups.samples, g.channels);
    AmxSpread spread;
    spread.dy = {nullptr, g.h.out, g.w.out, 0, 0, groups.samples, g.filters};
    spread.height = g.h.out;
    spread.width = g.w.out;

    const std::int64_t weights = g.h.size * g.w.size * g.channels.in_group(), filters = g.filters.count;
    const std::int64_t lanes = std::min(kLanes, groups.count);
    Floats dkernel(std::vector<py::ssize_t>{weights, filters}), dbias(filters);
    float *to_kernel = dkernel.mutable_data(), *to_bias = dbias.mutable_data();
    Layout layout;
    const std::int64_t x_at = layout.book(g.x.floats()), dy_at = layout.book(spread.dy.floats());
    const std::int64_t transposed_at =
        layout.book(amx_transposed_floats(g.h, g.w, groups.samples, g.filters));
    const std::int64_t scratch_at =
        layout.book(std::max(rows.amx_grad_kernel->scratch(g), rows.amx_spread->scratch(spread)));
    const std::int64_t bias_at = Layout::round_up(weights * filters),
                       lane = Layout::stride(bias_at + filters);
    const int threads =
        static_cast<int>(std::min<std::int64_t>(threads_for(dy.size() * weights / 4, kLeastFlops), lanes));
    {
        const py::gil_scoped_release release;
        const Lent lent(lanes * lane + threads * layout.size());
        float* const memory = lent.data();
        run_items(threads, lanes, [&](std::int64_t item, int thread) {
            float* own = memory + lanes * lane + thread * layout.size();
            AmxGradKernel of = g;
            AmxSpread from = spread;
            of.x.data = words(own + x_at);
            from.dy.data = words(own + dy_at);
            from.transposed = own + transposed_at;
            of.transposed = own + transposed_at;
            of.scratch = from.scratch = own + scratch_at;
            of.dkernel = memory + item * lane;
            from.dbias = of.dkernel + bias_at;
            const Share share(groups.count, item, lanes);
            for (std::int64_t group = share.begin; group < share.end; ++group) {
                of.accumulate = from.accumulate = group > share.begin;
                rows.amx_read->run(reading(x, groups, group, of.x));
                rows.amx_read->run(reading(dy, groups, group, from.dy));
                rows.amx_spread->run(from);
                rows.amx_grad_kernel->run(of);
            }
        });
        const auto sum = [&](std::int64_t at, std::int64_t size, float* to) {
            for (std::int64_t i = 0; i < size; ++i) {
                float total = memory[at + i];
                for (std::int64_t l = 1; l < lanes; ++l) total += memory[l * lane + at + i];
                to[i] = total;
            }
        };
        sum(0, weights * filters, to_kernel);
        sum(bias_at, filters, to_bias);
    }
    return py::make_tuple(dkernel, dbias);
}

}  // namespace

void bind_amx_ops(py::module_& module) {
    using py::arg;
    module.def(
        "amx_fills",
        [](std::int64_t channels, std::int64_t filters, std::int64_t groups) {
            return amx_fills({channels, groups}, {filters, groups});
        },
        arg("channels"), arg("filters"), arg("groups"));
    module.def("amx_conv2d", amx_conv2d, arg("x"), arg("kernel"), arg("bias").none(true), arg("strides"),
               arg("padding"), arg("dilation_rate"), arg("groups"), arg("relu"));
    module.def("amx_conv2d_grad_input", amx_conv2d_grad_input, arg("dy"), arg("kernel"), arg("size"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"));
    module.def("amx_conv2d_grad_kernel", amx_conv2d_grad_kernel, arg("x"), arg("dy"), arg("kernel_size"),
               arg("strides"), arg("padding"), arg("dilation_rate"), arg("groups"));
}

}  // namespace fastcnn::bindings
