// 3x3 convolution forward by Winograd's method, with bias, ReLU and 2x2 max pooling fused.
//
// Tiles of all samples of the block are the rows of A * A matrix products (channels in x channels out). A
// chunk of them at a time is transformed (V), multiplied by the transformed kernel (U), one block of output
// channels after the other (so that the products of a block, P, stay in L1 or L2 until they are transformed
// back), and leaves as finished outputs: a tile holds whole pooling windows.
//
// The transforms add and subtract inputs that an output does not depend on: an infinity among them would
// spoil the whole tile. A tile with a result that is not finite is therefore computed again, directly.
#include "kernels/winograd.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Tiles are transformed back and written by cells of Cell x Cell: pooling windows straddle tiles of an odd M,
// and cells of 2 x 2 hold whole ones.
template <int M, int Cell>
struct Forward {
    static constexpr int R = 3, A = M + R - 1, kProducts = A * A;
    static constexpr int kTiles = Cell * Cell, E = M * Cell;  // of a cell: tiles, outputs each way
    using Input = WinogradMatrix<M, R, Matrix::input, false>;
    using Filter = WinogradMatrix<M, R, Matrix::filter, false>;
    using Output = WinogradMatrix<M, R, Matrix::output, false>;

    const Conv2dForward& f;
    const Conv2dShape& c;
    std::int64_t inputs, outputs;  // channels, padded to whole vectors
    ColumnBlocks blocks;           // of output channels
    WinogradTiles tiles;
    std::int64_t chunk;                   // tiles at a time
    bool row;                             // the only tile: its products by all blocks at a time
    std::int64_t u_step, v_step, p_step;  // between the matrices of two products

    FASTCNN_INLINE explicit Forward(const Conv2dForward& args)
        : f(args),
          c(args.shape),
          inputs(packed_columns(c.in_channels)),
          outputs(packed_columns(c.out_channels)),
          blocks(winograd_blocks<M>(c, c.out_channels)),
          tiles(c, M, f.pooled ? f.pool.h.begin(0) : 0, f.pooled ? 2 * f.pool.h.out : c.h.out,
                f.pooled ? f.pool.w.begin(0) : 0, f.pooled ? 2 * f.pool.w.out : c.w.out, Cell),
          chunk(winograd_chunk(args.batch * tiles.count(), kProducts * (inputs + blocks.width(0)),
                               kProducts * inputs * outputs, blocks.widest(), kTiles)),
          row(args.batch * tiles.count() == 1 && blocks.vectors == kPairVecs * blocks.count),
          u_step(winograd_weights_step(c)),
          v_step(winograd_step(chunk * inputs)),
          p_step(winograd_step(row ? outputs : chunk * blocks.width(0))) {}

    double cost() const {
        return winograd_cycles(A, f.batch * tiles.count(), chunk,
                               static_cast<double>((inputs + outputs) / kWidth), c.in_channels,
                               outputs / kWidth);
    }
    // A single sample may be a single tile.
    std::int64_t scratch() const {
        const std::int64_t of_row = winograd_step(inputs) + winograd_step(outputs);
        return kProducts * (max_of(v_step + p_step, of_row) + kWidth);
    }

    FASTCNN_INLINE void transform_inputs(std::int64_t first, std::int64_t count, float* v,
                                         float* patch) const {
        const Image image{c.h.in, c.w.in, c.in_channels};
        WinogradPlace place(tiles, first);
        for (std::int64_t t = 0; t < count; ++t, place.next(tiles)) {
            const float* x = f.x + place.sample * f.x_stride;
            for (std::int64_t channel = 0; channel < c.in_channels; channel += kWidth) {
                Input::transform(
                    read_tile<A>(x, image, tiles.top + place.row * M, tiles.left + place.column * M, channel,
                                 c.in_channels - channel, patch),
                    WriteProducts{v + channel * chunk + t * kWidth, v_step});
            }
        }
    }

    // Tiles of `block`, from their products to y.
    FASTCNN_INLINE void transform_outputs(std::int64_t first, std::int64_t count, std::int64_t block,
                                          const float* p) const {
        for (int n = 0; n < blocks.vecs(block); ++n) {
            const std::int64_t channel = blocks.first(block) + n * kWidth, lanes = c.out_channels - channel;
            const Vec bias = f.bias ? load_partial(f.bias + channel, min_of(lanes, kWidth)) : zero();
            const float* from = p + n * chunk * kWidth;
            WinogradPlace place(tiles, first);
            for (std::int64_t t = 0; t < count; t += kTiles, place.next_cell(tiles)) {
                Vec y[E * E];
                for (int i = 0; i < kTiles; ++i, from += kWidth)
                    Output::transform(ReadProducts{from, p_step},
                                      WriteArray<E>{y + (i / Cell * E + i % Cell) * M});
                if (!all_finite<E * E>(y)) {
                    convolve_directly(place, channel, bias, lanes);
                    continue;
                }
                if (f.pooled)
                    write_pooled<false>(place, channel, lanes, bias, y);
                else
                    write(place, channel, lanes, bias, y);
            }
        }
    }

