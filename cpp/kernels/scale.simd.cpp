// Factors and summands for every element, or for those along some axes.
#include "kernels/broadcast.h"
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// A difference is taken before it is divided, since x and mean may both be large. A product is rounded before
// it is added to, as NumPy and Keras do: 255 of 1 / 127.5, less 1, is 1 and no more.
FASTCNN_INLINE Vec apply(ScaleKind kind, Vec x, Vec first, Vec second) {
    return kind == ScaleKind::normalize ? mul(sub(x, first), second) : add(mul(x, first), second);
}

// Floats that the numbers of a few channels are repeated in, so that they fill whole vectors: `channels` of
// these are `kWidth` pixels.
constexpr std::int64_t kRepeated = 16 * kWidth;

// Whether the last axis is short and the only one that has numbers of its own: the channels of an image.
bool repeats(const Broadcast& b) {
    return b.stride[3] == 1 && b.size == b.shape[3] && b.shape[3] * kWidth <= kRepeated;
}

void prepare(const Scale& a, float* first, float* second) {
    const Vec least = set1(a.epsilon);
    for_each_vector(a.broadcast.size, [&](std::int64_t i, auto lanes) {
        const Vec p = lanes.load(a.a + i), q = lanes.load(a.b + i);
        if (a.kind == ScaleKind::affine) {
            lanes.store(first + i, p);
            lanes.store(second + i, a.backward ? zero() : q);
            return;
        }
        const Vec deviation = max(least, sqrt(q));
        if (a.kind == ScaleKind::normalize) {
            lanes.store(first + i, a.backward ? zero() : p);
            lanes.store(second + i, div(set1(1.0f), deviation));
        } else {
            lanes.store(first + i, deviation);
            lanes.store(second + i, a.backward ? zero() : p);
        }
    });
}

void whole(const Scale& a, const float* first, const float* second, std::int64_t period, const float* x,
           float* y) {
    const Broadcast& b = a.broadcast;
    const std::int64_t size = b.shape[0] * b.shape[1] * b.shape[2] * b.shape[3];
    std::int64_t at = 0;  // in the repeated numbers
    for_each_vector(size, [&](std::int64_t i, auto lanes) {
        const Vec p = period ? load(first + at) : set1(*first),
                  q = period ? load(second + at) : set1(*second);
        lanes.store(y + i, apply(a.kind, lanes.load(x + i), p, q));
        at += kWidth;
        if (at >= period) at = 0;
    });
}

void scale(const Scale& a) {
    const Broadcast& b = a.broadcast;
    float* first = a.scratch;
    const std::int64_t channels = b.shape[3], period = repeats(b) ? channels * kWidth : 0;
    float* second = first + (period ? period : b.size) + kWidth;
    prepare(a, first, second);
    for (std::int64_t i = channels; i < period; ++i) {
        first[i] = first[i - channels];
        second[i] = second[i - channels];
    }
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        if (b.size == 1 || period) {
            whole(a, first, second, period, x, y);
            continue;
        }
        for_each_row(b, [&](std::int64_t at, std::int64_t small) {
            for_each_vector(channels, [&](std::int64_t i, auto lanes) {
                const Vec p = load_broadcast(b, first + small, i, lanes),
                          q = load_broadcast(b, second + small, i, lanes);
                lanes.store(y + at + i, apply(a.kind, lanes.load(x + at + i), p, q));
            });
        });
    }
}

std::int64_t scratch(const Scale& a) {
    const Broadcast& b = a.broadcast;
    return 2 * ((repeats(b) ? b.shape[3] * kWidth : b.size) + kWidth);
}

}  // namespace

const Kernel<Scale> scale_direct = {scale, nullptr, scratch};

}  // namespace fastcnn::FASTCNN_ISA
