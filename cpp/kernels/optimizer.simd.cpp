// Gradient reduction and parameter updates: one pass over the flat buffers, each byte touched once.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// ------------------------------------------------------------------------------------------- sums over lanes

FASTCNN_INLINE Vec sign(Vec x) {
    const Vec one = set1(1.0f);
    return select(gt(x, zero()), one, select(gt(zero(), x), sub(zero(), one), zero()));
}

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

// -------------------------------------------------------------------------------------------------
// optimizers

// What every rule shares: the scaled and clipped gradient, and the parameter after weight decay.
struct Step {
    const OptimizerUpdate& a;
    Vec scale = set1(a.gradient_scale), limit = set1(a.clip_value > 0.0f ? a.clip_value : __builtin_inff());
    Vec lower = sub(zero(), limit), decay = set1(a.weight_decay), rate = set1(a.learning_rate);

    template <class Lanes>
    FASTCNN_INLINE Vec gradient(std::int64_t i, Lanes lanes) const {
        return min(limit, max(lower, mul(lanes.load(a.gradient + i), scale)));  // in this order NaN stays
    }
    template <class Lanes>
    FASTCNN_INLINE Vec param(std::int64_t i, Lanes lanes) const {
        const Vec p = lanes.load(a.param + i);
        return a.weight_decay != 0.0f ? fnma(mul(p, decay), rate, p) : p;
    }
};

void sgd(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec momentum = set1(a.momentum);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec change = mul(step.rate, step.gradient(i, lanes));
        const Vec p = step.param(i, lanes);
        if (a.momentum == 0.0f) return lanes.store(a.param + i, sub(p, change));
        const Vec m = sub(mul(momentum, lanes.load(a.m + i)), change);
        lanes.store(a.m + i, m);
        lanes.store(a.param + i, add(p, a.nesterov ? sub(mul(momentum, m), change) : m));
    });
}

#if defined(__AVX512F__)
// numerator / (sqrt(v) + epsilon), from the 14-bit estimates of 1 / sqrt and 1 / x and one Newton step each:
// relative error 2e-7, as division and square root have. A whole update takes 15 % less time with it where
// the parameters are in L1 or L2 (denormals flushed; with denormal moments that are not, everything takes
// many times longer).
//
// r ~ 1 / sqrt(v), t = v r, sqrt(v) ~ t + t (1/2 - t r / 2): of the forms of the step the one whose terms are
// normal numbers where v is subnormal. r is kept finite, so v = 0 gives t = 0. For v = infinity the estimates
// meet as 0 * infinity; what is wanted there is numerator / infinity. `epsilon` is a normal number (see
// adam).
FASTCNN_INLINE Vec adam_ratio(Vec numerator, Vec v, Vec epsilon) {
    const Vec half = set1(0.5f), one = set1(1.0f);
    const Vec r = min(set1(__FLT_MAX__), _mm512_rsqrt14_ps(v));
    const Vec t = mul(v, r);
    const Vec root = fma(t, fnma(mul(half, t), r, half), t);
    const Vec denominator = add(root, epsilon);
    const Vec estimate = _mm512_rcp14_ps(denominator);
    const Vec inverse = fma(estimate, fnma(denominator, estimate, one), estimate);
    return mul(numerator, select(eq(v, set1(__builtin_inff())), zero(), inverse));
}
#endif

FASTCNN_INLINE Vec adam_ratio_exact(Vec numerator, Vec v, Vec epsilon) {
    return div(numerator, add(sqrt(v), epsilon));
}

// 1 - beta is formed in double: beta_2 = 0.999 rounded to float32 would be off by 5e-5 there.
template <bool amsgrad, class Ratio>
FASTCNN_INLINE void adam_rule(const OptimizerUpdate& a, const Ratio& ratio) {
    const Step step{a};
    const Vec alpha = set1(a.alpha), epsilon = set1(a.epsilon);
    const Vec fresh_1 = set1(static_cast<float>(1.0 - a.beta_1)),
              fresh_2 = set1(static_cast<float>(1.0 - a.beta_2));
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes);
        Vec m = lanes.load(a.m + i), v = lanes.load(a.v + i);
        m = fma(sub(g, m), fresh_1, m);
        v = fma(sub(mul(g, g), v), fresh_2, v);
        lanes.store(a.m + i, m);
        lanes.store(a.v + i, v);
        if constexpr (amsgrad) {
            v = max(lanes.load(a.u + i), v);
            lanes.store(a.u + i, v);
        }
        lanes.store(a.param + i, sub(step.param(i, lanes), ratio(mul(m, alpha), v, epsilon)));
    });
}

template <class Ratio>
FASTCNN_INLINE void adam_with(const OptimizerUpdate& a, const Ratio& ratio) {
    a.amsgrad ? adam_rule<true>(a, ratio) : adam_rule<false>(a, ratio);
}

void adam(const OptimizerUpdate& a) {
#if defined(__AVX512F__)
    // Below this, the estimates' treatment of subnormal v (and of their flushing to zero) could show.
    if (a.epsilon >= 1e-11f)
        return adam_with(a, [](Vec n, Vec v, Vec epsilon) { return adam_ratio(n, v, epsilon); });
#endif
    adam_with(a, [](Vec n, Vec v, Vec epsilon) { return adam_ratio_exact(n, v, epsilon); });
}

void rmsprop(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec rho = set1(static_cast<float>(a.rho)), fresh = set1(static_cast<float>(1.0 - a.rho));
    const Vec epsilon = set1(a.epsilon), momentum = set1(a.momentum);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes);
        const Vec v = fma(rho, lanes.load(a.v + i), mul(fresh, mul(g, g)));
        lanes.store(a.v + i, v);
        Vec denominator = v;
        if (a.centered) {
            const Vec u = fma(rho, lanes.load(a.u + i), mul(fresh, g));
            lanes.store(a.u + i, u);
            denominator = fnma(u, u, v);
        }
        Vec change = div(mul(step.rate, g), sqrt(add(denominator, epsilon)));
        if (a.momentum > 0.0f) {
            change = fma(momentum, lanes.load(a.m + i), change);
            lanes.store(a.m + i, change);
        }
        lanes.store(a.param + i, sub(step.param(i, lanes), change));
    });
}

void optimizer_update(const OptimizerUpdate& a) {
    switch (a.kind) {
        case OptimizerKind::sgd:
            return sgd(a);
        case OptimizerKind::adam:
            return adam(a);
        case OptimizerKind::rmsprop:
            return rmsprop(a);
    }
}

}  // namespace

const Kernel<SumGradients> sum_gradients_direct = {sum_gradients};
const Kernel<SumGradientsTransposed> sum_gradients_transposed_direct = {sum_gradients_transposed};
const Kernel<OptimizerUpdate> optimizer_update_direct = {optimizer_update};

}  // namespace fastcnn::FASTCNN_ISA
