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
    std::uint32_t number;      // of the step in its plan; keys dropout's random numbers
    bool wide = false;         // over the whole batch at once: see Step
    bool late = false;         // its kernel's gradient is produced for the optimizer: see Step
    bool at_once = false;      // a dense layer with tiles reads its weights once for many samples
    std::int64_t samples = 1;  // that pass through at a time, at most

    // A parameter's values, null where a layer does not have it, and whether it is trained.
    float* data(int parameter) const {
        return parameter == kAbsent ? nullptr : parameters[static_cast<std::size_t>(parameter)].data();
    }
    bool trains(int parameter) const {
        return parameter != kAbsent && trainable[static_cast<std::size_t>(parameter)];
    }
};

std::unique_ptr<Step> make_conv_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_pool_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_dense_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_activation_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_dropout_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_batch_norm_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_conv_transpose_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_host_step(const StepInput& in, PlanMemory& memory);
// Functions of one sample, each with its row of forward and backward: see sample_steps.cpp.
std::unique_ptr<Step> make_sample_step(const ElementwiseOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const PermuteOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const ResampleOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const AdaptiveMaxOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const PReluOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const NormalizeOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const NoiseOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const ActivityOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const ScaleOp& op, const StepInput& in, PlanMemory& memory);
// With random numbers of each sample: see random_steps.cpp.
std::unique_ptr<Step> make_sample_step(const WarpOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const RecolorOp& op, const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_sample_step(const EraseOp& op, const StepInput& in, PlanMemory& memory);
// A convolution or dense layer with the normalisation after it folded into its weights.
std::unique_ptr<Step> make_folded_norm_step(const StepInput& in, PlanMemory& memory);

// A convolution or dense layer with AMX tiles, where the plan says so.
std::unique_ptr<Step> make_amx_step(const StepInput& in, PlanMemory& memory);
std::unique_ptr<Step> make_amx_dense_step(const StepInput& in, PlanMemory& memory);

std::unique_ptr<Step> make_step(const StepInput& in, PlanMemory& memory);

// An activation that follows a step's own result, applied in place: sigmoid, tanh or nothing.
class FollowingActivation {
  public:
    // ReLU is left to the step's own kernel where `relu_is_fused`. Its derivative is taken here, or by the
    // step above where `gradient_above`.
    FollowingActivation(ActivationName name, bool relu_is_fused, bool gradient_above);
    void forward(const BlockRun& run, const Slot& y) const;
    // Elements [first, last) of one sample.
    void forward_range(float* y, std::int64_t first, std::int64_t last) const;
    void backward(const BlockRun& run, const Slot& y, const Slot& dy) const;
    bool applies_forward() const { return applies_forward_; }

  private:
    Activation kind_;
    bool applies_forward_, applies_backward_;
    Choice<ActivationForward> forward_;
    Choice<ActivationBackward> backward_;
};

}  // namespace fastcnn
