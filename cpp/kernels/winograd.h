// Winograd's convolution: M x M outputs of an R x R convolution from A x A products, A = M + R - 1, instead
// of M * M * R * R (S. Winograd, "Arithmetic Complexity of Computations", 1980; A. Lavin and S. Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016).
//
//   y = output^T [(filter g filter^T) * (input d input^T)] output        * element by element, d: A x A input
//
// Polynomial evaluation at A - 1 points and infinity gives the matrices. The points decide the error: with
// 0, +-3/4, +-3/2 the 4 x 4 tile is about as accurate as the direct sum (0.7 to 1.6e-6 relative for 64 to 256
// channels, against 0.4 to 0.9e-6), with the textbook's 0, +-1, +-2 only half as accurate; the 2 x 2 tile is
// more accurate than the direct sum. For the 5 x 5 tile six points in pairs without 0 (+-1/4, +-7/8, +-7/4:
// the best of a search among sixteenths) have two thirds of the error of 0, +-1, +-1/2, 2: twice that of the
// 4 x 4 tile. A 6 x 6 tile would have another factor of two.
#pragma once

#include "kernels/conv.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

template <int M, int R>
struct WinogradMatrices {
    static constexpr int A = M + R - 1;
    float input[A][A] = {};    // applied to the input: B^T
    double filter[A][R] = {};  // to the kernel: G
    float output[M][A] = {};   // to the products: A^T

    constexpr WinogradMatrices() {
        constexpr double points_3[] = {0, 1, -1};
        constexpr double points_4[] = {0, 1, -0.5, -2};
        constexpr double points_5[] = {0, 0.75, -0.75, 1.5, -1.5};
        constexpr double points_6[] = {0.25, -0.25, 0.875, -0.875, 1.75, -1.75};
        static_assert(A >= 4 && A <= 7);
        const double* p = A == 4 ? points_3 : A == 5 ? points_4 : A == 6 ? points_5 : points_6;
        for (int i = 0; i < A; ++i) {
            const bool infinity = i == A - 1;
            // product over the other points of (x - p[j]), coefficients by power of x
            double product[A] = {1}, scale = 1;
            int degree = 0;
            for (int j = 0; j < A - 1; ++j) {
                if (j == i) continue;
                for (int k = ++degree; k > 0; --k) product[k] = product[k - 1] - p[j] * product[k];
                product[0] *= -p[j];
                if (!infinity) scale *= p[i] - p[j];
            }
            // Without the point 0 the rows of p and -p are equal up to every other sign once one is negated.
            const double sign = A == 7 && i % 2 == 1 ? -1 : 1;
            double power = 1;
            for (int k = 0; k < A; ++k) {
                input[i][k] = static_cast<float>(sign * product[k]);
                if (k < R) filter[i][k] = infinity ? (k == R - 1) : sign * power / scale;
                if (k < M) output[k][i] = infinity ? (k == M - 1) : static_cast<float>(power);
                if (!infinity) power *= p[i];
            }
        }
    }
};

template <int M, int R>
inline constexpr WinogradMatrices<M, R> kWinograd{};

// sum += factor * x, where the factor is known at compile time: nothing is multiplied by 0, 1 or -1.
struct Sum {
    Vec value;
    bool started = false;
    FASTCNN_INLINE void add(float factor, Vec x) {
        if (factor == 0) return;
        if (!started)
            value = factor == 1 ? x : factor == -1 ? sub(zero(), x) : mul(set1(factor), x);
        else
            value = factor == 1    ? FASTCNN_ISA::add(value, x)
                    : factor == -1 ? sub(value, x)
                                   : fma(set1(factor), x, value);
        started = true;
    }
};

enum class Matrix { input, filter, output };

// A matrix of a transform, or its transpose (for the gradients). Points p and -p belong to two rows (or, in a
// transpose and in A^T, to two columns) that are equal up to every other sign: such a pair shares its sums.
template <int M, int R, Matrix Which, bool Transposed>
struct WinogradMatrix {
    static constexpr int A = M + R - 1;
    static constexpr int kOther = Which == Matrix::input ? A : Which == Matrix::filter ? R : M;
    static constexpr bool kPointsAreRows = (Which == Matrix::output) == Transposed;
    static constexpr int kRows = kPointsAreRows ? A : kOther, kColumns = kPointsAreRows ? kOther : A;

