#include "engine/network.h"

#include <algorithm>
#include <shared_mutex>

#include "base/check.h"
#include "base/threads.h"

namespace fastcnn {

namespace {

// Blocks that a batch of an inference plan is cut into at most. Nothing is kept of a batch: it is a run of
// blocks between two barriers.
constexpr std::int64_t kInferenceBlocks = 4096;
// Samples of a block at most, and where large layers want more.
constexpr std::int64_t kInferenceBlockLimit = 16, kLargeBlockLimit = 64;
// Samples that a layer outside of the engine is given at once where no gradient is wanted: enough to pay for
// the call.
constexpr std::int64_t kHostBatch = 256;

// Whether the array is the one that is needed: a kernel of sequences has no axis for the height 1.
bool fits(const Shape& shape, const Shape& needed) {
    const auto begin = [](const Shape& s) {
        return std::find_if(s.begin(), s.end(), [](std::int64_t size) { return size != 1; });
    };
    return std::equal(begin(shape), shape.end(), begin(needed), needed.end());
}

// Small enough that every thread gets a block, in powers of two so that few plans serve all sizes. Outputs do
// not depend on it.
std::int64_t block_limit_for(std::int64_t samples, std::int64_t most) {
    const std::int64_t even = (samples + thread_count() - 1) / thread_count();
    std::int64_t limit = 1;
    while (limit < even && limit < most) limit *= 2;
    return limit;
}

// A range of samples, batch by batch.
struct PredictJob final : Job {
    PredictJob(const Plan& plan, Context& context, std::int64_t last)
        : cursor{plan, context, {}}, end(last) {}

    std::int64_t next_phase() override {
        for (;;) {
            if (const std::int64_t items = cursor.next()) return items;
            BatchInput& in = cursor.in;
            in.first += in.count;
            if (in.first >= end) return 0;
            in.outputs += in.count * cursor.plan.output_size();
            in.count = std::min(cursor.plan.options().batch_size, end - in.first);
        }
    }
    void run(std::int64_t item, int thread) override { cursor.run(item, thread); }
    bool is_brief() const override { return cursor.plan.flops() * (end - cursor.in.first) < kBriefFlops; }

