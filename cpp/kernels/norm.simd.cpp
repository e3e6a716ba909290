// Batch normalisation. Columns are channels, rows are positions of samples; a group of column vectors is
// taken down all rows at once, so that its per-channel values stay in registers.
//
// Sums run in float32 over at most kBlockRows rows and are then added in double: float32 alone would lose
// digits over the tens of thousands of rows of a batch of images, and double alone would cost twice the
// arithmetic.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

constexpr std::int64_t kBlockRows = 64;

// `batch` samples of `positions` rows, `channels` floats each.
struct RowsOf {
    std::int64_t batch, positions, channels;
};

// Sums of `sums` values a row for k columns: term(s, offset, v, out) gives those of row `offset` (in floats,
// in sample s) of column vector v. total[j * k * kWidth + column] receives sum j in double.
template <int sums, int k, class Term>
FASTCNN_INLINE void sum_rows(const RowsOf& rows, const Term& term, double* total) {
    Sum64 wide[sums][k];
    Vec narrow[sums][k];
    for (auto& row : narrow)
        for (Vec& v : row) v = zero();
    const auto widen = [&] {
        for (int j = 0; j < sums; ++j)
            for (int v = 0; v < k; ++v) {
                wide[j][v].add(narrow[j][v]);
                narrow[j][v] = zero();
            }
    };
    std::int64_t left = kBlockRows;
    for (std::int64_t s = 0; s < rows.batch; ++s)
        for (std::int64_t p = 0; p < rows.positions;) {
            const std::int64_t end = rows.positions - p < left ? rows.positions : p + left;
            left -= end - p;
            for (; p < end; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < k; ++v) {
                    Vec terms[sums];
                    term(s, p * rows.channels, v, terms);
#pragma GCC unroll 2
                    for (int j = 0; j < sums; ++j) narrow[j][v] = add(narrow[j][v], terms[j]);
                }
            if (left == 0) {
                widen();
                left = kBlockRows;
            }
        }
    widen();
    for (int j = 0; j < sums; ++j)
        for (int v = 0; v < k; ++v) wide[j][v].store(total + (j * k + v) * kWidth);
}

FASTCNN_INLINE std::int64_t lanes_in(All) { return kWidth; }
FASTCNN_INLINE std::int64_t lanes_in(First first) { return first.n; }

// Columns [c, c + width) of a group that may end in a partial vector.
FASTCNN_INLINE std::int64_t columns_in(std::int64_t c, std::int64_t channels, std::int64_t vectors) {
    const std::int64_t width = vectors * kWidth;
    return channels - c < width ? channels - c : width;
}

// Two passes. The mean is rounded to float32, so the deviations d from it do not quite add up to zero: what
// they add up to is taken out of the sum of squares, sum (x - mean)^2 = sum d^2 - (sum d)^2 / n, which would
// otherwise be wrong by n times the rounding error squared.
void statistics(const BatchNormStatistics& a) {
    const RowsOf rows = {a.batch, a.positions, a.channels};
    const double n = static_cast<double>(a.batch * a.positions);
    for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
        constexpr int k = decltype(vectors)::count;
        double total[2 * k * kWidth];
        const std::int64_t width = columns_in(c, a.channels, k);
        sum_rows<1, k>(
            rows,
            [&](std::int64_t s, std::int64_t offset, int v, Vec* out) {
                out[0] = lanes.load(a.x + s * a.x_stride + offset + c + v * kWidth);
            },
            total);
        for (std::int64_t i = 0; i < width; ++i) a.mean[c + i] = static_cast<float>(total[i] / n);

        Vec mean[k];
        for (int v = 0; v < k; ++v) mean[v] = lanes.load(a.mean + c + v * kWidth);
        sum_rows<2, k>(
            rows,
            [&](std::int64_t s, std::int64_t offset, int v, Vec* out) {
                const Vec deviation =
                    sub(lanes.load(a.x + s * a.x_stride + offset + c + v * kWidth), mean[v]);
                out[0] = deviation;
                out[1] = mul(deviation, deviation);
            },
            total);
        for (std::int64_t i = 0; i < width; ++i) {
            const double deviation = total[i], squares = total[k * kWidth + i];
            const double m2 = squares - deviation * deviation / n;
            a.m2[c + i] = static_cast<float>(m2 < 0.0 ? 0.0 : m2);
        }
    });
}

