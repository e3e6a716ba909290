// The steps there are. Each factory chooses kernels, books memory and returns the step.
#pragma once

#include <memory>
#include <vector>

#include "engine/fuse.h"
#include "engine/step.h"

namespace fastcnn {

// What every factory is given.
struct StepInput {
    const FusedOp& op;
    const StepSlots& slots;
    const std::vector<ParameterRef>& parameters;
    const std::vector<bool>& trainable;
    std::uint32_t number;  // of the step in its plan; keys dropout's random numbers
    bool wide;             // over the whole batch at once: see Step
};

std::unique_ptr<Step> make_conv_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_pool_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_dense_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_activation_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_dropout_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_batch_norm_step(const StepInput& in, PlanMemory& memory);

std::unique_ptr<Step> make_step(const StepInput& in, PlanMemory& memory);

// An activation that follows a step's own result, applied in place: sigmoid, tanh or nothing.
class FollowingActivation {
  public:
    // ReLU is left to the step's own kernel where `relu_is_fused`; its derivative is always taken here.
    FollowingActivation(ActivationName name, bool relu_is_fused);
    void forward(const BlockRun& run, const Slot& y) const;
    // Elements [first, last) of one sample.
    void forward_range(float* y, std::int64_t first, std::int64_t last) const;
    void backward(const BlockRun& run, const Slot& y, const Slot& dy) const;

  private:
    Activation kind_;
    bool applies_forward_;
    Choice<ActivationForward> forward_;
    Choice<ActivationBackward> backward_;
};

}  // namespace fastcnn
