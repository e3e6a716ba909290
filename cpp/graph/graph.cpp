#include "graph/graph.h"

#include "base/check.h"
#include "graph/require.h"

namespace fastcnn {

Graph::Graph(Shape input_shape) : input_(std::move(input_shape)) {
    require(!input_.empty(), "Input: shape: expected at least one dimension besides the batch, received ()");
    require_size("Input", input_);
}

const Shape& Graph::append(const std::string& layer, Op op, Shape out) {
    require_size(layer, out);
    nodes_.push_back({layer, std::move(op), output_shape(), std::move(out), bfloat16_});
    return nodes_.back().out;
}

void Graph::use(const std::string& layer, const char* role, int index, Shape shape) {
    if (index != kAbsent) uses_.push_back({layer, role, index, std::move(shape)});
}

const Shape& Graph::conv2d(const std::string& layer, std::int64_t filters, Pair kernel_size, Pair strides,
                           Padding padding, Pair dilation, std::int64_t groups, int kernel, int bias) {
    const Image in = require_image(layer, output_shape());
    require(filters > 0, layer, ": filters: expected a positive integer, received ", filters);
    require_positive(layer, "kernel_size", kernel_size);
    require_positive(layer, "strides", strides);
    require_positive(layer, "dilation_rate", dilation);
    require(kernel != kAbsent, layer, ": kernel: expected a parameter, received none");
    require(groups > 0 && in.channels % groups == 0, layer, ": groups: expected a divisor of the input's ",
            in.channels, " channels, received ", groups);
    require(filters % groups == 0, layer, ": groups: expected a divisor of filters = ", filters,
            ", received ", groups);
    const Window h = window(in.height, kernel_size.first, strides.first, dilation.first, padding);
    const Window w = window(in.width, kernel_size.second, strides.second, dilation.second, padding);
    require_fits(layer, h, w, "kernel", kernel_size, output_shape());
    const Shape& out = append(layer, Conv2dOp{h, w, filters, groups, kernel, bias}, {h.out, w.out, filters});
    use(layer, "kernel", kernel, {kernel_size.first, kernel_size.second, in.channels / groups, filters});
    use(layer, "bias", bias, {filters});
    return out;
}

// A convolution of as many groups as channels: its kernel (h, w, 1, channels * multiplier) is the same array.
const Shape& Graph::depthwise_conv2d(const std::string& layer, std::int64_t depth_multiplier,
                                     Pair kernel_size, Pair strides, Padding padding, Pair dilation,
                                     int kernel, int bias) {
    const Image in = require_image(layer, output_shape());
    require(depth_multiplier > 0 && depth_multiplier <= kMaxSize / in.channels, layer,
            ": depth_multiplier: expected a positive integer, received ", depth_multiplier);
    conv2d(layer, in.channels * depth_multiplier, kernel_size, strides, padding, dilation, in.channels,
           kernel, bias);
    for (ParameterUse& of : uses_)
        if (of.index == kernel)
            of.shape = {kernel_size.first, kernel_size.second, in.channels, depth_multiplier};
    return output_shape();
}

const Shape& Graph::pool2d(const std::string& layer, bool average, Pair pool_size, Pair strides,
                           Padding padding) {
    const Image in = require_image(layer, output_shape());
    require_positive(layer, "pool_size", pool_size);
    require_positive(layer, "strides", strides);
    const Window h = window(in.height, pool_size.first, strides.first, 1, padding);
    const Window w = window(in.width, pool_size.second, strides.second, 1, padding);
    require_fits(layer, h, w, "pooling window", pool_size, output_shape());
    return append(layer, PoolOp{average, h, w}, {h.out, w.out, in.channels});
}

const Shape& Graph::padded_pool2d(const std::string& layer, bool average, Pair pool_size, Pair strides,
                                  Pair height, Pair width) {
    const Image in = require_image(layer, output_shape());
    require_positive(layer, "pool_size", pool_size);
    require_positive(layer, "strides", strides);
    const auto fits = [](Pair pad, std::int64_t size) {
        return pad.first >= 0 && pad.second >= 0 && pad.first < size && pad.second < size;
    };
    require(fits(height, pool_size.first) && fits(width, pool_size.second), layer,
            ": padding: expected non-negative integers below pool_size = ", text(pool_size), ", received ",
            text(height), " and ", text(width));
    const Window h = padded_window(in.height, pool_size.first, strides.first, height.first, height.second);
    const Window w = padded_window(in.width, pool_size.second, strides.second, width.first, width.second);
    require_fits(layer, h, w, "pooling window", pool_size, output_shape());
    return append(layer, PoolOp{average, h, w}, {h.out, w.out, in.channels});
}

const Shape& Graph::global_pool2d(const std::string& layer, bool average, bool keepdims) {
    const Image in = require_image(layer, output_shape());
    const Window h = window(in.height, in.height, 1, 1, Padding::valid);
    const Window w = window(in.width, in.width, 1, 1, Padding::valid);
    return append(layer, PoolOp{average, h, w}, keepdims ? Shape{1, 1, in.channels} : Shape{in.channels});
}

const Shape& Graph::dense(const std::string& layer, std::int64_t units, int kernel, int bias) {
    require(units > 0, layer, ": units: expected a positive integer, received ", units);
    require(kernel != kAbsent, layer, ": kernel: expected a parameter, received none");
    Shape out = output_shape();
    const std::int64_t inputs = out.back();
    out.back() = units;
    append(layer, DenseOp{inputs, units, kernel, bias}, std::move(out));
    use(layer, "kernel", kernel, {inputs, units});
    use(layer, "bias", bias, {units});
    return output_shape();
}

const Shape& Graph::activation(const std::string& layer, ActivationName name) {
    return append(layer, ActivationOp{name}, Shape(output_shape()));
}

const Shape& Graph::reshape(const std::string& layer, Shape target) {
    const std::int64_t size = size_of(output_shape());
    std::int64_t known = 1;
    int unknown = -1;
    for (std::size_t i = 0; i < target.size(); ++i) {
        if (target[i] == -1 && unknown < 0) {
            unknown = static_cast<int>(i);
            continue;
        }
        require(target[i] > 0 && target[i] <= kMaxSize / known, layer,
                ": target_shape: expected positive dimensions and at most one -1, received ",
                to_string(target));
        known *= target[i];
    }
    const bool fits = unknown < 0 ? known == size : size % known == 0;
    require(fits && !target.empty(), layer, ": target_shape: expected ", size, " elements as in the input ",
            to_string(output_shape()), ", received ", to_string(target));
    if (unknown >= 0) target[static_cast<std::size_t>(unknown)] = size / known;
    return append(layer, ReshapeOp{}, std::move(target));
}

const Shape& Graph::dropout(const std::string& layer, float rate, std::uint64_t seed) {
    require(rate >= 0.0f && rate <= 1.0f, layer, ": rate: expected a number in [0, 1], received ", rate);
    return append(layer, DropoutOp{rate, seed}, Shape(output_shape()));
}

const Shape& Graph::batch_norm(const std::string& layer, int gamma, int beta, int moving_mean,
                               int moving_variance, float momentum, float epsilon, bool frozen) {
    require(moving_mean != kAbsent && moving_variance != kAbsent, layer,
            ": moving statistics: expected parameters, received none");
    const std::int64_t channels = output_shape().back();
    const Shape& out =
        append(layer, BatchNormOp{gamma, beta, moving_mean, moving_variance, momentum, epsilon, frozen},
               Shape(output_shape()));
    use(layer, "gamma", gamma, {channels});
    use(layer, "beta", beta, {channels});
    use(layer, "moving_mean", moving_mean, {channels});
    use(layer, "moving_variance", moving_variance, {channels});
    return out;
}

}  // namespace fastcnn
