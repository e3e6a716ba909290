#include "engine/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <shared_mutex>

#include "base/check.h"

namespace fastcnn {

namespace {

constexpr std::size_t kPlansKept = 4;
constexpr std::int64_t kEvaluationBlocks = 64;

using Clock = std::chrono::steady_clock;

}  // namespace

Trainer::Trainer(std::shared_ptr<const Network> network, LossSpec loss, std::vector<MetricSpec> metrics,
                 std::shared_ptr<Updater> updater, std::vector<Regularizer> regularizers,
                 std::vector<bool> trainable, std::vector<ConstraintSpec> constraints)
    : network_(std::move(network)),
      loss_(std::move(loss)),
      metrics_(std::move(metrics)),
      updater_(std::move(updater)),
      regularizers_(std::move(regularizers)),
      trainable_(std::move(trainable)) {
    const std::size_t n = network_->parameters().size();
    require(trainable_.size() == n, "Trainer: trainable: expected ", n, " entries, received ",
            trainable_.size());
    require(regularizers_.size() == n, "Trainer: regularizers: expected ", n, " entries, received ",
            regularizers_.size());
    Layout layout;
    int trained = 0;
    for (std::size_t i = 0; i < n; ++i) {
        offsets_.push_back(trainable_[i] ? layout.book(network_->parameters()[i].size()) : -1);
        places_.push_back(trainable_[i] ? trained++ : -1);
    }
    gradient_ = Buffer(layout.size() + Layout::kAlign);
    for (std::size_t i = 0; i < n; ++i)
        if (trainable_[i] && regularizers_[i].host) host_penalties_.push_back(static_cast<int>(i));
    if (!host_penalties_.empty()) host_gradient_ = Buffer(layout.size() + Layout::kAlign);
    require(constraints.empty() || constraints.size() == n, "Trainer: constraints: expected ", n,
            " entries, received ", constraints.size());
    for (std::size_t i = 0; i < constraints.size(); ++i) {
        if (!trainable_[i] || constraints[i].kind == ConstraintSpec::Kind::none) continue;
        const ParameterRef& ref = network_->parameters()[i];
        constraints_.emplace_back(static_cast<int>(i),
                                  Constraint(std::move(constraints[i]), ref.owner->shape(ref.index)));
    }
    sum_ = choose(SumGradients{});
    sum_transposed_ = choose(SumGradientsTransposed{});
    if (!updater_) return;
    require(updater_->count() == trained, "Trainer: updater: expected one for ", trained,
            " trainable parameters, received one for ", updater_->count());
    for (std::size_t i = 0; i < n; ++i) {
        if (!trainable_[i]) continue;
        const Shape& shape = updater_->shape(places_[i]);
        require(size_of(shape) == network_->parameters()[i].size(),
                "Trainer: updater: expected the trainable parameters' shapes, received ", to_string(shape),
                " for parameter ", i);
    }
}

template <class Visit>
void Trainer::each_host(const Visit& visit) const {
    if (loss_.host) visit(*loss_.host);
    for (const int p : host_penalties_) visit(*regularizers_[static_cast<std::size_t>(p)].host);
    for (const auto& [_, constraint] : constraints_)
        if (constraint.host()) visit(*constraint.host());
}

bool Trainer::host_failed() const {
    bool failed = network_->host_failed();
    each_host([&](const auto& host) { failed = failed || host.failed(); });
    return failed;
}

void Trainer::rethrow_host_error() const {
    network_->rethrow_host_error();
    each_host([](auto& host) { host.rethrow(); });
}

// The penalties that are computed outside of the engine, and their gradients.
void Trainer::regularize() {
    host_penalty_ = 0;
    for (const int p : host_penalties_) {
        const std::size_t i = static_cast<std::size_t>(p);
        host_penalty_ += regularizers_[i].host->penalty(network_->parameters()[i].data(),
                                                        host_gradient_.data() + offsets_[i]);
    }
}

void Trainer::constrain(std::int64_t index) {
    auto& [parameter, constraint] = constraints_[static_cast<std::size_t>(index)];
    constraint.apply(network_->parameters()[static_cast<std::size_t>(parameter)].data());
}

std::shared_ptr<const Plan> Trainer::plan(Mode mode, std::int64_t batch_size) const {
    PlanOptions options;
    options.mode = mode;
    options.batch_size = batch_size;
    options.loss = loss_;
    options.metrics = metrics_;
    options.trainable = trainable_;
    return network_->make_plan(std::move(options));
}

std::vector<Trainer::Chunk> Trainer::make_chunks(const Plan& plan) const {
    std::vector<Chunk> chunks;
    for (const GradientSlot& slot : plan.memory().gradients) {
        // A step computes the gradients of kernel and bias together, even where only one of them is trained.
        if (!trainable_[static_cast<std::size_t>(slot.parameter)]) continue;
        Chunk chunk;
        chunk.parameter = slot.parameter;
        chunk.lane = slot.offset;
        chunk.rows = slot.rows;
        chunk.columns = slot.columns;
        chunk.producer = slot.producer;
        // A transposed lane is read, and a produced gradient computed, in whole rows of the parameter.
        const std::int64_t unit = slot.rows ? slot.columns : 1;
        const std::int64_t rows =
            slot.producer < 0 ? std::max<std::int64_t>(1, kUpdatedAtOnce / unit) : slot.rows_at_once;
        const std::int64_t step = rows * unit;
        for (chunk.first = 0; chunk.first < slot.size; chunk.first += step) {
            chunk.size = std::min(step, slot.size - chunk.first);
            chunk.first_row = chunk.first / unit;
            chunk.last_row = (chunk.first + chunk.size) / unit;
            chunks.push_back(chunk);
        }
    }
    return chunks;
}

std::shared_ptr<Trainer::TrainPlan> Trainer::train_plan(std::int64_t batch_size) {
    train_plans_.remove_if([](const auto& kept) { return !kept.second->plan->is_current(); });
    for (auto it = train_plans_.begin(); it != train_plans_.end(); ++it)
        if (it->first == batch_size) {
            train_plans_.splice(train_plans_.begin(), train_plans_, it);
            return it->second;
        }
    auto made = std::make_shared<TrainPlan>();
    made->plan = plan(Mode::train, batch_size);
    made->chunks = make_chunks(*made->plan);
    made->penalty.resize(made->chunks.size());
    made->squares.resize(made->chunks.size());
    train_plans_.emplace_front(batch_size, made);
    if (train_plans_.size() > kPlansKept) train_plans_.pop_back();
    return made;
}

float* Trainer::gradient_of(const Chunk& chunk) const {
    return gradient_.data() + offsets_[static_cast<std::size_t>(chunk.parameter)] + chunk.first;
}

void Trainer::sum_chunk(TrainPlan& plan, std::size_t index, Context& context, const BatchInput& batch,
                        bool want_squares, float* gradient, int thread) {
    const float* lanes = context.lanes();
    const std::int64_t lane_count = plan.plan->active_lanes(batch.count);
    const Chunk& chunk = plan.chunks[index];
    const std::size_t p = static_cast<std::size_t>(chunk.parameter);
    SumGradients s;
    s.size = chunk.size;
    s.lanes = lane_count;
    s.lane_stride = plan.plan->lane_floats();
    s.lane = lanes + chunk.lane + chunk.first;
    if (chunk.producer >= 0) {
        plan.plan->produce_gradient(context, batch, chunk.producer, chunk.first_row, chunk.last_row, gradient,
                                    thread);
        s.lanes = 1;
        s.lane = gradient;
    } else if (chunk.rows) {
        SumGradientsTransposed t;
        t.rows = chunk.rows;
        t.columns = chunk.columns;
        t.first_row = chunk.first_row;
        t.last_row = chunk.last_row;
        t.lanes = lane_count;
        t.lane_stride = s.lane_stride;
        t.lane = lanes + chunk.lane;
        t.gradient = gradient - chunk.first;  // as if it were the whole
        sum_transposed_(t);
        s.lanes = 1;
        s.lane = gradient;
    }
    s.param = network_->parameters()[p].data() + chunk.first;
    s.l1 = regularizers_[p].l1;
    s.l2 = regularizers_[p].l2;
    s.gradient = gradient;
    plan.penalty[index] = plan.squares[index] = 0;
    s.penalty = &plan.penalty[index];
    s.sum_squares = want_squares ? &plan.squares[index] : nullptr;
    const bool is_summed = s.lane == s.gradient && s.l1 == 0 && s.l2 == 0 && !want_squares;
    if (!is_summed) sum_(s);
    if (!regularizers_[p].host) return;
    const float* added = host_gradient_.data() + offsets_[p] + chunk.first;
    plan.squares[index] = 0;
    for (std::int64_t i = 0; i < chunk.size; ++i) {
        s.gradient[i] += added[i];
        plan.squares[index] += static_cast<double>(s.gradient[i]) * s.gradient[i];
    }
}

void Trainer::update_chunk(const Chunk& chunk, float* gradient, const Updater::Step& step, float scale) {
    const std::size_t p = static_cast<std::size_t>(chunk.parameter);
    updater_->update(places_[p], chunk.first, chunk.size, network_->parameters()[p].data() + chunk.first,
                     gradient, step, scale);
}

// Factor that brings the norm of one parameter's gradient, or of all of them, down to the limit.
float Trainer::clip_scale(const TrainPlan& plan, int parameter) const {
    if (!updater_->clips_by_norm()) return 1.0f;
    double squares = 0;
    for (std::size_t i = 0; i < plan.chunks.size(); ++i)
        if (updater_->spec().global_clip_norm > 0 || plan.chunks[i].parameter == parameter)
            squares += plan.squares[i];
    return updater_->clip_scale(squares);
}

// One pass over a share of the chunks. The update waits for rules and clipping that want the whole gradient.
void Trainer::update_share(TrainPlan& plan, Context& context, const BatchInput& batch,
                           const Updater::Step& step, Share share, int thread) {
    const bool later = in_two_passes(), gathers = updater_->spec().accumulation > 1;
    for (std::int64_t i = share.begin; i < share.end; ++i) {
        const std::size_t c = static_cast<std::size_t>(i);
        const Chunk& chunk = plan.chunks[c];
        // A gradient that nobody asks for again need not go through memory.
        float* gradient = later ? gradient_of(chunk) : plan.plan->gradient_room(context, thread);
        sum_chunk(plan, c, context, batch, later && !gathers, gradient, thread);
        if (gathers) {
            const std::size_t p = static_cast<std::size_t>(chunk.parameter);
            updater_->gather(places_[p], chunk.first, chunk.size, gradient, step, &plan.squares[c]);
        }
        if (!later) update_chunk(chunk, gradient, step, 1.0f);
    }
}

void Trainer::clip_share(const TrainPlan& plan, const Updater::Step& step, Share share) {
    int parameter = -1;
    float scale = 1.0f;
    for (std::int64_t i = share.begin; i < share.end; ++i) {
        Chunk chunk = plan.chunks[static_cast<std::size_t>(i)];
        if (chunk.parameter != parameter) scale = clip_scale(plan, parameter = chunk.parameter);
        if (updater_->wants_whole()) {  // all at once, by whoever has its first chunk
            if (chunk.first != 0) continue;
            chunk.size = network_->parameters()[static_cast<std::size_t>(parameter)].size();
        }
        update_chunk(chunk, gradient_of(chunk), step, scale);
    }
}

// Steps of training: the batch's own phases, then the optimizer, then the packing of the weights, which
// threads may also do on their own.
struct Trainer::TrainJob final : Job {
    TrainJob(Trainer& t, TrainPlan& tp, Context& context, const RunInput& input, const RunLimits& run_limits,
             int threads)
        : trainer(t), train(tp), in(input), limits(run_limits), cursor{*tp.plan, context, {}} {
        const std::size_t n = trainer.metrics_.size();
        for (std::vector<double>* v :
             {&totals.metric_total, &totals.metric_count, &result.metric_total, &result.metric_count})
            v->assign(n, 0.0);
        // A few shares for each thread, so that a fast one takes more of them; few enough that each thread
        // mostly meets the same weights again, which are in its cache.
        shares = std::min<std::int64_t>(4 * threads, static_cast<std::int64_t>(train.chunks.size()));
        shares = std::max<std::int64_t>(1, shares);
        prepare();
    }

