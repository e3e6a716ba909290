// Colours of whole images changed, by numbers of each sample, and rectangles erased.
#include "kernels/philox.h"
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

constexpr float kGray[3] = {0.2989f, 0.587f, 0.114f};

// NaN stays NaN: the second argument of max and min is taken where one is.
FASTCNN_INLINE Vec clip(const RecolorShape& n, Vec x) { return min(set1(n.high), max(set1(n.low), x)); }

// 1 where x lies between the limits, 0 on them and outside.
FASTCNN_INLINE Vec unclipped(const RecolorShape& n, Vec x, Vec gradient) {
    return select(mask_and(gt(x, set1(n.low)), gt(set1(n.high), x)), gradient, zero());
}

std::int64_t sample_size(const RecolorShape& n) { return n.positions * n.channels; }

// One number a channel, repeated so that it fills whole vectors: `channels` of them are kWidth positions.
std::int64_t repeated(const RecolorShape& n) { return n.channels * kWidth; }

// The means of the channels, times `factor`, repeated.
void means(const RecolorShape& n, const float* x, float factor, float* out) {
    for (std::int64_t c = 0; c < n.channels; ++c) {
        double sum = 0.0;
        if (n.channels == 1) {
            Sum64 sums;
            for_each_vector(n.positions,
                            [&](std::int64_t i, auto lanes) { sums.add(lanes.keep(lanes.load(x + i))); });
            sum = sums.total();
        } else {
            for (std::int64_t i = c; i < sample_size(n); i += n.channels) sum += static_cast<double>(x[i]);
        }
        out[c] = static_cast<float>(sum / static_cast<double>(n.positions)) * factor;
    }
    for (std::int64_t i = n.channels; i < repeated(n); ++i) out[i] = out[i - n.channels];
}

// y = f(x, the channel's number) over a sample.
template <class F>
FASTCNN_INLINE void each(const RecolorShape& n, const float* x, const float* numbers, float* y, const F& f) {
    std::int64_t at = 0;
    for_each_vector(sample_size(n), [&](std::int64_t i, auto lanes) {
        lanes.store(y + i, f(lanes.load(x + i), numbers ? load(numbers + at) : zero()));
        at += kWidth;
        if (at >= repeated(n)) at = 0;
    });
}

void copy(const RecolorShape& n, const float* x, float* y) {
    if (x != y) std::memcpy(y, x, static_cast<std::size_t>(sample_size(n)) * sizeof(float));
}

void gray(const RecolorShape& n, const float* x, float* y) {
    for (std::int64_t i = 0; i < n.positions; ++i, x += 3, y += 3)
        y[0] = y[1] = y[2] = kGray[0] * x[0] + kGray[1] * x[1] + kGray[2] * x[2];
}

void gray_gradient(const RecolorShape& n, const float* dy, float* dx) {
    for (std::int64_t i = 0; i < n.positions; ++i, dy += 3, dx += 3) {
        const float sum = dy[0] + dy[1] + dy[2];
        for (int c = 0; c < 3; ++c) dx[c] = kGray[c] * sum;
    }
}

void recolor_forward(const RecolorForward& a) {
    const RecolorShape& n = a.shape;
    const Vec turned = set1(n.low + n.high);
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        const float* p = a.parameters + s * kRecolor;
        const Vec first = set1(p[0]), second = set1(p[1]);
        switch (n.kind) {
            case RecolorKind::brightness:
                each(n, x, nullptr, y, [&](Vec v, Vec) { return clip(n, add(v, first)); });
                break;
            case RecolorKind::contrast:
                means(n, x, 1.0f, a.scratch);
                each(n, x, a.scratch, y, [&](Vec v, Vec m) { return clip(n, fma(sub(v, m), first, m)); });
                break;
            case RecolorKind::grayscale:
                if (p[0] != 0.0f && n.channels == 3)
                    gray(n, x, y);
                else
                    copy(n, x, y);
                break;
            case RecolorKind::invert:
                if (p[0] != 0.0f)
                    each(n, x, nullptr, y, [&](Vec v, Vec) { return sub(set1(n.high), v); });
                else
                    copy(n, x, y);
                break;
            case RecolorKind::solarize:
                each(n, x, nullptr, y, [&](Vec v, Vec) {
                    const Vec moved = clip(n, add(v, first));
                    return select(gt(second, moved), moved, sub(turned, moved));
                });
                break;
        }
    }
}

