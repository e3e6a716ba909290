// Layers that disturb each sample by random numbers of its own: the numbers are drawn here, what they do to
// the sample is the kernels'. Nothing is kept for the backward pass, which draws them again.
#include "engine/placed.h"
#include "engine/plain_step.h"

namespace fastcnn {

namespace {

template <class Op, class Forward, class Backward>
class RandomStep final : public PlainStep {
  public:
    RandomStep(const char* operation, const Op& op, const StepInput& in, PlanMemory& memory,
               const Forward& forward, const Backward& backward)
        : PlainStep(in),
          op_(op),
          layer_(in.number),
          forward_args_(filled(forward)),
          backward_args_(filled(backward)) {
        forward_ = choose(forward_args_);
        backward_ = choose(backward_args_);
        numbers_ = Layout::stride(memory.block_size * Op::kNumbers);
        memory.need_scratch(numbers_ + forward_.scratch(forward_args_));
        memory.need_scratch(numbers_ + backward_.scratch(backward_args_));
        chosen(operation, forward_);
    }

    void forward(const BlockRun& run) const override { forward_(prepared(forward_args_, run, slots_)); }

    void backward(const BlockRun& run) const override {
        if (!slots_.dx.booked()) return;
        if constexpr (std::is_same_v<Forward, Backward>)
            backward_(prepared(backward_args_, run, {slots_.dy, slots_.dx, {}, {}}));
        else
            backward_(prepared(backward_args_, run, slots_));
    }

  private:
    // What points into the operation points into this step's own.
    template <class Args>
    Args filled(Args args) const {
        if constexpr (requires { args.fill; }) args.fill = op_.fill.data();
        if constexpr (requires { args.seed; }) {
            args.seed = op_.seed;
            args.layer = layer_;
        }
        return args;
    }

    template <class Args>
    Args prepared(const Args& args, const BlockRun& run, const StepSlots& slots) const {
        for (std::int64_t s = 0; s < run.count; ++s)
            op_.draw({layer_, run.step, run.first + s}, run.scratch + s * Op::kNumbers);
        Args a = placed(args, run, slots);
        a.parameters = run.scratch;
        a.scratch = run.scratch + numbers_;
        return a;
    }

    Op op_;
    std::uint32_t layer_;
    Forward forward_args_;
    Backward backward_args_;
    Choice<Forward> forward_;
    Choice<Backward> backward_;
    std::int64_t numbers_ = 0;  // floats of scratch that hold a block's random numbers
};

template <class Op, class Forward, class Backward>
std::unique_ptr<Step> random_step(const char* operation, const Op& op, const StepInput& in,
                                  PlanMemory& memory, const Forward& forward, const Backward& backward) {
    return std::make_unique<RandomStep<Op, Forward, Backward>>(operation, op, in, memory, forward, backward);
}

}  // namespace

std::unique_ptr<Step> make_sample_step(const WarpOp& op, const StepInput& in, PlanMemory& memory) {
    return random_step("warp", op, in, memory, WarpForward{.shape = op.shape},
                       WarpBackward{.shape = op.shape});
}

std::unique_ptr<Step> make_sample_step(const RecolorOp& op, const StepInput& in, PlanMemory& memory) {
    return random_step("recolor", op, in, memory, RecolorForward{.shape = op.shape},
                       RecolorBackward{.shape = op.shape});
}

std::unique_ptr<Step> make_sample_step(const EraseOp& op, const StepInput& in, PlanMemory& memory) {
    return random_step("erase", op, in, memory, Erase{.shape = op.shape},
                       Erase{.shape = op.shape, .backward = true});
}

}  // namespace fastcnn
