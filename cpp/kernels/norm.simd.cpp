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

void reduce(const BatchNormReduce& a) {
    const RowsOf rows = {a.batch, a.positions, a.channels};
    for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
        constexpr int k = decltype(vectors)::count;
        Vec mean[k];
        for (int v = 0; v < k; ++v) mean[v] = lanes.load(a.mean + c + v * kWidth);
        double total[2 * k * kWidth];
        sum_rows<2, k>(
            rows,
            [&](std::int64_t s, std::int64_t offset, int v, Vec* out) {
                const Vec dy = lanes.load(a.dy + s * a.dy_stride + offset + c + v * kWidth);
                const Vec x = lanes.load(a.x + s * a.x_stride + offset + c + v * kWidth);
                out[0] = dy;
                out[1] = mul(dy, sub(x, mean[v]));
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

// dx = scale * ((dy - a) - (x - mean) * (inv_std * b))
void backward(const BatchNormBackward& a) {
    for (std::int64_t s = 0; s < a.batch; ++s)
        for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
            constexpr int k = decltype(vectors)::count;
            Vec mean[k], scale[k], mean_dy[k], slope[k];
            for (int v = 0; v < k; ++v) {
                const std::int64_t at = c + v * kWidth;
                mean[v] = lanes.load(a.mean + at);
                scale[v] = lanes.load(a.scale + at);
                mean_dy[v] = lanes.load(a.a + at);
                slope[v] = mul(lanes.load(a.inv_std + at), lanes.load(a.b + at));
            }
            const float* x = a.x + s * a.x_stride + c;
            const float* dy = a.dy + s * a.dy_stride + c;
            float* dx = a.dx + s * a.dx_stride + c;
            for (std::int64_t p = 0; p < a.positions;
                 ++p, x += a.channels, dy += a.channels, dx += a.channels)
#pragma GCC unroll 4
                for (int v = 0; v < k; ++v) {
                    const Vec centred = sub(lanes.load(dy + v * kWidth), mean_dy[v]);
                    const Vec deviation = sub(lanes.load(x + v * kWidth), mean[v]);
                    lanes.store(dx + v * kWidth, mul(scale[v], fnma(deviation, slope[v], centred)));
                }
        });
}

}  // namespace

const Kernel<BatchNormStatistics> batch_norm_statistics_direct = {statistics};
const Kernel<BatchNormForward> batch_norm_forward_direct = {forward};
const Kernel<BatchNormReduce> batch_norm_reduce_direct = {reduce};
const Kernel<BatchNormBackward> batch_norm_backward_direct = {backward};

}  // namespace fastcnn::FASTCNN_ISA