    BatchCursor cursor;
    std::int64_t end;
};

}  // namespace

Network::Network(Graph graph, std::vector<ParameterRef> parameters)
    : graph_(std::move(graph)), parameters_(std::move(parameters)), owners_(parameters_) {
    for (const Node& node : graph_.nodes())
        if (const auto* host = std::get_if<HostOp>(&node.op)) hosts_.push_back(host->function.get());
    for (const ParameterUse& use : graph_.uses()) {
        require(use.index >= 0 && use.index < static_cast<int>(parameters_.size()), use.layer, ": ", use.role,
                ": expected a parameter index below ", parameters_.size(), ", received ", use.index);
        const ParameterRef& ref = parameters_[static_cast<std::size_t>(use.index)];
        const Shape& shape = ref.owner->shape(ref.index);
        require(fits(shape, use.shape), use.layer, ": ", use.role, ": expected shape ", to_string(use.shape),
                ", received ", to_string(shape));
    }
}

bool Network::host_failed() const {
    return std::any_of(hosts_.begin(), hosts_.end(), [](const HostFunction* host) { return host->failed(); });
}

void Network::rethrow_host_error() const {
    for (HostFunction* host : hosts_) host->rethrow();
}

std::int64_t Network::batch_limit(std::int64_t usual) const {
    return hosts_.empty() ? usual : std::min(usual, kHostBatch);
}

std::unique_ptr<Plan> Network::make_plan(PlanOptions options) const {
    return std::make_unique<Plan>(graph_.nodes(), graph_.input_shape(), parameters_, std::move(options));
}

std::shared_ptr<const Plan> Network::inference_plan(std::int64_t samples) const {
    // One sample is divided between the threads inside its steps; its plans are kept below zero.
    const int split = samples == 1 && hosts_.empty() ? std::min(thread_count(), kMaxParts) : 1;
    const std::lock_guard<std::mutex> guard(plans_mutex_);
    const std::shared_ptr<const Plan> plan =
        inference_plan_of(block_limit_for(samples, kInferenceBlockLimit), split);
    const std::int64_t large = block_limit_for(samples, kLargeBlockLimit);
    return large > kInferenceBlockLimit && plan->wants_larger_blocks() ? inference_plan_of(large, split)
                                                                       : plan;
}

std::shared_ptr<const Plan> Network::inference_plan_of(std::int64_t limit, int split) const {
    std::shared_ptr<const Plan>& plan = plans_[split > 1 ? -split : limit];
    if (!plan || !plan->is_current()) {
        PlanOptions options;
        options.mode = Mode::infer;
        options.block_limit = limit;
        options.batch_size = split > 1 ? 1 : batch_limit(limit * kInferenceBlocks);
        options.split = split;
        options.trainable.assign(parameters_.size(), false);
        plan = make_plan(std::move(options));
    }
    return plan;
}

void refresh_packed(const Plan& plan, const ParameterSet& owners, int threads) {
    if (plan.packs_by_thread()) return;
    const std::uint64_t version = owners.version();
    if (plan.packed_version() == version) return;
    const std::lock_guard<std::mutex> guard(plan.pack_mutex());
    if (plan.packed_version() == version) return;
    const std::int64_t parts = threads > 1 ? 4 * threads : 1;
    run_items(threads, parts, [&](std::int64_t part, int) { plan.pack(part, parts); });
    plan.set_packed_version(version);
}

void Network::predict(const InputArray& x, std::int64_t begin, std::int64_t end, float* out) const {
    if (end <= begin) return;
    const std::shared_ptr<const Plan> plan = inference_plan(end - begin);
    const std::int64_t batch_size = plan->options().batch_size;
    const int threads = plan->threads_wanted(std::min(batch_size, end - begin));
    const BorrowedContext context(*plan, threads);
    const std::shared_lock<const ParameterSet> lock(owners_);
    refresh_packed(*plan, owners_, threads);
    PredictJob job(*plan, *context, end);
    job.cursor.in.x = &x;
    job.cursor.in.first = begin;
    job.cursor.in.count = std::min(batch_size, end - begin);
    job.cursor.in.outputs = out;
    run_team(threads, job);
}

Profile Network::profile(const InputArray& x, double seconds) const {
    Profile found;
    found.plan = inference_plan(x.samples);
    found.samples = x.samples;
    const Plan& plan = *found.plan;
    const int threads = plan.threads_wanted(std::min(plan.options().batch_size, x.samples));
    std::vector<float> out(static_cast<std::size_t>(x.samples * plan.output_size()));
    const BorrowedContext context(plan, threads);
    const std::shared_lock<const ParameterSet> lock(owners_);
    refresh_packed(plan, owners_, threads);
    found.measure(*context, seconds, [&] {
        PredictJob job(plan, *context, x.samples);
        job.cursor.in.x = &x;
        job.cursor.in.count = std::min(plan.options().batch_size, x.samples);
        job.cursor.in.outputs = out.data();
        run_team(threads, job);
    });
    return found;
}

void Network::forward_training(const InputArray& x, std::uint32_t step, float* out) const {
    if (x.samples == 0) return;
    PlanOptions options;
    options.mode = Mode::forward_training;
    options.batch_size = x.samples;
    options.trainable.assign(parameters_.size(), false);
    const std::unique_ptr<Plan> plan = make_plan(std::move(options));
    const int threads = plan->threads_wanted(x.samples);
    const BorrowedContext context(*plan, threads);
    const std::unique_lock<const ParameterSet> lock(owners_);
    refresh_packed(*plan, owners_, threads);
    PredictJob job(*plan, *context, x.samples);
    job.cursor.in.x = &x;
    job.cursor.in.count = x.samples;
    job.cursor.in.outputs = out;
    job.cursor.in.step = step;
    run_team(threads, job);
    owners_.changed();
}

}  // namespace fastcnn
