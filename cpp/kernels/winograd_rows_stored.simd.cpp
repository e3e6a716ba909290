// Winograd's convolution along the image's rows (winograd_rows.h) where the sums of all of a tile's products
// are too many for the registers: product after product is summed for a strip of tiles, with two loads for
// three multiply-adds instead of three for two, and waits in L1. AVX2 on Zen 3, beside the direct sum: 7x7
// kernels with a stride of 2 1.6 times as fast, 3x3 of three channels 1.2.
//
// A strip with a result that is not finite is computed again, directly: see winograd.simd.cpp.
#include "kernels/rows.h"
#include "kernels/winograd_rows_forward.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// A tile's transformed numbers of a row are [product][line], in so many floats.
constexpr std::int64_t of_product(std::int64_t lines) { return lines <= 4 ? 4 : 8; }
constexpr std::int64_t of_tile(std::int64_t lines) { return 8 * of_product(lines); }

// Where those rows are that a row of outputs reads.
struct TransformedRows {
    const float* at[kMostKernelRows];
    std::int64_t size, lines;
    int products;
};

// All sums of neighbouring tiles, the first of which begins at `place` in its rows. Lines: how many, or 0:
// any; known ones are worth 10 % of 3x3 kernels over three channels.
template <int Tiles, int Vecs, int Lines>
void sum_products(const TransformedRows& rows, std::int64_t place, const float* u, float* sums) {
    const std::int64_t lines = Lines ? Lines : rows.lines, size = rows.size;
    const int products = rows.products;
    for (int k = 0; k < products; ++k, place += of_product(lines)) {
        Vec sum[Tiles][Vecs];
#pragma GCC unroll 16
        for (int i = 0; i < Tiles; ++i) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) sum[i][n] = zero();
        }
        for (std::int64_t ky = 0; ky < size; ++ky) {
            const float* v = rows.at[ky] + place;
#pragma GCC unroll 3
            for (std::int64_t line = 0; line < lines; ++line, u += Vecs * kWidth) {
                const float* number = unrelated(v + line);
                Vec weight[Vecs];
#pragma GCC unroll 2
                for (int n = 0; n < Vecs; ++n) weight[n] = in_register(load(u + n * kWidth));
#pragma GCC unroll 16
                for (int i = 0; i < Tiles; ++i) {
                    const Vec factor = set1(number[i * of_tile(lines)]);
#pragma GCC unroll 2
                    for (int n = 0; n < Vecs; ++n) sum[i][n] = fma(factor, weight[n], sum[i][n]);
                }
            }
        }
        float* to = sums + k * Vecs * kWidth;
#pragma GCC unroll 16
        for (int i = 0; i < Tiles; ++i, to += products * Vecs * kWidth) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) store(to + n * kWidth, sum[i][n]);
        }
    }
}
using SumProducts = void (*)(const TransformedRows&, std::int64_t, const float*, float*);
template <int Vecs, int Tiles = kPositions>
SumProducts sum_function(int tiles, std::int64_t lines) {
    if constexpr (Tiles > 1)
        if (tiles < Tiles) return sum_function<Vecs, Tiles - 1>(tiles, lines);
    return lines == 3 ? sum_products<Tiles, Vecs, 3> : sum_products<Tiles, Vecs, 0>;
}

template <int T>
struct StoredRowForward : RowOutputs<T> {
    using Base = RowOutputs<T>;
    using Base::A, Base::c, Base::f, Base::M;
    using Input = WinogradMatrix<M, T, Matrix::input, false>;

    std::int64_t lines;           // of a kernel's row: phases x channels, side by side in the image
    std::int64_t tiles;           // of an output's row
    std::int64_t at_once;         // rows of outputs
    std::int64_t slots, of_slot;  // transformed rows of the image that are kept, and their floats
    std::int64_t of_row;          // floats of a row of the image with what the last tile reads

    FASTCNN_INLINE explicit StoredRowForward(const Conv2dForward& args)
        : Base(args),
          lines(c.w.stride * c.in_channels),
          tiles(ceil_div(columns(f), M)),
          at_once(f.pooled ? 2 : 1),
          slots(c.h.extent() + (at_once - 1) * c.h.stride),
          of_slot(tiles * of_tile(lines)),
          of_row(packed_columns(max_of((c.w.pad + c.w.in) * c.in_channels, (M * tiles + A) * lines)) +
                 kWidth) {}

    // Sums of a strip of tiles, of the row below it too: [row][tile][product][columns of the block]
    static constexpr std::int64_t kSums = 2 * kPositions * A * kPairWidth;

    FASTCNN_INLINE std::int64_t scratch() const { return kSums + slots * of_slot + of_row; }

