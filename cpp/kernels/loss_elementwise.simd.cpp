// Losses that are a function of each element, and the mean or sum of it.
#include "kernels/loss.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// Of one element; loss and gradient before the mean over the row and the sample's weight.
struct Element {
    Vec loss, grad, activated;
};

struct BinaryFromLogits {
    Smoothing smoothing;

    // -(t log p + (1 - t) log(1 - p)) = (1 - t) x - log p,  log p = min(x, 0) - log(1 + e^-|x|)
    FASTCNN_INLINE Element operator()(Vec x, Vec target) const {
        const Vec one = set1(1.0f);
        const Vec t = fma(target, smoothing.scale, smoothing.shift);
        const Sigmoid s = sigmoid_pair(x);
        const Vec log_p = sub(min(zero(), x), log1p(s.e));
        return {sub(mul(sub(one, t), x), log_p), residual(one, t, s.p, s.complement), s.p};
    }
};

struct BinaryFromProbabilities {
    Smoothing smoothing;

    FASTCNN_INLINE Element operator()(Vec prediction, Vec target) const {
        const Vec one = set1(1.0f);
        const Vec t = fma(target, smoothing.scale, smoothing.shift);
        const Vec p = clip(prediction);
        const Vec loss = fma(t, log(p), mul(sub(one, t), log1p(sub(zero(), p))));
        const Vec grad = div(sub(p, t), mul(p, sub(one, p)));
        return {sub(zero(), loss), select(is_clipped(prediction), zero(), grad), p};
    }
};

struct SquaredError {
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec error = sub(p, t);
        return {mul(error, error), add(error, error), p};
    }
};

struct AbsoluteError {
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec error = sub(p, t);
        const Vec one = set1(1.0f);
        // At 0 the error itself is the sign, and so is a NaN.
        const Vec sign = select(gt(error, zero()), one, select(gt(zero(), error), sub(zero(), one), error));
        return {abs(error), sign, p};
    }
};

struct PercentageError {
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec scale = div(set1(100.0f), max(set1(kLossEpsilon), abs(t)));
        const Element e = AbsoluteError{}(p, t);
        return {mul(scale, e.loss), mul(scale, e.grad), p};
    }
};

struct SquaredLogarithmicError {
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec low = set1(kLossEpsilon);
        const Vec above = max(low, p);
        const Vec d = sub(log1p(above), log1p(max(low, t)));
        const Vec grad = div(add(d, d), add(set1(1.0f), above));
        return {mul(d, d), select(gt(low, p), zero(), grad), p};
    }
};

struct Huber {
    Vec delta;
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec d = sub(p, t), size = abs(d), half = set1(0.5f);
        const Mask is_far = gt(size, delta);
        const Vec far = mul(delta, fnma(half, delta, size));
        const Vec slope = select(gt(d, zero()), delta, sub(zero(), delta));
        return {select(is_far, far, mul(half, mul(d, d))), select(is_far, slope, d), p};
    }
};

struct LogCosh {
    // |d| + log((1 + e^(-2 |d|)) / 2), whose second term is log1p of half of expm1.
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec d = sub(p, t), size = abs(d);
        const Vec rest = expm1(mul(set1(-2.0f), size));
        return {add(size, log1p(mul(set1(0.5f), rest))), tanh(d), p};
    }
};

struct PoissonError {
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec above = add(p, set1(kLossEpsilon));
        return {fnma(t, log(above), p), sub(set1(1.0f), div(t, above)), p};
    }
};

template <bool kSquared>
struct HingeError {
    FASTCNN_INLINE Element operator()(Vec p, Vec t) const {
        const Vec one = set1(1.0f);
        const Vec margin = max(zero(), fnma(t, p, one));
        if constexpr (kSquared) return {mul(margin, margin), mul(mul(set1(-2.0f), t), margin), p};
        const Vec inside = select(is_nan(margin), margin, sub(zero(), t));
        return {margin, select(eq(margin, zero()), zero(), inside), p};
    }
};

