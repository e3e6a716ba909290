// Convolution with bias, activation and max pooling fused.
#include <algorithm>

#include "engine/steps.h"
#include "kernels/parts.h"

namespace fastcnn {

namespace {

// The parameters, or what a run has in their place.
struct Weights {
    const float* own_kernel = nullptr;
    const float* own_bias = nullptr;
    const float* kernel_in(const BlockRun& run) const { return run.kernel ? run.kernel : own_kernel; }
    const float* bias_in(const BlockRun& run) const { return run.kernel ? run.bias : own_bias; }
};

// Image with the convolution's padding written out, as the pooled gradients want it.
struct PaddedImage {
    std::int64_t height, width, channels, top, left;
    explicit PaddedImage(const Conv2dShape& c)
        : height(c.h.in + c.h.pad + c.h.pad_end()),
          width(c.w.in + c.w.pad + c.w.pad_end()),
          channels(c.in_channels),
          top(c.h.pad),
          left(c.w.pad) {}
    std::int64_t size() const { return height * width * channels; }
    bool same_as_input(const Conv2dShape& c) const { return height == c.h.in && width == c.w.in; }

    void write(const Conv2dShape& c, const float* x, float* out) const {
        std::memset(out, 0, static_cast<std::size_t>(size()) * sizeof(float));
        for (std::int64_t y = 0; y < c.h.in; ++y)
            std::memcpy(out + ((y + top) * width + left) * channels, x + y * c.w.in * channels,
                        static_cast<std::size_t>(c.w.in * channels) * sizeof(float));
    }
};

class ConvStep : public Step {
  public:
    ConvStep(const StepInput& in, PlanMemory& memory)
        : layers_(in.op.layers),
          out_(in.op.out),
          slots_(in.slots),
          op_(std::get<Conv2dOp>(in.op.op)),
          activation_(in.op.activation, true, in.op.gradient_above) {
        weights_.own_kernel = in.parameters[static_cast<std::size_t>(op_.kernel)].data();
        if (op_.bias != kAbsent) weights_.own_bias = in.parameters[static_cast<std::size_t>(op_.bias)].data();
        forward_args_.shape = {op_.h, op_.w, in.op.in.back(), op_.filters, op_.groups};
        forward_args_.relu = in.op.activation == ActivationName::relu;
        forward_args_.batch = memory.chosen_for;
        if (in.op.pool) {
            forward_args_.pooled = true;
            forward_args_.pool = {in.op.pool->h, in.op.pool->w, op_.filters};
        }
        forward_ = choose(forward_args_, memory.packing());
        forward_args_.batch = memory.block_size;
        scratch_floats_ = forward_.scratch(forward_args_);
        packed_forward_ = memory.packed.book(forward_.packed(forward_args_));
        packed_floats_ = forward_.packed(forward_args_);
        row_units_ = ceil_div(rows(), forward_.row_unit(forward_args_));
        // An activation of its own would need the rows of all channels.
        weight_units_ = activation_.applies_forward() ? 1 : forward_.weight_units(forward_args_);
        if (memory.training) plan_backward(in, memory);
        if (memory.block_size == 1) book_parts();
        memory.need_scratch(scratch_floats_);
    }

    void pack(float* packed, int part, int parts) const override {
        pack_weights(weights_.own_kernel, packed, part, parts);
    }

    void pack_weights(const float* kernel, float* packed, int part, int parts) const override {
        forward_.row->kernel->pack(forward_args_, kernel, packed + packed_forward_, part, parts);
        if (!slots_.dx.booked() || packed_for_both_) return;
        if (forward_args_.pooled)
            pooled_input_.row->kernel->pack(pooled_input_args_, kernel, packed + packed_backward_, part,
                                            parts);
        else
            grad_input_.row->kernel->pack(grad_input_args_, kernel, packed + packed_backward_, part, parts);
    }

    void forward(const BlockRun& run) const override {
        forward_(forward_call(run));
        activation_.forward(run, slots_.y);
    }