    // [block of output channels][product][kernel row][line][columns of the block]
    FASTCNN_INLINE std::int64_t of_column() const { return A * c.h.size * lines; }
    FASTCNN_INLINE std::int64_t packed() const { return packed_columns(c.out_channels) * of_column(); }
    FASTCNN_INLINE void pack(const float* weights, float* to, int part, int parts) const {
        const std::int64_t blocks = pair_count(c.out_channels), terms = c.h.size * lines;
        for (std::int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
            const int vecs = pair_vecs(c.out_channels, block);
            float* out = to + block * kPairWidth * of_column();
            for (std::int64_t i = 0; i < terms; ++i)
                for (int n = 0; n < vecs; ++n) {
                    Vec u[A];
                    Base::transform_filter(c, weights, i / lines, i % lines, block * kPairWidth + n * kWidth,
                                           u);
                    for (int k = 0; k < A; ++k) store(out + ((k * terms + i) * vecs + n) * kWidth, u[k]);
                }
        }
    }

    // Row y of the padded image x. Each product's lines are written as a whole vector: the next product's
    // replace what is beyond them.
    FASTCNN_INLINE void transform_row(const float* x, std::int64_t y, float* row, float* v) const {
        if (y < c.h.pad || y >= c.h.pad + c.h.in) {
            std::memset(v, 0, static_cast<std::size_t>(of_slot) * sizeof(float));
            return;
        }
        const std::int64_t floats = c.w.in * c.in_channels;
        std::memcpy(row + c.w.pad * c.in_channels, x + (y - c.h.pad) * floats,
                    static_cast<std::size_t>(floats) * sizeof(float));
        transform_tiles(row, lines, tiles, v);
    }
    FASTCNN_INLINE static void transform_tiles(const float* d, std::int64_t lines, std::int64_t tiles,
                                               float* v) {
        for (std::int64_t t = 0; t < tiles; ++t, d += M * lines, v += of_tile(lines)) {
            Vec in[A], out[A];
#pragma GCC unroll 8
            for (int a = 0; a < A; ++a) in[a] = load(d + a * lines);
            Input::apply(in, 1, out);
#pragma GCC unroll 8
            for (int a = 0; a < A; ++a) store(v + a * of_product(lines), out[a]);
        }
    }

    // Tiles whose products are summed.
    struct Strip {
        const float* sums;
        const float* x;
        std::int64_t sample, oy, tile, count, channel;
    };