    FASTCNN_INLINE void write(const WinogradPlace& place, std::int64_t channel, std::int64_t lanes, Vec bias,
                              const Vec* y) const {
        const std::int64_t oy = place.row * M, ox = place.column * M;
        float* out = f.y + place.sample * f.y_stride + (oy * c.w.out + ox) * c.out_channels + channel;
#pragma GCC unroll 5
        for (int r = 0; r < M; ++r) {
            if (oy + r >= c.h.out) break;
#pragma GCC unroll 5
            for (int q = 0; q < M; ++q) {
                if (ox + q >= c.w.out) break;
                const Vec sum = add(y[r * M + q], bias), v = f.relu ? max(zero(), sum) : sum;
                float* to = out + (r * c.w.out + q) * c.out_channels;
                if (lanes >= kWidth)
                    store(to, v);
                else
                    store_partial(to, v, lanes);
            }
        }
    }

    // Where `Specials`, y may hold NaN, which wins.
    template <bool Specials>
    FASTCNN_INLINE void write_pooled(const WinogradPlace& place, std::int64_t channel, std::int64_t lanes,
                                     Vec bias, const Vec* y) const {
        constexpr int windows = E / 2;
        const std::int64_t py = place.row / Cell * windows, px = place.column / Cell * windows;
        const std::int64_t rows = min_of(windows, f.pool.h.out - py);
        const std::int64_t columns = min_of(windows, f.pool.w.out - px);
#pragma GCC unroll 2
        for (int r = 0; r < windows; ++r) {
            if (r >= rows) break;
            std::int64_t at = ((py + r) * f.pool.w.out + px) * c.out_channels + channel;
            const Vec* window = y + 2 * r * E;
#pragma GCC unroll 2
            for (int q = 0; q < windows; ++q, window += 2, at += c.out_channels) {
                if (q >= columns) break;
                const Vec other[3] = {window[1], window[E], window[E + 1]};
                Vec best = window[0];
                IVec slot = iset1(0);
#pragma GCC unroll 3
                for (int k = 0; k < 3; ++k) {
                    const Mask greater = gt(other[k], best);
                    const Mask better = Specials ? mask_or(greater, is_nan(other[k])) : greater;
                    best = Specials ? select(better, other[k], best) : max(best, other[k]);
                    slot = iselect(better, iset1(k + 1), slot);
                }
                best = add(best, bias);
                if (f.relu) best = max(zero(), best);
                float* to = f.y + place.sample * f.y_stride + at;
                if (lanes >= kWidth)
                    store(to, best);
                else
                    store_partial(to, best, lanes);
                if (f.argmax)
                    istore_bytes_partial(f.argmax + place.sample * f.argmax_stride + at, slot,
                                         min_of(lanes, kWidth));
            }
        }
    }

    // One cell and vector of output channels without Winograd.
    void convolve_directly(const WinogradPlace& place, std::int64_t channel, Vec bias,
                           std::int64_t lanes) const {
        Vec y[E * E];
        for (int r = 0; r < E; ++r)
            for (int q = 0; q < E; ++q) {
                Vec sum = zero();
                for (int tap = 0; tap < R * R; ++tap) {
                    const std::int64_t iy = tiles.top + place.row * M + r + tap / R;
                    const std::int64_t ix = tiles.left + place.column * M + q + tap % R;
                    if (iy < 0 || iy >= c.h.in || ix < 0 || ix >= c.w.in) continue;
                    const float* x = f.x + place.sample * f.x_stride + (iy * c.w.in + ix) * c.in_channels;
                    const float* w = f.weights + tap * c.in_channels * c.out_channels + channel;
                    for (std::int64_t i = 0; i < c.in_channels; ++i, w += c.out_channels)
                        sum = fma(set1(x[i]), load_partial(w, min_of(lanes, kWidth)), sum);
                }
                y[r * E + q] = sum;
            }
        if (f.pooled)
            write_pooled<true>(place, channel, lanes, bias, y);
        else
            write(place, channel, lanes, bias, y);
    }

