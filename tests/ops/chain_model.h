/* CHAIN and BF (NUMERICS 1) by a second, scalar definition in integers; with it what the tests of products
 * share: random operands by regime, wrong orders as negative controls, stored values, an exec.
 *
 * A term is sign * m * 2^e, m an integer. x86, amx and fp32 add two terms exactly in 128 bits and round
 * once; sm90 adds 17 truncated terms in 64 bits. Nothing here uses fmaf, doubles or a flushing flag.
 * Include it first in a test.
 */
#ifndef SY_TESTS_OPS_CHAIN_MODEL_H
#define SY_TESTS_OPS_CHAIN_MODEL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "definitions.h"
#include "execs.h"
#include "only.h"
#include "ops/ops.h"

/* What a wrong chain would do: the negative controls. */
enum wrong {
    RIGHT,
    EVEN_FIRST,
    NO_FLUSH,
    SPLIT_K,
    REVERSED_BLOCKS,
    HALF_BLOCKS,
    NO_FLOOR,
    EVEN_JOINED_FIRST
};

typedef unsigned __int128 wide;

struct term { /* (-1)^neg m 2^e; kind 0 finite, 1 infinite, 2 NaN */
    int neg, e, kind;
    uint64_t m;
};

static inline int is_nan(float x) { return (bits_of(x) & 0x7fffffffu) > 0x7f800000u; }
static inline int same(float a, float b) { return bits_of(a) == bits_of(b) || (is_nan(a) && is_nan(b)); }

static inline struct term term_of(float x, int daz) {
    uint32_t u = bits_of(x), f = (u >> 23) & 255u, m = u & 0x7fffffu;
    struct term t = {.neg = (int)(u >> 31), .e = f ? (int)f - 150 : -149, .m = f ? m | 0x800000u : m};
    if (f == 255)
        t.kind = m ? 2 : 1;
    if (f == 0 && daz)
        t.m = 0;
    return t;
}

static inline struct term product(struct term a, struct term b) {
    struct term t = {.neg = a.neg ^ b.neg, .e = a.e + b.e, .m = a.m * b.m};
    if (a.kind == 2 || b.kind == 2 || (a.kind == 1 && b.kind == 0 && b.m == 0) ||
        (b.kind == 1 && a.kind == 0 && a.m == 0))
        t.kind = 2;
    else if (a.kind || b.kind)
        t.kind = 1;
    return t;
}

static inline int top_bit(wide m) {
    uint64_t hi = (uint64_t)(m >> 64), lo = (uint64_t)m;
    return hi ? 127 - __builtin_clzll(hi) : 63 - __builtin_clzll(lo);
}

/* m 2^e, m not 0, rounded once to fp32. flush: to 24 bits with unbounded exponent, then zero below 2^-126. */
static inline float rounded(int neg, wide m, int e, int flush) {
    int lsb = top_bit(m) + e - 23;
    if (!flush && lsb < -149)
        lsb = -149;
    int shift = lsb - e;
    wide q, half, rest;
    if (shift <= 0) {
        q = m << -shift;
    } else if (shift > top_bit(m) + 1) {
        q = 0;
    } else {
        q = m >> shift;
        rest = m - (q << shift);
        half = (wide)1 << (shift - 1);
        if (rest > half || (rest == half && (q & 1)))
            q++;
    }
    if (q == (wide)1 << 24) {
        q >>= 1;
        lsb++;
    }
    uint32_t sign = neg ? 0x80000000u : 0, n = (uint32_t)q;
    if (n >= 0x800000u) {
        if (lsb + 23 > 127)
            return from_bits(sign | 0x7f800000u);
        if (lsb + 23 >= -126)
            return from_bits(sign | (uint32_t)(lsb + 150) << 23 | (n & 0x7fffffu));
        return from_bits(sign); /* flush alone comes here: the exponent is below -126 */
    }
    return from_bits(sign | (flush ? 0 : n));
}

