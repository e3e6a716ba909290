// Philox4x32-10 on vectors: one run serves kWidth counters and so 4 * kWidth neighbouring elements.
#pragma once

#include "base/random.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

struct PhiloxVector {
    using Word = IVec;
    static FASTCNN_INLINE void multiply(std::uint32_t a, Word b, Word& high, Word& low) {
        multiply_wide(iset1(static_cast<std::int32_t>(a)), b, high, low);
    }
    static FASTCNN_INLINE Word mix(Word a, Word b, std::uint32_t key) {
        return ixor(ixor(a, b), iset1(static_cast<std::int32_t>(key)));
    }
};

FASTCNN_INLINE IVec word(std::int64_t value) {
    return iset1(static_cast<std::int32_t>(static_cast<std::uint32_t>(value)));
}

// random[j]: word j of blocks e / 4 + interleave_order()[lane], e a multiple of 4 * kWidth; interleave()
// brings the words into the elements' order.
FASTCNN_INLINE void draw(std::uint64_t seed, std::int64_t e, std::int64_t sample, std::uint32_t step,
                         std::uint32_t layer, IVec (&random)[4]) {
    random[0] = iadd(word(e / 4), interleave_order());
    random[1] = word(sample);
    random[2] = word(step);
    random[3] = word(layer);
    philox4x32_10<PhiloxVector>(seed, random);
}

// In [0, 1), from the words' top 24 bits.
FASTCNN_INLINE Vec uniform(IVec words) { return mul(to_float(shift_right<8>(words)), set1(0x1p-24f)); }

// Two normal numbers of two words (Box and Muller, "A note on the generation of random normal deviates",
// 1958).
FASTCNN_INLINE void normal_pair(IVec& first, IVec& second) {
    const Vec radius = sqrt(mul(set1(-2.0f), log(add(uniform(first), set1(0x1p-24f)))));
    Vec sine, cosine;
    sin_cos_turns(uniform(second), sine, cosine);
    first = as_int(mul(radius, cosine));
    second = as_int(mul(radius, sine));
}

}  // namespace fastcnn::FASTCNN_ISA
