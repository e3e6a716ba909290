#include "engine/fuse.h"

namespace fastcnn {

namespace {

bool takes_activation(const FusedOp& step, const Node& node) {
    if (step.out != node.in) return false;  // a reshape in between
    if (step.activation != ActivationName::linear || step.pool) return false;
    return std::holds_alternative<Conv2dOp>(step.op) || std::holds_alternative<DenseOp>(step.op) ||
           std::holds_alternative<BatchNormOp>(step.op);
}

bool takes_pool(const FusedOp& step, const Node& node, const PoolOp& pool) {
    if (step.out != node.in) return false;
    const auto* conv = std::get_if<Conv2dOp>(&step.op);
    if (!conv || step.pool || pool.average || conv->groups != 1) return false;
    if (step.activation != ActivationName::linear && step.activation != ActivationName::relu) return false;
    // Windows that overlap by more than half would compute rows of the convolution again and again.
    return pool.h.size * pool.w.size <= 256 && pool.h.stride * 2 >= pool.h.size &&
           pool.w.stride * 2 >= pool.w.size;
}

void absorb(FusedOp& step, const Node& node) {
    step.layers += " + " + node.layer;
    step.out = node.out;
}

// Keras layers with an activation append two operations under one name.
void rename(FusedOp& step, const Node& node) {
    const std::size_t at = step.layers.rfind(' ');
    if (step.layers.substr(at == std::string::npos ? 0 : at + 1) == node.layer)
        step.out = node.out;
    else
        absorb(step, node);
}

}  // namespace

std::vector<FusedOp> fuse(const std::vector<Node>& nodes, bool training) {
    std::vector<FusedOp> steps;
    for (const Node& node : nodes) {
        FusedOp* last = steps.empty() ? nullptr : &steps.back();
        if (std::holds_alternative<ReshapeOp>(node.op)) continue;
        if (const auto* dropout = std::get_if<DropoutOp>(&node.op);
            dropout && (!training || dropout->rate == 0.0f))
            continue;
        if (const auto* activation = std::get_if<ActivationOp>(&node.op)) {
            if (activation->name == ActivationName::linear) continue;
            if (last && activation->name != ActivationName::softmax && takes_activation(*last, node)) {
                last->activation = activation->name;
                rename(*last, node);
                continue;
            }
        }
        if (const auto* pool = std::get_if<PoolOp>(&node.op);
            pool && last && takes_pool(*last, node, *pool)) {
            last->pool = *pool;
            absorb(*last, node);
            continue;
        }
        steps.push_back({node.layer, node.op, node.in, node.out, ActivationName::linear, std::nullopt});
    }
    return steps;
}

FusedLoss fuse_loss(std::vector<FusedOp>& ops, LossKind kind, bool from_logits) {
    if (from_logits) return {true, ActivationName::linear};
    if (ops.empty()) return {};
    const ActivationName wanted =
        kind == LossKind::binary_crossentropy ? ActivationName::sigmoid : ActivationName::softmax;
    if (kind == LossKind::mean_squared_error || kind == LossKind::mean_absolute_error) return {};
    FusedOp& last = ops.back();
    if (const auto* activation = std::get_if<ActivationOp>(&last.op);
        activation && activation->name == wanted) {
        ops.pop_back();
        return {true, wanted};
    }
    if (!last.pool && last.activation == wanted) {
        last.activation = ActivationName::linear;
        return {true, wanted};
    }
    return {};
}

}  // namespace fastcnn
