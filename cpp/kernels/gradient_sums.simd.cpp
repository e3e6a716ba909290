// Gradient reduction: one pass over the flat buffers, each byte touched once.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/math.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// The sums in double are by vector lane and then in a fixed tree: their order is a function of `size` alone.
void sum_gradients(const SumGradients& a) {
    const bool regularised = a.l1 != 0.0f || a.l2 != 0.0f;
    const Vec l1 = set1(a.l1), twice_l2 = set1(2.0f * a.l2);
    Sum64 sizes, squares, gradient_squares;
    // Four vectors at a time: that many independent sums hide the addition's latency, and each lane's cache
    // lines are read in runs.
    for_each_columns(a.size, [&](std::int64_t i, auto lanes, auto vectors) {
        constexpr int k = decltype(vectors)::count;
        Vec g[k];
        const float* lane = a.lane + i;
        for (int v = 0; v < k; ++v) g[v] = lanes.load(lane + v * kWidth);
        for (std::int64_t j = 1; j < a.lanes; ++j) {
            lane += a.lane_stride;
#pragma GCC unroll 4
            for (int v = 0; v < k; ++v) g[v] = add(g[v], lanes.load(lane + v * kWidth));
        }
#pragma GCC unroll 4
        for (int v = 0; v < k; ++v) {
            if (regularised) {
                const Vec p = lanes.load(a.param + i + v * kWidth);
                g[v] = fma(twice_l2, p, fma(l1, sign(p), g[v]));
                if (a.penalty) {
                    sizes.add(abs(p));
                    squares.add_square(p);
                }
            }
            lanes.store(a.gradient + i + v * kWidth, g[v]);
            if (a.sum_squares) gradient_squares.add_square(g[v]);
        }
    });
    if (regularised && a.penalty)
        *a.penalty += static_cast<double>(a.l1) * sizes.total() + static_cast<double>(a.l2) * squares.total();
    if (a.sum_squares) *a.sum_squares += gradient_squares.total();
}

FASTCNN_INLINE std::int64_t at_most_width(std::int64_t n) { return n < kWidth ? n : kWidth; }

// Blocks of kWidth x kWidth: the sum over lanes runs along the lanes' rows, the transposition only over its
// result.
void sum_gradients_transposed(const SumGradientsTransposed& a) {
    alignas(64) float sums[kWidth * kWidth], block[kWidth * kWidth];
    for (std::int64_t r = a.first_row; r < a.last_row; r += kWidth)
        for (std::int64_t c = 0; c < a.columns; c += kWidth) {
            const std::int64_t height = at_most_width(a.last_row - r), width = at_most_width(a.columns - c);
            for (std::int64_t j = 0; j < kWidth; ++j) {
                Vec sum = zero();
                if (j < width) {
                    const float* lane = a.lane + (c + j) * a.rows + r;
                    sum = load_partial(lane, height);
                    for (std::int64_t k = 1; k < a.lanes; ++k)
                        sum = add(sum, load_partial(lane + k * a.lane_stride, height));
                }
                store(sums + j * kWidth, sum);
            }
            float* gradient = a.gradient + r * a.columns + c;
            if (height == kWidth && width == kWidth) {
                transpose(sums, kWidth, gradient, a.columns);
                continue;
            }
            transpose(sums, kWidth, block, kWidth);
            for (std::int64_t i = 0; i < height; ++i)
                store_partial(gradient + i * a.columns, load(block + i * kWidth), width);
        }
}

}  // namespace

const Kernel<SumGradients> sum_gradients_direct = {sum_gradients};
const Kernel<SumGradientsTransposed> sum_gradients_transposed_direct = {sum_gradients_transposed};

}  // namespace fastcnn::FASTCNN_ISA
