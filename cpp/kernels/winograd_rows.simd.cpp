// Convolution of images with one to four channels by Winograd's method along the image's rows, with bias,
// ReLU and 2x2 max pooling: a network's first layer.
//
// Four neighbouring outputs of a row take A = 3 + T products for each row and channel of the kernel, instead
// of 4 T; T are the taps of a kernel's row, at a stride of 2 those of its even or its odd columns, which are
// rows of two images. As in the direct kernels for few channels the image's numbers, here a tile's A
// transformed ones, are spread over vectors of output channels. Products of all kernel rows and channels are
// summed in registers and transformed back once, which with 9 of them or more is little. The error is 1.1
// to 1.4 times that of the direct sum.
//
// A tile with a result that is not finite is computed again, directly: see winograd.simd.cpp.
#include "kernels/few_channels.h"
#include "kernels/rows.h"
#include "kernels/winograd.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kMostKernelRows = 16;

// Taps of one phase of a kernel's row.
FASTCNN_INLINE std::int64_t phase_taps(const Conv2dShape& c) { return ceil_div(c.w.size, c.w.stride); }

template <int T>
struct RowForward {
    static constexpr int M = 4, A = M + T - 1;
    static constexpr std::int64_t kLine = 8;  // floats of a tile's transformed numbers
    static constexpr int kTiles = 2;          // in registers
    using Filter = WinogradMatrix<M, T, Matrix::filter, false>;
    using Output = WinogradMatrix<M, T, Matrix::output, false>;

    // The input's transform, by columns.
    struct Columns {
        alignas(64) float at[A][kWidth] = {};
        constexpr Columns() {
            for (int a = 0; a < A; ++a)
                for (int k = 0; k < A && k < kWidth; ++k) at[a][k] = kWinograd<M, T>.input[k][a];
        }
    };
    static constexpr Columns kColumns{};

    const Conv2dForward& f;
    const Conv2dShape& c;
    std::int64_t lines;           // of a kernel's row: phases x channels
    std::int64_t tiles;           // of an output's row
    std::int64_t slots, of_slot;  // transformed rows of the image that are kept, and their floats
    std::int64_t of_row;          // floats of a row of the image with what the last tile reads

    FASTCNN_INLINE explicit RowForward(const Conv2dForward& args)
        : f(args),
          c(args.shape),
          lines(c.w.stride * c.in_channels),
          tiles(ceil_div(f.pooled ? 2 * f.pool.w.out : c.w.out, M)),
          slots(c.h.extent() + (f.pooled ? c.h.stride : 0)),
          of_slot(packed_columns(lines * tiles * kLine) + kWidth),
          of_row(max_of(c.w.pad + c.w.in, (M * tiles + A) * c.w.stride) * c.in_channels) {}

    std::int64_t scratch() const { return slots * of_slot + packed_columns(of_row); }

    // [block of output channels][kernel row][phase][channel][product][columns of the block]
    static std::int64_t packed(const Conv2dShape& c) {
        return packed_columns(c.out_channels) * c.h.size * c.w.stride * c.in_channels * A;
    }
    static void pack(const Conv2dShape& c, const float* weights, float* to, int part, int parts) {
        const std::int64_t blocks = pair_count(c.out_channels), row = c.in_channels * c.out_channels;
        const std::int64_t of_column = packed(c) / packed_columns(c.out_channels);
        for (std::int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
            const int vecs = pair_vecs(c.out_channels, block);
            float* out = to + block * kPairWidth * of_column;
            for (std::int64_t ky = 0; ky < c.h.size; ++ky)
                for (std::int64_t line = 0; line < c.w.stride * c.in_channels;
                     ++line, out += A * vecs * kWidth)
                    for (int n = 0; n < vecs; ++n) {
                        const std::int64_t phase = line / c.in_channels, channel = line % c.in_channels;
                        const std::int64_t column = block * kPairWidth + n * kWidth;
                        Vec g[T], u[A];
                        for (int j = 0; j < T; ++j) {
                            const std::int64_t kx = phase + j * c.w.stride;
                            g[j] = kx < c.w.size ? load_partial(weights + (ky * c.w.size + kx) * row +
                                                                    channel * c.out_channels + column,
                                                                c.out_channels - column)
                                                 : zero();
                        }
                        Filter::apply(g, 1, u);
                        for (int k = 0; k < A; ++k) store(out + (k * vecs + n) * kWidth, u[k]);
                    }
        }
    }

