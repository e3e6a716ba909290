// Backward through convolution + max pooling without ever forming the gradient in between.
//
// A 2x2 pool passes at most one gradient in four, and ReLU drops about half of those, so the convolution's
// two gradients are sums over few terms: 13 % of the dense work on the networks measured, and 2.5 times
// faster than dense even where no ReLU drops anything. Lists hold the non-zeros by channel (for the kernel's
// gradient: all taps x input channels of one output channel in registers), bits tell them by window (for the
// input's: the window's footprint in registers).
#include "kernels/conv.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

const char* not_sparse(const Conv2dShape& c, const PoolShape& p) {
    if (c.groups != 1) return "groups is not 1";
    if (p.h.size * p.w.size > kMaxPoolPositions) return "pooling window has more than 256 positions";
    return nullptr;
}

// --------------------------------------------------------------------------------------------------- lists

const char* lists_declines(const PooledGradient& g) { return not_sparse(g.conv, g.pool); }

// Entries of kWidth channels x kWidth windows, read window by window, are transposed so that one channel's
// windows lie side by side, then compressed to the end of that channel's list.
FASTCNN_INLINE void append_by_channel(const PooledGradient& g, const float* dy, const std::uint8_t* argmax,
                                      std::int64_t sample) {
    const PoolShape& p = g.pool;
    const Conv2dShape& c = g.conv;
    const std::int64_t windows = p.h.out * p.w.out, channels = p.channels;
    const std::int64_t row = Padded(c, false).image.row();
    const std::int64_t column_step = c.w.stride * c.in_channels, row_step = c.h.stride * row;
    alignas(64) float value[kWidth * kWidth], value_t[kWidth * kWidth], slot[kWidth * kWidth],
        slot_t[kWidth * kWidth];
    alignas(64) std::int32_t base[kWidth];
    for (std::int64_t w0 = 0; w0 < windows; w0 += kWidth) {
        const std::int64_t count = min_of(kWidth, windows - w0);
        for (std::int64_t i = 0; i < kWidth; ++i) {
            const std::int64_t w = min_of(w0 + i, windows - 1);
            base[i] = static_cast<std::int32_t>(sample * g.x_stride + p.h.begin(w / p.w.out) * row_step +
                                                p.w.begin(w % p.w.out) * column_step);
        }
        for (std::int64_t c0 = 0; c0 < channels; c0 += kWidth) {
            const std::int64_t lanes = min_of(kWidth, channels - c0);
            for (std::int64_t i = 0; i < kWidth; ++i) {
                const std::int64_t at = (w0 + i) * channels + c0;
                store(value + i * kWidth, i < count ? load_partial(dy + at, lanes) : zero());
                store(slot + i * kWidth,
                      i < count ? to_float(iload_bytes_partial(argmax + at, lanes)) : zero());
            }
            transpose(value, kWidth, value_t, kWidth);
            transpose(slot, kWidth, slot_t, kWidth);
            for (std::int64_t i = 0; i < lanes; ++i) {
                const Vec v = load(value_t + i * kWidth), k = load(slot_t + i * kWidth);
                // offset = base + (slot / columns) * row_step + (slot % columns) * column_step, without a
                // division
                IVec offset = iadd(iload(base), to_int(mul(k, set1(static_cast<float>(column_step)))));
                const IVec next_row = iset1(static_cast<std::int32_t>(row_step - p.w.size * column_step));
                for (std::int64_t r = 1; r < p.h.size; ++r)
                    offset = iselect(ge(k, set1(static_cast<float>(r * p.w.size))), iadd(offset, next_row),
                                     offset);
                const std::int64_t channel = c0 + i;
                std::int32_t& n = g.lists.channel_count[channel];
                const Mask kept = differs(v, zero());
                const std::int64_t to = channel * g.lists.channel_capacity + n;
                compress_store(g.lists.x_offset + to, kept, offset);
                n += compress_store(g.lists.value + to, kept, v);
            }
        }
    }
}

