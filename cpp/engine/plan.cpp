#include "engine/plan.h"

#include <algorithm>

#include "engine/amx.h"
#include "engine/placed.h"
#include "kernels/amx.h"

namespace fastcnn {

namespace {

constexpr std::int64_t kBlockLimit = 16;
// Activations of a block in training, floats: beside weights and a gradient lane they should stay in L2 (2
// MB).
constexpr std::int64_t kTrainingBlockFloats = 160 * 1024;
constexpr std::int64_t kInferenceBlockFloats = 128 * 1024;
// The same where tiles are used. With few samples their rows are not filled, which costs more than reading
// from L3 (150 x 150 x 3: 2 samples instead of 1 train 1.3 times as fast, 4 infer 1.6 times).
constexpr std::int64_t kTileTrainingBlockFloats = 768 * 1024, kTileInferenceBlockFloats = 1024 * 1024;
// Blocks that a training batch is cut into at the least, where it has the samples: as many threads can work
// at once. Four at a batch of 32 would be 8 samples each, too few to pay for streaming the weights of the
// later layers from L2 (the mission's network: 8 % slower on two threads).
constexpr std::int64_t kBlocksWanted = 2;
constexpr std::int64_t kLaneLimit = 8;
constexpr std::int64_t kLaneFloats = 16 * 1024 * 1024;  // all lanes together

// A block's gradient of one tensor (floats) that is too large to be written whole before it is read, and what
// is written of it at a time.
constexpr std::int64_t kLargeGradient = 32 * 1024, kPieceFloats = 16 * 1024;
constexpr std::int64_t kLeastPiece = 2;  // samples

// Weights of a dense layer (floats) that at inference should be read for more samples than a block of the
// layers below has, and that block's activations from there on.
constexpr std::int64_t kSharedWeights = 32 * 1024, kSharingFloats = 256 * 1024;
// With tiles, which read float32 weights, more samples pay: these at most, and that many times those of a
// block below (150 x 150 x 3 and 3.2 M weights: 64 instead of 4, dense layer 70 -> 31 us a sample).
constexpr std::int64_t kSharingSamples = 64, kSharingTilesFloats = 1024 * 1024, kSharingGrowth = 8;

// Blocks that evaluation cuts few samples into at the least: as many threads can work at once.
constexpr std::int64_t kEvaluationParts = 8;

// Packed weights (floats) up to which each thread packs them for itself.
constexpr std::int64_t kPackedByThread = 512 * 1024;

// Weights of a dense layer (floats) beyond which it runs over the whole batch in training: packed both ways
// they fill L2. With tiles it takes more samples at once than others at inference, too.
constexpr std::int64_t kWideWeights = 256 * 1024;

// Weights of a smaller dense layer, or of any step with tiles, from which their gradient is produced in the
// optimizer's pass, where inputs and output gradients are fewer than what the lanes would hold.
constexpr std::int64_t kLateWeights = 4 * 1024;

std::int64_t largest_power_of_two(std::int64_t limit) {
    std::int64_t power = 1;
    while (2 * power <= limit) power *= 2;
    return power;
}

bool trains(Mode mode) { return mode == Mode::train || mode == Mode::forward_training; }

// First step with something to train, or the number of steps.
int first_trained_step(const std::vector<FusedOp>& ops, const std::vector<bool>& trainable) {
    std::size_t i = 0;
    while (i < ops.size() && !trains(ops[i], trainable)) ++i;
    return static_cast<int>(i);
}

// A dense layer of one row a sample that is better read for many samples at once.
bool has_many_weights(const FusedOp& op) {
    const auto* dense = std::get_if<DenseOp>(&op.op);
    return dense && size_of(op.in) == dense->inputs && dense->inputs * dense->units > kWideWeights;
}

// Whether it is computed with tiles.
bool dense_on_tiles(const FusedOp& op) { return op.bfloat16 && !op.norm && amx_level(); }

}  // namespace

Plan::Plan(const std::vector<Node>& nodes, const Shape& input, const std::vector<ParameterRef>& parameters,
           PlanOptions options)
    : options_(std::move(options)) {
    memory_.training = trains(options_.mode);
    memory_.batch_size = options_.batch_size;
    std::vector<FusedOp> ops = fuse(nodes, memory_.training, options_.trainable);
    const Shape output = nodes.empty() ? input : nodes.back().out;
    output_size_ = size_of(output);
    classes_ = output.back();
    rows_ = output_size_ / classes_;
    FusedLoss fused;
    if (has_loss()) fused = fuse_loss(ops, options_.loss.kind, options_.loss.from_logits);

    reading_ = fuse_reading(ops);

    choose_blocks(ops, input);
    std::vector<Cut> cuts;
    for (const FusedOp& op : ops) cuts.push_back(cut_of(op));
    std::vector<bool> at_once, flat;
    for (std::size_t i = 0; i < ops.size(); ++i) {
        flat.push_back(sums_flat(ops[i], cuts[i]));
        at_once.push_back(cuts[i] == Cut::wide || (flat[i] && options_.split == 1));
    }
    plan_amx(ops, at_once, flat);
    for (const FusedOp& op : ops) amx_declined_.push_back(op.amx_declined);
    const int first_trained = options_.mode == Mode::train ? first_trained_step(ops, options_.trainable)
                                                           : static_cast<int>(ops.size());
    memory_.piece_size = memory_.block_size;
    if (!memory_.training)
        choose_inference_pieces(ops, cuts, at_once);
    else
        choose_pieces(ops, cuts, first_trained);
    place_tensors(ops, input, cuts, first_trained);
    for (std::size_t i = 0; i < ops.size(); ++i)
        steps_.push_back(
            make_step({ops[i], slots_[i], parameters, options_.trainable, static_cast<std::uint32_t>(i),
                       cuts[i] == Cut::wide, is_late(ops[i], cuts[i]), at_once[i], samples_of(i)},
                      memory_));
    for (const auto& step : steps_) {
        flops_ += step->info().flops;
        if (step->penalises()) penalties_.push_back(step.get());
    }
    if (has_loss()) plan_loss(fused, output);
    reader_ = choose(ReadSamples{});
    if (reading_) {
        const auto values = [&](int parameter, const std::vector<float>& numbers) -> const float* {
            return parameter == kAbsent ? numbers.data()
                                        : parameters[static_cast<std::size_t>(parameter)].data();
        };
        scale_args_ = scale_args(*reading_, values(reading_->a, reading_->a_values),
                                 values(reading_->b, reading_->b_values));
        scale_ = choose(scale_args_);
        memory_.need_scratch(scale_.scratch(scale_args_));
    }
    options_.split > 1 ? make_split_phases() : make_phases(first_trained);

    const std::int64_t blocks = ceil_div(options_.batch_size, memory_.block_size);
    lane_count_ = std::min(blocks, kMaxItems);
    if (options_.mode == Mode::train) {
        const std::int64_t affordable =
            std::max<std::int64_t>(2, kLaneFloats / std::max<std::int64_t>(1, memory_.lane.size()));
        lane_count_ = std::min({blocks, kLaneLimit, affordable});
    }
    blocks_per_lane_ = ceil_div(blocks, lane_count_);
    lane_count_ = ceil_div(blocks, blocks_per_lane_);
    // Wide steps are every thread's together, and so are their weights.
    const bool shares =
        std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->wide(); });
    packs_by_thread_ = options_.mode == Mode::train && !shares && memory_.packed.size() <= kPackedByThread;
    if (!packs_by_thread_) packed_ = Buffer(memory_.packed.size());
}

