// AVX2, FMA: 8 lanes, 16 registers.
#pragma once

#include <immintrin.h>

namespace fastcnn::FASTCNN_ISA {

using Vec = __m256;
using IVec = __m256i;
using Mask = __m256;

inline constexpr int kWidth = 8;
inline constexpr int kAccumulators = 12;
inline constexpr int kTileVecs = 2;
inline constexpr int kMostVecs = 3;

FASTCNN_INLINE IVec lanes_before(std::int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

FASTCNN_INLINE Vec zero() { return _mm256_setzero_ps(); }
FASTCNN_INLINE Vec set1(float x) { return _mm256_set1_ps(x); }
FASTCNN_INLINE Vec set1_pair(const float* p) {
    double pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}
FASTCNN_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
FASTCNN_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
FASTCNN_INLINE void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }
FASTCNN_INLINE void end_stream() { _mm_sfence(); }
FASTCNN_INLINE Mask first_lanes(std::int64_t n) { return _mm256_castsi256_ps(lanes_before(n)); }
FASTCNN_INLINE Vec load_partial(const float* p, std::int64_t n) {
    return _mm256_maskload_ps(p, lanes_before(n));
}
// In pieces: masked stores are slow on AMD's processors (Zen 3: 6 to 8 ns, in pieces 2), and n is the same
// from one iteration to the next wherever this is in a loop.
FASTCNN_INLINE void store_partial(float* p, Vec v, std::int64_t n) {
    if (n >= kWidth) {
        _mm256_storeu_ps(p, v);
    } else if (n > 0) {
        __m128 rest = _mm256_castps256_ps128(v);
        if (n & 4) {
            _mm_storeu_ps(p, rest);
            rest = _mm256_extractf128_ps(v, 1);
            p += 4;
        }
        if (n & 2) {
            _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
            rest = _mm_movehl_ps(rest, rest);
            p += 2;
        }
        if (n & 1) _mm_store_ss(p, rest);
    }
}

FASTCNN_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
FASTCNN_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
FASTCNN_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
FASTCNN_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
FASTCNN_INLINE Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
FASTCNN_INLINE Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
FASTCNN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
FASTCNN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
FASTCNN_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
FASTCNN_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }

FASTCNN_INLINE Mask gt(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
FASTCNN_INLINE Mask ge(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
FASTCNN_INLINE Mask eq(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
FASTCNN_INLINE Mask not_le(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NLE_UQ); }
FASTCNN_INLINE Mask differs(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
FASTCNN_INLINE Mask is_nan(Vec a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
FASTCNN_INLINE Mask mask_and(Mask a, Mask b) { return _mm256_and_ps(a, b); }
FASTCNN_INLINE Mask mask_or(Mask a, Mask b) { return _mm256_or_ps(a, b); }
FASTCNN_INLINE Mask mask_not(Mask a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }
FASTCNN_INLINE unsigned bits(Mask m) { return static_cast<unsigned>(_mm256_movemask_ps(m)); }
FASTCNN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm256_blendv_ps(b, a, m); }

// For each set of lanes the numbers of those in it, in order, a byte each: a table, since pdep and pext,
// which would pack them, are microcode on AMD's processors before Zen 3 (Zen 2: 180 cycles for eight lanes).
struct CompressOrders {
    std::uint64_t of[256] = {};
    constexpr CompressOrders() {
        for (unsigned lanes = 0; lanes < 256; ++lanes)
            for (unsigned lane = 0, n = 0; lane < 8; ++lane)
                if (lanes >> lane & 1) of[lanes] |= std::uint64_t{lane} << 8 * n++;
    }
};
constexpr CompressOrders kCompressOrders;
FASTCNN_INLINE IVec compress_order(unsigned lanes) {
    return _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kCompressOrders.of + lanes)));
}
FASTCNN_INLINE int compress_store(float* p, Mask m, Vec v) {
    const unsigned lanes = bits(m);
    _mm256_storeu_ps(p, _mm256_permutevar8x32_ps(v, compress_order(lanes)));
    return __builtin_popcount(lanes);
}
FASTCNN_INLINE int compress_store(std::int32_t* p, Mask m, IVec v) {
    const unsigned lanes = bits(m);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(v, compress_order(lanes)));
    return __builtin_popcount(lanes);
}

