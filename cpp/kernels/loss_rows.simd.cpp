// Losses whose elements depend on their row: focal cross-entropy, hinge, cosine.
#include "kernels/loss.h"
#include "kernels/softmax.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// With q = softmax(x) or x / sum x, c = clip(q) and u = 1 - c:
//   loss = -sum_i w_i u_i^a t_i log c_i,   g_i = d loss / d q_i = w_i t_i (a u_i^(a-1) log c_i - u_i^a / c_i)
// where c_i = q_i and else 0; from d q_i / d x_j = ([i = j] - q_i) / S, or times q_j of a softmax:
//   d loss / d x_j = (g_j - sum_i q_i g_i) (1 / S or q_j)
struct Focal {
    Smoothing smoothing;
    float gamma, alpha;
    const float* class_weights;
    bool from_logits;

    struct Terms {
        Vec q, loss, slope;
    };
    struct Divided {
        float highest, inverse;
    };

    template <class Lanes>
    FASTCNN_INLINE Terms terms(const LossRow& row, const Divided& d, std::int64_t i, Lanes lanes) const {
        const Vec one = set1(1.0f), x = lanes.load(row.x + i);
        const Vec q =
            from_logits ? mul(exp(sub(x, set1(d.highest))), set1(d.inverse)) : mul(x, set1(d.inverse));
        const Vec c = clip(q), u = sub(one, c), logarithm = log(c);
        const Vec t = smoothing(row.target + i, lanes);
        const Vec w = mul(t, class_weights ? lanes.load(class_weights + i) : set1(alpha));
        const Vec factor = power(u, gamma);
        Vec slope = sub(zero(), div(factor, c));
        if (gamma != 0.0f) slope = fma(mul(set1(gamma), power(u, gamma - 1.0f)), logarithm, slope);
        return {q, lanes.keep(sub(zero(), mul(w, mul(factor, logarithm)))),
                select(is_clipped(q), zero(), mul(w, slope))};
    }

    float operator()(const LossRow& row) const {
        Divided d = {};
        if (from_logits) {
            d.highest = row_max(row.x, row.classes);
            const RowSums sums = row_exp(row.x, row.classes, d.highest, [](std::int64_t, auto, Vec) {});
            d.inverse = 1.0f / (sums.top + sums.rest);
        } else {
            Vec sum = zero();
            for_each_vector(row.classes,
                            [&](std::int64_t i, auto lanes) { sum = add(sum, lanes.load(row.x + i)); });
            d.inverse = 1.0f / reduce_add(sum);
        }
        Vec loss = zero(), dot = zero();
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
            const Terms now = terms(row, d, i, lanes);
            loss = add(loss, now.loss);
            dot = add(dot, lanes.keep(mul(now.q, now.slope)));
        });
        const Vec mean = set1(reduce_add(dot)), w = set1(row.weight);
        if (row.grad || row.activated)
            for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
                const Terms now = terms(row, d, i, lanes);
                const Vec by_x = from_logits ? now.q : set1(d.inverse);
                if (row.activated) lanes.store(row.activated + i, now.q);
                if (row.grad) lanes.store(row.grad + i, mul(w, mul(by_x, sub(now.slope, mean))));
            });
        return reduce_add(loss);
    }
};

// max(0, max_i (1 - t_i) p_i - sum_i t_i p_i + 1); the first of equal maxima has the gradient.
float hinge_row(const LossRow& row) {
    const Vec one = set1(1.0f), lowest = set1(-__builtin_inff());
    Vec dot = zero(), highest = lowest;
    for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
        const Vec p = lanes.load(row.x + i), t = lanes.load(row.target + i);
        dot = fma(t, p, dot);
        highest = max(lanes.keep(mul(sub(one, t), p), lowest), highest);
    });
    const float negative = reduce_max(highest), margin = negative - reduce_add(dot) + 1.0f;
    if (row.grad) {
        const bool inside = !(margin <= 0.0f);  // NaN goes on
        std::int64_t first = -1;
        for (std::int64_t i = 0; inside && first < 0 && i < row.classes; ++i)
            if ((1.0f - row.target[i]) * row.x[i] == negative) first = i;
        const Vec w = set1(!inside ? 0.0f : margin != margin ? margin : -row.weight);
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
            lanes.store(row.grad + i, mul(w, lanes.load(row.target + i)));
        });
        if (first >= 0) row.grad[first] += row.weight * (1.0f - row.target[first]);
    }
    return margin < 0.0f ? 0.0f : margin;
}

// With n = 1 / |p| (1e7 at most, and then constant) and m likewise of t: loss = -m n sum t p,
// d loss / dp = -n (m t - n^2 (m sum t p) p).
float cosine_row(const LossRow& row) {
    constexpr float kHighest = 1.0f / kLossEpsilon;
    Vec dot = zero(), p_squares = zero(), t_squares = zero();
    for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
        const Vec p = lanes.load(row.x + i), t = lanes.load(row.target + i);
        dot = fma(t, p, dot);
        p_squares = fma(p, p, p_squares);
        t_squares = fma(t, t, t_squares);
    });
    const auto inverse = [](Vec squares) {
        float found[kWidth];
        store(found, div(set1(1.0f), sqrt(set1(reduce_add(squares)))));
        return found[0];
    };
    float n = inverse(p_squares), m = inverse(t_squares);
    const bool is_constant = n > kHighest;
    if (is_constant) n = kHighest;
    if (m > kHighest) m = kHighest;
    const float cosine = m * n * reduce_add(dot);
    if (row.grad) {
        const Vec by_t = set1(-row.weight * n * m),
                  by_p = set1(is_constant ? 0.0f : row.weight * n * n * cosine);
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) {
            const Vec t = lanes.load(row.target + i), p = lanes.load(row.x + i);
            lanes.store(row.grad + i, fma(by_t, t, mul(by_p, p)));
        });
    }
    return -cosine;
}

float generalized_row(const LossRow& row, float q) {
    const Vec p = set1(row.x[row.target_class]);
    float raised[kWidth], slope[kWidth];
    store(raised, power(p, q));
    store(slope, power(p, q - 1.0f));
    if (row.grad) {
        for_each_vector(row.classes, [&](std::int64_t i, auto lanes) { lanes.store(row.grad + i, zero()); });
        row.grad[row.target_class] = -row.weight * slope[0];
    }
    return (1.0f - raised[0]) / q;
}

}  // namespace

void row_loss(const Loss& a) {
    switch (a.kind) {
        case LossKind::categorical_focal_crossentropy: {
            const Smoothing smoothing = smoothing_of(a, static_cast<float>(a.classes));
            return for_each_loss_row(a, Focal{smoothing, static_cast<float>(a.a), static_cast<float>(a.b),
                                              a.class_weights, a.from_logits});
        }
        case LossKind::categorical_hinge:
            return for_each_loss_row(a, hinge_row);
        case LossKind::cosine_similarity:
            return for_each_loss_row(a, cosine_row);
        default:
            return for_each_loss_row(
                a, [&](const LossRow& row) { return generalized_row(row, static_cast<float>(a.a)); });
    }
}

}  // namespace fastcnn::FASTCNN_ISA
