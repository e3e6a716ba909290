// Batch normalisation folded into the weights of the convolution or dense layer before it: with scale = gamma
// / sqrt(variance + epsilon) the two are one layer with kernel * scale and (bias - mean) * scale + beta. What
// fuses with a convolution (activation, max pool) then fuses with both, and no normalised image is ever
// stored.
//
// Where the statistics are constants (inference, frozen layers) the weights are folded when they are packed.
//
// While training they are the batch's, and known before the convolution where that reads the data in small
// patches p: its outputs are z = K^T p + bias, so mean(z) = K^T mean(p) + bias and n variance(z) = diag(K^T S
// K), S the scatter of p (PatchMoments). One pass over the input replaces all passes over an image of
// `filters` channels. The gradients, too, follow from what the folded layer's own backward pass sums, D = sum
// (p - mean(p)) dy^T (its kernel's gradient, centred) and sum dy (its bias's), so that no sync is needed
// before it:
//   dbeta = sum dy      dgamma = sum dy xhat = inv_std diag(K^T D)      dbias = 0
//   dK = scale (D - S K inv_std dgamma / n)
#include <algorithm>
#include <cmath>

#include "engine/steps.h"

namespace fastcnn {

namespace {

// The layer whose weights are folded.
struct Layer {
    int kernel, bias;
    std::int64_t rows;  // of the kernel as a matrix (rows, channels)

    explicit Layer(const FusedOp& op) {
        if (const auto* conv = std::get_if<Conv2dOp>(&op.op)) {
            kernel = conv->kernel;
            bias = conv->bias;
            rows = conv->h.size * conv->w.size * op.in.back() / conv->groups;
        } else {
            const DenseOp& dense = std::get<DenseOp>(op.op);
            kernel = dense.kernel;
            bias = dense.bias;
            rows = dense.inputs;
        }
    }
};

std::int64_t channels_of(const FusedOp& op) {
    const auto* conv = std::get_if<Conv2dOp>(&op.op);
    return conv ? conv->filters : std::get<DenseOp>(op.op).units;
}

// With constant statistics. The folded layer is a step of its own that this one has do the work.
class FoldedNormStep : public Step {
  public:
    FoldedNormStep(const StepInput& in, PlanMemory& memory)
        : FoldedNormStep(in, memory, Layer(in.op).bias, in.trainable) {
        weights_at_ = memory.packed.book(weights_floats_);
    }

    // Weights change seldom here: not worth a barrier between folding and packing. Steps take turns at the
    // parts.
    void pack(float* packed, int part, int parts) const override {
        if (part != static_cast<int>(number_) % parts) return;
        fold(packed + weights_at_, [&](std::int64_t c) {
            return Statistics{static_cast<double>(moving_mean_[c]), static_cast<double>(moving_variance_[c])};
        });
    }

    void forward(const BlockRun& run) const override { layer_->forward(with_weights(run)); }
    std::int64_t parts(std::int64_t limit) const override { return layer_->parts(limit); }
    void forward_part(const BlockRun& run, std::int64_t part, std::int64_t parts) const override {
        layer_->forward_part(with_weights(run), part, parts);
    }
    void backward(const BlockRun& run) const override { layer_->backward(with_weights(run)); }

    StepInfo info() const override {
        StepInfo info = layer_->info();
        const std::size_t end = std::min(info.operation.find(' '), info.operation.size());
        info.operation.insert(end, " + batch_normalization");
        info.kernel += ", normalisation folded into the weights";
        info.packed_floats = weights_floats_;
        return info;
    }

  protected:
    struct Statistics {
        double mean, variance;
    };