    std::int64_t next_phase() override {
        switch (stage) {
            case Stage::batch:
                if (const std::int64_t items = cursor.next()) return items;
                if (trainer.host_failed()) return 0;  // no weight changes
                if (!trainer.host_penalties_.empty()) {
                    stage = Stage::regularize;
                    return 1;
                }
                [[fallthrough]];
            case Stage::regularize:
                if (trainer.host_failed()) return 0;
                stage = Stage::update;
                return shares;
            case Stage::update:
                if (trainer.in_two_passes()) {
                    stage = Stage::clip;
                    return shares;
                }
                [[fallthrough]];
            case Stage::clip:
                if (!trainer.constraints_.empty()) {
                    stage = Stage::constrain;
                    return static_cast<std::int64_t>(trainer.constraints_.size());
                }
                [[fallthrough]];
            case Stage::constrain:
                if (!train.plan->packs_by_thread()) {
                    stage = Stage::pack;
                    return shares;
                }
                [[fallthrough]];
            case Stage::pack:
                break;
        }
        cursor.context.weights_changed();
        account();
        if (last() || trainer.host_failed()) return 0;
        prepare();
        stage = Stage::batch;
        return cursor.next();
    }

    void run(std::int64_t item, int thread) override {
        const Share share(static_cast<std::int64_t>(train.chunks.size()), item, shares);
        switch (stage) {
            case Stage::batch:
                return cursor.run(item, thread);
            case Stage::update:
                return trainer.update_share(train, cursor.context, cursor.in, step, share, thread);
            case Stage::clip:
                return trainer.clip_share(train, step, share);
            case Stage::regularize:
                return trainer.regularize();
            case Stage::constrain:
                return trainer.constrain(item);
            case Stage::pack:
                return train.plan->pack(item, shares);
        }
    }

