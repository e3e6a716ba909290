// Shape inference of the operations in image_ops.h.
#include "base/check.h"
#include "graph/graph.h"
#include "graph/require.h"

namespace fastcnn {

const Shape& Graph::scale(const std::string& layer, ScaleOp op, const Shape& shape,
                          const Shape& parameter_shape) {
    const Shape& in = output_shape();
    bool fits = shape.size() == in.size();
    for (std::size_t i = 0; fits && i < in.size(); ++i) fits = shape[i] == in[i] || shape[i] == 1;
    require(fits && broadcast_args(in, shape, op.broadcast), layer,
            ": scale: expected the shape of the input ", to_string(in), " or 1 along shared axes, received ",
            to_string(shape));
    const std::size_t size = static_cast<std::size_t>(op.broadcast.size);
    require(op.a != kAbsent || op.a_values.size() == size, layer, ": scale: expected ", size,
            " numbers, received ", op.a_values.size());
    require(op.b != kAbsent || op.b_values.size() == size, layer, ": offset: expected ", size,
            " numbers, received ", op.b_values.size());
    require((op.a == kAbsent && op.b == kAbsent) || size_of(parameter_shape) == op.broadcast.size, layer,
            ": mean: expected ", size, " numbers, received shape ", to_string(parameter_shape));
    op.shape = shape;
    const int a = op.a, b = op.b;
    append(layer, std::move(op), Shape(in));
    use(layer, "mean", a, parameter_shape);
    use(layer, "variance", b, parameter_shape);
    return output_shape();
}

const Shape& Graph::resample2d(const std::string& layer, AxisMap height, AxisMap width) {
    const Image in = require_image(layer, output_shape());
    require(height.in() == in.height && width.in() == in.width, layer, ": taps: expected those of ",
            to_string(output_shape()), ", received those of (", height.in(), ", ", width.in(), ")");
    const Shape out = {height.out(), width.out(), in.channels};
    require_positive(layer, "output", {out[0], out[1]});
    return append(layer, ResampleOp{std::move(height), std::move(width)}, out);
}

const Shape& Graph::warp(const std::string& layer, WarpOp op, Pair output_size) {
    const Image in = require_image(layer, output_shape());
    require_positive(layer, "output size", output_size);
    // Offsets of pixels are computed as 32-bit integers.
    require(in.height * in.width < (std::int64_t{1} << 31), layer,
            ": input: expected fewer than 2^31 pixels, received ", to_string(output_shape()));
    op.shape.in_height = in.height;
    op.shape.in_width = in.width;
    op.shape.out_height = output_size.first;
    op.shape.out_width = output_size.second;
    op.shape.channels = in.channels;
    require(op.kind != WarpKind::crop || (output_size.first <= in.height && output_size.second <= in.width),
            layer, ": height, width: expected at most the input's ", to_string(output_shape()), ", received ",
            text(output_size));
    return append(layer, std::move(op), {output_size.first, output_size.second, in.channels});
}

const Shape& Graph::recolor(const std::string& layer, RecolorOp op) {
    const Image in = require_image(layer, output_shape());
    op.shape.positions = in.height * in.width;
    op.shape.channels = in.channels;
    require(op.shape.kind != RecolorKind::grayscale || in.channels == 1 || in.channels == 3, layer,
            ": input: expected 1 or 3 channels, received ", to_string(output_shape()));
    return append(layer, op, Shape(output_shape()));
}

const Shape& Graph::erase(const std::string& layer, EraseOp op) {
    const Image in = require_image(layer, output_shape());
    op.shape.height = in.height;
    op.shape.width = in.width;
    op.shape.channels = in.channels;
    op.shape.noise = op.fill.empty();
    if (op.fill.size() == 1) op.fill.assign(static_cast<std::size_t>(in.channels), op.fill[0]);
    require(op.fill.empty() || static_cast<std::int64_t>(op.fill.size()) == in.channels, layer,
            ": fill_value: expected one number or one for each of the ", in.channels, " channels, received ",
            op.fill.size());
    return append(layer, std::move(op), Shape(output_shape()));
}

}  // namespace fastcnn
