/* Own elementary functions, built from IEEE operations alone, so that no libm version, CPU or GPU can change
 * a bit.
 *
 * fp32: NUMERICS 2. EXP2, EXP, SIG and LOG are part of the contract; they are inline so that each tier
 * vectorises them and that device code has the same ones. fp64: for tables and scalars (rope, yarn,
 * schedules, powers of beta, initialisation), then rounded once: argument reduction, then a Taylor or atanh
 * series. Only fmaf, sqrt and rint come from the C library, where they are correctly rounded.
 */
#ifndef SY_BASE_FMATH_H
#define SY_BASE_FMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/both.h"

SY_BOTH uint32_t sy_f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

SY_BOTH float sy_f32_from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

SY_BOTH uint64_t sy_f64_bits(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

SY_BOTH double sy_f64_from_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

SY_BOTH int sy_f32_finite(float x) { return (sy_f32_bits(x) & 0x7f800000u) != 0x7f800000u; }

/* EXP2 of x in -127 .. 127: a polynomial of degree 5 on the fraction, the integer added to the exponent. */
SY_BOTH float sy_exp2_core_f32(float x) {
    float u = x + 12582912.0f;
    float f = x - (u - 12582912.0f);
    float p = 0x1.5bba14p-10f;
    p = fmaf(p, f, 0x1.3cea88p-7f);
    p = fmaf(p, f, 0x1.c6b752p-5f);
    p = fmaf(p, f, 0x1.ebf9bcp-3f);
    p = fmaf(p, f, 0x1.62e42ap-1f);
    p = fmaf(p, f, 1.0f);
    return sy_f32_from_bits(sy_f32_bits(p) + (sy_f32_bits(u) << 23));
}

/* EXP2: x <= -127 and NaN give +0. */
SY_BOTH float sy_exp2_f32(float x) {
    x = x > -127.0f ? x : -127.0f;
    return sy_exp2_core_f32(x < 127.0f ? x : 127.0f);
}

SY_BOTH float sy_exp_f32(float x) { return sy_exp2_f32(x * 1.44269504f); }

SY_BOTH float sy_sig_f32(float x) { return 1.0f / (1.0f + sy_exp_f32(-x)); }

/* z > 0 normal: the exponent e and y = log of the mantissa, which lies in [sqrt(1/2), sqrt(2)). */
SY_BOTH float sy_log_parts_f32(float z, float *e) {
    uint32_t bits = sy_f32_bits(z);
    int32_t n = (int32_t)(bits - 0x3f3504f3u) >> 23;
    float f = sy_f32_from_bits(bits - ((uint32_t)n << 23)) - 1.0f;
    float q = 7.0376836292e-2f;
    q = fmaf(q, f, -1.1514610310e-1f);
    q = fmaf(q, f, 1.1676998740e-1f);
    q = fmaf(q, f, -1.2420140846e-1f);
    q = fmaf(q, f, 1.4249322787e-1f);
    q = fmaf(q, f, -1.6668057665e-1f);
    q = fmaf(q, f, 2.0000714765e-1f);
    q = fmaf(q, f, -2.4999993993e-1f);
    q = fmaf(q, f, 3.3333331174e-1f);
    *e = (float)n;
    return fmaf(f * f, fmaf(f, q, -0.5f), f);
}

SY_BOTH float sy_log_f32(float z) {
    float e, y = sy_log_parts_f32(z, &e);
    return fmaf(e, 0.693147181f, y);
}

SY_BOTH float sy_log2_f32(float z) {
    float e, y = sy_log_parts_f32(z, &e);
    return fmaf(y, 1.44269504f, e);
}

/* --- fp64, relative error below 6e-16 in the range given (sin and cos: absolute, 3e-16) ----------------- */

#define SY_LN2 0x1.62e42fefa39efp-1
#define SY_INV_LN2 0x1.71547652b82fep+0

/* p 2^n for a normal 2^n. */
SY_BOTH double sy_scaled_f64(double p, int n) { return p * sy_f64_from_bits((uint64_t)(n + 1023) << 52); }

/* Any x; overflow to inf, underflow gradual. */
SY_BOTH double sy_exp2_f64(double x) {
    if (!(x > -1100.0))
        return x != x ? x : 0.0;
    if (x > 1100.0)
        return INFINITY;
    double n = rint(x), t = (x - n) * SY_LN2;
    double p = 1.0; /* exp(t), |t| <= 0.3466: sum of t^k / k!, the next term is below 5e-18 */
    for (int k = 14; k >= 1; k--)
        p = 1.0 + p * t / (double)k;
    int half = (int)n / 2;
    return sy_scaled_f64(sy_scaled_f64(p, half), (int)n - half);
}

/* x > 0 normal. */
SY_BOTH double sy_log2_f64(double x) {
    uint64_t bits = sy_f64_bits(x);
    int e = (int)(bits >> 52) - 1023;
    double m = sy_f64_from_bits((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s, p = 0.0; /* log m = 2 atanh s, |s| <= 0.1716 */
    for (int k = 23; k >= 3; k -= 2)
        p = (p + 1.0 / (double)k) * z;
    return (double)e + (2.0 * s + 2.0 * s * p) * SY_INV_LN2;
}

/* x > 0 normal. */
SY_BOTH double sy_log_f64(double x) { return sy_log2_f64(x) * SY_LN2; }

/* base > 0: exp2(e log2 base); the error grows with |e log2 base|. */
SY_BOTH double sy_pow_f64(double base, double e) { return sy_exp2_f64(e * sy_log2_f64(base)); }

/* x - n*pi/2 in [-pi/4, pi/4]; pi/2 in three parts of 33 bits, so that n * part is exact for |n| < 2^20. */
SY_BOTH double sy_quarter_f64(double x, int32_t *n_out) {
    double n = rint(x * 0x1.45f306dc9c883p-1);
    *n_out = (int32_t)n;
    return ((x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
}

/* The series of sin, or of cos: divisors 20*21, 18*19 .. 2*3, or 19*20, 17*18 .. 1*2. One loop for both, without
 * a branch, so that neighbours may differ. */
SY_BOTH double sy_sin_or_cos_series_f64(double r, int cosine) {
    double z = r * r, p = 1.0;
    for (int k = 20; k >= 2; k -= 2)
        p = 1.0 - p * z / (cosine ? (double)((k - 1) * k) : (double)(k * (k + 1)));
    return cosine ? p : r * p;
}

/* |x| <= 2^20, absolute error below 3e-16. */
SY_BOTH double sy_sin_f64(double x) {
    int32_t n;
    double r = sy_quarter_f64(x, &n), s = sy_sin_or_cos_series_f64(r, n & 1);
    return (n & 2) ? -s : s;
}

/* |x| <= 2^20, absolute error below 3e-16. */
SY_BOTH double sy_cos_f64(double x) {
    int32_t n;
    double r = sy_quarter_f64(x, &n), c = sy_sin_or_cos_series_f64(r, !(n & 1));
    return ((n + 1) & 2) ? -c : c;
}

#endif
