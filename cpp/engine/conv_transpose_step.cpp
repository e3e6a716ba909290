// Transposed convolution: its forward pass is the input gradient of the convolution it is the transpose of,
// its backward pass that convolution. The bias is a normalisation's shift, and its gradient that shift's.
#include "engine/plain_step.h"

namespace fastcnn {

namespace {

class ConvTransposeStep final : public PlainStep {
  public:
    ConvTransposeStep(const Conv2dTransposeOp& op, const StepInput& in, PlanMemory& memory)
        : PlainStep(in), kernel_(in.data(op.kernel)), bias_(in.data(op.bias)) {
        const Conv2dShape shape{op.h, op.w, op.filters, in.op.in.back(), 1};
        channels_ = op.filters;
        positions_ = op.h.in * op.w.in;
        ones_.assign(static_cast<std::size_t>(channels_), 1.0f);
        zeros_.assign(static_cast<std::size_t>(channels_), 0.0f);
        forward_args_.shape = backward_args_.shape = kernel_args_.shape = shape;
        forward_args_.batch = backward_args_.batch = kernel_args_.batch = memory.chosen_for;
        forward_ = choose(forward_args_, memory.packing());
        forward_args_.batch = memory.block_size;
        memory.need_scratch(forward_.scratch(forward_args_));
        packed_forward_ = memory.packed.book(forward_.packed(forward_args_));
        shift_ = choose(BatchNormForward{});
        chosen("conv2d_transpose", forward_);
        info_.packed_floats = forward_.packed(forward_args_);
        info_.flops = 2 * op.h.size * op.w.size * op.filters * size_of(in.op.in);
        if (!memory.training) return;
        if (in.trains(op.kernel)) {
            grad_kernel_ = choose(kernel_args_);
            kernel_args_.batch = memory.block_size;
            memory.need_scratch(grad_kernel_.scratch(kernel_args_));
            lane_kernel_ =
                memory.gradient(op.kernel, op.h.size * op.w.size * op.filters * shape.out_channels);
        }
        if (in.trains(op.bias)) {
            sum_ = choose(BatchNormReduce{});
            memory.need_scratch(channels_);
            lane_bias_ = memory.gradient(op.bias, channels_);
        }
        if (!slots_.dx.booked()) return;
        backward_ = choose(backward_args_, memory.packing());
        backward_args_.batch = memory.block_size;
        memory.need_scratch(backward_.scratch(backward_args_));
        packed_backward_ = memory.packed.book(backward_.packed(backward_args_));
        info_.packed_floats += backward_.packed(backward_args_);
    }

    void pack(float* packed, int part, int parts) const override {
        if (forward_.row->kernel->pack)
            forward_.row->kernel->pack(forward_args_, kernel_, packed + packed_forward_, part, parts);
        if (backward_ && backward_.row->kernel->pack)
            backward_.row->kernel->pack(backward_args_, kernel_, packed + packed_backward_, part, parts);
    }

    void forward(const BlockRun& run) const override {
        Conv2dGradInput a = forward_args_;
        a.batch = run.count;
        a.dy = run.at(slots_.x);
        a.dy_stride = slots_.x.stride;
        a.kernel = forward_.row->kernel->pack ? run.packed + packed_forward_ : kernel_;
        a.weights = kernel_;
        a.dx = run.at(slots_.y);
        a.dx_stride = slots_.y.stride;
        a.scratch = run.scratch;
        forward_(a);
        if (!bias_) return;
        BatchNormForward b;
        b.batch = run.count;
        b.positions = positions_;
        b.channels = channels_;
        b.x = b.y = run.at(slots_.y);
        b.x_stride = b.y_stride = slots_.y.stride;
        b.mean = zeros_.data();
        b.scale = ones_.data();
        b.shift = bias_;
        shift_(b);
    }

    void backward(const BlockRun& run) const override {
        if (lane_kernel_ >= 0) {
            Conv2dGradKernel a = kernel_args_;
            a.accumulate = run.accumulate;
            a.batch = run.count;
            a.x = run.at(slots_.dy);
            a.x_stride = slots_.dy.stride;
            a.dy = run.at(slots_.x);
            a.dy_stride = slots_.x.stride;
            a.dkernel = run.lane + lane_kernel_;
            a.scratch = run.scratch;
            grad_kernel_(a);
        }
        if (lane_bias_ >= 0) grad_bias(run);
        if (!slots_.dx.booked()) return;
        Conv2dForward a = backward_args_;
        a.batch = run.count;
        a.x = run.at(slots_.dy);
        a.x_stride = slots_.dy.stride;
        a.kernel = backward_.row->kernel->pack ? run.packed + packed_backward_ : kernel_;
        a.weights = kernel_;
        a.y = run.at(slots_.dx);
        a.y_stride = slots_.dx.stride;
        a.scratch = run.scratch;
        backward_(a);
    }

  private:
    void grad_bias(const BlockRun& run) const {
        BatchNormReduce a;
        a.accumulate = run.accumulate;
        a.batch = run.count;
        a.positions = positions_;
        a.channels = channels_;
        a.x = a.dy = run.at(slots_.dy);
        a.x_stride = a.dy_stride = slots_.dy.stride;
        a.mean = a.inv_std = zeros_.data();
        a.sum_dy = run.lane + lane_bias_;
        a.sum_dy_x = run.scratch;  // nobody reads it; never signalling, whatever it holds
        sum_(a);
    }

    const float* kernel_;
    const float* bias_;
    std::int64_t channels_ = 1, positions_ = 1;
    std::vector<float> ones_, zeros_;
    Conv2dGradInput forward_args_;
    Conv2dForward backward_args_;
    Conv2dGradKernel kernel_args_;
    Choice<Conv2dGradInput> forward_;
    Choice<Conv2dForward> backward_;
    Choice<Conv2dGradKernel> grad_kernel_;
    Choice<BatchNormForward> shift_;
    Choice<BatchNormReduce> sum_;
    std::int64_t packed_forward_ = 0, packed_backward_ = 0, lane_kernel_ = -1, lane_bias_ = -1;
};

}  // namespace

std::unique_ptr<Step> make_conv_transpose_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<ConvTransposeStep>(std::get<Conv2dTransposeOp>(in.op.op), in, memory);
}

}  // namespace fastcnn
