// A network as plain data: a chain of operations on one sample, with every shape inferred once, when it is
// appended.
//
// A chain and not a general graph: a Sequential model is one, and the plan's depth-first order rests on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/geometry.h"
#include "base/shape.h"
#include "graph/host_function.h"
#include "graph/image_ops.h"
#include "graph/sample_ops.h"

namespace fastcnn {

inline constexpr int kAbsent = -1;  // parameter index of a weight that a layer does not have

using Pair = std::pair<std::int64_t, std::int64_t>;

struct Conv2dOp {
    Window h, w;
    std::int64_t filters, groups;
    int kernel, bias;
};

struct PoolOp {
    bool average;
    Window h, w;
};

struct DenseOp {
    std::int64_t inputs, units;
    int kernel, bias;
};

enum class ActivationName { linear, relu, sigmoid, tanh, softmax, log_softmax };

// Needs a whole row.
inline bool is_softmax(ActivationName name) {
    return name == ActivationName::softmax || name == ActivationName::log_softmax;
}

struct ActivationOp {
    ActivationName name;
};

struct ReshapeOp {};

struct DropoutOp {
    float rate;
    std::uint64_t seed;
};

struct BatchNormOp {
    int gamma, beta, moving_mean, moving_variance;
    float momentum, epsilon;
    bool frozen;  // uses its moving statistics while training too
};

// The convolution that this one is the transpose of: h.in and w.in are the sizes of the output here.
struct Conv2dTransposeOp {
    Window h, w;
    std::int64_t filters;
    int kernel, bias;
};

// A layer that the engine does not compute: it takes the whole batch at once.
struct HostOp {
    std::shared_ptr<HostFunction> function;
    std::vector<int> parameters;
};

using Op = std::variant<Conv2dOp, PoolOp, DenseOp, ActivationOp, ReshapeOp, DropoutOp, BatchNormOp,
                        Conv2dTransposeOp, ElementwiseOp, PermuteOp, ResampleOp, AdaptiveMaxOp, PReluOp,
                        NormalizeOp, NoiseOp, ActivityOp, HostOp, ScaleOp, WarpOp, RecolorOp, EraseOp>;

struct Node {
    std::string layer;  // name of the layer that appended it
    Op op;
    Shape in, out;
    bool bfloat16 = false;  // its arrays and weights may be rounded to bfloat16
};

// Shape that parameter `index` must have, as some node needs it.
struct ParameterUse {
    std::string layer, role;
    int index;
    Shape shape;
};

// Every append checks its arguments and throws Error, leaving the graph as it was.
class Graph {
  public:
    explicit Graph(Shape input_shape);

    const Shape& input_shape() const { return input_; }
    const Shape& output_shape() const { return nodes_.empty() ? input_ : nodes_.back().out; }
    const std::vector<Node>& nodes() const { return nodes_; }
    const std::vector<ParameterUse>& uses() const { return uses_; }
    // Of the operations that are appended from now on.
    void set_bfloat16(bool allowed) { bfloat16_ = allowed; }
    bool bfloat16() const { return bfloat16_; }

    const Shape& conv2d(const std::string& layer, std::int64_t filters, Pair kernel_size, Pair strides,
                        Padding padding, Pair dilation_rate, std::int64_t groups, int kernel, int bias);
    const Shape& pool2d(const std::string& layer, bool average, Pair pool_size, Pair strides,
                        Padding padding);
    // Rows and columns before and after the image, fewer than the window has: padding counts neither way.
    const Shape& padded_pool2d(const std::string& layer, bool average, Pair pool_size, Pair strides,
                               Pair height, Pair width);
    const Shape& global_pool2d(const std::string& layer, bool average, bool keepdims);
    const Shape& dense(const std::string& layer, std::int64_t units, int kernel, int bias);
    const Shape& activation(const std::string& layer, ActivationName name);
    const Shape& reshape(const std::string& layer, Shape target);
    const Shape& dropout(const std::string& layer, float rate, std::uint64_t seed);
    const Shape& batch_norm(const std::string& layer, int gamma, int beta, int moving_mean,
                            int moving_variance, float momentum, float epsilon, bool frozen);

    // The kernel's shape is (kernel height, kernel width, channels, depth_multiplier).
    const Shape& depthwise_conv2d(const std::string& layer, std::int64_t depth_multiplier, Pair kernel_size,
                                  Pair strides, Padding padding, Pair dilation_rate, int kernel, int bias);
    // The kernel's shape is (kernel height, kernel width, filters, channels). output_padding: -1 for none.
    const Shape& conv2d_transpose(const std::string& layer, std::int64_t filters, Pair kernel_size,
                                  Pair strides, Padding padding, Pair output_padding, Pair dilation_rate,
                                  int kernel, int bias);
    const Shape& elementwise(const std::string& layer, const ElementwiseOp& op);
    // Axis i of the output is axis axes[i] of the input.
    const Shape& permute(const std::string& layer, std::vector<int> axes);
    // Rows or columns before and after; negative: cut off.
    const Shape& pad2d(const std::string& layer, Pair height, Pair width);
    const Shape& upsample2d(const std::string& layer, Pair size, bool bilinear);
    const Shape& adaptive_pool2d(const std::string& layer, bool average, Pair output_size);
    // alpha: of the input's shape, 1 along shared axes.
    const Shape& prelu(const std::string& layer, const Shape& alpha_shape, int alpha);
    // Over the last `axes` axes together, each of which has its gamma and beta.
    const Shape& normalize(const std::string& layer, NormalizeKind kind, int axes, float epsilon, int gamma,
                           int beta);
    // Over all axes, in groups of channels.
    const Shape& group_norm(const std::string& layer, std::int64_t groups, float epsilon, int gamma,
                            int beta);
    // noise_shape: of the input's shape, 1 where one number serves the whole axis.
    const Shape& noise(const std::string& layer, NoiseKind kind, float rate, std::uint64_t seed,
                       const Shape& noise_shape, bool shared);
    const Shape& activity(const std::string& layer, float l1, float l2);
    // shape: the input's, 1 where one number of a and b serves the whole axis; parameter_shape: the same
    // numbers' shape in parameters a and b, where they are parameters.
    const Shape& scale(const std::string& layer, ScaleOp op, const Shape& shape,
                       const Shape& parameter_shape);
    const Shape& resample2d(const std::string& layer, AxisMap height, AxisMap width);
    // The sizes are filled in: those of the output are the input's, but for a crop.
    const Shape& warp(const std::string& layer, WarpOp op, Pair output_size);
    const Shape& recolor(const std::string& layer, RecolorOp op);
    const Shape& erase(const std::string& layer, EraseOp op);
    const Shape& host(const std::string& layer, std::shared_ptr<HostFunction> function, Shape out,
                      std::vector<int> parameters);

  private:
    const Shape& append(const std::string& layer, Op op, Shape out);
    void use(const std::string& layer, const char* role, int index, Shape shape);

    Shape input_;
    bool bfloat16_ = false;
    std::vector<Node> nodes_;
    std::vector<ParameterUse> uses_;
};

}  // namespace fastcnn
