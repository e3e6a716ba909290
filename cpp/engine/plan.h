// A plan: steps with kernels and memory decided, and the order in which blocks of samples pass through them.
//
// Immutable once made, so that any number of Python threads may run it at once; what a run writes lives in a
// Context. A plan serves every batch up to its size.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/threads.h"
#include "engine/steps.h"
#include "graph/host_function.h"

namespace fastcnn {

enum class Mode {
    infer,             // outputs
    evaluate,          // outputs, loss and metrics
    forward_training,  // outputs as in training
    train,             // gradients, loss and metrics
};

// What the sum of a batch's weighted losses is divided by.
enum class LossReduction {
    mean,           // the number of losses
    weighted_mean,  // the sum of their weights
    sum,            // nothing
};

struct LossSpec : LossRule {
    LossReduction reduction = LossReduction::mean;
    std::vector<float> weight_of_class;  // what class_weights points to in a plan
    std::shared_ptr<HostLoss> host;      // of LossKind::host

    // Whether a data set's loss is its samples' mean, whatever its batches are.
    bool is_additive() const { return reduction == LossReduction::mean && !ignores && !host; }
};

// An accuracy, or the mean of a loss.
struct MetricSpec {
    AccuracyKind kind = AccuracyKind::binary;
    float threshold = 0.5f;
    bool weighted = false;
    bool is_loss = false;
    LossRule loss;
};

struct PlanOptions {
    Mode mode = Mode::infer;
    std::int64_t batch_size = 1;
    std::int64_t block_limit = 16;  // samples of a block at most
    int split = 1;                  // infer, one sample: threads that steps are divided for
    LossSpec loss;
    std::vector<MetricSpec> metrics;
    std::vector<bool> trainable;  // for each parameter
};

// One batch: rows of the user's arrays.
struct BatchInput {
    const InputArray* x = nullptr;
    TargetArray y;
    const float* weight = nullptr;          // by row of x and y, weight_size of them each
    std::int64_t weight_size = 1;           // or one for each of the output's rows
    const std::int64_t* indices = nullptr;  // rows of this batch; null: first, first + 1, ...
    std::int64_t first = 0;
    std::int64_t count = 0;
    float* outputs = nullptr;  // of this batch's samples, or null
    std::uint32_t step = 0;
    bool update_statistics = true;
    double divisor = 1;  // of the sum of losses: Plan::loss_divisor()

    std::int64_t row(std::int64_t i) const { return indices ? indices[i] : first + i; }
};

// Sums of one batch.
struct BatchTotals {
    double loss = 0;     // sum of weighted losses over samples and rows
    double penalty = 0;  // sum of what steps add, over samples

    // The batch's loss.
    double mean(const BatchInput& in) const {
        return loss / in.divisor + penalty / static_cast<double>(in.count);
    }
    std::vector<double> metric_total, metric_count;
};

class Plan;

// The memory of one run at a time.
class Context {
  public:
    Context(const Plan& plan, int threads);

    float* lanes() const { return lanes_.data(); }
    std::int64_t bytes() const { return bytes_; }
    int threads() const { return static_cast<int>(thread_memory_.size()); }

    // The weights are no longer what any thread of a plan that packs by thread has packed.
    void weights_changed() { ++weights_; }

    // From now on the time of every action is taken, by thread; take_times() ends it.
    void time_actions(const Plan& plan);
    // Seconds that all threads together spent, by place (Plan::place_of).
    std::vector<double> take_times();

  private:
    friend class Plan;

    std::vector<std::vector<std::int64_t>> times_;  // nanoseconds, by thread and place; empty: not taken

    std::vector<Buffer> thread_memory_;  // block, then scratch
    // Where the plan packs by thread: weights packed by each thread, and the count of changes they are from.
    std::vector<Buffer> packed_;
    std::vector<std::uint64_t> packed_from_;
    std::uint64_t weights_ = 1;
    Buffer batch_, lanes_, totals_;
    std::int64_t bytes_ = 0;
};

class Plan {
  public:
    Plan(const std::vector<Node>& nodes, const Shape& input, const std::vector<ParameterRef>& parameters,
         PlanOptions options);

    const PlanOptions& options() const { return options_; }
    const PlanMemory& memory() const { return memory_; }
    std::int64_t block_size() const { return memory_.block_size; }
    std::int64_t piece_size() const { return memory_.piece_size; }
    // Whether a larger block_limit would make it faster, for as many samples.
    bool wants_larger_blocks() const { return wants_larger_blocks_; }
    std::int64_t lane_count() const { return lane_count_; }
    std::int64_t lane_floats() const { return memory_.lane.size(); }
    // Lanes that hold something after a batch of `count` samples.
    std::int64_t active_lanes(std::int64_t count) const;
    std::int64_t rows() const { return rows_; }  // losses of a sample
    std::int64_t output_size() const { return output_size_; }
    int threads_wanted(std::int64_t count) const;
    std::int64_t flops() const { return flops_; }  // of a sample's forward pass
    // Whether it would be made the same way now: Winograd's method may have been switched on or off since.
    bool is_current() const { return winograd_ == winograd_allowed(); }

