// Calls for a part of another call: samples [sample, sample + samples), rows [first, last) of what is
// computed. A kernel serves every part of a call that it serves, begun at a multiple of its row_unit.
#pragma once

#include "kernels/api.h"

namespace fastcnn {

// What the outputs [first, last) read. The last part keeps what lies behind the last window, which the whole
// call may read too: Winograd's tiles do, and round differently with zeros there.
inline WindowPart rows_read(const Window& w, std::int64_t first, std::int64_t last) {
    WindowPart part = part_for_outputs(w, first, last);
    if (last == w.out) part.window.in = w.in - part.first_in;
    return part;
}

// Rows of the output; of the pooled one where there is a pool.
inline Conv2dForward part_of(Conv2dForward f, std::int64_t sample, std::int64_t samples, std::int64_t first,
                             std::int64_t last) {
    const std::int64_t out_row = (f.pooled ? f.pool.w.out : f.shape.w.out) * f.shape.out_channels;
    const std::int64_t rows = f.pooled ? f.pool.h.out : f.shape.h.out;
    f.batch = samples;
    f.x += sample * f.x_stride;
    f.y += sample * f.y_stride + first * out_row;
    if (f.argmax) f.argmax += sample * f.argmax_stride + first * out_row;
    if (first == 0 && last == rows) return f;
    if (f.pooled) {
        const WindowPart pool = rows_read(f.pool.h, first, last);
        f.pool.h = pool.window;
        first = pool.first_in;
        last = pool.first_in + pool.window.in;
    }
    const WindowPart conv = rows_read(f.shape.h, first, last);
    f.shape.h = conv.window;
    f.x += conv.first_in * f.shape.w.in * f.shape.in_channels;
    return f;
}

// Rows of dx. Where the windows leave rows out (stride above extent) only all rows together are a part.
inline Conv2dGradInput part_of(Conv2dGradInput g, std::int64_t sample, std::int64_t samples,
                               std::int64_t first, std::int64_t last) {
    g.batch = samples;
    g.dy += sample * g.dy_stride;
    g.dx += sample * g.dx_stride + first * g.shape.w.in * g.shape.in_channels;
    if (first == 0 && last == g.shape.h.in) return g;
    const WindowPart part = part_for_inputs(g.shape.h, first, last);
    g.shape.h = part.window;
    g.dy += part.first_out * g.shape.w.out * g.shape.out_channels;
    return g;
}

// Rows of dy, whose sums the gradient is.
inline Conv2dGradKernel part_of(Conv2dGradKernel g, std::int64_t sample, std::int64_t samples,
                                std::int64_t first, std::int64_t last) {
    g.batch = samples;
    g.x += sample * g.x_stride;
    g.dy += sample * g.dy_stride + first * g.shape.w.out * g.shape.out_channels;
    if (first == 0 && last == g.shape.h.out) return g;
    const WindowPart part = rows_read(g.shape.h, first, last);
    g.shape.h = part.window;
    g.x += part.first_in * g.shape.w.in * g.shape.in_channels;
    return g;
}

// Rows of the output.
inline PoolForward part_of(PoolForward f, std::int64_t sample, std::int64_t samples, std::int64_t first,
                           std::int64_t last) {
    f.batch = samples;
    f.x += sample * f.x_stride;
    f.y += sample * f.y_stride + first * f.shape.w.out * f.shape.channels;
    if (first == 0 && last == f.shape.h.out) return f;
    const WindowPart part = rows_read(f.shape.h, first, last);
    f.shape.h = part.window;
    f.x += part.first_in * f.shape.w.in * f.shape.channels;
    return f;
}

// Floating-point operations of a sample.
inline std::int64_t flops_of(const Conv2dShape& c) {
    return 2 * c.h.out * c.w.out * c.h.size * c.w.size * (c.in_channels / c.groups) * c.out_channels;
}

}  // namespace fastcnn