    // Of one sample: rows of the output (the pooled one where there is a pool), or its channels.
    std::int64_t parts(std::int64_t limit) const override {
        const std::int64_t most = std::min(limit, flops_of(forward_args_.shape) / kPartFlops);
        return std::min(most, by_weights(most) ? weight_units_ : row_units_);
    }

    void forward_part(const BlockRun& run, std::int64_t part, std::int64_t parts) const override {
        if (by_weights(parts)) {
            Conv2dForward call = forward_call(run);
            call.weight_part = {static_cast<int>(part), static_cast<int>(parts)};
            forward_(call);
            return;
        }
        const auto [first, last] = part_rows(part, parts);
        forward_(part_of(forward_call(run), 0, 1, first, last));
        activation_.forward_range(run.at(slots_.y), slots_.y.size * first / rows(),
                                  slots_.y.size * last / rows());
    }

    Conv2dForward forward_call(const BlockRun& run) const {
        Conv2dForward a = forward_args_;
        a.batch = run.count;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.kernel = run.packed + packed_forward_;
        a.weights = weights_.kernel_in(run);
        a.bias = weights_.bias_in(run);
        a.y = run.at(slots_.y);
        a.y_stride = slots_.y.stride;
        if (argmax_.booked()) {
            a.argmax = argmax_at(run);
            a.argmax_stride = argmax_.stride * 4;
        }
        a.scratch = run.scratch;
        return a;
    }

    void backward(const BlockRun& run) const override {
        activation_.backward(run, slots_.y, slots_.dy);
        if (without_lists_)
            backward_without_lists(run);
        else if (forward_args_.pooled)
            backward_pooled(run);
        else
            backward_dense(run);
    }

    StepInfo info() const override {
        StepInfo info;
        info.layers = layers_;
        info.operation = forward_args_.pooled ? "conv2d + max_pool2d" : "conv2d";
        info.kernel = std::string(forward_.row->algorithm);
        if (backward_planned_) info.kernel += ", backward " + backward_kernels();
        info.declined = forward_.declined();
        for (const std::string& more :
             {grad_kernel_.declined(), grad_input_.declined(), pooled_input_.declined(),
              pooled_kernel_.declined(), without_lists_.declined()})
            if (!more.empty()) info.declined += (info.declined.empty() ? "" : "; backward ") + more;
        info.isa = forward_.row->isa;
        info.output_shape = out_;
        info.flops = flops_of(computed());
        info.activation_floats = slots_.y.stride + (argmax_.booked() ? argmax_.stride : 0);
        info.scratch_floats = scratch_floats_;
        info.packed_floats = packed_floats_;
        return info;
    }

  private:
    // Samples whose lists are made together: enough to pay for loading and storing the accumulators, few
    // enough to stay in L1.
    static constexpr std::int64_t kListedSamples = 2;

    // The convolution without the outputs that no pooling window reads.
    Conv2dShape computed() const {
        Conv2dShape c = forward_args_.shape;
        if (!forward_args_.pooled) return c;
        const auto read = [](const Window& pool) { return part_for_outputs(pool, 0, pool.out).window.in; };
        c.h.out = read(forward_args_.pool.h);
        c.w.out = read(forward_args_.pool.w);
        return c;
    }

    struct Range {
        std::int64_t first, last;
    };
    Range part_rows(std::int64_t part, std::int64_t parts) const {
        const Share share(row_units_, part, parts);
        const std::int64_t unit = forward_.row_unit(forward_args_);
        return {share.begin * unit, std::min(rows(), share.end * unit)};
    }
    // Whether `parts` parts of the channels are smaller than as many of the rows, by more than what each of
    // them does again: Winograd's few rows of tiles rarely divide evenly.
    bool by_weights(std::int64_t parts) const {
        const auto largest = [&](std::int64_t units) {
            return static_cast<double>(ceil_div(units, std::min(units, parts))) / static_cast<double>(units);
        };
        return parts > 1 && 1.15 * largest(weight_units_) < largest(row_units_);
    }
    std::int64_t rows() const {
        return forward_args_.pooled ? forward_args_.pool.h.out : forward_args_.shape.h.out;
    }