    // In training the weights change with every step. Where they are few each thread packs all of them for
    // itself when it begins a step, into its own cache: sharing the work costs a barrier, and half of what a
    // thread then reads has to come out of another core's cache (the mission's network: 1.4 MB a step).
    bool packs_by_thread() const { return packs_by_thread_; }
    // Otherwise: part `part` of `parts` of packing the weights.
    void pack(std::int64_t part, std::int64_t parts) const;
    // One batch, phase by phase: open_phase(p) by one thread when phase p - 1 is complete, then run_item()
    // for each of the items whose number it returned. 0 after the last phase.
    std::int64_t open_phase(Context& context, const BatchInput& in, std::size_t phase) const;
    void run_item(Context& context, const BatchInput& in, std::size_t phase, std::int64_t item,
                  int thread) const;
    // After the last phase, in the same step: rows of the gradient of a wide or late step's kernel.
    void produce_gradient(Context& context, const BatchInput& in, int step, std::int64_t first_row,
                          std::int64_t last_row, float* gradient, int thread) const;
    // Of a thread: room for as much of a gradient as is updated at once.
    float* gradient_room(Context& context, int thread) const;
    // After the last phase, by one thread.
    void collect(const Context& context, const BatchInput& in, BatchTotals& totals) const;
    // Of a batch, before it runs; infinity where nothing counts.
    double loss_divisor(const BatchInput& in) const;

    // True where the packed weights are those of `version`; set by the caller under pack_mutex().
    std::mutex& pack_mutex() const { return pack_mutex_; }
    std::uint64_t packed_version() const { return packed_version_.load(std::memory_order_acquire); }
    void set_packed_version(std::uint64_t version) const {
        packed_version_.store(version, std::memory_order_release);
    }

    // A context for at least `threads` workers, reused where one is free.
    std::unique_ptr<Context> acquire(int threads) const;
    void release(std::unique_ptr<Context> context) const;

    std::vector<StepInfo> infos() const;
    // Where times are kept: what belongs to no step, then for each step its forward and its backward pass.
    static std::size_t forward_place(std::size_t step) { return 1 + 2 * step; }
    static std::size_t backward_place(std::size_t step) { return 2 + 2 * step; }
    // Floating-point operations of a sample's backward pass through a step, were it dense.
    std::int64_t backward_flops(std::size_t step) const;
    std::int64_t phase_count() const { return static_cast<std::int64_t>(phases_.size()); }
    std::int64_t context_bytes(int threads) const;

  private:
    friend class Context;

    enum class Act {
        read,
        before_forward,
        forward,
        loss,
        output,
        before_backward,
        backward,
        wide_forward,
        wide_backward
    };
    struct Action {
        Act act;
        int step;  // where the action belongs to one
        bool by_piece = false;
    };
    struct Phase {
        std::vector<Action> actions;  // of each block; or one wide action
        int sync_step = -1;           // after the phase, with `sync_forward` or its opposite; or kHostLoss
        bool sync_is_forward = true;
        // In a plan for one sample on several threads: this step in so many parts, after the actions, which
        // one thread does alone.
        int split_step = -1;
        std::int64_t parts = 0;
    };

    static constexpr int kHostLoss = -2;

    // How a step cuts the plan: it needs the whole batch between two of its parts (sync), or takes it at once
    // (wide).
    enum class Cut { none, sync, wide };
    void choose_blocks(const std::vector<FusedOp>& ops, const Shape& input);
    void choose_inference_pieces(const std::vector<FusedOp>& ops, const std::vector<Cut>& cuts,
                                 std::vector<bool>& at_once);
    bool sums_flat(const FusedOp& op, Cut cut) const;
    // Samples of the blocks that a batch of `count` is cut into.
    std::int64_t block_for(std::int64_t count) const;
    // Samples that pass through a step at a time, at most.
    std::int64_t samples_of(std::size_t step) const;
    void choose_pieces(const std::vector<FusedOp>& ops, const std::vector<Cut>& cuts, int first_trained);
    Cut cut_of(const FusedOp& op) const;
    // Whether the gradient of its kernel is produced for the optimizer: see Step.
    bool is_late(const FusedOp& op, Cut cut) const;
    // Floats a sample of what step t - 1 writes and step t reads.
    std::int64_t tensor_size(const std::vector<FusedOp>& ops, const Shape& input, std::size_t t) const;
    void place_tensors(const std::vector<FusedOp>& ops, const Shape& input, const std::vector<Cut>& cuts,
                       int first_trained);
    static bool is_wide(const Phase& phase) {
        return !phase.actions.empty() && (phase.actions.front().act == Act::wide_forward ||
                                          phase.actions.front().act == Act::wide_backward);
    }
    BlockRun whole_batch(Context& context, const BatchInput& in) const;
    // What a thread needs for a block of the batch: its memory, and the weights, packed where it has not yet
    // packed them.
    BlockRun block_run(Context& context, const BatchInput& in, int thread) const;
    float* scratch_of(Context& context, int thread) const;
    void make_phases(int first_trained);
    void make_split_phases();
    void plan_loss(const FusedLoss& fused, const Shape& output);

