// The register tile that convolution and dense layers are made of.
//
//   C[m][n] = bias[n] + sum over taps t, k < depth of
//             A[m * a_step + tap[t].a + k] * B[tap[t].b + k * b_step + n]
//
// m < rows, n < width = vecs * kWidth. B is packed, a block of `width` columns at a time, its missing columns
// zero, or, where b_step says so, a matrix whose columns fill all blocks; only C's store knows about a
// partial last vector. The sum runs in one fixed order per element,
// whatever rows and vecs are, so a tile's shape never changes the result.
//
// 14 x 2 vectors on AVX-512 (28 accumulators, 2 of B, 1 broadcast) read 16 operands for 28 multiply-adds and
// stay below the two loads a cycle that the processor can do; images 14, 28 or 56 wide fill them (12 x 2 lost
// 3 to 6 % on those). A tile of one vector reads an operand for every multiply-add: an odd vector makes the
// last two a tile of 9 x 3 instead (33 output channels: 113 -> 129 GFLOP/s).
#pragma once

#include "kernels/ahead.h"
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
    std::int64_t b_step = 0;      // 0: the block's width
    const float* bias = nullptr;  // first of this block's columns, or null
    std::int64_t columns = 0;     // columns of C that exist, at most the width
    bool relu = false;
    bool stream = false;  // C past the caches: its rows are aligned
    float* c = nullptr;
    std::int64_t c_step = 0;
};

inline constexpr std::int64_t kBlockWidth = kTileVecs * kWidth;
inline constexpr int kWideVecs = kTileVecs + 1;
inline constexpr int kWideRows = kTileRows * kTileVecs / kWideVecs;

FASTCNN_INLINE constexpr int max_tile_rows(int vecs) { return vecs > kTileVecs ? kWideRows : kTileRows; }

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

// The columns of a convolution: blocks of two vectors; of an odd number the last three are one block. Block i
// begins at column i * kBlockWidth.
struct ColumnBlocks {
    std::int64_t columns, vectors, count;
    FASTCNN_INLINE explicit ColumnBlocks(std::int64_t columns_)
        : columns(columns_),
          vectors((columns_ + kWidth - 1) / kWidth),
          count(vectors > kTileVecs ? vectors / kTileVecs : 1) {}
    FASTCNN_INLINE int vecs(std::int64_t block) const {
        return block + 1 < count ? kTileVecs : static_cast<int>(vectors - block * kTileVecs);
    }
    // Columns of the block that exist.
    FASTCNN_INLINE std::int64_t lanes(std::int64_t block) const {
        return block + 1 < count ? kBlockWidth : columns - block * kBlockWidth;
    }
    FASTCNN_INLINE int widest() const { return vecs(count - 1) > kTileVecs ? kWideVecs : kTileVecs; }
};

// Splits `total` rows into tiles as even as possible: 30 -> 10 + 10 + 10, not 14 + 14 + 2.
struct RowSplit {
    std::int64_t tiles, base, larger;
    FASTCNN_INLINE explicit RowSplit(std::int64_t total, std::int64_t most = kTileRows)
        : tiles((total + most - 1) / most),
          base(tiles ? total / tiles : 0),
          larger(tiles ? total % tiles : 0) {}
    FASTCNN_INLINE int rows(std::int64_t tile) const {
        return static_cast<int>(base + (tile < larger ? 1 : 0));
    }
};

namespace {

// Where a tile's results go. By value: as members of what a pointer leads to they would be read again after
// every store, which might have changed them.
struct Written {
    bool accumulate = false, relu = false, stream = false;
    std::int64_t columns = 0;  // that exist
    float* c = nullptr;
    std::int64_t c_step = 0;
};

template <int Rows, int Vecs>
FASTCNN_INLINE void write_rows(Vec (&acc)[Rows][Vecs], const Written to) {
    const auto each = [&](auto write) {
#pragma GCC unroll 16
        for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) write(acc[m][n], to.c + m * to.c_step + n * kWidth, n);
        }
    };
    const bool whole = to.columns >= Vecs * kWidth;
    if (to.accumulate && whole) each([](Vec& y, float* c, int) { y = add(load(c), y); });
    if (to.accumulate && !whole)
        each([&](Vec& y, float* c, int n) { y = add(load_partial(c, to.columns - n * kWidth), y); });
    if (to.relu) each([](Vec& y, float*, int) { y = max(zero(), y); });
    if (!whole)
        each([&](Vec y, float* c, int n) { store_partial(c, y, to.columns - n * kWidth); });
    else if (to.stream)
        each([](Vec y, float* c, int) { FASTCNN_ISA::stream(c, y); });
    else
        each([](Vec y, float* c, int) { store(c, y); });
}

