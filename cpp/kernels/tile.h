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
// With AVX-512 a tile is 7 x 4 vectors: a step is 40 instructions for 28 multiply-adds, 12 of them loads; of
// 14 x 2 vectors 44 and 16, of 14 x 1 29 for 14 and 15. Alone on a core the first two reach the peak; where a
// hyperthread shares it, instructions and loads count, and 7 x 4 does 1.1 times as much as 14 x 2 and 1.5
// times as much as 14 x 1. (28 sums, four vectors of B and a broadcast are one register too many. One sum
// stays in memory, which costs nothing: it is back long before the next step wants it. 6 x 4 fits, and was
// up to 6 % slower where B is larger than L2.) Images 7, 14, 28 or 56 wide fill the tiles.
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

// Of one vector no more rows than of two: those hide the multiply-add's latency.
FASTCNN_INLINE constexpr int max_tile_rows(int vecs) { return kAccumulators / (vecs < 2 ? 2 : vecs); }
inline constexpr int kMostRows = max_tile_rows(1);

// Columns with the padding that packing adds.
FASTCNN_INLINE std::int64_t packed_columns(std::int64_t columns) {
    return (columns + kWidth - 1) / kWidth * kWidth;
}

// The columns of a matrix product in as few blocks of kTileVecs vectors as hold them, shared out evenly, the
// wider ones first: on AVX-512 9 are 3 + 3 + 3. Where kMostVecs allows it, one too many widens the first
// block: 5 are 3 + 2. `narrow`: of two vectors; taller tiles for matrices that come from L3, and narrower
// blocks that still fit L2.
struct ColumnBlocks {
    std::int64_t columns, vectors, count, base, wider;
    FASTCNN_INLINE explicit ColumnBlocks(std::int64_t columns_, bool narrow = false)
        : ColumnBlocks(columns_, narrow ? 2 : kTileVecs, narrow ? 3 : kMostVecs) {}
    FASTCNN_INLINE int vecs(std::int64_t block) const {
        return static_cast<int>(base + (block < wider ? 1 : 0));
    }
    FASTCNN_INLINE std::int64_t width(std::int64_t block) const { return vecs(block) * kWidth; }
    // The block's first column; of block `count` the end of the packed ones.
    FASTCNN_INLINE std::int64_t first(std::int64_t block) const {
        return (block * base + (block < wider ? block : wider)) * kWidth;
    }
    // Columns of the block that exist.
    FASTCNN_INLINE std::int64_t lanes(std::int64_t block) const {
        return block + 1 < count ? width(block) : columns - first(block);
    }
    FASTCNN_INLINE int widest() const { return vecs(0); }
    // Whether all blocks are equally wide and their columns exist.
    FASTCNN_INLINE bool even() const { return wider == 0 && columns == vectors * kWidth; }

  private:
    FASTCNN_INLINE ColumnBlocks(std::int64_t columns_, int usual, int most)
        : columns(columns_),
          vectors((columns_ + kWidth - 1) / kWidth),
          count(vectors > most ? (vectors - (most - usual) + usual - 1) / usual : 1),
          base(vectors / count),
          wider(vectors % count) {}
};

// Columns of which some are computed apart from the others (parts of a dense layer): blocks of two vectors,
// wherever they begin, a last one of one or two.
inline constexpr int kPairVecs = 2;
inline constexpr std::int64_t kPairWidth = kPairVecs * kWidth;

FASTCNN_INLINE std::int64_t pair_count(std::int64_t columns) {
    return (columns + kPairWidth - 1) / kPairWidth;
}
FASTCNN_INLINE int pair_vecs(std::int64_t columns, std::int64_t pair) {
    return columns - pair * kPairWidth > kWidth ? kPairVecs : 1;
}

// Splits `total` rows into tiles as even as possible: 30 -> 10 + 10 + 10, not 14 + 14 + 2.
struct RowSplit {
    std::int64_t tiles, base, larger;
    FASTCNN_INLINE RowSplit(std::int64_t total, std::int64_t most)
        : tiles((total + most - 1) / most),
          base(tiles ? total / tiles : 0),
          larger(tiles ? total % tiles : 0) {}
    FASTCNN_INLINE int rows(std::int64_t tile) const {
        return static_cast<int>(base + (tile < larger ? 1 : 0));
    }
};

namespace {

// The same pointer, of which the compiler knows nothing.
template <class T>
FASTCNN_INLINE T* unrelated(T* p) {
    asm("" : "+r"(p));
    return p;
}

// Rows that one pointer and multiples of the step reach without more registers than there are for addresses;
// those of taller tiles have a second pointer. Left to itself GCC keeps 14 distances, five of them in memory.
inline constexpr int kNear = 9;

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
        const float* far = unrelated(a + kNear * t.a_step);
#pragma GCC unroll 2
        for (std::int64_t k = 0; k < t.depth; ++k, ++a, ++far, b += b_step) {
            Vec column[Vecs];
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) column[n] = load(b + n * kWidth);
#pragma GCC unroll 16
            for (int m = 0; m < Rows; ++m) {
                const Vec row = set1(m < kNear ? a[m * t.a_step] : far[(m - kNear) * t.a_step]);
#pragma GCC unroll 4
                for (int n = 0; n < Vecs; ++n) acc[m][n] = multiply_add(row, column[n], acc[m][n]);
            }
        }
    }
    write_rows(acc, {.relu = t.relu, .stream = t.stream, .columns = t.columns, .c = t.c, .c_step = t.c_step});
}

