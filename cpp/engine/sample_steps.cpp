// Layers that are a function of one sample: a kernel forward and a kernel backward, and nothing else. A layer
// is added here by a make_sample_step() that fills in its kernels' arguments.
#include "engine/placed.h"
#include "engine/plain_step.h"

#include <utility>

namespace fastcnn {

namespace {

// One kernel forward and one backward. Where the backward pass is the forward kernel again, from dy to dx,
// Backward is Forward.
template <class Forward, class Backward>
class SampleStep : public PlainStep {
  public:
    SampleStep(const char* operation, const StepInput& in, PlanMemory& memory, Forward forward,
               Backward backward)
        : PlainStep(in), forward_args_(std::move(forward)), backward_args_(std::move(backward)) {
        forward_ = choose(forward_args_);
        backward_ = choose(backward_args_);
        memory.need_scratch(forward_.scratch(forward_args_));
        memory.need_scratch(backward_.scratch(backward_args_));
        chosen(operation, forward_);
    }

    // Room for a float array of the step's own that the backward pass reads again. It lives as long as x.
    void keep(PlanMemory& memory, std::int64_t floats) { kept_ = memory.book(slots_.x.place, floats); }

    // The gradient of a parameter (or kAbsent), which the kernel adds at args.*where.
    void trains(const StepInput& in, PlanMemory& memory, int parameter, float* Backward::* where) {
        if (!memory.training || !in.trains(parameter)) return;
        const std::int64_t size = in.parameters[static_cast<std::size_t>(parameter)].size();
        gradients_.emplace_back(where, memory.gradient(parameter, size));
    }

    void forward(const BlockRun& run) const override {
        Forward a = placed(forward_args_, run, slots_);
        if constexpr (requires { a.statistics; }) {
            a.statistics = run.at(kept_);
            a.statistics_stride = kept_.stride;
        }
        forward_(a);
    }

    void backward(const BlockRun& run) const override {
        if (!slots_.dx.booked() && gradients_.empty()) return;
        if constexpr (std::is_same_v<Forward, Backward>) {
            backward_(placed(backward_args_, run, {slots_.dy, slots_.dx, {}, {}}));
        } else {
            Backward a = placed(backward_args_, run, slots_);
            if constexpr (requires { a.statistics; }) {
                a.statistics = run.at(kept_);
                a.statistics_stride = kept_.stride;
            }
            for (const auto& [where, offset] : gradients_) a.*where = run.lane + offset;
            backward_(a);
        }
    }

  private:
    Forward forward_args_;
    Backward backward_args_;
    Choice<Forward> forward_;
    Choice<Backward> backward_;
    Slot kept_;
    std::vector<std::pair<float* Backward::*, std::int64_t>> gradients_;
};

template <class Forward, class Backward>
auto sample_step(const char* operation, const StepInput& in, PlanMemory& memory, const Forward& forward,
                 const Backward& backward) {
    return std::make_unique<SampleStep<Forward, Backward>>(operation, in, memory, forward, backward);
}

// Taps both ways, which the kernels' arguments point into.
struct OwnedMaps {
    AxisMap h, w, back_h, back_w;
};

class ResampleStep final : private OwnedMaps, public SampleStep<Resample, Resample> {
  public:
    ResampleStep(const ResampleOp& op, const StepInput& in, PlanMemory& memory)
        : OwnedMaps{op.h, op.w, op.h.transposed(), op.w.transposed()},
          SampleStep("resample", in, memory, args(h, w, in), args(back_h, back_w, in)) {
        info_.flops = 2 * h.taps_count() * w.taps_count() * in.op.out.back();
    }

  private:
    static Resample args(const AxisMap& h, const AxisMap& w, const StepInput& in) {
        Resample a;
        a.h = h.taps();
        a.w = w.taps();
        a.out_height = h.out();
        a.out_width = w.out();
        a.in_width = w.in();
        a.channels = in.op.out.back();
        return a;
    }
};

// The numbers that are not parameters. A base, so that they are there before the kernels' arguments.
struct OwnedNumbers {
    std::vector<float> a, b;

    Scale args(const ScaleOp& op, const StepInput& in, bool backward) const {
        Scale s = scale_args(op, op.a == kAbsent ? a.data() : in.data(op.a),
                             op.b == kAbsent ? b.data() : in.data(op.b));
        s.backward = backward;
        return s;
    }
};

class ScaleStep final : private OwnedNumbers, public SampleStep<Scale, Scale> {
  public:
    ScaleStep(const ScaleOp& op, const StepInput& in, PlanMemory& memory)
        : OwnedNumbers{op.a_values, op.b_values},
          SampleStep("scale", in, memory, OwnedNumbers::args(op, in, false),
                     OwnedNumbers::args(op, in, true)) {}
};

// The penalty's gradient is what the optimizer's pass adds for a regularised weight, and so is its value.
class ActivityStep final : public PlainStep {
  public:
    ActivityStep(const ActivityOp& op, const StepInput& in, PlanMemory& memory) : PlainStep(in), op_(op) {
        kernel_ = choose(SumGradients{});
        chosen("activity_regularization", kernel_);
        memory.need_scratch(slots_.x.size);
    }

