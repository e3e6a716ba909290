// The gradients of a 3x3 convolution by Winograd's method: the forward pass read backwards.
//
//   forward   y  = A^T [(G g G^T) * (B^T d B)] A
//   input     dd = B [(G g G^T) * (A dy A^T)] B^T        the tiles of dx overlap and are added
//   kernel    dg = G^T [(A dy A^T) * (B^T d B)] G        summed over tiles before the last transform
//
// with the tiles of the forward pass: no more products than there, where a convolution of dy with the flipped
// kernel would have the border's tiles on top. As in the forward pass, a result that is not finite is
// computed again, directly.
#include "kernels/rows.h"
#include "kernels/winograd.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// ------------------------------------------------------------------------------------------ input's gradient

// What both gradients share: dy's tiles.
template <int M>
struct Gradients {
    static constexpr int R = 3, A = M + R - 1, kProducts = A * A;
    using OutputTransposed = WinogradMatrix<M, R, Matrix::output, true>;

    const Conv2dShape& c;
    std::int64_t inputs, outputs;  // channels, padded to whole vectors
    WinogradTiles tiles;

    FASTCNN_INLINE explicit Gradients(const Conv2dShape& shape)
        : c(shape),
          inputs(packed_columns(shape.in_channels)),
          outputs(packed_columns(shape.out_channels)),
          tiles(shape, M, 0, shape.h.out, 0, shape.w.out) {}

    // Z = A dy A^T of tiles [first, first + count), [product][block of channels][tile of `chunk`][kWidth].
    FASTCNN_INLINE void transform_dy(const float* dy, std::int64_t dy_stride, std::int64_t first,
                                     std::int64_t count, std::int64_t chunk, float* z, std::int64_t z_step,
                                     float* patch) const {
        const Image image{c.h.out, c.w.out, c.out_channels};
        WinogradPlace place(tiles, first);
        for (std::int64_t t = 0; t < count; ++t, place.next(tiles))
            for (std::int64_t channel = 0; channel < c.out_channels; channel += kWidth) {
                OutputTransposed::transform(
                    read_tile<M>(dy + place.sample * dy_stride, image, place.row * M, place.column * M,
                                 channel, c.out_channels - channel, patch),
                    WriteProducts{z + channel * chunk + t * kWidth, z_step});
            }
    }
};

template <int M>
struct GradInput : Gradients<M> {
    using Base = Gradients<M>;
    using Base::A, Base::c, Base::inputs, Base::kProducts, Base::outputs, Base::R, Base::tiles;
    using Filter = WinogradMatrix<M, R, Matrix::filter, false>;
    using InputTransposed = WinogradMatrix<M, R, Matrix::input, true>;

    const Conv2dGradInput& g;
    ColumnBlocks blocks;  // of input channels
    std::int64_t chunk, u_step, z_step, p_step;

    FASTCNN_INLINE explicit GradInput(const Conv2dGradInput& args)
        : Base(args.shape),
          g(args),
          blocks(winograd_blocks<M>(c, c.in_channels)),
          chunk(winograd_chunk(args.batch * tiles.count(), kProducts * (outputs + blocks.width(0)),
                               kProducts * inputs * outputs, blocks.widest())),
          u_step(winograd_step(c.out_channels * inputs)),
          z_step(winograd_step(chunk * outputs)),
          p_step(winograd_step(chunk * blocks.width(0))) {}

    std::int64_t packed() const { return kProducts * u_step; }
    double cost() const {
        return winograd_cycles(A, g.batch * tiles.count(), chunk,
                               static_cast<double>(2 * inputs + outputs) / kWidth, c.out_channels,
                               inputs / kWidth);
    }
    std::int64_t scratch() const { return kProducts * (z_step + p_step) + kProducts * kWidth; }

