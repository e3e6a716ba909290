// The register tile that convolution and dense layers are made of.
//
//   C[m][n] = bias[n] + sum over taps t, k < depth of
//             A[m * a_step + tap[t].a + k] * B[tap[t].b + k * width + n]
//
// m < rows (at most kTileRows), n < width = vecs * kWidth (vecs at most kTileVecs). B is packed, a block of
// `width` columns at a time, its missing columns zero; only C's store knows about a partial last vector. The
// sum runs in one fixed order per element, whatever rows and vecs are, so a tile's shape never changes the
// result.
//
// 12 x 2 vectors on AVX-512 (24 accumulators, 2 of B, 1 broadcast) reads 14 operands for 24 multiply-adds and
// stays below the two loads a cycle that the processor can do.
#pragma once

#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

struct Tap {
    std::int64_t a, b;
};

struct Tile {
    const float* a = nullptr;
    std::int64_t a_step = 0;
    const Tap* taps = nullptr;
    std::int64_t tap_count = 0;
    std::int64_t depth = 0;
    const float* b = nullptr;
    const float* bias = nullptr;  // first of this block's columns, or null
    std::int64_t columns = 0;     // columns of C that exist, at most the width
    bool relu = false;
    float* c = nullptr;
    std::int64_t c_step = 0;
};

inline constexpr std::int64_t kBlockWidth = kTileVecs * kWidth;

// Columns come in blocks of kBlockWidth; a last block of at most kWidth columns is one vector wide.
FASTCNN_INLINE std::int64_t block_count(std::int64_t columns) {
    return (columns + kBlockWidth - 1) / kBlockWidth;
}
FASTCNN_INLINE int block_vecs(std::int64_t columns, std::int64_t block) {
    const std::int64_t left = columns - block * kBlockWidth;
    return left > (kTileVecs - 1) * kWidth ? kTileVecs : static_cast<int>((left + kWidth - 1) / kWidth);
}
// Columns with the padding that packing adds.
FASTCNN_INLINE std::int64_t packed_columns(std::int64_t columns) {
    return (columns + kWidth - 1) / kWidth * kWidth;
}

// Splits `total` rows into tiles as even as possible: 26 -> 9 + 9 + 8, not 12 + 12 + 2.
struct RowSplit {
    std::int64_t tiles, base, larger;
    FASTCNN_INLINE explicit RowSplit(std::int64_t total)
        : tiles((total + kTileRows - 1) / kTileRows),
          base(tiles ? total / tiles : 0),
          larger(tiles ? total % tiles : 0) {}
    FASTCNN_INLINE int rows(std::int64_t tile) const {
        return static_cast<int>(base + (tile < larger ? 1 : 0));
    }
};

namespace {

template <int Rows, int Vecs>
void run_tile(const Tile& t) {
    Vec acc[Rows][Vecs];
#pragma GCC unroll 4
    for (int n = 0; n < Vecs; ++n) {
        const Vec start = t.bias ? load_partial(t.bias + n * kWidth, t.columns - n * kWidth) : zero();
#pragma GCC unroll 16
        for (int m = 0; m < Rows; ++m) acc[m][n] = start;
    }
    for (std::int64_t tap = 0; tap < t.tap_count; ++tap) {
        const float* a = t.a + t.taps[tap].a;
        const float* b = t.b + t.taps[tap].b;
        for (std::int64_t k = 0; k < t.depth; ++k, ++a, b += Vecs * kWidth) {
            Vec column[Vecs];
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) column[n] = load(b + n * kWidth);
#pragma GCC unroll 16
            for (int m = 0; m < Rows; ++m) {
                const Vec row = set1(a[m * t.a_step]);
#pragma GCC unroll 4
                for (int n = 0; n < Vecs; ++n) acc[m][n] = fma(row, column[n], acc[m][n]);
            }
        }
    }
    const bool whole = t.columns >= Vecs * kWidth;
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) {
            const Vec y = t.relu ? max(zero(), acc[m][n]) : acc[m][n];
            float* c = t.c + m * t.c_step + n * kWidth;
            if (whole)
                store(c, y);
            else
                store_partial(c, y, t.columns - n * kWidth);
        }
    }
}

using TileFunction = void (*)(const Tile&);

template <int Rows>
constexpr TileFunction tile_of(int vecs) {
    return vecs == 1 ? run_tile<Rows, 1> : run_tile<Rows, 2>;
}

// The function for `rows` rows, at most Rows.
template <int Rows = kTileRows>
TileFunction tile_function(int rows, int vecs) {
    if constexpr (Rows > 1)
        if (rows < Rows) return tile_function<Rows - 1>(rows, vecs);
    return tile_of<Rows>(vecs);
}

// All rows of one block of columns: `t` describes the first row.
FASTCNN_INLINE void run_rows(Tile t, std::int64_t rows, int vecs) {
    const RowSplit split(rows);
    for (std::int64_t i = 0; i < split.tiles; ++i) {
        const int m = split.rows(i);
        tile_function(m, vecs)(t);
        t.a += m * t.a_step;
        t.c += m * t.c_step;
    }
}

