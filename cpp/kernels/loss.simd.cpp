// Losses: value, gradient and probabilities of a row in one visit.
//
// Differences of nearly equal numbers are avoided where a network is confident: a probability's complement is
// computed beside it (1 - p near p = 1 would keep few of p's digits), so the gradient p - t of a target t in
// {0, 1} and the loss itself keep their relative accuracy however small they become.
#include "kernels/rows.h"
#include "kernels/softmax.h"
#include "simd/lanes.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

constexpr float kClipLow = 1e-7f;
constexpr float kClipHigh = 1.0f - 1e-7f;

// NaN stays.
FASTCNN_INLINE Vec clip(Vec p) { return min(set1(kClipHigh), max(set1(kClipLow), p)); }
FASTCNN_INLINE Mask is_clipped(Vec p) { return mask_or(gt(set1(kClipLow), p), gt(p, set1(kClipHigh))); }

// T p - t = (T - t) p - t (1 - p), without the cancellation near p = 1.
FASTCNN_INLINE Vec residual(Vec total, Vec t, Vec p, Vec complement) {
    return fnma(t, complement, mul(sub(total, t), p));
}

// ------------------------------------------------------------------------------------------ elementwise
// losses

// Of one element; loss and gradient before the mean over the row and the sample's weight.
struct Element {
    Vec loss, grad, activated;
};

struct BinaryFromLogits {
    Vec smooth_scale, smooth_shift;

    // -(t log p + (1 - t) log(1 - p)) = (1 - t) x - log p,  log p = min(x, 0) - log(1 + e^-|x|)
    FASTCNN_INLINE Element operator()(Vec x, Vec target) const {
        const Vec one = set1(1.0f);
        const Vec t = fma(target, smooth_scale, smooth_shift);
        const Sigmoid s = sigmoid_pair(x);
        const Vec log_p = sub(min(zero(), x), log1p(s.e));
        return {sub(mul(sub(one, t), x), log_p), residual(one, t, s.p, s.complement), s.p};
    }
};

struct BinaryFromProbabilities {
    Vec smooth_scale, smooth_shift;

    FASTCNN_INLINE Element operator()(Vec prediction, Vec target) const {
        const Vec one = set1(1.0f);
        const Vec t = fma(target, smooth_scale, smooth_shift);
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

template <class Rule>
void elementwise(const Loss& a, const Rule& rule) {
    const std::int64_t size = a.rows * a.classes;
    const Vec grad_scale = set1(a.scale / static_cast<float>(a.classes));
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
    *a.loss += sum.total() / static_cast<double>(a.classes);
}

// ----------------------------------------------------------------------------------------- categorical
// losses

// One row; target or target_class, grad and activated may be null. The weight is for the gradient.
struct CategoricalRow {
    std::int64_t classes;
    const float* x;
    const float* target;  // null: sparse
    std::int64_t target_class;
    float weight;
    float* grad;
    float* activated;
};

struct Smoothing {
    Vec scale, shift;
    template <class Lanes>
    FASTCNN_INLINE Vec operator()(const float* target, Lanes lanes) const {
        return lanes.keep(fma(lanes.load(target), scale, shift));
    }
};

// With m = max x, e_i = exp(x_i - m) and S = sum e:  loss = T log S - sum_i t_i (x_i - m),  T = sum t,
// d loss / d x_i = T e_i / S - t_i. The exponentials are kept in the row's result, or in a buffer where they
// fit.
float from_logits_row(const CategoricalRow& row, const Smoothing& smoothing) {
    alignas(64) float buffer[kShortRow];
    const bool is_short = row.classes <= kShortRow;
    float* kept = is_short ? buffer : row.activated ? row.activated : row.grad;
    const float highest = row_max(row.x, row.classes);
    const float target_x = row.target ? 0.0f : row.x[row.target_class];
    const Vec shift = set1(highest), one = set1(1.0f);

    Vec total_sum = zero(), dot_sum = zero();
    const RowSums sums = row_exp(row.x, row.classes, highest, [&](std::int64_t i, auto lanes, Vec e) {
        if (is_short)
            store(kept + i, e);
        else if (kept)
            lanes.store(kept + i, e);
        if (row.target) {
            const Vec t = smoothing(row.target + i, lanes);
            total_sum = add(total_sum, t);
            dot_sum = fma(t, lanes.keep(sub(lanes.load(row.x + i), shift)), dot_sum);
        }
    });
    const float total = row.target ? reduce_add(total_sum) : 1.0f;
    const float dot = row.target ? reduce_add(dot_sum) : target_x - highest;
    const float others = sums.rest + (sums.top - 1.0f);  // S - 1: S itself would round it off
    const float inverse = 1.0f / (sums.top + sums.rest);
    float log_sum[kWidth];
    store(log_sum, log1p(set1(others)));

    const Vec w = set1(row.weight), inv = set1(inverse), top_complement = set1(others * inverse);
    const float target_e = row.target || !kept ? 0.0f : kept[row.target_class];
    if (row.grad || row.activated)
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
            const Vec e = lanes.load(kept + i);
            const Vec p = mul(e, inv);
            if (row.activated) lanes.store(row.activated + i, p);
            if (!row.grad) return;
            if (!row.target) return lanes.store(row.grad + i, mul(w, p));
            const Vec complement = select(eq(e, one), top_complement, sub(one, p));
            lanes.store(row.grad + i,
                        mul(w, residual(set1(total), smoothing(row.target + i, lanes), p, complement)));
        });
    if (row.grad && !row.target)
        row.grad[row.target_class] =
            -row.weight * (target_e == 1.0f ? others * inverse : 1.0f - target_e * inverse);
    return total * log_sum[0] - dot;
}