    // U: [product][block of input channels][output channel][columns of the block]
    void pack(const float* weights, float* packed, int part, int parts) const {
        const std::int64_t across = outputs / kWidth, all = inputs / kWidth * across;
        std::int64_t block = 0;
        for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
            const std::int64_t first_in = i / across * kWidth, first_out = i % across * kWidth;
            while (first_in >= blocks.first(block + 1)) ++block;
            const std::int64_t width = blocks.width(block), column = first_in - blocks.first(block);
            const std::int64_t rows = min_of(kWidth, c.in_channels - first_in);
            const std::int64_t columns = min_of(kWidth, c.out_channels - first_out);
            alignas(64) float square[kWidth * kWidth], by_output[R * R][kWidth * kWidth];
            for (int k = 0; k < R * R; ++k) {
                const float* from = weights + (k * c.in_channels + first_in) * c.out_channels + first_out;
                for (std::int64_t r = 0; r < kWidth; ++r)
                    store(square + r * kWidth,
                          r < rows ? load_partial(from + r * c.out_channels, columns) : zero());
                transpose(square, kWidth, by_output[k], kWidth);
            }
            float* to = packed + blocks.first(block) * c.out_channels + first_out * width + column;
            for (std::int64_t o = 0; o < columns; ++o, to += width) {
                Vec w[R * R];
#pragma GCC unroll 9
                for (int k = 0; k < R * R; ++k) w[k] = load(by_output[k] + o * kWidth);
                Filter::transform(ReadArray<R>{w}, WriteProducts{to, u_step});
            }
        }
    }

    FASTCNN_INLINE void add_to_dx(std::int64_t first, std::int64_t count, std::int64_t block,
                                  const float* p) const {
        for (int n = 0; n < blocks.vecs(block); ++n) {
            const std::int64_t channel = blocks.first(block) + n * kWidth;
            const std::int64_t lanes = c.in_channels - channel;
            const float* from = p + n * chunk * kWidth;
            WinogradPlace place(tiles, first);
            for (std::int64_t t = 0; t < count; ++t, from += kWidth, place.next(tiles)) {
                Vec dx[A * A];
                InputTransposed::transform(ReadProducts{from, p_step}, WriteArray<A>{dx});
                if (!all_finite<A * A>(dx)) spread_directly(place, channel, lanes, dx);
                add_tile(place, channel, lanes, dx);
            }
        }
    }

    FASTCNN_INLINE void add_tile(const WinogradPlace& place, std::int64_t channel, std::int64_t lanes,
                                 const Vec* tile) const {
        const std::int64_t y0 = tiles.top + place.row * M, x0 = tiles.left + place.column * M;
        float* to = g.dx + place.sample * g.dx_stride + (y0 * c.w.in + x0) * c.in_channels + channel;
        if (y0 >= 0 && x0 >= 0 && y0 + A <= c.h.in && x0 + A <= c.w.in && lanes >= kWidth) {
#pragma GCC unroll 8
            for (int r = 0; r < A; ++r) {
#pragma GCC unroll 8
                for (int q = 0; q < A; ++q) {
                    float* at = to + (r * c.w.in + q) * c.in_channels;
                    store(at, add(load(at), tile[r * A + q]));
                }
            }
            return;
        }
        for (int r = 0; r < A; ++r)
            for (int q = 0; q < A; ++q) {
                if (y0 + r < 0 || y0 + r >= c.h.in || x0 + q < 0 || x0 + q >= c.w.in) continue;
                float* at = to + (r * c.w.in + q) * c.in_channels;
                store_partial(at, add(load_partial(at, lanes), tile[r * A + q]), min_of(lanes, kWidth));
            }
    }

    // What one tile of dy gives to its A x A pixels of dx, without Winograd.
    void spread_directly(const WinogradPlace& place, std::int64_t channel, std::int64_t lanes,
                         Vec* dx) const {
        for (int i = 0; i < A * A; ++i) dx[i] = zero();
        alignas(64) float weight[kWidth] = {};
        for (int i = 0; i < M * M; ++i) {
            const std::int64_t oy = place.row * M + i / M, ox = place.column * M + i % M;
            if (oy >= c.h.out || ox >= c.w.out) continue;
            const float* dy = g.dy + place.sample * g.dy_stride + (oy * c.w.out + ox) * c.out_channels;
            for (int tap = 0; tap < R * R; ++tap) {
                Vec& sum = dx[(i / M + tap / R) * A + i % M + tap % R];
                const float* w = g.weights + (tap * c.in_channels + channel) * c.out_channels;
                for (std::int64_t o = 0; o < c.out_channels; ++o) {
                    for (std::int64_t lane = 0; lane < min_of(lanes, kWidth); ++lane)
                        weight[lane] = w[lane * c.out_channels + o];
                    sum = fma(set1(dy[o]), load(weight), sum);
                }
            }
        }
    }

    FASTCNN_INLINE void clear_dx() const {
        for (std::int64_t s = 0; s < g.batch; ++s)
            std::memset(g.dx + s * g.dx_stride, 0,
                        static_cast<std::size_t>(c.h.in * c.w.in * c.in_channels) * sizeof(float));
    }

    FASTCNN_INLINE void run() const {
        float* z = g.scratch;
        float* p = z + kProducts * z_step;
        float* patch = p + kProducts * p_step;
        clear_dx();
        const std::int64_t all = g.batch * tiles.count();
        for (std::int64_t first = 0; first < all; first += chunk) {
            const std::int64_t count = min_of(chunk, all - first);
            this->transform_dy(g.dy, g.dy_stride, first, count, chunk, z, z_step, patch);
            for (std::int64_t block = 0; block < blocks.count; ++block) {
                multiply_block(
                    {z, g.kernel + blocks.first(block) * c.out_channels, p, chunk * kWidth, chunk * kWidth,
                     c.out_channels, g.kernel + blocks.first(block + 1) * c.out_channels},
                    kProducts, {z_step, u_step, p_step}, count, blocks.vecs(block));
                add_to_dx(first, count, block, p);
            }
        }
    }
};

