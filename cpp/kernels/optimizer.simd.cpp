// Parameter updates: one pass over the flat buffers, each byte touched once.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/math.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// What every rule shares: the scaled and clipped gradient, and the parameter after weight decay.
struct Step {
    const OptimizerUpdate a;  // a copy, which no store can change
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
FASTCNN_INLINE void adam_rule(const OptimizerUpdate& args, const Ratio& ratio) {
    const OptimizerUpdate a = args;
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

void adadelta(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec rho = set1(static_cast<float>(a.rho)), fresh = set1(static_cast<float>(1.0 - a.rho));
    const Vec epsilon = set1(a.epsilon);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes);
        const Vec v = fma(rho, lanes.load(a.v + i), mul(fresh, mul(g, g)));
        const Vec u = lanes.load(a.u + i);
        const Vec change = div(mul(sqrt(add(u, epsilon)), g), sqrt(add(v, epsilon)));
        lanes.store(a.v + i, v);
        lanes.store(a.u + i, fma(rho, u, mul(fresh, mul(change, change))));
        lanes.store(a.param + i, fnma(step.rate, change, step.param(i, lanes)));
    });
}

void adagrad(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec epsilon = set1(a.epsilon);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes);
        const Vec v = fma(g, g, lanes.load(a.v + i));
        lanes.store(a.v + i, v);
        lanes.store(a.param + i, sub(step.param(i, lanes), div(mul(step.rate, g), sqrt(add(v, epsilon)))));
    });
}

void adamax(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec alpha = set1(a.alpha), epsilon = set1(a.epsilon), kept = set1(static_cast<float>(a.beta_2));
    const Vec fresh = set1(static_cast<float>(1.0 - a.beta_1));
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes);
        Vec m = lanes.load(a.m + i);
        m = fma(sub(g, m), fresh, m);
        const Vec v = max(mul(kept, lanes.load(a.v + i)), abs(g));
        lanes.store(a.m + i, m);
        lanes.store(a.v + i, v);
        lanes.store(a.param + i, sub(step.param(i, lanes), div(mul(alpha, m), add(v, epsilon))));
    });
}

void nadam(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec alpha = set1(a.alpha), gradient_rate = set1(a.gradient_rate), correction = set1(a.correction);
    const Vec fresh_1 = set1(static_cast<float>(1.0 - a.beta_1)),
              fresh_2 = set1(static_cast<float>(1.0 - a.beta_2));
    const Vec epsilon = set1(a.epsilon);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes);
        Vec m = lanes.load(a.m + i), v = lanes.load(a.v + i);
        m = fma(sub(g, m), fresh_1, m);
        v = fma(sub(mul(g, g), v), fresh_2, v);
        lanes.store(a.m + i, m);
        lanes.store(a.v + i, v);
        const Vec change = div(fma(alpha, m, mul(gradient_rate, g)), add(sqrt(mul(correction, v)), epsilon));
        lanes.store(a.param + i, sub(step.param(i, lanes), change));
    });
}

// w^power; the square root where it is one.
struct Power {
    const float power;
    FASTCNN_INLINE Vec operator()(Vec w) const {
        return power == 0.5f ? sqrt(w) : exp(mul(set1(power), log(w)));
    }
};

void ftrl(const OptimizerUpdate& a) {
    const Step step{a};
    const Power raised{a.power};
    const Vec per_rate = set1(1.0f / a.learning_rate), twice_l2 = set1(2.0f * a.l2);
    const Vec upper = set1(a.l1), lower = set1(-a.l1), shrinkage = set1(2.0f * a.shrinkage);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes), p = step.param(i, lanes), v = lanes.load(a.v + i);
        const Vec w = fma(g, g, v), root = raised(w);
        const Vec slope = mul(sub(root, raised(v)), per_rate);
        const Vec m = add(lanes.load(a.m + i), fnma(slope, p, fma(shrinkage, p, g)));
        lanes.store(a.m + i, m);
        lanes.store(a.v + i, w);
        lanes.store(a.param + i, div(sub(min(upper, max(lower, m)), m), fma(root, per_rate, twice_l2)));
    });
}

void lion(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec kept_1 = set1(static_cast<float>(a.beta_1)), fresh_1 = set1(static_cast<float>(1.0 - a.beta_1));
    const Vec kept_2 = set1(static_cast<float>(a.beta_2)), fresh_2 = set1(static_cast<float>(1.0 - a.beta_2));
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes), m = lanes.load(a.m + i);
        const Vec direction = fma(m, kept_1, mul(g, fresh_1));
        // NaN has no sign: it passes on itself.
        const Vec change = select(is_nan(direction), direction, sign(direction));
        lanes.store(a.m + i, fma(m, kept_2, mul(g, fresh_2)));
        lanes.store(a.param + i, fnma(step.rate, change, step.param(i, lanes)));
    });
}

void schedule_free_adamw(const OptimizerUpdate& a) {
    const Step step{a};
    const Vec alpha = set1(a.alpha), correction = set1(a.correction), mix = set1(a.mix);
    const Vec beta = set1(static_cast<float>(a.beta_1)), rest = set1(static_cast<float>(1.0 - a.beta_1));
    const Vec fresh = set1(static_cast<float>(1.0 - a.beta_2)), epsilon = set1(a.epsilon);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec g = step.gradient(i, lanes), old = lanes.load(a.m + i);
        Vec v = lanes.load(a.v + i);
        v = fma(sub(mul(g, g), v), fresh, v);
        const Vec m = sub(old, div(mul(alpha, g), add(sqrt(mul(correction, v)), epsilon)));
        const Vec x = div(fnma(rest, old, step.param(i, lanes)), beta);
        lanes.store(a.m + i, m);
        lanes.store(a.v + i, v);
        lanes.store(a.param + i, fma(beta, fma(mix, sub(m, x), x), mul(rest, m)));
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
        case OptimizerKind::adadelta:
            return adadelta(a);
        case OptimizerKind::adagrad:
            return adagrad(a);
        case OptimizerKind::adamax:
            return adamax(a);
        case OptimizerKind::nadam:
            return nadam(a);
        case OptimizerKind::ftrl:
            return ftrl(a);
        case OptimizerKind::lion:
            return lion(a);
        case OptimizerKind::schedule_free_adamw:
            return schedule_free_adamw(a);
    }
}

}  // namespace

const Kernel<OptimizerUpdate> optimizer_update_direct = {optimizer_update};

}  // namespace fastcnn::FASTCNN_ISA