struct Divergence {
    FASTCNN_INLINE Element operator()(Vec prediction, Vec target) const {
        const Vec low = set1(kLossEpsilon), one = set1(1.0f);
        const Vec t = min(one, max(low, target)), p = min(one, max(low, prediction));
        const Mask outside = mask_or(gt(low, prediction), gt(prediction, one));
        return {mul(t, log(div(t, p))), select(outside, zero(), sub(zero(), div(t, p))), prediction};
    }
};

// w m^a b with the cross-entropy b of the clipped p; m = t (1 - p) + (1 - t) p.
template <bool kFromLogits>
struct BinaryFocal {
    Smoothing smoothing;
    float gamma;
    Vec weight_one, weight_zero;

    FASTCNN_INLINE Element operator()(Vec x, Vec target) const {
        const Vec one = set1(1.0f);
        const Vec t = fma(target, smoothing.scale, smoothing.shift), u = sub(one, t);
        Vec p = x, complement = sub(one, x), rest = zero();
        if constexpr (kFromLogits) {
            const Sigmoid s = sigmoid_pair(x);
            p = s.p;
            complement = s.complement;
            rest = log1p(s.e);
        }
        const Vec c = clip(p), slope = mul(p, complement);  // slope: dp / dx of a sigmoid
        Vec log_p = log(c), log_u = log1p(sub(zero(), c));
        if constexpr (kFromLogits) {
            // min(x, 0) - log(1 + e^-|x|): near 1, p itself would keep few of its logarithm's digits.
            log_p = select(is_clipped(p), log_p, sub(min(zero(), x), rest));
            log_u = select(is_clipped(p), log_u, sub(min(zero(), sub(zero(), x)), rest));
        }
        const Vec entropy = sub(zero(), fma(t, log_p, mul(u, log_u)));
        const Vec miss = fma(t, complement, mul(u, p));
        const Vec factor = power(miss, gamma);
        Vec factor_slope = zero();  // d factor / dp
        if (gamma != 0.0f) factor_slope = mul(mul(set1(gamma), power(miss, gamma - 1.0f)), sub(u, t));
        Vec entropy_slope = residual(one, t, p, complement);  // d entropy / dx, or * p (1 - p)
        if constexpr (kFromLogits)
            factor_slope = mul(factor_slope, slope);
        else
            entropy_slope = div(entropy_slope, slope);
        entropy_slope = select(is_clipped(p), zero(), entropy_slope);
        const Vec w = fma(t, weight_one, mul(u, weight_zero));
        return {mul(w, mul(factor, entropy)), mul(w, fma(factor_slope, entropy, mul(factor, entropy_slope))),
                p};
    }
};

// `n` elements with weights weight(i, lanes); grad and activated may be null. grad_scale: scale / classes.
template <class Rule, class Weight>
FASTCNN_INLINE void elements(const Rule& rule, std::int64_t n, const float* p, const float* t,
                             const Weight& weight, Vec grad_scale, float* grad, float* activated,
                             Sum64& sum) {
    for_each_vector(n, [&](std::int64_t i, auto lanes) {
        const Element e = rule(lanes.load(p + i), lanes.load(t + i));
        const Vec w = weight(i, lanes);
        sum.add(lanes.keep(mul(w, e.loss)));
        if (grad) lanes.store(grad + i, mul(mul(w, grad_scale), e.grad));
        if (activated) lanes.store(activated + i, e.activated);
    });
}

// Samples shorter than a vector (a binary classifier has one output) are gathered: chunks of kGather
// elements, each with its sample's weight.
constexpr std::int64_t kGather = 64;