FASTCNN_INLINE IVec iset1(std::int32_t x) { return _mm256_set1_epi32(x); }
FASTCNN_INLINE IVec iload(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
FASTCNN_INLINE IVec iload_partial(const std::int32_t* p, std::int64_t n) {
    return _mm256_maskload_epi32(p, lanes_before(n));
}
FASTCNN_INLINE void istore(std::int32_t* p, IVec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
FASTCNN_INLINE IVec iload_bytes_partial(const std::uint8_t* p, std::int64_t n) {
    std::uint64_t raw = 0;
    if (n >= 8)
        std::memcpy(&raw, p, 8);
    else
        for (std::int64_t i = 0; i < n; ++i) raw |= static_cast<std::uint64_t>(p[i]) << (8 * i);
    return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(raw)));
}
FASTCNN_INLINE void istore_bytes_partial(std::uint8_t* p, IVec v, std::int64_t n) {
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const std::uint64_t raw = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
    if (n >= 8)
        std::memcpy(p, &raw, 8);
    else
        for (std::int64_t i = 0; i < n; ++i) p[i] = static_cast<std::uint8_t>(raw >> (8 * i));
}
FASTCNN_INLINE std::uint64_t equal_bytes(const std::uint8_t* p, std::uint8_t b) {
    const __m256i all = _mm256_set1_epi8(static_cast<char>(b));
    const __m256i* half = reinterpret_cast<const __m256i*>(p);
    const int low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(half), all));
    const int high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(half + 1), all));
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(high)) << 32 |
           static_cast<std::uint32_t>(low);
}
FASTCNN_INLINE IVec iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
FASTCNN_INLINE IVec iadd(IVec a, IVec b) { return _mm256_add_epi32(a, b); }
FASTCNN_INLINE IVec isub(IVec a, IVec b) { return _mm256_sub_epi32(a, b); }
FASTCNN_INLINE IVec iand(IVec a, IVec b) { return _mm256_and_si256(a, b); }
FASTCNN_INLINE IVec ior(IVec a, IVec b) { return _mm256_or_si256(a, b); }
template <int N>
FASTCNN_INLINE IVec shift_left(IVec a) {
    return _mm256_slli_epi32(a, N);
}
template <int N>
FASTCNN_INLINE IVec shift_right(IVec a) {
    return _mm256_srli_epi32(a, N);
}
FASTCNN_INLINE Mask ieq(IVec a, IVec b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
FASTCNN_INLINE IVec iselect(Mask m, IVec a, IVec b) {
    return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m));
}
FASTCNN_INLINE IVec to_int(Vec a) { return _mm256_cvtps_epi32(a); }
FASTCNN_INLINE Vec to_float(IVec a) { return _mm256_cvtepi32_ps(a); }
FASTCNN_INLINE IVec as_int(Vec a) { return _mm256_castps_si256(a); }
FASTCNN_INLINE Vec as_float(IVec a) { return _mm256_castsi256_ps(a); }

FASTCNN_INLINE float reduce_add(Vec a) {
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}

FASTCNN_INLINE float reduce_max(Vec a) {
    const __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 pair = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}

// Two factors, so that each is a normal number where a * 2^n is not: the result is rounded once, into the
// subnormals too.
FASTCNN_INLINE Vec ldexp(Vec a, Vec n) {
    const IVec all = to_int(n), first = _mm256_srai_epi32(all, 1), bias = iset1(127);
    const Vec scaled = mul(a, as_float(shift_left<23>(iadd(first, bias))));
    return mul(scaled, as_float(shift_left<23>(iadd(isub(all, first), bias))));
}

FASTCNN_INLINE IVec ixor(IVec a, IVec b) { return _mm256_xor_si256(a, b); }
FASTCNN_INLINE void multiply_wide(IVec a, IVec b, IVec& high, IVec& low) {
    const IVec even = _mm256_mul_epu32(a, b);
    const IVec odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
FASTCNN_INLINE IVec interleave_order() { return _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7); }
FASTCNN_INLINE void interleave(IVec (&r)[4]) {
    const IVec a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpacklo_epi32(r[2], r[3]);
    const IVec c = _mm256_unpackhi_epi32(r[0], r[1]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm256_unpacklo_epi64(a, b);
    r[1] = _mm256_unpackhi_epi64(a, b);
    r[2] = _mm256_unpacklo_epi64(c, d);
    r[3] = _mm256_unpackhi_epi64(c, d);
}

FASTCNN_INLINE Vec lookup_of_four(const float* p, IVec i) {
    return _mm256_permutevar_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)), i);
}
FASTCNN_INLINE void store_interleaved(float* p, Vec a, Vec b, Vec c, Vec d) {
    const Vec ab[2] = {_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)};
    const Vec cd[2] = {_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d)};
    for (int half = 0; half < 2; ++half) {
        const Vec even = _mm256_shuffle_ps(ab[half], cd[half], 0x44);  // groups 2 * half and 2 * half + 4
        const Vec odd = _mm256_shuffle_ps(ab[half], cd[half], 0xee);
        _mm256_storeu_ps(p + 8 * half, _mm256_permute2f128_ps(even, odd, 0x20));
        _mm256_storeu_ps(p + 8 * half + 16, _mm256_permute2f128_ps(even, odd, 0x31));
    }
}

struct Sum64 {
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    FASTCNN_INLINE void add(Vec a) {
        low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(a)));
        high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
    }
    FASTCNN_INLINE void add_square(Vec a) {
        const __m256d l = _mm256_cvtps_pd(_mm256_castps256_ps128(a)),
                      h = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
        low = _mm256_fmadd_pd(l, l, low);
        high = _mm256_fmadd_pd(h, h, high);
    }
    FASTCNN_INLINE void store(double* p) const {
        _mm256_storeu_pd(p, low);
        _mm256_storeu_pd(p + 4, high);
    }
    FASTCNN_INLINE double total() const {
        const __m256d both = _mm256_add_pd(low, high);
        const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(both), _mm256_extractf128_pd(both, 1));
        return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    }
};

FASTCNN_INLINE void transpose(const float* p, std::int64_t lda, float* q, std::int64_t ldq) {
    Vec r[8], t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[i] = load(p + i * lda);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        store(q + i * ldq, _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
        store(q + (4 + i) * ldq, _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
    }
}

}  // namespace fastcnn::FASTCNN_ISA
