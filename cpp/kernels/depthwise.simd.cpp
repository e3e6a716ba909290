// Depthwise convolution, every input channel a group of its own: forward and the input's gradient, vectors
// over channels.
//
// There is no sum over channels to reuse anything in, so the limit is how often memory is touched: a vector
// of the input is loaded once for all outputs of its row that read it, the image is never copied to write its
// padding out, and the borders are columns apart, which list just their taps inside the image.
#include "kernels/depthwise.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Packed kernel, for both directions: [kernel row][kernel column][channel], each tap with room for a vector
// that starts at its last channel. (The vector more also keeps the taps of 1024 channels from meeting in one
// set of the L1 cache.)
FASTCNN_INLINE std::int64_t packed_tap(const Conv2dShape& c) {
    return (c.out_channels + kWidth - 1) / kWidth * kWidth + kWidth;
}
FASTCNN_INLINE std::int64_t packed_floats(const Conv2dShape& c) { return taps_of(c) * packed_tap(c); }

FASTCNN_INLINE void pack(const Conv2dShape& c, const float* weights, float* packed, int part, int parts) {
    const std::int64_t taps = taps_of(c), width = packed_tap(c);
    for (std::int64_t k = taps * part / parts; k < taps * (part + 1) / parts; ++k) {
        std::memcpy(packed + k * width, weights + k * c.out_channels,
                    static_cast<std::size_t>(c.out_channels) * sizeof(float));
        std::memset(packed + k * width + c.out_channels, 0,
                    static_cast<std::size_t>(width - c.out_channels) * sizeof(float));
    }
}

FASTCNN_INLINE void gather(const Conv2dShape& c, const float* wide, float* x) {
    const std::int64_t m = multiplier(c), size = c.h.in * c.w.in * c.in_channels;
    for (std::int64_t i = 0; i < size; ++i) {
        float sum = *wide++;
        for (std::int64_t j = 1; j < m; ++j) sum += *wide++;
        x[i] = sum;
    }
}

// The taps of one axis that contribute to a result: the k-th reads position `begin + k * step` with the
// weight `tap + k * tap_step`.
struct Taps {
    std::int64_t begin, step, tap, tap_step, count;

    // Those that read inside [0, size), for a result whose positions are `shift` further on.
    struct Range {
        std::int64_t first, last;
    };
    FASTCNN_INLINE Range inside(std::int64_t shift, std::int64_t size) const {
        const std::int64_t at = begin + shift;
        const std::int64_t first = at < 0 ? quotient(step - 1 - at, step) : 0;
        const std::int64_t last = at < size ? quotient(size - at + step - 1, step) : 0;
        return {first, max_of(first, min_of(count, last))};
    }
};

FASTCNN_INLINE Taps forward_taps(const Window& w, std::int64_t o) {
    return {w.begin(o), w.dilation, 0, 1, w.size};
}

// Input i gets a gradient from the outputs (i + pad - k * dilation) / stride that are whole: every `apart`-th
// tap, the last one first so that positions rise. With a stride the inputs of equal remainder share their
// taps.
FASTCNN_INLINE Taps gradient_taps(const Window& w, std::int64_t i) {
    std::int64_t apart = 1, k = 0;
    while (apart * w.dilation % w.stride != 0) ++apart;
    while (k < w.size && (i + w.pad - k * w.dilation) % w.stride != 0 && k < apart) ++k;
    if (k == apart || k >= w.size) return {0, 1, 0, 0, 0};
    const std::int64_t count = (w.size - 1 - k) / apart + 1, last = k + (count - 1) * apart;
    return {(i + w.pad - last * w.dilation) / w.stride, apart * w.dilation / w.stride, last, -apart, count};
}

// One row of results y[t * y_column + channel], each
//   act(bias + sum over r < rows, k of x[t * x_column + r * x_row + k * x_tap] * w[r * w_row + k * w_tap])
struct Line {
    ChannelVectors vectors;
    const float* x;
    std::int64_t x_column, x_row, x_tap;
    const float* w;
    std::int64_t w_row, w_tap;
    std::int64_t rows;
    const float* bias;
    bool relu;
    float* y;
    std::int64_t y_column;
};