    std::uint8_t* argmax_at(const BlockRun& run) const {
        return reinterpret_cast<std::uint8_t*>(run.at(argmax_));
    }

    // Of the kernel's gradient, then of the input's.
    std::string backward_kernels() const {
        std::string names;
        if (pooled_kernel_) names = pooled_kernel_.row->algorithm;
        if (without_lists_) names = without_lists_.row->algorithm;
        if (grad_kernel_) names = grad_kernel_.row->algorithm;
        const char* input = pooled_input_ ? pooled_input_.row->algorithm
                            : grad_input_ ? grad_input_.row->algorithm
                                          : nullptr;
        if (input) names += (names.empty() ? "" : " + ") + std::string(input);
        return names;
    }

    // Scratch for any division of one sample.
    void book_parts() {
        const std::int64_t most = std::min<std::int64_t>(parts(kMaxParts), row_units_);
        for (std::int64_t n = 2; n <= most; ++n)
            for (std::int64_t part = 0; part < n; ++part) {
                const Range range = part_rows(part, n);
                scratch_floats_ = std::max(
                    scratch_floats_, forward_.scratch(part_of(forward_args_, 0, 1, range.first, range.last)));
            }
    }

    void plan_backward(const StepInput& in, PlanMemory& memory) {
        const bool wanted = in.trainable[static_cast<std::size_t>(op_.kernel)] ||
                            (op_.bias != kAbsent && in.trainable[static_cast<std::size_t>(op_.bias)]);
        const Conv2dShape& c = forward_args_.shape;
        const std::int64_t rows = c.h.size * c.w.size * c.in_channels / c.groups, columns = c.out_channels;
        trains_ = wanted;
        if (forward_args_.pooled && !slots_.dx.booked()) plan_without_lists(memory);
        if (wanted) {
            lane_kernel_ = forward_args_.pooled && !without_lists_
                               ? memory.gradient(op_.kernel, rows * columns, rows, columns)
                               : memory.gradient(op_.kernel, rows * columns);
            if (op_.bias != kAbsent) lane_bias_ = memory.gradient(op_.bias, columns);
        }
        if (!wanted && !slots_.dx.booked()) return;
        backward_planned_ = true;
        if (forward_args_.pooled) book_argmax(memory);
        if (without_lists_)
            scratch_floats_ = std::max(scratch_floats_, without_lists_.scratch(without_lists_args_));
        else if (forward_args_.pooled)
            plan_pooled(memory);
        else
            plan_dense(memory);
    }

    void plan_dense(PlanMemory& memory) {
        grad_kernel_args_.shape = grad_input_args_.shape = forward_args_.shape;
        grad_kernel_args_.batch = grad_input_args_.batch = memory.block_size;
        if (trains_) {
            grad_kernel_ = choose(grad_kernel_args_);
            scratch_floats_ = std::max(scratch_floats_, grad_kernel_.scratch(grad_kernel_args_));
        }
        if (!slots_.dx.booked()) return;
        const char* packed_anyway = forward_.row->kernel->layout;
        Packing packing = memory.packing();
        packing.layout = packed_anyway;
        grad_input_ = choose(grad_input_args_, packing);
        scratch_floats_ = std::max(scratch_floats_, grad_input_.scratch(grad_input_args_));
        packed_for_both_ = same_layout(grad_input_.row->kernel->layout, packed_anyway);
        if (packed_for_both_) {
            packed_backward_ = packed_forward_;
            return;
        }
        packed_backward_ = memory.packed.book(grad_input_.packed(grad_input_args_));
        packed_floats_ += grad_input_.packed(grad_input_args_);
    }