void recolor_backward(const RecolorBackward& a) {
    const RecolorShape& n = a.shape;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        const float* dy = a.dy + s * a.dy_stride;
        float* dx = a.dx + s * a.dx_stride;
        const float* p = a.parameters + s * kRecolor;
        const Vec first = set1(p[0]), second = set1(p[1]);
        // f(x, dy, the channel's number)
        const auto both = [&](const float* numbers, const auto& f) {
            std::int64_t at = 0;
            for_each_vector(sample_size(n), [&](std::int64_t i, auto lanes) {
                lanes.store(dx + i,
                            f(lanes.load(x + i), lanes.load(dy + i), numbers ? load(numbers + at) : zero()));
                at += kWidth;
                if (at >= repeated(n)) at = 0;
            });
        };
        switch (n.kind) {
            case RecolorKind::brightness:
                both(nullptr, [&](Vec v, Vec g, Vec) { return unclipped(n, add(v, first), g); });
                break;
            case RecolorKind::contrast:
                // g where not clipped; then p g + (1 - p) mean g
                means(n, x, 1.0f, a.scratch);
                both(a.scratch,
                     [&](Vec v, Vec g, Vec m) { return unclipped(n, fma(sub(v, m), first, m), g); });
                means(n, dx, 1.0f - p[0], a.scratch);
                each(n, dx, a.scratch, dx, [&](Vec g, Vec m) { return fma(g, first, m); });
                break;
            case RecolorKind::grayscale:
                if (p[0] != 0.0f && n.channels == 3)
                    gray_gradient(n, dy, dx);
                else
                    copy(n, dy, dx);
                break;
            case RecolorKind::invert:
                if (p[0] != 0.0f)
                    each(n, dy, nullptr, dx, [&](Vec g, Vec) { return sub(zero(), g); });
                else
                    copy(n, dy, dx);
                break;
            case RecolorKind::solarize:
                both(nullptr, [&](Vec v, Vec g, Vec) {
                    const Vec moved = add(v, first);
                    return unclipped(n, moved, select(gt(second, clip(n, moved)), g, sub(zero(), g)));
                });
                break;
        }
    }
}

std::int64_t forward_scratch(const RecolorForward& a) { return repeated(a.shape) + kWidth; }
std::int64_t backward_scratch(const RecolorBackward& a) { return repeated(a.shape) + kWidth; }

// Elements [begin, end) of a sample, noise that begins anywhere in blocks of 4 kWidth.
void fill_noise(const Erase& a, std::int64_t sample, std::int64_t begin, std::int64_t end, float* y) {
    const EraseShape& n = a.shape;
    constexpr std::int64_t unit = 4 * kWidth;
    const Vec deviation = set1(n.deviation), low = set1(n.low), high = set1(n.high);
    for (std::int64_t e = begin / unit * unit; e < end; e += unit) {
        IVec random[4];
        draw(a.seed, e, sample, a.step, a.layer, random);
        normal_pair(random[0], random[1]);
        normal_pair(random[2], random[3]);
        interleave(random);
        for (int j = 0; j < 4; ++j)
            store(a.scratch + j * kWidth, min(high, max(low, mul(deviation, as_float(random[j])))));
        const std::int64_t first = begin > e ? begin : e, last = end < e + unit ? end : e + unit;
        std::memcpy(y + first, a.scratch + (first - e),
                    static_cast<std::size_t>(last - first) * sizeof(float));
    }
}

void erase(const Erase& a) {
    const EraseShape& n = a.shape;
    const std::int64_t size = n.height * n.width * n.channels;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        if (x != y) std::memcpy(y, x, static_cast<std::size_t>(size) * sizeof(float));
        const float* box = a.parameters + s * kBox;
        const std::int64_t first_row = static_cast<std::int64_t>(box[0]),
                           last_row = static_cast<std::int64_t>(box[1]);
        const std::int64_t left = static_cast<std::int64_t>(box[2]),
                           right = static_cast<std::int64_t>(box[3]);
        for (std::int64_t i = first_row; i < last_row; ++i) {
            const std::int64_t begin = (i * n.width + left) * n.channels,
                               end = (i * n.width + right) * n.channels;
            if (a.backward)
                for (std::int64_t e = begin; e < end; ++e) y[e] = 0.0f;
            else if (n.noise)
                fill_noise(a, a.first_sample + s, begin, end, y);
            else
                for (std::int64_t e = begin; e < end; e += n.channels)
                    for (std::int64_t c = 0; c < n.channels; ++c) y[e + c] = a.fill[c];
        }
    }
}

std::int64_t erase_scratch(const Erase&) { return 4 * kWidth; }

}  // namespace

const Kernel<RecolorForward> recolor_forward_direct = {recolor_forward, nullptr, forward_scratch};
const Kernel<RecolorBackward> recolor_backward_direct = {recolor_backward, nullptr, backward_scratch};
const Kernel<Erase> erase_direct = {erase, nullptr, erase_scratch};

}  // namespace fastcnn::FASTCNN_ISA