    // The folded layer's bias is parameter `bias` as far as its gradient is concerned.
    FoldedNormStep(const StepInput& in, PlanMemory& memory, int bias, const std::vector<bool>& trainable)
        : norm_(*in.op.norm),
          parameters_(in.op),
          channels_(channels_of(in.op)),
          number_(in.number),
          kernel_(in.data(parameters_.kernel)),
          bias_(in.data(parameters_.bias)),
          gamma_(in.data(norm_.gamma)),
          beta_(in.data(norm_.beta)),
          moving_mean_(in.data(norm_.moving_mean)),
          moving_variance_(in.data(norm_.moving_variance)) {
        FusedOp folded = in.op;
        folded.norm.reset();
        if (auto* conv = std::get_if<Conv2dOp>(&folded.op))
            conv->bias = bias;
        else
            std::get<DenseOp>(folded.op).bias = bias;
        Layout own;  // packed weights of the layer, then the folded kernel and bias that they are packed from
        std::swap(own, memory.packed);
        layer_ = make_step({folded, in.slots, in.parameters, trainable, in.number}, memory);
        std::swap(own, memory.packed);
        kernel_at_ = own.book(parameters_.rows * channels_);
        bias_at_ = own.book(channels_);
        weights_floats_ = own.size();
    }

    double scale(std::int64_t c, double variance) const {
        return (gamma_ ? static_cast<double>(gamma_[c]) : 1.0) / deviation(variance);
    }
    double deviation(double variance) const {
        return std::sqrt(variance + static_cast<double>(norm_.epsilon));
    }

    // Folds in double, rounds once, packs. statistics(c): of channel c.
    template <class Source>
    void fold(float* weights, const Source& statistics) const {
        float* kernel = weights + kernel_at_;
        float* bias = weights + bias_at_;
        for (std::int64_t c = 0; c < channels_; ++c) {
            const Statistics s = statistics(c);
            const double factor = scale(c, s.variance);
            const double shift = (bias_ ? static_cast<double>(bias_[c]) : 0.0) - s.mean;
            bias[c] = static_cast<float>(shift * factor + (beta_ ? static_cast<double>(beta_[c]) : 0.0));
            for (std::int64_t i = c; i < parameters_.rows * channels_; i += channels_)
                kernel[i] = static_cast<float>(static_cast<double>(kernel_[i]) * factor);
        }
        layer_->pack_weights(kernel, weights, 0, 1);
    }

    virtual const float* weights(const BlockRun& run) const { return run.packed + weights_at_; }

    BlockRun with_weights(const BlockRun& run) const {
        BlockRun own = run;
        own.packed = weights(run);
        own.kernel = own.packed + kernel_at_;
        own.bias = own.packed + bias_at_;
        return own;
    }

    BatchNormOp norm_;
    Layer parameters_;
    std::int64_t channels_;
    std::uint32_t number_;
    const float *kernel_, *bias_, *gamma_, *beta_;
    float *moving_mean_, *moving_variance_;
    std::unique_ptr<Step> layer_;
    std::int64_t kernel_at_ = 0, bias_at_ = 0, weights_at_ = 0, weights_floats_ = 0;
};

// With the batch's statistics, from moments. The bias of the folded layer is beta in the gradient's eyes, and
// the convolution's own where there is no beta.
class MomentNormStep : public FoldedNormStep {
  public:
    MomentNormStep(const StepInput& in, PlanMemory& memory)
        : FoldedNormStep(in, memory, summed_bias(in), with_kernel(in)),
          rows_(parameters_.rows),
          x_(in.slots.x) {
        const Conv2dOp& conv = std::get<Conv2dOp>(in.op.op);
        moments_args_.shape = {conv.h, conv.w, in.op.in.back(), conv.filters, conv.groups};
        moments_args_.batch = memory.block_size;
        moments_ = choose(moments_args_);
        memory.need_scratch(moments_.scratch(moments_args_));
        block_stride_ = Layout::round_up(2 * rows_ * (1 + rows_));
        block_moments_ = memory.batch.book(memory.block_total * block_stride_);
        state_ = memory.batch.book(2 * state_doubles());
        weights_at_ = memory.batch.book(weights_floats_);
        if (!trains(in.op, in.trainable)) return;
        // The trainer reads the slots of what is trained; the others are only summed.
        kernel_slot_ = slot_of(memory, parameters_.kernel);
        sum_bias_ = slot_of(memory, summed_bias(in)).offset;
        if (norm_.gamma != kAbsent) lane_gamma_ = memory.gradient(norm_.gamma, channels_);
        if (norm_.beta == kAbsent)
            lane_bias_ = sum_bias_;
        else if (parameters_.bias != kAbsent)
            lane_bias_ = memory.gradient(parameters_.bias, channels_);
    }

