// Windows that slide over images, as arguments of a call: convolution and pooling.
#pragma once

#include <utility>

#include "bindings/ops_call.h"

namespace fastcnn::bindings {

using Pair = std::pair<std::int64_t, std::int64_t>;

// How a window slides: the arguments that all of these operations share.
struct Sliding {
    Pair strides;
    std::string padding;
    Pair dilation{1, 1};
};

inline Padding padding_of(const Call& call, const char* argument, const std::string& name) {
    return named<Padding>(call, argument, name, {{"valid", Padding::valid}, {"same", Padding::same}});
}

inline void require_positive(const Call& call, const char* argument, Pair pair) {
    require(pair.first > 0 && pair.second > 0, call.operation(), ": ", argument,
            ": expected two positive numbers, received (", pair.first, ", ", pair.second, ")");
}

// The windows over (height, width), refused where they do not fit.
inline std::pair<Window, Window> windows_of(const Call& call, Pair in, const char* size_name, Pair size,
                                            const char* strides_name, const char* padding_name,
                                            const Sliding& sliding) {
    require_positive(call, size_name, size);
    require_positive(call, strides_name, sliding.strides);
    require_positive(call, "dilation_rate", sliding.dilation);
    const Padding padding = padding_of(call, padding_name, sliding.padding);
    const Window h = window(in.first, size.first, sliding.strides.first, sliding.dilation.first, padding);
    const Window w = window(in.second, size.second, sliding.strides.second, sliding.dilation.second, padding);
    require(h.out > 0 && w.out > 0, call.operation(), ": ", size_name, ": expected a window of at most ",
            in.first, " x ", in.second, ", the image's size, received ", h.extent(), " x ", w.extent(),
            " with padding '", sliding.padding, "'");
    return {h, w};
}

inline Conv2dShape conv_shape(const Call& call, Pair in, std::int64_t in_channels, Pair kernel_size,
                              std::int64_t out_channels, std::int64_t groups, const Sliding& sliding) {
    require(groups > 0 && in_channels % groups == 0 && out_channels % groups == 0, call.operation(),
            ": groups: expected a divisor of ", in_channels, " input and ", out_channels,
            " output channels, received ", groups);
    Conv2dShape shape;
    std::tie(shape.h, shape.w) =
        windows_of(call, in, "kernel_size", kernel_size, "strides", "padding", sliding);
    shape.in_channels = in_channels;
    shape.out_channels = out_channels;
    shape.groups = groups;
    return shape;
}

inline PoolShape pool_shape(const Call& call, Pair in, std::int64_t channels, Pair size,
                            const Sliding& sliding, const char* strides_name = "strides",
                            const char* padding_name = "padding") {
    PoolShape shape;
    std::tie(shape.h, shape.w) = windows_of(call, in, "pool_size", size, strides_name, padding_name, sliding);
    shape.channels = channels;
    return shape;
}

// The pool over a convolution's output, whose maxima are remembered in bytes.
inline PoolShape fused_pool_shape(const Call& call, const Conv2dShape& conv, Pair size,
                                  const Sliding& sliding) {
    const PoolShape shape = pool_shape(call, {conv.h.out, conv.w.out}, conv.out_channels, size, sliding,
                                       "pool_strides", "pool_padding");
    require(shape.h.size * shape.w.size <= kMaxPoolPositions, call.operation(),
            ": pool_size: expected at most ", kMaxPoolPositions, " positions, received ", shape.h.size, " x ",
            shape.w.size);
    return shape;
}

inline Shape input_shape_of(const Conv2dShape& s, std::int64_t batch) {
    return {batch, s.h.in, s.w.in, s.in_channels};
}
inline Shape output_shape_of(const Conv2dShape& s, std::int64_t batch) {
    return {batch, s.h.out, s.w.out, s.out_channels};
}
inline Shape output_shape_of(const PoolShape& s, std::int64_t batch) {
    return {batch, s.h.out, s.w.out, s.channels};
}
inline Shape kernel_shape_of(const Conv2dShape& s) {
    return {s.h.size, s.w.size, s.in_channels / s.groups, s.out_channels};
}

// Elements of one sample: the stride between samples of a dense array.
inline std::int64_t per_sample(const Operand& operand) { return operand.size() / operand[0]; }

inline const Pattern kImages = {"batch", "height", "width", "channels"};

inline Operand kernel_input(const Call& call, const py::array& kernel) {
    return call.input("kernel", kernel, {"height", "width", "channels / groups", "filters"});
}

inline void require_channels(const Call& call, const Operand& kernel, std::int64_t in_channels,
                             std::int64_t groups) {
    if (kernel[2] * groups == in_channels) return;
    fail(call.operation(), ": kernel: expected ", in_channels, " input channels / ", groups,
         " groups on its third axis, received shape ", fastcnn::to_string(kernel.shape()));
}

}  // namespace fastcnn::bindings