void Plan::choose_blocks(const std::vector<FusedOp>& ops, const Shape& input) {
    std::int64_t all = size_of(input), most = size_of(input);
    for (const FusedOp& op : ops) {
        all += size_of(op.out);
        most = std::max(most, size_of(op.in) + size_of(op.out));
    }
    const bool tiles = static_cast<bool>(amx_level()) &&
                       std::any_of(ops.begin(), ops.end(), [](const FusedOp& op) { return op.bfloat16; });
    const std::int64_t floats = memory_.training
                                    ? (tiles ? kTileTrainingBlockFloats : kTrainingBlockFloats)
                                    : (tiles ? kTileInferenceBlockFloats : kInferenceBlockFloats);
    const std::int64_t budget = floats / std::max<std::int64_t>(1, memory_.training ? all : most);
    std::int64_t block = std::clamp<std::int64_t>(budget, 1, kBlockLimit);
    if (tiles) block = largest_power_of_two(block);  // so that samples fill tiles
    if (memory_.training) block = std::min(block, ceil_div(options_.batch_size, kBlocksWanted));
    memory_.chosen_for = memory_.training ? std::min(block, options_.batch_size) : block;
    memory_.block_size = std::min({block, options_.block_limit, options_.batch_size});
    memory_.block_total = ceil_div(options_.batch_size, memory_.block_size);
}

