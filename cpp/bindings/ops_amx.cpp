// Convolution of bfloat16 arrays and its gradients with AMX tiles. The arrays come as their 16-bit words;
// Python has checked shapes and windows.
//
// Samples are taken together until 16 lines of a row fill a tile, and divided between the threads in such
// groups.
#include <algorithm>
#include <limits>

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
Pair size_of_kernel(const Words& kernel) { return {kernel.shape(0), kernel.shape(1)}; }

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

// How a convolution's results are divided into tiles: the fewest that their lines fit into.
struct Tiling {
    std::int64_t samples = 1;  // side by side in each column
    bool over_rows = false;

    // Results of `height` x `width`; `columns`: with those that only the windows reach; 0: rows are apart.
    Tiling(std::int64_t batch, std::int64_t height, std::int64_t width, std::int64_t columns) {
        double fewest = std::numeric_limits<double>::max();
        for (std::int64_t n = 1; n <= std::min<std::int64_t>(16, batch); n *= 2)
            for (const bool over : {false, true}) {
                if (over && !columns) continue;
                const std::int64_t tiles = over ? whole_tiles(((height - 1) * columns + width) * n)
                                                : height * whole_tiles(width * n);
                // Samples side by side share fewer lines between taps.
                constexpr double kApart = 1.02;
                double cost = static_cast<double>((batch + n - 1) / n * tiles);
                for (std::int64_t i = 1; i < n; i *= 2) cost *= kApart;
                if (cost >= fewest) continue;
                fewest = cost;
                samples = n;
                over_rows = over;
            }
    }

  private:
    static std::int64_t whole_tiles(std::int64_t lines) { return (lines + kTileLines - 1) / kTileLines; }
};

// Rows of the results that one item computes; transposed, of the inputs of a phase.
std::int64_t rows_of(const AmxPlanesConv& a) {
    return a.transposed ? (a.h.in + a.h.stride - 1) / a.h.stride : a.h.out;
}

// What rows [first, last) of the results read.
AmxPlanes planes_of(const AmxPlanesConv& a, std::int64_t samples, std::int64_t first, std::int64_t last) {
    AmxPlanes planes;
    planes.samples = samples;
    planes.channels = a.channels;
    if (!a.transposed) {
        planes.stride = a.w.stride;
        planes.left = std::max<std::int64_t>(a.w.pad, 0);
        planes.columns = planes.left + a.w.in + a.w.pad_end();
        planes.top = a.h.begin(first);
        planes.rows = a.h.begin(last - 1) + a.h.extent() - planes.top;
        return planes;
    }
    const AmxImage columns = amx_gradient(a.h, a.w, 1, a.channels);
    planes.left = columns.left;
    planes.columns = columns.left + a.w.out + columns.right;
    planes.top = a.h.out;
    std::int64_t end = -a.h.extent();
    for (std::int64_t p = 0; p < std::min(a.h.stride, a.h.in); ++p) {
        const Window of = AmxPhase(a.h, p).window;
        if (of.size == 0) continue;
        planes.top = std::min(planes.top, of.begin(first));
        end = std::max(end, of.begin(last - 1) + of.extent());
    }
    planes.rows = std::max<std::int64_t>(1, end - planes.top);
    return planes;
}

// One call: samples side by side in groups, their results in strips of rows, whatever the number of threads.
// Each strip's input is made planes where it is used, for all filters; or, where there is more of the weights
// than of the input, the whole input is, and the filters are divided.
class Convolution {
  public:
    Convolution(const AmxPlanesConv& conv, const Words& x, const Words& kernel, std::uint16_t* y)
        : a_(conv), x_(x), kernel_(kernel.data()), y_(y) {
        const Tiling tiling = tiles(x.shape(0));
        a_.over_rows = tiling.over_rows;
        samples_ = tiling.samples;
        batch_ = x.shape(0);
        groups_ = (batch_ + samples_ - 1) / samples_;
        x_stride_ = size_of_sample(x);
        const std::int64_t rows = rows_of(a_), whole = planes_of(a_, samples_, 0, rows).floats();
        packed_ = a_.pairs() * a_.packed();
        by_filters_ = packed_ > kSmallWeights && packed_ > groups_ * whole;
        constexpr std::int64_t kInL2 = 160 * 1024, kItems = 8;  // floats; items at least, where rows allow
        std::int64_t strips = std::max((whole + kInL2 - 1) / kInL2, (kItems + groups_ - 1) / groups_);
        strips = std::clamp<std::int64_t>(strips, 1, (rows + 1) / 2);
        strip_ = (rows + strips - 1) / strips;
        strips_ = strips;
        const std::int64_t products =
            a_.transposed ? x.size() * a_.filters.in_group() : batch_ * a_.y_stride * a_.channels.in_group();
        threads_ = threads_for(2 * products * a_.h.size * a_.w.size / 8, kLeastFlops);
    }

