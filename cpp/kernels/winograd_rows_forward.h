// What Winograd's convolutions along rows (winograd_rows.h) write: outputs or their maxima from a tile's
// products, and those of tiles that are not finite directly.
#pragma once

#include "kernels/winograd_rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// A kernel has no more rows: their places are kept in arrays.
constexpr std::int64_t kMostKernelRows = 16;

// Outputs of a row that are wanted.
FASTCNN_INLINE std::int64_t columns(const Conv2dForward& f) {
    return f.pooled ? 2 * f.pool.w.out : f.shape.w.out;
}

FASTCNN_INLINE const char* row_outputs_decline(const Conv2dForward& f) {
    if (const char* reason = rows_declines(f.shape, columns(f))) return reason;
    if (f.shape.h.size > kMostKernelRows) return "kernel has more than 16 rows";
    if (!f.pooled) return nullptr;
    if (f.pool.h.stride != 2 || f.pool.w.stride != 2) return "pooling stride is not 2";
    return not_2x2(f.pool);
}

template <int T>
struct RowOutputs {
    static constexpr int M = kRowOutputs, A = M + T - 1;
    using Output = WinogradMatrix<M, T, Matrix::output, false>;

    const Conv2dForward& f;
    const Conv2dShape& c;

    FASTCNN_INLINE explicit RowOutputs(const Conv2dForward& args) : f(args), c(args.shape) {}

    // The kernel's row `ky`, one line of it, transformed: output channels from `column` on.
    FASTCNN_INLINE static void transform_filter(const Conv2dShape& c, const float* weights, std::int64_t ky,
                                                std::int64_t line, std::int64_t column, Vec (&u)[A]) {
        const std::int64_t phase = line / c.in_channels, channel = line % c.in_channels;
        Vec g[T];
        for (int j = 0; j < T; ++j) {
            const std::int64_t kx = phase + j * c.w.stride;
            const std::int64_t tap = (ky * c.w.size + kx) * c.in_channels + channel;
            g[j] = kx < c.w.size
                       ? load_partial(weights + tap * c.out_channels + column, c.out_channels - column)
                       : zero();
        }
        WinogradMatrix<M, T, Matrix::filter, false>::apply(g, 1, u);
    }

    FASTCNN_INLINE Vec bias_of(std::int64_t channel) const {
        return f.bias ? load_partial(f.bias + channel, min_of(c.out_channels - channel, kWidth)) : zero();
    }

    // A vector of outputs (oy, ox) without Winograd.
    Vec convolve_directly(const float* x, std::int64_t oy, std::int64_t ox, std::int64_t channel) const {
        Vec sum = bias_of(channel);
        const std::int64_t lanes = min_of(c.out_channels - channel, kWidth);
        for (std::int64_t ky = 0; ky < c.h.size; ++ky)
            for (std::int64_t kx = 0; kx < c.w.size; ++kx) {
                const std::int64_t iy = c.h.begin(oy) + ky * c.h.dilation, ix = c.w.begin(ox) + kx;
                if (iy < 0 || iy >= c.h.in || ix < 0 || ix >= c.w.in) continue;
                const float* pixel = x + (iy * c.w.in + ix) * c.in_channels;
                const float* w = f.weights + (ky * c.w.size + kx) * c.in_channels * c.out_channels + channel;
                for (std::int64_t i = 0; i < c.in_channels; ++i, w += c.out_channels)
                    sum = fma(set1(pixel[i]), load_partial(w, lanes), sum);
            }
        return sum;
    }

    // ------------------------------------------------------------------------------------ without pooling

    FASTCNN_INLINE float* output(std::int64_t sample, std::int64_t oy, std::int64_t ox,
                                 std::int64_t channel) const {
        return f.y + sample * f.y_stride + (oy * c.w.out + ox) * c.out_channels + channel;
    }

    FASTCNN_NOINLINE void write_directly(const float* x, std::int64_t sample, std::int64_t oy,
                                         std::int64_t first, std::int64_t count, std::int64_t channel) const {
        for (std::int64_t ox = first; ox < min_of(first + count, c.w.out); ++ox) {
            const Vec y = convolve_directly(x, oy, ox, channel);
            store_partial(output(sample, oy, ox, channel), f.relu ? max(zero(), y) : y,
                          c.out_channels - channel);
        }
    }

    // How outputs are written. By value: see Written.
    struct Way {
        bool whole;  // all outputs of the tile exist, else those of `columns` columns and `lanes` channels
        bool relu, stream;
        std::int64_t channels;
    };
    FASTCNN_INLINE Way way(bool whole) const { return {whole, f.relu, f.stream, c.out_channels}; }

    // A tile's outputs from its products, one vector of channels; their sum.
    FASTCNN_INLINE static Vec write_tile(Vec bias, const Vec (&products)[A], const Way way,
                                         std::int64_t columns, std::int64_t lanes, float* at) {
        Vec y[M], sum = zero();
        Output::apply_to(bias, products, y);
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) sum = add(sum, y[m]);
        if (way.relu) {
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) y[m] = max(zero(), y[m]);
        }
        if (way.whole && way.stream) {
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) stream(at + m * way.channels, y[m]);
        } else if (way.whole) {
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) store(at + m * way.channels, y[m]);
        } else {
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m)
                if (m < columns) store_partial(at + m * way.channels, y[m], lanes);
        }
        return sum;
    }

    // --------------------------------------------------------------------------------------- with pooling

    FASTCNN_INLINE WrittenMaxima pooled(std::int64_t sample, std::int64_t py, std::int64_t px,
                                        std::int64_t channel) const {
        const std::int64_t at = (py * f.pool.w.out + px) * c.out_channels + channel;
        return {f.relu, c.out_channels - channel, c.out_channels, f.y + sample * f.y_stride + at,
                f.argmax ? f.argmax + sample * f.argmax_stride + at : nullptr};
    }

    FASTCNN_NOINLINE void pool_directly(const float* x, std::int64_t sample, std::int64_t py,
                                        std::int64_t first, std::int64_t count, std::int64_t channel) const {
        for (std::int64_t px = first; px < min_of(first + count, f.pool.w.out); ++px) {
            Vec window[2][2][1];
            for (int k = 0; k < 4; ++k)
                window[k / 2][k % 2][0] = convolve_directly(x, 2 * py + k / 2, 2 * px + k % 2, channel);
            write_maxima<1, 1, true>(window, FirstMaximumOrNan{}, pooled(sample, py, px, channel));
        }
    }

    // Maxima of neighbouring windows, two or the row's last one, from the products of a tile and the one
    // below it; the sum of all outputs.
    template <bool Argmax>
    FASTCNN_INLINE static Vec pool_tiles(Vec bias, const Vec (&above)[A], const Vec (&below)[A], bool two,
                                         const WrittenMaxima to) {
        Vec y[2][M], sum = zero();
        Output::apply_to(bias, above, y[0]);
        Output::apply_to(bias, below, y[1]);
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) sum = add(sum, y[i][m]);
        }
        const Vec windows[2][M][1] = {{{y[0][0]}, {y[0][1]}, {y[0][2]}, {y[0][3]}},
                                      {{y[1][0]}, {y[1][1]}, {y[1][2]}, {y[1][3]}}};
        const Vec first[2][2][1] = {{{y[0][0]}, {y[0][1]}}, {{y[1][0]}, {y[1][1]}}};
        if (two)
            write_maxima<2, 1, Argmax>(windows, FirstMaximum{}, to);
        else
            write_maxima<1, 1, Argmax>(first, FirstMaximum{}, to);
        return sum;
    }
};

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