    // The products of the only tile by blocks [first, last), side by side in p.
    FASTCNN_INLINE void multiply_row(const float* v, std::int64_t first, std::int64_t last, float* p) const {
        const Tap tap{0, 0};
        Tile t;
        t.taps = &tap;
        t.tap_count = 1;
        t.depth = c.in_channels;
        t.b_step = kPairWidth;
        for (int k = 0; k < kProducts; ++k) {
            t.a = v + k * v_step;
            t.b = f.kernel + k * u_step + blocks.first(first) * c.in_channels;
            t.c = p + k * p_step;
            run_row(t, blocks.first(last) - blocks.first(first), kPairWidth * c.in_channels);
        }
    }

    FASTCNN_INLINE void run() const {
        float* v = f.scratch;
        float* p = v + kProducts * v_step;
        float* patch = p + kProducts * p_step;
        const std::int64_t all = f.batch * tiles.count();
        const WeightPart part = f.weight_part;
        const std::int64_t begin = blocks.count * part.part / part.parts;
        const std::int64_t end = blocks.count * (part.part + 1) / part.parts;
        for (std::int64_t first = 0; first < all; first += chunk) {
            const std::int64_t count = min_of(chunk, all - first);
            transform_inputs(first, count, v, patch);
            for (std::int64_t block = begin, next = begin; block < end; block = next) {
                next = row ? end : block + 1;
                if (row)
                    multiply_row(v, block, next, p);
                else
                    multiply_block(
                        {v, f.kernel + blocks.first(block) * c.in_channels, p, chunk * kWidth, chunk * kWidth,
                         c.in_channels, f.kernel + blocks.first(next) * c.in_channels},
                        kProducts, {v_step, u_step, p_step}, count, blocks.vecs(block));
                for (std::int64_t i = block; i < next; ++i)
                    transform_outputs(first, count, i, p + blocks.first(i) - blocks.first(block));
            }
        }
    }
};

// Tiles of 3 x 3 outputs in cells would be the best for outputs of 6 x 6 only.
template <int M>
inline constexpr bool kCells = M == 5;

template <int M>
const char* forward_declines(const Conv2dForward& f) {
    if (const char* reason = winograd_declines<M>(f.shape)) return reason;
    if (!f.pooled) return nullptr;
    const PoolShape& p = f.pool;
    if (p.h.size != 2 || p.w.size != 2 || p.h.stride != 2 || p.w.stride != 2)
        return "pooling is not 2x2 with stride 2";
    if (p.h.pad > 0 || p.w.pad > 0 || p.h.pad_end() || p.w.pad_end()) return "pooling pads";
    if (M % 2 && !kCells<M>) return "tiles do not hold whole pooling windows";
    return nullptr;
}

template <int M>
std::int64_t forward_packed(const Conv2dForward& f) {
    return winograd_packed<M>(f.shape);
}

template <int M>
void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    winograd_pack<M>(f.shape, weights, packed, part, parts);
}

// What `function` makes of the pass.
template <int M, class Function>
FASTCNN_INLINE auto of_forward(const Conv2dForward& f, Function function) {
    if constexpr (kCells<M>) {
        if (f.pooled) return function(Forward<M, 2>(f));
    }
    return function(Forward<M, 1>(f));
}

template <int M>
std::int64_t forward_scratch(const Conv2dForward& f) {
    return of_forward<M>(f, [](const auto& pass) { return pass.scratch(); });
}

template <int M>
double forward_cost(const Conv2dForward& f) {
    return of_forward<M>(f, [](const auto& pass) { return pass.cost(); });
}

template <int M>
void forward_run(const Conv2dForward& f) {
    of_forward<M>(f, [](const auto& pass) { pass.run(); });
}

// A row of cells.
template <int M>
std::int64_t forward_row_unit(const Conv2dForward& f) {
    return of_forward<M>(f, [&](const auto& pass) -> std::int64_t { return f.pooled ? pass.E / 2 : pass.E; });
}

template <int M>
std::int64_t forward_weight_units(const Conv2dForward& f) {
    return winograd_blocks<M>(f.shape, f.shape.out_channels).count;
}

template <int M>
constexpr Kernel<Conv2dForward> forward_kernel(const char* name) {
    if constexpr (kCompiled<M>)
        return {forward_run<M>,  forward_declines<M>,    forward_scratch<M>,  forward_packed<M>,
                forward_pack<M>, forward_cost<M>,        forward_row_unit<M>, name,
                false,           forward_weight_units<M>};
    else
        return kNotCompiled<Conv2dForward>;
}

}  // namespace

#define FASTCNN_WINOGRAD(M) \
    const Kernel<Conv2dForward> conv2d_forward_winograd##M = forward_kernel<M>("winograd" #M);
FASTCNN_WINOGRAD(2)
FASTCNN_WINOGRAD(3)
FASTCNN_WINOGRAD(4)
FASTCNN_WINOGRAD(5)
#undef FASTCNN_WINOGRAD

}  // namespace fastcnn::FASTCNN_ISA