    void run(const AmxRows& rows) const { by_filters_ ? run_by_filters(rows) : run_by_strips(rows); }

  private:
    static constexpr std::int64_t kSmallWeights = 64 * 1024;  // floats

    Tiling tiles(std::int64_t batch) const {
        const bool follow = a_.h.stride == 1 && a_.w.stride == 1;
        const std::int64_t columns = follow ? planes_of(a_, 1, 0, 1).columns : 0;
        const std::int64_t width = a_.transposed ? (a_.w.in + a_.w.stride - 1) / a_.w.stride : a_.w.out;
        return Tiling(batch, rows_of(a_), width, columns);
    }

    AmxReadPlanes reading(std::int64_t group, const AmxPlanes& planes) const {
        AmxReadPlanes r;
        r.stride = x_stride_;
        r.words = x_.data() + group * samples_ * x_stride_;
        r.count = std::min(samples_, batch_ - group * samples_);
        r.height = a_.transposed ? a_.h.out : a_.h.in;
        r.width = a_.transposed ? a_.w.out : a_.w.in;
        r.planes = planes;
        r.last = planes.rows;
        return r;
    }

    void compute(const AmxRows& rows, AmxPlanesConv a, std::int64_t group) const {
        a.count = std::min(samples_, batch_ - group * samples_);
        a.y = y_ + group * samples_ * a_.y_stride;
        rows.amx_planes_conv->run(a);
    }

    void pack(const AmxRows& rows, AmxPlanesConv a, std::int64_t first, std::int64_t last, float* to) const {
        a.first_pair = first;
        a.last_pair = last;
        rows.amx_pack_planes->run({a, kernel_, words(to)});
    }

    void run_by_strips(const AmxRows& rows) const {
        Layout own;
        const std::int64_t planes_at = own.book(planes_of(a_, samples_, 0, strip_).floats());
        const std::int64_t scratch_at = own.book(scratch(rows, strip_));
        const std::int64_t own_size = Layout::stride(own.size());
        const Lent lent(packed_ + threads_ * own_size);
        float* const memory = lent.data();  // the caller's, whichever thread runs
        run_items(threads_, items_for(threads_, a_.pairs()), [&](std::int64_t item, int) {
            const Share share(a_.pairs(), item, items_for(threads_, a_.pairs()));
            pack(rows, a_, share.begin, share.end, memory + share.begin * a_.packed());
        });
        run_items(threads_, groups_ * strips_, [&](std::int64_t item, int thread) {
            float* const mine = memory + packed_ + thread * own_size;
            const std::int64_t group = item / strips_;
            AmxPlanesConv a = a_;
            const Share share(rows_of(a), item % strips_, strips_);
            a.first = share.begin;
            a.last = share.end;
            a.x = planes_of(a, samples_, a.first, a.last);
            a.x.data = words(mine + planes_at);
            a.last_pair = a.pairs();
            a.kernel = words(memory);
            a.scratch = mine + scratch_at;
            rows.amx_read_planes->run(reading(group, a.x));
            compute(rows, a, group);
        });
    }

