// AVX-512 F, BW, DQ, VL: 16 lanes, 32 registers, mask registers.
#pragma once

#include <immintrin.h>

namespace fastcnn::FASTCNN_ISA {

using Vec = __m512;
using IVec = __m512i;
using Mask = __mmask16;

inline constexpr int kWidth = 16;
inline constexpr int kAccumulators = 28;
inline constexpr int kTileVecs = 4;
inline constexpr int kMostVecs = 4;

FASTCNN_INLINE Vec zero() { return _mm512_setzero_ps(); }
FASTCNN_INLINE Vec set1(float x) { return _mm512_set1_ps(x); }
FASTCNN_INLINE Vec set1_pair(const float* p) {
    double pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}
FASTCNN_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
FASTCNN_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
FASTCNN_INLINE void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }
FASTCNN_INLINE void end_stream() { _mm_sfence(); }
FASTCNN_INLINE Mask first_lanes(std::int64_t n) {
    return static_cast<Mask>(n >= 16 ? 0xffffu : (1u << n) - 1u);
}
FASTCNN_INLINE Vec load_partial(const float* p, std::int64_t n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
FASTCNN_INLINE void store_partial(float* p, Vec v, std::int64_t n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

FASTCNN_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
FASTCNN_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
FASTCNN_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
FASTCNN_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
FASTCNN_INLINE Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
FASTCNN_INLINE Vec abs(Vec a) { return _mm512_abs_ps(a); }
FASTCNN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
FASTCNN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
FASTCNN_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
FASTCNN_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }

FASTCNN_INLINE Mask gt(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
FASTCNN_INLINE Mask ge(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
FASTCNN_INLINE Mask eq(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
FASTCNN_INLINE Mask not_le(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
FASTCNN_INLINE Mask differs(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
FASTCNN_INLINE Mask is_nan(Vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
FASTCNN_INLINE Mask mask_and(Mask a, Mask b) { return static_cast<Mask>(a & b); }
FASTCNN_INLINE Mask mask_or(Mask a, Mask b) { return static_cast<Mask>(a | b); }
FASTCNN_INLINE Mask mask_not(Mask a) { return static_cast<Mask>(~a); }
FASTCNN_INLINE unsigned bits(Mask m) { return m; }
FASTCNN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm512_mask_blend_ps(m, b, a); }

// Through a register: the memory form of the instruction is microcoded on some processors.
FASTCNN_INLINE int compress_store(float* p, Mask m, Vec v) {
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps(m, v));
    return __builtin_popcount(m);
}
FASTCNN_INLINE int compress_store(std::int32_t* p, Mask m, IVec v) {
    _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(m, v));
    return __builtin_popcount(m);
}

FASTCNN_INLINE IVec iset1(std::int32_t x) { return _mm512_set1_epi32(x); }
FASTCNN_INLINE IVec iload(const std::int32_t* p) { return _mm512_loadu_si512(p); }
FASTCNN_INLINE IVec iload_partial(const std::int32_t* p, std::int64_t n) {
    return _mm512_maskz_loadu_epi32(first_lanes(n), p);
}
FASTCNN_INLINE void istore(std::int32_t* p, IVec v) { _mm512_storeu_si512(p, v); }
FASTCNN_INLINE IVec iload_bytes_partial(const std::uint8_t* p, std::int64_t n) {
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(n), p));
}
FASTCNN_INLINE void istore_bytes_partial(std::uint8_t* p, IVec v, std::int64_t n) {
    _mm_mask_storeu_epi8(p, first_lanes(n), _mm512_cvtepi32_epi8(v));
}
FASTCNN_INLINE std::uint64_t equal_bytes(const std::uint8_t* p, std::uint8_t b) {
    return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(p), _mm512_set1_epi8(static_cast<char>(b)));
}
FASTCNN_INLINE IVec iota() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
FASTCNN_INLINE IVec iadd(IVec a, IVec b) { return _mm512_add_epi32(a, b); }
FASTCNN_INLINE IVec isub(IVec a, IVec b) { return _mm512_sub_epi32(a, b); }
FASTCNN_INLINE IVec iand(IVec a, IVec b) { return _mm512_and_si512(a, b); }
FASTCNN_INLINE IVec ior(IVec a, IVec b) { return _mm512_or_si512(a, b); }
template <int N>
FASTCNN_INLINE IVec shift_left(IVec a) {
    return _mm512_slli_epi32(a, N);
}
template <int N>
FASTCNN_INLINE IVec shift_right(IVec a) {
    return _mm512_srli_epi32(a, N);
}
FASTCNN_INLINE Mask ieq(IVec a, IVec b) { return _mm512_cmpeq_epi32_mask(a, b); }
FASTCNN_INLINE IVec iselect(Mask m, IVec a, IVec b) { return _mm512_mask_blend_epi32(m, b, a); }
FASTCNN_INLINE IVec to_int(Vec a) { return _mm512_cvtps_epi32(a); }  // to nearest even
FASTCNN_INLINE Vec to_float(IVec a) { return _mm512_cvtepi32_ps(a); }
FASTCNN_INLINE IVec as_int(Vec a) { return _mm512_castps_si512(a); }
FASTCNN_INLINE Vec as_float(IVec a) { return _mm512_castsi512_ps(a); }

FASTCNN_INLINE float reduce_add(Vec a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}

FASTCNN_INLINE float reduce_max(Vec a) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 pair = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}

