// Dense layer over the last axis, with bias and activation fused. Rows of a sample (where its rank is above
// 1) and samples are both rows of the matrix product.
#include <algorithm>

#include "engine/steps.h"

namespace fastcnn {

namespace {

// Rows of a produced gradient: a register tile's.
constexpr std::int64_t kProducedRows = 12;

class DenseStep : public Step {
  public:
    DenseStep(const StepInput& in, PlanMemory& memory)
        : layers_(in.op.layers),
          out_(in.op.out),
          slots_(in.slots),
          op_(std::get<DenseOp>(in.op.op)),
          rows_(size_of(in.op.in) / op_.inputs),
          activation_(in.op.activation, true, in.op.gradient_above),
          wide_(in.wide),
          late_(in.late),
          kernel_(in.parameters[static_cast<std::size_t>(op_.kernel)].data()),
          own_bias_(op_.bias == kAbsent ? nullptr
                                        : in.parameters[static_cast<std::size_t>(op_.bias)].data()) {
        forward_args_.inputs = op_.inputs;
        forward_args_.units = op_.units;
        forward_args_.relu = in.op.activation == ActivationName::relu;
        // A wide step's weights are packed once a batch.
        forward_args_.batch = grad_input_args_.batch = wide_ ? memory.batch_size : rows_ * memory.chosen_for;
        const Packing packing = wide_ ? Packing{1.0} : memory.packing();
        forward_ = choose(forward_args_, packing);
        packed_forward_ = memory.packed.book(forward_.packed(forward_args_));
        packed_floats_ = forward_.packed(forward_args_);
        if (!memory.training) return;
        trains_ = in.trainable[static_cast<std::size_t>(op_.kernel)] ||
                  (op_.bias != kAbsent && in.trainable[static_cast<std::size_t>(op_.bias)]);
        if (trains_) {
            grad_kernel_args_.inputs = grad_kernel_args_.last_input = op_.inputs;
            grad_kernel_args_.units = op_.units;
            grad_kernel_ = choose(grad_kernel_args_);
            if (wide_ || late_)
                memory.produced_gradient(op_.kernel, op_.inputs, op_.units, static_cast<int>(in.number),
                                         kProducedRows);
            else
                lane_kernel_ = memory.gradient(op_.kernel, op_.inputs * op_.units);
            if (own_bias_) lane_bias_ = memory.gradient(op_.bias, op_.units);
        }
        if (!slots_.dx.booked()) return;
        grad_input_args_.inputs = op_.inputs;
        grad_input_args_.units = op_.units;
        grad_input_ = choose(grad_input_args_, packing);
        grad_input_args_.batch = rows_ > 1 ? rows_ : memory.block_size;
        DenseGradInput largest = grad_input_args_;
        if (wide_) largest.inputs = Range::most(op_.inputs, kWidePartsPerThread);  // one thread's parts
        memory.need_scratch(grad_input_.scratch(largest));
        packed_backward_ = memory.packed.book(grad_input_.packed(grad_input_args_));
        packed_floats_ += grad_input_.packed(grad_input_args_);
    }

    void pack(float* packed, int part, int parts) const override {
        pack_weights(kernel_, packed, part, parts);
    }

    void pack_weights(const float* kernel, float* packed, int part, int parts) const override {
        if (packs(forward_))
            forward_.row->kernel->pack(forward_args_, kernel, packed + packed_forward_, part, parts);
        if (slots_.dx.booked() && packs(grad_input_))
            grad_input_.row->kernel->pack(grad_input_args_, kernel, packed + packed_backward_, part, parts);
    }

