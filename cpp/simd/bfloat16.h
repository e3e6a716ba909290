// bfloat16 in the vector vocabulary: the upper halves of floats, in 16-bit words. Vectors of them are for
// AVX2 and AVX-512 only.
//
//   load_bfloat16(p)          kWidth numbers as floats
//   store_bfloat16(p, v)      rounded to nearest even; NaN stays NaN
//   iload_words(p)            kWidth words, each widened to 32 bits with zeros
//   istore_words(p, v)        the lower words
//   to_bfloat16(v)            the words that store_bfloat16 stores
//   store_bfloat16(p, v, w)   2 * kWidth numbers
//   stream_bfloat16(p, v, w)  the same past the caches, where they are a cache line and p is aligned to one;
//                             end_stream() as in vec.h
//   pair_words(a, b)          b << 16 | a: one word of each in a lane
//   round_pairs(v, w)         pair_words(to_bfloat16(v), to_bfloat16(w))
//   ordered(m, a, b)          lanes of m where neither is NaN
#pragma once

#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

using Bfloat16 = std::uint16_t;

// One number.
FASTCNN_INLINE Bfloat16 to_bfloat16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return static_cast<Bfloat16>((bits >> 16) | 0x40);
    return static_cast<Bfloat16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#if defined(__AVX2__)

#if defined(__AVX512F__)
FASTCNN_INLINE Mask ordered(Mask m, Vec a, Vec b) { return _mm512_mask_cmp_ps_mask(m, a, b, _CMP_ORD_Q); }
FASTCNN_INLINE IVec iload_words(const Bfloat16* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
FASTCNN_INLINE void istore_words(Bfloat16* p, IVec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
}
#else
FASTCNN_INLINE Mask ordered(Mask m, Vec a, Vec b) { return mask_and(m, _mm256_cmp_ps(a, b, _CMP_ORD_Q)); }
FASTCNN_INLINE IVec iload_words(const Bfloat16* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
FASTCNN_INLINE void istore_words(Bfloat16* p, IVec v) {
    const IVec words = iand(v, iset1(0xffff));
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(low, high));
}
#endif

FASTCNN_INLINE IVec pair_words(IVec a, IVec b) { return ior(a, shift_left<16>(b)); }

#if defined(__AVX512BF16__)
// These instructions take denormal numbers for zero, as tiles do.
FASTCNN_INLINE IVec to_bfloat16(Vec v) {
    return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
FASTCNN_INLINE void store_bfloat16(Bfloat16* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
FASTCNN_INLINE void store_bfloat16(Bfloat16* p, Vec v, Vec w) {
    _mm512_storeu_si512(p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(w, v)));
}
FASTCNN_INLINE void stream_bfloat16(Bfloat16* p, Vec v, Vec w) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(w, v)));
}
FASTCNN_INLINE IVec round_pairs(Vec v, Vec w) {
    alignas(64) static constexpr std::uint16_t kPlaces[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                              21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                              11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kPlaces),
                                    reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(w, v)));
}
#else
FASTCNN_INLINE IVec to_bfloat16(Vec v) {
    const IVec bits = as_int(v), even = iand(shift_right<16>(bits), iset1(1));
    const IVec rounded = shift_right<16>(iadd(bits, iadd(even, iset1(0x7fff))));
    return iselect(is_nan(v), ior(shift_right<16>(bits), iset1(0x40)), rounded);
}
FASTCNN_INLINE void store_bfloat16(Bfloat16* p, Vec v) { istore_words(p, to_bfloat16(v)); }
FASTCNN_INLINE void store_bfloat16(Bfloat16* p, Vec v, Vec w) {
    store_bfloat16(p, v);
    store_bfloat16(p + kWidth, w);
}
FASTCNN_INLINE void stream_bfloat16(Bfloat16* p, Vec v, Vec w) { store_bfloat16(p, v, w); }
FASTCNN_INLINE IVec round_pairs(Vec v, Vec w) { return pair_words(to_bfloat16(v), to_bfloat16(w)); }
#endif

FASTCNN_INLINE Vec load_bfloat16(const Bfloat16* p) { return as_float(shift_left<16>(iload_words(p))); }

#endif

}  // namespace fastcnn::FASTCNN_ISA
