// Output sizes and padding of convolution and pooling windows: the only place that computes them.
//
//   valid: out = floor((in - extent) / stride) + 1           extent = (size - 1) * dilation + 1
//   same:  out = ceil(in / stride); the padding is split evenly, the odd row or column at the end
//
// as in Keras (https://keras.io/api/layers/convolution_layers/convolution2d/).
#pragma once

#include <cstdint>

#include "base/inline.h"

namespace fastcnn {

enum class Padding { valid, same };

// One axis of a sliding window.
struct Window {
    std::int64_t size = 1, stride = 1, dilation = 1;
    std::int64_t in = 1, out = 1, pad = 0;  // pad: before the first element

    FASTCNN_INLINE std::int64_t extent() const { return (size - 1) * dilation + 1; }
    // First input position (may be negative) that output `o` reads.
    FASTCNN_INLINE std::int64_t begin(std::int64_t o) const { return o * stride - pad; }
    // Padding needed after the last element so that every output's window exists.
    FASTCNN_INLINE std::int64_t pad_end() const {
        const std::int64_t missing = begin(out - 1) + extent() - in;
        return missing > 0 ? missing : 0;
    }
};

// out is 0 or less where the window does not fit: the caller refuses it with its operation's name.
inline Window window(std::int64_t in, std::int64_t size, std::int64_t stride, std::int64_t dilation,
                     Padding padding) {
    Window w{size, stride, dilation, in, 0, 0};
    if (padding == Padding::same) {
        w.out = (in + stride - 1) / stride;
        const std::int64_t total = (w.out - 1) * stride + w.extent() - in;
        w.pad = total > 0 ? total / 2 : 0;
    } else {
        w.out = in < w.extent() ? 0 : (in - w.extent()) / stride + 1;
    }
    return w;
}

// The same with that much padding before and after.
inline Window padded_window(std::int64_t in, std::int64_t size, std::int64_t stride, std::int64_t before,
                            std::int64_t after) {
    Window w{size, stride, 1, in, 0, before};
    const std::int64_t room = in + before + after - size;
    w.out = room < 0 ? 0 : room / stride + 1;
    return w;
}

// A part of a window's axis, as a window over the inputs [first_in, first_in + window.in) and the outputs
// [first_out, first_out + window.out) alone.
struct WindowPart {
    Window window;
    std::int64_t first_in, first_out;
};

// What the outputs [first, last) read. Its padding is never negative, whatever the part.
inline WindowPart part_for_outputs(const Window& w, std::int64_t first, std::int64_t last) {
    const std::int64_t begin = w.begin(first), end = w.begin(last - 1) + w.extent();
    const std::int64_t first_in = begin < 0 ? 0 : begin < w.in ? begin : w.in - 1;
    const std::int64_t last_in = end > w.in ? w.in : end > first_in ? end : first_in + 1;
    return {
        {w.size, w.stride, w.dilation, last_in - first_in, last - first, first_in - begin}, first_in, first};
}

// What reads the inputs [first, last). Its padding is not negative where `first` + pad is a multiple of the
// stride.
inline WindowPart part_for_inputs(const Window& w, std::int64_t first, std::int64_t last) {
    const std::int64_t before = first + w.pad - (w.extent() - 1);
    std::int64_t first_out = before <= 0 ? 0 : (before + w.stride - 1) / w.stride;
    std::int64_t last_out = (last - 1 + w.pad) / w.stride + 1;
    if (first_out > w.out - 1) first_out = w.out - 1;
    if (last_out > w.out) last_out = w.out;
    if (last_out <= first_out) last_out = first_out + 1;
    return {{w.size, w.stride, w.dilation, last - first, last_out - first_out,
             w.pad + first - first_out * w.stride},
            first,
            first_out};
}

}  // namespace fastcnn