    static constexpr float at(int row, int column) {
        const int i = Transposed ? column : row, k = Transposed ? row : column;
        if (Which == Matrix::input) return kWinograd<M, R>.input[i][k];
        if (Which == Matrix::filter) return static_cast<float>(kWinograd<M, R>.filter[i][k]);
        return kWinograd<M, R>.output[i][k];
    }
    // Of point `p`, the k-th entry.
    static constexpr float entry(int p, int k) { return kPointsAreRows ? at(p, k) : at(k, p); }
    // Points p and p + 1 are a pair; points 0 and infinity belong to none.
    static constexpr bool paired(int p) { return A != 5 && p % 2 == (A == 7 ? 0 : 1) && p + 1 < A - 1; }
    static constexpr bool same(int p, int k) { return entry(p, k) == entry(p + 1, k); }

    // y = matrix x, element k of x at x[k * step]
    FASTCNN_INLINE static void apply(const Vec* x, int step, Vec* y) {
        if constexpr (kPointsAreRows)
            apply_rows(x, step, y);
        else
            apply_columns(x, step, y);
    }

    // y = matrix x + start, which costs hardly anything where a sum begins with a product.
    FASTCNN_INLINE static void apply_to(Vec start, const Vec* x, Vec* y) {
        static_assert(!kPointsAreRows);
        apply_columns(x, 1, y, &start);
    }

    // out (kRows x kRows) = matrix in matrix^T, in: kColumns x kColumns. load(k, c) gives in[k][c], column by
    // column; store(r, q, v) takes out[r][q], row by row.
    template <class Load, class Store>
    FASTCNN_INLINE static void transform(Load load, Store store) {
        Vec half[kColumns][kRows];  // of each column of `in`
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) {
            Vec column[kColumns];
#pragma GCC unroll 8
            for (int k = 0; k < kColumns; ++k) column[k] = load(k, c);
            apply(column, 1, half[c]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            Vec row[kRows];
            apply(&half[0][r], kRows, row);
#pragma GCC unroll 8
            for (int q = 0; q < kRows; ++q) store(r, q, row[q]);
        }
    }

  private:
    FASTCNN_INLINE static void apply_rows(const Vec* x, int step, Vec* y) {
#pragma GCC unroll 8
        for (int p = 0; p < kRows; ++p) {
            Sum sum, other;
            if (!paired(p)) {
                if (p > 0 && paired(p - 1)) continue;
#pragma GCC unroll 8
                for (int k = 0; k < kColumns; ++k) sum.add(at(p, k), x[k * step]);
                y[p] = sum.value;
                continue;
            }
#pragma GCC unroll 8
            for (int k = 0; k < kColumns; ++k) (same(p, k) ? sum : other).add(at(p, k), x[k * step]);
            y[p] = add(sum.value, other.value);
            y[p + 1] = sub(sum.value, other.value);
        }
    }

    FASTCNN_INLINE static void apply_columns(const Vec* x, int step, Vec* y, const Vec* start = nullptr) {
        Vec sums[A], differences[A];
#pragma GCC unroll 8
        for (int p = 0; p < A; ++p)
            if (paired(p)) {
                sums[p] = add(x[p * step], x[(p + 1) * step]);
                differences[p] = sub(x[p * step], x[(p + 1) * step]);
            }
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i) {
            Sum sum;
            if (start) sum.add(1, *start);
#pragma GCC unroll 8
            for (int p = 0; p < A; ++p) {
                if (p > 0 && paired(p - 1)) continue;
                sum.add(at(i, p), !paired(p) ? x[p * step] : same(p, i) ? sums[p] : differences[p]);
            }
            y[i] = sum.value;
        }
    }
};

// -------------------------------------------------------------------------------------------------- geometry

// The tiles of a block of samples: sample by sample, row by row of cells of `cell` x `cell` tiles.
struct WinogradTiles {
    std::int64_t down, across;  // of a sample: whole cells
    std::int64_t top, left;     // input position of the first tile's first element (negative: padding)
    int cell;                   // 1 or 2

    // Tiles that cover outputs [0, rows) x [0, columns) counted from output (first_row, first_column).
    FASTCNN_INLINE WinogradTiles(const Conv2dShape& c, int m, std::int64_t first_row, std::int64_t rows,
                                 std::int64_t first_column, std::int64_t columns, int cell_ = 1)
        : down(ceil_div(rows, m * cell_) * cell_),
          across(ceil_div(columns, m * cell_) * cell_),
          top(c.h.begin(first_row)),
          left(c.w.begin(first_column)),
          cell(cell_) {}
    FASTCNN_INLINE std::int64_t count() const { return down * across; }
};

