// Gradient of the kernel of a convolution of images with one to four channels by Winograd's method along the
// image's rows (winograd_rows.h): the forward pass's transforms, transposed.
//
//   dkernel = filter^T [sum over tiles of (output^T dy) * (input^T x)]
//
// Sums of each product are kept for all rows of the kernel and channels, and transformed once at the end. A
// gradient that is not finite is computed again, directly.
#include "kernels/rows.h"
#include "kernels/winograd_rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kLine = 16;  // floats of a cache line

// Tiles taken together at least: enough to pay for loading and storing the sums.
constexpr std::int64_t kBandTiles = 96;

// The kernel's rows that are taken together: two vectors of sums of each line of theirs, and a pointer to a
// pair of lines, are what registers hold.
constexpr int kMostRowsAtOnce = 4;
FASTCNN_INLINE constexpr int rows_at_once(std::int64_t lines) {
    return lines < 3 ? kMostRowsAtOnce : lines < 5 ? 3 : lines < 8 ? 2 : 1;
}

// Sums of one product and some rows of the kernel, over some rows of one sample's output.
struct RowSums {
    // The transformed image's rows by rows of the output and of the kernel, at the first line and tile.
    const float* v[kBandTiles][kMostRowsAtOnce];
    std::int64_t of_pair = 0;
    std::int64_t number = 0;   // of a tile's floats: where the product's begin
    const float* z = nullptr;  // the same of dy
    std::int64_t z_tile = 0, z_row = 0;
    std::int64_t rows = 0, tiles = 0;
    float* sums = nullptr;
    std::int64_t sums_row = 0;  // between the kernel's rows
    // Part of the next rows of dy, fetched into L2 meanwhile.
    const float* ahead = nullptr;
    std::int64_t ahead_step = 0;
};

template <int Rows, int Lines, int Vecs>
void add_products(const RowSums& t) {
    constexpr int kPairs = (Lines + 1) / 2;
    Vec acc[Rows][Lines][Vecs];
#pragma GCC unroll 4
    for (int j = 0; j < Rows; ++j) {
#pragma GCC unroll 8
        for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) acc[j][l][n] = zero();
        }
    }
    const float* ahead = t.ahead;
    for (std::int64_t row = 0; row < t.rows; ++row) {
        const float* z = t.z + row * t.z_row;
        const float* v[Rows][kPairs];
#pragma GCC unroll 4
        for (int j = 0; j < Rows; ++j) {
#pragma GCC unroll 4
            for (int p = 0; p < kPairs; ++p) v[j][p] = t.v[row][j] + t.number + p * t.of_pair;
        }
        for (std::int64_t tile = 0; tile < t.tiles; ++tile, z += t.z_tile) {
            __builtin_prefetch(ahead, 0, 2);
            // Where few passes, which do much, have to fetch everything, a step is more than a line.
            if (Rows * Lines > 6) __builtin_prefetch(ahead + kLine, 0, 2);
            ahead += t.ahead_step;
            Vec g[Vecs];
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) g[n] = in_register(load(z + n * kWidth));
#pragma GCC unroll 4
            for (int j = 0; j < Rows; ++j) {
#pragma GCC unroll 8
                for (int l = 0; l < Lines; ++l) {
                    const Vec number = set1(v[j][l / 2][tile * kRowTile + l % 2]);
#pragma GCC unroll 2
                    for (int n = 0; n < Vecs; ++n) acc[j][l][n] = fma(number, g[n], acc[j][l][n]);
                }
            }
        }
    }
    // Added last: a long sum cut into parts rounds less than one run through all its terms.
#pragma GCC unroll 4
    for (int j = 0; j < Rows; ++j) {
#pragma GCC unroll 8
        for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n) {
                float* to = t.sums + j * t.sums_row + (l * Vecs + n) * kWidth;
                store(to, add(load(to), acc[j][l][n]));
            }
        }
    }
}

using RowSumsFunction = void (*)(const RowSums&);

template <int Vecs, int Lines, int Rows = rows_at_once(Lines)>
RowSumsFunction sums_function_of(std::int64_t rows) {
    if constexpr (Rows > 1)
        if (rows < Rows) return sums_function_of<Vecs, Lines, Rows - 1>(rows);
    return add_products<Rows, Lines, Vecs>;
}

// Lines of a kernel's row: one or two phases, one to four channels.
template <int Vecs>
RowSumsFunction sums_function(std::int64_t rows, std::int64_t lines) {
    return lines == 2   ? sums_function_of<Vecs, 2>(rows)
           : lines == 3 ? sums_function_of<Vecs, 3>(rows)
           : lines == 4 ? sums_function_of<Vecs, 4>(rows)
           : lines == 6 ? sums_function_of<Vecs, 6>(rows)
                        : sums_function_of<Vecs, 8>(rows);
}

template <int T>
struct RowGradKernel : RowTiles<T> {
    using Base = RowTiles<T>;
    using Base::A, Base::c, Base::lines, Base::M, Base::of_pair, Base::tiles;
    using FilterTransposed = WinogradMatrix<M, T, Matrix::filter, true>;
    using OutputTransposed = WinogradMatrix<M, T, Matrix::output, true>;

