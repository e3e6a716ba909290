// Shape inference of the operations in sample_ops.h and of the transposed convolution.
#include <algorithm>

#include "base/check.h"
#include "graph/graph.h"
#include "graph/require.h"

namespace fastcnn {

const Shape& Graph::elementwise(const std::string& layer, const ElementwiseOp& op) {
    return append(layer, op, Shape(output_shape()));
}

const Shape& Graph::permute(const std::string& layer, std::vector<int> axes) {
    const Shape& in = output_shape();
    std::vector<int> sorted = axes;
    std::sort(sorted.begin(), sorted.end());
    bool all = sorted.size() == in.size();
    for (std::size_t i = 0; all && i < sorted.size(); ++i) all = sorted[i] == static_cast<int>(i);
    require(all, layer, ": dims: expected every axis of ", to_string(in), " once, received ",
            to_string(Shape(axes.begin(), axes.end())));
    require(in.size() <= kMaxRank, layer, ": input: expected at most ", kMaxRank, " axes, received ",
            to_string(in));
    Shape out;
    for (const int axis : axes) out.push_back(in[static_cast<std::size_t>(axis)]);
    return append(layer, PermuteOp{std::move(axes)}, std::move(out));
}

const Shape& Graph::pad2d(const std::string& layer, Pair height, Pair width) {
    const Image in = require_image(layer, output_shape());
    const Pair out{in.height + height.first + height.second, in.width + width.first + width.second};
    require(out.first > 0 && out.second > 0, layer, ": cropping: expected something to be left of ",
            to_string(output_shape()), ", received ", text(height), " and ", text(width));
    require_positive(layer, "output", out);
    return append(layer,
                  ResampleOp{AxisMap::padded(in.height, height.first, height.second),
                             AxisMap::padded(in.width, width.first, width.second)},
                  {out.first, out.second, in.channels});
}

const Shape& Graph::upsample2d(const std::string& layer, Pair size, bool bilinear) {
    const Image in = require_image(layer, output_shape());
    require_positive(layer, "size", size);
    require_size(layer, {in.height, size.first, in.width, size.second});
    const Pair out{in.height * size.first, in.width * size.second};
    if (bilinear)
        return append(layer,
                      ResampleOp{AxisMap::interpolated(in.height, out.first),
                                 AxisMap::interpolated(in.width, out.second)},
                      {out.first, out.second, in.channels});
    return append(
        layer, ResampleOp{AxisMap::repeated(in.height, size.first), AxisMap::repeated(in.width, size.second)},
        {out.first, out.second, in.channels});
}

const Shape& Graph::adaptive_pool2d(const std::string& layer, bool average, Pair output_size) {
    const Image in = require_image(layer, output_shape());
    require_positive(layer, "output_size", output_size);
    const Shape out = {output_size.first, output_size.second, in.channels};
    require_size(layer, out);
    if (!average)
        return append(
            layer, AdaptiveMaxOp{{in.height, in.width, output_size.first, output_size.second, in.channels}},
            out);
    return append(layer,
                  ResampleOp{AxisMap::adaptive_mean(in.height, output_size.first),
                             AxisMap::adaptive_mean(in.width, output_size.second)},
                  out);
}

const Shape& Graph::prelu(const std::string& layer, const Shape& alpha_shape, int alpha) {
    const Shape& in = output_shape();
    bool fits = alpha_shape.size() == in.size();
    for (std::size_t i = 0; fits && i < in.size(); ++i) fits = alpha_shape[i] == in[i] || alpha_shape[i] == 1;
    Broadcast broadcast;
    require(alpha != kAbsent && fits && broadcast_args(in, alpha_shape, broadcast), layer,
            ": alpha: expected the shape of the input ", to_string(in), " or 1 along shared axes, received ",
            to_string(alpha_shape));
    append(layer, PReluOp{alpha, broadcast}, Shape(in));
    use(layer, "alpha", alpha, alpha_shape);
    return output_shape();
}

const Shape& Graph::normalize(const std::string& layer, NormalizeKind kind, int axes, float epsilon,
                              int gamma, int beta) {
    const Shape& in = output_shape();
    require(axes > 0 && axes <= static_cast<int>(in.size()), layer, ": axis: expected axes of the input ",
            to_string(in), ", received the last ", axes);
    const Shape normalized(in.end() - axes, in.end());
    NormalizeShape shape;
    shape.channels = size_of(normalized);
    shape.outer = size_of(in) / shape.channels;
    append(layer, NormalizeOp{kind, shape, epsilon, gamma, beta}, Shape(in));
    use(layer, "gamma", gamma, normalized);
    use(layer, "beta", beta, normalized);
    return output_shape();
}

const Shape& Graph::group_norm(const std::string& layer, std::int64_t groups, float epsilon, int gamma,
                               int beta) {
    const Shape& in = output_shape();
    const std::int64_t channels = in.back();
    require(groups > 0 && channels % groups == 0, layer, ": groups: expected a divisor of the input's ",
            channels, " channels, received ", groups);
    const NormalizeShape shape{1, size_of(in) / channels, groups, channels / groups};
    append(layer, NormalizeOp{NormalizeKind::standard, shape, epsilon, gamma, beta}, Shape(in));
    use(layer, "gamma", gamma, {channels});
    use(layer, "beta", beta, {channels});
    return output_shape();
}

const Shape& Graph::noise(const std::string& layer, NoiseKind kind, float rate, std::uint64_t seed,
                          const Shape& noise_shape, bool shared) {
    const Shape& in = output_shape();
    bool fits = noise_shape.size() == in.size();
    for (std::size_t i = 0; fits && i < in.size(); ++i) fits = noise_shape[i] == in[i] || noise_shape[i] == 1;
    Broadcast broadcast;
    require(fits && broadcast_args(in, noise_shape, broadcast), layer,
            ": noise_shape: expected the shape of the input ", to_string(in),
            " or 1 along some axes, received ", to_string(noise_shape));
    return append(layer, NoiseOp{kind, rate, seed, broadcast, shared}, Shape(in));
}

const Shape& Graph::activity(const std::string& layer, float l1, float l2) {
    return append(layer, ActivityOp{l1, l2}, Shape(output_shape()));
}

const Shape& Graph::host(const std::string& layer, std::shared_ptr<HostFunction> function, Shape out,
                         std::vector<int> parameters) {
    require(!out.empty(), layer, ": call: expected a result with an axis besides the batch, received none");
    return append(layer, HostOp{std::move(function), std::move(parameters)}, std::move(out));
}

namespace {

// The window of the convolution whose gradient this is: from the larger output to the smaller input. Padding
// as in TensorFlow and JAX.
Window transposed_window(std::int64_t in, std::int64_t size, std::int64_t stride, std::int64_t dilation,
                         Padding padding, std::int64_t output_padding) {
    Window w{size, stride, dilation, 0, in, 0};
    const std::int64_t extent = w.extent();
    if (padding == Padding::valid) {
        const std::int64_t extra = output_padding < 0 ? std::max(extent, stride) - extent : output_padding;
        w.in = (in - 1) * stride + extent + extra;
        return w;
    }
    const std::int64_t around =
        output_padding < 0 ? stride + extent - 2 : extent + extent % 2 - 2 + output_padding;
    w.pad = extent - 1 - std::min(around / 2 + around % 2, extent - 1);
    w.in = output_padding < 0 ? in * stride : (in - 1) * stride + extent % 2 + output_padding;
    return w;
}

}  // namespace

const Shape& Graph::conv2d_transpose(const std::string& layer, std::int64_t filters, Pair kernel_size,
                                     Pair strides, Padding padding, Pair output_padding, Pair dilation,
                                     int kernel, int bias) {
    const Image in = require_image(layer, output_shape());
    require(filters > 0, layer, ": filters: expected a positive integer, received ", filters);
    require_positive(layer, "kernel_size", kernel_size);
    require_positive(layer, "strides", strides);
    require_positive(layer, "dilation_rate", dilation);
    require(kernel != kAbsent, layer, ": kernel: expected a parameter, received none");
    require_size(layer, {in.height, in.width, strides.first, strides.second,
                         kernel_size.first * dilation.first, kernel_size.second * dilation.second});
    const Window h = transposed_window(in.height, kernel_size.first, strides.first, dilation.first, padding,
                                       output_padding.first);
    const Window w = transposed_window(in.width, kernel_size.second, strides.second, dilation.second, padding,
                                       output_padding.second);
    require(output_padding.first < strides.first && output_padding.second < strides.second, layer,
            ": output_padding: expected integers below strides = ", text(strides), ", received ",
            text(output_padding));
    require_fits(layer, Window{.out = h.in}, Window{.out = w.in}, "kernel", kernel_size, output_shape());
    append(layer, Conv2dTransposeOp{h, w, filters, kernel, bias}, {h.in, w.in, filters});
    use(layer, "kernel", kernel, {kernel_size.first, kernel_size.second, filters, in.channels});
    use(layer, "bias", bias, {filters});
    return output_shape();
}

}  // namespace fastcnn
