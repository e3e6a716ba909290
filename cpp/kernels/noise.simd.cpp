// Noise on a sample while training: a smaller array of random numbers, drawn into `scratch`, meets the
// sample.
#include "kernels/broadcast.h"
#include "kernels/philox.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// What the noise's numbers are multiplied or added with, or 1 and 0 for kept and dropped.
void draw_noise(const Noise& a, std::int64_t sample, float* noise) {
    const bool normal = a.kind == NoiseKind::gaussian || a.kind == NoiseKind::gaussian_dropout;
    const Vec rate = set1(a.rate), one = set1(1.0f);
    const Vec shift = a.kind == NoiseKind::gaussian ? zero() : one;
    const float kept =
        a.kind == NoiseKind::dropout ? static_cast<float>(1.0 / (1.0 - static_cast<double>(a.rate))) : 1.0f;
    for (std::int64_t e = 0; e < a.broadcast.size; e += 4 * kWidth) {
        IVec random[4];
        draw(a.seed, e, sample, a.step, a.layer, random);
        if (normal) {
            normal_pair(random[0], random[1]);
            normal_pair(random[2], random[3]);
        }
        interleave(random);
        for (int j = 0; j < 4; ++j) {
            const Vec value = normal ? fma(rate, as_float(random[j]), shift)
                                     : select(ge(uniform(random[j]), rate), set1(kept), zero());
            store(noise + e + j * kWidth, value);
        }
    }
}

template <class F>
FASTCNN_INLINE void apply(const Noise& a, std::int64_t s, const F& f) {
    for_each_row(a.broadcast, [&](std::int64_t at, std::int64_t small) {
        const float* x = a.x + s * a.x_stride + at;
        float* y = a.y + s * a.y_stride + at;
        for_each_vector(a.broadcast.shape[3], [&](std::int64_t i, auto lanes) {
            const Vec n = load_broadcast(a.broadcast, a.scratch + small, i, lanes);
            lanes.store(y + i, f(lanes.load(x + i), n));
        });
    });
}

void noise(const Noise& a) {
    const double rate = static_cast<double>(a.rate), p = -1.7580993408473766;
    const double scale = 1.0 / std::sqrt((1.0 - rate) * (1.0 + rate * p * p));
    const Vec factor = set1(static_cast<float>(scale));
    const Vec offset = set1(a.backward ? 0.0f : static_cast<float>(-scale * p * rate));
    const Vec dropped = set1(a.backward ? 0.0f : static_cast<float>(scale * p - scale * p * rate));
    for (std::int64_t s = 0; s < a.batch; ++s) {
        draw_noise(a, a.shared ? 0 : a.first_sample + s, a.scratch);
        switch (a.kind) {
            case NoiseKind::dropout:
                apply(a, s, [](Vec x, Vec n) { return select(eq(n, zero()), zero(), mul(x, n)); });
                break;
            case NoiseKind::alpha_dropout:
                apply(a, s,
                      [&](Vec x, Vec n) { return select(eq(n, zero()), dropped, fma(factor, x, offset)); });
                break;
            case NoiseKind::gaussian_dropout:
                apply(a, s, [](Vec x, Vec n) { return mul(x, n); });
                break;
            case NoiseKind::gaussian:
                apply(a, s, [&](Vec x, Vec n) { return a.backward ? x : add(x, n); });
                break;
        }
    }
}

// Drawn in whole vectors.
std::int64_t scratch(const Noise& a) { return a.broadcast.size + 4 * kWidth; }

}  // namespace

const Kernel<Noise> noise_direct = {noise, nullptr, scratch};

}  // namespace fastcnn::FASTCNN_ISA