// A dense layer reads all its weights for every block, and the large tensors of the layers below make blocks
// small. At inference the block is for the layers from the first such one on, and those below it take turns,
// a few samples at a time.
void Plan::choose_inference_pieces(const std::vector<FusedOp>& ops, const std::vector<Cut>& cuts,
                                   std::vector<bool>& at_once) {
    std::size_t upper = 0;  // the first of the block's steps
    bool tiles = false;     // there are some below it
    for (; upper < ops.size() && !at_once[upper]; ++upper) {
        // A penalty is what a block's samples add: its step wants all of them.
        const bool penalises = has_loss() && std::holds_alternative<ActivityOp>(ops[upper].op);
        if (cuts[upper] != Cut::none || penalises) return at_once.assign(ops.size(), false);
        tiles = tiles || ops[upper].amx;
        const auto* dense = std::get_if<DenseOp>(&ops[upper].op);
        if (!ops[upper].amx && dense && size_of(ops[upper].in) == dense->inputs &&
            dense->inputs * dense->units > kSharedWeights)
            break;
    }
    std::int64_t most = 1;
    for (std::size_t i = upper; i < ops.size(); ++i) {
        if (cuts[i] != Cut::none) return at_once.assign(ops.size(), false);
        most = std::max(most, size_of(ops[i].in) + size_of(ops[i].out));
    }
    if (upper == ops.size()) return;
    const bool by_tiles = at_once[upper];
    const std::int64_t limit = by_tiles ? std::min(kSharingSamples, kSharingTilesFloats / most)
                                        : std::min(kBlockLimit, kSharingFloats / most);
    std::int64_t block = std::min(limit, options_.block_limit);
    if (has_loss()) block = std::min(block, ceil_div(options_.batch_size, kEvaluationParts));
    // A step with tiles that takes few samples reads its weights packed, half as many bytes.
    const std::int64_t least = by_tiles ? kSharingGrowth * memory_.block_size : memory_.block_size + 1;
    wants_larger_blocks_ = by_tiles && block < limit && limit >= least;
    if ((upper == 0 && !by_tiles) || block < least || (tiles && !by_tiles))
        return at_once.assign(ops.size(), false);
    piece_steps_ = static_cast<int>(upper);
    memory_.block_size = std::min(block, options_.batch_size);
    memory_.block_total = ceil_div(options_.batch_size, memory_.block_size);
}

// At inference too where the step does not take the batch at once: its bits are the same.
bool Plan::sums_flat(const FusedOp& op, Cut cut) const {
    return cut == Cut::wide || (options_.mode == Mode::infer && has_many_weights(op) && dense_on_tiles(op));
}

std::int64_t Plan::samples_of(std::size_t step) const {
    return !memory_.training && static_cast<int>(step) < piece_steps_ ? memory_.piece_size
                                                                      : memory_.block_size;
}

