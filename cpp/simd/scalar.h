// One lane, plain C++: the same algorithms on any processor.
#pragma once

namespace fastcnn::FASTCNN_ISA {

using Vec = float;
using IVec = std::int32_t;
using Mask = bool;

inline constexpr int kWidth = 1;
inline constexpr int kAccumulators = 8;
inline constexpr int kTileVecs = 2;
inline constexpr int kMostVecs = 3;

FASTCNN_INLINE Vec zero() { return 0.0f; }
FASTCNN_INLINE Vec set1(float x) { return x; }
FASTCNN_INLINE Vec set1_pair(const float* p) { return *p; }
FASTCNN_INLINE Vec load(const float* p) { return *p; }
FASTCNN_INLINE void store(float* p, Vec v) { *p = v; }
FASTCNN_INLINE void stream(float* p, Vec v) { *p = v; }
FASTCNN_INLINE void end_stream() {}
FASTCNN_INLINE Mask first_lanes(std::int64_t n) { return n > 0; }
FASTCNN_INLINE Vec load_partial(const float* p, std::int64_t n) { return n > 0 ? *p : 0.0f; }
FASTCNN_INLINE void store_partial(float* p, Vec v, std::int64_t n) {
    if (n > 0) *p = v;
}

FASTCNN_INLINE Vec add(Vec a, Vec b) { return a + b; }
FASTCNN_INLINE Vec sub(Vec a, Vec b) { return a - b; }
FASTCNN_INLINE Vec mul(Vec a, Vec b) { return a * b; }
FASTCNN_INLINE Vec div(Vec a, Vec b) { return a / b; }
FASTCNN_INLINE Vec sqrt(Vec a) { return __builtin_sqrtf(a); }
FASTCNN_INLINE Vec abs(Vec a) { return __builtin_fabsf(a); }
FASTCNN_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
FASTCNN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
FASTCNN_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
FASTCNN_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }

FASTCNN_INLINE Mask gt(Vec a, Vec b) { return a > b; }
FASTCNN_INLINE Mask ge(Vec a, Vec b) { return a >= b; }
FASTCNN_INLINE Mask eq(Vec a, Vec b) { return a == b; }
FASTCNN_INLINE Mask not_le(Vec a, Vec b) { return !(a <= b); }
FASTCNN_INLINE Mask differs(Vec a, Vec b) { return a != b; }
FASTCNN_INLINE Mask is_nan(Vec a) { return a != a; }
FASTCNN_INLINE Mask mask_and(Mask a, Mask b) { return a && b; }
FASTCNN_INLINE Mask mask_or(Mask a, Mask b) { return a || b; }
FASTCNN_INLINE Mask mask_not(Mask a) { return !a; }
FASTCNN_INLINE unsigned bits(Mask m) { return m ? 1u : 0u; }
FASTCNN_INLINE Vec select(Mask m, Vec a, Vec b) { return m ? a : b; }

FASTCNN_INLINE IVec iset1(std::int32_t x) { return x; }
FASTCNN_INLINE IVec iload(const std::int32_t* p) { return *p; }
FASTCNN_INLINE IVec iload_partial(const std::int32_t* p, std::int64_t n) { return n > 0 ? *p : 0; }
FASTCNN_INLINE void istore(std::int32_t* p, IVec v) { *p = v; }
FASTCNN_INLINE IVec iload_bytes_partial(const std::uint8_t* p, std::int64_t n) { return n > 0 ? *p : 0; }
FASTCNN_INLINE void istore_bytes_partial(std::uint8_t* p, IVec v, std::int64_t n) {
    if (n > 0) *p = static_cast<std::uint8_t>(v);
}
FASTCNN_INLINE int compress_store(float* p, Mask m, Vec v) {
    *p = v;
    return m ? 1 : 0;
}
FASTCNN_INLINE int compress_store(std::int32_t* p, Mask m, IVec v) {
    *p = v;
    return m ? 1 : 0;
}
FASTCNN_INLINE std::uint64_t equal_bytes(const std::uint8_t* p, std::uint8_t b) {
    std::uint64_t found = 0;
    for (int i = 0; i < 64; ++i) found |= static_cast<std::uint64_t>(p[i] == b) << i;
    return found;
}
FASTCNN_INLINE IVec iota() { return 0; }
// Sums wrap around, as in the instruction sets.
FASTCNN_INLINE IVec iadd(IVec a, IVec b) {
    return static_cast<IVec>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}