    // Bytes of argmax, in floats' memory.
    void book_argmax(PlanMemory& memory) {
        argmax_ = memory.book(slots_.y.place, (slots_.y.size + 3) / 4 + 4);
    }

    // The first layer of a network: nobody wants its input's gradient.
    void plan_without_lists(const PlanMemory& memory) {
        without_lists_args_.shape = forward_args_.shape;
        without_lists_args_.pool = forward_args_.pool;
        without_lists_args_.batch = memory.block_size;
        without_lists_ = choose_if_any(without_lists_args_);
    }

    void plan_pooled(PlanMemory& memory) {
        Layout layout;
        if (trains_) plan_lists(memory.block_size, layout);
        if (slots_.dx.booked()) {
            pooled_input_args_.shape = forward_args_.shape;
            pooled_input_args_.pool = forward_args_.pool;
            pooled_input_args_.batch = memory.block_size;
            pooled_input_ = choose(pooled_input_args_);
            input_scratch_at_ = layout.book(pooled_input_.scratch(pooled_input_args_));
            packed_backward_ = memory.packed.book(pooled_input_.packed(pooled_input_args_));
            packed_floats_ += pooled_input_.packed(pooled_input_args_);
        }
        scratch_floats_ = std::max(scratch_floats_, layout.size());
    }

    void plan_lists(std::int64_t samples, Layout& layout) {
        const Conv2dShape& c = forward_args_.shape;
        const PoolShape& p = forward_args_.pool;
        const std::int64_t listed = std::min(kListedSamples, samples);
        list_args_.conv = pooled_kernel_args_.shape = c;
        list_args_.pool = p;
        list_args_.batch = listed;
        lists_ = choose(list_args_);
        pooled_kernel_ = choose(pooled_kernel_args_);
        const PaddedImage padded(c);
        pads_ = !padded.same_as_input(c);
        if (pads_) padded_at_ = layout.book(listed * padded.size());
        channel_capacity_ = listed * p.h.out * p.w.out + 16;
        channel_count_at_ = layout.book(c.out_channels);
        x_offset_at_ = layout.book(c.out_channels * channel_capacity_);
        value_at_ = layout.book(c.out_channels * channel_capacity_);
    }

    void backward_dense(const BlockRun& run) const {
        if (trains_) {
            Conv2dGradKernel a = grad_kernel_args_;
            a.accumulate = run.accumulate;
            a.batch = run.count;
            a.x = run.at(slots_.x);
            a.x_stride = slots_.x.stride;
            a.dy = run.at(slots_.dy);
            a.dy_stride = slots_.dy.stride;
            a.dkernel = run.lane + lane_kernel_;
            a.dbias = lane_bias_ >= 0 ? run.lane + lane_bias_ : nullptr;
            a.scratch = run.scratch;
            grad_kernel_(a);
        }
        if (!slots_.dx.booked()) return;
        Conv2dGradInput a = grad_input_args_;
        a.batch = run.count;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        a.kernel = run.packed + packed_backward_;
        a.weights = weights_.kernel_in(run);
        a.dx = run.at(slots_.dx);
        a.dx_stride = slots_.dx.stride;
        a.scratch = run.scratch;
        grad_input_(a);
    }

    void backward_without_lists(const BlockRun& run) const {
        PooledConv2dGradKernelDirect a = without_lists_args_;
        a.accumulate = run.accumulate;
        a.batch = run.count;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        a.argmax = argmax_at(run);
        a.argmax_stride = argmax_.stride * 4;
        a.dkernel = run.lane + lane_kernel_;
        a.dbias = lane_bias_ >= 0 ? run.lane + lane_bias_ : nullptr;
        a.scratch = run.scratch;
        without_lists_(a);
    }

    PooledLists lists_in(float* scratch) const {
        PooledLists lists;
        lists.channel_count = reinterpret_cast<std::int32_t*>(scratch + channel_count_at_);
        lists.x_offset = reinterpret_cast<std::int32_t*>(scratch + x_offset_at_);
        lists.value = scratch + value_at_;
        lists.channel_capacity = channel_capacity_;
        return lists;
    }