// How the columns of a row of results read theirs: result t reads `stride * t` further on than result 0.
template <class Lanes>
struct Columns {
    Taps taps;
    std::int64_t stride, in, count;
    void (*run)(const Line&, const Columns&, Lanes);
};

// Results [t, t + Results) of vector v. Where Count is zero, with the taps [first, last) of any window. Else
// with all Count taps of neighbouring positions, x_column being Stride of them: each position is loaded once,
// and where Guarded the window leaves the image outside of its positions [first, last).
template <int Results, int Count, int Stride, bool Guarded, class Lanes>
FASTCNN_INLINE void block(const Line& l, std::int64_t v, std::int64_t t, std::int64_t first,
                          std::int64_t last, Lanes lanes) {
    const std::int64_t channel = l.vectors.first(v);
    const Vec start = l.bias ? lanes.load(l.bias + channel) : zero();
    Vec sum[Results];
#pragma GCC unroll 8
    for (int c = 0; c < Results; ++c) sum[c] = start;
    const float* x = l.x + t * l.x_column + channel;
    const float* w = l.w + channel;
    for (std::int64_t r = 0; r < l.rows; ++r, x += l.x_row, w += l.w_row) {
        if constexpr (Count == 0) {
            for (std::int64_t k = first; k < last; ++k) {
                const Vec weight = load(w + k * l.w_tap);
                const float* at = x + k * l.x_tap;
#pragma GCC unroll 8
                for (int c = 0; c < Results; ++c, at += l.x_column)
                    sum[c] = fma(lanes.load(at), weight, sum[c]);
            }
        } else {
            Vec weight[Count];
#pragma GCC unroll 8
            for (int k = 0; k < Count; ++k) weight[k] = load(w + k * l.w_tap);
            const float* at = x;
#pragma GCC unroll 32
            for (int i = 0; i < (Results - 1) * Stride + Count; ++i, at += l.x_tap) {
                if (Guarded && (i < first || i >= last)) continue;
                Vec value = lanes.load(at);
                keep_in_register(value);
#pragma GCC unroll 8
                for (int k = 0; k < Count; ++k)
                    if (i >= k && (i - k) % Stride == 0 && (i - k) / Stride < Results)
                        sum[(i - k) / Stride] = fma(value, weight[k], sum[(i - k) / Stride]);
            }
        }
    }
    float* y = l.y + t * l.y_column + channel;
#pragma GCC unroll 8
    for (int c = 0; c < Results; ++c, y += l.y_column) lanes.store(y, l.relu ? max(zero(), sum[c]) : sum[c]);
}

// A row with any window: eight columns at a time where all taps lie inside the image, else one.
template <class Lanes>
void any_window(const Line& l, const Columns<Lanes>& c, Lanes lanes) {
    const std::int64_t taps = c.taps.count;
    const std::int64_t begin = max_of(0, ceil_div(-c.taps.begin, c.stride));
    const std::int64_t end =
        min_of(c.count, ceil_div(c.in - c.taps.begin - (taps - 1) * c.taps.step, c.stride));
    for (std::int64_t t = 0; t < c.count;) {
        if (t >= begin && t + 8 <= end) {
            for (std::int64_t v = 0; v < l.vectors.count; ++v) block<8, 0, 0, false>(l, v, t, 0, taps, lanes);
            t += 8;
        } else {
            const Taps::Range k = c.taps.inside(t * c.stride, c.in);
            for (std::int64_t v = 0; v < l.vectors.count; ++v)
                block<1, 0, 0, false>(l, v, t, k.first, k.last, lanes);
            ++t;
        }
    }
}