    void prepare() {
        BatchInput& batch = cursor.in;
        const std::int64_t first = in.begin + result.samples;
        batch.x = &in.x;
        batch.y = in.y;
        batch.weight = in.weight;
        batch.weight_size = in.weight_size;
        batch.indices = in.indices ? in.indices + first : nullptr;
        batch.first = first;
        batch.count = std::min(in.batch_size, in.end - first);
        batch.outputs = in.outputs ? in.outputs + result.samples * train.plan->output_size() : nullptr;
        batch.step = static_cast<std::uint32_t>(trainer.updater_->iterations());
        batch.divisor = cursor.plan.loss_divisor(batch);
        step = trainer.updater_->begin(
            limits.learning_rates[limits.learning_rate_count == 1 ? 0 : result.steps]);
    }

    void account() {
        train.plan->collect(cursor.context, cursor.in, totals);
        const double n = static_cast<double>(cursor.in.count);
        double batch_loss = totals.mean(cursor.in);
        for (double penalty : train.penalty) batch_loss += penalty;
        batch_loss += trainer.host_penalty_;
        result.loss += batch_loss * n;
        result.loss_weight += n;
        for (std::size_t m = 0; m < totals.metric_total.size(); ++m) {
            result.metric_total[m] += totals.metric_total[m];
            result.metric_count[m] += totals.metric_count[m];
        }
        ++result.steps;
        trainer.updater_->end();
        result.samples += cursor.in.count;
    }