    // Row `y` of the padded image, transformed: [phase][channel][tile][product]. `row`: room for it, zero
    // where the image has no pixels.
    FASTCNN_INLINE void transform_row(const float* x, std::int64_t y, float* row, float* v) const {
        if (y < c.h.pad || y >= c.h.pad + c.h.in) {
            std::memset(v, 0, static_cast<std::size_t>(of_slot) * sizeof(float));
            return;
        }
        const std::int64_t floats = c.w.in * c.in_channels, step = c.w.stride * c.in_channels;
        std::memcpy(row + c.w.pad * c.in_channels, x + (y - c.h.pad) * floats,
                    static_cast<std::size_t>(floats) * sizeof(float));
        Vec columns[A];
#pragma GCC unroll 8
        for (int a = 0; a < A; ++a) columns[a] = load(kColumns.at[a]);
        for (std::int64_t line = 0; line < lines; ++line) {
            const float* d = row + line;
            for (std::int64_t t = 0; t < tiles; ++t, d += M * step, v += kLine) {
                Vec sum = mul(set1(d[0]), columns[0]);
#pragma GCC unroll 8
                for (int a = 1; a < A; ++a) sum = fma(set1(d[a * step]), columns[a], sum);
                store(v, sum);  // more than kLine: the next tile follows, or the slot's end
            }
        }
    }

    // Where the transformed rows are that a row of outputs reads.
    struct Rows {
        std::int64_t oy;
        const float* at[kMostKernelRows];
    };
    FASTCNN_INLINE Rows rows_of(const float* v, std::int64_t oy) const {
        Rows rows;
        rows.oy = oy;
        for (std::int64_t ky = 0; ky < c.h.size; ++ky)
            rows.at[ky] = v + (oy * c.h.stride + ky * c.h.dilation) % slots * of_slot;
        return rows;
    }