template <int Rows, int Vecs>
void run_tile(const Tile& t) {
    Vec acc[Rows][Vecs];
#pragma GCC unroll 4
    for (int n = 0; n < Vecs; ++n) {
        const Vec start = t.bias ? load_partial(t.bias + n * kWidth, t.columns - n * kWidth) : zero();
#pragma GCC unroll 16
        for (int m = 0; m < Rows; ++m) acc[m][n] = start;
    }
    const std::int64_t b_step = t.b_step ? t.b_step : Vecs * kWidth;
    for (std::int64_t tap = 0; tap < t.tap_count; ++tap) {
        const float* a = t.a + t.taps[tap].a;
        const float* b = t.b + t.taps[tap].b;
        for (std::int64_t k = 0; k < t.depth; ++k, ++a, b += b_step) {
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
    write_rows(acc, {.relu = t.relu, .stream = t.stream, .columns = t.columns, .c = t.c, .c_step = t.c_step});
}

using TileFunction = void (*)(const Tile&);

template <int Rows>
constexpr TileFunction tile_of(int vecs) {
    if constexpr (Rows <= kWideRows)
        if (vecs == kWideVecs) return run_tile<Rows, kWideVecs>;
    return vecs == 1 ? run_tile<Rows, 1> : run_tile<Rows, kTileVecs>;
}

// The function for `rows` rows, at most Rows.
template <int Rows = kTileRows>
TileFunction tile_function(int rows, int vecs) {
    if constexpr (Rows > 1)
        if (rows < Rows) return tile_function<Rows - 1>(rows, vecs);
    return tile_of<Rows>(vecs);
}

// All rows of one block of columns: `t` describes the first row.
FASTCNN_INLINE void run_rows(Tile t, std::int64_t rows, int vecs, Ahead* ahead = nullptr) {
    const RowSplit split(rows, max_tile_rows(vecs));
    for (std::int64_t i = 0; i < split.tiles; ++i) {
        const int m = split.rows(i);
        if (ahead) ahead->fetch();
        tile_function(m, vecs)(t);
        t.a += m * t.a_step;
        t.c += m * t.c_step;
    }
}

// ------------------------------------------------------------------------------------ kernels' gradients

//   C[m][n] (+)= sum over planes, lines, positions of A[m] * B[n]
struct OuterTile {
    const float* a = nullptr;  // A[0] of the first position
    const float* b = nullptr;
    std::int64_t planes = 1, a_plane = 0, b_plane = 0;
    std::int64_t lines = 1, a_line = 0, b_line = 0;
    std::int64_t positions = 1, a_position = 0, b_position = 0;
    std::int64_t columns = 0;  // of C that exist
    bool accumulate = false;
    float* c = nullptr;
    std::int64_t c_step = 0;
};

// `Whole`: B may be read beyond its columns.
template <int Rows, int Vecs, bool Whole>
void run_outer_tile(const OuterTile& t) {
    Vec acc[Rows][Vecs];
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) acc[m][n] = zero();
    }
    for (std::int64_t plane = 0; plane < t.planes; ++plane) {
        for (std::int64_t line = 0; line < t.lines; ++line) {
            const float* a = t.a + plane * t.a_plane + line * t.a_line;
            const float* b = t.b + plane * t.b_plane + line * t.b_line;
            for (std::int64_t p = 0; p < t.positions; ++p, a += t.a_position, b += t.b_position) {
                Vec column[Vecs];
#pragma GCC unroll 4
                for (int n = 0; n < Vecs; ++n)
                    column[n] =
                        Whole ? load(b + n * kWidth) : load_partial(b + n * kWidth, t.columns - n * kWidth);
#pragma GCC unroll 16
                for (int m = 0; m < Rows; ++m) {
                    const Vec row = set1(a[m]);
#pragma GCC unroll 4
                    for (int n = 0; n < Vecs; ++n) acc[m][n] = fma(row, column[n], acc[m][n]);
                }
            }
        }
    }
    // What is there is added last: a long sum cut into parts rounds less than one run through all its terms.
    write_rows(acc, {.accumulate = t.accumulate, .columns = t.columns, .c = t.c, .c_step = t.c_step});
}

using OuterFunction = void (*)(const OuterTile&);

template <int Rows>
constexpr OuterFunction outer_of(int vecs, bool whole) {
    if constexpr (Rows <= kWideRows)
        if (vecs == kWideVecs) return run_outer_tile<Rows, kWideVecs, true>;
    if (vecs == 1) return whole ? run_outer_tile<Rows, 1, true> : run_outer_tile<Rows, 1, false>;
    return whole ? run_outer_tile<Rows, kTileVecs, true> : run_outer_tile<Rows, kTileVecs, false>;
}

// `vecs` above kTileVecs: only with `whole`.
template <int Rows = kTileRows>
OuterFunction outer_function(int rows, int vecs, bool whole) {
    if constexpr (Rows > 1)
        if (rows < Rows) return outer_function<Rows - 1>(rows, vecs, whole);
    return outer_of<Rows>(vecs, whole);
}

// All `rows` x `columns` of one gradient matrix (row step c_step): t holds the operands of element (0, 0),
// A's rows side by side.
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
            outer_function(m, vecs, t.columns == vecs * kWidth)(t);
        }
        first += m;
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
