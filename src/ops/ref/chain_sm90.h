/* A step of CHAIN of class sm90 (NUMERICS 1), emulated: 16 products and acc in one sum of truncated terms. For
 * chain.h alone.
 */
#ifndef SY_OPS_REF_CHAIN_SM90_H
#define SY_OPS_REF_CHAIN_SM90_H

enum { SM90_NO_TERM = -5000, SM90_LEAST = -133, SM90_STEP = 16 };

/* Exponent of a term: a subnormal's is -126; a zero is no term. */
static inline int32_t exponent(float x) {
    uint32_t u = sy_f32_bits(x) & 0x7fffffffu;
    int32_t e = (int32_t)(u >> 23);
    return u == 0 ? SM90_NO_TERM : e == 0 ? -126 : e - 127;
}

/* v truncated toward zero to fp32; magnitude 2^128 or more is Inf; zero is +0. */
static inline float truncated(double v) {
    float f = (float)v;
    double af = f < 0 ? -(double)f : (double)f, av = v < 0 ? -v : v;
    uint32_t u = sy_f32_bits(f) - (af > av && av < 0x1p128 ? 1u : 0u);
    u = (u & 0x7fffffffu) == 0 ? 0u : u;
    return sy_f32_from_bits(u);
}

/* One step with Inf or NaN among the terms: NaN, 0 Inf and Inf - Inf give NaN, else an Inf of its sign. 0 if
 * none. */
static inline int sm90_special(const float *a, const float *b, int64_t b_row, float *c) {
    int plus = 0, minus = 0, nan = 0;
    for (int p = 0; p <= SM90_STEP; p++) {
        /* finite factors: an overflow here is not a special term */
        float t = p < SM90_STEP ? a[p] * b[p * b_row] : *c;
        int special =
            p < SM90_STEP ? !sy_f32_finite(a[p]) || !sy_f32_finite(b[p * b_row]) : !sy_f32_finite(t);
        if (!special)
            continue;
        nan |= t != t;
        plus |= t > 0;
        minus |= t < 0;
    }
    if (!nan && !plus && !minus)
        return 0;
    *c = nan || (plus && minus) ? sy_f32_from_bits(0x7fffffffu) : plus ? INFINITY : -INFINITY;
    return 1;
}

/* One block of 16 rows for CHAIN_NR outputs: all terms and acc truncated to multiples of 2^(M-25), added
 * exactly. */
static inline void sm90_step(const float *a, const float *b, int64_t b_row, float *acc) {
    int32_t top[CHAIN_NR], e;
    for (int j = 0; j < CHAIN_NR; j++) {
        e = exponent(acc[j]);
        top[j] = e > SM90_LEAST ? e : SM90_LEAST;
    }
    for (int p = 0; p < SM90_STEP; p++) {
        int32_t ea = exponent(a[p]);
        for (int j = 0; j < CHAIN_NR; j++) {
            e = ea + exponent(b[p * b_row + j]);
            top[j] = e > top[j] ? e : top[j];
        }
    }
    double scale[CHAIN_NR], sum[CHAIN_NR];
    for (int j = 0; j < CHAIN_NR; j++) {
        scale[j] = sy_f64_from_bits((uint64_t)(int64_t)(1023 + 25 - top[j]) << 52);
        sum[j] = (double)(int32_t)((double)acc[j] * scale[j]);
    }
    for (int p = 0; p < SM90_STEP; p++)
        for (int j = 0; j < CHAIN_NR; j++)
            sum[j] += (double)(int32_t)((double)a[p] * (double)b[p * b_row + j] * scale[j]);
    for (int j = 0; j < CHAIN_NR; j++)
        acc[j] = truncated(sum[j] * sy_f64_from_bits((uint64_t)(int64_t)(1023 - 25 + top[j]) << 52));
}

/* The same of a row, whatever its values. */
static void sm90_row(const float *a, const float *b, int64_t b_row, int b_finite, float *c) {
    int finite = b_finite;
    for (int q = 0; q < SM90_STEP; q++)
        finite &= sy_f32_finite(a[q]);
    for (int j = 0; j < CHAIN_NR; j++)
        finite &= sy_f32_finite(c[j]);
    if (finite) {
        sm90_step(a, b, b_row, c);
        return;
    }
    for (int j = 0; j < CHAIN_NR; j++) {
        float one[CHAIN_NR] = {0}, column[SM90_STEP * CHAIN_NR] = {0};
        one[0] = c[j];
        if (!sm90_special(a, b + j, b_row, one)) {
            float row[SM90_STEP];
            for (int q = 0; q < SM90_STEP; q++) { /* a 0 Inf is special, so what is left is finite */
                row[q] = a[q];
                column[q * CHAIN_NR] = b[q * b_row + j];
            }
            sm90_step(row, column, CHAIN_NR, one);
        }
        c[j] = one[0];
    }
}

static int block_finite(const float *b, int64_t b_row) {
    int finite = 1;
    for (int q = 0; q < SM90_STEP; q++)
        for (int j = 0; j < CHAIN_NR; j++)
            finite &= sy_f32_finite(b[q * b_row + j]);
    return finite;
}

#if defined(__AVX512F__)
static void micro_sm90(const struct chain_args *t, const float *a, const float *b, float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    for (int64_t p = 0; p < k; p += SM90_STEP, b += SM90_STEP * b_row) {
        __m512i eb[SM90_STEP];
        for (int q = 0; q < SM90_STEP; q++)
            eb[q] = sm90_exponents_of(b + q * b_row);
        for (int i = 0; i < CHAIN_MR; i++) {
            const float *ai = a + i * a_row + p;
            int32_t ea[SM90_STEP];
            _mm512_storeu_si512(ea, sm90_doubled(sm90_exponents(_mm512_loadu_ps(ai))));
            if (!sm90_fast_step(ai, ea, b, b_row, eb, acc + i * acc_row))
                sm90_row(ai, b, b_row, block_finite(b, b_row), acc + i * acc_row);
        }
    }
}
#else
static void micro_sm90(const struct chain_args *t, const float *a, const float *b, float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    for (int64_t p = 0; p < k; p += SM90_STEP) {
        int b_finite = block_finite(b + p * b_row, b_row);
        for (int i = 0; i < CHAIN_MR; i++)
            sm90_row(a + i * a_row + p, b + p * b_row, b_row, b_finite, acc + i * acc_row);
    }
}
#endif

#endif