    void forward(const BlockRun& run) const override {
        if (wide_) return;  // wide_forward() has done it
        DenseForward a = forward_args_;
        a.kernel = packs(forward_) ? run.packed + packed_forward_ : weights_in(run);
        a.bias = run.kernel ? run.bias : own_bias_;
        for_each_matrix(run.count, [&](std::int64_t sample, std::int64_t rows, bool samples_are_rows) {
            a.batch = rows;
            a.x = run.at(slots_.x) + sample * slots_.x.stride;
            a.x_stride = samples_are_rows ? slots_.x.stride : op_.inputs;
            a.y = run.at(slots_.y) + sample * slots_.y.stride;
            a.y_stride = samples_are_rows ? slots_.y.stride : op_.units;
            forward_(a);
        });
        activation_.forward(run, slots_.y);
    }

    void backward(const BlockRun& run) const override {
        activation_.backward(run, slots_.y, slots_.dy);
        if (late_) sum_bias(run);
        for_each_matrix(run.count, [&](std::int64_t sample, std::int64_t rows, bool samples_are_rows) {
            const float* dy = run.at(slots_.dy) + sample * slots_.dy.stride;
            const std::int64_t dy_stride = samples_are_rows ? slots_.dy.stride : op_.units;
            if (trains_ && !late_) {
                DenseGradKernel a = grad_kernel_args_;
                a.accumulate = run.accumulate || sample > 0;
                a.batch = rows;
                a.x = run.at(slots_.x) + sample * slots_.x.stride;
                a.x_stride = samples_are_rows ? slots_.x.stride : op_.inputs;
                a.dy = dy;
                a.dy_stride = dy_stride;
                a.dkernel = run.lane + lane_kernel_;
                a.dbias = lane_bias_ >= 0 ? run.lane + lane_bias_ : nullptr;
                grad_kernel_(a);
            }
            if (!slots_.dx.booked()) return;
            DenseGradInput a = grad_input_args_;
            a.batch = rows;
            a.dy = dy;
            a.dy_stride = dy_stride;
            a.kernel = packs(grad_input_) ? run.packed + packed_backward_ : weights_in(run);
            a.scratch = run.scratch;
            a.dx = run.at(slots_.dx) + sample * slots_.dx.stride;
            a.dx_stride = samples_are_rows ? slots_.dx.stride : op_.inputs;
            grad_input_(a);
        });
    }

    bool wide() const override { return wide_; }

    // Columns of a sample's one row; softmax, which needs them all, is a step of its own.
    std::int64_t parts(std::int64_t limit) const override {
        const std::int64_t groups = (op_.units + kPackedGroup - 1) / kPackedGroup;
        return rows_ > 1 ? 1 : std::min({limit, groups, 2 * op_.inputs * op_.units / kPartFlops});
    }
    void forward_part(const BlockRun& run, std::int64_t part, std::int64_t parts) const override {
        wide_forward(run, static_cast<int>(part), static_cast<int>(parts));
        const Range columns(op_.units, static_cast<int>(part), static_cast<int>(parts));
        activation_.forward_range(run.at(slots_.y), columns.first, columns.last);
    }

    void wide_forward(const BlockRun& run, int part, int parts) const override {
        const Range columns(op_.units, part, parts);
        if (columns.empty()) return;
        DenseForward a = forward_args_;
        a.units = columns.last - columns.first;
        a.batch = run.count;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.kernel = packs(forward_) ? run.packed + packed_forward_ + columns.first * op_.inputs
                                   : kernel_ + columns.first;
        a.kernel_row = op_.units;
        a.bias = own_bias_ ? own_bias_ + columns.first : nullptr;
        a.y = run.at(slots_.y) + columns.first;
        a.y_stride = slots_.y.stride;
        forward_(a);
    }

    void before_backward(const BlockRun& run) const override {
        activation_.backward(run, slots_.y, slots_.dy);
        sum_bias(run);
    }

    void wide_backward(const BlockRun& run, int part, int parts) const override {
        const Range columns(op_.inputs, part, parts);
        if (!slots_.dx.booked() || columns.empty()) return;
        DenseGradInput a = grad_input_args_;
        a.inputs = columns.last - columns.first;
        a.batch = run.count;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        a.kernel = (packs(grad_input_) ? run.packed + packed_backward_ : kernel_) + columns.first * op_.units;
        a.scratch = run.scratch;
        a.dx = run.at(slots_.dx) + columns.first;
        a.dx_stride = slots_.dx.stride;
        grad_input_(a);
    }