// With q = x / S, S = sum x, and G the sum of t_i over the classes that the clip leaves alone:
//   loss = -sum_i t_i log clip(q_i),   d loss / d x_i = (G - [i not clipped] t_i / q_i) / S
// from d q_i / d x_j = ([i = j] - q_i) / S.
float from_probabilities_row(const CategoricalRow& row, const Smoothing& smoothing) {
    Vec row_sum = zero();
    for_each_vector(row.classes,
                    [&](std::int64_t i, auto lanes) { row_sum = add(row_sum, lanes.load(row.x + i)); });
    const float sum = reduce_add(row_sum);
    const Vec s = set1(sum), w = set1(row.weight / sum);

    if (!row.target) {
        const float x = row.x[row.target_class];  // before the gradient may take its place
        const Vec q = div(set1(x), s);
        float loss[kWidth], target_grad[kWidth], clipped[kWidth];
        store(loss, sub(zero(), log(clip(q))));
        store(clipped, select(is_clipped(q), zero(), set1(1.0f)));
        const Vec g = set1(clipped[0]);
        store(target_grad, mul(w, sub(g, select(is_clipped(q), zero(), div(set1(1.0f), q)))));
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
            if (row.activated) lanes.store(row.activated + i, div(lanes.load(row.x + i), s));
            if (row.grad) lanes.store(row.grad + i, mul(w, g));
        });
        if (row.grad) row.grad[row.target_class] = target_grad[0];
        return loss[0];
    }

    Vec loss = zero(), unclipped = zero();
    for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
        const Vec t = smoothing(row.target + i, lanes);
        const Vec q = div(lanes.load(row.x + i), s);
        loss = fnma(t, log(clip(q)), loss);
        unclipped = add(unclipped, select(is_clipped(q), zero(), t));
    });
    const Vec g = set1(reduce_add(unclipped));
    if (row.grad || row.activated)
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
            const Vec t = smoothing(row.target + i, lanes);
            const Vec q = div(lanes.load(row.x + i), s);
            if (row.activated) lanes.store(row.activated + i, q);
            if (row.grad) lanes.store(row.grad + i, mul(w, sub(g, select(is_clipped(q), zero(), div(t, q)))));
        });
    return reduce_add(loss);
}

void categorical(const Loss& a) {
    const bool sparse = a.kind == LossKind::sparse_categorical_crossentropy;
    const Smoothing smoothing = {set1(1.0f - a.label_smoothing),
                                 set1(a.label_smoothing / static_cast<float>(a.classes))};
    double sum = 0.0;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float weight = a.weight ? a.weight[s] : 1.0f;
        for (std::int64_t r = 0; r < a.rows; ++r) {
            const std::int64_t at = r * a.classes;
            const CategoricalRow row = {
                a.classes,
                a.prediction + s * a.prediction_stride + at,
                sparse ? nullptr : a.target + s * a.target_stride + at,
                sparse ? a.target_class[s * a.target_stride + r] : 0,
                a.scale * weight,
                a.grad ? a.grad + s * a.grad_stride + at : nullptr,
                a.activated ? a.activated + s * a.activated_stride + at : nullptr,
            };
            const float loss =
                a.from_logits ? from_logits_row(row, smoothing) : from_probabilities_row(row, smoothing);
            sum += static_cast<double>(weight) * static_cast<double>(loss);
        }
    }
    *a.loss += sum;
}

void loss(const Loss& a) {
    const Vec smooth_scale = set1(1.0f - a.label_smoothing), smooth_shift = set1(a.label_smoothing * 0.5f);
    switch (a.kind) {
        case LossKind::binary_crossentropy:
            return a.from_logits ? elementwise(a, BinaryFromLogits{smooth_scale, smooth_shift})
                                 : elementwise(a, BinaryFromProbabilities{smooth_scale, smooth_shift});
        case LossKind::categorical_crossentropy:
        case LossKind::sparse_categorical_crossentropy:
            return categorical(a);
        case LossKind::mean_squared_error:
            return elementwise(a, SquaredError{});
        case LossKind::mean_absolute_error:
            return elementwise(a, AbsoluteError{});
    }
}

}  // namespace

const Kernel<Loss> loss_direct = {loss};

}  // namespace fastcnn::FASTCNN_ISA