template <class Rule>
void short_samples(const Loss& a, const Rule& rule, std::int64_t size, Vec grad_scale, Sum64& sum) {
    float p[kGather], t[kGather], w[kGather], grad[kGather], activated[kGather];
    const std::int64_t samples = kGather / size;
    for (std::int64_t first = 0; first < a.batch; first += samples) {
        const std::int64_t last = a.batch - first < samples ? a.batch : first + samples;
        std::int64_t n = 0;
        for (std::int64_t s = first; s < last; ++s)
            for (std::int64_t i = 0; i < size; ++i, ++n) {
                p[n] = a.prediction[s * a.prediction_stride + i];
                t[n] = a.target[s * a.target_stride + i];
                w[n] = a.weight ? a.weight[s] : 1.0f;
            }
        const auto weight = [&](std::int64_t i, auto lanes) { return lanes.load(w + i); };
        elements(rule, n, p, t, weight, grad_scale, grad, activated, sum);
        n = 0;
        for (std::int64_t s = first; s < last; ++s)
            for (std::int64_t i = 0; i < size; ++i, ++n) {
                if (a.grad) a.grad[s * a.grad_stride + i] = grad[n];
                if (a.activated) a.activated[s * a.activated_stride + i] = activated[n];
            }
    }
}

// `count`: of the elements that a row's mean is over; 1 where it is their sum.
template <class Rule>
void elementwise(const Loss& a, const Rule& rule, std::int64_t count) {
    const std::int64_t size = a.rows * a.classes;
    const Vec grad_scale = set1(a.scale / static_cast<float>(count));
    Sum64 sum;
    if (size < kWidth) {
        short_samples(a, rule, size, grad_scale, sum);
    } else {
        for (std::int64_t s = 0; s < a.batch; ++s) {
            const Vec w = set1(a.weight ? a.weight[s] : 1.0f);
            elements(
                rule, size, a.prediction + s * a.prediction_stride, a.target + s * a.target_stride,
                [&](std::int64_t, auto) { return w; }, grad_scale,
                a.grad ? a.grad + s * a.grad_stride : nullptr,
                a.activated ? a.activated + s * a.activated_stride : nullptr, sum);
        }
    }
    *a.loss += sum.total() / static_cast<double>(count);
}

template <bool kFromLogits>
void binary_focal(const Loss& a, const Smoothing& smoothing) {
    const bool balanced = a.b >= 0.0;
    const Vec one = set1(balanced ? static_cast<float>(a.b) : 1.0f);
    const Vec zero = set1(balanced ? static_cast<float>(1.0 - a.b) : 1.0f);
    elementwise(a, BinaryFocal<kFromLogits>{smoothing, static_cast<float>(a.a), one, zero}, a.classes);
}

}  // namespace

void elementwise_loss(const Loss& a) {
    const Smoothing smoothing = smoothing_of(a, 2.0f);
    const std::int64_t n = a.classes;
    switch (a.kind) {
        case LossKind::binary_crossentropy:
            return a.from_logits ? elementwise(a, BinaryFromLogits{smoothing}, n)
                                 : elementwise(a, BinaryFromProbabilities{smoothing}, n);
        case LossKind::mean_squared_error:
            return elementwise(a, SquaredError{}, n);
        case LossKind::mean_absolute_error:
            return elementwise(a, AbsoluteError{}, n);
        case LossKind::mean_absolute_percentage_error:
            return elementwise(a, PercentageError{}, n);
        case LossKind::mean_squared_logarithmic_error:
            return elementwise(a, SquaredLogarithmicError{}, n);
        case LossKind::huber:
            return elementwise(a, Huber{set1(static_cast<float>(a.a))}, n);
        case LossKind::log_cosh:
            return elementwise(a, LogCosh{}, n);
        case LossKind::poisson:
            return elementwise(a, PoissonError{}, n);
        case LossKind::hinge:
            return elementwise(a, HingeError<false>{}, n);
        case LossKind::squared_hinge:
            return elementwise(a, HingeError<true>{}, n);
        case LossKind::kl_divergence:
            return elementwise(a, Divergence{}, 1);
        case LossKind::binary_focal_crossentropy:
            return a.from_logits ? binary_focal<true>(a, smoothing) : binary_focal<false>(a, smoothing);
        default:
            return;
    }
}

}  // namespace fastcnn::FASTCNN_ISA
