// SSE2, what every x86-64 processor has: 4 lanes, 16 registers, no fused multiply-add.
#pragma once

#include <emmintrin.h>

namespace fastcnn::FASTCNN_ISA {

using Vec = __m128;
using IVec = __m128i;
using Mask = __m128;

inline constexpr int kWidth = 4;
inline constexpr int kAccumulators = 10;
inline constexpr int kTileVecs = 2;
inline constexpr int kMostVecs = 3;

FASTCNN_INLINE IVec lanes_before(std::int64_t n) {
    return _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), _mm_setr_epi32(0, 1, 2, 3));
}

FASTCNN_INLINE Vec zero() { return _mm_setzero_ps(); }
FASTCNN_INLINE Vec set1(float x) { return _mm_set1_ps(x); }
FASTCNN_INLINE Vec set1_pair(const float* p) {
    double pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm_castpd_ps(_mm_set1_pd(pair));
}
FASTCNN_INLINE Vec load(const float* p) { return _mm_loadu_ps(p); }
FASTCNN_INLINE void store(float* p, Vec v) { _mm_storeu_ps(p, v); }
// A tile's row is half a cache line: past the caches, halves would be merged in memory.
FASTCNN_INLINE void stream(float* p, Vec v) { store(p, v); }
FASTCNN_INLINE void end_stream() {}
FASTCNN_INLINE Mask first_lanes(std::int64_t n) { return _mm_castsi128_ps(lanes_before(n)); }
FASTCNN_INLINE Vec load_partial(const float* p, std::int64_t n) {
    if (n >= 4) return load(p);
    float lanes[4] = {0, 0, 0, 0};
    for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
}
FASTCNN_INLINE void store_partial(float* p, Vec v, std::int64_t n) {
    if (n >= 4) return store(p, v);
    float lanes[4];
    store(lanes, v);
    for (std::int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

FASTCNN_INLINE Vec add(Vec a, Vec b) { return _mm_add_ps(a, b); }
FASTCNN_INLINE Vec sub(Vec a, Vec b) { return _mm_sub_ps(a, b); }
FASTCNN_INLINE Vec mul(Vec a, Vec b) { return _mm_mul_ps(a, b); }
FASTCNN_INLINE Vec div(Vec a, Vec b) { return _mm_div_ps(a, b); }
FASTCNN_INLINE Vec sqrt(Vec a) { return _mm_sqrt_ps(a); }
FASTCNN_INLINE Vec abs(Vec a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
FASTCNN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
FASTCNN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm_sub_ps(c, _mm_mul_ps(a, b)); }
FASTCNN_INLINE Vec max(Vec a, Vec b) { return _mm_max_ps(a, b); }
FASTCNN_INLINE Vec min(Vec a, Vec b) { return _mm_min_ps(a, b); }

FASTCNN_INLINE Mask gt(Vec a, Vec b) { return _mm_cmpgt_ps(a, b); }
FASTCNN_INLINE Mask ge(Vec a, Vec b) { return _mm_cmpge_ps(a, b); }
FASTCNN_INLINE Mask eq(Vec a, Vec b) { return _mm_cmpeq_ps(a, b); }
FASTCNN_INLINE Mask not_le(Vec a, Vec b) { return _mm_cmpnle_ps(a, b); }
FASTCNN_INLINE Mask differs(Vec a, Vec b) { return _mm_cmpneq_ps(a, b); }
FASTCNN_INLINE Mask is_nan(Vec a) { return _mm_cmpunord_ps(a, a); }
FASTCNN_INLINE Mask mask_and(Mask a, Mask b) { return _mm_and_ps(a, b); }
FASTCNN_INLINE Mask mask_or(Mask a, Mask b) { return _mm_or_ps(a, b); }
FASTCNN_INLINE Mask mask_not(Mask a) { return _mm_xor_ps(a, _mm_castsi128_ps(_mm_set1_epi32(-1))); }
FASTCNN_INLINE unsigned bits(Mask m) { return static_cast<unsigned>(_mm_movemask_ps(m)); }
FASTCNN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }

FASTCNN_INLINE IVec iset1(std::int32_t x) { return _mm_set1_epi32(x); }
FASTCNN_INLINE IVec iload(const std::int32_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
FASTCNN_INLINE void istore(std::int32_t* p, IVec v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
FASTCNN_INLINE IVec iload_partial(const std::int32_t* p, std::int64_t n) {
    if (n >= 4) return iload(p);
    std::int32_t lanes[4] = {0, 0, 0, 0};
    for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return iload(lanes);
}
FASTCNN_INLINE IVec iload_bytes_partial(const std::uint8_t* p, std::int64_t n) {
    std::int32_t lanes[4] = {0, 0, 0, 0};
    for (std::int64_t i = 0; i < (n < 4 ? n : 4); ++i) lanes[i] = p[i];
    return iload(lanes);
}
FASTCNN_INLINE void istore_bytes_partial(std::uint8_t* p, IVec v, std::int64_t n) {
    std::int32_t lanes[4];
    istore(lanes, v);
    for (std::int64_t i = 0; i < (n < 4 ? n : 4); ++i) p[i] = static_cast<std::uint8_t>(lanes[i]);
}
FASTCNN_INLINE int compress_store(std::int32_t* p, Mask m, IVec v) {
    const unsigned lanes = bits(m);
    std::int32_t all[4];
    istore(all, v);
    int n = 0;
    for (int i = 0; i < 4; ++i) {
        p[n] = all[i];
        n += static_cast<int>((lanes >> i) & 1u);
    }
    return n;
}
FASTCNN_INLINE int compress_store(float* p, Mask m, Vec v) {
    const unsigned lanes = bits(m);
    float all[4];
    store(all, v);
    int n = 0;
    for (int i = 0; i < 4; ++i) {
        p[n] = all[i];
        n += static_cast<int>((lanes >> i) & 1u);
    }
    return n;
}
FASTCNN_INLINE std::uint64_t equal_bytes(const std::uint8_t* p, std::uint8_t b) {
    const __m128i all = _mm_set1_epi8(static_cast<char>(b));
    std::uint64_t found = 0;
    for (int i = 0; i < 4; ++i) {
        const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i);
        found |= static_cast<std::uint64_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(some, all))) << 16 * i;
    }
    return found;
}
FASTCNN_INLINE IVec iota() { return _mm_setr_epi32(0, 1, 2, 3); }
FASTCNN_INLINE IVec iadd(IVec a, IVec b) { return _mm_add_epi32(a, b); }
FASTCNN_INLINE IVec isub(IVec a, IVec b) { return _mm_sub_epi32(a, b); }
FASTCNN_INLINE IVec iand(IVec a, IVec b) { return _mm_and_si128(a, b); }
FASTCNN_INLINE IVec ior(IVec a, IVec b) { return _mm_or_si128(a, b); }
template <int N>
FASTCNN_INLINE IVec shift_left(IVec a) {
    return _mm_slli_epi32(a, N);
}
template <int N>
FASTCNN_INLINE IVec shift_right(IVec a) {
    return _mm_srli_epi32(a, N);
}
FASTCNN_INLINE Mask ieq(IVec a, IVec b) { return _mm_castsi128_ps(_mm_cmpeq_epi32(a, b)); }
FASTCNN_INLINE IVec iselect(Mask m, IVec a, IVec b) {
    const IVec k = _mm_castps_si128(m);
    return _mm_or_si128(_mm_and_si128(k, a), _mm_andnot_si128(k, b));
}
FASTCNN_INLINE IVec to_int(Vec a) { return _mm_cvtps_epi32(a); }
FASTCNN_INLINE Vec to_float(IVec a) { return _mm_cvtepi32_ps(a); }
FASTCNN_INLINE IVec as_int(Vec a) { return _mm_castps_si128(a); }
FASTCNN_INLINE Vec as_float(IVec a) { return _mm_castsi128_ps(a); }

