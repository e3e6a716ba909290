// Convolution and dense layers with AMX tiles: bias, activation and max pooling fused. Weights are float32;
// they, the inputs and the gradients of the outputs are rounded to bfloat16 where they enter a product, sums
// are float32.
#include <algorithm>

#include "engine/amx.h"
#include "engine/steps.h"
#include "kernels/amx.h"

namespace fastcnn {

namespace {

// Patches take the place of at most this many channels, which would hardly fill a line.
constexpr std::int64_t kPatchChannels = 8;

std::uint16_t* words(float* memory) { return reinterpret_cast<std::uint16_t*>(memory); }

class AmxStep : public Step {
  public:
    AmxStep(const StepInput& in, PlanMemory& memory)
        : layers_(in.op.layers),
          out_(in.op.out),
          slots_(in.slots),
          plan_(*in.op.amx),
          isa_(amx_level().isa),
          rows_(*amx_level().rows),
          activation_(in.op.activation, true, in.op.gradient_above),
          is_conv_(std::holds_alternative<Conv2dOp>(in.op.op)) {
        const auto* conv = std::get_if<Conv2dOp>(&in.op.op);
        const auto* dense = std::get_if<DenseOp>(&in.op.op);
        kernel_ = conv ? conv->kernel : dense->kernel;
        bias_ = conv ? conv->bias : dense->bias;
        weights_ = in.data(kernel_);
        bias_values_ = in.data(bias_);
        trains_ = memory.training && (in.trains(kernel_) || in.trains(bias_));
        number_ = static_cast<int>(in.number);
        samples_ = in.samples;

        args_.h = plan_.h;
        args_.w = plan_.w;
        args_.channels = plan_.channels;
        args_.filters = plan_.filters;
        args_.relu = in.op.activation == ActivationName::relu;
        args_.pool = plan_.pool;
        args_.out_height = plan_.out_height;
        args_.out_width = plan_.out_width;
        args_.x = input_image();
        args_.y = image_of(plan_, samples_);
        patches_ = {plan_.h, plan_.w, plan_.channels.count, plan_.pool, plan_.out_height, plan_.out_width};
        by_patches_ = !plan_.x_is_image && !slots_.dx.booked() && plan_.channels.groups == 1 &&
                      plan_.channels.count <= kPatchChannels && patches_.size() <= kAmxPatchNumbers &&
                      patches_.all_count();
        late_ = in.late && !by_patches_;
        packed_forward_ = memory.packed.book(by_patches_ ? rows_.amx_patch_conv->packed({args_})
                                                         : rows_.amx_conv->packed(args_));
        plan_forward(memory);
        if (trains_ || slots_.dx.booked()) plan_backward(memory);
        memory.need_scratch(scratch_floats_);
    }

    void pack(float* packed, int part, int parts) const override {
        if (by_patches_)
            rows_.amx_patch_conv->pack({args_}, weights_, packed + packed_forward_, part, parts);
        else
            rows_.amx_conv->pack(args_, weights_, packed + packed_forward_, part, parts);
        if (slots_.dx.booked())
            rows_.amx_conv->pack(gradient_args_, weights_, packed + packed_backward_, part, parts);
    }

    void forward(const BlockRun& run) const override {
        AmxConv a = args_;
        a.kernel = run.packed + packed_forward_;
        a.bias = bias_values_;
        a.count = run.count;
        a.scratch = run.scratch + forward_scratch_at_;
        if (argmax_.booked()) a.argmax = argmax_at(run);
        if (plan_.y_is_image)
            a.y.data = words(run.at(slots_.y));
        else
            write_samples(a, run, slots_.y);
        if (by_patches_) {
            rows_.amx_patch_conv->run({a, run.at(slots_.x), slots_.x.stride, input_memory(run)});
        } else {
            a.x.data = words(plan_.x_is_image ? run.at(slots_.x) : input_memory(run));
            if (!plan_.x_is_image) rows_.amx_read->run({run.at(slots_.x), slots_.x.stride, run.count, a.x});
            rows_.amx_conv->run(a);
        }
        if (!plan_.y_is_image) activation_.forward(run, slots_.y);
    }

