// Gradient of the kernel of a depthwise convolution, vectors over channels: all taps of a window are
// accumulators in registers, which x and dy pass by.
#include "kernels/depthwise.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Sums in scratch: [vector of channels][taps of the kernel, then the bias][lane]. They are taken to registers
// once for a strip of rows that has kStripColumns columns or more, which pays for the trip and leaves the
// strip in L2 for the next vector. Each strip is summed apart, so that a long sum loses no more digits than
// two short ones.
constexpr std::int64_t kStripColumns = 64;

// 25 accumulators of a 5 x 5 kernel fit only 32 registers; with 16 a kernel row at a time does.

struct GradStrip {
    const Conv2dShape* shape;
    std::int64_t first_row, last_row;  // rows of dy
    const float* x;                    // at the vector's first channel
    const float* dy;
    std::int64_t first_column, last_column;  // columns of dy whose taps all lie inside the image
    float* sum;
};

FASTCNN_INLINE void add_to(float* sum, Vec v) { store(sum, add(load(sum), v)); }

// Kernel rows [ky, ky + Rows) of Count neighbouring taps, at stride Stride (0: not known). x and dy are
// loaded once for four columns of dy.
template <int Rows, int Count, int Stride, class Lanes>
struct WindowSum {
    Lanes lanes;
    Vec sum[Rows][Count], bias;
    std::int64_t first, last;  // rows of the window that lie inside the image
    std::int64_t channels, x_row;

    FASTCNN_INLINE void clear() {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
            for (int k = 0; k < Count; ++k) sum[r][k] = zero();
        }
        bias = zero();
    }

    template <int N>
    FASTCNN_INLINE void columns(const float* x, const float* dy) {
        Vec g[N];
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
            g[n] = lanes.load(dy + n * channels);
            bias = add(bias, g[n]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
            if (r < first || r >= last) continue;
            const float* at = x + r * x_row;
#pragma GCC unroll 32
            for (int i = 0; i < (N - 1) * Stride + Count; ++i, at += channels) {
                Vec v = lanes.load(at);
                keep_in_register(v);
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n)
                    if (i >= n * Stride && i - n * Stride < Count)
                        sum[r][i - n * Stride] = fma(v, g[n], sum[r][i - n * Stride]);
            }
        }
    }

    // One column, the taps of which lie inside the image from k = from up to k = to.
    FASTCNN_INLINE void border(const float* x, const float* dy, std::int64_t from, std::int64_t to) {
        const Vec g = lanes.load(dy);
        bias = add(bias, g);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
            if (r < first || r >= last) continue;
#pragma GCC unroll 8
            for (int k = 0; k < Count; ++k)
                if (k >= from && k < to)
                    sum[r][k] = fma(lanes.load(x + r * x_row + k * channels), g, sum[r][k]);
        }
    }

    FASTCNN_INLINE void add_to_sums(float* to, std::int64_t kernel_width) const {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
            for (int k = 0; k < Count; ++k) add_to(to + (r * kernel_width + k) * kWidth, sum[r][k]);
        }
    }
};