// Which of the functions Of::function<Rows, Vecs> serves `rows` rows, at most max_tile_rows(vecs), of `vecs`
// vectors.
template <class Of, int Vecs, int Rows = max_tile_rows(Vecs)>
FASTCNN_INLINE auto function_of_rows(int rows) {
    if constexpr (Rows > 1)
        if (rows < Rows) return function_of_rows<Of, Vecs, Rows - 1>(rows);
    return &Of::template function<Rows, Vecs>;
}
template <class Of, int Vecs = kMostVecs>
FASTCNN_INLINE auto function_of(int rows, int vecs) {
    if constexpr (Vecs > 1)
        if (vecs < Vecs) return function_of<Of, Vecs - 1>(rows, vecs);
    return function_of_rows<Of, Vecs>(rows);
}

struct TileFunctions {
    template <int Rows, int Vecs>
    static void function(const Tile& t) {
        run_tile<Rows, Vecs>(t);
    }
};

// All rows of one block of columns: `t` describes the first row.
FASTCNN_INLINE void run_rows(Tile t, std::int64_t rows, int vecs, Ahead* ahead = nullptr) {
    const RowSplit split(rows, max_tile_rows(vecs));
    for (std::int64_t i = 0; i < split.tiles; ++i) {
        const int m = split.rows(i);
        if (ahead) ahead->fetch();
        function_of<TileFunctions>(m, vecs)(t);
        t.a += m * t.a_step;
        t.c += m * t.c_step;
    }
}

// One row of C: a block's few sums would wait for one another, so those of Blocks blocks of two vectors,
// `b_block` floats apart in B, are made side by side. Each sum is what run_tile() makes of it.
template <int Blocks>
void run_row_blocks(const Tile& t, std::int64_t b_block) {
    constexpr int kVecs = kPairVecs * Blocks;
    Vec acc[1][kVecs];
#pragma GCC unroll 8
    for (int n = 0; n < kVecs; ++n)
        acc[0][n] = t.bias ? load_partial(t.bias + n * kWidth, t.columns - n * kWidth) : zero();
    for (std::int64_t tap = 0; tap < t.tap_count; ++tap) {
        const float* a = t.a + t.taps[tap].a;
        const float* b = t.b + t.taps[tap].b;
        for (std::int64_t k = 0; k < t.depth; ++k, ++a, b += t.b_step) {
            const Vec row = set1(*a);
#pragma GCC unroll 8
            for (int n = 0; n < kVecs; ++n)
                acc[0][n] =
                    multiply_add(row, load(b + n / kPairVecs * b_block + n % kPairVecs * kWidth), acc[0][n]);
        }
    }
    write_rows(acc, {.relu = t.relu, .stream = t.stream, .columns = t.columns, .c = t.c});
}

// `columns` columns of one row, B's blocks of two vectors `b_block` floats apart, all of them whole: `t`
// describes the first one, t.columns aside.
FASTCNN_INLINE void run_row(Tile t, std::int64_t columns, std::int64_t b_block) {
    constexpr int kMost = 4;
    for (std::int64_t left = columns; left > 0; left -= kMost * kPairWidth) {
        t.columns = left;
        switch (pair_count(left)) {
            case 1:
                run_row_blocks<1>(t, b_block);
                break;
            case 2:
                run_row_blocks<2>(t, b_block);
                break;
            case 3:
                run_row_blocks<3>(t, b_block);
                break;
            default:
                run_row_blocks<kMost>(t, b_block);
        }
        t.b += kMost * b_block;
        t.c += kMost * kPairWidth;
        if (t.bias) t.bias += kMost * kPairWidth;
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
#pragma GCC unroll 2
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
                    for (int n = 0; n < Vecs; ++n) acc[m][n] = multiply_add(row, column[n], acc[m][n]);
                }
            }
        }
    }
    // What is there is added last: a long sum cut into parts rounds less than one run through all its terms.
    write_rows(acc, {.accumulate = t.accumulate, .columns = t.columns, .c = t.c, .c_step = t.c_step});
}

template <bool Whole>
struct OuterFunctions {
    template <int Rows, int Vecs>
    static void function(const OuterTile& t) {
        run_outer_tile<Rows, Vecs, Whole>(t);
    }
};

// All `rows` x `columns` of one gradient matrix (row step c_step): t holds the operands of element (0, 0),
// A's rows side by side.
FASTCNN_INLINE void run_outer(OuterTile t, std::int64_t rows, std::int64_t columns) {
    const ColumnBlocks blocks(columns);
    const RowSplit split(rows, max_tile_rows(blocks.widest()));
    const float* b = t.b;
    float* c = t.c;
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < split.tiles; ++i) {
        const int m = split.rows(i);
        for (std::int64_t block = 0; block < blocks.count; ++block) {
            const int vecs = blocks.vecs(block);
            t.columns = blocks.lanes(block);
            t.b = b + blocks.first(block);
            t.c = c + first * t.c_step + blocks.first(block);
            const auto function = t.columns == vecs * kWidth ? function_of<OuterFunctions<true>>(m, vecs)
                                                             : function_of<OuterFunctions<false>>(m, vecs);
            function(t);
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
