// Max and average pooling, vectors over channels. Global pooling is a window that covers the image.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// The positions of one window inside the image: `rows` x `columns` from the one at `offset` floats.
struct Region {
    std::int64_t offset, rows, columns;
};

// [first, last) of one axis, clipped to the image
struct Range {
    std::int64_t first, last;
};
FASTCNN_INLINE Range clipped(const Window& window, std::int64_t o) {
    const std::int64_t begin = window.begin(o), end = begin + window.size;
    return {begin < 0 ? 0 : begin, end > window.in ? window.in : end};
}

// visit(o, region) for each output position o of a sample, in order.
template <class Visit>
FASTCNN_INLINE void for_each_window(const PoolShape& shape, const Visit& visit) {
    for (std::int64_t oh = 0; oh < shape.h.out; ++oh) {
        const Range h = clipped(shape.h, oh);
        for (std::int64_t ow = 0; ow < shape.w.out; ++ow) {
            const Range w = clipped(shape.w, ow);
            visit(oh * shape.w.out + ow, Region{(h.first * shape.w.in + w.first) * shape.channels,
                                                h.last - h.first, w.last - w.first});
        }
    }
}

// Whether x replaces the best so far: NaN wins and stays, the first of equals stays.
FASTCNN_INLINE Mask wins(Vec x, Vec best) { return mask_or(gt(x, best), is_nan(x)); }

// The size is a parameter so that the common 2 x 2 window is compiled without loops.
template <class Lanes>
FASTCNN_INLINE Vec window_max(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t row,
                              std::int64_t channels, Lanes lanes) {
    Vec best = set1(-__builtin_inff());
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j) {
            const Vec v = lanes.load(x + i * row + j * channels);
            best = select(wins(v, best), v, best);
        }
    return best;
}

// Row sums first, then their sum: over a whole image that loses fewer digits than one running sum.
template <class Lanes>
FASTCNN_INLINE Vec window_sum(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t row,
                              std::int64_t channels, Lanes lanes) {
    Vec sum = zero();
    for (std::int64_t i = 0; i < rows; ++i) {
        Vec row_sum = zero();
        for (std::int64_t j = 0; j < columns; ++j)
            row_sum = add(row_sum, lanes.load(x + i * row + j * channels));
        sum = add(sum, row_sum);
    }
    return sum;
}

FASTCNN_INLINE float reciprocal_count(const Region& region) {
    const std::int64_t count = region.rows * region.columns;
    return count > 0 ? 1.0f / static_cast<float>(count) : 0.0f;
}

template <bool is_max>
void forward_sample(const PoolShape& shape, const float* x, float* y) {
    const std::int64_t channels = shape.channels, row = shape.w.in * channels;
    for_each_window(shape, [&](std::int64_t o, const Region& region) {
        const bool two_by_two = region.rows == 2 && region.columns == 2;
        const Vec scale = set1(is_max ? 1.0f : reciprocal_count(region));
        const float* from = x + region.offset;
        for_each_vector(channels, [&](std::int64_t c, auto lanes) {
            Vec value;
            if constexpr (is_max)
                value = two_by_two ? window_max(from + c, 2, 2, row, channels, lanes)
                                   : window_max(from + c, region.rows, region.columns, row, channels, lanes);
            else
                value = mul(scale, two_by_two ? window_sum(from + c, 2, 2, row, channels, lanes)
                                              : window_sum(from + c, region.rows, region.columns, row,
                                                           channels, lanes));
            lanes.store(y + o * channels + c, value);
        });
    });
}

void pool_forward(const PoolForward& a) {
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        a.kind == Pooling::max ? forward_sample<true>(a.shape, x, y) : forward_sample<false>(a.shape, x, y);
    }
}

// Each vector of channels goes through the window twice: to find the position of its maximum, then to write
// the gradient there and zero elsewhere: added where windows overlap, written where they do not.
template <bool overlap, class Lanes>
FASTCNN_INLINE void max_window_backward(const float* x, float* dx, Vec dy, std::int64_t rows,
                                        std::int64_t columns, std::int64_t row, std::int64_t channels,
                                        Lanes lanes) {
    Vec best = lanes.load(x);
    IVec position = iset1(0);
    std::int32_t at = 0;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j, ++at) {
            const Vec v = lanes.load(x + i * row + j * channels);
            const Mask won = wins(v, best);
            best = select(won, v, best);
            position = iselect(won, iset1(at), position);
        }
    at = 0;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j, ++at) {
            float* to = dx + i * row + j * channels;
            const Vec share = select(ieq(position, iset1(at)), dy, zero());
            lanes.store(to, overlap ? add(lanes.load(to), share) : share);
        }
}

template <bool overlap, class Lanes>
FASTCNN_INLINE void average_window_backward(float* dx, Vec share, std::int64_t rows, std::int64_t columns,
                                            std::int64_t row, std::int64_t channels, Lanes lanes) {
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j) {
            float* to = dx + i * row + j * channels;
            lanes.store(to, overlap ? add(lanes.load(to), share) : share);
        }
}

template <bool is_max, bool overlap>
void backward_sample(const PoolShape& shape, const float* x, const float* dy, float* dx) {
    const std::int64_t channels = shape.channels, row = shape.w.in * channels;
    for_each_window(shape, [&](std::int64_t o, const Region& region) {
        if (region.rows <= 0 || region.columns <= 0) return;
        const bool two_by_two = region.rows == 2 && region.columns == 2;
        const Vec scale = set1(is_max ? 1.0f : reciprocal_count(region));
        for_each_vector(channels, [&](std::int64_t c, auto lanes) {
            const std::int64_t at = region.offset + c;
            const Vec g = mul(scale, lanes.load(dy + o * channels + c));
            const auto spread = [&](std::int64_t rows, std::int64_t columns) {
                if constexpr (is_max)
                    max_window_backward<overlap>(x + at, dx + at, g, rows, columns, row, channels, lanes);
                else
                    average_window_backward<overlap>(dx + at, g, rows, columns, row, channels, lanes);
            };
            two_by_two ? spread(2, 2) : spread(region.rows, region.columns);
        });
    });
}

FASTCNN_INLINE bool overlaps(const Window& w) { return w.stride < w.size && w.out > 1; }

// Every input position lies in some window.
FASTCNN_INLINE bool covers(const Window& w) {
    return w.stride <= w.size && w.begin(0) <= 0 && w.begin(w.out - 1) + w.size >= w.in;
}

template <bool is_max>
void backward(const PoolBackward& a) {
    const bool overlap = overlaps(a.shape.h) || overlaps(a.shape.w);
    const bool clear = overlap || !covers(a.shape.h) || !covers(a.shape.w);
    const std::int64_t size = a.shape.h.in * a.shape.w.in * a.shape.channels;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = is_max ? a.x + s * a.x_stride : nullptr;
        const float* dy = a.dy + s * a.dy_stride;
        float* dx = a.dx + s * a.dx_stride;
        if (clear) std::memset(dx, 0, static_cast<std::size_t>(size) * sizeof(float));
        overlap ? backward_sample<is_max, true>(a.shape, x, dy, dx)
                : backward_sample<is_max, false>(a.shape, x, dy, dx);
    }
}

void pool_backward(const PoolBackward& a) { a.kind == Pooling::max ? backward<true>(a) : backward<false>(a); }

}  // namespace

const Kernel<PoolForward> pool_forward_direct = {pool_forward};
const Kernel<PoolBackward> pool_backward_direct = {pool_backward};

}  // namespace fastcnn::FASTCNN_ISA