// A row of at least Results results, in blocks of as many: the last one ends with the row and overlaps its
// neighbour. Within a block all channels, so that memory is walked through in order: with the vectors of
// channels outside, 112x112x32 took 1.2 times as long. Eight accumulators hide the latency of the
// multiply-add.
template <int Results, int Count, int Stride, class Lanes>
void blocks(const Line& l, const Columns<Lanes>& c, Lanes lanes) {
    for (std::int64_t next = 0; next < c.count; next += Results) {
        const std::int64_t t = min_of(next, c.count - Results), first = -(c.taps.begin + t * Stride);
        const std::int64_t last = first + c.in;
        if (first > 0 || last < (Results - 1) * Stride + Count)
            for (std::int64_t v = 0; v < l.vectors.count; ++v)
                block<Results, Count, Stride, true>(l, v, t, first, last, lanes);
        else
            for (std::int64_t v = 0; v < l.vectors.count; ++v)
                block<Results, Count, Stride, false>(l, v, t, first, last, lanes);
    }
}

// Blocks of 8, of 7 where that computes less twice (14, 28), or of 4.
template <int Count, int Stride, class Lanes>
FASTCNN_INLINE void take_blocks(Columns<Lanes>& c) {
    if (c.count < 7)
        c.run = blocks<4, Count, Stride, Lanes>;
    else if (c.count == 7 || (c.count + 6) / 7 * 7 < (c.count + 7) / 8 * 8)
        c.run = blocks<7, Count, Stride, Lanes>;
    else
        c.run = blocks<8, Count, Stride, Lanes>;
}

template <class Lanes>
FASTCNN_INLINE Columns<Lanes> columns_of(const Taps& taps, std::int64_t stride, std::int64_t in,
                                         std::int64_t count) {
    Columns<Lanes> c{taps, stride, in, count, any_window<Lanes>};
    if (count < 4 || taps.step != 1) return c;
    if constexpr (!kMasked<Lanes> || kWidth > 4)
        if (stride == 1 && taps.count == 3) take_blocks<3, 1>(c);
    if constexpr (!kMasked<Lanes>) {
        if (stride == 1 && taps.count == 2) take_blocks<2, 1>(c);
        if (stride == 1 && taps.count == 5) take_blocks<5, 1>(c);
        if (stride == 1 && taps.count == 7) take_blocks<7, 1>(c);
        if (stride == 2 && taps.count == 3) take_blocks<3, 2>(c);
        if (stride == 2 && taps.count == 5) take_blocks<5, 2>(c);
    }
    return c;
}

// One sample: `image` is what is read, from x.
struct Plane {
    const Conv2dShape& shape;
    Image image;
    ChannelVectors vectors;
    const float* kernel;  // packed
    const float* bias;
    bool relu;
};

// A row of results at y, to which the rows `rows` of the image contribute.
template <class Lanes>
FASTCNN_INLINE void run_row(const Plane& p, const float* x, const Taps& rows, const Columns<Lanes>& columns,
                            float* y, std::int64_t y_column, Lanes lanes) {
    const Taps::Range inside = rows.inside(0, p.image.height);
    const std::int64_t image_row = rows.begin + inside.first * rows.step;
    const std::int64_t kernel_row = rows.tap + inside.first * rows.tap_step;
    const std::int64_t channels = p.image.channels, kernel_width = p.shape.w.size, tap = packed_tap(p.shape);
    const Line line{p.vectors,
                    x + image_row * p.image.row() + columns.taps.begin * channels,
                    columns.stride * channels,
                    rows.step * p.image.row(),
                    columns.taps.step * channels,
                    p.kernel + (kernel_row * kernel_width + columns.taps.tap) * tap,
                    rows.tap_step * kernel_width * tap,
                    columns.taps.tap_step * tap,
                    inside.last - inside.first,
                    p.bias,
                    p.relu,
                    y,
                    y_column};
    columns.run(line, columns, lanes);
}

