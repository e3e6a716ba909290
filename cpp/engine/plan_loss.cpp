// The loss and the metrics of a plan.
#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/plan.h"

namespace fastcnn {

void Plan::plan_loss(const FusedLoss& fused, const Shape&) {
    if (options_.loss.host) return;
    static_cast<LossRule&>(loss_args_) = options_.loss;
    loss_args_.from_logits = fused.from_logits;
    if (loss_args_.class_weights) loss_args_.class_weights = options_.loss.weight_of_class.data();
    loss_args_.rows = rows_;
    loss_args_.classes = classes_;
    loss_ = choose(loss_args_);
    const bool sparse = is_sparse(loss_args_.kind);
    target_ = memory_.book(Place::block, sparse ? rows_ : output_size_);
    weight_ = memory_.book(Place::block, rows_);
    if (fused.activation != ActivationName::linear) activated_ = memory_.book(Place::block, output_size_);
    for (const MetricSpec& metric : options_.metrics) {
        Accuracy accuracy;
        accuracy.kind = metric.kind;
        Loss loss;
        static_cast<LossRule&>(loss) = metric.loss;
        metrics_.push_back({choose(accuracy), choose(loss)});
    }
}

void Plan::run_loss(const BlockRun& run, const BatchInput& in, double* totals) const {
    if (!run.accumulate) std::fill(totals, totals + totals_stride(), 0.0);
    for (const Step* step : penalties_) totals[1] += step->penalty(run);
    if (options_.loss.host) return;  // when the phase is complete
    float* target = run.at(target_);
    float* weight = run.at(weight_);
    for (std::int64_t i = 0; i < run.count; ++i) {
        const std::int64_t row = in.row(run.first + i);
        const void* from = in.y.classes ? static_cast<const void*>(in.y.classes + row * in.y.size)
                                        : static_cast<const void*>(in.y.values + row * in.y.size);
        std::memcpy(target + i * target_.stride, from, static_cast<std::size_t>(in.y.size) * sizeof(float));
        if (in.weight)
            std::copy_n(in.weight + row * in.weight_size, in.weight_size, weight + i * in.weight_size);
    }
    Loss a = loss_args_;
    a.batch = run.count;
    a.prediction = run.at(output_);
    a.prediction_stride = output_.stride;
    a.target = target;
    a.target_class = reinterpret_cast<const std::int32_t*>(target);
    a.target_stride = target_.stride;
    a.weight = in.weight ? weight : nullptr;
    a.scale = 1.0f / static_cast<float>(in.divisor);
    a.loss = totals;
    if (output_gradient_.booked()) {
        a.grad = run.at(output_gradient_);
        a.grad_stride = output_gradient_.stride;
    }
    if (activated_.booked()) {
        a.activated = run.at(activated_);
        a.activated_stride = activated_.stride;
    }
    if (!in.weight || in.weight_size == 1) return run_block_loss(a, totals);
    // A weight for each of a sample's rows: the rows of one sample are a batch for themselves.
    a.batch = rows_;
    a.rows = 1;
    a.prediction_stride = a.grad_stride = a.activated_stride = classes_;
    a.target_stride = in.y.size / rows_;
    for (std::int64_t i = 0; i < run.count; ++i) {
        a.prediction = run.at(output_) + i * output_.stride;
        a.target = target + i * target_.stride;
        a.target_class = reinterpret_cast<const std::int32_t*>(a.target);
        a.weight = weight + i * rows_;
        if (a.grad) a.grad = run.at(output_gradient_) + i * output_gradient_.stride;
        if (a.activated) a.activated = run.at(activated_) + i * activated_.stride;
        run_block_loss(a, totals);
    }
}

void Plan::run_block_loss(const Loss& loss, double* totals) const {
    loss_(loss);
    for (std::size_t m = 0; m < metrics_.size(); ++m) run_metric(m, loss, totals + 2 + 2 * m);
}

// Adds to the metric's total and count, with the labels and weights that the loss has.
void Plan::run_metric(std::size_t index, const Loss& of_loss, double* totals) const {
    const MetricSpec& spec = options_.metrics[index];
    const bool activated = of_loss.activated != nullptr;
    const auto fill = [&](auto& args) {
        args.batch = of_loss.batch;
        args.rows = of_loss.rows;
        args.classes = of_loss.classes;
        args.prediction = activated ? of_loss.activated : of_loss.prediction;
        args.prediction_stride = activated ? of_loss.activated_stride : of_loss.prediction_stride;
        args.target = of_loss.target;
        args.target_class = of_loss.target_class;
        args.target_stride = of_loss.target_stride;
        args.weight = spec.weighted ? of_loss.weight : nullptr;
    };
    if (!spec.is_loss) {
        Accuracy accuracy;
        accuracy.kind = spec.kind;
        accuracy.threshold = spec.threshold;
        fill(accuracy);
        accuracy.total = totals;
        accuracy.count = totals + 1;
        return metrics_[index].accuracy(accuracy);
    }
    Loss loss;
    static_cast<LossRule&>(loss) = spec.loss;
    fill(loss);
    loss.loss = totals;
    metrics_[index].loss(loss);
    for (std::int64_t i = 0; i < loss.batch; ++i)
        totals[1] +=
            static_cast<double>(loss.rows) * (loss.weight ? static_cast<double>(loss.weight[i]) : 1.0);
}

// The first lane's sums get the loss, which is of the whole batch and reduced.
void Plan::run_host_loss(Context& context, const BatchInput& in) const {
    HostLossBatch batch;
    batch.count = in.count;
    batch.prediction = context.batch_.data() + output_.offset;
    batch.prediction_stride = output_.stride;
    batch.labels = in.y.values;
    batch.label_size = in.y.size;
    batch.label_shape = in.y.shape.get();
    batch.weight = in.weight;
    batch.indices = in.indices;
    batch.first = in.first;
    if (output_gradient_.booked()) {
        batch.grad = context.batch_.data() + output_gradient_.offset;
        batch.grad_stride = output_gradient_.stride;
    }
    *reinterpret_cast<double*>(context.totals_.data()) += options_.loss.host->run(batch);
}

double Plan::loss_divisor(const BatchInput& in) const {
    const LossSpec& loss = options_.loss;
    const double all = static_cast<double>(in.count * rows_);
    if (loss.host || loss.reduction == LossReduction::sum) return 1;
    const bool weighted = loss.reduction == LossReduction::weighted_mean && in.weight;
    if (!weighted && !loss.ignores) return all;
    double sum = 0;
    for (std::int64_t i = 0; i < in.count; ++i) {
        const std::int64_t row = in.row(i);
        for (std::int64_t r = 0; r < rows_; ++r) {
            if (loss.ignores && in.y.classes[row * in.y.size + r] == loss.ignored_class) continue;
            const std::int64_t at = row * in.weight_size + (in.weight_size > 1 ? r : 0);
            sum += weighted ? static_cast<double>(in.weight[at]) : 1.0;
        }
    }
    return sum == 0 ? std::numeric_limits<double>::infinity() : sum;
}

}  // namespace fastcnn
