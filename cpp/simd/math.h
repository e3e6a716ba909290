// Elementary functions on vectors. Errors are the largest seen against double, in units in the last place of
// the result, over every seventh float32 of the domain (subnormal numbers included), on every instruction
// set.
#pragma once

#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {

FASTCNN_INLINE Vec infinity() { return set1(__builtin_inff()); }

// -1, 0 or 1; 0 for NaN.
FASTCNN_INLINE Vec sign(Vec x) {
    const Vec one = set1(1.0f);
    return select(gt(x, zero()), one, select(gt(zero(), x), sub(zero(), one), zero()));
}

// e^x = 2^n (1 + rest): x = n ln 2 + r with |r| <= ln 2 / 2; e^r = 1 + r + r^2 q(r), q of degree 4 (minimax,
// relative error 2^-28); ln 2 in two parts, the first with 10 bits, so that n times it is exact.
struct Exponential {
    Vec n, rest;
};
FASTCNN_INLINE Exponential split_exp(Vec x) {
    // Beyond these bounds the result is infinity or zero all the same, and n stays within ldexp's range. NaN
    // passes.
    x = min(set1(89.0f), max(set1(-104.0f), x));
    const Vec round = set1(12582912.0f);  // 1.5 * 2^23: adding it leaves no fraction bits
    const Vec n = sub(fma(x, set1(1.44269504f), round), round);
    const Vec r = fnma(n, set1(-2.12194440e-4f), fnma(n, set1(0.693359375f), x));
    Vec q = set1(1.381460228e-3f);
    q = fma(q, r, set1(8.368715644e-3f));
    q = fma(q, r, set1(4.166838899e-2f));
    q = fma(q, r, set1(1.666652113e-1f));
    q = fma(q, r, set1(4.999999404e-1f));
    return {n, fma(mul(r, r), q, r)};
}

// e^x. Error 1.1 ulp, subnormal results included. Overflows to infinity and underflows to zero where the
// rounded result does; NaN stays.
FASTCNN_INLINE Vec exp(Vec x) {
    const Exponential e = split_exp(x);
    return ldexp(add(set1(1.0f), e.rest), e.n);
}

// e^x - 1, without cancellation near zero: there n is 0 and `rest` the result. Error 2.6 ulp.
FASTCNN_INLINE Vec expm1(Vec x) {
    const Exponential e = split_exp(x);
    const Vec far = sub(ldexp(add(set1(1.0f), e.rest), e.n), set1(1.0f));
    return select(eq(e.n, zero()), e.rest, far);
}

// u = 2^k m with m in [sqrt(1/2), sqrt 2), for normal positive u.
struct Mantissa {
    Vec m, k;
    IVec k_bits;  // k << 23
};
FASTCNN_INLINE Mantissa split(Vec u) {
    // Subtracting the bits of sqrt(1/2) puts the step of the exponent field there; 127 keeps it positive for
    // the shift.
    const IVec shifted = iadd(isub(as_int(u), iset1(0x3f3504f3)), iset1(127 << 23));
    const IVec k = isub(shift_right<23>(shifted), iset1(127));
    const IVec k_bits = shift_left<23>(k);
    return {as_float(isub(as_int(u), k_bits)), to_float(k), k_bits};
}

// k ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt 2 - 1]: log(1 + f) = f - f^2 / 2 + f^3 q(f), q of degree
// 7 (minimax, relative error 2^-27), smallest terms added first.
FASTCNN_INLINE Vec log_sum(Vec f, Vec k) {
    const Vec square = mul(f, f);
    Vec q = set1(-7.634615153e-2f);
    q = fma(q, f, set1(1.276175380e-1f));
    q = fma(q, f, set1(-1.316022128e-1f));
    q = fma(q, f, set1(1.420173794e-1f));
    q = fma(q, f, set1(-1.662335098e-1f));
    q = fma(q, f, set1(2.000122815e-1f));
    q = fma(q, f, set1(-2.500082254e-1f));
    q = fma(q, f, set1(3.333333135e-1f));
    Vec y = fma(mul(square, f), q, mul(k, set1(-2.12194440e-4f)));
    y = add(f, fnma(set1(0.5f), square, y));
    return fma(k, set1(0.693359375f), y);
}

// The results where a logarithm of `u` has no finite value.
FASTCNN_INLINE Vec log_limits(Vec u, Vec y) {
    y = select(eq(u, infinity()), infinity(), y);
    const Vec at_most_zero = select(eq(u, zero()), set1(-__builtin_inff()), set1(__builtin_nanf("")));
    return select(gt(u, zero()), y, at_most_zero);
}

// Natural logarithm. Error 0.9 ulp, subnormal x included; log 0 = -infinity, NaN below zero.
FASTCNN_INLINE Vec log(Vec x) {
    const Mask subnormal = gt(set1(1.17549435e-38f), x);
    const Mantissa u = split(select(subnormal, mul(x, set1(8388608.0f)), x));
    const Vec k = sub(u.k, select(subnormal, set1(23.0f), zero()));
    return log_limits(x, log_sum(sub(u.m, set1(1.0f)), k));
}

// log(1 + x): u = fl(1 + x) loses c = x - (u - 1), which is exact; put back into the argument of the
// polynomial, 2^-k c, it leaves f = x itself where k = 0. (As 2^(1-k) times c / 2: 2^-k is no normal number
// where x is the largest.) Error 1.5 ulp; -infinity at -1, NaN below.
FASTCNN_INLINE Vec log1p(Vec x) {
    const Vec one = set1(1.0f);
    const Vec u = add(one, x);
    const Mantissa s = split(u);
    const Vec half_lost = mul(set1(0.5f), sub(x, sub(u, one)));
    const Vec f = fma(half_lost, as_float(isub(iset1(128 << 23), s.k_bits)), sub(s.m, one));
    return log_limits(u, log_sum(f, s.k));
}

