// Max pooling into a given number of windows, whose sizes differ by one.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

struct Span {
    std::int64_t begin, end;
};
FASTCNN_INLINE Span span(std::int64_t o, std::int64_t in, std::int64_t out) {
    return {o * in / out, ((o + 1) * in + out - 1) / out};
}

// visit(window's rows, its columns, offset of the output) for each window of a sample.
template <class Visit>
FASTCNN_INLINE void for_each_window(const AdaptiveMaxShape& shape, const Visit& visit) {
    for (std::int64_t o = 0; o < shape.out_height; ++o)
        for (std::int64_t p = 0; p < shape.out_width; ++p)
            visit(span(o, shape.in_height, shape.out_height), span(p, shape.in_width, shape.out_width),
                  (o * shape.out_width + p) * shape.channels);
}

// visit(offset of channel c at a position) for each position of a window, row-major.
template <class Visit>
FASTCNN_INLINE void for_each_position(const AdaptiveMaxShape& shape, const Span& h, const Span& w,
                                      std::int64_t c, const Visit& visit) {
    for (std::int64_t i = h.begin; i < h.end; ++i)
        for (std::int64_t j = w.begin; j < w.end; ++j) visit((i * shape.in_width + j) * shape.channels + c);
}

// Lanes where `x` takes the place of `highest`: NaN wins, and the first of equals stays.
FASTCNN_INLINE Mask is_higher(Vec x, Vec highest) {
    return mask_and(not_le(x, highest), mask_not(is_nan(highest)));
}

void adaptive_max_forward(const AdaptiveMaxForward& a) {
    const AdaptiveMaxShape& shape = a.shape;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        for_each_window(shape, [&](const Span& h, const Span& w, std::int64_t out) {
            for_each_vector(shape.channels, [&](std::int64_t c, auto lanes) {
                Vec highest = lanes.load(x + (h.begin * shape.in_width + w.begin) * shape.channels + c);
                for_each_position(shape, h, w, c, [&](std::int64_t at) {
                    const Vec v = lanes.load(x + at);
                    highest = select(is_higher(v, highest), v, highest);
                });
                lanes.store(y + out + c, highest);
            });
        });
    }
}

void adaptive_max_backward(const AdaptiveMaxBackward& a) {
    const AdaptiveMaxShape& shape = a.shape;
    const std::int64_t size = shape.in_height * shape.in_width * shape.channels;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        const float* dy = a.dy + s * a.dy_stride;
        float* dx = a.dx + s * a.dx_stride;
        std::memset(dx, 0, static_cast<std::size_t>(size) * sizeof(float));
        for_each_window(shape, [&](const Span& h, const Span& w, std::int64_t out) {
            for_each_vector(shape.channels, [&](std::int64_t c, auto lanes) {
                Vec highest = lanes.load(x + (h.begin * shape.in_width + w.begin) * shape.channels + c);
                for_each_position(shape, h, w, c, [&](std::int64_t at) {
                    const Vec v = lanes.load(x + at);
                    highest = select(is_higher(v, highest), v, highest);
                });
                // The first position that holds it takes the gradient, then no other one does.
                const Vec one = set1(1.0f);
                Vec waiting = one;
                for_each_position(shape, h, w, c, [&](std::int64_t at) {
                    const Vec v = lanes.load(x + at);
                    const Mask same = mask_or(eq(v, highest), mask_and(is_nan(v), is_nan(highest)));
                    const Mask takes = mask_and(same, eq(waiting, one));
                    const Vec there = lanes.load(dx + at);
                    lanes.store(dx + at, select(takes, add(there, lanes.load(dy + out + c)), there));
                    waiting = select(takes, zero(), waiting);
                });
            });
        });
    }
}

}  // namespace

const Kernel<AdaptiveMaxForward> adaptive_max_forward_direct = {adaptive_max_forward};
const Kernel<AdaptiveMaxBackward> adaptive_max_backward_direct = {adaptive_max_backward};

}  // namespace fastcnn::FASTCNN_ISA
