// Convolution of bfloat16 arrays and its gradients with AMX tiles. The arrays come as their 16-bit words;
// Python has checked shapes and windows.
//
// How a call is divided depends on its shapes alone, never on the number of threads.
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

constexpr std::int64_t kLanes = 8;  // of a kernel's gradient

std::int64_t size_of_sample(const Words& array) { return array.size() / array.shape(0); }

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

std::uint16_t* words(float* memory) { return reinterpret_cast<std::uint16_t*>(memory); }

const AmxRows& rows_in_use() {
    require(static_cast<bool>(amx_level()), "bfloat16 tiles: ", amx_level().declined);
    return *amx_level().rows;
}

// Threads that a call is worth, of so many operations and words read and written.
int threads_of(std::int64_t flops, std::int64_t words) {
    constexpr std::int64_t kFaster = 8;  // than float32
    return std::max(threads_for(flops / kFaster, kLeastFlops), threads_for(words, kLeastFloats));
}

// How a convolution's results are divided into tiles: the fewest that their lines fit into.
struct Tiling {
    std::int64_t samples = 1;  // side by side in each column
    bool over_rows = false;

    // Results of `height` x `width`; `columns`: with those that only the windows reach; 0: rows are apart.
    // `lines`: of a tile; with 32, a tile's depth, samples come in pairs.
    Tiling(std::int64_t batch, std::int64_t height, std::int64_t width, std::int64_t columns,
           std::int64_t lines = 16) {
        const auto whole_tiles = [lines](std::int64_t n) { return (n + lines - 1) / lines; };
        double fewest = std::numeric_limits<double>::max();
        for (std::int64_t n = lines / 16; n <= std::min(lines, batch + 1); n *= 2)
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
};

// Whether all that a window covers is taken for the channels of one position (AmxReadPatches): of images
// whose few channels would hardly fill a line.
bool by_patches(const Window& h, const Window& w, const AmxLine& channels) {
    constexpr std::int64_t kChannels = 8, kNumbers = 256;
    return channels.groups == 1 && channels.count <= kChannels && h.dilation == 1 && w.dilation == 1 &&
           h.size * w.size * channels.count <= kNumbers;
}

// A convolution over patches: one position a window.
Window positions(const Window& w) { return window(w.out, 1, 1, 1, Padding::valid); }

struct Patches {
    Window h, w;
    std::int64_t channels = 0;  // 0: there are none

    AmxReadPatches reading(const AmxPlanes& lines, std::int64_t first, std::int64_t last) const {
        AmxReadPatches r;
        r.h = h;
        r.w = w;
        r.channels = channels;
        r.lines = lines;
        r.lines.channels = {r.patch()};
        r.lines.whole_lines = true;
        r.first = first;
        r.last = last;
        return r;
    }
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
        if (!a_.transposed && by_patches(a_.h, a_.w, a_.channels)) {
            patches_ = {a_.h, a_.w, a_.channels.count};
            a_.channels = {a_.h.size * a_.w.size * a_.channels.count};
            a_.h = positions(a_.h);
            a_.w = positions(a_.w);
            a_.over_rows = true;
        } else {
            const Tiling tiling = tiles(x.shape(0));
            a_.over_rows = tiling.over_rows;
            samples_ = tiling.samples;
        }
        batch_ = x.shape(0);
        groups_ = (batch_ + samples_ - 1) / samples_;
        x_stride_ = size_of_sample(x);
        const std::int64_t rows = rows_of(a_), whole = planes_of(a_, samples_, 0, rows).floats();
        packed_ = a_.pairs() * a_.packed();
        by_filters_ = !patches_.channels && packed_ > kSmallWeights && packed_ > groups_ * whole;
        constexpr std::int64_t kInL2 = 160 * 1024, kItems = 8;  // floats; items at least, where rows allow
        std::int64_t strips = std::max((whole + kInL2 - 1) / kInL2, (kItems + groups_ - 1) / groups_);
        strips = std::clamp<std::int64_t>(strips, 1, (rows + 1) / 2);
        strip_ = (rows + strips - 1) / strips;
        strips_ = strips;
        const std::int64_t products =
            a_.transposed ? x.size() * a_.filters.in_group() : batch_ * a_.y_stride * a_.channels.in_group();
        threads_ = threads_of(2 * products * a_.h.size * a_.w.size, x.size() + batch_ * a_.y_stride);
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
        const std::int64_t patches_at = own.book(patch_scratch(rows));
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
            if (patches_.channels) {
                AmxReadPatches r = patches_.reading(a.x, a.first, a.last);
                r.stride = x_stride_;
                r.words = x_.data() + group * x_stride_;
                r.count = 1;
                r.scratch = mine + patches_at;
                a.x = r.lines;
                rows.amx_read_patches->run(r);
            } else {
                rows.amx_read_planes->run(reading(group, a.x));
            }
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

