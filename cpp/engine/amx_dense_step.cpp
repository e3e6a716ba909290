// Dense layers of many weights with AMX tiles: all samples of a block, or in training of the batch, go
// through together, so that each weight is read once for all of them (kernels/api_amx_dense.h).
#include <algorithm>

#include "engine/amx.h"
#include "engine/steps.h"
#include "kernels/amx.h"

namespace fastcnn {

namespace {

constexpr std::int64_t kInputs = 32;        // whose gradients are computed together
constexpr std::int64_t kGradientRows = 16;  // rows of a tile
// Of the kernel's gradient: the optimizer reads its arrays in longer runs than those of a tile.
constexpr std::int64_t kRowsAtOnce = 64, kFewerRows = 16, kGradientFloats = 64 * 1024;

std::uint16_t* words(float* memory) { return reinterpret_cast<std::uint16_t*>(memory); }

// Part `part` of `parts` of `size` things, in groups of `unit`.
struct Range {
    std::int64_t first, last;
    Range(std::int64_t size, std::int64_t unit, std::int64_t part, std::int64_t parts) {
        const std::int64_t groups = ceil_div(size, unit);
        first = std::min(size, groups * part / parts * unit);
        last = std::min(size, groups * (part + 1) / parts * unit);
    }
    bool empty() const { return first >= last; }
};

class AmxDenseStep : public Step {
  public:
    AmxDenseStep(const StepInput& in, PlanMemory& memory)
        : layers_(in.op.layers),
          out_(in.op.out),
          slots_(in.slots),
          reads_image_(in.op.amx->x_is_image),
          isa_(amx_level().isa),
          rows_(*amx_level().rows),
          activation_(in.op.activation, true, in.op.gradient_above),
          relu_(in.op.activation == ActivationName::relu),
          wide_(in.wide) {
        const DenseOp& op = std::get<DenseOp>(in.op.op);
        const AmxPlan& plan = *in.op.amx;
        shape_ = {op.inputs, op.units};
        weights_ = in.data(op.kernel);
        bias_ = in.data(op.bias);
        block_ = memory.block_size;
        image_ = {nullptr, plan.h.in, plan.w.in, 0, 0, block_, plan.channels};
        if (!wide_ && reads_image_) image_.samples = memory.piece_size;
        sample_tiles_ = amx_sample_tiles(wide_ ? memory.block_total * block_ : block_);
        std::int64_t scratch = rows_.amx_dense_sums->scratch(sums_args());
        if (!reads_image_) scratch = std::max(scratch, image_.floats());
        Layout layout;
        if (wide_) sum_parts_ = parts_of_sums();
        layout.book(scratch);
        Layout& kept = wide_ ? memory.batch : layout;
        x_at_ = kept.book(amx_dense_floats(shape_, sample_tiles_));
        sums_at_ = kept.book(sum_parts_ * sums_floats());
        memory.need_scratch(layout.size());
        scratch = 0;
        trains_ = memory.training && (in.trains(op.kernel) || in.trains(op.bias));
        if (trains_ || slots_.dx.booked()) {
            dy_at_ = memory.batch.book(amx_dense_line_floats(shape_, sample_tiles_));
            scratch = std::max(scratch, rows_.amx_dense_grad_input->scratch(grad_input_args()));
        }
        if (trains_) {
            pairs_at_ = memory.batch.book(amx_dense_pairs_floats(shape_, sample_tiles_));
            memory.produced_gradient(op.kernel, op.inputs, op.units, static_cast<int>(in.number),
                                     kRowsAtOnce * op.units <= kGradientFloats ? kRowsAtOnce : kFewerRows);
            if (op.bias != kAbsent) lane_bias_ = memory.gradient(op.bias, op.units);
            scratch = std::max({scratch, rows_.amx_dense_grad_kernel->scratch(grad_kernel_args()),
                                rows_.amx_spread->scratch(bias_args(line_image(block_)))});
        }
        memory.need_scratch(scratch);
    }

    bool wide() const override { return wide_; }

    void before_forward(const BlockRun& run) const override {
        read(run, words(run.batch + x_at_), tiles_for(run), run.first, samples_here(run) - run.count);
    }