    template <int Tiles, int Vecs>
    FASTCNN_INLINE void convolve(const Rows& rows, std::int64_t tile, const float* u,
                                 Vec (&y)[Tiles * M][Vecs]) const {
        Vec acc[A][Tiles][Vecs];
#pragma GCC unroll 8
        for (int k = 0; k < A; ++k) {
#pragma GCC unroll 2
            for (int i = 0; i < Tiles; ++i) {
#pragma GCC unroll 2
                for (int n = 0; n < Vecs; ++n) acc[k][i][n] = zero();
            }
        }
        for (std::int64_t ky = 0; ky < c.h.size; ++ky) {
            const float* v = rows.at[ky] + tile * kLine;
            for (std::int64_t line = 0; line < lines; ++line, v += tiles * kLine) {
#pragma GCC unroll 8
                for (int k = 0; k < A; ++k, u += Vecs * kWidth) {
                    Vec weight[Vecs];
#pragma GCC unroll 2
                    for (int n = 0; n < Vecs; ++n)  // GCC would load it again for each tile
                        weight[n] = in_register(load(u + n * kWidth));
#pragma GCC unroll 2
                    for (int i = 0; i < Tiles; ++i) {
                        const Vec number = set1(v[i * kLine + k]);
#pragma GCC unroll 2
                        for (int n = 0; n < Vecs; ++n) acc[k][i][n] = fma(number, weight[n], acc[k][i][n]);
                    }
                }
            }
        }
#pragma GCC unroll 2
        for (int i = 0; i < Tiles; ++i) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) {
                Vec products[A], outputs[M];
#pragma GCC unroll 8
                for (int k = 0; k < A; ++k) products[k] = acc[k][i][n];
                Output::apply(products, 1, outputs);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m) y[i * M + m][n] = outputs[m];
            }
        }
    }

    // A vector of outputs (oy, ox) without Winograd.
    Vec convolve_directly(const float* x, std::int64_t oy, std::int64_t ox, std::int64_t channel) const {
        Vec sum = zero();
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

    // Outputs of a row's tiles [tile, tile + Tiles), with bias; whether they are all finite.
    template <int Tiles, int Vecs>
    FASTCNN_INLINE bool outputs(const float* x, const Rows& rows, std::int64_t tile, const float* u,
                                std::int64_t channel, Vec (&y)[Tiles * M][Vecs]) const {
        convolve<Tiles, Vecs>(rows, tile, u, y);
        const bool finite = all_finite<Tiles * M * Vecs>(&y[0][0]);
        if (!finite)
            for (int m = 0; m < Tiles * M; ++m)
                for (int n = 0; n < Vecs; ++n)
                    y[m][n] = convolve_directly(x, rows.oy, tile * M + m, channel + n * kWidth);
        if (!f.bias) return finite;
#pragma GCC unroll 2
        for (int n = 0; n < Vecs; ++n) {
            const std::int64_t at = channel + n * kWidth;
            const Vec bias = load_partial(f.bias + at, min_of(c.out_channels - at, kWidth));
#pragma GCC unroll 8
            for (int m = 0; m < Tiles * M; ++m) y[m][n] = add(y[m][n], bias);
        }
        return finite;
    }

    template <int Tiles, int Vecs>
    void write_tiles(const float* x, const Rows (&rows)[2], std::int64_t sample, std::int64_t oy,
                     std::int64_t tile, const float* u, std::int64_t channel) const {
        const std::int64_t lanes = c.out_channels - channel;
        if (!f.pooled) {
            Vec y[Tiles * M][Vecs];
            outputs<Tiles, Vecs>(x, rows[0], tile, u, channel, y);
            const std::int64_t ox = tile * M;
            Written to{.relu = f.relu, .stream = f.stream, .columns = lanes, .c_step = c.out_channels};
            to.c = f.y + sample * f.y_stride + (oy * c.w.out + ox) * c.out_channels + channel;
            if (ox + Tiles * M <= c.w.out) return write_rows(y, to);
            for (int m = 0; ox + m < c.w.out; ++m, to.c += c.out_channels) {
                Vec one[1][Vecs];
                for (int n = 0; n < Vecs; ++n) one[0][n] = y[m][n];
                write_rows(one, to);
            }
            return;
        }
        Vec y[2][Tiles * M][Vecs];
        const bool upper = outputs<Tiles, Vecs>(x, rows[0], tile, u, channel, y[0]);
        const bool finite = outputs<Tiles, Vecs>(x, rows[1], tile, u, channel, y[1]) && upper;
        const std::int64_t px = tile * M / 2, at = (oy * f.pool.w.out + px) * c.out_channels + channel;
        WrittenMaxima to{f.relu, lanes, c.out_channels, f.y + sample * f.y_stride + at,
                         f.argmax ? f.argmax + sample * f.argmax_stride + at : nullptr};
        for (int i = 0; i < Tiles * M / 2 && px + i < f.pool.w.out; ++i) {
            Vec window[2][2][Vecs];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
#pragma GCC unroll 2
                for (int n = 0; n < Vecs; ++n) window[k / 2][k % 2][n] = y[k / 2][2 * i + k % 2][n];
            }
            if (!finite)
                write_maxima<1, Vecs, true>(window, FirstMaximumOrNan{}, to);
            else if (to.argmax)
                write_maxima<1, Vecs, true>(window, FirstMaximum{}, to);
            else
                write_maxima<1, Vecs, false>(window, FirstMaximum{}, to);
            to.y += c.out_channels;
            if (to.argmax) to.argmax += c.out_channels;
        }
    }

    FASTCNN_INLINE void run() const {
        float* v = f.scratch;
        float* row = v + slots * of_slot;
        std::memset(row, 0, static_cast<std::size_t>(of_row) * sizeof(float));
        const std::int64_t rows = f.pooled ? f.pool.h.out : c.h.out, at_once = f.pooled ? 2 : 1;
        const std::int64_t of_column = packed(c) / packed_columns(c.out_channels);
        for (std::int64_t s = 0; s < f.batch; ++s) {
            const float* x = f.x + s * f.x_stride;
            std::int64_t ready = 0;  // rows before it are transformed or not wanted
            for (std::int64_t oy = 0; oy < rows; ++oy) {
                const std::int64_t first = oy * at_once * c.h.stride;
                const std::int64_t last = first + (at_once - 1) * c.h.stride + c.h.extent();
                for (ready = max_of(ready, first); ready < last; ++ready)
                    transform_row(x, ready, row, v + ready % slots * of_slot);
                const Rows two[2] = {rows_of(v, oy * at_once), rows_of(v, oy * at_once + at_once - 1)};
                for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
                    const std::int64_t channel = block * kPairWidth;
                    const float* u = f.kernel + channel * of_column;
                    const bool pair = pair_vecs(c.out_channels, block) == kPairVecs;
                    std::int64_t tile = 0;
                    for (; tile + kTiles <= tiles; tile += kTiles)
                        pair ? write_tiles<kTiles, 2>(x, two, s, oy, tile, u, channel)
                             : write_tiles<kTiles, 1>(x, two, s, oy, tile, u, channel);
                    if (tile < tiles)
                        pair ? write_tiles<1, 2>(x, two, s, oy, tile, u, channel)
                             : write_tiles<1, 1>(x, two, s, oy, tile, u, channel);
                }
            }
        }
        if (f.stream) end_stream();
    }
};

