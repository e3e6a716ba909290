// Batch normalisation over the last axis, with its activation and the max pool after it: the normalised
// values before the pool exist in registers only. On the way back the pooled gradient is enough for the two
// sums (x at each window's maximum was kept), and the pass that they are needed for spreads it over the
// windows as it goes.
//
// While training, the statistics need the whole batch, so the step syncs: each block leaves its mean and
// squared deviations (and on the way back its two sums) in a row of its own; the sync combines the rows in
// block order, in double, which is exact enough for any batch and the same for any number of threads.
#include <cmath>

#include "engine/steps.h"

namespace fastcnn {

namespace {

class BatchNormStep : public Step {
  public:
    BatchNormStep(const StepInput& in, PlanMemory& memory)
        : layers_(in.op.layers),
          out_(in.op.out),
          slots_(in.slots),
          op_(std::get<BatchNormOp>(in.op.op)),
          channels_(in.op.in.back()),
          positions_(size_of(in.op.in) / channels_),
          relu_(in.op.activation == ActivationName::relu),
          input_relu_(in.op.input_relu),
          syncs_(memory.training && !op_.frozen),
          activation_(in.op.activation, true, relu_) {  // the kernels take ReLU's derivative themselves
        gamma_ = in.data(op_.gamma);
        beta_ = in.data(op_.beta);
        moving_mean_ = in.data(op_.moving_mean);
        moving_variance_ = in.data(op_.moving_variance);
        pooled_ = in.op.pool.has_value();
        if (pooled_) {
            pool_forward_args_.pool = {in.op.pool->h, in.op.pool->w, channels_};
            pool_forward_ = choose(pool_forward_args_);
        } else {
            forward_ = choose(BatchNormForward{});
        }
        if (syncs_) {
            statistics_ = choose(BatchNormStatistics{});
            block_rows_ = memory.batch.book(memory.block_total * 2 * channels_);
            vectors_ = memory.batch.book(kVectors * Layout::round_up(channels_));
        } else {
            packed_ = memory.packed.book(kVectors * Layout::round_up(channels_));
        }
        if (!memory.training) return;
        if (in.trains(op_.gamma)) lane_gamma_ = memory.gradient(op_.gamma, channels_);
        if (in.trains(op_.beta)) lane_beta_ = memory.gradient(op_.beta, channels_);
        if (!syncs_ && (lane_gamma_ >= 0 || lane_beta_ >= 0)) {  // the kernel always writes both sums
            if (lane_gamma_ < 0) lane_gamma_ = memory.lane.book(channels_);
            if (lane_beta_ < 0) lane_beta_ = memory.lane.book(channels_);
        }
        reduce_ = choose(BatchNormReduce{});
        if (!pooled_) {
            backward_ = choose(BatchNormBackward{});
            return;
        }
        pool_backward_args_.pool = pool_forward_args_.pool;
        pool_backward_ = choose(pool_backward_args_);
        // The last pass over x may come after a sync, when the block's memory is another block's.
        argmax_ = memory.book(syncs_ ? Place::batch : slots_.y.place, (slots_.y.size + 3) / 4 + 4);
        picked_ = memory.book(slots_.y.place, slots_.y.size);
    }

    bool syncs() const override { return syncs_; }

    // Inference: the vectors of the moving statistics.
    void pack(float* packed, int part, int) const override {
        if (syncs_ || part != 0) return;
        float* v = packed + packed_;
        for (std::int64_t c = 0; c < channels_; ++c) set_vectors(v, c, moving_mean_[c], moving_variance_[c]);
    }

    void before_forward(const BlockRun& run) const override {
        BatchNormStatistics a;
        a.batch = run.count;
        a.positions = positions_;
        a.channels = channels_;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.mean = row(run.batch, run.index);
        a.m2 = a.mean + channels_;
        statistics_(a);
    }

