// Functions of one number and their derivatives, one pass over memory.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

FASTCNN_INLINE Vec clamp(Vec x, float low, float high) { return min(set1(high), max(set1(low), x)); }

FASTCNN_INLINE Mask between(Vec x, float low, float high) {
    return mask_and(ge(x, set1(low)), ge(set1(high), x));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): nothing overflows.
FASTCNN_INLINE Vec softplus(Vec x) { return add(max(zero(), x), log1p(exp(sub(zero(), abs(x))))); }

// t = tanh(softplus(x)) = (w^2 + 2 w) / (w^2 + 2 w + 2) with w = e^x, and 1 - t^2. For positive x both sides
// are divided by w^2, so that only e^-|x| is needed.
struct MishGate {
    Vec t, derivative;
};
FASTCNN_INLINE MishGate mish_gate(Vec x) {
    const Vec e = exp(sub(zero(), abs(x))), square = mul(e, e), twice = add(e, e);
    const Mask negative = gt(zero(), x);
    const Vec numerator = select(negative, add(square, twice), add(set1(1.0f), twice));
    const Vec missing = select(negative, set1(2.0f), add(square, square));
    const Vec inverse = div(set1(1.0f), add(numerator, missing));
    const Vec t = mul(numerator, inverse);
    return {t, mul(mul(missing, inverse), add(set1(1.0f), t))};
}

// 2 sqrt(2 / pi) (x + 0.044715 x^3), and its derivative.
FASTCNN_INLINE Vec gelu_logit(Vec x) {
    return mul(x, fma(mul(x, x), set1(0.0713548162726f), set1(1.59576912161f)));
}
FASTCNN_INLINE Vec gelu_logit_derivative(Vec x) {
    return fma(mul(x, x), set1(0.214064448818f), set1(1.59576912161f));
}

// Each function as a struct: f(x) and its derivative d(x). A NaN that a comparison would lose is put back by
// the caller.
struct Constants {
    Vec a, b, c;
};

struct ReluFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const {
        // 0 and not -0 without a slope, at -infinity too.
        const Vec below = select(eq(a, zero()), zero(), mul(a, sub(x, c)));
        return select(gt(x, c), min(x, b), below);
    }
    FASTCNN_INLINE Vec d(Vec x) const { return select(gt(x, c), select(ge(b, x), set1(1.0f), zero()), a); }
};
struct EluFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return mul(c, select(gt(x, zero()), x, mul(a, expm1(mul(b, x))))); }
    FASTCNN_INLINE Vec d(Vec x) const {
        return mul(c, select(gt(x, zero()), set1(1.0f), mul(mul(a, b), exp(mul(b, x)))));
    }
};
struct ExponentialFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return exp(x); }
    FASTCNN_INLINE Vec d(Vec x) const { return exp(x); }
};
struct GeluFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return mul(x, normal_distribution(x).below); }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Normal n = normal_distribution(x);
        return fma(x, n.density, n.below);
    }
};
struct GeluTanhFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return mul(x, sigmoid(gelu_logit(x))); }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Sigmoid s = sigmoid_pair(gelu_logit(x));
        return mul(s.p, fma(mul(x, s.complement), gelu_logit_derivative(x), set1(1.0f)));
    }
};
struct SiluFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return mul(x, sigmoid(x)); }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Sigmoid s = sigmoid_pair(x);
        return mul(s.p, fma(x, s.complement, set1(1.0f)));
    }
};
struct MishFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return mul(x, mish_gate(x).t); }
    FASTCNN_INLINE Vec d(Vec x) const {
        const MishGate gate = mish_gate(x);
        return fma(mul(x, gate.derivative), sigmoid(x), gate.t);
    }
};
struct SoftplusFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return softplus(x); }
    FASTCNN_INLINE Vec d(Vec x) const { return sigmoid(x); }
};
struct LogSigmoidFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return sub(zero(), softplus(sub(zero(), x))); }
    FASTCNN_INLINE Vec d(Vec x) const { return sigmoid_pair(x).complement; }
};
struct SoftsignFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return div(x, add(set1(1.0f), abs(x))); }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Vec r = div(set1(1.0f), add(set1(1.0f), abs(x)));
        return mul(r, r);
    }
};
struct SquareplusFunction : Constants {
    FASTCNN_INLINE Vec root(Vec x) const { return sqrt(fma(x, x, a)); }
    // Below zero as a quotient, where the sum would cancel.
    FASTCNN_INLINE Vec f(Vec x) const {
        const Vec sum = add(abs(x), root(x)), half = set1(0.5f);
        return mul(half, select(gt(zero(), x), div(a, sum), sum));
    }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Vec sum = add(abs(x), root(x)), positive = div(mul(set1(0.5f), sum), root(x));
        return select(gt(zero(), x), div(mul(set1(0.5f), a), mul(sum, root(x))), positive);
    }
};
struct HardSigmoidFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const {
        return mul(set1(1.0f / 6.0f), clamp(add(x, set1(3.0f)), 0.0f, 6.0f));
    }
    FASTCNN_INLINE Vec d(Vec x) const { return select(between(x, -3.0f, 3.0f), set1(1.0f / 6.0f), zero()); }
};
struct HardSiluFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const {
        return mul(x, mul(set1(1.0f / 6.0f), clamp(add(x, set1(3.0f)), 0.0f, 6.0f)));
    }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Vec inner = fma(x, set1(1.0f / 3.0f), set1(0.5f));
        return select(between(x, -3.0f, 3.0f), inner, select(gt(x, zero()), set1(1.0f), zero()));
    }
};
struct HardTanhFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return clamp(x, -1.0f, 1.0f); }
    FASTCNN_INLINE Vec d(Vec x) const { return select(between(x, -1.0f, 1.0f), set1(1.0f), zero()); }
};
struct HardShrinkFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return select(gt(abs(x), a), x, zero()); }
    FASTCNN_INLINE Vec d(Vec x) const { return select(gt(abs(x), a), set1(1.0f), zero()); }
};
struct SoftShrinkFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const {
        const Vec below = select(gt(sub(zero(), a), x), add(x, a), zero());
        return select(gt(x, a), sub(x, a), below);
    }
    FASTCNN_INLINE Vec d(Vec x) const { return select(gt(abs(x), a), set1(1.0f), zero()); }
};
struct TanhShrinkFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return sub(x, tanh(x)); }
    FASTCNN_INLINE Vec d(Vec x) const {
        const Vec t = tanh(x);
        return mul(t, t);
    }
};
struct ThresholdFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return select(gt(x, a), x, b); }
    FASTCNN_INLINE Vec d(Vec x) const { return select(gt(x, a), set1(1.0f), zero()); }
};
struct SparsePlusFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const {
        const Vec half = mul(set1(0.5f), max(zero(), add(x, set1(1.0f))));
        return select(ge(x, set1(1.0f)), x, mul(half, half));
    }
    FASTCNN_INLINE Vec d(Vec x) const { return mul(set1(0.5f), clamp(add(x, set1(1.0f)), 0.0f, 2.0f)); }
};
struct SparseSigmoidFunction : Constants {
    FASTCNN_INLINE Vec f(Vec x) const { return mul(set1(0.5f), clamp(add(x, set1(1.0f)), 0.0f, 2.0f)); }
    FASTCNN_INLINE Vec d(Vec x) const {
        return select(mask_and(gt(x, set1(-1.0f)), gt(set1(1.0f), x)), set1(0.5f), zero());
    }
};