    void backward(const BlockRun& run) const override {
        AmxImage dy = dy_image();
        if (plan_.y_is_image) {
            dy.data = words(run.at(slots_.dy));
        } else {
            activation_.backward(run, slots_.y, slots_.dy);
            dy.data = words(run.scratch + dy_at_);
            rows_.amx_read->run({run.at(slots_.dy), slots_.dy.stride, run.count, dy});
        }
        const std::uint8_t* argmax = argmax_.booked() ? argmax_at(run) : nullptr;
        float* dbias = lane_bias_ >= 0 ? run.lane + lane_bias_ : nullptr;
        if (by_patches_) {
            AmxPatchGradKernel a = patch_gradient_args_;
            a.image = input_memory(run);
            a.dy = dy;
            a.argmax = argmax;
            a.dkernel = run.lane + lane_kernel_;
            a.dbias = dbias;
            a.accumulate = run.accumulate;
            a.scratch = run.scratch + kernel_scratch_at_;
            rows_.amx_patch_grad_kernel->run(a);
            return;
        }
        AmxSpread spread = spread_args_;
        spread.dy = dy;
        spread.argmax = argmax;
        spread.dbias = dbias;
        spread.accumulate = run.accumulate;
        spread.scratch = run.scratch + kernel_scratch_at_;
        if (slots_.dx.booked()) spread.spread.data = words(run.scratch + spread_at_);
        if (trains_) spread.transposed = late_ ? run.at(transposed_) : run.scratch + transposed_at_;
        rows_.amx_spread->run(spread);
        if (trains_) {
            AmxPairLines lines{args_.x, late_ ? run.at(pairs_) : run.scratch + pairs_at_};
            lines.x.data = words(plan_.x_is_image ? run.at(slots_.x) : input_memory(run));
            rows_.amx_pair_lines->run(lines);
            if (!late_) {
                AmxGradKernel a = kernel_gradient_args_;
                a.pairs = lines.pairs;
                a.transposed = spread.transposed;
                a.last_row = a.rows();
                a.dkernel = run.lane + lane_kernel_;
                a.accumulate = run.accumulate;
                a.scratch = run.scratch + kernel_scratch_at_;
                rows_.amx_grad_kernel->run(a);
            }
        }
        if (!slots_.dx.booked()) return;
        AmxConv a = gradient_args_;
        a.x.data = spread.spread.data;
        a.kernel = run.packed + packed_backward_;
        a.count = run.count;
        a.scratch = run.scratch + kernel_scratch_at_;
        if (plan_.x_is_image)
            a.y.data = words(run.at(slots_.dx));
        else
            write_samples(a, run, slots_.dx);
        rows_.amx_conv->run(a);
    }

    void produce_gradient(const BlockRun& run, std::int64_t first_row, std::int64_t last_row,
                          float* gradient) const override {
        AmxGradKernel a = kernel_gradient_args_;
        a.blocks = ceil_div(run.count, samples_);
        a.pairs = run.at(pairs_);
        a.pairs_stride = samples_ * pairs_.stride;
        a.transposed = run.at(transposed_);
        a.transposed_stride = samples_ * transposed_.stride;
        a.first_row = first_row;
        a.last_row = last_row;
        a.dkernel = gradient - first_row * plan_.filters.count;  // as if it were the whole
        a.scratch = run.scratch + kernel_scratch_at_;
        rows_.amx_grad_kernel->run(a);
    }

    StepInfo info() const override {
        StepInfo info;
        info.layers = layers_;
        info.operation = is_conv_ ? "conv2d" : "dense";
        if (plan_.pool.positions() > 1) info.operation += " + max_pool2d";
        info.kernel = by_patches_ ? "bfloat16 patches" : "bfloat16 tiles";
        if (late_) info.kernel += kLateGradient;
        info.isa = isa_;
        info.output_shape = out_;
        info.flops = 2 * plan_.h.size * plan_.w.size * plan_.channels.in_group() * plan_.filters.count *
                     plan_.out_height * plan_.out_width * plan_.pool.positions();
        info.activation_floats = slots_.y.stride + (argmax_.booked() ? argmax_.stride : 0);
        if (late_) info.activation_floats += pairs_.stride + transposed_.stride;
        info.scratch_floats = scratch_floats_;
        info.packed_floats = packed_floats_;
        return info;
    }

  private:
    AmxImage input_image() const { return amx_input(plan_.h, plan_.w, samples_, plan_.channels); }
    AmxImage dy_image() const {
        return {nullptr, plan_.out_height, plan_.out_width, 0, 0, samples_, plan_.filters};
    }
    // In float32, as the arrays of other steps.
    static void write_samples(AmxConv& a, const BlockRun& run, const Slot& slot) {
        a.y.data = nullptr;
        a.y_values = run.at(slot);
        a.y_stride = slot.stride;
    }
    std::uint8_t* argmax_at(const BlockRun& run) const {
        return reinterpret_cast<std::uint8_t*>(run.at(argmax_));
    }
    // The input as this step has made it, kept for the backward pass.
    float* input_memory(const BlockRun& run) const {
        return input_.booked() ? run.at(input_) : run.scratch + input_at_;
    }

    void plan_forward(PlanMemory& memory) {
        Layout layout;
        const std::int64_t input = by_patches_        ? samples_ * patches_.sample() / 2
                                   : plan_.x_is_image ? 0
                                                      : args_.x.floats();
        if (input > 0) {
            if (trains_)
                input_ = memory.book(slots_.x.place, ceil_div(input, samples_));
            else
                input_at_ = layout.book(input);
        }
        forward_scratch_at_ = layout.book(by_patches_ ? rows_.amx_patch_conv->scratch({args_})
                                                      : rows_.amx_conv->scratch(args_));
        scratch_floats_ = layout.size();
        packed_floats_ = by_patches_ ? rows_.amx_patch_conv->packed({args_}) : rows_.amx_conv->packed(args_);
    }