FASTCNN_INLINE float reduce_add(Vec a) {
    const __m128 pair = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}

FASTCNN_INLINE float reduce_max(Vec a) {
    const __m128 pair = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}

// Two factors, so that each is a normal number where a * 2^n is not: the result is rounded once, into the
// subnormals too.
FASTCNN_INLINE Vec ldexp(Vec a, Vec n) {
    const IVec all = to_int(n), first = _mm_srai_epi32(all, 1), bias = iset1(127);
    const Vec scaled = mul(a, as_float(shift_left<23>(iadd(first, bias))));
    return mul(scaled, as_float(shift_left<23>(iadd(isub(all, first), bias))));
}

FASTCNN_INLINE IVec ixor(IVec a, IVec b) { return _mm_xor_si128(a, b); }
FASTCNN_INLINE void multiply_wide(IVec a, IVec b, IVec& high, IVec& low) {
    const IVec even = _mm_mul_epu32(a, b), odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), _mm_srli_epi64(b, 32));
    const IVec lower = _mm_set1_epi64x(0xffffffff);
    high = _mm_or_si128(_mm_srli_epi64(even, 32), _mm_andnot_si128(lower, odd));
    low = _mm_or_si128(_mm_and_si128(lower, even), _mm_slli_epi64(odd, 32));
}
FASTCNN_INLINE IVec interleave_order() { return iota(); }
FASTCNN_INLINE void interleave(IVec (&r)[4]) {
    const IVec a = _mm_unpacklo_epi32(r[0], r[1]), b = _mm_unpacklo_epi32(r[2], r[3]);
    const IVec c = _mm_unpackhi_epi32(r[0], r[1]), d = _mm_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm_unpacklo_epi64(a, b);
    r[1] = _mm_unpackhi_epi64(a, b);
    r[2] = _mm_unpacklo_epi64(c, d);
    r[3] = _mm_unpackhi_epi64(c, d);
}