    bool syncs() const override { return true; }
    bool syncs_after_backward() const override { return true; }
    void pack(float*, int, int) const override {}

    void before_forward(const BlockRun& run) const override {
        PatchMoments a = moments_args_;
        a.batch = run.count;
        a.x = run.at(x_);
        a.x_stride = x_.stride;
        a.mean = block_moments(run.batch, run.index);
        a.scatter = a.mean + rows_;
        a.scratch = run.scratch;
        moments_(a);
    }

    void sync_forward(const SyncRun& run) const override {
        const State s = state(run.batch);
        combine_moments(run, s);
        multiply_scatter(s);
        const double n = static_cast<double>(run.batch_count) * positions();
        const float keep = norm_.momentum;
        fold(run.batch + weights_at_, [&](std::int64_t c) {
            Statistics z{bias_ ? static_cast<double>(bias_[c]) : 0.0, 0.0};
            for (std::int64_t i = 0; i < rows_; ++i) {
                const double k = static_cast<double>(kernel_[i * channels_ + c]);
                z.mean += k * s.mean[i];
                z.variance += k * s.scatter_kernel[i * channels_ + c];
            }
            z.variance = z.variance < 0.0 ? 0.0 : z.variance / n;  // NaN stays
            s.variance[c] = z.variance;
            if (run.update_statistics) {
                moving_mean_[c] = moving_mean_[c] * keep + static_cast<float>(z.mean) * (1.0f - keep);
                moving_variance_[c] =
                    moving_variance_[c] * keep + static_cast<float>(z.variance) * (1.0f - keep);
            }
            return z;
        });
    }

    // The folded layer's sums become the gradients, in the first lane.
    void sync_backward(const SyncRun& run) const override {
        const State s = state(run.batch);
        const double n = static_cast<double>(run.batch_count) * positions();
        for (std::int64_t c = 0; c < channels_; ++c) {
            const double sum_dy = take(run, sum_bias_ + c);
            const double inv_std = 1.0 / deviation(s.variance[c]), factor = scale(c, s.variance[c]);
            double sum_dy_z = 0.0;
            for (std::int64_t i = 0; i < rows_; ++i) {
                s.column[i] = take(run, kernel_element(i, c)) - sum_dy * s.mean[i];
                sum_dy_z += static_cast<double>(kernel_[i * channels_ + c]) * s.column[i];
            }
            const double sum_dy_x = sum_dy_z * inv_std;
            for (std::int64_t i = 0; i < rows_; ++i)
                give(run, kernel_element(i, c),
                     factor * (s.column[i] - s.scatter_kernel[i * channels_ + c] * inv_std * sum_dy_x / n));
            if (lane_gamma_ >= 0) give(run, lane_gamma_ + c, sum_dy_x);
            if (norm_.beta != kAbsent) give(run, sum_bias_ + c, sum_dy);
            if (lane_bias_ >= 0) give(run, lane_bias_ + c, 0.0);
        }
    }

    StepInfo info() const override {
        StepInfo info = FoldedNormStep::info();
        info.kernel += ", statistics from the moments of its input";
        return info;
    }

  protected:
    const float* weights(const BlockRun& run) const override { return run.batch + weights_at_; }

  private:
    // Of the whole batch.
    struct State {
        double *mean, *scatter;  // of the patches
        double* scatter_kernel;  // S K
        double* variance;        // of each output channel
        double* column;          // one column of D
    };

    static int summed_bias(const StepInput& in) {
        return in.op.norm->beta != kAbsent ? in.op.norm->beta : Layer(in.op).bias;
    }
    // Every gradient of the two layers follows from the sums for the kernel's.
    static std::vector<bool> with_kernel(const StepInput& in) {
        std::vector<bool> flags = in.trainable;
        flags[static_cast<std::size_t>(Layer(in.op).kernel)] = trains(in.op, in.trainable);
        return flags;
    }
    static GradientSlot slot_of(const PlanMemory& memory, int parameter) {
        return *std::find_if(memory.gradients.begin(), memory.gradients.end(),
                             [&](const GradientSlot& slot) { return slot.parameter == parameter; });
    }