    // A strip's outputs. `Whole`: of channels that all exist.
    template <int Vecs, bool Whole, bool Stream>
    FASTCNN_INLINE void write_strip(const Strip& s) const {
        const std::int64_t channels = c.out_channels;
        const bool relu = f.relu;
        Vec bias[Vecs], total = zero();
        for (int n = 0; n < Vecs; ++n) bias[n] = this->bias_of(s.channel + n * kWidth);
        const float* sums = s.sums;
        float* to = this->output(s.sample, s.oy, s.tile * M, s.channel);
        std::int64_t columns = c.w.out - s.tile * M;
        for (std::int64_t i = 0; i < s.count; ++i, columns -= M, to += M * channels) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) {
                Vec products[A];
#pragma GCC unroll 8
                for (int k = 0; k < A; ++k) products[k] = load(sums + (k * Vecs + n) * kWidth);
                const std::int64_t lanes = Whole ? kWidth : channels - s.channel - n * kWidth;
                const typename Base::Way way{Whole && columns >= M, relu, Stream, channels};
                total = add(total, Base::write_tile(bias[n], products, way, columns, lanes, to + n * kWidth));
            }
            sums += A * Vecs * kWidth;
        }
        if (is_finite(total)) return;
        for (int n = 0; n < Vecs; ++n)
            this->write_directly(s.x, s.sample, s.oy, s.tile * M, s.count * M, s.channel + n * kWidth);
    }

    // The maxima of a strip and the one below it.
    template <int Vecs, bool Argmax>
    FASTCNN_INLINE void pool_strip(const Strip& s) const {
        constexpr int kOfTile = A * Vecs * kWidth;
        const std::int64_t px = s.tile * M / 2;
        Vec bias[Vecs], total = zero();
        for (int n = 0; n < Vecs; ++n) bias[n] = this->bias_of(s.channel + n * kWidth);
        WrittenMaxima to = this->pooled(s.sample, s.oy, px, s.channel);
        const float *sums = s.sums, *sums_below = sums + s.count * kOfTile;
        std::int64_t left = f.pool.w.out - px;
        for (std::int64_t i = 0; i < s.count; ++i, left -= M / 2) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) {
                Vec above[A], below[A];
#pragma GCC unroll 8
                for (int k = 0; k < A; ++k) {
                    above[k] = load(sums + (k * Vecs + n) * kWidth);
                    below[k] = load(sums_below + (k * Vecs + n) * kWidth);
                }
                const WrittenMaxima vector{to.relu, to.lanes - n * kWidth, to.channels, to.y + n * kWidth,
                                           Argmax ? to.argmax + n * kWidth : nullptr};
                total =
                    add(total, Base::template pool_tiles<Argmax>(bias[n], above, below, left > 1, vector));
            }
            sums += kOfTile;
            sums_below += kOfTile;
            to.y += M / 2 * to.channels;
            if (Argmax) to.argmax += M / 2 * to.channels;
        }
        if (is_finite(total)) return;
        for (int n = 0; n < Vecs; ++n)
            this->pool_directly(s.x, s.sample, s.oy, px, s.count * M / 2, s.channel + n * kWidth);
    }

    // Row `oy` of the output, or of the pooled output, one block of channels: `s` has its first tile.
    template <int Vecs>
    FASTCNN_INLINE void write_row(Strip s, const float* v, const float* u, float* sums) const {
        TransformedRows rows[2];
        for (std::int64_t i = 0; i < at_once; ++i) {
            rows[i].size = c.h.size;
            rows[i].lines = lines;
            rows[i].products = A;
            for (std::int64_t ky = 0; ky < c.h.size; ++ky)
                rows[i].at[ky] =
                    v + ((s.oy * at_once + i) * c.h.stride + ky * c.h.dilation) % slots * of_slot;
        }
        const RowSplit split(tiles, kPositions);
        const SumProducts sum_up[2] = {sum_function<Vecs>(split.rows(split.tiles), lines),
                                       sum_function<Vecs>(split.rows(0), lines)};
        s.sums = sums;
        for (std::int64_t i = 0; i < split.tiles; ++i, s.tile += s.count) {
            s.count = split.rows(i);
            for (std::int64_t k = 0; k < at_once; ++k)
                sum_up[i < split.larger](rows[k], s.tile * of_tile(lines), u,
                                         sums + k * s.count * A * Vecs * kWidth);
            if (f.pooled && f.argmax)
                pool_strip<Vecs, true>(s);
            else if (f.pooled)
                pool_strip<Vecs, false>(s);
            else if (c.out_channels - s.channel < Vecs * kWidth)
                write_strip<Vecs, false, false>(s);
            else if (f.stream)
                write_strip<Vecs, true, true>(s);
            else
                write_strip<Vecs, true, false>(s);
        }
    }

    FASTCNN_INLINE void run() const {
        float *sums = f.scratch, *v = sums + kSums, *image_row = v + slots * of_slot;
        std::memset(image_row, 0, static_cast<std::size_t>(of_row) * sizeof(float));
        const std::int64_t rows = f.pooled ? f.pool.h.out : c.h.out;
        for (std::int64_t s = 0; s < f.batch; ++s) {
            const float* x = f.x + s * f.x_stride;
            std::int64_t ready = 0;
            for (std::int64_t oy = 0; oy < rows; ++oy) {
                const std::int64_t first = oy * at_once * c.h.stride;
                for (ready = max_of(ready, first); ready < first + slots; ++ready)
                    transform_row(x, ready, image_row, v + ready % slots * of_slot);
                for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
                    const std::int64_t channel = block * kPairWidth;
                    const Strip row{nullptr, x, s, oy, 0, 0, channel};
                    const float* u = f.kernel + channel * of_column();
                    pair_vecs(c.out_channels, block) == kPairVecs ? write_row<2>(row, v, u, sums)
                                                                  : write_row<1>(row, v, u, sums);
                }
            }
        }
        if (f.stream) end_stream();
    }
};

// Compiled where registers are few, and where a row's numbers, at most 2 x 4, are a vector.
constexpr bool kServes = !kManyRegisters && kWidth >= 8;

template <class Function>
FASTCNN_INLINE auto of_taps(const Conv2dForward& f, Function function)
    -> decltype(function(StoredRowForward<3>(f))) {
    if constexpr (kServes)
        return phase_taps(f.shape) == 4 ? function(StoredRowForward<4>(f)) : function(StoredRowForward<3>(f));
    else
        return decltype(function(StoredRowForward<3>(f)))();
}

const char* declines(const Conv2dForward& f) {
    return kServes ? row_outputs_decline(f) : "registers are many, or vectors are short";
}

std::int64_t scratch(const Conv2dForward& f) {
    return of_taps(f, [](const auto& pass) { return pass.scratch(); });
}

std::int64_t packed(const Conv2dForward& f) {
    return of_taps(f, [](const auto& pass) { return pass.packed(); });
}

void pack(const Conv2dForward& f, const float* weights, float* to, int part, int parts) {
    of_taps(f, [&](const auto& pass) { pass.pack(weights, to, part, parts); });
}

void run(const Conv2dForward& f) {
    of_taps(f, [](const auto& pass) { pass.run(); });
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_winograd_rows_stored = {run, declines, scratch, packed, pack};

}  // namespace fastcnn::FASTCNN_ISA
