// Training and evaluation: many steps a call, without Python, allocation or choices inside.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "engine/constraint.h"
#include "engine/network.h"
#include "engine/updater.h"

namespace fastcnn {

struct Regularizer {
    float l1 = 0, l2 = 0;
    std::shared_ptr<HostWeights> host;  // a penalty computed outside of the engine, beside these
};

// Rows of the user's arrays to run over.
struct RunInput {
    InputArray x;
    TargetArray y;
    const float* weight = nullptr;
    std::int64_t weight_size = 1;           // a sample
    const std::int64_t* indices = nullptr;  // null: rows in order
    std::int64_t begin = 0, end = 0;        // positions in `indices`
    std::int64_t batch_size = 1;
    float* outputs = nullptr;
};

struct RunLimits {
    const double* learning_rates = nullptr;
    std::int64_t learning_rate_count = 1;  // 1: the same for all steps
    std::int64_t max_steps = 0;
    double seconds = 0;
};

struct RunTotals {
    std::int64_t steps = 0, samples = 0;
    double loss = 0, loss_weight = 0;  // sum of batch loss * batch size, sum of batch sizes
    std::vector<double> metric_total, metric_count;
};

class Trainer {
  public:
    // `updater` for the trainable parameters in their order; null for evaluation alone.
    Trainer(std::shared_ptr<const Network> network, LossSpec loss, std::vector<MetricSpec> metrics,
            std::shared_ptr<Updater> updater, std::vector<Regularizer> regularizers,
            std::vector<bool> trainable, std::vector<ConstraintSpec> constraints);

    const Network& network() const { return *network_; }
    const LossSpec& loss() const { return loss_; }
    // Whether something computed outside of the engine has failed; and its error, thrown once.
    bool host_failed() const;
    void rethrow_host_error() const;
    const std::vector<MetricSpec>& metrics() const { return metrics_; }
    const std::vector<bool>& trainable() const { return trainable_; }
    const std::shared_ptr<Updater>& updater() const { return updater_; }
    bool has_optimizer() const { return updater_ != nullptr; }

    RunTotals train(const RunInput& in, const RunLimits& limits);
    RunTotals evaluate(const RunInput& in) const;
    // Gradients of one batch (rows [begin, end) in order) into `out`, one array a parameter, null where not
    // wanted.
    void gradients(const RunInput& in, std::uint32_t step, const std::vector<float*>& out);

    // Computes the gradients of one batch again and again for `seconds`; changes no weight.
    Profile profile(const RunInput& in, double seconds);

    std::shared_ptr<const Plan> plan(Mode mode, std::int64_t batch_size) const;

  private:
    // A piece of one parameter that fits L1 with its optimizer slots: summed, regularised, clipped and
    // updated at once.
    struct Chunk {
        int parameter = 0;
        std::int64_t first = 0, size = 0;  // elements of the parameter
        std::int64_t lane = 0;             // offset in a lane of the parameter's gradient
        std::int64_t rows = 0, columns = 0, first_row = 0, last_row = 0;  // rows > 0: the lane is transposed
        int producer = -1;  // the plan computes these rows when asked
    };
    struct TrainPlan {
        std::shared_ptr<const Plan> plan;
        std::vector<Chunk> chunks;
        std::vector<double> penalty, squares;  // by chunk
    };
    struct TrainJob;
    struct EvaluateJob;
    struct GradientsJob;

    std::shared_ptr<TrainPlan> train_plan(std::int64_t batch_size);
    std::vector<Chunk> make_chunks(const Plan& plan) const;
    float* gradient_of(const Chunk& chunk) const;
    void sum_chunk(TrainPlan& plan, std::size_t chunk, Context& context, const BatchInput& batch,
                   bool want_squares, float* gradient, int thread);
    void update_share(TrainPlan& plan, Context& context, const BatchInput& batch, const Updater::Step& step,
                      Share share, int thread);
    void clip_share(const TrainPlan& plan, const Updater::Step& step, Share share);
    void update_chunk(const Chunk& chunk, float* gradient, const Updater::Step& step, float scale);
    // Whether the update waits until the whole gradient is summed.
    bool in_two_passes() const { return updater_->clips_by_norm() || updater_->wants_whole(); }
    float clip_scale(const TrainPlan& plan, int parameter) const;
    void regularize();
    void constrain(std::int64_t index);
    template <class Visit>
    void each_host(const Visit& visit) const;
    double penalty() const;
    RunTotals no_totals() const;

    std::shared_ptr<const Network> network_;
    LossSpec loss_;
    std::vector<MetricSpec> metrics_;
    std::shared_ptr<Updater> updater_;
    std::vector<Regularizer> regularizers_;
    std::vector<bool> trainable_;
    std::vector<std::pair<int, Constraint>> constraints_;  // with their parameters
    std::vector<int> host_penalties_;                      // parameters that have one
    Buffer host_gradient_;                                 // of these penalties, at the parameters' offsets
    double host_penalty_ = 0;

    std::vector<std::int64_t> offsets_;  // of each parameter in the flat gradient; -1: not trained
    std::vector<int>
        places_;  // of each parameter among the trained ones, which the updater knows; -1: not trained
    Buffer gradient_;
    Choice<SumGradients> sum_;
    Choice<SumGradientsTransposed> sum_transposed_;

    mutable std::mutex mutex_;  // one run at a time
    std::list<std::pair<std::int64_t, std::shared_ptr<TrainPlan>>>
        train_plans_;  // by batch size, last used first
    mutable std::mutex evaluation_mutex_;
    mutable std::shared_ptr<const Plan> evaluation_plan_;
};

}  // namespace fastcnn