    // The weights are divided by inputs: whole rows are read, which the processor fetches ahead.
    void wide_forward(const BlockRun& run, int part, int parts) const override {
        for (std::int64_t i = part; i < sum_parts_; i += parts) {
            const Range tiles(shape_.input_tiles(), 1, i, sum_parts_);
            sum(run, run.batch, tiles_for(run), tiles, i);
        }
    }

    // A block's outputs: of a wide step, from the sums.
    void forward(const BlockRun& run) const override {
        if (!wide_) {
            const std::int64_t tiles = amx_sample_tiles(run.count);
            read(run, words(run.scratch + x_at_), tiles, 0, 0);
            sum(run, run.scratch, tiles, Range(shape_.input_tiles(), 1, 0, 1), 0);
        }
        rows_.amx_dense_finish->run({.shape = shape_,
                                     .relu = relu_,
                                     .parts = sum_parts_,
                                     .part = sums_floats(),
                                     .sample_tiles = wide_ ? tiles_for(run) : amx_sample_tiles(run.count),
                                     .first = wide_ ? run.first : 0,
                                     .count = run.count,
                                     .sums = (wide_ ? run.batch : run.scratch) + sums_at_,
                                     .bias = bias_,
                                     .y = run.at(slots_.y),
                                     .y_stride = slots_.y.stride});
        activation_.forward(run, slots_.y);
    }

    void before_backward(const BlockRun& run) const override {
        activation_.backward(run, slots_.y, slots_.dy);
        AmxImage lines = line_image(samples_here(run));
        lines.data = words(run.batch + dy_at_) + run.first * shape_.line();
        rows_.amx_read->run({run.at(slots_.dy), slots_.dy.stride, run.count, lines});
        if (lane_bias_ < 0) return;
        lines.samples = run.count;
        AmxSpread a = bias_args(lines);
        a.dbias = run.lane + lane_bias_;
        a.accumulate = run.accumulate;
        a.scratch = run.scratch;
        rows_.amx_spread->run(a);
    }

    void wide_backward(const BlockRun& run, int part, int parts) const override {
        if (trains_) {
            const Range tiles(ceil_div(shape_.units, kGradientRows), 1, part, parts);
            rows_.amx_dense_pairs->run({shape_, tiles.first, tiles.last, tiles_for(run),
                                        words(run.batch + dy_at_), words(run.batch + pairs_at_)});
        }
        const Range inputs(shape_.inputs, kInputs, part, parts);
        if (!slots_.dx.booked() || inputs.empty()) return;
        AmxDenseGradInput a = grad_input_args();
        a.first_input = inputs.first;
        a.last_input = inputs.last;
        a.sample_tiles = tiles_for(run);
        a.count = run.count;
        a.dy = words(run.batch + dy_at_);
        a.kernel = weights_;
        a.scratch = run.scratch;
        if (reads_image_) {
            a.image = image_;
            a.image.data = words(run.at(slots_.dx));
            a.blocks = ceil_div(run.count, block_);
            a.image_stride = 2 * block_ * slots_.dx.stride;
        } else {
            a.dx = run.at(slots_.dx);
            a.dx_stride = slots_.dx.stride;
        }
        rows_.amx_dense_grad_input->run(a);
    }

    void produce_gradient(const BlockRun& run, std::int64_t first_row, std::int64_t last_row,
                          float* gradient) const override {
        AmxDenseGradKernel a = grad_kernel_args();
        a.first_input = first_row;
        a.last_input = last_row;
        a.sample_tiles = tiles_for(run);
        a.x = words(run.batch + x_at_);
        a.pairs = words(run.batch + pairs_at_);
        a.dkernel = gradient;
        a.scratch = run.scratch;
        rows_.amx_dense_grad_kernel->run(a);
    }

    StepInfo info() const override {
        StepInfo info;
        info.layers = layers_;
        info.operation = wide_ ? "dense, whole batch" : "dense";
        info.kernel = "bfloat16 tiles, natural";
        info.isa = isa_;
        info.output_shape = out_;
        info.flops = 2 * shape_.inputs * shape_.units;
        info.activation_floats = slots_.y.stride;
        return info;
    }

