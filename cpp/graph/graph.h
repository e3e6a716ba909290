// A network as plain data: a chain of operations on one sample, with every shape inferred once, when it is
// appended.
//
// A chain and not a general graph: a Sequential model is one, and the plan's depth-first order rests on it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/geometry.h"
#include "base/shape.h"

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

enum class ActivationName { linear, relu, sigmoid, tanh, softmax };

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

using Op = std::variant<Conv2dOp, PoolOp, DenseOp, ActivationOp, ReshapeOp, DropoutOp, BatchNormOp>;

struct Node {
    std::string layer;  // name of the layer that appended it
    Op op;
    Shape in, out;
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

    const Shape& conv2d(const std::string& layer, std::int64_t filters, Pair kernel_size, Pair strides,
                        Padding padding, Pair dilation_rate, std::int64_t groups, int kernel, int bias);
    const Shape& pool2d(const std::string& layer, bool average, Pair pool_size, Pair strides,
                        Padding padding);
    const Shape& global_pool2d(const std::string& layer, bool average, bool keepdims);
    const Shape& dense(const std::string& layer, std::int64_t units, int kernel, int bias);
    const Shape& activation(const std::string& layer, ActivationName name);
    const Shape& reshape(const std::string& layer, Shape target);
    const Shape& dropout(const std::string& layer, float rate, std::uint64_t seed);
    const Shape& batch_norm(const std::string& layer, int gamma, int beta, int moving_mean,
                            int moving_variance, float momentum, float epsilon, bool frozen);

  private:
    const Shape& append(const std::string& layer, Op op, Shape out);
    void use(const std::string& layer, const char* role, int index, Shape shape);

    Shape input_;
    std::vector<Node> nodes_;
    std::vector<ParameterUse> uses_;
};

}  // namespace fastcnn