// The same from the forward pass's transformed weights, for training: a step of few tiles spends more on
// weights of its own (transformed, written, read back from L2 or L3) than on its products. Here the rows of a
// product are input channels, and kWidth tiles lie in its lanes, for which Z and P are transposed. Sums run
// in the same order.
template <int M>
struct GradInputLanes : GradInput<M> {
    using Base = GradInput<M>;
    using Base::A, Base::blocks, Base::c, Base::chunk, Base::g, Base::kProducts, Base::outputs, Base::p_step,
        Base::tiles, Base::z_step;

    FASTCNN_INLINE explicit GradInputLanes(const Conv2dGradInput& args) : Base(args) {
        chunk = kWidth;
        z_step = winograd_step(kWidth * outputs);
        p_step = winograd_step(kWidth * blocks.width(0));
    }

    // Z, Z transposed, P, a P before its transposition and a patch.
    std::int64_t scratch() const {
        return kProducts * (2 * z_step + p_step) + kWidth * blocks.width(0) + kProducts * kWidth;
    }
    double cost() const {
        const double all = static_cast<double>(g.batch * tiles.count());
        const double channels = static_cast<double>(c.in_channels + c.out_channels);
        return Base::cost() * 1.1 + 6 * kProducts * all * channels / kWidth;
    }

    FASTCNN_INLINE void run() const {
        float* z = g.scratch;
        float* lanes = z + kProducts * z_step;
        float* p = lanes + kProducts * z_step;
        float* product = p + kProducts * p_step;
        float* patch = product + kWidth * blocks.width(0);
        this->clear_dx();
        const std::int64_t all = g.batch * tiles.count();
        for (std::int64_t first = 0; first < all; first += chunk) {
            const std::int64_t count = min_of(chunk, all - first);
            this->transform_dy(g.dy, g.dy_stride, first, count, chunk, z, z_step, patch);
            for (int k = 0; k < kProducts; ++k)
                for (std::int64_t channel = 0; channel < outputs; channel += kWidth)
                    transpose(z + k * z_step + channel * kWidth, kWidth,
                              lanes + k * z_step + channel * kWidth, kWidth);
            for (std::int64_t block = 0; block < blocks.count; ++block) {
                multiply_lanes(block, lanes, product, p);
                this->add_to_dx(first, count, block, p);
            }
        }
    }

    // P of a block of input channels, for all products.
    FASTCNN_INLINE void multiply_lanes(std::int64_t block, const float* lanes, float* product,
                                       float* p) const {
        const std::int64_t first = blocks.first(block), rows = blocks.lanes(block);
        const std::int64_t u_step = winograd_weights_step(c);
        const ColumnBlocks out = winograd_blocks<M>(c, c.out_channels);
        const std::int64_t width = out.width(0);  // of all its blocks
        Tap taps[kMaxBlocks];
        Tile t;
        t.taps = taps;
        t.tap_count = out.count;
        for (std::int64_t i = 0; i < t.tap_count; ++i)
            taps[i] = {i * width * c.in_channels, i * width * kWidth};
        t.depth = t.a_step = width;
        t.columns = t.c_step = kWidth;
        t.c = product;
        // Channels that fill up the last vector, which whoever looks for NaN sees too.
        std::memset(product + rows * kWidth, 0,
                    static_cast<std::size_t>((packed_columns(rows) - rows) * kWidth) * sizeof(float));
        for (int k = 0; k < kProducts; ++k) {
            t.a = g.kernel + k * u_step + first * width;
            t.b = lanes + k * z_step;
            run_rows(t, rows, 1);
            for (std::int64_t row = 0; row < rows; row += kWidth)
                transpose(product + row * kWidth, kWidth, p + k * p_step + row * kWidth, kWidth);
        }
    }

