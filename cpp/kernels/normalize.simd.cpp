// Layer, group, RMS and unit normalisation: each sample by itself.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// body(offset in the sample, channel, lanes) for the numbers of (outer r, group g), a vector at a time.
template <class Body>
FASTCNN_INLINE void for_each_of_group(const NormalizeShape& n, std::int64_t r, std::int64_t g,
                                      const Body& body) {
    for (std::int64_t p = 0; p < n.positions; ++p) {
        const std::int64_t at = ((r * n.positions + p) * n.groups + g) * n.channels;
        for_each_vector(n.channels, [&](std::int64_t c, auto lanes) { body(at + c, c, lanes); });
    }
}

FASTCNN_INLINE double numbers(const NormalizeShape& n) {
    return static_cast<double>(n.positions * n.channels);
}

// What normalises one group: t = (x - mean) inverse - rest. `mean` is a float32, and `rest` what its rounding
// left.
struct Normal {
    Vec mean, inverse, rest;
    explicit FASTCNN_INLINE Normal(const float* statistics)
        : mean(set1(statistics[0])), inverse(set1(statistics[1])), rest(set1(statistics[2])) {}
    FASTCNN_INLINE Vec operator()(Vec x) const { return sub(mul(sub(x, mean), inverse), rest); }
};

// Sums in double: a large mean would cancel the variance, and the mean of thousands of numbers loses digits.
void find_statistics(const NormalizeForward& a, const float* x, std::int64_t r, std::int64_t g, float* out) {
    double mean = 0.0;
    if (a.kind == NormalizeKind::standard) {
        Sum64 sum;
        for_each_of_group(a.shape, r, g, [&](std::int64_t i, std::int64_t, auto lanes) {
            sum.add(lanes.keep(lanes.load(x + i)));
        });
        mean = sum.total() / numbers(a.shape);
    }
    const float shift = static_cast<float>(mean);
    const Vec m = set1(shift);
    Sum64 squares;
    for_each_of_group(a.shape, r, g, [&](std::int64_t i, std::int64_t, auto lanes) {
        squares.add_square(lanes.keep(sub(lanes.load(x + i), m)));
    });
    const double total = squares.total(), epsilon = static_cast<double>(a.epsilon);
    // x - shift has the mean mean - shift, which the rounding of `shift` left.
    const double left = mean - static_cast<double>(shift);
    double inverse;
    if (a.kind == NormalizeKind::unit) {
        inverse = 1.0 / std::sqrt(total);
        if (inverse > 1.0 / epsilon) inverse = 1.0 / epsilon;
    } else {
        inverse = 1.0 / std::sqrt(total / numbers(a.shape) - left * left + epsilon);
    }
    out[0] = shift;
    out[1] = static_cast<float>(inverse);
    out[2] = static_cast<float>(left * inverse);
}

void normalize_forward(const NormalizeForward& a) {
    const NormalizeShape& n = a.shape;
    const Vec one = set1(1.0f);
    for (std::int64_t s = 0; s < a.batch; ++s)
        for (std::int64_t r = 0; r < n.outer; ++r)
            for (std::int64_t g = 0; g < n.groups; ++g) {
                const float* x = a.x + s * a.x_stride;
                float* y = a.y + s * a.y_stride;
                float* statistics =
                    a.statistics + s * a.statistics_stride + kNormalizeStatistics * (r * n.groups + g);
                find_statistics(a, x, r, g, statistics);
                const Normal normal(statistics);
                const float* gamma = a.gamma ? a.gamma + g * n.channels : nullptr;
                const float* beta = a.beta ? a.beta + g * n.channels : nullptr;
                for_each_of_group(n, r, g, [&](std::int64_t i, std::int64_t c, auto lanes) {
                    const Vec t = normal(lanes.load(x + i));
                    lanes.store(y + i, fma(t, gamma ? lanes.load(gamma + c) : one,
                                           beta ? lanes.load(beta + c) : zero()));
                });
            }
}