    bool last() const {
        return result.steps >= limits.max_steps || in.begin + result.samples >= in.end ||
               std::chrono::duration<double>(Clock::now() - start).count() > limits.seconds;
    }

    enum class Stage { batch, regularize, update, clip, constrain, pack };  // of the phase at work

    Trainer& trainer;
    TrainPlan& train;
    const RunInput& in;
    const RunLimits& limits;
    BatchCursor cursor;
    Stage stage = Stage::batch;
    std::int64_t shares = 1;
    Updater::Step step;
    BatchTotals totals;
    RunTotals result;
    const Clock::time_point start = Clock::now();
};

RunTotals Trainer::train(const RunInput& in, const RunLimits& limits) {
    if (in.begin >= in.end || limits.max_steps <= 0) return no_totals();
    const std::scoped_lock guard(mutex_, updater_->mutex());
    const std::shared_ptr<TrainPlan> train = train_plan(in.batch_size);
    const Plan& plan = *train->plan;
    const int threads = plan.threads_wanted(in.batch_size);
    const BorrowedContext context(plan, threads);
    const ParameterSet& owners = network_->owners();
    const std::unique_lock<const ParameterSet> lock(owners);
    refresh_packed(plan, owners, threads);
    TrainJob job(*this, *train, *context, in, limits, threads);
    run_team(threads, job);
    owners.changed();
    plan.set_packed_version(owners.version());
    return std::move(job.result);
}

RunTotals Trainer::no_totals() const {
    RunTotals totals;
    totals.metric_total.assign(metrics_.size(), 0.0);
    totals.metric_count.assign(metrics_.size(), 0.0);
    return totals;
}

double Trainer::penalty() const {
    double sum = 0;
    for (std::size_t p = 0; p < trainable_.size(); ++p) {
        const Regularizer& r = regularizers_[p];
        const ParameterRef& ref = network_->parameters()[p];
        if (r.host) sum += r.host->penalty(ref.data(), nullptr);
        if (r.l1 == 0 && r.l2 == 0) continue;
        double absolute = 0, squares = 0;
        for (std::int64_t i = 0; i < ref.size(); ++i) {
            const double w = ref.data()[i];
            absolute += std::fabs(w);
            squares += w * w;
        }
        sum += r.l1 * absolute + r.l2 * squares;
    }
    return sum;
}

struct Trainer::EvaluateJob final : Job {
    EvaluateJob(const Plan& plan, Context& context, const RunInput& input, RunTotals none)
        : in(input), cursor{plan, context, {}}, result(std::move(none)) {
        totals.metric_total = totals.metric_count = result.metric_total;  // here: the team allocates nothing
        cursor.in.x = &in.x;
        cursor.in.y = in.y;
        cursor.in.weight = in.weight;
        cursor.in.weight_size = in.weight_size;
        prepare(in.begin);
    }

