// Steps without weights that other steps take in or divide: pooling, activations and dropout.
#include "engine/plain_step.h"

namespace fastcnn {

namespace {

Activation kernel_kind(ActivationName name) {
    switch (name) {
        case ActivationName::relu:
            return Activation::relu;
        case ActivationName::sigmoid:
            return Activation::sigmoid;
        case ActivationName::tanh:
            return Activation::tanh;
        default:
            return Activation::linear;
    }
}

const char* name_of(ActivationName name) {
    constexpr const char* names[] = {"linear", "relu", "sigmoid", "tanh", "softmax", "log_softmax"};
    return names[static_cast<int>(name)];
}

class PoolStep : public PlainStep {
  public:
    PoolStep(const StepInput& in, PlanMemory& memory) : PlainStep(in) {
        const PoolOp& op = std::get<PoolOp>(in.op.op);
        kind_ = op.average ? Pooling::average : Pooling::max;
        shape_ = {op.h, op.w, in.op.in.back()};
        PoolForward f;
        f.kind = kind_;
        f.shape = shape_;
        forward_ = choose(f);
        if (memory.training && slots_.dx.booked()) {
            PoolBackward b;
            b.kind = kind_;
            b.shape = shape_;
            backward_ = choose(b);
        }
        chosen(op.average ? "average_pool2d" : "max_pool2d", forward_);
        info_.flops = size_of(in.op.out) * op.h.size * op.w.size;
    }

    void forward(const BlockRun& run) const override {
        forward_(
            {kind_, shape_, run.count, run.at(slots_.x), slots_.x.stride, run.at(slots_.y), slots_.y.stride});
    }
    void backward(const BlockRun& run) const override {
        if (!slots_.dx.booked()) return;
        backward_({kind_, shape_, run.count, run.at(slots_.x), slots_.x.stride, run.at(slots_.dy),
                   slots_.dy.stride, run.at(slots_.dx), slots_.dx.stride});
    }

  private:
    Pooling kind_;
    PoolShape shape_;
    Choice<PoolForward> forward_;
    Choice<PoolBackward> backward_;
};

void copy_gradient(const BlockRun& run, const StepSlots& slots) {
    for (std::int64_t s = 0; s < run.count; ++s)
        std::memcpy(run.at(slots.dx) + s * slots.dx.stride, run.at(slots.dy) + s * slots.dy.stride,
                    static_cast<std::size_t>(slots.y.size) * sizeof(float));
}

class ActivationStep : public PlainStep {
  public:
    explicit ActivationStep(const StepInput& in)
        : PlainStep(in), kind_(kernel_kind(std::get<ActivationOp>(in.op.op).name)) {
        forward_ = choose(ActivationForward{.kind = kind_});
        backward_ = choose(ActivationBackward{.kind = kind_});
        chosen(name_of(std::get<ActivationOp>(in.op.op).name), forward_);
    }
    void forward(const BlockRun& run) const override {
        forward_({kind_, run.count, slots_.y.size, run.at(slots_.x), slots_.x.stride, run.at(slots_.y),
                  slots_.y.stride});
    }
    void backward(const BlockRun& run) const override {
        if (!slots_.dx.booked()) return;
        copy_gradient(run, slots_);
        backward_({kind_, run.count, slots_.y.size, run.at(slots_.y), slots_.y.stride, run.at(slots_.dx),
                   slots_.dx.stride});
    }

  private:
    Activation kind_;
    Choice<ActivationForward> forward_;
    Choice<ActivationBackward> backward_;
};

class SoftmaxStep : public PlainStep {
  public:
    explicit SoftmaxStep(const StepInput& in)
        : PlainStep(in), classes_(in.op.in.back()), rows_(size_of(in.op.in) / classes_) {
        forward_ = choose(SoftmaxForward{});
        backward_ = choose(SoftmaxBackward{});
        log_ = std::get<ActivationOp>(in.op.op).name == ActivationName::log_softmax;
        chosen(log_ ? "log_softmax" : "softmax", forward_);
    }
    void forward(const BlockRun& run) const override {
        forward_({log_, run.count, rows_, classes_, run.at(slots_.x), slots_.x.stride, run.at(slots_.y),
                  slots_.y.stride});
    }
    void backward(const BlockRun& run) const override {
        if (!slots_.dx.booked()) return;
        copy_gradient(run, slots_);
        backward_({log_, run.count, rows_, classes_, run.at(slots_.y), slots_.y.stride, run.at(slots_.dx),
                   slots_.dx.stride});
    }