    const Conv2dGradKernel& g;
    std::int64_t z_step;     // floats of one product's numbers of dy
    std::int64_t of_column;  // sums of an output channel

    // Rows of the output taken together. They are shared out evenly, so that fewer rows may want more memory.
    FASTCNN_INLINE static std::int64_t band(const Conv2dShape& c) {
        const std::int64_t enough = ceil_div(kBandTiles, ceil_div(c.w.out, M));
        return ceil_div(c.h.out, ceil_div(c.h.out, enough));
    }

    FASTCNN_INLINE explicit RowGradKernel(const Conv2dGradKernel& args)
        : Base(args.shape, args.shape.w.out, band(args.shape)),
          g(args),
          z_step(winograd_step(band(c) * tiles * kPairWidth)),
          of_column(A * c.h.size * lines) {}

    // Transformed rows of x and of dy, the sums, dy's own sums.
    std::int64_t scratch() const {
        return Base::scratch() + A * z_step + (of_column + 1) * packed_columns(c.out_channels);
    }

    // The position of a tile whose dy is what product k takes, or -1: the points 0 and infinity.
    FASTCNN_INLINE static constexpr int taken_as_it_is(int k) {
        int position = -1;
        for (int m = 0; m < M; ++m) {
            if (OutputTransposed::at(k, m) == 0) continue;
            if (OutputTransposed::at(k, m) != 1 || position >= 0) return -1;
            position = m;
        }
        return position;
    }

    // A block's columns of some rows of dy, transformed: [product][row][tile][column]. Whole: all columns are
    // there, and products that are dy itself are left out. Adds up dy.
    template <int Vecs, bool Whole, bool Bias>
    void transform_dy(const float* dy, std::int64_t rows, std::int64_t lanes, float* z, float* dbias) const {
        const std::int64_t columns = c.w.out, channels = c.out_channels, step = z_step;
        Vec sum[Vecs];
#pragma GCC unroll 2
        for (int n = 0; n < Vecs; ++n) sum[n] = zero();
        for (std::int64_t row = 0; row < rows; ++row, dy += columns * channels)
            for (std::int64_t ox = 0; ox < columns; ox += M, z += Vecs * kWidth) {
                const float* from = dy + ox * channels;
                const bool inside = ox + M <= columns;
#pragma GCC unroll 2
                for (int n = 0; n < Vecs; ++n) {
                    Vec d[M], products[A];
#pragma GCC unroll 4
                    for (int m = 0; m < M; ++m) {
                        const float* at = from + m * channels + n * kWidth;
                        if (!inside && ox + m >= columns)
                            d[m] = zero();
                        else
                            d[m] = Whole ? load(at) : load_partial(at, lanes - n * kWidth);
                        if (Bias) sum[n] = add(sum[n], d[m]);
                    }
                    OutputTransposed::apply(d, 1, products);
#pragma GCC unroll 8
                    for (int k = 0; k < A; ++k)
                        if (!Whole || taken_as_it_is(k) < 0) store(z + k * step + n * kWidth, products[k]);
                }
            }
#pragma GCC unroll 2
        for (int n = 0; Bias && n < Vecs; ++n) {
            float* to = dbias + n * kWidth;
            store(to, add(load(to), sum[n]));
        }
    }

    // Adds the products of a block's columns with some rows of the transformed image.
    template <int Vecs>
    FASTCNN_INLINE void add_block(const float* v, const float* dy, std::int64_t oy, std::int64_t lanes,
                                  float* z, float* sums, float* dbias, RowSums& t) const {
        const bool whole = lanes >= Vecs * kWidth;
        if (g.dbias)
            whole ? transform_dy<Vecs, true, true>(dy, t.rows, lanes, z, dbias)
                  : transform_dy<Vecs, false, true>(dy, t.rows, lanes, z, dbias);
        else
            whole ? transform_dy<Vecs, true, false>(dy, t.rows, lanes, z, dbias)
                  : transform_dy<Vecs, false, false>(dy, t.rows, lanes, z, dbias);
        const RowSplit split(c.h.size, rows_at_once(lines));
        std::int64_t ky = 0;
        t.sums_row = A * lines * Vecs * kWidth;
        for (std::int64_t i = 0; i < split.tiles; ++i) {
            const int rows = split.rows(i);
            const RowSumsFunction function = sums_function<Vecs>(rows, lines);
            for (std::int64_t r = 0; r < t.rows; ++r)
                for (int j = 0; j < rows; ++j)
                    t.v[r][j] = this->slot(v, (oy + r) * c.h.stride + (ky + j) * c.h.dilation);
            for (int k = 0; k < A; ++k) {
                const int position = whole ? taken_as_it_is(k) : -1;
                t.number = 2 * k;
                t.sums = sums + ky * t.sums_row + k * lines * Vecs * kWidth;
                if (position < 0) {
                    t.z = z + k * z_step;
                    t.tiles = tiles;
                    t.z_tile = Vecs * kWidth;
                    t.z_row = tiles * t.z_tile;
                } else {
                    t.z = dy + position * c.out_channels;
                    t.tiles = ceil_div(c.w.out - position, M);
                    t.z_tile = M * c.out_channels;
                    t.z_row = c.w.out * c.out_channels;
                }
                function(t);
                t.ahead += t.rows * t.tiles * t.ahead_step;
            }
            ky += rows;
        }
    }