template <int Rows, int Count, int Stride, class Lanes>
void window_rows(const GradStrip& t, std::int64_t ky, Lanes lanes) {
    const Conv2dShape& c = *t.shape;
    const std::int64_t row = c.w.in * c.out_channels;
    WindowSum<Rows, Count, Stride, Lanes> w;
    w.lanes = lanes;
    w.channels = c.out_channels;
    w.x_row = c.h.dilation * row;
    w.clear();
    for (std::int64_t oy = t.first_row; oy < t.last_row; ++oy) {
        const TapRange inside(c.h, oy);
        w.first = inside.first - ky;
        w.last = inside.last - ky;
        const float* x = t.x + (c.h.begin(oy) + ky * c.h.dilation) * row;
        const float* dy = t.dy + oy * c.w.out * c.out_channels;
        const auto border = [&](std::int64_t ox) {
            const std::int64_t begin = c.w.begin(ox);
            w.border(x + begin * c.out_channels, dy + ox * c.out_channels, -begin, c.w.in - begin);
        };
        std::int64_t ox = 0;
        for (; ox < t.first_column; ++ox) border(ox);
        for (; ox + 4 <= t.last_column; ox += 4)
            w.template columns<4>(x + c.w.begin(ox) * c.out_channels, dy + ox * c.out_channels);
        for (; ox < t.last_column; ++ox)
            w.template columns<1>(x + c.w.begin(ox) * c.out_channels, dy + ox * c.out_channels);
        for (; ox < c.w.out; ++ox) border(ox);
    }
    w.add_to_sums(t.sum + ky * c.w.size * kWidth, c.w.size);
    if (ky == 0) add_to(t.sum + taps_of(c) * kWidth, w.bias);
}

template <int Rows, int Count, class Lanes>
FASTCNN_INLINE void windows(const GradStrip& t, Lanes lanes) {
    const Conv2dShape& c = *t.shape;
    std::int64_t ky = 0;
    const auto run = [&](auto whole, auto single) {
        for (; ky + Rows <= c.h.size; ky += Rows) whole(t, ky, lanes);
        for (; ky < c.h.size; ++ky) single(t, ky, lanes);
    };
    if (c.w.stride == 1)
        run(window_rows<Rows, Count, 1, Lanes>, window_rows<1, Count, 1, Lanes>);
    else
        run(window_rows<Rows, Count, 2, Lanes>, window_rows<1, Count, 2, Lanes>);
}

// Any window, a tap at a time over the columns that it has inside the image; eight partial sums.
template <class Lanes>
void single_taps(const GradStrip& t, Lanes lanes) {
    const Conv2dShape& c = *t.shape;
    const std::int64_t channels = c.out_channels, x_column = c.w.stride * channels;
    const auto over_columns = [&](std::int64_t first, std::int64_t last, auto body) {
        for (; first + 8 <= last; first += 8) {
#pragma GCC unroll 8
            for (int n = 0; n < 8; ++n) body(first + n, n);
        }
        for (; first < last; ++first) body(first, 0);
    };
    const auto total = [](const Vec(&v)[8]) {
        return add(add(add(v[0], v[1]), add(v[2], v[3])), add(add(v[4], v[5]), add(v[6], v[7])));
    };
    for (std::int64_t ky = 0; ky < c.h.size; ++ky)
        for (std::int64_t kx = 0; kx < c.w.size; ++kx) {
            const std::int64_t shift = kx * c.w.dilation - c.w.pad;
            const std::int64_t first = max_of(0, ceil_div(-shift, c.w.stride));
            const std::int64_t last = min_of(c.w.out, ceil_div(c.w.in - shift, c.w.stride));
            Vec sum[8];
#pragma GCC unroll 8
            for (int n = 0; n < 8; ++n) sum[n] = zero();
            for (std::int64_t oy = t.first_row; oy < t.last_row; ++oy) {
                const std::int64_t y = c.h.begin(oy) + ky * c.h.dilation;
                if (y < 0 || y >= c.h.in) continue;
                const float* x = t.x + (y * c.w.in + shift) * channels;
                const float* dy = t.dy + oy * c.w.out * channels;
                over_columns(first, last, [&](std::int64_t ox, int n) {
                    sum[n] = fma(lanes.load(x + ox * x_column), lanes.load(dy + ox * channels), sum[n]);
                });
            }
            add_to(t.sum + (ky * c.w.size + kx) * kWidth, total(sum));
        }
    Vec sum[8];
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) sum[n] = zero();
    over_columns(t.first_row * c.w.out, t.last_row * c.w.out,
                 [&](std::int64_t o, int n) { sum[n] = add(sum[n], lanes.load(t.dy + o * channels)); });
    add_to(t.sum + taps_of(c) * kWidth, total(sum));
}