// The lowest tensors are the largest, and their gradients are read once, by the next step down. Where a
// block's would fill much of L2, the backward passes of those steps take turns, a few samples at a time.
void Plan::choose_pieces(const std::vector<FusedOp>& ops, const std::vector<Cut>& cuts, int first_trained) {
    const std::size_t first = static_cast<std::size_t>(first_trained);
    std::int64_t largest = 0;
    std::size_t t = first + 1;  // its gradient, that step t computes, is large
    for (; t < ops.size() && cuts[t - 1] == Cut::none && cuts[t] == Cut::none; ++t) {
        if (ops[t - 1].amx || ops[t].amx) break;  // whole blocks
        const std::int64_t floats = Layout::stride(size_of(ops[t].in));
        if (floats * memory_.block_size <= kLargeGradient) break;
        largest = std::max(largest, floats);
    }
    if (t == first + 1) return;
    const std::int64_t piece = std::max(kLeastPiece, kPieceFloats / largest);
    if (2 * piece > memory_.block_size) return;
    memory_.piece_size = piece;
    piece_steps_ = static_cast<int>(t);
}

Plan::Cut Plan::cut_of(const FusedOp& op) const {
    if (std::holds_alternative<HostOp>(op.op)) return Cut::wide;  // its arrays are the batch's
    if (!memory_.training) return Cut::none;
    if (const auto* norm = std::get_if<BatchNormOp>(&op.op)) return norm->frozen ? Cut::none : Cut::sync;
    if (op.norm) return op.norm->frozen ? Cut::none : Cut::sync;
    const bool activation_fits = op.activation == ActivationName::linear ||
                                 op.activation == ActivationName::relu || dense_on_tiles(op);
    if (has_many_weights(op) && activation_fits) return Cut::wide;
    return Cut::none;
}

bool Plan::is_late(const FusedOp& op, Cut cut) const {
    if (options_.mode != Mode::train || op.norm || cut != Cut::none) return false;
    const auto* dense = std::get_if<DenseOp>(&op.op);
    const auto* conv = std::get_if<Conv2dOp>(&op.op);
    std::int64_t weights = 0, kept = 0;  // kept: floats of a block
    int kernel = kAbsent;
    if (op.amx) {
        const AmxPlan& amx = *op.amx;
        kernel = dense ? dense->kernel : conv->kernel;
        weights = amx.h.size * amx.w.size * amx.channels.in_group() * amx.filters.count;
        kept = AmxPairs(amx_input(amx.h, amx.w, memory_.block_size, amx.channels)).floats() +
               amx_transposed_floats(amx.h, amx.w, memory_.block_size, amx.filters);
    } else if (dense && size_of(op.in) == dense->inputs) {
        kernel = dense->kernel;
        weights = dense->inputs * dense->units;
        kept = memory_.block_size * (dense->inputs + dense->units);
    }
    return weights >= kLateWeights && options_.trainable[static_cast<std::size_t>(kernel)] &&
           memory_.block_total * kept <= std::min(memory_.block_total, kLaneLimit) * weights;
}

std::int64_t Plan::tensor_size(const std::vector<FusedOp>& ops, const Shape& input, std::size_t t) const {
    if (t == 0) return size_of(input);
    const FusedOp& op = ops[t - 1];
    if (!op.amx || !op.amx->y_is_image) return size_of(op.out);
    const std::int64_t samples = samples_of(t - 1);
    return ceil_div(image_of(*op.amx, samples).floats(), samples);
}

