// Losses: value, gradient and probabilities of a row in one visit.
//
// Differences of nearly equal numbers are avoided where a network is confident: a probability's complement is
// computed beside it (1 - p near p = 1 would keep few of p's digits), so the gradient p - t of a target t in
// {0, 1} and the loss itself keep their relative accuracy however small they become.
#include "kernels/loss.h"
#include "kernels/rows.h"
#include "kernels/softmax.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// With m = max x, e_i = exp(x_i - m) and S = sum e:  loss = T log S - sum_i t_i (x_i - m),  T = sum t,
// d loss / d x_i = T e_i / S - t_i. The exponentials are kept in the row's result, or in a buffer where they
// fit.
float from_logits_row(const LossRow& row, const Smoothing& smoothing) {
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
float from_probabilities_row(const LossRow& row, const Smoothing& smoothing) {
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

void loss(const Loss& a) {
    switch (a.kind) {
        case LossKind::categorical_crossentropy:
        case LossKind::sparse_categorical_crossentropy: {
            const Smoothing smoothing = smoothing_of(a, static_cast<float>(a.classes));
            return for_each_loss_row(a, [&](const LossRow& row) {
                return a.from_logits ? from_logits_row(row, smoothing)
                                     : from_probabilities_row(row, smoothing);
            });
        }
        case LossKind::categorical_focal_crossentropy:
        case LossKind::categorical_hinge:
        case LossKind::cosine_similarity:
        case LossKind::categorical_generalized_cross_entropy:
            return row_loss(a);
        default:
            return elementwise_loss(a);
    }
}

}  // namespace

const Kernel<Loss> loss_direct = {loss};

}  // namespace fastcnn::FASTCNN_ISA
