// What the files of the losses share.
#pragma once

#include "kernels/api.h"
#include "simd/lanes.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

// The mean, or sum, of a function of each element.
void elementwise_loss(const Loss& a);
// Losses whose elements depend on their row, cross-entropies apart.
void row_loss(const Loss& a);

inline constexpr float kLossEpsilon = 1e-7f;
inline constexpr float kClipHigh = 1.0f - 1e-7f;

// NaN stays.
FASTCNN_INLINE Vec clip(Vec p) { return min(set1(kClipHigh), max(set1(kLossEpsilon), p)); }
FASTCNN_INLINE Mask is_clipped(Vec p) { return mask_or(gt(set1(kLossEpsilon), p), gt(p, set1(kClipHigh))); }

// T p - t = (T - t) p - t (1 - p), without the cancellation near p = 1.
FASTCNN_INLINE Vec residual(Vec total, Vec t, Vec p, Vec complement) {
    return fnma(t, complement, mul(sub(total, t), p));
}

// x^n for x >= 0; a product for the exponents that are used most.
FASTCNN_INLINE Vec power(Vec x, float n) {
    if (n == 0.0f) return set1(1.0f);
    if (n == 1.0f) return x;
    if (n == 2.0f) return mul(x, x);
    return exp(mul(set1(n), log(x)));
}

// t scale + shift, zero beyond the row.
struct Smoothing {
    Vec scale, shift;
    template <class Lanes>
    FASTCNN_INLINE Vec operator()(const float* target, Lanes lanes) const {
        return lanes.keep(fma(lanes.load(target), scale, shift));
    }
};

FASTCNN_INLINE Smoothing smoothing_of(const Loss& a, float among) {
    const float s = static_cast<float>(a.label_smoothing);
    return {set1(1.0f - s), set1(s / among)};
}

// One row; target or target_class, grad and activated may be null. The weight is for the gradient.
struct LossRow {
    std::int64_t classes;
    const float* x;
    const float* target;  // null: sparse
    std::int64_t target_class;
    float weight;
    float* grad;
    float* activated;
};

// *a.loss += weight * rule(row) for every row.
template <class Rule>
FASTCNN_INLINE void for_each_loss_row(const Loss& a, const Rule& rule) {
    const bool sparse = is_sparse(a.kind);
    double sum = 0.0;
    for (std::int64_t s = 0; s < a.batch; ++s)
        for (std::int64_t r = 0; r < a.rows; ++r) {
            const std::int64_t at = r * a.classes;
            float weight = a.weight ? a.weight[s] : 1.0f;
            std::int64_t target_class = sparse ? a.target_class[s * a.target_stride + r] : 0;
            if (a.ignores && target_class == a.ignored_class) weight = 0.0f, target_class = 0;
            const LossRow row = {
                a.classes,
                a.prediction + s * a.prediction_stride + at,
                sparse ? nullptr : a.target + s * a.target_stride + at,
                target_class,
                a.scale * weight,
                a.grad ? a.grad + s * a.grad_stride + at : nullptr,
                a.activated ? a.activated + s * a.activated_stride + at : nullptr,
            };
            sum += static_cast<double>(weight) * static_cast<double>(rule(row));
        }
    *a.loss += sum;
}

}  // namespace fastcnn::FASTCNN_ISA