// visit(function) with the struct of `kind`.
template <class Visit>
FASTCNN_INLINE void with_function(Function kind, const Constants& constants, const Visit& visit) {
    switch (kind) {
        case Function::relu:
            return visit(ReluFunction{constants});
        case Function::elu:
            return visit(EluFunction{constants});
        case Function::exponential:
            return visit(ExponentialFunction{constants});
        case Function::gelu:
            return visit(GeluFunction{constants});
        case Function::gelu_tanh:
            return visit(GeluTanhFunction{constants});
        case Function::silu:
            return visit(SiluFunction{constants});
        case Function::mish:
            return visit(MishFunction{constants});
        case Function::softplus:
            return visit(SoftplusFunction{constants});
        case Function::log_sigmoid:
            return visit(LogSigmoidFunction{constants});
        case Function::softsign:
            return visit(SoftsignFunction{constants});
        case Function::squareplus:
            return visit(SquareplusFunction{constants});
        case Function::hard_sigmoid:
            return visit(HardSigmoidFunction{constants});
        case Function::hard_silu:
            return visit(HardSiluFunction{constants});
        case Function::hard_tanh:
            return visit(HardTanhFunction{constants});
        case Function::hard_shrink:
            return visit(HardShrinkFunction{constants});
        case Function::soft_shrink:
            return visit(SoftShrinkFunction{constants});
        case Function::tanh_shrink:
            return visit(TanhShrinkFunction{constants});
        case Function::threshold:
            return visit(ThresholdFunction{constants});
        case Function::sparse_plus:
            return visit(SparsePlusFunction{constants});
        case Function::sparse_sigmoid:
            return visit(SparseSigmoidFunction{constants});
    }
}

FASTCNN_INLINE Vec keep_nan(Vec x, Vec y) { return select(is_nan(x), x, y); }

void elementwise_forward(const ElementwiseForward& a) {
    with_function(a.kind, {set1(a.a), set1(a.b), set1(a.c)}, [&](const auto& function) {
        for (std::int64_t s = 0; s < a.batch; ++s) {
            const float* from = a.x + s * a.x_stride;
            float* to = a.y + s * a.y_stride;
            for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
                const Vec x = lanes.load(from + i);
                lanes.store(to + i, keep_nan(x, function.f(x)));
            });
        }
    });
}

void elementwise_backward(const ElementwiseBackward& a) {
    with_function(a.kind, {set1(a.a), set1(a.b), set1(a.c)}, [&](const auto& function) {
        for (std::int64_t s = 0; s < a.batch; ++s) {
            const float* at = a.x + s * a.x_stride;
            const float* from = a.dy + s * a.dy_stride;
            float* to = a.dx + s * a.dx_stride;
            for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
                const Vec x = lanes.load(at + i);
                lanes.store(to + i, keep_nan(x, mul(lanes.load(from + i), function.d(x))));
            });
        }
    });
}

}  // namespace

const Kernel<ElementwiseForward> elementwise_forward_direct = {elementwise_forward};
const Kernel<ElementwiseBackward> elementwise_backward_direct = {elementwise_backward};

}  // namespace fastcnn::FASTCNN_ISA