template <bool relu>
void forward_rows(const BatchNormForward& a) {
    for (std::int64_t s = 0; s < a.batch; ++s)
        for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
            constexpr int k = decltype(vectors)::count;
            Vec mean[k], scale[k], shift[k];
            for (int v = 0; v < k; ++v) {
                mean[v] = lanes.load(a.mean + c + v * kWidth);
                scale[v] = lanes.load(a.scale + c + v * kWidth);
                shift[v] = lanes.load(a.shift + c + v * kWidth);
            }
            const float* x = a.x + s * a.x_stride + c;
            float* y = a.y + s * a.y_stride + c;
            for (std::int64_t p = 0; p < a.positions; ++p, x += a.channels, y += a.channels)
#pragma GCC unroll 4
                for (int v = 0; v < k; ++v) {
                    const Vec value = fma(sub(lanes.load(x + v * kWidth), mean[v]), scale[v], shift[v]);
                    lanes.store(y + v * kWidth, relu ? max(zero(), value) : value);
                }
        });
}

void forward(const BatchNormForward& a) { a.relu ? forward_rows<true>(a) : forward_rows<false>(a); }

// The common 2 x 2 window is compiled without loops; Size 0: any.
template <bool relu, int Size>
void pool_forward_sample(const BatchNormPoolForward& a, const float* x, float* y, std::uint8_t* argmax,
                         float* picked) {
    const PoolShape& p = a.pool;
    const std::int64_t rows = Size ? Size : p.h.size, columns = Size ? Size : p.w.size;
    const std::int64_t pixel = p.channels, row = p.w.in * pixel;
    for_each_columns(p.channels, [&](std::int64_t c, auto lanes, auto vectors) {
        constexpr int k = decltype(vectors)::count;
        Vec mean[k], scale[k], shift[k];
        for (int v = 0; v < k; ++v) {
            mean[v] = lanes.load(a.mean + c + v * kWidth);
            scale[v] = lanes.load(a.scale + c + v * kWidth);
            shift[v] = lanes.load(a.shift + c + v * kWidth);
        }
        std::int64_t to = c;
        for (std::int64_t py = 0; py < p.h.out; ++py)
            for (std::int64_t px = 0; px < p.w.out; ++px, to += pixel) {
                const float* from = x + py * p.h.stride * row + px * p.w.stride * pixel + c;
#pragma GCC unroll 4
                for (int v = 0; v < k; ++v) {
                    Vec best = zero(), chosen = zero();
                    IVec slot = iset1(0);
                    for (std::int64_t i = 0; i < rows; ++i)
                        for (std::int64_t j = 0; j < columns; ++j) {
                            const Vec here = lanes.load(from + i * row + j * pixel + v * kWidth);
                            const Vec value = fma(sub(here, mean[v]), scale[v], shift[v]);
                            if (i == 0 && j == 0) {
                                best = value;
                                chosen = here;
                                continue;
                            }
                            const Mask better = mask_or(gt(value, best), is_nan(value));
                            best = select(better, value, best);
                            chosen = select(better, here, chosen);
                            slot = iselect(better, iset1(static_cast<std::int32_t>(i * columns + j)), slot);
                        }
                    lanes.store(y + to + v * kWidth, relu ? max(zero(), best) : best);
                    if (!argmax) continue;
                    lanes.store(picked + to + v * kWidth, chosen);
                    istore_bytes_partial(argmax + to + v * kWidth, slot, lanes_in(lanes));
                }
            }
    });
}

template <bool relu>
void pool_forward_all(const BatchNormPoolForward& a) {
    const bool two_by_two = a.pool.h.size == 2 && a.pool.w.size == 2;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        std::uint8_t* argmax = a.argmax ? a.argmax + s * a.argmax_stride : nullptr;
        float* picked = a.argmax ? a.picked + s * a.picked_stride : nullptr;
        two_by_two ? pool_forward_sample<relu, 2>(a, x, y, argmax, picked)
                   : pool_forward_sample<relu, 0>(a, x, y, argmax, picked);
    }
}