  private:
    std::int64_t classes_, rows_;
    bool log_ = false;
    Choice<SoftmaxForward> forward_;
    Choice<SoftmaxBackward> backward_;
};

class DropoutStep : public PlainStep {
  public:
    explicit DropoutStep(const StepInput& in) : PlainStep(in), layer_(in.number) {
        const DropoutOp& op = std::get<DropoutOp>(in.op.op);
        rate_ = op.rate;
        seed_ = op.seed;
        kernel_ = choose(Dropout{});
        chosen("dropout", kernel_);
    }
    void forward(const BlockRun& run) const override { apply(run, slots_.x, slots_.y); }
    void backward(const BlockRun& run) const override {
        if (slots_.dx.booked()) apply(run, slots_.dy, slots_.dx);
    }

  private:
    void apply(const BlockRun& run, const Slot& from, const Slot& to) const {
        kernel_({rate_, seed_, layer_, run.step, run.first, run.count, slots_.y.size, run.at(from),
                 from.stride, run.at(to), to.stride});
    }

    float rate_;
    std::uint64_t seed_;
    std::uint32_t layer_;
    Choice<Dropout> kernel_;
};

}  // namespace

FollowingActivation::FollowingActivation(ActivationName name, bool relu_is_fused, bool gradient_above)
    : kind_(kernel_kind(name)),
      applies_forward_(kind_ != Activation::linear && !(kind_ == Activation::relu && relu_is_fused)),
      applies_backward_(kind_ != Activation::linear && !gradient_above),
      forward_(choose(ActivationForward{.kind = kind_})),
      backward_(choose(ActivationBackward{.kind = kind_})) {}

void FollowingActivation::forward(const BlockRun& run, const Slot& y) const {
    if (applies_forward_) forward_({kind_, run.count, y.size, run.at(y), y.stride, run.at(y), y.stride});
}

void FollowingActivation::forward_range(float* y, std::int64_t first, std::int64_t last) const {
    if (applies_forward_) forward_({kind_, 1, last - first, y + first, 0, y + first, 0});
}

void FollowingActivation::backward(const BlockRun& run, const Slot& y, const Slot& dy) const {
    if (applies_backward_) backward_({kind_, run.count, y.size, run.at(y), y.stride, run.at(dy), dy.stride});
}

std::unique_ptr<Step> make_pool_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<PoolStep>(in, memory);
}

std::unique_ptr<Step> make_activation_step(const StepInput& in, PlanMemory&) {
    if (is_softmax(std::get<ActivationOp>(in.op.op).name)) return std::make_unique<SoftmaxStep>(in);
    return std::make_unique<ActivationStep>(in);
}

std::unique_ptr<Step> make_dropout_step(const StepInput& in, PlanMemory&) {
    return std::make_unique<DropoutStep>(in);
}

namespace {

struct Maker {
    const StepInput& in;
    PlanMemory& memory;
    std::unique_ptr<Step> operator()(const Conv2dOp&) const { return make_conv_step(in, memory); }
    std::unique_ptr<Step> operator()(const PoolOp&) const { return make_pool_step(in, memory); }
    std::unique_ptr<Step> operator()(const DenseOp&) const { return make_dense_step(in, memory); }
    std::unique_ptr<Step> operator()(const ActivationOp&) const { return make_activation_step(in, memory); }
    std::unique_ptr<Step> operator()(const DropoutOp&) const { return make_dropout_step(in, memory); }
    std::unique_ptr<Step> operator()(const BatchNormOp&) const { return make_batch_norm_step(in, memory); }
    std::unique_ptr<Step> operator()(const ReshapeOp&) const { return nullptr; }  // never a step: see fuse()
    std::unique_ptr<Step> operator()(const Conv2dTransposeOp&) const {
        return make_conv_transpose_step(in, memory);
    }
    std::unique_ptr<Step> operator()(const HostOp&) const { return make_host_step(in, memory); }
    template <class Sample>
    std::unique_ptr<Step> operator()(const Sample& op) const {
        return make_sample_step(op, in, memory);
    }
};

}  // namespace

std::unique_ptr<Step> make_step(const StepInput& in, PlanMemory& memory) {
    if (in.op.amx) return in.at_once ? make_amx_dense_step(in, memory) : make_amx_step(in, memory);
    if (in.op.norm) return make_folded_norm_step(in, memory);
    return std::visit(Maker{in, memory}, in.op.op);
}

}  // namespace fastcnn