// ------------------------------------------------------------------------------------- gradient of the
// kernel

//   C[m][n] += sum over samples, rows, positions of A[m] * B[n]
// The accumulators stay in registers over all positions of all samples.
struct OuterTile {
    const float* a = nullptr;  // A of the first position; element m is offset[m], or m where `offset` is null
    const std::int64_t* offset = nullptr;
    const float* b = nullptr;
    std::int64_t samples = 1, a_sample = 0, b_sample = 0;
    std::int64_t lines = 1, a_line = 0, b_line = 0;
    std::int64_t positions = 1, a_position = 0, b_position = 0;
    std::int64_t columns = 0;
    bool accumulate = false;
    float* c = nullptr;
    std::int64_t c_step = 0;
};

template <int Rows, int Vecs, bool Whole, bool Scattered>
void run_outer_tile(const OuterTile& t) {
    Vec acc[Rows][Vecs];
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n)
            acc[m][n] =
                t.accumulate ? load_partial(t.c + m * t.c_step + n * kWidth, t.columns - n * kWidth) : zero();
    }
    for (std::int64_t s = 0; s < t.samples; ++s) {
        for (std::int64_t line = 0; line < t.lines; ++line) {
            const float* a = t.a + s * t.a_sample + line * t.a_line;
            const float* b = t.b + s * t.b_sample + line * t.b_line;
            for (std::int64_t p = 0; p < t.positions; ++p, a += t.a_position, b += t.b_position) {
                Vec column[Vecs];
#pragma GCC unroll 4
                for (int n = 0; n < Vecs; ++n)
                    column[n] =
                        Whole ? load(b + n * kWidth) : load_partial(b + n * kWidth, t.columns - n * kWidth);
#pragma GCC unroll 16
                for (int m = 0; m < Rows; ++m) {
                    const Vec row = set1(Scattered ? a[t.offset[m]] : a[m]);
#pragma GCC unroll 4
                    for (int n = 0; n < Vecs; ++n) acc[m][n] = fma(row, column[n], acc[m][n]);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n)
            store_partial(t.c + m * t.c_step + n * kWidth, acc[m][n], t.columns - n * kWidth);
    }
}

using OuterFunction = void (*)(const OuterTile&);

template <int Rows>
constexpr OuterFunction outer_of(int vecs, bool whole, bool scattered) {
    if (scattered)
        return vecs == 1 ? run_outer_tile<Rows, 1, false, true> : run_outer_tile<Rows, 2, false, true>;
    if (vecs == 1)
        return whole ? run_outer_tile<Rows, 1, true, false> : run_outer_tile<Rows, 1, false, false>;
    return whole ? run_outer_tile<Rows, 2, true, false> : run_outer_tile<Rows, 2, false, false>;
}

template <int Rows = kTileRows>
OuterFunction outer_function(int rows, int vecs, bool whole, bool scattered) {
    if constexpr (Rows > 1)
        if (rows < Rows) return outer_function<Rows - 1>(rows, vecs, whole, scattered);
    return outer_of<Rows>(vecs, whole, scattered);
}

// All `rows` x `columns` of one gradient matrix (row step c_step = its columns): t holds the operands of
// element (0, 0).
FASTCNN_INLINE void run_outer(OuterTile t, std::int64_t rows, std::int64_t columns) {
    const RowSplit split(rows);
    const float* b = t.b;
    float* c = t.c;
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < split.tiles; ++i) {
        const int m = split.rows(i);
        for (std::int64_t block = 0; block < block_count(columns); ++block) {
            const int vecs = block_vecs(columns, block);
            const std::int64_t left = columns - block * kBlockWidth;
            t.columns = left < vecs * kWidth ? left : vecs * kWidth;
            t.b = b + block * kBlockWidth;
            t.c = c + first * t.c_step + block * kBlockWidth;
            outer_function(m, vecs, t.columns == vecs * kWidth, t.offset != nullptr)(t);
        }
        first += m;
        if (t.offset)
            t.offset += m;
        else
            t.a += m;
    }
}

// sum[c] (+)= sum over samples and positions of dy[..][c]
FASTCNN_INLINE void sum_columns(const float* dy, std::int64_t samples, std::int64_t sample_stride,
                                std::int64_t positions, std::int64_t columns, bool accumulate, float* sum) {
    for (std::int64_t c = 0; c < columns; c += kWidth) {
        const std::int64_t lanes = columns - c;
        Vec acc = accumulate ? load_partial(sum + c, lanes) : zero();
        for (std::int64_t s = 0; s < samples; ++s) {
            const float* p = dy + s * sample_stride + c;
            for (std::int64_t i = 0; i < positions; ++i, p += columns) acc = add(acc, load_partial(p, lanes));
        }
        store_partial(sum + c, acc, lanes);
    }
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