  private:
    // A block's inputs as samples first, first + 1, ... of the tiles. Behind the batch's last one there are
    // zeros: the kernel's gradient sums over all samples of the tiles.
    void read(const BlockRun& run, std::uint16_t* to, std::int64_t sample_tiles, std::int64_t first,
              std::int64_t zeros) const {
        AmxDenseRead a;
        a.image = image_;
        a.sample_tiles = sample_tiles;
        a.tiles = to;
        if (!reads_image_) {
            a.image.data = words(run.scratch);
            rows_.amx_read->run({run.at(slots_.x), slots_.x.stride, run.count, a.image});
        }
        for (std::int64_t s = 0; s < run.count; s += image_.samples) {
            if (reads_image_) a.image.data = words(run.at(slots_.x) + s * slots_.x.stride);
            a.first = first + s;
            a.count = std::min(image_.samples, run.count - s);
            a.zeros = s + a.count == run.count ? zeros : 0;
            rows_.amx_dense_read->run(a);
        }
    }
    void sum(const BlockRun& run, float* memory, std::int64_t sample_tiles, const Range& tiles,
             std::int64_t part) const {
        AmxDenseSums a = sums_args();
        a.first_tile = tiles.first;
        a.last_tile = tiles.last;
        a.sample_tiles = sample_tiles;
        a.x = words(memory + x_at_);
        a.kernel = weights_;
        a.sums = memory + sums_at_ + part * sums_floats();
        a.scratch = run.scratch;
        rows_.amx_dense_sums->run(a);
    }
    // Tiles for the samples of a batch, which may be a smaller one than the plan's.
    std::int64_t tiles_for(const BlockRun& run) const {
        return amx_sample_tiles(ceil_div(run.batch_count, block_) * block_);
    }
    // Samples of the tiles that are this block's to write: those behind the batch's last one are the last
    // block's.
    std::int64_t samples_here(const BlockRun& run) const {
        return run.first + run.count < run.batch_count ? run.count : tiles_for(run) * 16 - run.first;
    }
    // Parts that the inputs are divided into. In a large batch of few inputs their sums would be more bytes
    // than the weights.
    std::int64_t parts_of_sums() const {
        const std::int64_t wanted =
            std::clamp<std::int64_t>(shape_.inputs / (4 * sample_tiles_), 2, kMaxParts);
        return std::min(wanted, shape_.input_tiles());
    }
    std::int64_t sums_floats() const { return amx_dense_sums_floats(shape_, sample_tiles_); }
    AmxImage line_image(std::int64_t samples) const { return {nullptr, 1, 1, 0, 0, samples, {shape_.units}}; }

    static AmxSpread bias_args(const AmxImage& dy) {
        AmxSpread a;
        a.dy = dy;
        return a;
    }
    AmxDenseSums sums_args() const { return {.shape = shape_, .sample_tiles = sample_tiles_}; }
    AmxDenseGradInput grad_input_args() const { return {.shape = shape_, .sample_tiles = sample_tiles_}; }
    AmxDenseGradKernel grad_kernel_args() const { return {.shape = shape_, .sample_tiles = sample_tiles_}; }

    std::string layers_;
    Shape out_;
    StepSlots slots_;
    bool reads_image_;
    Isa isa_;
    const AmxRows& rows_;
    FollowingActivation activation_;
    bool relu_, wide_, trains_ = false;
    AmxDenseShape shape_;
    const float* weights_ = nullptr;
    const float* bias_ = nullptr;
    AmxImage image_;  // of a block's inputs
    std::int64_t block_ = 1, sample_tiles_ = 2;
    std::int64_t sum_parts_ = 1;
    std::int64_t x_at_ = 0, sums_at_ = 0, dy_at_ = 0, pairs_at_ = 0, lane_bias_ = -1;
};

}  // namespace

std::unique_ptr<Step> make_amx_dense_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<AmxDenseStep>(in, memory);
}

}  // namespace fastcnn