    void forward(const BlockRun& run) const override {
        for (std::int64_t s = 0; s < run.count; ++s)
            std::memcpy(run.at(slots_.y) + s * slots_.y.stride, run.at(slots_.x) + s * slots_.x.stride,
                        static_cast<std::size_t>(slots_.x.size) * sizeof(float));
    }
    void backward(const BlockRun& run) const override {
        if (!slots_.dx.booked()) return;
        double unused = 0.0;
        for (std::int64_t s = 0; s < run.count; ++s)
            add(run.at(slots_.x) + s * slots_.x.stride, run.at(slots_.dy) + s * slots_.dy.stride,
                run.at(slots_.dx) + s * slots_.dx.stride, 1.0f / static_cast<float>(run.batch_count), unused);
    }
    bool penalises() const override { return true; }
    double penalty(const BlockRun& run) const override {
        double total = 0.0;
        for (std::int64_t s = 0; s < run.count; ++s) {
            const float* x = run.at(slots_.x) + s * slots_.x.stride;
            add(x, x, run.scratch, 1.0f, total);
        }
        return total;
    }

  private:
    void add(const float* x, const float* dy, float* dx, float scale, double& penalty) const {
        SumGradients a;
        a.size = slots_.x.size;
        a.lane = dy;
        a.param = x;
        a.l1 = op_.l1 * scale;
        a.l2 = op_.l2 * scale;
        a.gradient = dx;
        a.penalty = &penalty;
        kernel_(a);
    }

    ActivityOp op_;
    Choice<SumGradients> kernel_;
};

}  // namespace

std::unique_ptr<Step> make_sample_step(const ElementwiseOp& op, const StepInput& in, PlanMemory& memory) {
    const std::int64_t size = size_of(in.op.in);
    return sample_step("elementwise", in, memory,
                       ElementwiseForward{.kind = op.kind, .a = op.a, .b = op.b, .c = op.c, .size = size},
                       ElementwiseBackward{.kind = op.kind, .a = op.a, .b = op.b, .c = op.c, .size = size});
}

std::unique_ptr<Step> make_sample_step(const PermuteOp& op, const StepInput& in, PlanMemory& memory) {
    return sample_step("permute", in, memory, permute_args(in.op.in, op.axes),
                       permute_args(in.op.out, inverse(op.axes)));
}

std::unique_ptr<Step> make_sample_step(const ResampleOp& op, const StepInput& in, PlanMemory& memory) {
    return std::make_unique<ResampleStep>(op, in, memory);
}

std::unique_ptr<Step> make_sample_step(const AdaptiveMaxOp& op, const StepInput& in, PlanMemory& memory) {
    return sample_step("adaptive_max_pool2d", in, memory, AdaptiveMaxForward{.shape = op.shape},
                       AdaptiveMaxBackward{.shape = op.shape});
}

std::unique_ptr<Step> make_sample_step(const PReluOp& op, const StepInput& in, PlanMemory& memory) {
    const float* alpha = in.data(op.alpha);
    auto step = sample_step("prelu", in, memory, PReluForward{.broadcast = op.broadcast, .alpha = alpha},
                            PReluBackward{.broadcast = op.broadcast, .alpha = alpha});
    step->trains(in, memory, op.alpha, &PReluBackward::dalpha);
    return step;
}

std::unique_ptr<Step> make_sample_step(const NormalizeOp& op, const StepInput& in, PlanMemory& memory) {
    const float* gamma = in.data(op.gamma);
    auto step = sample_step(
        "normalize", in, memory,
        NormalizeForward{.kind = op.kind,
                         .shape = op.shape,
                         .epsilon = op.epsilon,
                         .gamma = gamma,
                         .beta = in.data(op.beta)},
        NormalizeBackward{.kind = op.kind, .shape = op.shape, .epsilon = op.epsilon, .gamma = gamma});
    step->keep(memory, kNormalizeStatistics * op.shape.outer * op.shape.groups);
    step->trains(in, memory, op.gamma, &NormalizeBackward::dgamma);
    step->trains(in, memory, op.beta, &NormalizeBackward::dbeta);
    return step;
}

std::unique_ptr<Step> make_sample_step(const NoiseOp& op, const StepInput& in, PlanMemory& memory) {
    Noise a;
    a.kind = op.kind;
    a.rate = op.rate;
    a.seed = op.seed;
    a.layer = in.number;
    a.shared = op.shared;
    a.broadcast = op.broadcast;
    Noise back = a;
    back.backward = true;
    return sample_step("noise", in, memory, a, back);
}

std::unique_ptr<Step> make_sample_step(const ScaleOp& op, const StepInput& in, PlanMemory& memory) {
    return std::make_unique<ScaleStep>(op, in, memory);
}

std::unique_ptr<Step> make_sample_step(const ActivityOp& op, const StepInput& in, PlanMemory& memory) {
    return std::make_unique<ActivityStep>(op, in, memory);
}

}  // namespace fastcnn