// 1 / (1 + e^-x) and its complement 1 / (1 + e^x), both to 2.9 ulp: the exponential is of -|x|, so nothing
// overflows and the smaller of the two is a product, never a difference. `e` is e^-|x|.
struct Sigmoid {
    Vec p, complement, e;
};
FASTCNN_INLINE Sigmoid sigmoid_pair(Vec x) {
    const Vec e = exp(sub(zero(), abs(x)));
    const Vec larger = div(set1(1.0f), add(set1(1.0f), e));
    const Vec smaller = mul(e, larger);
    const Mask negative = gt(zero(), x);
    return {select(negative, smaller, larger), select(negative, larger, smaller), e};
}
FASTCNN_INLINE Vec sigmoid(Vec x) { return sigmoid_pair(x).p; }

// tanh: x + x^3 q(x^2) to |x| = 0.625, q of degree 4 (minimax, relative error 2^-27.8); 1 - 2 / (e^2|x| + 1)
// with x's sign beyond, where the quotient is smaller than a half. Error 1.4 ulp.
FASTCNN_INLINE Vec tanh(Vec x) {
    const Vec s = mul(x, x);
    Vec q = set1(-5.704987328e-3f);
    q = fma(q, s, set1(2.063908800e-2f));
    q = fma(q, s, set1(-5.373971537e-2f));
    q = fma(q, s, set1(1.333144158e-1f));
    q = fma(q, s, set1(-3.333328068e-1f));
    const Vec near_zero = fma(mul(x, s), q, x);
    const Vec size = abs(x);
    const Vec e = exp(add(size, size));
    const Vec far = sub(set1(1.0f), div(set1(2.0f), add(e, set1(1.0f))));
    const IVec sign = iand(as_int(x), as_int(set1(-0.0f)));
    return select(gt(size, set1(0.625f)), as_float(ior(as_int(far), sign)), near_zero);
}

// Probability that a standard normal number is below x, with its density. The smaller tail is
// e^(-x^2 / 2) t p(t) / 2 with t = 1 / (1 + 0.4 |x| / sqrt 2), p of degree 9 (relative error 1e-8 to |x| =
// 15); the larger one its complement. Relative error of the tail: that of e^(-x^2 / 2), x^2 / 4 + 4 ulp.
struct Normal {
    Vec below, density;
};
FASTCNN_INLINE Normal normal_distribution(Vec x) {
    const Vec size = abs(x);
    const Vec e = exp(mul(set1(-0.5f), mul(x, x)));
    const Vec t = div(set1(1.0f), fma(set1(0.282842712f), size, set1(1.0f)));
    Vec p = set1(-2.772409959e-2f);
    p = fma(p, t, set1(1.879028468e-1f));
    p = fma(p, t, set1(-4.751626798e-1f));
    p = fma(p, t, set1(5.160896116e-1f));
    p = fma(p, t, set1(-2.584790640e-1f));
    p = fma(p, t, set1(2.582832561e-1f));
    p = fma(p, t, set1(1.343998073e-1f));
    p = fma(p, t, set1(2.139184983e-1f));
    p = fma(p, t, set1(2.250709567e-1f));
    p = fma(p, t, set1(2.257008768e-1f));
    const Vec tail = mul(mul(set1(0.5f), e), mul(t, p));
    const Vec below = select(gt(zero(), x), tail, sub(set1(1.0f), tail));
    return {below, mul(set1(0.398942280f), e)};
}

// Sine and cosine of `turns` * 2 pi, 0 <= turns < 1: the nearest quarter turn and an angle of at most pi / 4,
// whose series to the 9th and 10th power leave 2e-9.
FASTCNN_INLINE void sin_cos_turns(Vec turns, Vec& sine, Vec& cosine) {
    const Vec round = set1(12582912.0f);
    const Vec quarter = sub(fma(turns, set1(4.0f), round), round);
    const Vec angle = mul(fnma(quarter, set1(0.25f), turns), set1(6.283185307f));
    const Vec square = mul(angle, angle);
    Vec s = set1(2.755731922e-6f);
    s = fma(s, square, set1(-1.984126984e-4f));
    s = fma(s, square, set1(8.333333333e-3f));
    s = fma(s, square, set1(-1.666666667e-1f));
    s = fma(mul(s, square), angle, angle);
    Vec c = set1(-2.755731922e-7f);
    c = fma(c, square, set1(2.480158730e-5f));
    c = fma(c, square, set1(-1.388888889e-3f));
    c = fma(c, square, set1(4.166666667e-2f));
    c = fma(c, square, set1(-0.5f));
    c = fma(c, square, set1(1.0f));
    const IVec q = to_int(quarter);
    const Mask swapped = ieq(iand(q, iset1(1)), iset1(1));
    const Mask sine_negative = ieq(iand(q, iset1(2)), iset1(2));
    const Mask cosine_negative = ieq(iand(iadd(q, iset1(1)), iset1(2)), iset1(2));
    const Vec sine_size = select(swapped, c, s), cosine_size = select(swapped, s, c);
    sine = select(sine_negative, sub(zero(), sine_size), sine_size);
    cosine = select(cosine_negative, sub(zero(), cosine_size), cosine_size);
}

}  // namespace fastcnn::FASTCNN_ISA
