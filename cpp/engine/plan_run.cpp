// A plan's run: its phases, what their items do, and the context they write to.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "engine/plan.h"

namespace fastcnn {

Context::Context(const Plan& plan, int threads) {
    for (int t = 0; t < threads; ++t) thread_memory_.emplace_back(plan.thread_floats());
    if (plan.packs_by_thread_) {
        for (int t = 0; t < threads; ++t) packed_.emplace_back(plan.memory_.packed.size());
        packed_from_.assign(static_cast<std::size_t>(threads), 0);
    }
    batch_ = Buffer(plan.memory_.batch.size());
    if (plan.options_.mode == Mode::train) lanes_ = Buffer(plan.lane_count_ * plan.memory_.lane.size());
    if (plan.has_loss()) totals_ = Buffer(2 * plan.lane_count_ * plan.totals_stride());
    bytes_ = plan.context_bytes(threads);
}

void Plan::pack(std::int64_t part, std::int64_t parts) const {
    for (const auto& step : steps_)
        step->pack(packed_.data(), static_cast<int>(part), static_cast<int>(parts));
}

BlockRun Plan::block_run(Context& context, const BatchInput& in, int thread) const {
    BlockRun run;
    run.block = context.thread_memory_[static_cast<std::size_t>(thread)].data();
    run.scratch = scratch_of(context, thread);
    run.batch = context.batch_.data();
    run.packed = packed_.data();
    run.batch_count = in.count;
    run.step = in.step;
    if (!packs_by_thread_) return run;
    const std::size_t t = static_cast<std::size_t>(thread);
    run.packed = context.packed_[t].data();
    if (context.packed_from_[t] == context.weights_) return run;
    timed(context, thread, {Act::read, -1}, [&] {
        for (const auto& step : steps_) step->pack(context.packed_[t].data(), 0, 1);
    });
    context.packed_from_[t] = context.weights_;
    return run;
}

std::int64_t Plan::open_phase(Context& context, const BatchInput& in, std::size_t index) const {
    if (index > 0 && phases_[index - 1].sync_step != -1) sync(phases_[index - 1], context, in);
    if (index == phases_.size()) return 0;
    const Phase& phase = phases_[index];
    if (options_.split > 1) {
        BlockRun run = block_run(context, in, 0);
        run.count = in.count;
        for (const Action& action : phase.actions)
            timed(context, 0, action, [&] { run_action(action, run, in, nullptr); });
        return phase.parts;
    }
    // Parts of a wide step: some for each thread, so that a fast one takes more of them.
    return is_wide(phase) ? kWidePartsPerThread * context.threads() : active_lanes(in.count);
}

void Plan::run_item(Context& context, const BatchInput& in, std::size_t index, std::int64_t item,
                    int thread) const {
    const Phase& phase = phases_[index];
    if (phase.split_step >= 0) {
        BlockRun run = block_run(context, in, thread);
        run.block = context.thread_memory_[0].data();
        run.count = in.count;
        timed(context, thread, {Act::forward, phase.split_step}, [&] {
            steps_[static_cast<std::size_t>(phase.split_step)]->forward_part(run, item, phase.parts);
        });
    } else if (is_wide(phase)) {
        const Action& action = phase.actions.front();
        const Step& step = *steps_[static_cast<std::size_t>(action.step)];
        BlockRun whole = whole_batch(context, in);
        whole.scratch = scratch_of(context, thread);
        const int part = static_cast<int>(item), parts = kWidePartsPerThread * context.threads();
        timed(context, thread, action, [&] {
            action.act == Act::wide_forward ? step.wide_forward(whole, part, parts)
                                            : step.wide_backward(whole, part, parts);
        });
    } else {
        run_lane(phase, item, thread, context, in);
    }
}

void Plan::run_lane(const Phase& phase, std::int64_t lane, int thread, Context& context,
                    const BatchInput& in) const {
    const std::int64_t size = block_for(in.count), blocks = ceil_div(in.count, size);
    const std::int64_t first = lane * blocks_per_lane_, last = std::min(first + blocks_per_lane_, blocks);
    BlockRun run = block_run(context, in, thread);
    run.lane = context.lanes_.data() + lane * memory_.lane.size();
    double* totals = reinterpret_cast<double*>(context.totals_.data()) + lane * totals_stride();
    for (run.index = first; run.index < last; ++run.index) {
        run.accumulate = run.index > first;
        run.first = run.index * size;
        run.count = std::min(size, in.count - run.first);
        run_block(phase, run, thread, context, in, totals);
    }
}

void Plan::run_block(const Phase& phase, const BlockRun& block, int thread, Context& context,
                     const BatchInput& in, double* totals) const {
    const auto go = [&](const Action& action, const BlockRun& run) {
        timed(context, thread, action, [&] { run_action(action, run, in, totals); });
    };
    for (auto action = phase.actions.begin(); action != phase.actions.end();) {
        if (!action->by_piece) {
            go(*action++, block);
            continue;
        }
        const auto first = action;
        while (action != phase.actions.end() && action->by_piece) ++action;
        BlockRun piece = block;
        for (; piece.within < block.count; piece.within += memory_.piece_size) {
            piece.first = block.first + piece.within;
            piece.count = std::min(memory_.piece_size, block.count - piece.within);
            for (auto a = first; a != action; ++a) go(*a, piece);
            piece.accumulate = true;
        }
    }
}

template <class Body>
void Plan::timed(Context& context, int thread, const Action& action, const Body& body) const {
    if (context.times_.empty()) return body();
    const auto start = std::chrono::steady_clock::now();
    body();
    const auto time = std::chrono::steady_clock::now() - start;
    context.times_[static_cast<std::size_t>(thread)][place_of(action)] +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

std::size_t Plan::place_of(const Action& action) {
    if (action.step < 0) return 0;
    const bool is_backward =
        action.act == Act::before_backward || action.act == Act::backward || action.act == Act::wide_backward;
    const std::size_t step = static_cast<std::size_t>(action.step);
    return is_backward ? backward_place(step) : forward_place(step);
}

void Context::time_actions(const Plan& plan) {
    times_.assign(thread_memory_.size(), std::vector<std::int64_t>(1 + 2 * plan.steps_.size(), 0));
}

std::vector<double> Context::take_times() {
    std::vector<double> seconds(times_.empty() ? 0 : times_[0].size(), 0.0);
    for (const auto& thread : times_)
        for (std::size_t i = 0; i < thread.size(); ++i) seconds[i] += 1e-9 * static_cast<double>(thread[i]);
    times_.clear();
    return seconds;
}

void Plan::run_action(const Action& action, const BlockRun& run, const BatchInput& in, double* totals) const {
    const Step* step = action.step < 0 ? nullptr : steps_[static_cast<std::size_t>(action.step)].get();
    switch (action.act) {
        case Act::read:
            return read(run, in);
        case Act::before_forward:
            return step->before_forward(run);
        case Act::forward:
            return step->forward(run);
        case Act::loss:
            return run_loss(run, in, totals);
        case Act::output:
            return write_outputs(run, in);
        case Act::before_backward:
            return step->before_backward(run);
        case Act::backward:
            return step->backward(run);
        case Act::wide_forward:
        case Act::wide_backward:
            return;  // phases of their own
    }
}

BlockRun Plan::whole_batch(Context& context, const BatchInput& in) const {
    BlockRun run;
    run.batch = context.batch_.data();
    run.packed = packed_.data();
    run.count = run.batch_count = in.count;
    run.step = in.step;
    return run;
}

void Plan::produce_gradient(Context& context, const BatchInput& in, int step, std::int64_t first_row,
                            std::int64_t last_row, float* gradient, int thread) const {
    BlockRun whole = whole_batch(context, in);
    whole.scratch = scratch_of(context, thread);
    timed(context, thread, {Act::backward, step}, [&] {
        steps_[static_cast<std::size_t>(step)]->produce_gradient(whole, first_row, last_row, gradient);
    });
}

float* Plan::scratch_of(Context& context, int thread) const {
    return context.thread_memory_[static_cast<std::size_t>(thread)].data() + memory_.block.size();
}

float* Plan::gradient_room(Context& context, int thread) const {
    return scratch_of(context, thread) + Layout::round_up(memory_.scratch);
}

void Plan::sync(const Phase& phase, Context& context, const BatchInput& in) const {
    if (phase.sync_step == kHostLoss) return run_host_loss(context, in);
    SyncRun run;
    run.batch = context.batch_.data();
    run.lanes = context.lanes_.data();
    run.lane_stride = memory_.lane.size();
    run.lane_count = active_lanes(in.count);
    run.block_size = memory_.block_size;
    run.batch_count = in.count;
    run.update_statistics = in.update_statistics;
    const Step& step = *steps_[static_cast<std::size_t>(phase.sync_step)];
    if (phase.sync_is_forward)
        step.sync_forward(run);
    else
        step.sync_backward(run);
}

void Plan::read(const BlockRun& run, const BatchInput& in) const {
    for (std::int64_t i = 0; i < run.count; ++i)
        read_sample(*in.x, in.row(run.first + i), run.at(input_) + i * input_.stride, reader_);
    if (!reading_) return;
    Scale a = scale_args_;
    a.batch = run.count;
    a.x = a.y = run.at(input_);
    a.x_stride = a.y_stride = input_.stride;
    a.scratch = run.scratch;
    scale_(a);
}

void Plan::write_outputs(const BlockRun& run, const BatchInput& in) const {
    if (!in.outputs) return;
    const Slot& from = activated_.booked() ? activated_ : output_;
    for (std::int64_t i = 0; i < run.count; ++i)
        std::memcpy(in.outputs + (run.first + i) * output_size_, run.at(from) + i * from.stride,
                    static_cast<std::size_t>(output_size_) * sizeof(float));
}

void Plan::collect(const Context& context, const BatchInput& in, BatchTotals& totals) const {
    totals.loss = totals.penalty = 0;
    totals.metric_total.assign(options_.metrics.size(), 0.0);
    totals.metric_count.assign(options_.metrics.size(), 0.0);
    const double* sums = reinterpret_cast<const double*>(context.totals_.data());
    for (std::int64_t lane = 0; lane < active_lanes(in.count); ++lane, sums += totals_stride()) {
        totals.loss += sums[0];
        totals.penalty += sums[1];
        for (std::size_t m = 0; m < options_.metrics.size(); ++m) {
            totals.metric_total[m] += sums[2 + 2 * m];
            totals.metric_count[m] += sums[3 + 2 * m];
        }
    }
}

std::unique_ptr<Context> Plan::acquire(int threads) const {
    {
        const std::lock_guard<std::mutex> guard(contexts_mutex_);
        for (auto it = contexts_.begin(); it != contexts_.end(); ++it)
            if ((*it)->threads() >= threads) {
                std::unique_ptr<Context> context = std::move(*it);
                contexts_.erase(it);
                context->weights_changed();  // since then, perhaps
                return context;
            }
    }
    return std::make_unique<Context>(*this, threads);
}

void Plan::release(std::unique_ptr<Context> context) const {
    constexpr std::size_t kept = 8;
    const std::lock_guard<std::mutex> guard(contexts_mutex_);
    if (contexts_.size() < kept) contexts_.push_back(std::move(context));
}

}  // namespace fastcnn
