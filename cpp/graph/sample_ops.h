// Operations that are functions of one sample, as the graph keeps them and as their kernels want them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/shape.h"
#include "kernels/api.h"

namespace fastcnn {

struct ElementwiseOp {
    Function kind;
    float a = 0.0f, b = 0.0f, c = 0.0f;
};

struct PermuteOp {
    std::vector<int> axes;  // axis i of the output is axis axes[i] of the input
};

// Taps of one axis of an image, owned.
class AxisMap {
  public:
    static AxisMap padded(std::int64_t in, std::int64_t before, std::int64_t after);  // negative: cut off
    static AxisMap repeated(std::int64_t in, std::int64_t times);
    // Linear interpolation between the centres of pixels, the outermost ones continued.
    static AxisMap interpolated(std::int64_t in, std::int64_t out);
    static AxisMap adaptive_mean(std::int64_t in, std::int64_t out);
    // Output o is the sum of inputs index[o][i] times weight[o][i]; weights of 0 are left out.
    static AxisMap given(std::int64_t in, const std::vector<std::vector<std::int64_t>>& index,
                         const std::vector<std::vector<double>>& weight);

    std::int64_t in() const { return in_; }
    std::int64_t out() const { return static_cast<std::int64_t>(begin_.size()) - 1; }
    std::int64_t taps_count() const { return static_cast<std::int64_t>(index_.size()); }
    AxisMap transposed() const;
    AxisTaps taps() const { return {begin_.data(), index_.data(), weight_.data()}; }

  private:
    explicit AxisMap(std::int64_t in) : in_(in), begin_{0} {}
    void tap(std::int64_t index, double weight);
    void end_output() { begin_.push_back(static_cast<std::int32_t>(index_.size())); }

    std::int64_t in_;
    std::vector<std::int32_t> begin_, index_;
    std::vector<float> weight_;
};

struct ResampleOp {
    AxisMap h, w;
};

struct AdaptiveMaxOp {
    AdaptiveMaxShape shape;
};

struct PReluOp {
    int alpha;
    Broadcast broadcast;
};

struct NormalizeOp {
    NormalizeKind kind;
    NormalizeShape shape;
    float epsilon;
    int gamma, beta;
};

struct NoiseOp {
    NoiseKind kind;
    float rate;
    std::uint64_t seed;
    Broadcast broadcast;
    bool shared;  // by all samples of a batch
};

// The identity, with each sample's l1 sum |x| + l2 sum x^2, averaged over the batch, added to the loss.
struct ActivityOp {
    float l1, l2;
};

// The kernel's arguments, with axes of size 1 left out and neighbours that stay together made one.
Permute permute_args(const Shape& in, const std::vector<int>& axes);
std::vector<int> inverse(const std::vector<int>& axes);

// `small` has the rank of `sample`, and 1 where it is broadcast. False: more than four axes are left when
// neighbours are joined.
bool broadcast_args(const Shape& sample, const Shape& small, Broadcast& broadcast);

}  // namespace fastcnn