FASTCNN_INLINE Vec ldexp(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }

FASTCNN_INLINE IVec ixor(IVec a, IVec b) { return _mm512_xor_si512(a, b); }
// Halves change places by shuffles, not shifts: those would wait for the multiplier's port.
FASTCNN_INLINE void multiply_wide(IVec a, IVec b, IVec& high, IVec& low) {
    const IVec even = _mm512_mul_epu32(a, b);
    const IVec odd =
        _mm512_mul_epu32(_mm512_shuffle_epi32(a, _MM_PERM_DDBB), _mm512_shuffle_epi32(b, _MM_PERM_DDBB));
    high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    low = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
}
FASTCNN_INLINE IVec interleave_order() {
    return _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}
FASTCNN_INLINE void interleave(IVec (&r)[4]) {
    const IVec a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpacklo_epi32(r[2], r[3]);
    const IVec c = _mm512_unpackhi_epi32(r[0], r[1]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm512_unpacklo_epi64(a, b);
    r[1] = _mm512_unpackhi_epi64(a, b);
    r[2] = _mm512_unpacklo_epi64(c, d);
    r[3] = _mm512_unpackhi_epi64(c, d);
}

FASTCNN_INLINE Vec lookup_of_four(const float* p, IVec i) {
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(p)), i);
}
FASTCNN_INLINE void store_interleaved(float* p, Vec a, Vec b, Vec c, Vec d) {
    const IVec low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const IVec high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const IVec pairs_low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const IVec pairs_high = _mm512_add_epi64(pairs_low, _mm512_set1_epi64(4));
    const __m512d ab[2] = {_mm512_castps_pd(_mm512_permutex2var_ps(a, low, b)),
                           _mm512_castps_pd(_mm512_permutex2var_ps(a, high, b))};
    const __m512d cd[2] = {_mm512_castps_pd(_mm512_permutex2var_ps(c, low, d)),
                           _mm512_castps_pd(_mm512_permutex2var_ps(c, high, d))};
    for (int half = 0; half < 2; ++half) {
        _mm512_storeu_pd(p + 32 * half, _mm512_permutex2var_pd(ab[half], pairs_low, cd[half]));
        _mm512_storeu_pd(p + 32 * half + 16, _mm512_permutex2var_pd(ab[half], pairs_high, cd[half]));
    }
}

struct Sum64 {
    __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
    FASTCNN_INLINE void add(Vec a) {
        low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(a)));
        high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
    }
    FASTCNN_INLINE void add_square(Vec a) {
        const __m512d l = _mm512_cvtps_pd(_mm512_castps512_ps256(a)),
                      h = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
        low = _mm512_fmadd_pd(l, l, low);
        high = _mm512_fmadd_pd(h, h, high);
    }
    FASTCNN_INLINE void store(double* p) const {
        _mm512_storeu_pd(p, low);
        _mm512_storeu_pd(p + 8, high);
    }
    FASTCNN_INLINE double total() const {
        const __m512d both = _mm512_add_pd(low, high);
        const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(both), _mm512_extractf64x4_pd(both, 1));
        const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
        return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    }
};

FASTCNN_INLINE void transpose(const float* p, std::int64_t lda, float* q, std::int64_t ldq) {
    Vec r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = load(p + i * lda);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
        const __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const Vec a = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88),
                  b = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        const Vec c = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88),
                  d = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
        store(q + i * ldq, _mm512_shuffle_f32x4(a, c, 0x88));
        store(q + (8 + i) * ldq, _mm512_shuffle_f32x4(a, c, 0xdd));
        store(q + (4 + i) * ldq, _mm512_shuffle_f32x4(b, d, 0x88));
        store(q + (12 + i) * ldq, _mm512_shuffle_f32x4(b, d, 0xdd));
    }
}

}  // namespace fastcnn::FASTCNN_ISA
