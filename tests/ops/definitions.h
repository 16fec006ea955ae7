/* NUMERICS 2 as scalar code that shares nothing with src/ops: EXP, SIG, LOG, V64, B64; bits, and the random
 * numbers of tests. Included by the two laboratories, chain_model.h and ops_harness.h, after cmocka's
 * headers.
 */
#ifndef SY_TESTS_OPS_DEFINITIONS_H
#define SY_TESTS_OPS_DEFINITIONS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static inline float from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

static uint64_t random_state = 1;

static inline uint64_t random_bits(void) { /* a Weyl sequence and a finaliser */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline float def_exp2(float x) {
    static const float c[] = {0x1.5bba14p-10f, 0x1.3cea88p-7f, 0x1.c6b752p-5f,
                              0x1.ebf9bcp-3f,  0x1.62e42ap-1f, 1.0f};
    if (x != x || x <= -127.0f)
        return 0.0f;
    if (x > 127.0f)
        x = 127.0f;
    float u = x + 12582912.0f, f = x - (u - 12582912.0f), p = c[0];
    for (int i = 1; i < 6; i++)
        p = fmaf(p, f, c[i]);
    return from_bits(bits_of(p) + (bits_of(u) << 23));
}

static inline float def_exp(float v) { return def_exp2(v * 1.44269504f); }

static inline float def_sig(float x) { return 1.0f / (1.0f + def_exp(-x)); }

/* z = 2^e (1 + f), y = log(1 + f). */
static inline float def_log_parts(float z, float *exponent) {
    static const float c[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    int64_t i = (int64_t)bits_of(z) - 0x3f3504f3, e = i >= 0 ? i / 8388608 : -((-i + 8388607) / 8388608);
    float f = from_bits((uint32_t)((int64_t)bits_of(z) - e * 8388608)) - 1.0f, q = c[0];
    for (int k = 1; k < 9; k++)
        q = fmaf(q, f, c[k]);
    *exponent = (float)e;
    return fmaf(f * f, fmaf(f, q, -0.5f), f);
}

static inline float def_log(float z) {
    float e, y = def_log_parts(z, &e);
    return fmaf(e, 0.693147181f, y);
}

static inline float def_log2(float z) {
    float e, y = def_log_parts(z, &e);
    return fmaf(y, 1.44269504f, e);
}

/* V64 of a, or of the products a b. */
static inline float def_v64(int64_t n, const float *a, const float *b) {
    float lane[64] = {0};
    for (int64_t i = 0; i < n; i++)
        lane[i % 64] = b ? fmaf(a[i], b[i], lane[i % 64]) : lane[i % 64] + a[i];
    for (int h = 32; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j] + lane[j + h];
    return lane[0];
}

static inline float def_b64(int64_t n, const float *a, const float *b) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i += 128)
        sum += def_v64(n - i < 128 ? n - i : 128, a + i, b + i);
    return sum;
}

#endif