    double positions() const {
        const Conv2dShape& c = moments_args_.shape;
        return static_cast<double>(c.h.out * c.w.out);
    }
    double* block_moments(float* batch, std::int64_t block) const {
        return reinterpret_cast<double*>(batch + block_moments_ + block * block_stride_);
    }
    std::int64_t state_doubles() const { return rows_ * (rows_ + channels_ + 2) + channels_; }
    State state(float* batch) const {
        State s;
        s.mean = reinterpret_cast<double*>(batch + state_);
        s.scatter = s.mean + rows_;
        s.scatter_kernel = s.scatter + rows_ * rows_;
        s.variance = s.scatter_kernel + rows_ * channels_;
        s.column = s.variance + channels_;
        return s;
    }

    // Blocks in order, pair by pair as in norm_step.cpp.
    void combine_moments(const SyncRun& run, const State& s) const {
        std::fill_n(s.mean, rows_ * (1 + rows_), 0.0);
        double n = 0;
        for (std::int64_t b = 0; b * run.block_size < run.batch_count; ++b) {
            const double* mean = block_moments(run.batch, b);
            const double* scatter = mean + rows_;
            const std::int64_t samples = std::min(run.block_size, run.batch_count - b * run.block_size);
            const double count = static_cast<double>(samples) * positions(), total = n + count;
            for (std::int64_t i = 0; i < rows_; ++i)
                for (std::int64_t j = 0; j < rows_; ++j)
                    s.scatter[i * rows_ + j] += scatter[i * rows_ + j] + (mean[i] - s.mean[i]) *
                                                                             (mean[j] - s.mean[j]) * n *
                                                                             count / total;
            for (std::int64_t i = 0; i < rows_; ++i) s.mean[i] += (mean[i] - s.mean[i]) * count / total;
            n = total;
        }
    }

    void multiply_scatter(const State& s) const {
        std::fill_n(s.scatter_kernel, rows_ * channels_, 0.0);
        for (std::int64_t i = 0; i < rows_; ++i)
            for (std::int64_t j = 0; j < rows_; ++j)
                for (std::int64_t c = 0; c < channels_; ++c)
                    s.scatter_kernel[i * channels_ + c] +=
                        s.scatter[i * rows_ + j] * static_cast<double>(kernel_[j * channels_ + c]);
    }

    // One element of all lanes: their sum, and its replacement.
    static double take(const SyncRun& run, std::int64_t element) {
        double sum = 0;
        for (std::int64_t lane = 0; lane < run.lane_count; ++lane)
            sum += static_cast<double>(run.lanes[lane * run.lane_stride + element]);
        return sum;
    }
    static void give(const SyncRun& run, std::int64_t element, double value) {
        for (std::int64_t lane = 0; lane < run.lane_count; ++lane)
            run.lanes[lane * run.lane_stride + element] = lane == 0 ? static_cast<float>(value) : 0.0f;
    }
    std::int64_t kernel_element(std::int64_t row, std::int64_t channel) const {
        return kernel_slot_.offset + (kernel_slot_.rows ? channel * rows_ + row : row * channels_ + channel);
    }

    std::int64_t rows_;
    PatchMoments moments_args_;
    Choice<PatchMoments> moments_;
    Slot x_;
    std::int64_t block_moments_ = 0, block_stride_ = 0, state_ = 0;
    GradientSlot kernel_slot_;
    std::int64_t sum_bias_ = -1, lane_gamma_ = -1, lane_bias_ = -1;
};

}  // namespace

std::unique_ptr<Step> make_folded_norm_step(const StepInput& in, PlanMemory& memory) {
    if (memory.training && !in.op.norm->frozen) return std::make_unique<MomentNormStep>(in, memory);
    return std::make_unique<FoldedNormStep>(in, memory);
}

}  // namespace fastcnn