template <class Lanes>
FASTCNN_INLINE void sum_strip(const GradStrip& t, Lanes lanes) {
    const Window& w = t.shape->w;
    if (w.dilation == 1 && w.stride <= 2) {
        if constexpr (!kMasked<Lanes> || kWidth > 4)
            if (w.size == 3) return windows<3, 3>(t, lanes);
        if constexpr (!kMasked<Lanes>)
            if (w.size == 5) return windows<kManyRegisters ? 5 : 1, 5>(t, lanes);
    }
    single_taps(t, lanes);
}

FASTCNN_INLINE std::int64_t sum_floats(const Conv2dShape& c) {
    return ChannelVectors::most(c.out_channels) * (taps_of(c) + 1) * kWidth;
}

const char* grad_kernel_declines(const Conv2dGradKernel& g) { return declines(g.shape); }

std::int64_t grad_kernel_scratch(const Conv2dGradKernel& g) {
    return sum_floats(g.shape) + wide_floats(g.shape);
}

FASTCNN_INLINE void write_sums(const float* sum, std::int64_t lanes, bool accumulate, float* to) {
    const Vec v = load_partial(sum, lanes);
    store_partial(to, accumulate ? add(load_partial(to, lanes), v) : v, lanes);
}

void grad_kernel_run(const Conv2dGradKernel& g) {
    const Conv2dShape& c = g.shape;
    const std::int64_t taps = taps_of(c), strip_rows = (kStripColumns + c.w.out - 1) / c.w.out;
    float* wide = g.scratch + sum_floats(c);
    const ChannelVectors vectors(c.out_channels, multiplier(c) > 1 ? wide : g.x);
    std::memset(g.scratch, 0, static_cast<std::size_t>(sum_floats(c)) * sizeof(float));
    GradStrip t;
    t.shape = &c;
    const std::int64_t end = c.w.in - (c.w.extent() - 1);  // windows from here on leave the image
    t.first_column = min_of(c.w.out, ceil_div(c.w.pad, c.w.stride));
    t.last_column = max_of(t.first_column, min_of(c.w.out, ceil_div(end + c.w.pad, c.w.stride)));
    for (std::int64_t s = 0; s < g.batch; ++s) {
        const float* x = g.x + s * g.x_stride;
        if (multiplier(c) > 1) {
            spread(c, x, wide);
            x = wide;
        }
        for (std::int64_t oy = 0; oy < c.h.out; oy += strip_rows) {
            t.first_row = oy;
            t.last_row = min_of(c.h.out, oy + strip_rows);
            for (std::int64_t v = 0; v < vectors.count; ++v) {
                t.x = x + vectors.first(v);
                t.dy = g.dy + s * g.dy_stride + vectors.first(v);
                t.sum = g.scratch + v * (taps + 1) * kWidth;
                if (vectors.whole())
                    sum_strip(t, All{});
                else
                    sum_strip(t, First{c.out_channels});
            }
        }
    }
    std::int64_t at = 0;  // channels written
    for (std::int64_t v = 0; v < vectors.count; at = vectors.end(v++)) {
        const std::int64_t lanes = vectors.end(v) - at;
        const float* sum = g.scratch + v * (taps + 1) * kWidth + (at - vectors.first(v));
        for (std::int64_t k = 0; k < taps; ++k)
            write_sums(sum + k * kWidth, lanes, g.accumulate, g.dkernel + k * c.out_channels + at);
        if (g.dbias) write_sums(sum + taps * kWidth, lanes, g.accumulate, g.dbias + at);
    }
}

}  // namespace

const Kernel<Conv2dGradKernel> conv2d_grad_kernel_depthwise = {grad_kernel_run, grad_kernel_declines,
                                                               grad_kernel_scratch};

}  // namespace fastcnn::FASTCNN_ISA