    void run_by_filters(const AmxRows& rows) const {
        const std::int64_t height = rows_of(a_);
        const AmxPlanes planes = planes_of(a_, samples_, 0, height);
        Layout shared, own;
        const std::int64_t group_size = Layout::stride(planes.floats());
        const std::int64_t planes_at = shared.book(groups_ * group_size);
        const std::int64_t packed_at = own.book(a_.packed()), scratch_at = own.book(scratch(rows, height));
        const std::int64_t own_size = Layout::stride(own.size());
        const Lent lent(shared.size() + threads_ * own_size);
        float* const memory = lent.data();
        const std::int64_t parts = std::clamp<std::int64_t>(8 / groups_, 1, planes.rows);
        run_items(threads_, groups_ * parts, [&](std::int64_t item, int) {
            AmxPlanes of = planes;
            of.data = words(memory + planes_at + item / parts * group_size);
            AmxReadPlanes r = reading(item / parts, of);
            const Share share(planes.rows, item % parts, parts);
            r.first = share.begin;
            r.last = share.end;
            rows.amx_read_planes->run(r);
        });
        run_items(threads_, a_.pairs(), [&](std::int64_t pair, int thread) {
            float* const mine = memory + shared.size() + thread * own_size;
            pack(rows, a_, pair, pair + 1, mine + packed_at);
            AmxPlanesConv a = a_;
            a.last = height;
            a.x = planes;
            a.first_pair = pair;
            a.last_pair = pair + 1;
            a.kernel = words(mine + packed_at);
            a.scratch = mine + scratch_at;
            for (std::int64_t group = 0; group < groups_; ++group) {
                a.x.data = words(memory + planes_at + group * group_size);
                compute(rows, a, group);
            }
        });
    }

    // Floats, for as many rows of results.
    std::int64_t scratch(const AmxRows& rows, std::int64_t count) const {
        AmxPlanesConv a = a_;
        a.last = count;
        a.x = planes_of(a, samples_, 0, count);
        return rows.amx_planes_conv->scratch(a);
    }

    AmxPlanesConv a_;
    const Words& x_;
    const std::uint16_t* kernel_;
    std::uint16_t* y_;
    std::int64_t samples_, batch_, groups_, x_stride_, packed_, strip_, strips_;
    int threads_;
    bool by_filters_;
};

// y = the convolution that `a` describes, or, `a` being transposed, an input's gradient.
Words convolve(AmxPlanesConv a, const Words& x, const Words& kernel, const Floats* bias) {
    const AmxRows& rows = rows_in_use();
    const std::int64_t height = a.transposed ? a.h.in : a.h.out, width = a.transposed ? a.w.in : a.w.out;
    Words y = result_array(py::dtype::of<std::uint16_t>(), {x.shape(0), height, width, a.filters.count});
    a.bias = bias ? bias->data() : nullptr;
    a.y_stride = size_of_sample(y);
    const Convolution convolution(a, x, kernel, y.mutable_data());
    const py::gil_scoped_release release;
    convolution.run(rows);
    return y;
}

Words amx_conv2d(const Words& x, const Words& kernel, const std::optional<Floats>& bias, Pair strides,
                 const std::string& padding, Pair dilation, std::int64_t groups, bool relu) {
    const Windows windows(size_of_images(x), size_of_kernel(kernel), strides, dilation, padding);
    AmxPlanesConv a;
    a.h = windows.h;
    a.w = windows.w;
    a.channels = {x.shape(3), groups};
    a.filters = {kernel.shape(3), groups};
    a.relu = relu;
    return convolve(a, x, kernel, bias ? &*bias : nullptr);
}

Words amx_conv2d_grad_input(const Words& dy, const Words& kernel, Pair size, Pair strides,
                            const std::string& padding, Pair dilation, std::int64_t groups) {
    const Windows windows(size, size_of_kernel(kernel), strides, dilation, padding);
    AmxPlanesConv a;
    a.h = windows.h;
    a.w = windows.w;
    a.channels = {kernel.shape(3), groups};
    a.filters = {kernel.shape(2) * groups, groups};
    a.transposed = true;
    return convolve(a, dy, kernel, nullptr);
}

// The kernel's gradient as (filters, height * width * channels of a group), and the bias's: float32. Lanes
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
    Floats dkernel(std::vector<py::ssize_t>{filters, weights}), dbias(filters);
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
