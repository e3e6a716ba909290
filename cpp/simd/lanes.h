// Loops over arrays whose length is no multiple of the vector width: the body is written once and
// instantiated for a whole vector and for the rest.
#pragma once

#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

// How a loop's body reaches memory: all lanes of a vector ...
struct All {
    FASTCNN_INLINE Vec load(const float* p) const { return FASTCNN_ISA::load(p); }
    FASTCNN_INLINE void store(float* p, Vec v) const { FASTCNN_ISA::store(p, v); }
    FASTCNN_INLINE Vec keep(Vec v, Vec = zero()) const { return v; }
    FASTCNN_INLINE unsigned bits(Mask m) const { return FASTCNN_ISA::bits(m); }
};

// ... or the first n of them, 0 < n < kWidth. keep() puts `other` into the lanes after those.
struct First {
    std::int64_t n;
    FASTCNN_INLINE Vec load(const float* p) const { return load_partial(p, n); }
    FASTCNN_INLINE void store(float* p, Vec v) const { store_partial(p, v, n); }
    FASTCNN_INLINE Vec keep(Vec v, Vec other = zero()) const { return select(first_lanes(n), v, other); }
    FASTCNN_INLINE unsigned bits(Mask m) const { return FASTCNN_ISA::bits(mask_and(m, first_lanes(n))); }
};

// body(i, lanes) for i = 0, kWidth, ... below n.
template <class Body>
FASTCNN_INLINE void for_each_vector(std::int64_t n, const Body& body) {
    std::int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) body(i, All{});
    if (i < n) body(i, First{n - i});
}

template <int N>
struct Vectors {
    static constexpr int count = N;
};

// body(i, lanes, Vectors<k>) over columns [i, i + k * kWidth) of an array `n` wide, k = 4 as long as that
// fits, then 2, then 1: where the body keeps accumulators for its columns while it walks down the rows, four
// are enough to hide the adder's latency and few enough for 16 registers.
template <class Body>
FASTCNN_INLINE void for_each_columns(std::int64_t n, const Body& body) {
    std::int64_t i = 0;
    for (; i + 4 * kWidth <= n; i += 4 * kWidth) body(i, All{}, Vectors<4>{});
    for (; i + 2 * kWidth <= n; i += 2 * kWidth) body(i, All{}, Vectors<2>{});
    for (; i + kWidth <= n; i += kWidth) body(i, All{}, Vectors<1>{});
    if (i < n) body(i, First{n - i}, Vectors<1>{});
}

}  // namespace fastcnn::FASTCNN_ISA