// Position of tile `index` of a block, the first of its cell.
struct WinogradPlace {
    std::int64_t sample, row, column;
    FASTCNN_INLINE WinogradPlace(const WinogradTiles& tiles, std::int64_t index)
        : sample(index / tiles.count()),
          row(index % tiles.count() / (tiles.across * tiles.cell) * tiles.cell),
          column(index % (tiles.across * tiles.cell) / tiles.cell) {}
    // The next cell.
    FASTCNN_INLINE void next_cell(const WinogradTiles& tiles) {
        if ((column += tiles.cell) < tiles.across) return;
        column = 0;
        if ((row += tiles.cell) < tiles.down) return;
        row = 0;
        ++sample;
    }
    // The next tile.
    FASTCNN_INLINE void next(const WinogradTiles& tiles) {
        if (tiles.cell == 2) {
            if (column++ % 2 == 0) return;
            column -= 2;
            if (row++ % 2 == 0) return;
            row -= 2;
        }
        next_cell(tiles);
    }
};

// Channels up to which the largest tile's error is known to be small.
constexpr std::int64_t kMostChannels = 256;

// Tiles that there are kernels for. Below AVX2, where speed matters least, a single size spares 229 KB of
// code.
template <int M>
constexpr bool kCompiled = kWidth > 4 || M == 4;

// In the place of those that there are not.
template <class Args>
constexpr Kernel<Args> kNotCompiled = {[](const Args&) {},
                                       [](const Args&) -> const char* { return "not for this level"; }};

// Why an operation is none for Winograd's kernels, or null.
template <int M>
FASTCNN_INLINE const char* winograd_declines(const Conv2dShape& c) {
    if (c.h.size != 3 || c.w.size != 3) return "kernel is not 3x3";
    if (c.h.stride != 1 || c.w.stride != 1) return "stride is not 1";
    if (c.h.dilation != 1 || c.w.dilation != 1) return "dilation is not 1";
    if (c.groups != 1) return "groups is not 1";
    if (M > 4 && (c.in_channels > kMostChannels || c.out_channels > kMostChannels))
        return "more than 256 channels";
    return nullptr;
}

// Floats from the matrix of one of the A * A products to that of the next: an odd number of cache lines.
// Tiles are written to all matrices in turn, and equal addresses modulo 4 KB would fight for the same lines
// of the cache; matrices further apart than they are large would want a page each, more than the processor
// keeps at hand.
FASTCNN_INLINE std::int64_t winograd_step(std::int64_t floats) { return ((floats + 15) / 16 | 1) * 16; }

// Floats of transformed weights that stay in L2.
constexpr std::int64_t kResidentWeights = 192 * 1024;

// Blocks of the `columns` of U, the weights of tiles of M outputs each way.
template <int M>
FASTCNN_INLINE ColumnBlocks winograd_blocks(const Conv2dShape& c, std::int64_t columns) {
    const std::int64_t weights = packed_columns(c.in_channels) * packed_columns(c.out_channels);
    return ColumnBlocks(columns, (M + 2) * (M + 2) * weights > kResidentWeights);
}

// Rows (tiles) of a product by U at a time, a whole number of register tiles `vecs` wide, or of cells of
// `cell` tiles; `row` floats of V and P a tile, `weights` of U. Where U stays in L2 beside a chunk's
// transformed tiles V and products P, a small chunk in L1 wins (in the 32 KB of processors without AVX-512 it
// is too small: there one in L2 does, 5 to 9 % faster); a larger U is streamed once a chunk, which then has
// to be long.
FASTCNN_INLINE std::int64_t winograd_chunk(std::int64_t all, std::int64_t row, std::int64_t weights, int vecs,
                                           int cell = 1) {
    constexpr std::int64_t kSmall = (kWidth < 16 ? 32 : 12) * 1024, kLarge = 160 * 1024;
    const std::int64_t budget = weights <= kResidentWeights ? kSmall : kLarge;
    // Cells leave register tiles short: half as tall they hide a multiply-add's latency with four vectors
    // only.
    const int rows = max_tile_rows(vecs);
    const std::int64_t unit = ceil_div(cell > 1 && vecs < 4 ? 2 * rows : rows, cell) * cell;
    return min_of(max_of(1, budget / row / unit) * unit, all);
}

