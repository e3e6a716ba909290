// Layers, losses, penalties and constraints that are computed outside of the engine, by a program in another
// language.
#pragma once

#include <cstdint>
#include <vector>

#include "base/shape.h"

namespace fastcnn {

// A batch; sample s of an array `a` is at a + s * a_stride. Backward only: dy, dx (null: not wanted) and a
// gradient for each of the layer's parameters (null: not wanted), all to be overwritten.
struct HostBatch {
    std::int64_t count = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    std::vector<float*> gradients;
};

// Called by any thread, between two phases of a plan, and never throws: where it fails it keeps the error.
class HostFunction {
  public:
    virtual ~HostFunction() = default;
    virtual void forward(const HostBatch& batch, bool training) noexcept = 0;
    virtual void backward(const HostBatch& batch) noexcept = 0;
    virtual bool failed() const noexcept = 0;
    // Throws the error that was kept, once.
    virtual void rethrow() = 0;
};

// A batch of predictions, strided as above, and its labels and weights, rows of whole arrays.
struct HostLossBatch {
    std::int64_t count = 0;
    const float* prediction = nullptr;
    std::int64_t prediction_stride = 0;
    const float* labels = nullptr;  // row r at labels + r * label_size
    std::int64_t label_size = 0;
    const Shape* label_shape = nullptr;
    const float* weight = nullptr;          // by row, or null
    const std::int64_t* indices = nullptr;  // rows of this batch; null: first, first + 1, ...
    std::int64_t first = 0;
    float* grad = nullptr;  // of the loss by the predictions, to be overwritten; null: not wanted
    std::int64_t grad_stride = 0;
};

// Called as a HostFunction is.
class HostLoss {
  public:
    virtual ~HostLoss() = default;
    // The batch's loss, reduced.
    virtual double run(const HostLossBatch& batch) noexcept = 0;
    virtual bool failed() const noexcept = 0;
    virtual void rethrow() = 0;
};

// A penalty or a constraint on one parameter, called as a HostFunction is.
class HostWeights {
  public:
    virtual ~HostWeights() = default;
    // The penalty; its gradient is written to `gradient` (null: not wanted).
    virtual double penalty(const float* values, float* gradient) noexcept = 0;
    // Replaces the values by those that are allowed.
    virtual void constrain(float* values) noexcept = 0;
    virtual bool failed() const noexcept = 0;
    virtual void rethrow() = 0;
};

}  // namespace fastcnn
