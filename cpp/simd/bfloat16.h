// bfloat16 in the vector vocabulary: the upper halves of floats, in 16-bit words. AVX2 and AVX-512 only.
//
//   load_bfloat16(p)          kWidth numbers as floats
//   store_bfloat16(p, v)      rounded to nearest even; NaN stays NaN
//   iload_words(p)            kWidth words, each widened to 32 bits with zeros
//   istore_words(p, v)        the lower words
//   to_bfloat16(v)            the words that store_bfloat16 stores
#pragma once

#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

using Bfloat16 = std::uint16_t;

#if defined(__AVX512F__)
FASTCNN_INLINE IVec iload_words(const Bfloat16* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
FASTCNN_INLINE void istore_words(Bfloat16* p, IVec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
}
#else
FASTCNN_INLINE IVec iload_words(const Bfloat16* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
FASTCNN_INLINE void istore_words(Bfloat16* p, IVec v) {
    const IVec words = iand(v, iset1(0xffff));
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(low, high));
}
#endif

// In integers, and not by AVX512-BF16's instruction: the same bits at every level.
FASTCNN_INLINE IVec to_bfloat16(Vec v) {
    const IVec bits = as_int(v), even = iand(shift_right<16>(bits), iset1(1));
    const IVec rounded = shift_right<16>(iadd(bits, iadd(even, iset1(0x7fff))));
    return iselect(is_nan(v), ior(shift_right<16>(bits), iset1(0x40)), rounded);
}

FASTCNN_INLINE Vec load_bfloat16(const Bfloat16* p) { return as_float(shift_left<16>(iload_words(p))); }
FASTCNN_INLINE void store_bfloat16(Bfloat16* p, Vec v) { istore_words(p, to_bfloat16(v)); }

// One number.
FASTCNN_INLINE Bfloat16 to_bfloat16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return static_cast<Bfloat16>((bits >> 16) | 0x40);
    return static_cast<Bfloat16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace fastcnn::FASTCNN_ISA