// Tensor t is the input of step t; the last one is the output. In a plan with cuts, what is needed again in a
// later phase must live for the whole batch: everything up to the last cut. Gradients live in two buffers
// that take turns; those that cross a cut in two others.
void Plan::place_tensors(const std::vector<FusedOp>& ops, const Shape& input, const std::vector<Cut>& cuts,
                         int first_trained) {
    const std::size_t n = ops.size();
    std::size_t batch_tensors = 0;  // tensors [0, batch_tensors) live for the batch
    for (std::size_t i = 0; i < n; ++i)
        if (cuts[i] != Cut::none) batch_tensors = cuts[i] == Cut::wide ? i + 2 : i + 1;
    const bool host_loss = has_loss() && options_.loss.host;
    if (host_loss) batch_tensors = n + 1;
    // A step with tiles keeps what it needs itself.
    const auto late = [&](std::size_t step) { return !ops[step].amx && is_late(ops[step], cuts[step]); };
    const auto crosses = [&](std::size_t t) {  // the gradient of tensor t
        return cuts[t - 1] != Cut::none || (t < n ? cuts[t] == Cut::wide : host_loss);
    };

    std::vector<Slot> tensors, gradients(n + 1);
    for (std::size_t t = 0; t <= n; ++t) {
        const std::int64_t size = tensor_size(ops, input, t);
        const bool by_piece = !memory_.training && static_cast<int>(t) < piece_steps_;
        const bool kept = t < batch_tensors || (t < n && late(t));
        tensors.push_back(memory_.book(kept ? Place::batch : by_piece ? Place::piece : Place::block, size));
    }
    input_ = tensors.front();
    output_ = tensors.back();

    if (options_.mode == Mode::train && first_trained < static_cast<int>(n)) {
        // [place][turn]: where, and floats a sample
        struct Turn {
            std::int64_t at = -1, stride = 0;
        } turns[3][2];
        std::vector<int> turn_of(n + 1, -1);
        std::vector<Place> places(n + 1, Place::block);
        int turn[3] = {0, 0, 0};
        for (std::size_t t = n; t > static_cast<std::size_t>(first_trained); --t) {
            if (cuts[t - 1] == Cut::wide || late(t - 1)) continue;
            places[t] = crosses(t)                           ? Place::batch
                        : static_cast<int>(t) < piece_steps_ ? Place::piece
                                                             : Place::block;
            const int p = static_cast<int>(places[t]);
            turn_of[t] = turn[p] ^= 1;
            std::int64_t& stride = turns[p][turn[p]].stride;
            stride = std::max(stride, Layout::stride(tensors[t].size));
        }
        for (int p = 0; p < 3; ++p)
            for (Turn& buffer : turns[p])
                if (buffer.stride > 0) buffer.at = memory_.book_samples(static_cast<Place>(p), buffer.stride);
        for (std::size_t t = n; t > static_cast<std::size_t>(first_trained); --t) {
            if (turn_of[t] < 0) {  // read again when the optimizer asks for the kernel's gradient
                gradients[t] = memory_.book(Place::batch, tensors[t].size);
                continue;
            }
            const Turn& buffer = turns[static_cast<int>(places[t])][turn_of[t]];
            gradients[t] = {places[t], buffer.at, buffer.stride, tensors[t].size};
        }
    }
    output_gradient_ = gradients[n];
    for (std::size_t i = 0; i < n; ++i) {
        const bool below = static_cast<int>(i) > first_trained;
        slots_.push_back({tensors[i], tensors[i + 1], below ? gradients[i] : Slot{}, gradients[i + 1]});
    }
}

void Plan::make_phases(int first_trained) {
    const int n = static_cast<int>(steps_.size());
    Phase phase;
    const auto end_phase = [&](int step, bool is_forward) {
        phase.sync_step = step;
        phase.sync_is_forward = is_forward;
        phases_.push_back(std::move(phase));
        phase = Phase{};
    };
    const auto wide_phase = [&](Act act, int step) {
        if (!phase.actions.empty()) end_phase(-1, true);
        phase.actions.push_back({act, step});
        end_phase(-1, true);
    };
    const int pieces = memory_.training ? 0 : piece_steps_;  // of the forward pass
    phase.actions.push_back({Act::read, -1, pieces > 0});
    for (int i = 0; i < n; ++i) {
        if (steps_[static_cast<std::size_t>(i)]->wide()) {
            phase.actions.push_back({Act::before_forward, i});
            wide_phase(Act::wide_forward, i);
            phase.actions.push_back({Act::forward, i});
            continue;
        }
        if (steps_[static_cast<std::size_t>(i)]->syncs()) {
            phase.actions.push_back({Act::before_forward, i});
            end_phase(i, true);
        }
        phase.actions.push_back({Act::forward, i, i < pieces});
    }
    if (has_loss()) phase.actions.push_back({Act::loss, -1});
    phase.actions.push_back({Act::output, -1});
    if (has_loss() && options_.loss.host) end_phase(kHostLoss, true);
    if (options_.mode == Mode::train)
        for (int i = n - 1; i >= first_trained; --i) {
            if (steps_[static_cast<std::size_t>(i)]->wide()) {
                phase.actions.push_back({Act::before_backward, i});
                wide_phase(Act::wide_backward, i);
                continue;
            }
            const Step& step = *steps_[static_cast<std::size_t>(i)];
            if (step.syncs() && !step.syncs_after_backward()) {
                phase.actions.push_back({Act::before_backward, i});
                end_phase(i, false);
            }
            phase.actions.push_back({Act::backward, i, i < piece_steps_});
            if (step.syncs_after_backward()) end_phase(i, false);
        }
    if (!phase.actions.empty()) phases_.push_back(std::move(phase));
}

