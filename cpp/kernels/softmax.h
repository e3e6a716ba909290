// One row of a softmax, shared by the activation and by the losses from logits.
#pragma once

#include "simd/lanes.h"
#include "simd/math.h"

namespace fastcnn::FASTCNN_ISA {

// Rows up to this length keep their exponentials in a buffer on the stack, written and read in whole vectors:
// stores of partial vectors to the result would have to reach memory before the next pass could load them.
inline constexpr std::int64_t kShortRow = 64;

// The largest element that is not NaN; -infinity where there is none.
FASTCNN_INLINE float row_max(const float* x, std::int64_t n) {
    const Vec lowest = set1(-__builtin_inff());
    Vec highest = lowest;
    for_each_vector(n, [&](std::int64_t i, auto lanes) {
        highest = max(lanes.keep(lanes.load(x + i), lowest), highest);
    });
    return reduce_max(highest);
}

// Sums of e_i = exp(x_i - highest): `top` counts the elements with e_i = 1, `rest` adds the others. Kept
// apart, so that a confident row's small rest is not lost beside 1. NaN, and +infinity (where x_i - highest
// is NaN), are in `rest`.
struct RowSums {
    float top, rest;
};

// store(i, e): called with each vector of exponentials, zero in the lanes beyond the row.
template <class Store>
FASTCNN_INLINE RowSums row_exp(const float* x, std::int64_t n, float highest, const Store& store) {
    const Vec shift = set1(highest), one = set1(1.0f);
    Vec top = zero(), rest = zero();
    for_each_vector(n, [&](std::int64_t i, auto lanes) {
        const Vec e = lanes.keep(exp(sub(lanes.load(x + i), shift)));
        const Mask is_top = eq(e, one);
        top = add(top, select(is_top, one, zero()));
        rest = add(rest, select(is_top, zero(), e));
        store(i, lanes, e);
    });
    return {reduce_add(top), reduce_add(rest)};
}

}  // namespace fastcnn::FASTCNN_ISA