void lists_run(const PooledGradient& g) {
    for (std::int64_t c = 0; c < g.pool.channels; ++c) g.lists.channel_count[c] = 0;
    for (std::int64_t s = 0; s < g.batch; ++s)
        append_by_channel(g, g.dy + s * g.dy_stride, g.argmax + s * g.argmax_stride, s);
}

// ----------------------------------------------------------------------------------------- kernel's gradient

const char* grad_kernel_declines(const PooledConv2dGradKernel& g) {
    return g.shape.groups != 1 ? "groups is not 1" : nullptr;
}

// `Lines` runs of `Vecs` vectors (the last one of `lanes` lanes) of one output channel's gradient.
struct Runs {
    const float* x;
    std::int64_t x_line;  // between runs
    const std::int32_t* offset;
    const float* value;
    std::int64_t entries;
    std::int64_t lanes;
    bool accumulate;
    float* out;
    std::int64_t out_line;
};

template <int Lines, int Vecs>
void sum_runs(const Runs& r) {
    Vec acc[Lines][Vecs];
    constexpr int last = (Vecs - 1) * kWidth;
#pragma GCC unroll 8
    for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 8
        for (int v = 0; v < Vecs; ++v) {
            const float* p = r.out + l * r.out_line + v * kWidth;
            acc[l][v] = !r.accumulate ? zero() : v + 1 < Vecs ? load(p) : load_partial(p, r.lanes);
        }
    }
    const bool whole = r.lanes == kWidth;
    for (std::int64_t e = 0; e < r.entries; ++e) {
        const Vec value = set1(r.value[e]);
        const float* p = r.x + r.offset[e];
#pragma GCC unroll 8
        for (int l = 0; l < Lines; ++l, p += r.x_line) {
#pragma GCC unroll 8
            for (int v = 0; v + 1 < Vecs; ++v) acc[l][v] = fma(value, load(p + v * kWidth), acc[l][v]);
            acc[l][Vecs - 1] =
                fma(value, whole ? load(p + last) : load_partial(p + last, r.lanes), acc[l][Vecs - 1]);
        }
    }
#pragma GCC unroll 8
    for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 8
        for (int v = 0; v < Vecs; ++v) {
            float* p = r.out + l * r.out_line + v * kWidth;
            if (v + 1 < Vecs)
                store(p, acc[l][v]);
            else
                store_partial(p, acc[l][v], r.lanes);
        }
    }
}

using RunsFunction = void (*)(const Runs&);

// As many accumulators as the register file holds beside one broadcast: 3 x 6 for a 3x3 kernel over 32
// channels.
constexpr int kMaxRunVecs = kManyRegisters ? 6 : 4;
constexpr int kMaxRunLines = 3;

template <int Lines, int Vecs = kMaxRunVecs>
constexpr RunsFunction runs_of(int vecs) {
    if constexpr (Vecs > 1)
        if (vecs < Vecs) return runs_of<Lines, Vecs - 1>(vecs);
    return sum_runs<Lines, Vecs>;
}

RunsFunction runs_function(std::int64_t lines, int vecs) {
    return lines == 1 ? runs_of<1>(vecs) : lines == 2 ? runs_of<2>(vecs) : runs_of<3>(vecs);
}