    void run_block(const Phase& phase, const BlockRun& block, int thread, Context& context,
                   const BatchInput& in, double* totals) const;
    void run_lane(const Phase& phase, std::int64_t lane, int thread, Context& context,
                  const BatchInput& in) const;
    static std::size_t place_of(const Action& action);
    void run_action(const Action& action, const BlockRun& run, const BatchInput& in, double* totals) const;
    // Calls body(), whose time is `action`'s.
    template <class Body>
    void timed(Context& context, int thread, const Action& action, const Body& body) const;
    void read(const BlockRun& run, const BatchInput& in) const;
    void run_loss(const BlockRun& run, const BatchInput& in, double* totals) const;
    void run_block_loss(const Loss& loss, double* totals) const;
    void run_metric(std::size_t index, const Loss& of_loss, double* totals) const;
    void write_outputs(const BlockRun& run, const BatchInput& in) const;
    void sync(const Phase& phase, Context& context, const BatchInput& in) const;
    void run_host_loss(Context& context, const BatchInput& in) const;

    // Of a thread: a block, scratch, and gradient_room().
    std::int64_t thread_floats() const {
        return memory_.block.size() + Layout::round_up(memory_.scratch) + memory_.gradient_at_once;
    }
    bool has_loss() const { return options_.mode == Mode::evaluate || options_.mode == Mode::train; }
    // Doubles of a lane's sums: loss, penalty, then total and count of each metric; whole cache lines.
    std::int64_t totals_stride() const {
        return (2 + 2 * static_cast<std::int64_t>(options_.metrics.size()) + 7) / 8 * 8;
    }

    PlanOptions options_;
    PlanMemory memory_;
    std::vector<StepSlots> slots_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<std::string> amx_declined_;  // of each step
    std::vector<Phase> phases_;
    bool packs_by_thread_ = false;
    std::vector<const Step*> penalties_;  // the steps that add to the loss
    // Steps below this one take turns, piece by piece: in training their backward passes, at inference the
    // forward passes.
    int piece_steps_ = 0;
    bool wants_larger_blocks_ = false;
    const bool winograd_ = winograd_allowed();
    const std::int64_t threads_ = thread_count();  // when it was made: divides blocks, changes no bits
    std::int64_t lane_count_ = 1, blocks_per_lane_ = 1;
    std::int64_t rows_ = 1, classes_ = 1, output_size_ = 0, flops_ = 0;

    Slot input_, output_, output_gradient_;
    Choice<ReadSamples> reader_;
    // What is done to samples as they are read, and its numbers where they are no parameters.
    std::optional<ScaleOp> reading_;
    Scale scale_args_;
    Choice<Scale> scale_;
    Loss loss_args_;
    Choice<Loss> loss_;
    struct Metric {
        Choice<Accuracy> accuracy;
        Choice<Loss> loss;
    };
    std::vector<Metric> metrics_;
    Choice<ActivationForward> sigmoid_;
    Slot target_, weight_, activated_;

    Buffer packed_;
    mutable std::mutex pack_mutex_;
    mutable std::atomic<std::uint64_t> packed_version_{0};
    mutable std::mutex contexts_mutex_;
    mutable std::vector<std::unique_ptr<Context>> contexts_;
};

// Where a job is in a batch.
struct BatchCursor {
    const Plan& plan;
    Context& context;
    BatchInput in;
    std::size_t phase = 0;

    // Items of the next phase, for Job::next_phase(); 0 when the batch is through, and the next call begins
    // another.
    std::int64_t next() {
        const std::int64_t items = plan.open_phase(context, in, phase);
        phase = items ? phase + 1 : 0;
        return items;
    }
    void run(std::int64_t item, int thread) const { plan.run_item(context, in, phase - 1, item, thread); }
};

}  // namespace fastcnn