// What a transform loads or stores. A tile of an image is the transform's input with its rows as columns, so
// that the products lie column by column: a vector's product k is `step` floats from product k - 1, and the
// transform back, which reads them in that order, gives rows again.

// The products of a tile in turn. The distance is added every time: GCC would keep all 49 multiples of it,
// most of them in memory.
struct ReadProducts {
    const float* at;
    std::int64_t step;
    FASTCNN_INLINE Vec operator()(int, int) {
        const Vec v = load(at);
        at = unrelated(at + step);
        return v;
    }
};
struct WriteProducts {
    float* at;
    std::int64_t step;
    FASTCNN_INLINE void operator()(int, int, Vec v) {
        store(at, v);
        at = unrelated(at + step);
    }
};

// Pixels of a tile: (column, row).
struct ReadPixels {
    const float* at;
    std::int64_t row_step, pixel;
    FASTCNN_INLINE Vec operator()(int column, int row) {
        if (column == 0 && row > 0) at = unrelated(at + row_step);
        return load(at + column * pixel);
    }
};

// Elements of an array of `Step` vectors a row: (column, row) or (row, column).
template <int Step>
struct ReadArray {
    const Vec* array;
    FASTCNN_INLINE Vec operator()(int column, int row) const { return array[row * Step + column]; }
};
template <int Step>
struct WriteArray {
    Vec* array;
    FASTCNN_INLINE void operator()(int row, int column, Vec v) const { array[row * Step + column] = v; }
};

// One tile of an image, `lanes` channels from `channel` on. Elements outside the image are zero: such a tile
// is first copied into `patch`, A * A * kWidth floats.
template <int A>
FASTCNN_INLINE ReadPixels read_tile(const float* x, const Image& image, std::int64_t y0, std::int64_t x0,
                                    std::int64_t channel, std::int64_t lanes, float* patch) {
    const float* at = x + (y0 * image.width + x0) * image.channels + channel;
    const std::int64_t row = image.row(), pixel = image.channels;
    if (y0 < 0 || x0 < 0 || y0 + A > image.height || x0 + A > image.width || lanes < kWidth) {
        for (int r = 0; r < A; ++r)
            for (int c = 0; c < A; ++c) {
                const bool exists =
                    y0 + r >= 0 && y0 + r < image.height && x0 + c >= 0 && x0 + c < image.width;
                store(patch + (r * A + c) * kWidth,
                      exists ? load_partial(at + r * row + c * pixel, lanes) : zero());
            }
        return {patch, A * kWidth, kWidth};
    }
    return {at, row, pixel};
}

// Cycles of `rows` tiles: transforms of `transformed` vectors a tile there and back, products of depth
// `depth` by `vectors` vectors, and the weights streamed once a chunk.
FASTCNN_INLINE double winograd_cycles(int a, std::int64_t rows, std::int64_t chunk, double transformed,
                                      std::int64_t depth, std::int64_t vectors) {
    const double products = a * a * static_cast<double>(depth * vectors);
    const double chunks = static_cast<double>((rows + chunk - 1) / chunk);
    const double bytes = products * kWidth * sizeof(float);
    // Bytes a cycle from memory, L3 or L2.
    const double streamed = chunks * bytes / (bytes > 16e6 ? 3 : bytes > 1.5e6 ? 5 : 20);
    const double multiplied = product_cycles(static_cast<double>(rows) * products, 0.72);
    return 5.0 / 6 * a * a * a * static_cast<double>(rows) * transformed +
           (streamed > multiplied ? streamed : multiplied);
}

// --------------------------------------------------------------------------------------------------- weights

// The transformed weights U of a forward pass: [product][block of output channels][input channel][columns of
// the block].
FASTCNN_INLINE std::int64_t winograd_weights_step(const Conv2dShape& c) {
    return winograd_step(c.in_channels * packed_columns(c.out_channels));
}
template <int M>
FASTCNN_INLINE std::int64_t winograd_packed(const Conv2dShape& c) {
    return (M + 2) * (M + 2) * winograd_weights_step(c);
}