    static constexpr std::int64_t kMaxBlocks = 64;
};

template <int M>
const char* lanes_declines(const Conv2dGradInput& g) {
    if (const char* reason = winograd_declines<M>(g.shape)) return reason;
    const ColumnBlocks out = winograd_blocks<M>(g.shape, g.shape.out_channels);
    if (!out.even() || out.count > GradInputLanes<M>::kMaxBlocks)
        return "output channels do not fill even blocks, or too many";
    return nullptr;
}

template <int M>
std::int64_t lanes_packed(const Conv2dGradInput& g) {
    return winograd_packed<M>(g.shape);
}

template <int M>
void lanes_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    winograd_pack<M>(g.shape, weights, packed, part, parts);
}

template <int M>
std::int64_t lanes_scratch(const Conv2dGradInput& g) {
    return GradInputLanes<M>(g).scratch();
}

template <int M>
double lanes_cost(const Conv2dGradInput& g) {
    return GradInputLanes<M>(g).cost();
}

template <int M>
void lanes_run(const Conv2dGradInput& g) {
    GradInputLanes<M>(g).run();
}

template <int M>
const char* grad_input_declines(const Conv2dGradInput& g) {
    return winograd_declines<M>(g.shape);
}

template <int M>
std::int64_t grad_input_packed(const Conv2dGradInput& g) {
    return GradInput<M>(g).packed();
}

template <int M>
void grad_input_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    GradInput<M>(g).pack(weights, packed, part, parts);
}

template <int M>
std::int64_t grad_input_scratch(const Conv2dGradInput& g) {
    return GradInput<M>(g).scratch();
}

template <int M>
double grad_input_cost(const Conv2dGradInput& g) {
    return GradInput<M>(g).cost();
}

template <int M>
void grad_input_run(const Conv2dGradInput& g) {
    GradInput<M>(g).run();
}

// ----------------------------------------------------------------------------------------- kernel's gradient

// As many as each of the fewest chunks needs.
FASTCNN_INLINE std::int64_t even_chunk(std::int64_t all, std::int64_t most) {
    return ceil_div(all, ceil_div(all, most));
}

// Tiles of a chunk at most, of `tile` floats each: those of x and dy in L2 beside the kernel's gradient, of
// which there is 1 MB or more where there is AVX-512, but some in any case, since every chunk ends in a
// transform of all sums.
FASTCNN_INLINE std::int64_t most_gradient_tiles(std::int64_t all, std::int64_t tile) {
    constexpr std::int64_t kFloats = (kWidth < 16 ? 160 : 240) * 1024, kLeast = 16;
    return min_of(all, max_of(kLeast, kFloats / tile));
}

// C[m][n] = sum over tiles of V[tile][m] * Z[tile][n]; rows of V and Z are kWidth floats, vector n of Z is
// z_block floats away.
struct WinogradOuter {
    const float* v;
    const float* z;
    std::int64_t z_block, tiles;
    float* c;  // Rows x (Vecs * kWidth)
};

template <int Rows, int Vecs>
void multiply_outer(const WinogradOuter& t) {
    Vec acc[Rows][Vecs];
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) acc[m][n] = zero();
    }
    const float* v = t.v;
    const float* z = t.z;
#pragma GCC unroll 2
    for (std::int64_t i = 0; i < t.tiles; ++i, v += kWidth, z += kWidth) {
        Vec column[Vecs];
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) column[n] = load(z + n * t.z_block);
#pragma GCC unroll 16
        for (int m = 0; m < Rows; ++m) {
            const Vec row = set1(v[m]);
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) acc[m][n] = fma(row, column[n], acc[m][n]);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) store(t.c + (m * Vecs + n) * kWidth, acc[m][n]);
    }
}

struct WinogradOuterFunctions {
    template <int Rows, int Vecs>
    static void function(const WinogradOuter& t) {
        multiply_outer<Rows, Vecs>(t);
    }
};

template <int M>
struct GradKernel : Gradients<M> {
    using Base = Gradients<M>;
    using Base::A, Base::c, Base::inputs, Base::kProducts, Base::outputs, Base::R, Base::tiles;
    using Input = WinogradMatrix<M, R, Matrix::input, false>;
    using FilterTransposed = WinogradMatrix<M, R, Matrix::filter, true>;

    const Conv2dGradKernel& g;
    ColumnBlocks blocks;  // of output channels
    // Shared out evenly, so that fewer samples may have the larger chunks: memory is for the largest.
    std::int64_t most, chunk, v_step, z_step;
    static constexpr std::int64_t kSums = kAccumulators * kWidth;  // of one product