/* x + y, rounded once. */
static inline float sum_of_two(struct term x, struct term y, int flush) {
    if (x.kind == 2 || y.kind == 2 || (x.kind == 1 && y.kind == 1 && x.neg != y.neg))
        return from_bits(0x7fc00000u);
    if (x.kind == 1 || y.kind == 1)
        return from_bits((x.kind == 1 ? x.neg : y.neg) ? 0xff800000u : 0x7f800000u);
    if (x.m == 0 && y.m == 0)
        return from_bits(x.neg && y.neg ? 0x80000000u : 0);
    if (x.m == 0 || y.m == 0)
        return x.m ? rounded(x.neg, x.m, x.e, flush) : rounded(y.neg, y.m, y.e, flush);
    if (top_bit(x.m) + x.e < top_bit(y.m) + y.e) {
        struct term t = x;
        x = y;
        y = t;
    }
    int up = 100 - top_bit(x.m),
        shift; /* x leads at bit 100; what of y falls off the end is a sticky last bit */
    wide a = (wide)x.m << up, b;
    shift = (x.e - up) - y.e;
    if (shift <= 0)
        b = (wide)y.m << -shift;
    else if (shift > 70)
        b = 1;
    else
        b = (wide)y.m >> shift | (((wide)y.m >> shift << shift) != (wide)y.m);
    wide m = x.neg == y.neg ? a + b : a > b ? a - b : b - a;
    return m ? rounded(a >= b ? x.neg : y.neg, m, x.e - up, flush) : from_bits(0);
}

static inline float model_fma(float a, float b, float c, int flush) {
    return sum_of_two(product(term_of(a, flush), term_of(b, flush)), term_of(c, flush), flush);
}

/* One sm90 step: n products and acc. Operands are bf16 values, so their significands have 8 bits. */
static inline float model_sm90(int n, const float *a, const float *b, float acc, int floor_at) {
    struct term t[17];
    int plus = 0, minus = 0, top = floor_at;
    for (int i = 0; i <= n; i++) {
        int e;
        if (i < n) {
            struct term x = term_of(a[i], 0), y = term_of(b[i], 0);
            t[i] = product(x, y);
            e = (x.e + 23) + (y.e + 23);
        } else {
            t[i] = term_of(acc, 0);
            e = t[i].e + 23;
        }
        if (t[i].kind == 2)
            return from_bits(0x7fffffffu);
        if (t[i].kind == 1) {
            plus |= !t[i].neg;
            minus |= t[i].neg;
        } else if (t[i].m && e > top) {
            top = e;
        }
    }
    if (plus || minus)
        return from_bits(plus && minus ? 0x7fffffffu : plus ? 0x7f800000u : 0xff800000u);
    int64_t sum = 0;
    for (int i = 0; i <= n; i++) {
        int shift = top - 25 - t[i].e;
        wide m = shift >= 64 ? 0 : shift >= 0 ? t[i].m >> shift : (wide)t[i].m << -shift;
        sum += t[i].neg ? -(int64_t)m : (int64_t)m;
    }
    if (sum == 0)
        return 0.0f;
    uint64_t m = (uint64_t)(sum < 0 ? -sum : sum);
    int lsb = top_bit(m) + top - 25 - 23;
    lsb = lsb < -149 ? -149 : lsb;
    int shift = lsb - (top - 25);
    m = shift >= 64 ? 0 : shift >= 0 ? m >> shift : m << -shift;
    uint32_t sign = sum < 0 && m ? 0x80000000u : 0;
    if (m < 0x800000u)
        return from_bits(sign | (uint32_t)m);
    if (lsb + 23 > 127)
        return from_bits(sign | 0x7f800000u);
    return from_bits(sign | (uint32_t)(lsb + 150) << 23 | ((uint32_t)m & 0x7fffffu));
}

/* One amx step: n products, an even number, and acc. EVEN_FIRST: one chain of all; EVEN_JOINED_FIRST:
 * (acc + even) + odd. */