    void backward_pooled(const BlockRun& run) const {
        if (trains_) grad_kernel_from_lists(run);
        if (!slots_.dx.booked()) return;
        PooledConv2dGradInput a = pooled_input_args_;
        a.batch = run.count;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        a.argmax = argmax_at(run);
        a.argmax_stride = argmax_.stride * 4;
        a.kernel = run.packed + packed_backward_;
        a.dx = run.at(slots_.dx);
        a.dx_stride = slots_.dx.stride;
        a.scratch = run.scratch + input_scratch_at_;
        pooled_input_(a);
    }

    void grad_kernel_from_lists(const BlockRun& run) const {
        const Conv2dShape& c = forward_args_.shape;
        const PaddedImage padded(c);
        for (std::int64_t s = 0; s < run.count; s += list_args_.batch) {
            const std::int64_t count = std::min(list_args_.batch, run.count - s);
            const float* x = run.at(slots_.x) + s * slots_.x.stride;
            std::int64_t x_stride = slots_.x.stride;
            if (pads_) {
                float* copy = run.scratch + padded_at_;
                for (std::int64_t i = 0; i < count; ++i)
                    padded.write(c, x + i * x_stride, copy + i * padded.size());
                x = copy;
                x_stride = padded.size();
            }
            PooledGradient g = list_args_;
            g.batch = count;
            g.x_stride = x_stride;
            g.dy = run.at(slots_.dy) + s * slots_.dy.stride;
            g.dy_stride = slots_.dy.stride;
            g.argmax = argmax_at(run) + s * argmax_.stride * 4;
            g.argmax_stride = argmax_.stride * 4;
            g.lists = lists_in(run.scratch);
            lists_(g);
            PooledConv2dGradKernel a = pooled_kernel_args_;
            a.accumulate = run.accumulate || s > 0;
            a.x = x;
            a.lists = g.lists;
            a.dkernel = run.lane + lane_kernel_;
            a.dbias = lane_bias_ >= 0 ? run.lane + lane_bias_ : nullptr;
            pooled_kernel_(a);
        }
    }

    std::string layers_;
    Shape out_;
    StepSlots slots_;
    Conv2dOp op_;
    Weights weights_;
    FollowingActivation activation_;
    bool trains_ = false, backward_planned_ = false, pads_ = false, packed_for_both_ = false;

    Conv2dForward forward_args_;
    Choice<Conv2dForward> forward_;
    Conv2dGradInput grad_input_args_;
    Choice<Conv2dGradInput> grad_input_;
    Conv2dGradKernel grad_kernel_args_;
    Choice<Conv2dGradKernel> grad_kernel_;
    PooledGradient list_args_;
    Choice<PooledGradient> lists_;
    PooledConv2dGradKernel pooled_kernel_args_;
    Choice<PooledConv2dGradKernel> pooled_kernel_;
    PooledConv2dGradInput pooled_input_args_;
    Choice<PooledConv2dGradInput> pooled_input_;
    PooledConv2dGradKernelDirect without_lists_args_;
    Choice<PooledConv2dGradKernelDirect> without_lists_;

    Slot argmax_;                                    // bytes, in floats' memory
    std::int64_t row_units_ = 1, weight_units_ = 1;  // into which one sample can be divided
    std::int64_t packed_forward_ = 0, packed_backward_ = 0, packed_floats_ = 0, scratch_floats_ = 0;
    std::int64_t lane_kernel_ = -1, lane_bias_ = -1;
    std::int64_t channel_capacity_ = 0;
    std::int64_t padded_at_ = 0, channel_count_at_ = 0, x_offset_at_ = 0, value_at_ = 0,
                 input_scratch_at_ = 0;
};

}  // namespace

std::unique_ptr<Step> make_conv_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<ConvStep>(in, memory);
}

}  // namespace fastcnn