// Windows that neither overlap nor pad, numbered by a byte.
const char* pool_declines(const PoolShape& p) {
    if (p.h.stride < p.h.size || p.w.stride < p.w.size) return "pooling windows overlap";
    if (p.h.pad || p.w.pad || p.h.pad_end() || p.w.pad_end()) return "pooling pads";
    if (p.h.size * p.w.size > kMaxPoolPositions) return "pooling window has more than 256 positions";
    return nullptr;
}

const char* pool_forward_declines(const BatchNormPoolForward& a) { return pool_declines(a.pool); }
const char* pool_backward_declines(const BatchNormPoolBackward& a) { return pool_declines(a.pool); }

void pool_forward(const BatchNormPoolForward& a) {
    a.relu ? pool_forward_all<true>(a) : pool_forward_all<false>(a);
}

// dy where ReLU let the value (x - mean) * scale + shift through, else 0. The value has forward's bits.
FASTCNN_INLINE Vec through_relu(Vec deviation, Vec scale, Vec shift, Vec dy) {
    return select(not_le(fma(deviation, scale, shift), zero()), dy, zero());
}

template <bool relu>
void reduce_rows(const BatchNormReduce& a) {
    const RowsOf rows = {a.batch, a.positions, a.channels};
    for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
        constexpr int k = decltype(vectors)::count;
        Vec mean[k], scale[k], shift[k];
        for (int v = 0; v < k; ++v) {
            mean[v] = lanes.load(a.mean + c + v * kWidth);
            scale[v] = relu ? lanes.load(a.scale + c + v * kWidth) : zero();
            shift[v] = relu ? lanes.load(a.shift + c + v * kWidth) : zero();
        }
        double total[2 * k * kWidth];
        sum_rows<2, k>(
            rows,
            [&](std::int64_t s, std::int64_t offset, int v, Vec* out) {
                const Vec dy = lanes.load(a.dy + s * a.dy_stride + offset + c + v * kWidth);
                const Vec x = lanes.load(a.x + s * a.x_stride + offset + c + v * kWidth);
                const Vec deviation = sub(x, mean[v]);
                out[0] = relu ? through_relu(deviation, scale[v], shift[v], dy) : dy;
                out[1] = mul(out[0], deviation);
            },
            total);
        const std::int64_t width = columns_in(c, a.channels, k);
        for (std::int64_t i = 0; i < width; ++i) {
            const double inv_std = static_cast<double>(a.inv_std[c + i]);
            const float sum_dy = static_cast<float>(total[i]);
            const float sum_dy_x = static_cast<float>(total[k * kWidth + i] * inv_std);
            a.sum_dy[c + i] = a.accumulate ? a.sum_dy[c + i] + sum_dy : sum_dy;
            a.sum_dy_x[c + i] = a.accumulate ? a.sum_dy_x[c + i] + sum_dy_x : sum_dy_x;
        }
    });
}

void reduce(const BatchNormReduce& a) { a.relu ? reduce_rows<true>(a) : reduce_rows<false>(a); }

// dx = scale * ((dy - a) - (x - mean) * (inv_std * b)) of k column vectors.
template <bool relu, bool input_relu, int k>
struct Gradient {
    Vec mean[k], scale[k], shift[k], mean_dy[k], slope[k];

    template <class Lanes>
    FASTCNN_INLINE Gradient(const BatchNormGradient& g, std::int64_t c, Lanes lanes) {
        for (int v = 0; v < k; ++v) {
            const std::int64_t at = c + v * kWidth;
            mean[v] = lanes.load(g.mean + at);
            scale[v] = lanes.load(g.scale + at);
            shift[v] = relu ? lanes.load(g.shift + at) : zero();
            mean_dy[v] = lanes.load(g.a + at);
            slope[v] = mul(lanes.load(g.inv_std + at), lanes.load(g.b + at));
        }
    }
    FASTCNN_INLINE Vec operator()(int v, Vec x, Vec dy) const {
        const Vec deviation = sub(x, mean[v]);
        if (relu) dy = through_relu(deviation, scale[v], shift[v], dy);
        const Vec dx = mul(scale[v], fnma(deviation, slope[v], sub(dy, mean_dy[v])));
        return input_relu ? select(not_le(x, zero()), dx, zero()) : dx;
    }
};