// Runs of steps that are not worth dividing belong to the phase of the divided step behind them, or stand
// alone at the end.
void Plan::make_split_phases() {
    Phase phase;
    phase.actions.push_back({Act::read, -1});
    for (int i = 0; i < static_cast<int>(steps_.size()); ++i) {
        phase.parts = steps_[static_cast<std::size_t>(i)]->parts(options_.split);
        if (phase.parts > 1) {
            phase.split_step = i;
            phases_.push_back(std::move(phase));
            phase = Phase{};
        } else {
            phase.actions.push_back({Act::forward, i});
        }
    }
    phase.parts = 0;
    phase.actions.push_back({Act::output, -1});
    phases_.push_back(std::move(phase));
}

// Blocks whose first steps take turns are made equal, and a multiple of the threads: a few large ones would
// not divide evenly between them. Where a loss is summed over blocks, they may not depend on the threads.
std::int64_t Plan::block_for(std::int64_t count) const {
    if (memory_.training || piece_steps_ == 0 || count == 0) return memory_.block_size;
    const std::int64_t unit = has_loss() ? kEvaluationParts : threads_;
    const std::int64_t blocks = ceil_div(ceil_div(count, memory_.block_size), unit) * unit;
    const std::int64_t even = ceil_div(count, std::min(blocks, memory_.block_total));
    return std::min(memory_.block_size, ceil_div(even, memory_.piece_size) * memory_.piece_size);
}

std::int64_t Plan::active_lanes(std::int64_t count) const {
    return std::min(lane_count_, ceil_div(ceil_div(count, block_for(count)), blocks_per_lane_));
}

int Plan::threads_wanted(std::int64_t count) const {
    std::int64_t items = std::max<std::int64_t>(1, active_lanes(count));
    if (options_.split > 1)
        for (const Phase& phase : phases_) items = std::max(items, phase.parts);
    return static_cast<int>(std::min<std::int64_t>(thread_count(), items));
}

std::vector<StepInfo> Plan::infos() const {
    std::vector<StepInfo> infos;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        infos.push_back(steps_[i]->info());
        if (amx_declined_[i].empty()) continue;
        std::string& declined = infos.back().declined;
        declined = "amx: " + amx_declined_[i] + (declined.empty() ? "" : "; ") + declined;
    }
    return infos;
}

std::int64_t Plan::backward_flops(std::size_t step) const {
    if (!slots_[step].dy.booked()) return 0;
    return steps_[step]->info().flops * (slots_[step].dx.booked() ? 2 : 1);
}

std::int64_t Plan::context_bytes(int threads) const {
    const std::int64_t of_thread = thread_floats() + (packs_by_thread_ ? memory_.packed.size() : 0);
    const std::int64_t floats = threads * of_thread + memory_.batch.size() +
                                (options_.mode == Mode::train ? lane_count_ * memory_.lane.size() : 0);
    return floats * 4 + (has_loss() ? lane_count_ * totals_stride() * 8 : 0);
}

}  // namespace fastcnn