    void produce_gradient(const BlockRun& run, std::int64_t first_row, std::int64_t last_row,
                          float* gradient) const override {
        DenseGradKernel a = gradient_args(run);
        a.first_input = first_row;
        a.last_input = last_row;
        a.dkernel = gradient - first_row * op_.units;  // as if it were the whole
        grad_kernel_(a);
    }

    StepInfo info() const override {
        StepInfo info;
        info.layers = layers_;
        info.operation = wide_ ? "dense, whole batch" : "dense";
        info.kernel = forward_.row->algorithm;
        if (grad_input_) info.kernel += std::string(", backward ") + grad_input_.row->algorithm;
        if (late_) info.kernel += kLateGradient;
        info.declined = forward_.declined();
        if (const std::string more = grad_input_.declined(); !more.empty())
            info.declined += "; backward " + more;
        info.isa = forward_.row->isa;
        info.output_shape = out_;
        info.flops = 2 * rows_ * op_.inputs * op_.units;
        info.activation_floats = slots_.y.stride;
        info.packed_floats = packed_floats_;
        return info;
    }

  private:
    // Columns of a packed matrix that a worker computes: whole groups of 64, which every level's packing
    // starts afresh.
    struct Range {
        std::int64_t first, last;
        Range(std::int64_t columns, int part, int parts) {
            const std::int64_t groups = (columns + kPackedGroup - 1) / kPackedGroup;
            first = std::min(columns, groups * part / parts * kPackedGroup);
            last = std::min(columns, groups * (part + 1) / parts * kPackedGroup);
        }
        bool empty() const { return first >= last; }
        // Columns of the largest of so many parts or more.
        static std::int64_t most(std::int64_t columns, int parts) {
            return std::min(columns, ceil_div(ceil_div(columns, kPackedGroup), parts) * kPackedGroup);
        }
    };

    template <class Args>
    static bool packs(const Choice<Args>& choice) {
        return choice.row->kernel->pack;
    }
    const float* weights_in(const BlockRun& run) const { return run.kernel ? run.kernel : kernel_; }

    // The bias's gradient lies in the lanes like any other, where the kernel's is produced.
    void sum_bias(const BlockRun& run) const {
        if (lane_bias_ < 0) return;
        DenseGradKernel a = gradient_args(run);
        a.first_input = a.last_input = 0;
        a.accumulate = run.accumulate;
        a.dbias = run.lane + lane_bias_;
        grad_kernel_(a);
    }

    DenseGradKernel gradient_args(const BlockRun& run) const {
        DenseGradKernel a = grad_kernel_args_;
        a.batch = run.count;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        return a;
    }

    template <class Visit>
    void for_each_matrix(std::int64_t samples, const Visit& visit) const {
        if (rows_ == 1) {
            visit(0, samples, true);
            return;
        }
        for (std::int64_t s = 0; s < samples; ++s) visit(s, rows_, false);
    }

    std::string layers_;
    Shape out_;
    StepSlots slots_;
    DenseOp op_;
    std::int64_t rows_;
    FollowingActivation activation_;
    bool wide_, late_;
    const float* kernel_;
    const float* own_bias_;
    bool trains_ = false;
    DenseForward forward_args_;
    Choice<DenseForward> forward_;
    DenseGradInput grad_input_args_;
    Choice<DenseGradInput> grad_input_;
    DenseGradKernel grad_kernel_args_;
    Choice<DenseGradKernel> grad_kernel_;
    std::int64_t packed_forward_ = 0, packed_backward_ = 0, packed_floats_ = 0, lane_kernel_ = -1,
                 lane_bias_ = -1;
};

}  // namespace

std::unique_ptr<Step> make_dense_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<DenseStep>(in, memory);
}

}  // namespace fastcnn