    // Floats, of a strip.
    std::int64_t patch_scratch(const AmxRows& rows) const {
        if (!patches_.channels) return 0;
        return rows.amx_read_patches->scratch(
            patches_.reading(planes_of(a_, samples_, 0, strip_), 0, strip_));
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
    Patches patches_;
    std::int64_t samples_ = 1, batch_, groups_, x_stride_, packed_, strip_, strips_;
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
    a.stream = a.filters.in_group() % 32 == 0 && passes_caches(y);
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

// The kernel's gradient and the bias's. Large kernels are divided between the threads, each part summed over
// the whole batch. For small ones some lanes, whatever the number of threads, sum over runs of strips each:
// what they read stays in L2; the lanes are added in order.
class KernelGradient {
  public:
    KernelGradient(const AmxPlanesGradKernel& gradient, const Words& x, const Words& dy)
        : g_(gradient), x_(x.data()), dy_(dy.data()), batch_(x.shape(0)) {
        g_.dy_stride = size_of_sample(dy);
        g_.x_stride = size_of_sample(x);
        g_.x_pixel = g_.channels.count;
        g_.x_row = g_.w.in * g_.x_pixel;
        patch_stride_ = g_.x_stride;
        if (by_patches(g_.h, g_.w, g_.channels)) use_patches();
        const Tiling tiling(patches_.channels ? 2 : batch_, g_.h.out, g_.w.out,
                            g_.h.stride == 1 && g_.w.stride == 1 ? strip(0, 1).planes.columns : 0, 32);
        g_.over_rows = tiling.over_rows;
        samples_ = tiling.samples;
        groups_ = (batch_ + samples_ - 1) / samples_;
        by_blocks_ = !patches_.channels && g_.sums_floats() > kSmallWeights;
        constexpr std::int64_t kInL2 = 256 * 1024;  // floats
        const AmxPlanesGradKernel whole = strip(0, g_.h.out);
        std::int64_t strips = std::max((whole.x_floats() + whole.dy_floats() + kInL2 - 1) / kInL2,
                                       (kLanes + groups_ - 1) / groups_);
        strips_ = by_blocks_ ? 1 : std::clamp<std::int64_t>(strips, 1, (g_.h.out + 1) / 2);
        threads_ =
            threads_of(2 * dy.size() * g_.h.size * g_.w.size * g_.channels.in_group(), x.size() + dy.size());
    }

    void run(const AmxRows& rows) const { by_blocks_ ? run_by_blocks(rows) : run_by_lanes(rows); }

  private:
    static constexpr std::int64_t kSmallWeights = 80 * 1024;  // floats

    // Rows [first, last) of dy.
    AmxPlanesGradKernel strip(std::int64_t first, std::int64_t last) const {
        AmxPlanesGradKernel g = g_;
        AmxPlanesConv a;
        a.h = g.h;
        a.w = g.w;
        a.channels = g.channels;
        g.planes = planes_of(a, samples_, first, last);
        g.first = first;
        g.last = last;
        return g;
    }
    // Their lines lie [row][column][sample of two][channels].
    void use_patches() {
        patches_ = {g_.h, g_.w, g_.channels.count};
        g_.channels = {g_.h.size * g_.w.size * g_.channels.count};
        g_.h = positions(g_.h);
        g_.w = positions(g_.w);
        g_.x_stride = g_.channels.size();
        g_.x_pixel = 2 * g_.x_stride;
        g_.x_row = g_.w.in * g_.x_pixel;
    }
    // Makes them what the gradient of this strip reads.
    void read_patches(const AmxRows& rows, AmxPlanesGradKernel& g, std::int64_t group, float* lines,
                      float* scratch) const {
        AmxReadPatches r = patches_.reading(g.planes, g.first, g.last);
        r.stride = patch_stride_;
        r.words = x_ + group * samples_ * r.stride;
        r.count = g.count;
        r.lines.data = words(lines);
        r.scratch = scratch;
        rows.amx_read_patches->run(r);
        g.x = r.lines.data - g.first * g.x_row;
        g.planes.channels = {r.lines.channels.size()};
    }

    void set_group(AmxPlanesGradKernel& g, std::int64_t group) const {
        g.count = std::min(samples_, batch_ - group * samples_);
        g.x = x_ + group * samples_ * g.x_stride;
        g.dy = dy_ + group * samples_ * g.dy_stride;
    }

    void run_by_lanes(const AmxRows& rows) const {
        const AmxPlanesGradKernel largest = strip(0, (g_.h.out + strips_ - 1) / strips_);
        const std::int64_t units = groups_ * strips_, lanes = std::min(kLanes, units);
        Layout own;
        const std::int64_t x_at = own.book(largest.x_floats()), dy_at = own.book(largest.dy_floats());
        std::int64_t lines_at = 0, scratch_at = 0;
        if (patches_.channels) {
            const AmxReadPatches r = patches_.reading(largest.planes, 0, largest.last);
            lines_at = own.book(r.lines.floats());
            scratch_at = own.book(rows.amx_read_patches->scratch(r));
        }
        const std::int64_t own_size = Layout::stride(own.size()), lane = Layout::stride(g_.sums_floats());
        const Lent lent(lanes * lane + threads_ * own_size);
        float* const memory = lent.data();  // the caller's, whichever thread runs
        run_items(threads_, lanes, [&](std::int64_t item, int thread) {
            float* const mine = memory + lanes * lane + thread * own_size;
            const Share share(units, item, lanes);
            for (std::int64_t unit = share.begin; unit < share.end; ++unit) {
                const Share part(g_.h.out, unit % strips_, strips_);
                AmxPlanesGradKernel g = strip(part.begin, part.end);
                set_group(g, unit / strips_);
                g.planes.data = words(mine + x_at);
                g.tiles = words(mine + dy_at);
                g.sums = memory + item * lane;
                g.accumulate = unit > share.begin;
                g.last_block = g.blocks();
                if (patches_.channels)
                    read_patches(rows, g, unit / strips_, mine + lines_at, mine + scratch_at);
                rows.amx_grad_kernel_x->run(g);
                rows.amx_grad_kernel_dy->run(g);
                rows.amx_grad_kernel_sums->run(g);
            }
        });
        AmxPlanesGradKernel g = g_;
        g.sums = memory;
        g.lanes = lanes;
        g.lane = lane;
        const std::int64_t items = items_for(threads_, g.filter_tiles());
        run_items(threads_, items, [&](std::int64_t item, int) {
            AmxPlanesGradKernel of = g;
            const Share share(g.filter_tiles(), item, items);
            of.first_block = share.begin * g.column_blocks();
            of.last_block = share.end * g.column_blocks();
            rows.amx_grad_kernel_results->run(of);
        });
    }

    void run_by_blocks(const AmxRows& rows) const {
        const AmxPlanesGradKernel whole = strip(0, g_.h.out);
        const std::int64_t x_size = Layout::stride(whole.x_floats()),
                           dy_size = Layout::stride(whole.dy_floats());
        const Lent lent(groups_ * (x_size + dy_size) + g_.sums_floats());
        float* const memory = lent.data();
        const std::int64_t parts = std::max<std::int64_t>(1, 8 / groups_);
        const auto group_of = [&](std::int64_t group) {
            AmxPlanesGradKernel g = whole;
            set_group(g, group);
            g.planes.data = words(memory + group * (x_size + dy_size));
            g.tiles = words(memory + group * (x_size + dy_size) + x_size);
            g.sums = memory + groups_ * (x_size + dy_size);
            return g;
        };
        run_items(threads_, 2 * groups_ * parts, [&](std::int64_t item, int) {
            AmxPlanesGradKernel g = group_of(item / 2 / parts);
            g.part = item / 2 % parts;
            g.parts = parts;
            (item % 2 ? rows.amx_grad_kernel_dy : rows.amx_grad_kernel_x)->run(g);
        });
        // Of the larger operand each part is read once, by all parts of the other.
        const bool by_columns = whole.x_floats() >= whole.dy_floats();
        const std::int64_t filter_tiles = whole.filter_tiles();
        const std::int64_t items = std::min<std::int64_t>(32, whole.blocks());
        run_items(threads_, items, [&](std::int64_t item, int) {
            const Share share(whole.blocks(), item, items);
            for (std::int64_t number = share.begin; number < share.end; ++number)
                for (std::int64_t group = 0; group < groups_; ++group) {
                    AmxPlanesGradKernel g = group_of(group);
                    g.accumulate = group > 0;
                    g.first_block =
                        by_columns ? number % filter_tiles * whole.column_blocks() + number / filter_tiles
                                   : number;
                    g.last_block = g.first_block + 1;
                    rows.amx_grad_kernel_sums->run(g);
                    if (group + 1 == groups_) rows.amx_grad_kernel_results->run(g);
                }
        });
    }

    AmxPlanesGradKernel g_;
    const std::uint16_t *x_, *dy_;
    Patches patches_;
    std::int64_t patch_stride_, batch_, samples_ = 2, groups_, strips_;
    int threads_;
    bool by_blocks_;
};

py::tuple amx_conv2d_grad_kernel(const Words& x, const Words& dy, Pair kernel_size, Pair strides,
                                 const std::string& padding, Pair dilation, std::int64_t in_groups) {
    const AmxRows& rows = rows_in_use();
    const Windows windows(size_of_images(x), kernel_size, strides, dilation, padding);
    AmxPlanesGradKernel g;
    g.h = windows.h;
    g.w = windows.w;
    g.channels = {x.shape(3), in_groups};
    g.filters = {dy.shape(3), in_groups};
    const py::dtype type = py::dtype::of<std::uint16_t>();
    Words dkernel = result_array(type, {g.h.size, g.w.size, g.channels.in_group(), g.filters.count});
    Words dbias = result_array(type, {g.filters.count});
    g.dkernel = dkernel.mutable_data();
    g.dbias = dbias.mutable_data();
    const KernelGradient gradient(g, x, dy);
    {
        const py::gil_scoped_release release;
        gradient.run(rows);
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