template <int M>
void winograd_pack(const Conv2dShape& c, const float* weights, float* packed, int part, int parts) {
    constexpr int R = 3;
    const ColumnBlocks blocks = winograd_blocks<M>(c, c.out_channels);
    const std::int64_t u_step = winograd_weights_step(c), all = blocks.count * c.in_channels;
    for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
        const std::int64_t block = i / c.in_channels, channel = i % c.in_channels;
        const int vecs = blocks.vecs(block);
        const std::int64_t first = blocks.first(block);
        for (int v = 0; v < vecs; ++v) {
            const std::int64_t column = first + v * kWidth;
            Vec g[R * R];
#pragma GCC unroll 9
            for (int k = 0; k < R * R; ++k)
                g[k] = load_partial(weights + (k * c.in_channels + channel) * c.out_channels + column,
                                    c.out_channels - column);
            float* to = packed + first * c.in_channels + (channel * vecs + v) * kWidth;
            WinogradMatrix<M, R, Matrix::filter, false>::transform(ReadArray<R>{g},
                                                                   WriteProducts{to, u_step});
        }
    }
}

// -------------------------------------------------------------------------------------------------- products

// Transformed tiles lie as [product][block of kWidth channels][tile][kWidth]: the rows of a register tile are
// kWidth floats apart, so that one pointer and constant offsets reach all of them.

// P[m][n] = sum over channels of V[m][channel] * U[channel][n], for Rows tiles and Vecs vectors. `v_block`,
// `p_block`: floats between blocks of channels of V and P. U: [channel][Vecs * kWidth].
struct WinogradProduct {
    const float* v;
    const float* u;
    float* p;
    std::int64_t v_block, p_block, channels;
    const float* next;  // of U, what is read after this product: fetched into L2, a line of it with each step
    std::int64_t next_step = 0;  // floats
};

template <int Rows, int Vecs>
void multiply_tile(const WinogradProduct& t) {
    Vec acc[Rows][Vecs];
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) acc[m][n] = zero();
    }
    const float* v = t.v;
    const float* u = t.u;
    const float* next = t.next;
    for (std::int64_t left = t.channels; left > 0; left -= kWidth, v += t.v_block) {
        const std::int64_t count = min_of(left, kWidth);
#pragma GCC unroll 2
        for (std::int64_t j = 0; j < count; ++j, u += Vecs * kWidth) {
            __builtin_prefetch(next, 0, 2);
            next += t.next_step;
            Vec column[Vecs];
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) column[n] = load(u + n * kWidth);
#pragma GCC unroll 16
            for (int m = 0; m < Rows; ++m) {
                const Vec row = set1(v[m * kWidth + j]);
#pragma GCC unroll 4
                for (int n = 0; n < Vecs; ++n) acc[m][n] = fma(row, column[n], acc[m][n]);
            }
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) store(t.p + n * t.p_block + m * kWidth, acc[m][n]);
    }
}

struct ProductFunctions {
    template <int Rows, int Vecs>
    static void function(const WinogradProduct& t) {
        multiply_tile<Rows, Vecs>(t);
    }
};

// The same for any number of tiles: `t` describes the first.
FASTCNN_INLINE void multiply_tiles(WinogradProduct t, std::int64_t tiles, int vecs) {
    const RowSplit split(tiles, max_tile_rows(vecs));
    t.next_step = vecs * kWidth / split.tiles;
    for (std::int64_t i = 0; i < split.tiles; ++i) {
        const int m = split.rows(i);
        function_of<ProductFunctions>(m, vecs)(t);
        t.v += m * kWidth;
        t.p += m * kWidth;
        t.next += t.next_step * t.channels;
    }
}

// Floats between the matrices of two products.
struct WinogradSteps {
    std::int64_t v, u, p;
};

// All products of a block of U's columns: `t` describes the first one and, as `next`, what of U follows the
// last.
FASTCNN_INLINE void multiply_block(WinogradProduct t, int products, const WinogradSteps& step,
                                   std::int64_t tiles, int vecs) {
    const float* const last = t.next;
    for (int k = 0; k < products; ++k, t.v += step.v, t.u += step.u, t.p += step.p) {
        t.next = k + 1 < products ? t.u + step.u : last;
        multiply_tiles(t, tiles, vecs);
    }
}

// Whether all numbers are finite that were added up; large sums may overflow.
FASTCNN_INLINE bool is_finite(Vec sum) { return bits(is_nan(sub(sum, sum))) == 0; }

// Whether all of v are finite.
template <int N>
FASTCNN_INLINE bool all_finite(const Vec* v) {
    Vec even = v[0], odd = v[1];
#pragma GCC unroll 50
    for (int i = 2; i + 1 < N; i += 2) {
        even = add(even, v[i]);
        odd = add(odd, v[i + 1]);
    }
    if constexpr (N % 2) even = add(even, v[N - 1]);
    return is_finite(add(even, odd));
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