void grad_kernel_run(const PooledConv2dGradKernel& g) {
    const Conv2dShape& c = g.shape;
    const bool runs = rows_are_runs(c);
    // A line is a kernel row where its taps are neighbours in the image, else a single tap.
    const std::int64_t lines = runs ? c.h.size : c.h.size * c.w.size;
    const std::int64_t run = runs ? c.w.size * c.in_channels : c.in_channels;
    const std::int64_t row = Padded(c, false).image.row();
    const std::int64_t weights = c.h.size * c.w.size * c.in_channels;
    for (std::int64_t o = 0; o < c.out_channels; ++o) {
        Runs r;
        r.offset = g.lists.x_offset + o * g.lists.channel_capacity;
        r.value = g.lists.value + o * g.lists.channel_capacity;
        r.entries = g.lists.channel_count[o];
        r.accumulate = g.accumulate;
        r.x_line = c.h.dilation * row;
        r.out_line = run;
        std::int64_t line = 0;
        while (line < lines) {
            // Single taps of one kernel row are w.dilation pixels apart and never joined across rows.
            const std::int64_t count = runs ? min_of(kMaxRunLines, lines - line) : 1;
            const std::int64_t start =
                runs ? line * r.x_line
                     : line / c.w.size * r.x_line + line % c.w.size * c.w.dilation * c.in_channels;
            for (std::int64_t i = 0; i < run; i += kMaxRunVecs * kWidth) {
                const std::int64_t left = min_of(run - i, kMaxRunVecs * kWidth);
                const int vecs = static_cast<int>((left + kWidth - 1) / kWidth);
                r.lanes = left - (vecs - 1) * kWidth;
                r.x = g.x + start + i;
                r.out = g.dkernel + o * weights + line * run + i;
                runs_function(count, vecs)(r);
            }
            line += count;
        }
        if (!g.dbias) continue;
        Vec sum = zero();
        for (std::int64_t e = 0; e < r.entries; e += kWidth)
            sum = add(sum, load_partial(r.value + e, r.entries - e));
        g.dbias[o] = (g.accumulate ? g.dbias[o] : 0.0f) + reduce_add(sum);
    }
}

// ------------------------------------------------------------------------------------------ input's gradient

// Packed kernel: [block of kWidth input channels][output channel][tap][kWidth]: 36 KB a block for 64 channels
// of 3x3, which stays in L1 while the windows of all samples pass by.
std::int64_t grad_input_packed(const PooledConv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    return packed_columns(c.in_channels) * c.out_channels * c.h.size * c.w.size;
}

void grad_input_pack(const PooledConv2dGradInput& g, const float* weights, float* packed, int part,
                     int parts) {
    const Conv2dShape& c = g.shape;
    const std::int64_t taps = c.h.size * c.w.size, inputs = c.in_channels, outputs = c.out_channels;
    const std::int64_t blocks = packed_columns(inputs) / kWidth;
    const std::int64_t all = blocks * taps;
    for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
        const std::int64_t first = i / taps * kWidth, tap = i % taps, lanes = min_of(kWidth, inputs - first);
        const float* from = weights + (tap * inputs + first) * outputs;
        float* to = packed + first * outputs * taps + tap * kWidth;
        std::int64_t o = 0;
        if (lanes == kWidth)
            for (; o + kWidth <= outputs; o += kWidth)
                transpose(from + o, outputs, to + o * taps * kWidth, taps * kWidth);
        for (; o < outputs; ++o)
            for (std::int64_t lane = 0; lane < kWidth; ++lane)
                to[o * taps * kWidth + lane] = lane < lanes ? from[lane * outputs + o] : 0.0f;
    }
}

// Which of a group of 64 channels have their maximum, with a gradient that is not zero, at a slot of a
// window: a bit each. They are kept [sample][window][slot][group].
using Bits = std::uint64_t;
constexpr std::int64_t kGroup = 64;

struct Marks {
    std::int64_t windows, slots, groups;

    explicit FASTCNN_INLINE Marks(const PoolShape& p)
        : windows(p.h.out * p.w.out),
          slots(p.h.size * p.w.size),
          groups((p.channels + kGroup - 1) / kGroup) {}

    FASTCNN_INLINE std::int64_t window() const { return slots * groups; }
    FASTCNN_INLINE std::int64_t sample() const { return windows * window(); }

    FASTCNN_INLINE void make(const float* dy, const std::uint8_t* argmax, std::int64_t channels,
                             Bits* marks) const {
        alignas(64) std::uint8_t part[kGroup] = {};
        for (std::int64_t w = 0; w < windows; ++w, dy += channels, argmax += channels, marks += window())
            for (std::int64_t i = 0; i < groups; ++i) {
                const std::int64_t first = i * kGroup, count = min_of(kGroup, channels - first);
                const std::uint8_t* at = argmax + first;
                if (count < kGroup) {
                    std::memcpy(part, at, static_cast<std::size_t>(count));
                    at = part;
                }
                Bits some = 0;
                for (std::int64_t c = 0; c < count; c += kWidth) {
                    const std::int64_t lanes = count - c;
                    const Vec v =
                        lanes >= kWidth ? load(dy + first + c) : load_partial(dy + first + c, lanes);
                    some |= static_cast<Bits>(bits(differs(v, zero()))) << c;
                }
                for (std::int64_t slot = 0; slot < slots; ++slot)
                    marks[slot * groups + i] = some & equal_bytes(at, static_cast<std::uint8_t>(slot));
            }
    }
};

