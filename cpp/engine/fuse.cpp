#include "engine/fuse.h"

#include <algorithm>
#include <array>

namespace fastcnn {

namespace {

// What an operation has to train, kAbsent where it has less.
std::array<int, 2> parameters_of(const Op& op) {
    if (const auto* conv = std::get_if<Conv2dOp>(&op)) return {conv->kernel, conv->bias};
    if (const auto* conv = std::get_if<Conv2dTransposeOp>(&op)) return {conv->kernel, conv->bias};
    if (const auto* dense = std::get_if<DenseOp>(&op)) return {dense->kernel, dense->bias};
    if (const auto* norm = std::get_if<BatchNormOp>(&op)) return {norm->gamma, norm->beta};
    if (const auto* norm = std::get_if<NormalizeOp>(&op)) return {norm->gamma, norm->beta};
    if (const auto* prelu = std::get_if<PReluOp>(&op)) return {prelu->alpha, kAbsent};
    return {kAbsent, kAbsent};
}

bool trains(const Op& op, const std::vector<bool>& trainable) {
    if (const auto* host = std::get_if<HostOp>(&op))
        return std::any_of(host->parameters.begin(), host->parameters.end(),
                           [&](int parameter) { return trainable[static_cast<std::size_t>(parameter)]; });
    for (const int parameter : parameters_of(op))
        if (parameter != kAbsent && trainable[static_cast<std::size_t>(parameter)]) return true;
    return false;
}

// Statistics and gradients of the normalisation from the moments of the convolution's input: see
// folded_norm_step.cpp. Moments cost patch^2 multiply-adds a position, the convolution patch * filters.
bool moments_serve(const FusedOp& step, const BatchNormOp& norm) {
    const auto* conv = std::get_if<Conv2dOp>(&step.op);
    if (!conv || conv->groups != 1) return false;
    if (conv->bias == kAbsent && norm.beta == kAbsent) return false;  // nothing keeps the gradient's sum
    const std::int64_t patch = conv->h.size * conv->w.size * step.in.back();
    return patch <= kMomentTaps && patch <= 2 * conv->filters;
}

struct Training {
    bool training;
    const std::vector<bool>& trainable;
    bool trained_below;  // the step
};

bool takes_norm(const FusedOp& step, const Node& node, const BatchNormOp& norm, const Training& t) {
    if (step.out != node.in || step.norm || step.pool || step.activation != ActivationName::linear)
        return false;
    if (!std::holds_alternative<Conv2dOp>(step.op) && !std::holds_alternative<DenseOp>(step.op)) return false;
    if (!t.training) return true;
    if (norm.frozen) return !trains(step.op, t.trainable) && !trains(node.op, t.trainable);
    return !t.trained_below && moments_serve(step, norm);
}

bool takes_activation(const FusedOp& step, const Node& node) {
    if (step.out != node.in) return false;  // a reshape in between
    if (step.activation != ActivationName::linear || step.pool) return false;
    return std::holds_alternative<Conv2dOp>(step.op) || std::holds_alternative<DenseOp>(step.op) ||
           std::holds_alternative<BatchNormOp>(step.op);
}

bool takes_pool(const FusedOp& step, const Node& node, const PoolOp& pool) {
    if (step.out != node.in || step.pool || pool.average) return false;
    if (step.activation != ActivationName::linear && step.activation != ActivationName::relu) return false;
    if (pool.h.size * pool.w.size > kMaxPoolPositions) return false;
    if (std::holds_alternative<BatchNormOp>(step.op))
        return pool.h.stride >= pool.h.size && pool.w.stride >= pool.w.size &&
               pool.h.pad + pool.w.pad + pool.h.pad_end() + pool.w.pad_end() == 0;
    const auto* conv = std::get_if<Conv2dOp>(&step.op);
    if (!conv || conv->groups != 1) return false;
    // Windows that overlap by more than half would compute rows of the convolution again and again.
    return pool.h.stride * 2 >= pool.h.size && pool.w.stride * 2 >= pool.w.size;
}

bool leaves_relu_gradient(const FusedOp& step) {
    if (step.activation != ActivationName::relu || step.pool) return false;
    return std::holds_alternative<Conv2dOp>(step.op) || std::holds_alternative<DenseOp>(step.op);
}

void absorb(FusedOp& step, const Node& node) {
    step.layers += " + " + node.layer;
    step.out = node.out;
}

// Takes the last step out where `node` is a permutation that undoes it.
bool cancels(std::vector<FusedOp>& steps, const Node& node) {
    const auto* order = std::get_if<PermuteOp>(&node.op);
    const auto* before = order && !steps.empty() ? std::get_if<PermuteOp>(&steps.back().op) : nullptr;
    if (!before || steps.back().out != node.in || order->axes != inverse(before->axes)) return false;
    steps.pop_back();
    return true;
}

// Keras layers with an activation append two operations under one name.
void rename(FusedOp& step, const Node& node) {
    const std::size_t at = step.layers.rfind(' ');
    if (step.layers.substr(at == std::string::npos ? 0 : at + 1) == node.layer)
        step.out = node.out;
    else
        absorb(step, node);
}

// Inputs that the windows reach, from the first one on.
std::int64_t reached(const Window& w) { return std::min(w.in, w.begin(w.out - 1) + w.extent()); }

// The windows that read the step's input, those whose results are its output, or null.
struct Axes {
    Window *read_h = nullptr, *read_w = nullptr, *write_h = nullptr, *write_w = nullptr;