    FASTCNN_INLINE explicit GradKernel(const Conv2dGradKernel& args)
        : Base(args.shape),
          g(args),
          blocks(c.out_channels),
          most(most_gradient_tiles(args.batch * tiles.count(), kProducts * (inputs + outputs))),
          chunk(even_chunk(args.batch * tiles.count(), most)),
          v_step(winograd_step(chunk * inputs)),
          z_step(winograd_step(chunk * outputs)) {}

    std::int64_t scratch() const {
        return kProducts * (winograd_step(most * inputs) + winograd_step(most * outputs) + kSums + kWidth);
    }
    // The last transform belongs to each chunk: a tile's share of it is written as more transformed vectors.
    double cost() const {
        const double taps =
            static_cast<double>(c.in_channels * outputs / kWidth) / static_cast<double>(chunk);
        return winograd_cycles(A, g.batch * tiles.count(), g.batch * tiles.count(),
                               static_cast<double>((inputs + outputs) / kWidth) + taps, c.in_channels,
                               outputs / kWidth);
    }

    FASTCNN_INLINE void transform_x(std::int64_t first, std::int64_t count, float* v, float* patch) const {
        const Image image{c.h.in, c.w.in, c.in_channels};
        WinogradPlace place(tiles, first);
        for (std::int64_t t = 0; t < count; ++t, place.next(tiles))
            for (std::int64_t channel = 0; channel < c.in_channels; channel += kWidth) {
                Input::transform(
                    read_tile<A>(g.x + place.sample * g.x_stride, image, tiles.top + place.row * M,
                                 tiles.left + place.column * M, channel, c.in_channels - channel, patch),
                    WriteProducts{v + channel * chunk + t * kWidth, v_step});
            }
    }

    // Taps of one input channel and one vector of output channels, from the sums of their products.
    FASTCNN_INLINE void add_taps(std::int64_t first, std::int64_t count, std::int64_t in, std::int64_t out,
                                 const float* sums, bool accumulate) const {
        Vec taps[R * R];
        FilterTransposed::transform(ReadProducts{sums, kSums}, WriteArray<R>{taps});
        if (!all_finite<R * R>(taps)) sum_directly(first, count, in, out, taps);
        const std::int64_t lanes = c.out_channels - out;
        float* to = g.dkernel + in * c.out_channels + out;
#pragma GCC unroll 9
        for (int k = 0; k < R * R; ++k, to += c.in_channels * c.out_channels) {
            if (lanes >= kWidth)
                store(to, accumulate ? add(load(to), taps[k]) : taps[k]);
            else
                store_partial(to, accumulate ? add(load_partial(to, lanes), taps[k]) : taps[k], lanes);
        }
    }

    void sum_directly(std::int64_t first, std::int64_t count, std::int64_t in, std::int64_t out,
                      Vec* taps) const {
        for (int k = 0; k < R * R; ++k) taps[k] = zero();
        WinogradPlace place(tiles, first);
        for (std::int64_t t = 0; t < count; ++t, place.next(tiles))
            for (int i = 0; i < M * M; ++i) {
                const std::int64_t oy = place.row * M + i / M, ox = place.column * M + i % M;
                if (oy >= c.h.out || ox >= c.w.out) continue;
                const Vec dy = load_partial(
                    g.dy + place.sample * g.dy_stride + (oy * c.w.out + ox) * c.out_channels + out,
                    min_of(c.out_channels - out, kWidth));
                for (int k = 0; k < R * R; ++k) {
                    const std::int64_t iy = c.h.begin(oy) + k / R, ix = c.w.begin(ox) + k % R;
                    if (iy < 0 || iy >= c.h.in || ix < 0 || ix >= c.w.in) continue;
                    const float x = g.x[place.sample * g.x_stride + (iy * c.w.in + ix) * c.in_channels + in];
                    taps[k] = fma(set1(x), dy, taps[k]);
                }
            }
    }