    std::int64_t next_phase() override {
        for (;;) {
            if (const std::int64_t items = cursor.next()) return items;
            cursor.plan.collect(cursor.context, cursor.in, totals);
            // A sample's penalty counts once, a row's loss for each of its rows.
            result.loss += by_batch ? totals.mean(cursor.in) * static_cast<double>(cursor.in.count)
                                    : totals.loss / static_cast<double>(cursor.plan.rows()) + totals.penalty;
            for (std::size_t m = 0; m < totals.metric_total.size(); ++m) {
                result.metric_total[m] += totals.metric_total[m];
                result.metric_count[m] += totals.metric_count[m];
            }
            const std::int64_t next = cursor.in.first + cursor.in.count;
            if (next >= in.end) return 0;
            prepare(next);
        }
    }
    void run(std::int64_t item, int thread) override { cursor.run(item, thread); }

    void prepare(std::int64_t first) {
        cursor.in.first = first;
        cursor.in.indices = in.indices ? in.indices + first : nullptr;
        cursor.in.count = std::min(cursor.plan.options().batch_size, in.end - first);
        cursor.in.outputs =
            in.outputs ? in.outputs + (first - in.begin) * cursor.plan.output_size() : nullptr;
        cursor.in.divisor = cursor.plan.loss_divisor(cursor.in);
    }

    const RunInput& in;
    BatchCursor cursor;
    BatchTotals totals;
    RunTotals result;
    const bool by_batch = !cursor.plan.options().loss.is_additive();
};

RunTotals Trainer::evaluate(const RunInput& in) const {
    if (in.begin >= in.end) return no_totals();
    std::shared_ptr<const Plan> plan;
    {
        const std::lock_guard<std::mutex> guard(evaluation_mutex_);
        // The batches that the caller sees, where their loss depends on them.
        const std::int64_t wanted =
            loss_.is_additive() ? network_->batch_limit(16 * kEvaluationBlocks) : in.batch_size;
        if (!evaluation_plan_ || evaluation_plan_->options().batch_size != wanted ||
            !evaluation_plan_->is_current())
            evaluation_plan_ = this->plan(Mode::evaluate, wanted);
        plan = evaluation_plan_;
    }
    const int threads = plan->threads_wanted(std::min(plan->options().batch_size, in.end - in.begin));
    const BorrowedContext context(*plan, threads);
    const ParameterSet& owners = network_->owners();
    const std::shared_lock<const ParameterSet> lock(owners);
    refresh_packed(*plan, owners, threads);
    EvaluateJob job(*plan, *context, in, no_totals());
    run_team(threads, job);
    RunTotals& result = job.result;
    const double n = static_cast<double>(in.end - in.begin);
    result.samples = in.end - in.begin;
    result.steps = (result.samples + in.batch_size - 1) / in.batch_size;
    result.loss += penalty() * n;
    result.loss_weight = n;
    return std::move(result);
}

// One batch, and its gradient summed over the lanes.
struct Trainer::GradientsJob final : Job {
    GradientsJob(Trainer& t, TrainPlan& tp, Context& context)
        : trainer(t), train(tp), cursor{*tp.plan, context, {}} {}