// A block of input channels passes over several samples while its kernel is in L1. Images whose padding is
// written out are kept until all blocks have passed over them.
constexpr std::int64_t kWindowsTogether = 256;

std::int64_t samples_together(const PooledConv2dGradInput& g) {
    return max_of(1, min_of(g.batch, kWindowsTogether / (g.pool.h.out * g.pool.w.out)));
}

std::int64_t marks_floats(const PooledConv2dGradInput& g) {
    return packed_columns(samples_together(g) * Marks(g.pool).sample() * 2);
}

std::int64_t grad_input_scratch(const PooledConv2dGradInput& g) {
    const Padded padded(g.shape, false);
    return marks_floats(g) + (padded.needed(g.shape) ? samples_together(g) * padded.image.size() : 0);
}

const char* scatter_declines(const PooledConv2dGradInput& g) { return not_sparse(g.shape, g.pool); }

const char* window_declines(const PooledConv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const PoolShape& p = g.pool;
    if (c.h.size != 3 || c.w.size != 3 || c.h.dilation != 1 || c.w.dilation != 1)
        return "kernel is not 3x3 without dilation";
    if (c.h.stride != 1 || c.w.stride != 1) return "stride is not 1";
    if (p.h.size != 2 || p.w.size != 2) return "pooling window is not 2x2";
    if (p.h.pad || p.w.pad || p.h.pad_end() || p.w.pad_end()) return "pooling pads";
    if (kAccumulators < 10) return "too few registers";
    return not_sparse(c, p);
}

// The gradients of a window and the channels that have one at each of its slots.
struct Window {
    const float* dy;
    const Bits* marks;
    std::int64_t groups;

    // visit(channel) for the channels at a slot, in order.
    template <class Visit>
    FASTCNN_INLINE void each_at(std::int64_t slot, const Visit& visit) const {
        for (std::int64_t i = 0; i < groups; ++i)
            for (Bits left = marks[slot * groups + i]; left; left &= left - 1)
                visit(i * kGroup + __builtin_ctzll(left));
    }
    FASTCNN_INLINE bool has(std::int64_t slot) const {
        Bits some = 0;
        for (std::int64_t i = 0; i < groups; ++i) some |= marks[slot * groups + i];
        return some != 0;
    }
};

// The convolution's output position y, x of a 3x3 window reads input rows y..y+2: slot (r, q) of the pool
// touches rows r..r+2, columns q..q+2 of the window's 4x4 footprint. Where registers hold only three of its
// rows, the slots of the upper and of the lower row take turns.
constexpr int kFootprintRows = kManyRegisters ? 4 : 3;

template <int R, int Q>
FASTCNN_INLINE void add_slot(Vec (&acc)[kFootprintRows][4], const Window& w, const float* kernel) {
    constexpr int top = kFootprintRows == 4 ? R : 0;
    w.each_at(2 * R + Q, [&](std::int64_t channel) {
        const Vec value = set1(w.dy[channel]);
        const float* k = kernel + channel * 9 * kWidth;
#pragma GCC unroll 3
        for (int y = 0; y < 3; ++y) {
#pragma GCC unroll 3
            for (int x = 0; x < 3; ++x)
                acc[top + y][Q + x] = fma(value, load(k + (y * 3 + x) * kWidth), acc[top + y][Q + x]);
        }
    });
}

// dx of a window: where its footprint begins, and the steps to the next row and pixel.
template <bool Whole>
struct Footprint {
    float* dx;
    std::int64_t row, pixel, lanes;