    explicit Axes(FusedOp& step) {
        if (auto* conv = std::get_if<Conv2dOp>(&step.op))
            use(conv->h, conv->w);
        else if (auto* pool = std::get_if<PoolOp>(&step.op))
            use(pool->h, pool->w);
        if (read_h && step.pool) {
            write_h = &step.pool->h;
            write_w = &step.pool->w;
        }
    }
    explicit operator bool() const { return read_h; }

  private:
    void use(Window& h, Window& w) {
        read_h = write_h = &h;
        read_w = write_w = &w;
    }
};

void trim(std::vector<FusedOp>& steps, bool training) {
    // Statistics of a batch are those of all positions.
    const auto has_statistics = [&](const FusedOp& step) {
        return training && step.norm && !step.norm->frozen;
    };
    for (std::size_t i = steps.size(); i-- > 1;) {
        FusedOp &step = steps[i], &below = steps[i - 1];
        const Axes reads(step), writes(below);
        if (!reads || !writes || step.in != below.out || has_statistics(step) || has_statistics(below))
            continue;
        if (step.pool) {
            reads.read_h->out = reads.write_h->in = reached(*reads.write_h);
            reads.read_w->out = reads.write_w->in = reached(*reads.write_w);
        }
        const std::int64_t height = reached(*reads.read_h), width = reached(*reads.read_w);
        reads.read_h->in = writes.write_h->out = step.in[0] = below.out[0] = height;
        reads.read_w->in = writes.write_w->out = step.in[1] = below.out[1] = width;
    }
}

}  // namespace

bool trains(const FusedOp& step, const std::vector<bool>& trainable) {
    return trains(step.op, trainable) || (step.norm && trains(Op(*step.norm), trainable));
}

std::vector<FusedOp> fuse(const std::vector<Node>& nodes, bool training, const std::vector<bool>& trainable) {
    std::vector<FusedOp> steps;
    bool trained = false, trained_below = false;  // something up to here; something below the last step
    for (const Node& node : nodes) {
        FusedOp* last = steps.empty() ? nullptr : &steps.back();
        if (std::holds_alternative<ReshapeOp>(node.op)) continue;
        if (const auto* dropout = std::get_if<DropoutOp>(&node.op);
            dropout && (!training || dropout->rate == 0.0f))
            continue;
        if (!training &&
            (std::holds_alternative<NoiseOp>(node.op) || std::holds_alternative<RecolorOp>(node.op) ||
             std::holds_alternative<EraseOp>(node.op)))
            continue;
        const auto* warp = training ? nullptr : std::get_if<WarpOp>(&node.op);
        if (warp && !warp->otherwise) continue;
        if (cancels(steps, node)) continue;
        if (const auto* norm = std::get_if<BatchNormOp>(&node.op);
            norm && last && takes_norm(*last, node, *norm, {training, trainable, trained_below})) {
            last->norm = *norm;
            trained = trained || trains(node.op, trainable);
            absorb(*last, node);
            continue;
        }
        if (const auto* activation = std::get_if<ActivationOp>(&node.op)) {
            if (activation->name == ActivationName::linear) continue;
            if (last && !is_softmax(activation->name) && takes_activation(*last, node)) {
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
        FusedOp step;
        step.layers = node.layer;
        step.op = warp ? Op(*warp->otherwise) : node.op;
        step.in = node.in;
        step.out = node.out;
        step.bfloat16 = node.bfloat16;
        step.input_relu = last && std::holds_alternative<BatchNormOp>(node.op) && leaves_relu_gradient(*last);
        if (step.input_relu) last->gradient_above = true;
        steps.push_back(std::move(step));
        trained_below = trained;
        trained = trained || trains(node.op, trainable);
    }
    trim(steps, training);
    return steps;
}

FusedLoss fuse_loss(std::vector<FusedOp>& ops, LossKind kind, bool from_logits) {
    if (from_logits) return {true, ActivationName::linear};
    if (ops.empty()) return {};
    ActivationName wanted = ActivationName::softmax;
    switch (kind) {
        case LossKind::binary_crossentropy:
        case LossKind::binary_focal_crossentropy:
            wanted = ActivationName::sigmoid;
            break;
        case LossKind::categorical_crossentropy:
        case LossKind::sparse_categorical_crossentropy:
        case LossKind::categorical_focal_crossentropy:
            break;
        default:
            return {};
    }
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

std::optional<ScaleOp> fuse_reading(std::vector<FusedOp>& ops) {
    if (ops.size() < 2) return {};
    const auto* scale = std::get_if<ScaleOp>(&ops[0].op);
    if (!scale) return {};
    ScaleOp taken = *scale;
    ops[1].layers = ops[0].layers + " + " + ops[1].layers;
    ops.erase(ops.begin());
    return taken;
}

}  // namespace fastcnn