    FASTCNN_INLINE void run() const {
        float* v = g.scratch;
        float* z = v + kProducts * v_step;
        float* sums = z + kProducts * z_step;
        float* patch = sums + kProducts * kSums;
        const std::int64_t all = g.batch * tiles.count();
        for (std::int64_t first = 0; first < all; first += chunk) {
            const std::int64_t count = min_of(chunk, all - first);
            transform_x(first, count, v, patch);
            this->transform_dy(g.dy, g.dy_stride, first, count, chunk, z, z_step, patch);
            for (std::int64_t in = 0; in < c.in_channels; in += kWidth)
                for (std::int64_t block = 0; block < blocks.count; ++block)
                    sum_block(first, count, in, block, v, z, sums, g.accumulate || first > 0);
        }
        if (g.dbias)
            sum_columns(g.dy, g.batch, g.dy_stride, c.h.out * c.w.out, c.out_channels, g.accumulate, g.dbias);
    }

    // kWidth input channels from `in`, a block of output channels.
    FASTCNN_INLINE void sum_block(std::int64_t first, std::int64_t count, std::int64_t in, std::int64_t block,
                                  const float* v, const float* z, float* sums, bool accumulate) const {
        const int vecs = blocks.vecs(block);
        const std::int64_t out = blocks.first(block), last = min_of(kWidth, c.in_channels - in);
        const RowSplit split(last, max_tile_rows(vecs));
        for (std::int64_t tile = 0, row = 0; tile < split.tiles; ++tile) {
            const int rows = split.rows(tile);
            const auto multiply = function_of<WinogradOuterFunctions>(rows, vecs);
            for (int k = 0; k < kProducts; ++k)
                multiply({v + k * v_step + in * chunk + row, z + k * z_step + out * chunk, chunk * kWidth,
                          count, sums + k * kSums});
            for (int m = 0; m < rows; ++m, ++row)
                for (int n = 0; n < vecs; ++n)
                    add_taps(first, count, in + row, out + n * kWidth, sums + (m * vecs + n) * kWidth,
                             accumulate);
        }
    }
};

// Tiles overlap: all rows.
std::int64_t grad_input_row_unit(const Conv2dGradInput& g) { return g.shape.h.in; }

template <int M>
const char* grad_kernel_declines(const Conv2dGradKernel& g) {
    return winograd_declines<M>(g.shape);
}

template <int M>
std::int64_t grad_kernel_scratch(const Conv2dGradKernel& g) {
    return GradKernel<M>(g).scratch();
}

template <int M>
double grad_kernel_cost(const Conv2dGradKernel& g) {
    return GradKernel<M>(g).cost();
}

template <int M>
void grad_kernel_run(const Conv2dGradKernel& g) {
    GradKernel<M>(g).run();
}

template <int M>
constexpr Kernel<Conv2dGradInput> grad_input_kernel() {
    if constexpr (kCompiled<M>)
        return {grad_input_run<M>,  grad_input_declines<M>, grad_input_scratch<M>, grad_input_packed<M>,
                grad_input_pack<M>, grad_input_cost<M>,     grad_input_row_unit};
    else
        return kNotCompiled<Conv2dGradInput>;
}

template <int M>
constexpr Kernel<Conv2dGradInput> lanes_kernel(const char* layout) {
    if constexpr (kCompiled<M>)
        return {lanes_run<M>,  lanes_declines<M>, lanes_scratch<M>,    lanes_packed<M>,
                lanes_pack<M>, lanes_cost<M>,     grad_input_row_unit, layout};
    else
        return kNotCompiled<Conv2dGradInput>;
}

template <int M>
constexpr Kernel<Conv2dGradKernel> grad_kernel_kernel() {
    if constexpr (kCompiled<M>)
        return {grad_kernel_run<M>, grad_kernel_declines<M>, grad_kernel_scratch<M>, nullptr, nullptr,
                grad_kernel_cost<M>};
    else
        return kNotCompiled<Conv2dGradKernel>;
}

}  // namespace

#define FASTCNN_WINOGRAD(M)                                                               \
    const Kernel<Conv2dGradInput> conv2d_grad_input_winograd##M = grad_input_kernel<M>(); \
    const Kernel<Conv2dGradKernel> conv2d_grad_kernel_winograd##M = grad_kernel_kernel<M>();
FASTCNN_WINOGRAD(2)
FASTCNN_WINOGRAD(3)
FASTCNN_WINOGRAD(4)
FASTCNN_WINOGRAD(5)
#undef FASTCNN_WINOGRAD

#define FASTCNN_WINOGRAD_LANES(M) \
    const Kernel<Conv2dGradInput> conv2d_grad_input_winograd##M##_lanes = lanes_kernel<M>("winograd" #M);
FASTCNN_WINOGRAD_LANES(3)
FASTCNN_WINOGRAD_LANES(4)
#undef FASTCNN_WINOGRAD_LANES

}  // namespace fastcnn::FASTCNN_ISA