static inline float model_amx(int n, const float *a, const float *b, float acc, enum wrong wrong) {
    int flush = wrong != NO_FLUSH;
    float sum[2] = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        float *to = &sum[wrong == EVEN_FIRST ? 0 : i % 2];
        *to = model_fma(a[i], b[i], *to, flush);
    }
    if (wrong == EVEN_JOINED_FIRST)
        return model_fma(1.0f, model_fma(1.0f, acc, sum[0], flush), sum[1], flush);
    return model_fma(1.0f, acc, model_fma(1.0f, sum[0], sum[1], flush), flush);
}

/* Goes on with acc over k rows, padded to KB; without the final + 0.0f. */
static inline float model_rows(enum sy_numeric_class cls, int64_t k, const float *a, int64_t a_step,
                               const float *b, int64_t b_step, float acc, enum wrong wrong) {
    static const int rows[SY_N_CLASSES] = {
        [SY_NUMERIC_X86] = 2, [SY_NUMERIC_AMX] = 32, [SY_NUMERIC_SM90] = 16, [SY_NUMERIC_FP32] = 1};
    int kb = wrong == HALF_BLOCKS ? rows[cls] / 2 : rows[cls];
    int64_t blocks = (k + kb - 1) / kb;
    for (int64_t i = 0; i < blocks; i++) {
        float x[32] = {0}, y[32] = {0};
        int64_t first = (wrong == REVERSED_BLOCKS ? blocks - 1 - i : i) * kb;
        for (int j = 0; j < kb && first + j < k; j++) {
            x[j] = a[(first + j) * a_step];
            y[j] = b[(first + j) * b_step];
        }
        if (cls == SY_NUMERIC_SM90) {
            acc = model_sm90(kb, x, y, acc, wrong == NO_FLOOR ? -4000 : -133);
        } else if (cls == SY_NUMERIC_AMX) {
            acc = model_amx(kb, x, y, acc, wrong);
        } else if (cls == SY_NUMERIC_X86) {
            int flush = wrong != NO_FLUSH, first_row = wrong == EVEN_FIRST ? 0 : 1;
            acc = model_fma(x[first_row], y[first_row], acc, flush);
            acc = model_fma(x[1 - first_row], y[1 - first_row], acc, flush);
        } else {
            acc = model_fma(x[0], y[0], acc, 0);
        }
    }
    return acc;
}

static inline float no_minus_zero(float x) { return bits_of(x) == 0x80000000u ? 0.0f : x; }

/* BF(x) in bits: the nearer neighbour, ties to the even one. */
static inline uint16_t model_bf16(enum sy_numeric_class cls, float x) {
    uint32_t u = bits_of(x), below = u >> 16, rest = u & 0xffffu, a = u & 0x7fffffffu;
    if (is_nan(x))
        return 0x7fc0;
    if ((cls == SY_NUMERIC_X86 || cls == SY_NUMERIC_AMX) && a < 0x00800000u)
        return (uint16_t)(below & 0x8000u);
    if (rest > 0x8000u || (rest == 0x8000u && below % 2 == 1))
        below++;
    return (uint16_t)below;
}

static inline float model_bf(enum sy_numeric_class cls, float x) {
    return cls == SY_NUMERIC_FP32 ? x : from_bits((uint32_t)model_bf16(cls, x) << 16);
}

/* --- values --------------------------------------------------------------------------------------------- */

static inline int64_t random_below(int64_t n) { return (int64_t)((random_bits() >> 16) % (uint64_t)n); }

enum regime {
    NORMAL,
    FULL_RANGE,
    TINY_OPERANDS,
    TINY_RESULTS,
    BELOW_FLOOR,
    ZERO_AND_HUGE,
    ZEROS,
    CANCELLING,
    OVERFLOWING,
    NON_FINITE,
    N_REGIMES
};
static const char *const regime_name[N_REGIMES] = {"normal",
                                                   "full range",
                                                   "subnormal operands",
                                                   "subnormal results",
                                                   "products about 2^-150",
                                                   "zeros beside huge",
                                                   "+0 and -0",
                                                   "cancelling",
                                                   "overflow",
                                                   "Inf and NaN"};

