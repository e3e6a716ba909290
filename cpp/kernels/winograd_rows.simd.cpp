// Convolution of images with one to four channels by Winograd's method along the image's rows, with bias,
// ReLU and 2x2 max pooling: a network's first layer (winograd_rows.h).
//
// Products of all kernel rows and channels are summed in registers and transformed back once, which with 9 of
// them or more is little. The error is up to three times that of the direct sum.
//
// A tile with a result that is not finite is computed again, directly: see winograd.simd.cpp.
#include "kernels/winograd_rows.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kMostKernelRows = 16;

// Outputs of a row that are wanted.
FASTCNN_INLINE std::int64_t columns(const Conv2dForward& f) {
    return f.pooled ? 2 * f.pool.w.out : f.shape.w.out;
}

template <int T>
struct RowForward : RowTiles<T> {
    using Base = RowTiles<T>;
    using Base::A, Base::c, Base::lines, Base::M, Base::of_pair, Base::tiles;
    using Filter = WinogradMatrix<M, T, Matrix::filter, false>;
    using Output = WinogradMatrix<M, T, Matrix::output, false>;

    const Conv2dForward& f;

    FASTCNN_INLINE explicit RowForward(const Conv2dForward& args)
        : Base(args.shape, columns(args), args.pooled ? 2 : 1), f(args) {}

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

    // Where the transformed rows are that a row of outputs reads.
    struct Rows {
        const float* at[kMostKernelRows];
    };
    FASTCNN_INLINE Rows rows_of(const float* v, std::int64_t oy) const {
        Rows rows;
        for (std::int64_t ky = 0; ky < c.h.size; ++ky)
            rows.at[ky] = this->slot(v, oy * c.h.stride + ky * c.h.dilation);
        return rows;
    }