    // Chan, Golub, LeVeque (1979): means and squared deviations of two sets combine without cancellation.
    void sync_forward(const SyncRun& run) const override {
        float* v = run.batch + vectors_;
        for (std::int64_t c = 0; c < channels_; ++c) {
            double n = 0, mean = 0, m2 = 0;
            for (std::int64_t b = 0; b * run.block_size < run.batch_count; ++b) {
                const float* stats = row(run.batch, b);
                const double count = static_cast<double>(block_count(run, b) * positions_);
                const double delta = stats[c] - mean, total = n + count;
                mean += delta * count / total;
                m2 += stats[channels_ + c] + delta * delta * n * count / total;
                n = total;
            }
            const double variance = m2 / n;
            set_vectors(v, c, static_cast<float>(mean), static_cast<float>(variance));
            if (!run.update_statistics) continue;
            moving_mean_[c] =
                moving_mean_[c] * op_.momentum + static_cast<float>(mean) * (1.0f - op_.momentum);
            moving_variance_[c] =
                moving_variance_[c] * op_.momentum + static_cast<float>(variance) * (1.0f - op_.momentum);
        }
    }

    void forward(const BlockRun& run) const override {
        const float* v = vectors(run);
        if (pooled_) {
            forward_pooled(run, v);
            return;
        }
        forward_({relu_, run.count, positions_, channels_, run.at(slots_.x), slots_.x.stride,
                  v + kMean * width(), v + kScale * width(), v + kShift * width(), run.at(slots_.y),
                  slots_.y.stride});
        activation_.forward(run, slots_.y);
    }

    void before_backward(const BlockRun& run) const override {
        activation_.backward(run, slots_.y, slots_.dy);
        BatchNormReduce a = reduce_args(run);
        a.sum_dy = row(run.batch, run.index);
        a.sum_dy_x = a.sum_dy + channels_;
        reduce_(a);
    }

    void sync_backward(const SyncRun& run) const override {
        float* v = run.batch + vectors_;
        const double n = static_cast<double>(run.batch_count * positions_);
        for (std::int64_t c = 0; c < channels_; ++c) {
            double sum_dy = 0, sum_dy_x = 0;
            for (std::int64_t b = 0; b * run.block_size < run.batch_count; ++b) {
                sum_dy += row(run.batch, b)[c];
                sum_dy_x += row(run.batch, b)[channels_ + c];
            }
            v[kA * width() + c] = static_cast<float>(sum_dy / n);
            v[kB * width() + c] = static_cast<float>(sum_dy_x / n);
            // The sums are the whole batch's gradients: they go into the first lane.
            for (std::int64_t lane = 0; lane < run.lane_count; ++lane) {
                float* gradients = run.lanes + lane * run.lane_stride;
                if (lane_gamma_ >= 0)
                    gradients[lane_gamma_ + c] = lane == 0 ? static_cast<float>(sum_dy_x) : 0.0f;
                if (lane_beta_ >= 0)
                    gradients[lane_beta_ + c] = lane == 0 ? static_cast<float>(sum_dy) : 0.0f;
            }
        }
    }

    void backward(const BlockRun& run) const override {
        if (!syncs_) backward_frozen(run);
        if (!slots_.dx.booked()) return;
        const float* v = vectors(run);
        const BatchNormGradient norm = {relu_,
                                        input_relu_,
                                        v + kMean * width(),
                                        v + kInvStd * width(),
                                        v + kScale * width(),
                                        v + kShift * width(),
                                        v + kA * width(),
                                        v + kB * width()};
        if (!pooled_) {
            backward_({norm, run.count, positions_, channels_, run.at(slots_.x), slots_.x.stride,
                       run.at(slots_.dy), slots_.dy.stride, run.at(slots_.dx), slots_.dx.stride});
            return;
        }
        BatchNormPoolBackward a = pool_backward_args_;
        a.norm = norm;
        a.batch = run.count;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        a.argmax = argmax_at(run);
        a.argmax_stride = argmax_.stride * 4;
        a.dx = run.at(slots_.dx);
        a.dx_stride = slots_.dx.stride;
        pool_backward_(a);
    }

    StepInfo info() const override {
        StepInfo info;
        info.layers = layers_;
        info.operation = pooled_ ? "batch_normalization + max_pool2d" : "batch_normalization";
        info.kernel = pooled_ ? pool_forward_.row->algorithm : forward_.row->algorithm;
        info.isa = pooled_ ? pool_forward_.row->isa : forward_.row->isa;
        info.output_shape = out_;
        info.flops = 2 * positions_ * channels_;
        info.activation_floats = slots_.y.stride + argmax_.stride + picked_.stride;
        return info;
    }