FASTCNN_INLINE IVec isub(IVec a, IVec b) {
    return static_cast<IVec>(static_cast<std::uint32_t>(a) - static_cast<std::uint32_t>(b));
}
FASTCNN_INLINE IVec iand(IVec a, IVec b) { return a & b; }
FASTCNN_INLINE IVec ior(IVec a, IVec b) { return a | b; }
template <int N>
FASTCNN_INLINE IVec shift_left(IVec a) {
    return static_cast<IVec>(static_cast<std::uint32_t>(a) << N);
}
template <int N>
FASTCNN_INLINE IVec shift_right(IVec a) {
    return static_cast<IVec>(static_cast<std::uint32_t>(a) >> N);
}
FASTCNN_INLINE Mask ieq(IVec a, IVec b) { return a == b; }
FASTCNN_INLINE IVec iselect(Mask m, IVec a, IVec b) { return m ? a : b; }
FASTCNN_INLINE IVec to_int(Vec a) { return static_cast<IVec>(__builtin_rintf(a)); }
FASTCNN_INLINE Vec to_float(IVec a) { return static_cast<float>(a); }
FASTCNN_INLINE IVec as_int(Vec a) {
    IVec out;
    std::memcpy(&out, &a, 4);
    return out;
}
FASTCNN_INLINE Vec as_float(IVec a) {
    Vec out;
    std::memcpy(&out, &a, 4);
    return out;
}
FASTCNN_INLINE float reduce_add(Vec a) { return a; }
FASTCNN_INLINE float reduce_max(Vec a) { return a; }

// Two factors, so that each is a normal number where a * 2^n is not: the result is rounded once, into the
// subnormals too.
FASTCNN_INLINE Vec ldexp(Vec a, Vec n) {
    if (n != n) return n;
    const IVec all = to_int(n), first = all / 2;
    return a * as_float(shift_left<23>(first + 127)) * as_float(shift_left<23>(all - first + 127));
}

FASTCNN_INLINE IVec ixor(IVec a, IVec b) { return a ^ b; }
FASTCNN_INLINE void multiply_wide(IVec a, IVec b, IVec& high, IVec& low) {
    const std::uint64_t product =
        std::uint64_t{static_cast<std::uint32_t>(a)} * static_cast<std::uint32_t>(b);
    high = static_cast<IVec>(product >> 32);
    low = static_cast<IVec>(product);
}
FASTCNN_INLINE IVec interleave_order() { return 0; }
FASTCNN_INLINE void interleave(IVec (&)[4]) {}

FASTCNN_INLINE Vec lookup_of_four(const float* p, IVec i) { return p[i]; }
FASTCNN_INLINE void store_interleaved(float* p, Vec a, Vec b, Vec c, Vec d) {
    p[0] = a;
    p[1] = b;
    p[2] = c;
    p[3] = d;
}

struct Sum64 {
    double sum = 0.0;
    FASTCNN_INLINE void add(Vec a) { sum += static_cast<double>(a); }
    FASTCNN_INLINE void add_square(Vec a) { sum += static_cast<double>(a) * static_cast<double>(a); }
    FASTCNN_INLINE void store(double* p) const { *p = sum; }
    FASTCNN_INLINE double total() const { return sum; }
};

FASTCNN_INLINE void transpose(const float* p, std::int64_t, float* q, std::int64_t) { *q = *p; }

}  // namespace fastcnn::FASTCNN_ISA