const char* forward_declines(const Conv2dForward& f) {
    return f.pooled ? "pooling is not fused" : declines(f.shape);
}
std::int64_t forward_scratch(const Conv2dForward& f) { return wide_floats(f.shape); }
std::int64_t forward_packed(const Conv2dForward& f) { return packed_floats(f.shape); }
void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    pack(f.shape, weights, packed, part, parts);
}

template <class Lanes>
void forward(const Conv2dForward& f, Lanes lanes) {
    const Conv2dShape& c = f.shape;
    const bool wide = multiplier(c) > 1;
    const auto columns = columns_of<Lanes>(forward_taps(c.w, 0), c.w.stride, c.w.in, c.w.out);
    const Plane plane{c,
                      {c.h.in, c.w.in, c.out_channels},
                      ChannelVectors(c.out_channels, wide ? f.scratch : f.x),
                      f.kernel,
                      f.bias,
                      f.relu};
    for (std::int64_t s = 0; s < f.batch; ++s) {
        const float* x = f.x + s * f.x_stride;
        if (wide) {
            spread(c, x, f.scratch);
            x = f.scratch;
        }
        for (std::int64_t oy = 0; oy < c.h.out; ++oy)
            run_row(plane, x, forward_taps(c.h, oy), columns,
                    f.y + s * f.y_stride + oy * c.w.out * c.out_channels, c.out_channels, lanes);
    }
}

void forward_run(const Conv2dForward& f) {
    if (f.shape.out_channels < kWidth)
        forward(f, First{f.shape.out_channels});
    else
        forward(f, All{});
}

constexpr std::int64_t kMaxStride = 8;

const char* grad_input_declines(const Conv2dGradInput& g) {
    return g.shape.w.stride > kMaxStride ? "stride exceeds 8" : declines(g.shape);
}
std::int64_t grad_input_scratch(const Conv2dGradInput& g) { return wide_floats(g.shape); }
std::int64_t grad_input_packed(const Conv2dGradInput& g) { return packed_floats(g.shape); }
void grad_input_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    pack(g.shape, weights, packed, part, parts);
}

// Input columns of equal remainder modulo the stride, a phase, are a convolution of dy with stride 1.
template <class Lanes>
void grad_input(const Conv2dGradInput& g, Lanes lanes) {
    const Conv2dShape& c = g.shape;
    Columns<Lanes> phases[kMaxStride];
    for (std::int64_t p = 0; p < c.w.stride; ++p)
        phases[p] =
            columns_of<Lanes>(gradient_taps(c.w, p), 1, c.w.out, (c.w.in - p + c.w.stride - 1) / c.w.stride);
    const Plane plane{
        c,    {c.h.out, c.w.out, c.out_channels}, ChannelVectors(c.out_channels, g.dy), g.kernel, nullptr,
        false};
    for (std::int64_t s = 0; s < g.batch; ++s) {
        float* dx = multiplier(c) > 1 ? g.scratch : g.dx + s * g.dx_stride;
        for (std::int64_t iy = 0; iy < c.h.in; ++iy) {
            const Taps rows = gradient_taps(c.h, iy);
            for (std::int64_t p = 0; p < c.w.stride; ++p)
                run_row(plane, g.dy + s * g.dy_stride, rows, phases[p],
                        dx + (iy * c.w.in + p) * c.out_channels, c.w.stride * c.out_channels, lanes);
        }
        if (multiplier(c) > 1) gather(c, dx, g.dx + s * g.dx_stride);
    }
}

void grad_input_run(const Conv2dGradInput& g) {
    if (g.shape.out_channels < kWidth)
        grad_input(g, First{g.shape.out_channels});
    else
        grad_input(g, All{});
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_depthwise = {forward_run, forward_declines, forward_scratch,
                                                        forward_packed, forward_pack};
const Kernel<Conv2dGradInput> conv2d_grad_input_depthwise = {
    grad_input_run, grad_input_declines, grad_input_scratch, grad_input_packed, grad_input_pack};

}  // namespace fastcnn::FASTCNN_ISA