  private:
    // Vectors of one float a channel; a and b stay zero where the statistics are constants.
    enum { kMean, kInvStd, kScale, kShift, kA, kB, kVectors };

    std::int64_t width() const { return Layout::round_up(channels_); }
    float* row(float* batch, std::int64_t block) const { return batch + block_rows_ + block * 2 * channels_; }
    const float* vectors(const BlockRun& run) const {
        return syncs_ ? run.batch + vectors_ : run.packed + packed_;
    }
    static std::int64_t block_count(const SyncRun& run, std::int64_t block) {
        const std::int64_t left = run.batch_count - block * run.block_size;
        return left < run.block_size ? left : run.block_size;
    }

    void set_vectors(float* v, std::int64_t c, float mean, float variance) const {
        const float inv_std = 1.0f / std::sqrt(variance + op_.epsilon);
        v[kMean * width() + c] = mean;
        v[kInvStd * width() + c] = inv_std;
        v[kScale * width() + c] = gamma_ ? gamma_[c] * inv_std : inv_std;
        v[kShift * width() + c] = beta_ ? beta_[c] : 0.0f;
    }

    std::uint8_t* argmax_at(const BlockRun& run) const {
        return reinterpret_cast<std::uint8_t*>(run.at(argmax_));
    }

    void forward_pooled(const BlockRun& run, const float* v) const {
        BatchNormPoolForward a = pool_forward_args_;
        a.relu = relu_;
        a.batch = run.count;
        a.x = run.at(slots_.x);
        a.x_stride = slots_.x.stride;
        a.mean = v + kMean * width();
        a.scale = v + kScale * width();
        a.shift = v + kShift * width();
        a.y = run.at(slots_.y);
        a.y_stride = slots_.y.stride;
        if (argmax_.booked()) {
            a.argmax = argmax_at(run);
            a.argmax_stride = argmax_.stride * 4;
            a.picked = run.at(picked_);
            a.picked_stride = picked_.stride;
        }
        pool_forward_(a);
    }

    BatchNormReduce reduce_args(const BlockRun& run) const {
        const float* v = vectors(run);
        const Slot& x = pooled_ ? picked_ : slots_.x;
        BatchNormReduce a;
        a.relu = relu_;
        a.batch = run.count;
        a.positions = x.size / channels_;
        a.channels = channels_;
        a.x = run.at(x);
        a.x_stride = x.stride;
        a.dy = run.at(slots_.dy);
        a.dy_stride = slots_.dy.stride;
        a.mean = v + kMean * width();
        a.inv_std = v + kInvStd * width();
        a.scale = v + kScale * width();
        a.shift = v + kShift * width();
        return a;
    }

    // With constant statistics the gradients of gamma and beta are ordinary sums over samples.
    void backward_frozen(const BlockRun& run) const {
        activation_.backward(run, slots_.y, slots_.dy);
        if (lane_gamma_ < 0 || lane_beta_ < 0) return;
        BatchNormReduce a = reduce_args(run);
        a.accumulate = run.accumulate;
        a.sum_dy = run.lane + lane_beta_;
        a.sum_dy_x = run.lane + lane_gamma_;
        reduce_(a);
    }

    std::string layers_;
    Shape out_;
    StepSlots slots_;
    BatchNormOp op_;
    std::int64_t channels_, positions_;
    bool relu_, input_relu_, syncs_, pooled_ = false;
    FollowingActivation activation_;
    float *gamma_ = nullptr, *beta_ = nullptr, *moving_mean_ = nullptr, *moving_variance_ = nullptr;
    std::int64_t block_rows_ = 0, vectors_ = 0, packed_ = 0, lane_gamma_ = -1, lane_beta_ = -1;
    Choice<BatchNormStatistics> statistics_;
    Choice<BatchNormForward> forward_;
    Choice<BatchNormReduce> reduce_;
    Choice<BatchNormBackward> backward_;
    BatchNormPoolForward pool_forward_args_;
    Choice<BatchNormPoolForward> pool_forward_;
    BatchNormPoolBackward pool_backward_args_;
    Choice<BatchNormPoolBackward> pool_backward_;
    Slot argmax_, picked_;  // argmax: bytes, in floats' memory
};

}  // namespace

std::unique_ptr<Step> make_batch_norm_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<BatchNormStep>(in, memory);
}

}  // namespace fastcnn
