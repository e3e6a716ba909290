// A step of a plan: one or several fused operations, with the kernels chosen and the memory booked when it is
// made.
//
// A plan runs phase by phase. Within a phase each block of samples goes through all the phase's actions
// before the next block starts (depth first). A step whose result needs the whole batch (batch normalisation
// while training) splits its work into actions of two phases with a sync action between them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/team.h"
#include "engine/arrays.h"
#include "engine/parameters.h"
#include "kernels/dispatch.h"

namespace fastcnn {

// Where an array lives: in the memory of the thread that works on a block, for all of its samples or for the
// piece of it that passes through a few steps at a time, or in the memory of the whole batch.
enum class Place { block, piece, batch };

// An array with one entry of `stride` floats for each sample of the block or of the batch.
struct Slot {
    Place place = Place::block;
    std::int64_t offset = -1, stride = 0, size = 0;
    bool booked() const { return offset >= 0; }
};

// a / b rounded up, for a >= 0.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Floating-point operations that a part of a divided step should have at the least, 1 to 2 us: a phase costs
// up to 0.5 us.
inline constexpr std::int64_t kPartFlops = 160 * 1024;
// Parts of a wide step for each thread.
inline constexpr int kWidePartsPerThread = 4;
// Parts of a step at most: more threads would spend their time between phases.
inline constexpr int kMaxParts = 8;

// How explain() tells that a step is late: see Step.
inline constexpr const char* kLateGradient = ", gradient with the update";

// Elements of a parameter that are updated together: with gradient and two slots 32 KB.
inline constexpr std::int64_t kUpdatedAtOnce = 2048;

// A parameter's gradient: in each lane, or produced.
struct GradientSlot {
    int parameter = -1;
    std::int64_t offset = 0, size = 0;
    // The lane holds the gradient's matrix (rows, columns) as (columns, rows); 0: in the parameter's own
    // order.
    std::int64_t rows = 0, columns = 0;
    // Number of the wide or late step that computes the gradient when the optimizer asks for it; -1: it lies
    // in the lanes.
    int producer = -1;
    std::int64_t rows_at_once = 0;  // that the producer is asked for
};

// What one call of a step sees.
struct BlockRun {
    float* block = nullptr;    // memory of this thread's block
    float* batch = nullptr;    // memory of the whole batch
    float* scratch = nullptr;  // memory of this thread, nothing kept
    const float* packed = nullptr;
    // Instead of the parameters, with weights from pack_weights(): the kernel as it was given, and its bias.
    const float* kernel = nullptr;
    const float* bias = nullptr;
    float* lane = nullptr;    // gradient lane
    bool accumulate = false;  // the lane holds something already
    std::int64_t first = 0;   // first sample in the batch
    std::int64_t within = 0;  // first sample in the block
    std::int64_t count = 0;   // samples
    std::int64_t index = 0;   // number of the block in the batch
    std::int64_t batch_count = 0;
    std::uint32_t step = 0;  // of the optimizer: the random numbers' counter

    float* at(const Slot& slot) const {
        if (slot.place == Place::batch) return batch + slot.offset + first * slot.stride;
        return block + slot.offset + (slot.place == Place::block ? within * slot.stride : 0);
    }
};

// What a sync action sees.
struct SyncRun {
    float* batch = nullptr;
    float* lanes = nullptr;
    std::int64_t lane_stride = 0, lane_count = 0;
    std::int64_t block_size = 0, batch_count = 0;
    bool update_statistics = true;
};

struct StepInfo {
    std::string layers, operation, kernel, declined;
    Isa isa = Isa::baseline;
    Shape output_shape;
    std::int64_t flops = 0;  // of a sample's forward pass
    std::int64_t activation_floats = 0, scratch_floats = 0, packed_floats = 0;
};

// What a step books while the plan is made.
struct PlanMemory {
    bool training = false;
    std::int64_t block_size = 1;  // samples
    std::int64_t piece_size = 1;  // samples, at most block_size
    // Samples of a block where nothing but batch and network limit it. Kernels are chosen for these:
    // block_size may depend on the number of threads, and the choice of a kernel may change a result's last
    // bits.
    std::int64_t chosen_for = 1;
    std::int64_t batch_size = 1;
    std::int64_t block_total = 1;  // blocks of a full batch
    Layout block, batch, packed, lane;
    std::int64_t scratch = 0;
    std::int64_t gradient_at_once = 0;  // floats of a gradient that are summed, or produced, and then used
    std::vector<GradientSlot> gradients;