    FASTCNN_INLINE void read(Vec (&acc)[kFootprintRows][4]) const {
#pragma GCC unroll 4
        for (int y = 0; y < kFootprintRows; ++y) {
#pragma GCC unroll 4
            for (int x = 0; x < 4; ++x) {
                const float* p = dx + y * row + x * pixel;
                acc[y][x] = Whole ? load(p) : load_partial(p, lanes);
            }
        }
    }
    FASTCNN_INLINE void write(const Vec (&acc)[kFootprintRows][4]) const {
#pragma GCC unroll 4
        for (int y = 0; y < kFootprintRows; ++y) {
#pragma GCC unroll 4
            for (int x = 0; x < 4; ++x) {
                float* p = dx + y * row + x * pixel;
                if constexpr (Whole)
                    store(p, acc[y][x]);
                else
                    store_partial(p, acc[y][x], lanes);
            }
        }
    }
};

template <bool Whole>
FASTCNN_INLINE void add_window_3x3_2x2(const Window& w, const float* kernel, Footprint<Whole> f) {
    Vec acc[kFootprintRows][4];
    f.read(acc);
    add_slot<0, 0>(acc, w, kernel);
    add_slot<0, 1>(acc, w, kernel);
    if constexpr (kFootprintRows < 4) {
        f.write(acc);
        f.dx += f.row;
        f.read(acc);
    }
    add_slot<1, 0>(acc, w, kernel);
    add_slot<1, 1>(acc, w, kernel);
    f.write(acc);
}

// Any kernel and window, for each slot that holds something: kMostTogether taps at a time in registers, over
// all of the slot's channels. (A 3x3 kernel's at once; one after the other, a tap waited for itself at every
// channel and its loop for a wrong guess of its end: 3 to 4 times the time on AVX2.)
constexpr int kMostTogether = 9;

// The channels at a slot of a window, through `Taps` taps from the kernel's on, each `step` floats a channel;
// `offset`: where in dx each tap adds.
template <int Taps>
void add_taps(const Window& w, std::int64_t slot, const float* kernel, std::int64_t step, float* dx,
              const std::int64_t* offset, std::int64_t lanes) {
    Vec acc[Taps];
    const bool whole = lanes == kWidth;
#pragma GCC unroll 9
    for (int t = 0; t < Taps; ++t)
        acc[t] = whole ? load(dx + offset[t]) : load_partial(dx + offset[t], lanes);
    w.each_at(slot, [&](std::int64_t channel) {
        const Vec value = set1(w.dy[channel]);
        const float* k = kernel + channel * step;
#pragma GCC unroll 9
        for (int t = 0; t < Taps; ++t) acc[t] = fma(value, load(k + t * kWidth), acc[t]);
    });
#pragma GCC unroll 9
    for (int t = 0; t < Taps; ++t) {
        if (whole)
            store(dx + offset[t], acc[t]);
        else
            store_partial(dx + offset[t], acc[t], lanes);
    }
}

using AddTaps = decltype(&add_taps<1>);

template <int Taps = kMostTogether>
AddTaps add_taps_function(std::int64_t taps) {
    if constexpr (Taps > 1)
        if (taps < Taps) return add_taps_function<Taps - 1>(taps);
    return add_taps<Taps>;
}

FASTCNN_INLINE void add_window_any(const Conv2dShape& c, const PoolShape& p, const Window& w,
                                   const float* kernel, float* dx, std::int64_t row, std::int64_t pixel,
                                   std::int64_t lanes) {
    const std::int64_t taps = c.h.size * c.w.size;
    for (std::int64_t first = 0; first < taps; first += kMostTogether) {
        const std::int64_t count = min_of(kMostTogether, taps - first);
        const AddTaps add = add_taps_function(count);
        std::int64_t offset[kMostTogether];
        for (std::int64_t t = 0; t < count; ++t)
            offset[t] =
                (first + t) / c.w.size * c.h.dilation * row + (first + t) % c.w.size * c.w.dilation * pixel;
        for (std::int64_t slot = 0; slot < p.h.size * p.w.size; ++slot)
            if (w.has(slot))
                add(w, slot, kernel + first * kWidth, taps * kWidth,
                    dx + slot / p.w.size * c.h.stride * row + slot % p.w.size * c.w.stride * pixel, offset,
                    lanes);
    }
}