    // Transforms the sums into taps, where they lie, and tells whether all are finite. Sums of a block:
    // [kernel row][product or tap][line][column].
    FASTCNN_INLINE bool finish(float* sums) const {
        Vec all = zero();
        for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
            const std::int64_t step = lines * pair_vecs(c.out_channels, block) * kWidth;
            for (std::int64_t ky = 0; ky < c.h.size; ++ky) {
                float* of_row = sums + block * kPairWidth * of_column + ky * A * step;
                for (float* at = of_row; at < of_row + step; at += kWidth) {
                    Vec products[A], taps[T];
#pragma GCC unroll 8
                    for (int k = 0; k < A; ++k) products[k] = load(at + k * step);
                    FilterTransposed::apply(products, 1, taps);
#pragma GCC unroll 4
                    for (int j = 0; j < T; ++j) {
                        store(at + j * step, taps[j]);
                        all = add(all, taps[j]);
                    }
                }
            }
        }
        return is_finite(all);
    }

    FASTCNN_INLINE void put(float* to, const float* from, std::int64_t count) const {
        for (std::int64_t o = 0; o < count; o += kWidth) {
            const Vec v = load(from + o);
            store_partial(to + o, g.accumulate ? add(load_partial(to + o, count - o), v) : v, count - o);
        }
    }

    FASTCNN_INLINE void write(const float* sums, const float* dbias) const {
        for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
            const std::int64_t channel = block * kPairWidth,
                               width = pair_vecs(c.out_channels, block) * kWidth;
            const std::int64_t lanes = min_of(c.out_channels - channel, width);
            for (std::int64_t ky = 0; ky < c.h.size; ++ky)
                for (std::int64_t kx = 0; kx < c.w.size; ++kx)
                    for (std::int64_t i = 0; i < c.in_channels; ++i) {
                        const std::int64_t line = kx % c.w.stride * c.in_channels + i;
                        put(g.dkernel + ((ky * c.w.size + kx) * c.in_channels + i) * c.out_channels + channel,
                            sums + channel * of_column + ((ky * A + kx / c.w.stride) * lines + line) * width,
                            lanes);
                    }
        }
        if (g.dbias) put(g.dbias, dbias, c.out_channels);
    }

    FASTCNN_INLINE void run() const {
        float* v = g.scratch;
        this->begin(v);
        float* z = v + Base::scratch();
        float* sums = z + A * z_step;
        float* dbias = sums + of_column * packed_columns(c.out_channels);
        std::memset(
            sums, 0,
            static_cast<std::size_t>((of_column + 1) * packed_columns(c.out_channels)) * sizeof(float));
        const std::int64_t most = band(c), of_dy = c.w.out * c.out_channels;
        RowSums t;
        t.of_pair = of_pair;
        t.ahead_step = ceil_div(M * c.out_channels,
                                pair_count(c.out_channels) * ceil_div(c.h.size, rows_at_once(lines)) * A);
        for (std::int64_t s = 0; s < g.batch; ++s) {
            std::int64_t ready = 0;
            for (std::int64_t oy = 0; oy < c.h.out; oy += most) {
                const std::int64_t rows = min_of(most, c.h.out - oy), first = oy * c.h.stride;
                const float* dy = g.dy + s * g.dy_stride + oy * of_dy;
                t.rows = rows;
                t.ahead = dy + rows * of_dy;
                this->transform_rows(g.x + s * g.x_stride, first,
                                     first + (rows - 1) * c.h.stride + c.h.extent(), v, ready);
                for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
                    const std::int64_t channel = block * kPairWidth, lanes = c.out_channels - channel;
                    float* of_block = sums + channel * of_column;
                    pair_vecs(c.out_channels, block) == kPairVecs
                        ? add_block<2>(v, dy + channel, oy, lanes, z, of_block, dbias + channel, t)
                        : add_block<1>(v, dy + channel, oy, lanes, z, of_block, dbias + channel, t);
                }
            }
        }
        if (finish(sums))
            write(sums, dbias);
        else
            conv2d_grad_kernel_direct.run(g);
    }
};

const char* declines(const Conv2dGradKernel& g) {
    return kManyRegisters ? rows_declines(g.shape, g.shape.w.out) : "too few registers";
}

std::int64_t scratch(const Conv2dGradKernel& g) {
    const std::int64_t floats = of_rows<RowGradKernel>(g, [](const auto& pass) { return pass.scratch(); });
    return max_of(floats, conv2d_grad_kernel_direct.scratch(g));
}

void run(const Conv2dGradKernel& g) {
    of_rows<RowGradKernel>(g, [](const auto& pass) { pass.run(); });
}

}  // namespace

const Kernel<Conv2dGradKernel> conv2d_grad_kernel_winograd_rows = {run, declines, scratch};

}  // namespace fastcnn::FASTCNN_ISA