/* A bf16 value (wide_fraction: fp32) of the regime. */
static inline float random_value(enum regime r, int wide_fraction) {
    uint64_t z = random_bits();
    uint32_t sign = (uint32_t)(z >> 63) << 31, pick = (uint32_t)(z >> 48) & 0x7fff;
    uint32_t fraction = (uint32_t)z & (wide_fraction ? 0x7fffffu : 0x7f0000u), e = 120 + pick % 15;
    switch (r) {
    case FULL_RANGE:
        e = pick % 255;
        break;
    case TINY_OPERANDS:
        e = pick % 3 ? pick % 4 : 100 + pick % 60;
        break;
    case TINY_RESULTS:
        e = 60 + pick % 9;
        break;
    case BELOW_FLOOR:
        e = 50 + pick % 5;
        break;
    case ZERO_AND_HUGE:
        e = pick % 3 ? 170 + pick % 20 : 0;
        fraction = pick % 3 ? fraction : 0;
        break;
    case ZEROS:
        e = 0;
        fraction = 0;
        break;
    case CANCELLING:
        e = 125 + pick % 3 * (pick % 7 ? 1 : 12);
        fraction &= 0x600000u;
        break;
    case OVERFLOWING:
        e = 185 + pick % 8;
        break;
    case NON_FINITE:
        e = pick % 29 == 0 ? 255 : pick % 31 == 0 ? 0 : e;
        fraction = pick % 3 ? 0 : fraction;
        break;
    default:
        break;
    }
    return from_bits(sign | e << 23 | fraction);
}

/* An accumulator to go on from: any fp32. */
static inline float random_acc(enum regime r) {
    uint64_t z = random_bits();
    if (r == TINY_OPERANDS || r == TINY_RESULTS)
        return from_bits((uint32_t)(z >> 63) << 31 | (uint32_t)(z >> 40) % 4 << 23 |
                         ((uint32_t)z & 0x7fffffu));
    if (r == OVERFLOWING)
        return from_bits((uint32_t)(z >> 63) << 31 | (250 + (uint32_t)(z >> 40) % 5) << 23 |
                         ((uint32_t)z & 0x7fffffu));
    return random_value(z % 5 && r != BELOW_FLOOR ? r : ZEROS, 1);
}

/* --- where ops run -------------------------------------------------------------------------------------- */

static inline struct sy_exec exec_open(const struct sy_ops *ops, enum sy_numeric_class cls, int threads,
                                       int64_t head, int64_t seq_len) {
    return exec_with(ops, sy_device_cpu(), cls, threads,
                     (sy_ops_scratch_bytes(64, head, seq_len) + 63) / 64 * 64);
}

/* The table of a tier, or NULL with a message. */
static inline const struct sy_ops *tier_or_skip(int tier) {
    const char *why;
    const struct sy_ops *ops = is_of_run(tier, -1) ? sy_ops_tier(tier, &why) : NULL;
    if (!ops && is_of_run(tier, -1))
        print_message("tier %s is skipped: %s\n", sy_ops_tier_name(tier), why);
    return ops;
}

/* Puts a value that the class can store. */
static inline void put(enum sy_dtype t, void *data, int64_t i, float x) {
    if (t == SY_F32)
        ((float *)data)[i] = x;
    else
        ((uint16_t *)data)[i] = (uint16_t)(bits_of(x) >> 16);
}

static inline float get(enum sy_dtype t, const void *data, int64_t i) {
    return t == SY_F32 ? ((const float *)data)[i] : from_bits((uint32_t)((const uint16_t *)data)[i] << 16);
}

#endif