    // Room for `stride` floats a sample.
    std::int64_t book_samples(Place place, std::int64_t stride) {
        if (place == Place::batch) return batch.book(stride * block_total * block_size);
        return block.book(stride * (place == Place::block ? block_size : piece_size));
    }
    // An array that no other step touches, of `floats` a sample.
    Slot book(Place place, std::int64_t floats) {
        Slot slot{place, 0, Layout::stride(floats), floats};
        slot.offset = book_samples(place, slot.stride);
        return slot;
    }
    // In training the weights are packed once a step, for all of its blocks.
    Packing packing() const { return {training ? 1.0 / static_cast<double>(block_total) : 0.0}; }
    void need_scratch(std::int64_t floats) { scratch = scratch > floats ? scratch : floats; }
    // A gradient of (rows, columns) that step `producer` computes for the optimizer, a few rows at a time: a
    // multiple of `unit`.
    void produced_gradient(int parameter, std::int64_t rows, std::int64_t columns, int producer,
                           std::int64_t unit) {
        const std::int64_t rows_at_once = ceil_div(std::max(unit, kUpdatedAtOnce / columns), unit) * unit;
        gradients.push_back({parameter, 0, rows * columns, rows, columns, producer, rows_at_once});
        gradient_at_once = std::max(gradient_at_once, rows_at_once * columns);
    }
    std::int64_t gradient(int parameter, std::int64_t size, std::int64_t rows = 0, std::int64_t columns = 0) {
        const std::int64_t offset = lane.book(size);
        gradients.push_back({parameter, offset, size, rows, columns});
        gradient_at_once = std::max(gradient_at_once, std::min(size, std::max(kUpdatedAtOnce, columns)));
        return offset;
    }
};

// The arrays between steps that a step reads and writes. dx: not booked where nothing below is trained; dy
// and dx may share no memory.
struct StepSlots {
    Slot x, y, dx, dy;
};

class Step {
  public:
    virtual ~Step() = default;

    // Packs the weights the step uses into `packed`; part of parts, called by every worker.
    virtual void pack(float* /*packed*/, int /*part*/, int /*parts*/) const {}
    // Convolution and dense steps: the same for other weights of the kernel's shape. They and their bias are
    // BlockRun's.
    virtual void pack_weights(const float* /*kernel*/, float* /*packed*/, int /*part*/, int /*parts*/) const {
    }
    virtual void forward(const BlockRun& run) const = 0;
    // Pieces, at most `limit`, that a forward pass of one sample is worth dividing into, each on its own
    // thread (the block's memory is shared then, scratch is not). Bits do not depend on them.
    virtual std::int64_t parts(std::int64_t /*limit*/) const { return 1; }
    virtual void forward_part(const BlockRun&, std::int64_t /*part*/, std::int64_t /*parts*/) const {}
    virtual void backward(const BlockRun&) const {}

    // Sync steps: statistics of a block before its forward pass, and of the gradient before its backward
    // pass; then once for the whole batch.
    virtual bool syncs() const { return false; }
    // A sync step whose backward pass asks for no sums before it, but for one sync when all blocks are
    // through.
    virtual bool syncs_after_backward() const { return false; }
    virtual void before_forward(const BlockRun&) const {}
    virtual void sync_forward(const SyncRun&) const {}
    virtual void before_backward(const BlockRun&) const {}
    virtual void sync_backward(const SyncRun&) const {}

    // Wide steps: weights too large for L2 would be streamed again for every block, so the whole batch goes
    // through at once, part `part` of `parts` of the outputs by each worker (`run` spans the batch).
    // before_forward() and before_backward() still see blocks. The kernel's gradient is never stored: the
    // optimizer asks produce_gradient() for a few rows at a time, while x and dy are at hand.
    virtual bool wide() const { return false; }
    virtual void wide_forward(const BlockRun&, int /*part*/, int /*parts*/) const {}
    virtual void wide_backward(const BlockRun&, int /*part*/, int /*parts*/) const {}
    // Wide steps, and those that are late: smaller layers whose x and dy are kept for the batch, since they
    // are fewer than a gradient in each lane.
    virtual void produce_gradient(const BlockRun&, std::int64_t /*first_row*/, std::int64_t /*last_row*/,
                                  float* /*of these rows*/) const {}

    // The sum over these samples of what the step adds to their loss, where it `penalises`.
    virtual bool penalises() const { return false; }
    virtual double penalty(const BlockRun&) const { return 0.0; }

    virtual StepInfo info() const = 0;
};

}  // namespace fastcnn
