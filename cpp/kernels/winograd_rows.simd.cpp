// Convolution of images with one to four channels by Winograd's method along the image's rows, with bias,
// ReLU and 2x2 max pooling: a network's first layer (winograd_rows.h).
//
// Products of all kernel rows and channels are summed in registers and transformed back once, which with 9 of
// them or more is little. The error is up to three times that of the direct sum.
//
// A tile with a result that is not finite is computed again, directly: see winograd.simd.cpp.
#include "kernels/rows.h"
#include "kernels/winograd_rows_forward.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

template <int T>
struct RowForward : RowTiles<T> {
    using Base = RowTiles<T>;
    using Base::A, Base::c, Base::lines, Base::M, Base::of_pair, Base::tiles;
    using Outputs = RowOutputs<T>;

    const Conv2dForward& f;
    const Outputs outputs;

    FASTCNN_INLINE explicit RowForward(const Conv2dForward& args)
        : Base(args.shape, columns(args), args.pooled ? 2 : 1), f(args), outputs(args) {}

    // [block of output channels][kernel row][phase][channel][product][columns of the block]
    static std::int64_t packed(const Conv2dShape& c) {
        return packed_columns(c.out_channels) * c.h.size * c.w.stride * c.in_channels * A;
    }
    static void pack(const Conv2dShape& c, const float* weights, float* to, int part, int parts) {
        const std::int64_t blocks = pair_count(c.out_channels);
        const std::int64_t of_column = packed(c) / packed_columns(c.out_channels);
        for (std::int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
            const int vecs = pair_vecs(c.out_channels, block);
            float* out = to + block * kPairWidth * of_column;
            for (std::int64_t ky = 0; ky < c.h.size; ++ky)
                for (std::int64_t line = 0; line < c.w.stride * c.in_channels;
                     ++line, out += A * vecs * kWidth)
                    for (int n = 0; n < vecs; ++n) {
                        Vec u[A];
                        Outputs::transform_filter(c, weights, ky, line, block * kPairWidth + n * kWidth, u);
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
        const auto way = outputs.way(columns >= Tiles * M && lanes >= Vecs * kWidth);
        float* to = outputs.output(sample, oy, ox, channel);
        Vec sum = zero();
#pragma GCC unroll 2
        for (int i = 0; i < Tiles; ++i) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n)
                sum = add(sum, outputs.write_tile(outputs.bias_of(channel + n * kWidth), acc[i][n], way,
                                                  columns - i * M, lanes - n * kWidth,
                                                  to + i * M * c.out_channels + n * kWidth));
        }
        if (is_finite(sum)) return;
        for (int n = 0; n < Vecs; ++n)
            outputs.write_directly(x, sample, oy, ox, Tiles * M, channel + n * kWidth);
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
            const Vec bias = outputs.bias_of(channel + n * kWidth);
            const WrittenMaxima to = outputs.pooled(sample, py, px, channel + n * kWidth);
            const bool two = px + 1 < f.pool.w.out;
            sum =
                add(sum, to.argmax ? outputs.template pool_tiles<true>(bias, acc[0][n], acc[1][n], two, to)
                                   : outputs.template pool_tiles<false>(bias, acc[0][n], acc[1][n], two, to));
        }
        if (is_finite(sum)) return;
        for (int n = 0; n < Vecs; ++n) outputs.pool_directly(x, sample, py, px, M / 2, channel + n * kWidth);
    }

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
    return kManyRegisters ? row_outputs_decline(f) : "too few registers";
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