FASTCNN_INLINE Vec lookup_of_four(const float* p, IVec i) {
    std::int32_t lanes[4];
    istore(lanes, i);
    return _mm_setr_ps(p[lanes[0]], p[lanes[1]], p[lanes[2]], p[lanes[3]]);
}
FASTCNN_INLINE void store_interleaved(float* p, Vec a, Vec b, Vec c, Vec d) {
    _MM_TRANSPOSE4_PS(a, b, c, d);
    store(p, a);
    store(p + 4, b);
    store(p + 8, c);
    store(p + 12, d);
}

struct Sum64 {
    __m128d low = _mm_setzero_pd(), high = _mm_setzero_pd();
    FASTCNN_INLINE void add(Vec a) {
        low = _mm_add_pd(low, _mm_cvtps_pd(a));
        high = _mm_add_pd(high, _mm_cvtps_pd(_mm_movehl_ps(a, a)));
    }
    FASTCNN_INLINE void add_square(Vec a) {
        const __m128d l = _mm_cvtps_pd(a), h = _mm_cvtps_pd(_mm_movehl_ps(a, a));
        low = _mm_add_pd(low, _mm_mul_pd(l, l));
        high = _mm_add_pd(high, _mm_mul_pd(h, h));
    }
    FASTCNN_INLINE void store(double* p) const {
        _mm_storeu_pd(p, low);
        _mm_storeu_pd(p + 2, high);
    }
    FASTCNN_INLINE double total() const {
        const __m128d pair = _mm_add_pd(low, high);
        return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    }
};

FASTCNN_INLINE void transpose(const float* p, std::int64_t lda, float* q, std::int64_t ldq) {
    Vec a = load(p), b = load(p + lda), c = load(p + 2 * lda), d = load(p + 3 * lda);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    store(q, a);
    store(q + ldq, b);
    store(q + 2 * ldq, c);
    store(q + 3 * ldq, d);
}

}  // namespace fastcnn::FASTCNN_ISA