    // Products of some tiles, those of tile i begin at places[i] in its rows.
    template <int Tiles, int Vecs>
    FASTCNN_INLINE void multiply(const Rows* const (&rows)[Tiles], const std::int64_t (&places)[Tiles],
                                 const float* u, Vec (&acc)[Tiles][Vecs][A]) const {
#pragma GCC unroll 2
        for (int i = 0; i < Tiles; ++i) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) {
#pragma GCC unroll 8
                for (int k = 0; k < A; ++k) acc[i][n][k] = zero();
            }
        }
        for (std::int64_t ky = 0; ky < c.h.size; ++ky) {
            const float* v[Tiles];
#pragma GCC unroll 2
            for (int i = 0; i < Tiles; ++i) v[i] = rows[i]->at[ky] + places[i];
            std::int64_t next = 1;  // from line to line: to the pair's other one, to the next pair
            for (std::int64_t line = 0; line < lines; ++line) {
#pragma GCC unroll 8
                for (int k = 0; k < A; ++k, u += Vecs * kWidth) {
                    Vec weight[Vecs];
#pragma GCC unroll 2
                    for (int n = 0; n < Vecs; ++n)  // GCC would load it again for each tile
                        weight[n] = in_register(load(u + n * kWidth));
#pragma GCC unroll 2
                    for (int i = 0; i < Tiles; ++i) {
                        const Vec number = set1(v[i][2 * k]);
#pragma GCC unroll 2
                        for (int n = 0; n < Vecs; ++n) acc[i][n][k] = fma(number, weight[n], acc[i][n][k]);
                    }
                }
#pragma GCC unroll 2
                for (int i = 0; i < Tiles; ++i) v[i] += next;
                next = of_pair - next;
            }
        }
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

    // Neighbouring tiles of a row.
    template <int Tiles, int Vecs>
    void write_tiles(const float* x, const Rows& rows, std::int64_t sample, std::int64_t oy,
                     std::int64_t tile, const float* u, std::int64_t channel) const {
        const Rows* both[Tiles];
        std::int64_t places[Tiles];
#pragma GCC unroll 2
        for (int i = 0; i < Tiles; ++i) {
            both[i] = &rows;
            places[i] = (tile + i) * kRowTile;
        }
        Vec acc[Tiles][Vecs][A];
        multiply(both, places, u, acc);
        const std::int64_t ox = tile * M, columns = c.w.out - ox, lanes = c.out_channels - channel;
        const bool whole = columns >= Tiles * M && lanes >= Vecs * kWidth;
        float* to = output(sample, oy, ox, channel);
        Vec sum = zero();
#pragma GCC unroll 2
        for (int i = 0; i < Tiles; ++i) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) {
                Vec y[M];
                Output::apply_to(bias_of(channel + n * kWidth), acc[i][n], y);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m) sum = add(sum, y[m]);
                if (f.relu) {
#pragma GCC unroll 4
                    for (int m = 0; m < M; ++m) y[m] = max(zero(), y[m]);
                }
                float* at = to + i * M * c.out_channels + n * kWidth;
                if (whole && f.stream) {
#pragma GCC unroll 4
                    for (int m = 0; m < M; ++m) stream(at + m * c.out_channels, y[m]);
                } else if (whole) {
#pragma GCC unroll 4
                    for (int m = 0; m < M; ++m) store(at + m * c.out_channels, y[m]);
                } else {
#pragma GCC unroll 4
                    for (int m = 0; m < M; ++m)
                        if (i * M + m < columns)
                            store_partial(at + m * c.out_channels, y[m], lanes - n * kWidth);
                }
            }
        }
        if (is_finite(sum)) return;
        for (int n = 0; n < Vecs; ++n) write_directly(x, sample, oy, ox, Tiles * M, channel + n * kWidth);
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

    // A tile and the one below it.
    template <int Vecs>
    void pool_tiles(const float* x, const Rows (&rows)[2], std::int64_t sample, std::int64_t py,
                    std::int64_t tile, const float* u, std::int64_t channel) const {
        Vec acc[2][Vecs][A];
        multiply({&rows[0], &rows[1]}, {tile * kRowTile, tile * kRowTile}, u, acc);
        const std::int64_t px = tile * M / 2;
        Vec sum = zero();
#pragma GCC unroll 2
        for (int n = 0; n < Vecs; ++n) {
            const Vec bias = bias_of(channel + n * kWidth);
            Vec y[2][M];
#pragma GCC unroll 2
            for (int i = 0; i < 2; ++i) {
                Output::apply_to(bias, acc[i][n], y[i]);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m) sum = add(sum, y[i][m]);
            }
#pragma GCC unroll 2
            for (int i = 0; i < M / 2; ++i) {
                if (px + i >= f.pool.w.out) break;
                const Vec window[2][2][1] = {{{y[0][2 * i]}, {y[0][2 * i + 1]}},
                                             {{y[1][2 * i]}, {y[1][2 * i + 1]}}};
                const WrittenMaxima to = pooled(sample, py, px + i, channel + n * kWidth);
                if (to.argmax)
                    write_maxima<1, 1, true>(window, FirstMaximum{}, to);
                else
                    write_maxima<1, 1, false>(window, FirstMaximum{}, to);
            }
        }
        if (is_finite(sum)) return;
        for (int n = 0; n < Vecs; ++n) pool_directly(x, sample, py, px, M / 2, channel + n * kWidth);
    }

    // --------------------------------------------------------------------------------------------- a pass

    // Row `oy` of the output, or of the pooled output, one block of channels.
    template <int Vecs>
    FASTCNN_INLINE void write_row(const float* x, const Rows (&rows)[2], std::int64_t sample, std::int64_t oy,
                                  const float* u, std::int64_t channel) const {
        std::int64_t tile = 0;
        if (f.pooled) {
            for (; tile < tiles; ++tile) pool_tiles<Vecs>(x, rows, sample, oy, tile, u, channel);
            return;
        }
        for (; tile + 2 <= tiles; tile += 2) write_tiles<2, Vecs>(x, rows[0], sample, oy, tile, u, channel);
        if (tile < tiles) write_tiles<1, Vecs>(x, rows[0], sample, oy, tile, u, channel);
    }

    FASTCNN_INLINE void run() const {
        float* v = f.scratch;
        this->begin(v);
        const std::int64_t rows = f.pooled ? f.pool.h.out : c.h.out, at_once = f.pooled ? 2 : 1;
        const std::int64_t of_column = packed(c) / packed_columns(c.out_channels);
        for (std::int64_t s = 0; s < f.batch; ++s) {
            const float* x = f.x + s * f.x_stride;
            std::int64_t ready = 0;
            for (std::int64_t oy = 0; oy < rows; ++oy) {
                const std::int64_t first = oy * at_once * c.h.stride;
                const std::int64_t last = first + (at_once - 1) * c.h.stride + c.h.extent();
                this->transform_rows(x, first, last, v, ready);
                const Rows two[2] = {rows_of(v, oy * at_once), rows_of(v, oy * at_once + at_once - 1)};
                for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
                    const std::int64_t channel = block * kPairWidth;
                    const float* u = f.kernel + channel * of_column;
                    pair_vecs(c.out_channels, block) == kPairVecs ? write_row<2>(x, two, s, oy, u, channel)
                                                                  : write_row<1>(x, two, s, oy, u, channel);
                }
            }
        }
        if (f.stream) end_stream();
    }
};

const char* declines(const Conv2dForward& f) {
    if (const char* reason = rows_declines(f.shape, columns(f))) return reason;
    if (f.shape.h.size > kMostKernelRows) return "kernel has more than 16 rows";
    if (!f.pooled) return nullptr;
    if (f.pool.h.stride != 2 || f.pool.w.stride != 2) return "pooling stride is not 2";
    return not_2x2(f.pool);
}

std::int64_t scratch(const Conv2dForward& f) {
    return of_rows<RowForward>(f, [](const auto& pass) { return pass.scratch(); });
}

std::int64_t packed(const Conv2dForward& f) {
    return of_rows<RowForward>(f, [](const auto& pass) { return pass.packed(pass.c); });
}

void pack(const Conv2dForward& f, const float* weights, float* to, int part, int parts) {
    of_rows<RowForward>(f, [&](const auto& pass) { pass.pack(pass.c, weights, to, part, parts); });
}

void run(const Conv2dForward& f) {
    of_rows<RowForward>(f, [](const auto& pass) { pass.run(); });
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_winograd_rows = {run, declines, scratch, packed, pack};

}  // namespace fastcnn::FASTCNN_ISA