// Adds the windows of one sample, for the `lanes` input channels that begin at `dx`.
template <bool Fixed, bool Whole>
void add_sample(const PooledConv2dGradInput& g, const float* dy, const Bits* marks, const float* kernel,
                const Image& image, float* dx, std::int64_t lanes) {
    const Conv2dShape& c = g.shape;
    const PoolShape& p = g.pool;
    const Marks all(p);
    const std::int64_t row = image.row(), pixel = c.in_channels;
    for (std::int64_t oy = 0; oy < p.h.out; ++oy)
        for (std::int64_t ox = 0; ox < p.w.out; ++ox, dy += c.out_channels, marks += all.window()) {
            const Window window{dy, marks, all.groups};
            float* at = dx + p.h.begin(oy) * c.h.stride * row + p.w.begin(ox) * c.w.stride * pixel;
            if constexpr (Fixed)
                add_window_3x3_2x2(window, kernel, Footprint<Whole>{at, row, pixel, lanes});
            else
                add_window_any(c, p, window, kernel, at, row, pixel, lanes);
        }
}

template <bool Fixed>
void grad_input_run(const PooledConv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const Padded padded(c, false);
    const bool pads = padded.needed(c);
    const std::int64_t pixel = c.in_channels, taps = c.h.size * c.w.size, together = samples_together(g);
    const Marks all(g.pool);
    Bits* marks = reinterpret_cast<Bits*>(g.scratch);
    for (std::int64_t s = 0; s < g.batch; s += together) {
        const std::int64_t count = min_of(together, g.batch - s);
        const float* dy = g.dy + s * g.dy_stride;
        float* dx = pads ? g.scratch + marks_floats(g) : g.dx + s * g.dx_stride;
        const std::int64_t dx_stride = pads ? padded.image.size() : g.dx_stride;
        for (std::int64_t i = 0; i < count; ++i) {
            all.make(dy + i * g.dy_stride, g.argmax + (s + i) * g.argmax_stride, c.out_channels,
                     marks + i * all.sample());
            std::memset(dx + i * dx_stride, 0, static_cast<std::size_t>(padded.image.size()) * sizeof(float));
        }
        for (std::int64_t first = 0; first < pixel; first += kWidth) {
            const std::int64_t lanes = min_of(kWidth, pixel - first);
            const auto add = lanes == kWidth ? add_sample<Fixed, true> : add_sample<Fixed, false>;
            for (std::int64_t i = 0; i < count; ++i)
                add(g, dy + i * g.dy_stride, marks + i * all.sample(),
                    g.kernel + first * c.out_channels * taps, padded.image, dx + i * dx_stride + first,
                    lanes);
        }
        if (!pads) continue;
        for (std::int64_t i = 0; i < count; ++i)
            for (std::int64_t y = 0; y < c.h.in; ++y)
                std::memcpy(g.dx + (s + i) * g.dx_stride + y * c.w.in * pixel,
                            dx + i * dx_stride + (y + padded.top) * padded.image.row() + padded.left * pixel,
                            static_cast<std::size_t>(c.w.in * pixel) * sizeof(float));
    }
}

}  // namespace

const Kernel<PooledGradient> pooled_gradient_lists = {lists_run, lists_declines};
const Kernel<PooledConv2dGradKernel> pooled_conv2d_grad_kernel_lists = {grad_kernel_run,
                                                                        grad_kernel_declines};
const Kernel<PooledConv2dGradInput> pooled_conv2d_grad_input_window = {
    grad_input_run<true>, window_declines, grad_input_scratch, grad_input_packed, grad_input_pack};
const Kernel<PooledConv2dGradInput> pooled_conv2d_grad_input_scatter = {
    grad_input_run<false>, scatter_declines, grad_input_scratch, grad_input_packed, grad_input_pack};

}  // namespace fastcnn::FASTCNN_ISA