void grad_input(const NormalizeBackward& a, std::int64_t s, std::int64_t r, std::int64_t g) {
    const NormalizeShape& n = a.shape;
    const float* x = a.x + s * a.x_stride;
    const float* dy = a.dy + s * a.dy_stride;
    float* dx = a.dx + s * a.dx_stride;
    const float* statistics =
        a.statistics + s * a.statistics_stride + kNormalizeStatistics * (r * n.groups + g);
    const float* gamma = a.gamma ? a.gamma + g * n.channels : nullptr;
    const Normal normal(statistics);
    const Vec one = set1(1.0f);
    const auto gradient = [&](std::int64_t i, std::int64_t c, auto lanes) {
        return mul(lanes.load(dy + i), gamma ? lanes.load(gamma + c) : one);
    };
    Sum64 sum, product;
    for_each_of_group(n, r, g, [&](std::int64_t i, std::int64_t c, auto lanes) {
        const Vec d = gradient(i, c, lanes);
        sum.add(lanes.keep(d));
        product.add(lanes.keep(mul(d, normal(lanes.load(x + i)))));
    });
    const bool unit = a.kind == NormalizeKind::unit;
    const bool at_limit = unit && statistics[1] >= static_cast<float>(1.0 / static_cast<double>(a.epsilon));
    const double slope = at_limit ? 0.0 : product.total() / (unit ? 1.0 : numbers(n));
    const double offset = a.kind == NormalizeKind::standard ? sum.total() / numbers(n) : 0.0;
    const Vec p = set1(static_cast<float>(slope)), q = set1(static_cast<float>(offset));
    for_each_of_group(n, r, g, [&](std::int64_t i, std::int64_t c, auto lanes) {
        const Vec d = sub(gradient(i, c, lanes), q);
        lanes.store(dx + i, mul(normal.inverse, fnma(normal(lanes.load(x + i)), p, d)));
    });
}

// A sample's sums stay in registers and are added to what is there once.
template <class Lanes>
FASTCNN_INLINE void grad_parameters(const NormalizeBackward& a, std::int64_t s, std::int64_t g,
                                    std::int64_t c, const Lanes& lanes) {
    const NormalizeShape& n = a.shape;
    const float* x = a.x + s * a.x_stride;
    const float* dy = a.dy + s * a.dy_stride;
    Vec gamma = zero(), beta = zero();
    for (std::int64_t r = 0; r < n.outer; ++r) {
        const float* statistics =
            a.statistics + s * a.statistics_stride + kNormalizeStatistics * (r * n.groups + g);
        const Normal normal(statistics);
        for (std::int64_t p = 0; p < n.positions; ++p) {
            const std::int64_t i = ((r * n.positions + p) * n.groups + g) * n.channels + c;
            const Vec d = lanes.load(dy + i);
            gamma = fma(d, normal(lanes.load(x + i)), gamma);
            beta = add(beta, d);
        }
    }
    const bool adds = a.accumulate || s > 0;
    const auto put = [&](float* to, Vec sum) {
        if (!to) return;
        to += g * n.channels + c;
        lanes.store(to, adds ? add(lanes.load(to), sum) : sum);
    };
    put(a.dgamma, gamma);
    put(a.dbeta, beta);
}

void normalize_backward(const NormalizeBackward& a) {
    const NormalizeShape& n = a.shape;
    for (std::int64_t s = 0; s < a.batch; ++s)
        for (std::int64_t g = 0; g < n.groups; ++g) {
            for (std::int64_t r = 0; a.dx && r < n.outer; ++r) grad_input(a, s, r, g);
            if (!a.dgamma && !a.dbeta) continue;
            for_each_vector(n.channels,
                            [&](std::int64_t c, auto lanes) { grad_parameters(a, s, g, c, lanes); });
        }
}

}  // namespace

const Kernel<NormalizeForward> normalize_forward_direct = {normalize_forward};
const Kernel<NormalizeBackward> normalize_backward_direct = {normalize_backward};

}  // namespace fastcnn::FASTCNN_ISA