    void plan_backward(PlanMemory& memory) {
        const std::int64_t filters = plan_.filters.count;
        kernel_gradient_args_ = {
            .h = plan_.h, .w = plan_.w, .channels = plan_.channels, .filters = plan_.filters, .x = args_.x};
        const std::int64_t rows = kernel_gradient_args_.rows();
        if (trains_) {
            if (late_)
                memory.produced_gradient(kernel_, rows, filters, number_, kernel_gradient_args_.row_unit());
            else
                lane_kernel_ = memory.gradient(kernel_, rows * filters);
            if (bias_ != kAbsent) lane_bias_ = memory.gradient(bias_, filters);
        }
        if (plan_.pool.positions() > 1 || (args_.relu && plan_.y_is_image)) {
            const std::int64_t bytes = plan_.out_height * plan_.out_width * samples_ * plan_.filters.size();
            argmax_ = memory.book(slots_.y.place, ceil_div(bytes, 4 * samples_) + 4);
        }
        Layout layout;
        if (!plan_.y_is_image) dy_at_ = layout.book(dy_image().floats());
        std::int64_t scratch = 0;
        if (by_patches_) {
            patch_gradient_args_ = {.h = plan_.h,
                                    .w = plan_.w,
                                    .channels = plan_.channels.count,
                                    .filters = filters,
                                    .pool = plan_.pool,
                                    .dy = dy_image()};
            scratch = rows_.amx_patch_grad_kernel->scratch(patch_gradient_args_);
        } else {
            plan_spread(layout);
            scratch = rows_.amx_spread->scratch(spread_args_);
            if (trains_) {
                plan_kernel_gradient(memory, layout);
                scratch = std::max(scratch, rows_.amx_grad_kernel->scratch(kernel_gradient_args_));
            }
            if (slots_.dx.booked()) scratch = std::max(scratch, plan_input_gradient(memory));
        }
        kernel_scratch_at_ = layout.book(scratch);
        scratch_floats_ = std::max(scratch_floats_, layout.size());
    }

    void plan_spread(Layout& layout) {
        spread_args_.dy = dy_image();
        spread_args_.pool = plan_.pool;
        spread_args_.height = plan_.h.out;
        spread_args_.width = plan_.w.out;
        if (slots_.dx.booked()) {
            spread_args_.spread = amx_gradient(plan_.h, plan_.w, samples_, plan_.filters);
            spread_at_ = layout.book(spread_args_.spread.floats());
        }
    }

    void plan_kernel_gradient(PlanMemory& memory, Layout& layout) {
        const std::int64_t pairs = AmxPairs(args_.x).floats();
        const std::int64_t transposed = amx_transposed_floats(plan_.h, plan_.w, samples_, plan_.filters);
        if (late_) {
            pairs_ = memory.book(Place::batch, ceil_div(pairs, samples_));
            transposed_ = memory.book(Place::batch, ceil_div(transposed, samples_));
        } else {
            pairs_at_ = layout.book(pairs);
            transposed_at_ = layout.book(transposed);
        }
    }

    // Returns the kernel's scratch.
    std::int64_t plan_input_gradient(PlanMemory& memory) {
        AmxConv& a = gradient_args_;
        a.h = plan_.h;
        a.w = plan_.w;
        a.channels = plan_.filters;
        a.filters = plan_.channels;
        a.transposed = true;
        a.out_height = plan_.h.in;
        a.out_width = plan_.w.in;
        a.x = spread_args_.spread;
        a.y = {nullptr, plan_.h.in, plan_.w.in, 0, 0, samples_, plan_.channels};
        packed_backward_ = memory.packed.book(rows_.amx_conv->packed(a));
        packed_floats_ += rows_.amx_conv->packed(a);
        return rows_.amx_conv->scratch(a);
    }

    std::string layers_;
    Shape out_;
    StepSlots slots_;
    AmxPlan plan_;
    Isa isa_;
    const AmxRows& rows_;
    FollowingActivation activation_;
    bool is_conv_, by_patches_ = false, late_ = false, trains_ = false;
    int number_ = 0, kernel_ = kAbsent, bias_ = kAbsent;
    const float* weights_ = nullptr;
    const float* bias_values_ = nullptr;
    std::int64_t samples_ = 1;

    AmxConv args_, gradient_args_;
    AmxPatches patches_;
    AmxSpread spread_args_;
    AmxGradKernel kernel_gradient_args_;
    AmxPatchGradKernel patch_gradient_args_;

    Slot input_;   // bfloat16, as AmxImage or as the patches' image
    Slot argmax_;  // bytes
    // Of a late step, for its kernel's gradient: what each block leaves.
    Slot pairs_, transposed_;
    std::int64_t packed_forward_ = 0, packed_backward_ = 0, packed_floats_ = 0, scratch_floats_ = 0;
    std::int64_t lane_kernel_ = -1, lane_bias_ = -1;
    std::int64_t input_at_ = 0, forward_scratch_at_ = 0;
    std::int64_t dy_at_ = 0, spread_at_ = 0, pairs_at_ = 0, transposed_at_ = 0, kernel_scratch_at_ = 0;
};

}  // namespace

std::unique_ptr<Step> make_amx_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<AmxStep>(in, memory);
}

}  // namespace fastcnn
