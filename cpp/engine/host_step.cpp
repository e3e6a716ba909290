// A layer computed outside of the engine: once for the whole batch, between two phases, by whichever thread
// opens the next one.
#include "engine/plain_step.h"

#include <algorithm>

namespace fastcnn {

namespace {

class HostStep final : public PlainStep {
  public:
    HostStep(const HostOp& op, const StepInput& in, PlanMemory& memory)
        : PlainStep(in), function_(op.function), training_(memory.training) {
        info_.operation = info_.kernel = "python";
        for (const int parameter : op.parameters) {
            const std::int64_t size = in.parameters[static_cast<std::size_t>(parameter)].size();
            const bool wanted = memory.training && in.trains(parameter);
            gradients_.push_back({wanted ? memory.gradient(parameter, size) : -1, size});
        }
    }

    void forward(const BlockRun&) const override {}
    bool syncs() const override { return true; }

    void sync_forward(const SyncRun& run) const override { function_->forward(batch_of(run), training_); }

    // The first lane holds the parameters' gradients, of the whole batch, and the others nothing.
    void sync_backward(const SyncRun& run) const override {
        HostBatch batch = batch_of(run);
        batch.dy = run.batch + slots_.dy.offset;
        batch.dy_stride = slots_.dy.stride;
        batch.dx = slots_.dx.booked() ? run.batch + slots_.dx.offset : nullptr;
        batch.dx_stride = slots_.dx.stride;
        for (const Gradient& gradient : gradients_) {
            float* lane = gradient.offset < 0 ? nullptr : run.lanes + gradient.offset;
            batch.gradients.push_back(lane);
            for (std::int64_t i = 1; lane && i < run.lane_count; ++i)
                std::fill_n(lane + i * run.lane_stride, gradient.size, 0.0f);
        }
        function_->backward(batch);
    }

  private:
    struct Gradient {
        std::int64_t offset, size;
    };

    HostBatch batch_of(const SyncRun& run) const {
        HostBatch batch;
        batch.count = run.batch_count;
        batch.x = run.batch + slots_.x.offset;
        batch.x_stride = slots_.x.stride;
        batch.y = run.batch + slots_.y.offset;
        batch.y_stride = slots_.y.stride;
        return batch;
    }

    std::shared_ptr<HostFunction> function_;
    bool training_;
    std::vector<Gradient> gradients_;
};

}  // namespace

std::unique_ptr<Step> make_host_step(const StepInput& in, PlanMemory& memory) {
    return std::make_unique<HostStep>(std::get<HostOp>(in.op.op), in, memory);
}

}  // namespace fastcnn
