#include "engine/amx.h"

#include "kernels/amx.h"

namespace fastcnn {

namespace {

Window only(std::int64_t size) { return window(size, 1, 1, 1, Padding::valid); }
Window whole(std::int64_t size) { return window(size, size, 1, 1, Padding::valid); }

AmxPlan of_conv(const FusedOp& op, const Conv2dOp& conv) {
    AmxPlan plan{conv.h,     conv.w,    {op.in.back(), conv.groups}, {conv.filters, conv.groups}, {},
                 conv.h.out, conv.w.out};
    if (!op.pool) return plan;
    plan.pool = {op.pool->h.size, op.pool->w.size};
    plan.out_height = op.pool->h.out;
    plan.out_width = op.pool->w.out;
    return plan;
}

// Why tiles cannot compute this, or null.
const char* declines(const FusedOp& op) {
    if (op.norm) return "a normalisation is folded into its weights";
    const auto* conv = std::get_if<Conv2dOp>(&op.op);
    if (!conv) return nullptr;
    const AmxPlan plan = of_conv(op, *conv);
    if (!amx_fills(plan.channels, plan.filters)) return "groups of few channels";
    if (!op.pool) return nullptr;
    const auto disjoint = [](const Window& w) { return w.stride == w.size && !w.pad && !w.pad_end(); };
    if (!disjoint(op.pool->h) || !disjoint(op.pool->w)) return "pooling windows overlap or pad";
    if (op.pool->h.size * op.pool->w.size > kAmxPositions) return "pooling windows of more than 16 positions";
    return nullptr;
}

// Rows of inputs as positions of an image.
AmxPlan of_dense(const FusedOp& op, const DenseOp& dense) {
    const std::int64_t rows = size_of(op.in) / dense.inputs;
    return {only(1), only(rows), {dense.inputs}, {dense.units}, {}, 1, rows};
}

bool plain(ActivationName name) { return name == ActivationName::linear || name == ActivationName::relu; }

// Whether `next` can read what `op` writes as an image; then it is made to.
bool link(const FusedOp& op, FusedOp& next) {
    const AmxPlan& from = *op.amx;
    AmxPlan& to = *next.amx;
    if (!plain(op.activation) || op.gradient_above) return false;
    if (std::holds_alternative<Conv2dOp>(next.op))
        return to.h.in == from.out_height && to.w.in == from.out_width && to.channels.same_as(from.filters);
    const auto& dense = std::get<DenseOp>(next.op);
    // Its channels are one group.
    if (size_of(next.in) != dense.inputs ||
        dense.inputs != from.out_height * from.out_width * from.filters.count ||
        !from.filters.same_as({from.filters.count}))
        return false;
    to.h = whole(from.out_height);
    to.w = whole(from.out_width);
    to.channels = {from.filters.count};
    to.out_height = to.out_width = 1;
    return true;
}

}  // namespace

AmxImage image_of(const AmxPlan& plan, std::int64_t samples) {
    return {nullptr,
            plan.out_height,
            plan.out_width,
            plan.y_is_image ? plan.y_left : 0,
            plan.y_is_image ? plan.y_right : 0,
            samples,
            plan.filters,
            plan.y_is_image ? plan.y_stride : 1};
}

void plan_amx(std::vector<FusedOp>& ops, const std::vector<bool>& at_once, const std::vector<bool>& flat) {
    for (std::size_t i = 0; i < ops.size(); ++i) {
        FusedOp& op = ops[i];
        const auto* conv = std::get_if<Conv2dOp>(&op.op);
        const auto* dense = std::get_if<DenseOp>(&op.op);
        if (!op.bfloat16 || (!conv && !dense)) continue;
        if (!amx_level()) {
            op.amx_declined = amx_level().declined;
        } else if (const char* reason = declines(op)) {
            op.amx_declined = reason;
        } else {
            op.amx = conv ? of_conv(op, *conv) : of_dense(op, *dense);
        }
    }
    for (std::size_t i = 1; i < ops.size(); ++i) {
        if (!ops[i - 1].amx || !ops[i].amx || at_once[i - 1]) continue;
        if (flat[i] && ops[i - 1].amx->filters.count % 32) continue;
        if (!link(ops[i - 1], ops[i])) continue;
        AmxPlan &from = *ops[i - 1].amx, &to = *ops[i].amx;
        from.y_is_image = to.x_is_image = true;
        from.y_left = to.w.pad > 0 ? to.w.pad : 0;
        from.y_right = to.w.pad_end();
        from.y_stride = to.w.stride;
    }
}

}  // namespace fastcnn