    std::int64_t next_phase() override {
        if (summing) return 0;
        if (const std::int64_t items = cursor.next()) return items;
        if (!trainer.host_failed()) trainer.regularize();
        summing = true;
        return std::min(kMaxItems, static_cast<std::int64_t>(train.chunks.size()));
    }
    void run(std::int64_t item, int thread) override {
        if (!summing) return cursor.run(item, thread);
        const std::int64_t chunks = static_cast<std::int64_t>(train.chunks.size());
        const Share share(chunks, item, std::min(kMaxItems, chunks));
        for (std::int64_t i = share.begin; i < share.end; ++i) {
            const std::size_t c = static_cast<std::size_t>(i);
            trainer.sum_chunk(train, c, cursor.context, cursor.in, false,
                              trainer.gradient_of(train.chunks[c]), thread);
        }
    }

    Trainer& trainer;
    TrainPlan& train;
    BatchCursor cursor;
    bool summing = false;
};

void Trainer::gradients(const RunInput& in, std::uint32_t number, const std::vector<float*>& out) {
    if (in.begin >= in.end) return;
    const std::lock_guard<std::mutex> guard(mutex_);
    const std::int64_t count = in.end - in.begin;
    const std::shared_ptr<TrainPlan> train = train_plan(count);
    const Plan& plan = *train->plan;
    const int threads = plan.threads_wanted(count);
    const BorrowedContext context(plan, threads);
    const ParameterSet& owners = network_->owners();
    const std::unique_lock<const ParameterSet> lock(owners);
    refresh_packed(plan, owners, threads);
    GradientsJob job(*this, *train, *context);
    BatchInput& batch = job.cursor.in;
    batch.x = &in.x;
    batch.y = in.y;
    batch.weight = in.weight;
    batch.weight_size = in.weight_size;
    batch.first = in.begin;
    batch.count = count;
    batch.step = number;
    batch.divisor = plan.loss_divisor(batch);
    run_team(threads, job);
    for (std::size_t p = 0; p < out.size(); ++p)
        if (out[p] && trainable_[p])
            std::memcpy(out[p], gradient_.data() + offsets_[p],
                        static_cast<std::size_t>(network_->parameters()[p].size()) * sizeof(float));
}

Profile Trainer::profile(const RunInput& in, double seconds) {
    const std::lock_guard<std::mutex> guard(mutex_);
    Profile found;
    found.samples = in.end - in.begin;
    const std::shared_ptr<TrainPlan> train = train_plan(found.samples);
    found.plan = train->plan;
    const Plan& plan = *found.plan;
    const int threads = plan.threads_wanted(found.samples);
    const BorrowedContext context(plan, threads);
    const std::unique_lock<const ParameterSet> lock(network_->owners());
    refresh_packed(plan, network_->owners(), threads);
    found.measure(*context, seconds, [&] {
        GradientsJob job(*this, *train, *context);
        BatchInput& batch = job.cursor.in;
        batch.x = &in.x;
        batch.y = in.y;
        batch.weight = in.weight;
        batch.weight_size = in.weight_size;
        batch.first = in.begin;
        batch.count = found.samples;
        batch.update_statistics = false;
        batch.divisor = plan.loss_divisor(batch);
        run_team(threads, job);
    });
    return found;
}

}  // namespace fastcnn
