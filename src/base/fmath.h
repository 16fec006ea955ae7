/* Own elementary functions, built from IEEE operations alone, so that no libm version or CPU can change a
 * bit.
 *
 * fp32: NUMERICS 2. EXP2, EXP, SIG and LOG are part of the contract; they are inline so that each tier
 * vectorises them. fp64: for tables and scalars on the host (rope, yarn, schedules, powers of beta,
 * initialisation), then rounded once. Only fmaf, sqrt and rint come from the C library, where they are
 * correctly rounded.
 */
#ifndef SY_BASE_FMATH_H
#define SY_BASE_FMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t sy_f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float sy_f32_from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint64_t sy_f64_bits(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline double sy_f64_from_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline int sy_f32_finite(float x) { return (sy_f32_bits(x) & 0x7f800000u) != 0x7f800000u; }

/* EXP2: a polynomial of degree 5 on the fraction, the integer added to the exponent. x <= -127 and NaN
 * give +0. */
static inline float sy_exp2_f32(float x) {
    x = x > -127.0f ? x : -127.0f;
    x = x < 127.0f ? x : 127.0f;
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

static inline float sy_exp_f32(float x) { return sy_exp2_f32(x * 1.44269504f); }

static inline float sy_sig_f32(float x) { return 1.0f / (1.0f + sy_exp_f32(-x)); }

/* z > 0 normal: the exponent e and y = log of the mantissa, which lies in [sqrt(1/2), sqrt(2)). */
static inline float sy_log_parts_f32(float z, float *e) {
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

static inline float sy_log_f32(float z) {
    float e, y = sy_log_parts_f32(z, &e);
    return fmaf(e, 0.693147181f, y);
}

static inline float sy_log2_f32(float z) {
    float e, y = sy_log_parts_f32(z, &e);
    return fmaf(y, 1.44269504f, e);
}

/* fp64, relative error below 6e-16 in the range given (sin and cos: absolute, 3e-16). */
double sy_exp2_f64(double x); /* any x; overflow to inf, underflow gradual */
double sy_log2_f64(double x); /* x > 0 normal */
double sy_sin_f64(double x);  /* |x| <= 2^20, absolute error below 3e-16 */
double sy_cos_f64(double x);  /* |x| <= 2^20, absolute error below 3e-16 */
double sy_pow_f64(double base,
                  double e); /* base > 0: exp2(e log2 base); the error grows with |e log2 base| */
double sy_log_f64(double x); /* x > 0 normal */

#endif
