// Dropout of single elements. What drops several with one number is noise.simd.cpp.
#include "kernels/philox.h"
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

void dropout(const Dropout& a) {
    // uniform >= rate, both times 2^24 (exact): the words' top 24 bits need no scaling.
    const Vec limit = set1(a.rate * 16777216.0f);
    const Vec scale = set1(static_cast<float>(1.0 / (1.0 - static_cast<double>(a.rate))));
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        for (std::int64_t e = 0; e < a.size; e += 4 * kWidth) {
            IVec random[4];
            draw(a.seed, e, a.first_sample + s, a.step, a.layer, random);
            interleave(random);
            const auto apply = [&](std::int64_t i, auto lanes, IVec bits) {
                const Mask kept = ge(to_float(shift_right<8>(bits)), limit);
                lanes.store(y + i, select(kept, mul(lanes.load(x + i), scale), zero()));
            };
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) {
                const std::int64_t i = e + j * kWidth;
                if (a.size - i >= kWidth)
                    apply(i, All{}, random[j]);
                else if (a.size > i)
                    apply(i, First{a.size - i}, random[j]);
            }
        }
    }
}

}  // namespace

const Kernel<Dropout> dropout_direct = {dropout};

}  // namespace fastcnn::FASTCNN_ISA
