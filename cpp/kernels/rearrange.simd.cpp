// Axes in another order, and images resampled, cropped or padded.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// y[r * y_stride + k] = x[r + k * x_stride] for r < rows, k < columns, in squares of a vector's width.
void transpose_matrix(const float* x, std::int64_t x_stride, float* y, std::int64_t y_stride,
                      std::int64_t rows, std::int64_t columns) {
    const std::int64_t whole_rows = rows / kWidth * kWidth, whole_columns = columns / kWidth * kWidth;
    for (std::int64_t k = 0; k < whole_columns; k += kWidth)
        for (std::int64_t r = 0; r < whole_rows; r += kWidth)
            transpose(x + r + k * x_stride, x_stride, y + r * y_stride + k, y_stride);
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t k = r < whole_rows ? whole_columns : 0; k < columns; ++k)
            y[r * y_stride + k] = x[r + k * x_stride];
}

void permute(const Permute& a) {
    const int last = a.rank - 1;
    int unit = 0;  // the axis of y whose elements are neighbours in x
    while (a.stride[unit] != 1) ++unit;
    std::int64_t y_stride[kMaxRank], outer = 1;
    for (int axis = last, step = 1; axis >= 0; --axis) {
        y_stride[axis] = axis == last ? step : y_stride[axis + 1] * a.shape[axis + 1];
        if (axis != last && axis != unit) outer *= a.shape[axis];
    }
    for (std::int64_t s = 0; s < a.batch; ++s)
        for (std::int64_t n = 0; n < outer; ++n) {
            const float* x = a.x + s * a.x_stride;
            float* y = a.y + s * a.y_stride;
            std::int64_t rest = n;
            for (int axis = last - 1; axis >= 0; --axis) {
                if (axis == unit) continue;
                const std::int64_t i = rest % a.shape[axis];
                rest /= a.shape[axis];
                x += i * a.stride[axis];
                y += i * y_stride[axis];
            }
            if (unit == last)
                std::memcpy(y, x, static_cast<std::size_t>(a.shape[last]) * sizeof(float));
            else
                transpose_matrix(x, a.stride[last], y, y_stride[unit], a.shape[unit], a.shape[last]);
        }
}

// The one input that output `o` is a copy of, or -1.
FASTCNN_INLINE std::int64_t copied(const AxisTaps& taps, std::int64_t o) {
    const std::int32_t i = taps.begin[o];
    return taps.begin[o + 1] - i == 1 && taps.weight[i] == 1.0f ? taps.index[i] : -1;
}

void mix(const Resample& a, const float* x, std::int64_t o, std::int64_t p, float* y) {
    for_each_columns(a.channels, [&](std::int64_t c, auto lanes, auto vectors) {
        constexpr int n = decltype(vectors)::count;
        Vec sum[n];
        for (int v = 0; v < n; ++v) sum[v] = zero();
        for (std::int32_t i = a.h.begin[o]; i < a.h.begin[o + 1]; ++i)
            for (std::int32_t j = a.w.begin[p]; j < a.w.begin[p + 1]; ++j) {
                const Vec weight = set1(a.h.weight[i] * a.w.weight[j]);
                const float* from = x + (a.h.index[i] * a.in_width + a.w.index[j]) * a.channels + c;
                for (int v = 0; v < n; ++v) sum[v] = fma(weight, lanes.load(from + v * kWidth), sum[v]);
            }
        for (int v = 0; v < n; ++v) lanes.store(y + c + v * kWidth, sum[v]);
    });
}

void resample(const Resample& a) {
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        for (std::int64_t o = 0; o < a.out_height; ++o) {
            const std::int64_t row = copied(a.h, o);
            for (std::int64_t p = 0; p < a.out_width;) {
                float* to = y + (o * a.out_width + p) * a.channels;
                const std::int64_t first = row < 0 ? -1 : copied(a.w, p);
                if (first < 0) {
                    mix(a, x, o, p++, to);
                    continue;
                }
                std::int64_t run = 1;  // positions that are neighbours in x as well
                while (p + run < a.out_width && copied(a.w, p + run) == first + run) ++run;
                std::memcpy(to, x + (row * a.in_width + first) * a.channels,
                            static_cast<std::size_t>(run * a.channels) * sizeof(float));
                p += run;
            }
        }
    }
}

}  // namespace

const Kernel<Permute> permute_direct = {permute};
const Kernel<Resample> resample_direct = {resample};

}  // namespace fastcnn::FASTCNN_ISA