// What `function` makes of the pass, where there are registers enough for one.
template <class Function>
FASTCNN_INLINE auto of_rows(const Conv2dForward& f, Function function)
    -> decltype(function(RowForward<3>(f))) {
    if constexpr (kManyRegisters)
        return phase_taps(f.shape) == 3 ? function(RowForward<3>(f)) : function(RowForward<4>(f));
    else
        return decltype(function(RowForward<3>(f)))();
}

const char* declines(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    if (!kManyRegisters) return "too few registers";
    if (const char* reason = not_few_channels(c)) return reason;
    if (c.w.stride > 2) return "stride is more than 2";
    if (phase_taps(c) != 3 && phase_taps(c) != 4) return "not three or four taps a row";
    if (c.h.size > kMostKernelRows) return "kernel has more than 16 rows";
    if (c.w.stride * c.in_channels * c.h.size < 9) return "too few products for a transform";
    if (!f.pooled) return nullptr;
    if (f.pool.h.stride != 2 || f.pool.w.stride != 2) return "pooling stride is not 2";
    return not_2x2(f.pool);
}

std::int64_t scratch(const Conv2dForward& f) {
    return of_rows(f, [](const auto& pass) { return pass.scratch(); });
}

std::int64_t packed(const Conv2dForward& f) {
    return of_rows(f, [](const auto& pass) { return pass.packed(pass.c); });
}

void pack(const Conv2dForward& f, const float* weights, float* to, int part, int parts) {
    of_rows(f, [&](const auto& pass) { pass.pack(pass.c, weights, to, part, parts); });
}

void run(const Conv2dForward& f) {
    of_rows(f, [](const auto& pass) { pass.run(); });
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_winograd_rows = {run, declines, scratch, packed, pack};

}  // namespace fastcnn::FASTCNN_ISA