template <bool relu, bool input_relu>
struct Backward {
    static void run(const BatchNormBackward& a) {
        for (std::int64_t s = 0; s < a.batch; ++s)
            for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
                constexpr int k = decltype(vectors)::count;
                const Gradient<relu, input_relu, k> gradient(a.norm, c, lanes);
                const float* x = a.x + s * a.x_stride + c;
                const float* dy = a.dy + s * a.dy_stride + c;
                float* dx = a.dx + s * a.dx_stride + c;
                for (std::int64_t p = 0; p < a.positions;
                     ++p, x += a.channels, dy += a.channels, dx += a.channels)
#pragma GCC unroll 4
                    for (int v = 0; v < k; ++v)
                        lanes.store(dx + v * kWidth,
                                    gradient(v, lanes.load(x + v * kWidth), lanes.load(dy + v * kWidth)));
            });
    }

    // Pixel by pixel in memory's order; each takes dy of its window where it is the argmax.
    static void run(const BatchNormPoolBackward& a) {
        const PoolShape& p = a.pool;
        for (std::int64_t s = 0; s < a.batch; ++s)
            for_each_columns(p.channels, [&](std::int64_t c, auto lanes, auto vectors) {
                constexpr int k = decltype(vectors)::count;
                const Gradient<relu, input_relu, k> gradient(a.norm, c, lanes);
                const float* x = a.x + s * a.x_stride + c;
                const float* dy = a.dy + s * a.dy_stride + c;
                const std::uint8_t* argmax = a.argmax + s * a.argmax_stride + c;
                float* dx = a.dx + s * a.dx_stride + c;
                const auto next_pixel = [&](bool in_window, std::int64_t window, std::int64_t position) {
                    const IVec here = iset1(static_cast<std::int32_t>(position));
#pragma GCC unroll 4
                    for (int v = 0; v < k; ++v) {
                        Vec g = zero();
                        if (in_window) {
                            const std::int64_t at = window * p.channels + v * kWidth;
                            const IVec slot = iload_bytes_partial(argmax + at, lanes_in(lanes));
                            g = select(ieq(slot, here), lanes.load(dy + at), zero());
                        }
                        lanes.store(dx + v * kWidth, gradient(v, lanes.load(x + v * kWidth), g));
                    }
                    x += p.channels;
                    dx += p.channels;
                };
                for (std::int64_t y = 0; y < p.h.in; ++y) {
                    const std::int64_t py = y / p.h.stride, i = y % p.h.stride;
                    const bool in_row = i < p.h.size && py < p.h.out;
                    for (std::int64_t px = 0; px < p.w.out; ++px) {
                        const std::int64_t last = p.w.in - px * p.w.stride;
                        for (std::int64_t j = 0; j < p.w.stride && j < last; ++j)
                            next_pixel(in_row && j < p.w.size, py * p.w.out + px, i * p.w.size + j);
                    }
                    for (std::int64_t at = p.w.out * p.w.stride; at < p.w.in; ++at) next_pixel(false, 0, 0);
                }
            });
    }
};

template <class Args>
void backward(const Args& a) {
    if (a.norm.relu)
        a.norm.input_relu ? Backward<true, true>::run(a) : Backward<true, false>::run(a);
    else
        a.norm.input_relu ? Backward<false, true>::run(a) : Backward<false, false>::run(a);
}

}  // namespace

const Kernel<BatchNormStatistics> batch_norm_statistics_direct = {statistics};
const Kernel<BatchNormForward> batch_norm_forward_direct = {forward};
const Kernel<BatchNormPoolForward> batch_norm_pool_forward_direct = {pool_forward, pool_forward_declines};
const Kernel<BatchNormReduce> batch_norm_reduce_direct = {reduce};
const Kernel<BatchNormBackward> batch_norm_backward_direct = {backward<BatchNormBackward>};
const Kernel<BatchNormPoolBackward> batch_norm_pool_backward_direct = {backward<BatchNormPoolBackward>,
                                                                       pool_backward_declines};

}  // namespace fastcnn::FASTCNN_ISA
