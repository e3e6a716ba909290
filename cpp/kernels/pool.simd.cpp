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

// The size is a parameter so that the common 2 x 2 window is compiled without loops. N neighbouring vectors
// of channels go through a window together: one alone would wait for the latency of its own chain.
template <int N, class Lanes>
FASTCNN_INLINE void window_max(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t row,
                               std::int64_t channels, Lanes lanes, Vec (&best)[N]) {
    for (int n = 0; n < N; ++n) best[n] = set1(-__builtin_inff());
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j)
            for (int n = 0; n < N; ++n) {
                const Vec v = lanes.load(x + i * row + j * channels + n * kWidth);
                best[n] = select(wins(v, best[n]), v, best[n]);
            }
}

// Row sums first, then their sum: over a whole image that loses fewer digits than one running sum.
template <int N, class Lanes>
FASTCNN_INLINE void window_sum(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t row,
                               std::int64_t channels, Lanes lanes, Vec (&sum)[N]) {
    for (int n = 0; n < N; ++n) sum[n] = zero();
    for (std::int64_t i = 0; i < rows; ++i) {
        Vec even[N], odd[N];
        for (int n = 0; n < N; ++n) even[n] = odd[n] = zero();
        const float* at = x + i * row;
        std::int64_t j = 0;
        for (; j + 2 <= columns; j += 2, at += 2 * channels)
            for (int n = 0; n < N; ++n) {
                even[n] = add(even[n], lanes.load(at + n * kWidth));
                odd[n] = add(odd[n], lanes.load(at + channels + n * kWidth));
            }
        for (int n = 0; n < N; ++n) {
            if (j < columns) even[n] = add(even[n], lanes.load(at + n * kWidth));
            sum[n] = add(sum[n], add(even[n], odd[n]));
        }
    }
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
        for_each_columns(channels, [&](std::int64_t c, auto lanes, auto vectors) {
            Vec value[vectors.count];
            const auto pool = [&](std::int64_t rows, std::int64_t columns) {
                if constexpr (is_max)
                    window_max(from + c, rows, columns, row, channels, lanes, value);
                else
                    window_sum(from + c, rows, columns, row, channels, lanes, value);
            };
            two_by_two ? pool(2, 2) : pool(region.rows, region.columns);
            for (int n = 0; n < vectors.count; ++n)
                lanes.store(y + o * channels + c + n * kWidth, is_max ? value[n] : mul(scale, value[n]));
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

// Offset of the maximum from the window's first position, for N neighbouring vectors of channels. (A window
// spans fewer than 2^31 floats.)
template <int N, class Lanes>
FASTCNN_INLINE void window_argmax(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t row,
                                  std::int64_t channels, Lanes lanes, IVec (&position)[N]) {
    Vec best[N];
    for (int n = 0; n < N; ++n) {
        best[n] = lanes.load(x + n * kWidth);
        position[n] = iset1(0);
    }
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j) {
            const std::int64_t at = i * row + j * channels;
            const IVec here = iset1(static_cast<std::int32_t>(at));
            for (int n = 0; n < N; ++n) {
                const Vec v = lanes.load(x + at + n * kWidth);
                const Mask won = wins(v, best[n]);
                best[n] = select(won, v, best[n]);
                position[n] = iselect(won, here, position[n]);
            }
        }
}

// The gradient goes to the maximum's place, zero to the rest of the window: added where windows overlap,
// written where they do not.
template <bool overlap, class Lanes>
FASTCNN_INLINE void max_window_backward(const float* x, float* dx, Vec dy, std::int64_t rows,
                                        std::int64_t columns, std::int64_t row, std::int64_t channels,
                                        Lanes lanes) {
    IVec position[1];
    window_argmax(x, rows, columns, row, channels, lanes, position);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j) {
            const std::int64_t at = i * row + j * channels;
            const Vec share = select(ieq(position[0], iset1(static_cast<std::int32_t>(at))), dy, zero());
            lanes.store(dx + at, overlap ? add(lanes.load(dx + at), share) : share);
        }
}

// A large window has its gradient added where it belongs, lane by lane, in an image of zeros. So have windows
// that overlap in fewer channels than lanes: a masked store is not forwarded to the load that follows it.
constexpr std::int64_t kLargeWindow = 16;

FASTCNN_INLINE void scatter(const PoolShape& shape, const float* x, const float* dy, float* dx) {
    const std::int64_t channels = shape.channels, row = shape.w.in * channels;
    for_each_window(shape, [&](std::int64_t o, const Region& region) {
        if (region.rows <= 0 || region.columns <= 0) return;
        for_each_columns(channels, [&](std::int64_t c, auto lanes, auto vectors) {
            IVec position[vectors.count];
            std::int32_t at[vectors.count * kWidth];
            window_argmax(x + region.offset + c, region.rows, region.columns, row, channels, lanes, position);
            for (int n = 0; n < vectors.count; ++n) istore(at + n * kWidth, position[n]);
            const std::int64_t last =
                channels - c < vectors.count * kWidth ? channels - c : vectors.count * kWidth;
            for (std::int64_t i = 0; i < last; ++i)
                dx[region.offset + at[i] + c + i] += dy[o * channels + c + i];
        });
    });
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

// Window by window: each spreads its gradient over its part of dx.
template <bool is_max, bool overlap>
void backward_windows(const PoolShape& shape, const float* x, const float* dy, float* dx) {
    const std::int64_t channels = shape.channels, row = shape.w.in * channels;
    for_each_window(shape, [&](std::int64_t o, const Region& region) {
        if (region.rows <= 0 || region.columns <= 0) return;
        const bool two_by_two = region.rows == 2 && region.columns == 2;
        const Vec scale = set1(is_max ? 1.0f : reciprocal_count(region));
        for_each_vector(channels, [&](std::int64_t c, auto lanes) {
            float* to = dx + region.offset + c;
            const Vec g = mul(scale, lanes.load(dy + o * channels + c));
            const auto spread = [&](std::int64_t rows, std::int64_t columns) {
                if constexpr (is_max)
                    max_window_backward<overlap>(x + region.offset + c, to, g, rows, columns, row, channels,
                                                 lanes);
                else
                    average_window_backward<overlap>(to, g, rows, columns, row, channels, lanes);
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
    const PoolShape& shape = a.shape;
    const bool overlap = overlaps(shape.h) || overlaps(shape.w);
    const bool scattered =
        is_max && (shape.h.size * shape.w.size > kLargeWindow || (overlap && shape.channels < kWidth));
    const bool clear = scattered || overlap || !covers(shape.h) || !covers(shape.w);
    const std::int64_t size = shape.h.in * shape.w.in * shape.channels;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = is_max ? a.x + s * a.x_stride : nullptr;
        const float* dy = a.dy + s * a.dy_stride;
        float* dx = a.dx + s * a.dx_stride;
        if (clear) std::memset(dx, 0, static_cast<std::size_t>(size) * sizeof(float));
        if (scattered)
            scatter(shape, x, dy, dx);
        else
            overlap ? backward_windows<is_max, true>(shape, x, dy, dx)
                    : backward_windows<is_max, false>(shape, x, dy, dx);
    }
}

void pool_backward(const PoolBackward& a) { a.kind == Pooling::max ? backward<true>(a) : backward<false>(a); }

}  // namespace

const Kernel<PoolForward> pool_forward_direct = {pool_forward};
const Kernel<PoolBackward> pool_backward_direct = {pool_backward};

}  // namespace fastcnn::FASTCNN_ISA
