// The vector vocabulary. A kernel is written once with these names and compiled once per instruction set,
// each time into its own namespace (FASTCNN_ISA), so that no two copies share a symbol.
//
// clang-format off
//   Vec IVec               kWidth floats, kWidth 32-bit integers
//   Mask                   one truth value a lane
//   load store             unaligned
//   load_partial(p, n)     0 <= n <= kWidth lanes; those from n on read as zero
//   store_partial(p, v, n) the same; those from n on are not touched in memory
//   stream(p, v)           past the caches, p a multiple of a vector; end_stream() before another thread reads
//   set1 zero              broadcast
//   set1_pair(p)           p[0], p[1], p[0], p[1], ...
//   fma(a, b, c)           a * b + c, in one rounding where the instruction set has it
//   fnma(a, b, c)          c - a * b
//   max(a, b) min(a, b)    b where either is NaN: max(zero, x) keeps x's NaN
//   gt ge eq               ordered: false for NaN
//   not_le differs is_nan  true for NaN
//   select(m, a, b)        a where m, else b
//   mask_and mask_or mask_not
//   bits(m)                lane i -> bit i
//   equal_bytes(p, b)      bit i: p[i] is b, i < 64
//   compress_store(p,m,v)  lanes in m, in order, at p; may write kWidth floats; returns how many lanes were in m
//   reduce_add             sum of the lanes in a fixed tree
//   reduce_max             largest lane; no lane may be NaN
//   ldexp(a, n)            a * 2^n for whole n in [-250, 250], rounded once; NaN in either gives NaN
//   multiply_wide(a, b, high, low)     the 64-bit products of unsigned lanes, in halves
//   interleave(r)          r[0..3] hold four words each of kWidth groups, lane i those of group
//                          interleave_order()[i]; afterwards the 4 * kWidth lanes of r[0], r[1], r[2], r[3] are
//                          group 0's words, group 1's, ...
//   lookup_of_four(p, i)   lane: p[lane of i], 0 <= i < 4
//   store_interleaved(p, a, b, c, d)   the 4 * kWidth floats a[0], b[0], c[0], d[0], a[1], b[1], ...
//   Sum64                  a sum in double for each lane: add(v), add_square(v), store(kWidth doubles), total()
//   transpose(p, lda, q, ldq)          kWidth x kWidth block
// clang-format on
//
// kAccumulators of them are the sums of a register tile, in rows of kTileVecs, at most kMostVecs
// (kernels/tile.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/inline.h"

#if defined(__AVX512F__)
#include "simd/avx512.h"
#elif defined(__AVX2__)
#include "simd/avx2.h"
#elif defined(__SSE2__)
#include "simd/sse2.h"
#else
#include "simd/scalar.h"
#endif

namespace fastcnn::FASTCNN_ISA {

// 32 registers rather than 16 or none.
inline constexpr bool kManyRegisters = kAccumulators > 16;

// a * b + c for the sums of register tiles. With FASTCNN_PAIRS the "floats" of a and b are pairs of bfloat16
// numbers, the products of both are added: the same kernels then compute on bfloat16 arrays.
#if defined(FASTCNN_PAIRS)
FASTCNN_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
#else
FASTCNN_INLINE Vec multiply_add(Vec a, Vec b, Vec c) { return fma(a, b, c); }
#endif

// A loaded vector that several instructions use, for which GCC would otherwise repeat the load in each of
// them.
FASTCNN_INLINE Vec in_register(Vec v) {
#if defined(__SSE2__)
    asm("" : "+v"(v));
#endif
    return v;
}

}  // namespace fastcnn::FASTCNN_ISA
