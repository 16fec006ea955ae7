/* CHAIN (NUMERICS 1) by a second, scalar definition in integers, against gemm of every tier and, where the CPU has it,
 * against the instruction VDPBF16PS; BF against VCVTNEPS2BF16.
 *
 * The definition: a term is sign * m * 2^e, m an integer. x86 and fp32 add two terms exactly in 128 bits and round once;
 * sm90 adds 17 truncated terms in 64 bits. Nothing here uses fmaf, doubles or a flushing flag.
 * test_gemm.c and test_attention.c include this file for its first half (CHAIN_MODEL_ONLY).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/ops.h"

/* What a wrong chain would do: the negative controls. */
enum wrong { RIGHT, EVEN_FIRST, NO_FLUSH, SPLIT_K, REVERSED_BLOCKS, HALF_BLOCKS, NO_FLOOR };

typedef unsigned __int128 wide;

struct term { /* (-1)^neg m 2^e; kind 0 finite, 1 infinite, 2 NaN */
    int neg, e, kind;
    uint64_t m;
};

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
    if (a.kind == 2 || b.kind == 2 || (a.kind == 1 && b.kind == 0 && b.m == 0) || (b.kind == 1 && a.kind == 0 && a.m == 0))
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
    int up = 100 - top_bit(x.m), shift; /* x leads at bit 100; what of y falls off the end is a sticky last bit */
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

/* Goes on with acc over k rows, padded to KB; without the final + 0.0f. */
static inline float model_rows(enum sy_numeric_class cls, int64_t k, const float *a, int64_t a_step, const float *b,
                               int64_t b_step, float acc, enum wrong wrong) {
    int kb = cls == SY_NUMERIC_X86 ? 2 : cls == SY_NUMERIC_SM90 ? (wrong == HALF_BLOCKS ? 8 : 16) : 1;
    int64_t blocks = (k + kb - 1) / kb;
    for (int64_t i = 0; i < blocks; i++) {
        float x[16] = {0}, y[16] = {0};
        int64_t first = (wrong == REVERSED_BLOCKS ? blocks - 1 - i : i) * kb;
        for (int j = 0; j < kb && first + j < k; j++) {
            x[j] = a[(first + j) * a_step];
            y[j] = b[(first + j) * b_step];
        }
        if (cls == SY_NUMERIC_SM90) {
            acc = model_sm90(kb, x, y, acc, wrong == NO_FLOOR ? -4000 : -133);
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
    if (cls == SY_NUMERIC_X86 && a < 0x00800000u)
        return (uint16_t)(below & 0x8000u);
    if (rest > 0x8000u || (rest == 0x8000u && below % 2 == 1))
        below++;
    return (uint16_t)below;
}

static inline float model_bf(enum sy_numeric_class cls, float x) {
    return cls == SY_NUMERIC_FP32 ? x : from_bits((uint32_t)model_bf16(cls, x) << 16);
}

/* --- values ----------------------------------------------------------------------------------------------------------- */

static uint64_t random_state = 1;
static inline uint64_t random_bits(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline int64_t random_below(int64_t n) { return (int64_t)((random_bits() >> 16) % (uint64_t)n); }

enum regime {
    NORMAL, FULL_RANGE, TINY_OPERANDS, TINY_RESULTS, BELOW_FLOOR, ZERO_AND_HUGE, ZEROS, CANCELLING, OVERFLOWING, NON_FINITE,
    N_REGIMES
};
static const char *const regime_name[N_REGIMES] = {"normal", "full range", "subnormal operands", "subnormal results",
    "products about 2^-150", "zeros beside huge", "+0 and -0", "cancelling", "overflow", "Inf and NaN"};

/* A bf16 value (wide_fraction: fp32) of the regime. */
static inline float random_value(enum regime r, int wide_fraction) {
    uint64_t z = random_bits();
    uint32_t sign = (uint32_t)(z >> 63) << 31, pick = (uint32_t)(z >> 48) & 0x7fff;
    uint32_t fraction = (uint32_t)z & (wide_fraction ? 0x7fffffu : 0x7f0000u), e = 120 + pick % 15;
    switch (r) {
    case FULL_RANGE: e = pick % 255; break;
    case TINY_OPERANDS: e = pick % 3 ? pick % 4 : 100 + pick % 60; break;
    case TINY_RESULTS: e = 60 + pick % 9; break;
    case BELOW_FLOOR: e = 50 + pick % 5; break;
    case ZERO_AND_HUGE: e = pick % 3 ? 170 + pick % 20 : 0; fraction = pick % 3 ? fraction : 0; break;
    case ZEROS: e = 0; fraction = 0; break;
    case CANCELLING: e = 125 + pick % 3 * (pick % 7 ? 1 : 12); fraction &= 0x600000u; break;
    case OVERFLOWING: e = 185 + pick % 8; break;
    case NON_FINITE: e = pick % 29 == 0 ? 255 : pick % 31 == 0 ? 0 : e; fraction = pick % 3 ? 0 : fraction; break;
    default: break;
    }
    return from_bits(sign | e << 23 | fraction);
}

/* An accumulator to go on from: any fp32. */
static inline float random_acc(enum regime r) {
    uint64_t z = random_bits();
    if (r == TINY_OPERANDS || r == TINY_RESULTS)
        return from_bits((uint32_t)(z >> 63) << 31 | (uint32_t)(z >> 40) % 4 << 23 | ((uint32_t)z & 0x7fffffu));
    if (r == OVERFLOWING)
        return from_bits((uint32_t)(z >> 63) << 31 | (250 + (uint32_t)(z >> 40) % 5) << 23 | ((uint32_t)z & 0x7fffffu));
    return random_value(z % 5 && r != BELOW_FLOOR ? r : ZEROS, 1);
}

/* --- where ops run ----------------------------------------------------------------------------------------------------- */

static inline struct sy_exec exec_open(const struct sy_ops *ops, enum sy_numeric_class cls, int threads, int64_t head,
                                       int64_t seq_len) {
    struct sy_exec x = {.ops = ops, .cls = cls, .dtype = sy_class_dtype(cls), .kb = sy_class_kb(cls)};
    x.scratch_bytes = (sy_ops_scratch_bytes(64, head, seq_len) + 63) / 64 * 64;
    assert_int_equal(sy_pool_create(threads, &x.pool), SY_OK);
    x.scratch = aligned_alloc(64, x.scratch_bytes * (size_t)threads);
    assert_non_null(x.scratch);
    memset(x.scratch, 0xff, x.scratch_bytes * (size_t)threads); /* NaN: nothing may depend on old scratch */
    return x;
}

static inline void exec_close(struct sy_exec *x) {
    sy_pool_destroy(x->pool);
    free(x->scratch);
}

/* The table of a tier, or NULL with a message. */
static inline const struct sy_ops *tier_or_skip(int tier) {
    const char *why;
    const struct sy_ops *ops = sy_ops_tier(tier, &why);
    if (!ops)
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

#ifndef CHAIN_MODEL_ONLY

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "ops/ref/tier.h"

enum { K_MAX = 600, COLUMNS = 96, ROWS = 3 };

/* ROWS x COLUMNS chains of one length: operands of one regime. */
struct chains {
    enum sy_numeric_class cls;
    int64_t k;
    float a[ROWS * K_MAX], b[K_MAX * COLUMNS], acc[ROWS * COLUMNS], c[ROWS * COLUMNS];
    char a_stored[ROWS * K_MAX * 4], b_stored[K_MAX * COLUMNS * 4];
};

static void fill(struct chains *s, enum sy_numeric_class cls, int64_t k, enum regime r) {
    enum sy_dtype t = sy_class_dtype(cls);
    s->cls = cls;
    s->k = k;
    for (int64_t i = 0; i < ROWS * k; i++)
        put(t, s->a_stored, i, s->a[i] = random_value(r, t == SY_F32));
    for (int64_t i = 0; i < k * COLUMNS; i++)
        put(t, s->b_stored, i, s->b[i] = random_value(r, t == SY_F32));
    for (int64_t i = 0; i < ROWS * COLUMNS; i++)
        s->acc[i] = random_acc(r);
}

/* c = chain of rows first..first+k-1 of tier x from acc. */
static void run_gemm(const struct sy_exec *x, struct chains *s, int64_t first, int64_t k, const float *acc, float *c) {
    enum sy_dtype t = x->dtype;
    struct sy_gemm_part part = {sy_mat_cols(sy_mat_of(s->a_stored, t, s->k), first),
                                sy_mat_rows(sy_mat_of(s->b_stored, t, COLUMNS), first), k};
    struct sy_gemm g = {.m = ROWS, .n = COLUMNS, .parts = &part, .n_parts = 1, .acc = acc, .acc_row = COLUMNS,
                        .c = sy_mat_of(c, SY_F32, COLUMNS)};
    x->ops->gemm(x, &g, 1);
}

static float model_output(const struct chains *s, int i, int j, int with_acc, enum wrong wrong) {
    float acc = with_acc ? s->acc[i * COLUMNS + j] : 0.0f;
    const float *a = s->a + i * s->k, *b = s->b + j;
    if (wrong == SPLIT_K) {
        int64_t half = s->k / 32 * 16;
        float one = model_rows(s->cls, half, a, 1, b, COLUMNS, acc, RIGHT);
        float two = model_rows(s->cls, s->k - half, a + half, 1, b + half * COLUMNS, COLUMNS, 0.0f, RIGHT);
        return no_minus_zero(one) + no_minus_zero(two);
    }
    return no_minus_zero(model_rows(s->cls, s->k, a, 1, b, COLUMNS, acc, wrong));
}

static int64_t differing(const struct chains *s, int with_acc, enum wrong wrong, const char *what) {
    int64_t n = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            float want = model_output(s, i, j, with_acc, wrong), got = s->c[i * COLUMNS + j];
            if (same(want, got))
                continue;
            if (n++ == 0 && what)
                print_error("%s, %s, k %lld: output (%d, %d) is %08x, must be %08x\n", what, sy_class_name(s->cls),
                            (long long)s->k, i, j, bits_of(got), bits_of(want));
        }
    return n;
}

static void every_tier_is_the_definition(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 2, 3, 15, 16, 17, 31, 33, 65, 129, 255, 256, 257, 600};
    static struct chains s;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (int cls = 0; ops && cls < SY_N_CLASSES; cls++) {
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)cls, 1, 64, 64);
            random_state = 7;
            for (int r = 0; r < N_REGIMES; r++)
                for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
                    for (int with_acc = 0; with_acc < 2; with_acc++) {
                        fill(&s, (enum sy_numeric_class)cls, lengths[l], (enum regime)r);
                        run_gemm(&x, &s, 0, s.k, with_acc ? s.acc : NULL, s.c);
                        char what[80];
                        snprintf(what, sizeof what, "tier %s, %s%s", ops->tier, regime_name[r], with_acc ? ", acc" : "");
                        assert_int_equal(differing(&s, with_acc, RIGHT, what), 0);
                    }
            exec_close(&x);
        }
    }
}

/* A cut at a block boundary with acc reloaded, also in place, is one chain. */
static void a_cut_is_neutral(void **state) {
    (void)state;
    static struct chains s;
    static float half[ROWS * COLUMNS];
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (int cls = 0; ops && cls < SY_N_CLASSES; cls++) {
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)cls, 1, 64, 64);
            for (int r = 0; r < N_REGIMES; r++)
                for (int64_t cut = 0; cut <= 160; cut += 32) {
                    fill(&s, (enum sy_numeric_class)cls, 157, (enum regime)r);
                    int64_t at = cut < s.k ? cut : s.k;
                    run_gemm(&x, &s, 0, at, s.acc, half);
                    run_gemm(&x, &s, at, s.k - at, half, half);
                    memcpy(s.c, half, sizeof half);
                    assert_int_equal(differing(&s, 1, RIGHT, "cut"), 0);
                }
            exec_close(&x);
        }
    }
}

/* Each wrong order must be seen, by as many outputs as it really changes. */
static void wrong_orders_are_seen(void **state) {
    (void)state;
    static const struct {
        enum wrong wrong;
        enum sy_numeric_class cls;
        enum regime regime;
        int64_t k, at_least;
    } controls[] = {
        {EVEN_FIRST, SY_NUMERIC_X86, NORMAL, 256, 4000},
        {NO_FLUSH, SY_NUMERIC_X86, TINY_RESULTS, 3, 1000},
        {NO_FLUSH, SY_NUMERIC_X86, TINY_OPERANDS, 33, 20},
        {SPLIT_K, SY_NUMERIC_X86, NORMAL, 256, 4000},
        {SPLIT_K, SY_NUMERIC_SM90, NORMAL, 256, 4000},
        {SPLIT_K, SY_NUMERIC_FP32, NORMAL, 256, 4000},
        {REVERSED_BLOCKS, SY_NUMERIC_X86, NORMAL, 256, 4000},
        {REVERSED_BLOCKS, SY_NUMERIC_SM90, NORMAL, 256, 4000},
        {REVERSED_BLOCKS, SY_NUMERIC_FP32, NORMAL, 256, 4000},
        {HALF_BLOCKS, SY_NUMERIC_SM90, NORMAL, 256, 4000},
        {NO_FLOOR, SY_NUMERIC_SM90, BELOW_FLOOR, 16, 5},
    };
    static struct chains s;
    for (size_t q = 0; q < sizeof controls / sizeof *controls; q++) {
        const char *why;
        struct sy_exec x = exec_open(sy_ops_tier(0, &why), controls[q].cls, 1, 64, 64);
        int64_t n = 0;
        for (int round = 0; round < 20; round++) {
            fill(&s, controls[q].cls, controls[q].k, controls[q].regime);
            run_gemm(&x, &s, 0, s.k, s.acc, s.c);
            assert_int_equal(differing(&s, 1, RIGHT, "control"), 0);
            n += differing(&s, 1, controls[q].wrong, NULL);
        }
        if (n < controls[q].at_least)
            fail_msg("control %zu (wrong %d, %s): only %lld outputs differ", q, controls[q].wrong,
                     sy_class_name(controls[q].cls), (long long)n);
        exec_close(&x);
    }
}

/* Single steps whose answers were worked out by hand from NUMERICS 1. */
static void edges_by_hand(void **state) {
    (void)state;
    const float t = 0x1p-126f, s = 0x1p-133f; /* least normal, least bf16 subnormal */
    /* x86: 2^-63 (1 - 2^-8) 2^-63 lies below 2^-126 and flushes; 2^-126 itself stays; subnormal operands and acc are 0 */
    assert_true(same(model_fma(0x1.fep-64f, 0x1p-63f, 0.0f, 1), 0.0f));
    assert_true(same(model_fma(-0x1.fep-64f, 0x1p-63f, 0.0f, 1), -0.0f));
    assert_true(same(model_fma(0x1p-63f, 0x1p-63f, 0.0f, 1), t));
    assert_true(same(model_fma(s, 0x1p100f, 1.0f, 1), 1.0f));
    assert_true(same(model_fma(0.0f, 1.0f, 0x1p-130f, 1), 0.0f));
    /* 2^-126 - 2^-152 rounds to 2^-126 in 24 bits: kept; 2^-126 - 2^-150 is a number of 24 bits: flushed */
    assert_true(same(model_fma(-0x1p-76f, 0x1p-76f, t, 1), t));
    assert_true(same(model_fma(-0x1p-75f, 0x1p-75f, t, 1), 0.0f));
    assert_true(same(model_fma(-0x1p-75f, 0x1p-75f, t, 0), t));
    /* sm90: with M at its floor of -133 a term is cut to a multiple of 2^-158, and the sum to one of 2^-149 */
    float a[16] = {0}, b[16] = {0};
    a[0] = 0x1p-75f, b[0] = 0x1p-74f;
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0x1p-149f));
    a[0] = 0x1.8p-75f, b[0] = 0x1p-75f;
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0.0f));
    for (int i = 0; i < 16; i++)
        a[i] = 0x1p-80f, b[i] = 0x1p-78f; /* 16 terms of 2^-158 */
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0.0f));
    for (int i = 1; i < 16; i++)
        a[i] = 0x1p-80f, b[i] = 0x1p-80f; /* without the floor 15 terms of 2^-160 would lift the first to 2^-149 */
    a[0] = 0x1.fep-75f, b[0] = 0x1p-75f;
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0.0f));
    assert_true(same(model_sm90(16, a, b, 0.0f, -4000), 0x1p-149f));
    /* products of largest factors add up to 2^128 only in the sum */
    a[0] = a[1] = 0x1p64f, b[0] = 0x1p63f, b[1] = 0x1p63f;
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), INFINITY));
    a[1] = -a[1];
    assert_true(same(model_sm90(16, a, b, -0.0f, -133), 0.0f));
    a[0] = INFINITY, b[0] = 0.0f;
    assert_true(is_nan(model_sm90(16, a, b, 0.0f, -133)));
    /* truncation, not rounding */
    memset(a, 0, sizeof a);
    a[0] = 1.0f, b[0] = 0x1.fep-24f;
    assert_true(same(model_sm90(16, a, b, 1.0f, -133), 1.0f));
}

/* The integer fma against the CPU's own where nothing is flushed. */
static void model_is_fmaf_without_flush(void **state) {
    (void)state;
    for (int i = 0; i < 2000000; i++) {
        enum regime r = (enum regime)(i % N_REGIMES);
        float a = random_value(r, 1), b = random_value(r, 1), c = random_acc(r);
        if (i % 5 == 0)
            c = -a * b * (1.0f + 0x1p-23f * (float)(i % 3));
        assert_true(same(model_fma(a, b, c, 0), fmaf(a, b, c)));
    }
}

/* --- the CPU's own instructions --------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
__attribute__((target("avx512bf16,avx512f"))) static void hardware_pairs(int64_t k, const float *a, const float *b,
                                                                         const float *acc, float *c) {
    for (int j = 0; j < COLUMNS; j += 16) {
        __m512 sum = _mm512_loadu_ps(acc + j);
        for (int64_t p = 0; p < k; p += 2) {
            uint32_t x[16], y[16];
            for (int q = 0; q < 16; q++) {
                x[q] = bits_of(a[p]) >> 16 | (p + 1 < k ? bits_of(a[p + 1]) & 0xffff0000u : 0);
                y[q] = bits_of(b[p * COLUMNS + j + q]) >> 16 |
                       (p + 1 < k ? bits_of(b[(p + 1) * COLUMNS + j + q]) & 0xffff0000u : 0);
            }
            sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(x), (__m512bh)_mm512_loadu_si512(y));
        }
        _mm512_storeu_ps(c + j, sum);
    }
}

__attribute__((target("avx512bf16,avx512f"))) static void hardware_round(const float *x, uint16_t *y) {
    __m256bh r = _mm512_cvtneps_pbh(_mm512_loadu_ps(x));
    memcpy(y, &r, sizeof r);
}
static int has_bf16(void) { return __builtin_cpu_supports("avx512bf16"); }
#else
static void hardware_pairs(int64_t k, const float *a, const float *b, const float *acc, float *c) {
    (void)k, (void)a, (void)b, (void)acc, (void)c;
}
static void hardware_round(const float *x, uint16_t *y) { (void)x, (void)y; }
static int has_bf16(void) { return 0; }
#endif

static void x86_is_vdpbf16ps(void **state) {
    (void)state;
    if (!has_bf16()) {
        print_message("this CPU has no AVX512-BF16: VDPBF16PS is not compared\n");
        skip();
    }
    static struct chains s;
    for (int round = 0; round < 700; round++) {
        int r = round % N_REGIMES;
        fill(&s, SY_NUMERIC_X86, round % 20 == 0 ? K_MAX : 1 + round % 20, (enum regime)r);
        for (int i = 0; i < ROWS; i++)
            hardware_pairs(s.k, s.a + i * s.k, s.b, s.acc + i * COLUMNS, s.c + i * COLUMNS);
        for (int i = 0; i < ROWS * COLUMNS; i++)
            s.c[i] = no_minus_zero(s.c[i]);
        assert_int_equal(differing(&s, 1, RIGHT, regime_name[r]), 0);
    }
}

/* Operands that lead two steps to the edge of the flush: acc near 2^-126, products that nearly cancel its last bits. */
static void fill_near_the_flush(struct chains *s) {
    fill(s, SY_NUMERIC_X86, 2, TINY_RESULTS);
    for (int i = 0; i < ROWS * 2; i++)
        put(SY_BF16, s->a_stored, i, s->a[i] = from_bits((uint32_t)(random_bits() >> 63) << 31 | 64u << 23 |
                                                         (random_bits() % 2 ? 0 : (uint32_t)random_bits() & 0x7f0000u)));
    for (int i = 0; i < 2 * COLUMNS; i++)
        put(SY_BF16, s->b_stored, i, s->b[i] = from_bits((uint32_t)(random_bits() >> 63) << 31 |
                                                         (38u + (uint32_t)random_below(28)) << 23 |
                                                         (random_bits() % 3 ? 0 : (uint32_t)random_bits() & 0x7f0000u)));
    for (int i = 0; i < ROWS * COLUMNS; i++)
        s->acc[i] = from_bits((uint32_t)(random_bits() >> 63) << 31 | (uint32_t)random_below(3) << 23 |
                              (random_bits() % 2 ? (uint32_t)random_bits() & 0x7u : 0x7fffffu - (random_bits() & 3u)));
}

/* The definition against VDPBF16PS (tier -1) and every tier. A sum just below 2^-126 that gradual underflow would round to
 * it must have come up, or nothing here tells the flush after 24 bits from one after rounding. */
static void near_the_flush(void **state) {
    (void)state;
    static struct chains s;
    for (int tier = has_bf16() ? -1 : 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier < 0 ? NULL : tier_or_skip(tier);
        if (tier >= 0 && !ops)
            continue;
        struct sy_exec x = {0};
        if (ops)
            x = exec_open(ops, SY_NUMERIC_X86, 1, 64, 64);
        int decisive = 0;
        for (int round = 0; round < 1000; round++) {
            fill_near_the_flush(&s);
            for (int i = 0; i < ROWS && !ops; i++)
                hardware_pairs(s.k, s.a + i * s.k, s.b, s.acc + i * COLUMNS, s.c + i * COLUMNS);
            if (ops)
                run_gemm(&x, &s, 0, s.k, s.acc, s.c);
            for (int i = 0; i < ROWS * COLUMNS; i++) {
                s.c[i] = no_minus_zero(s.c[i]);
                float acc = bits_of(s.acc[i]) << 1 < 0x01000000u ? 0.0f : s.acc[i], a = s.a[i / COLUMNS * 2 + 1];
                float gradual = model_fma(a, s.b[COLUMNS + i % COLUMNS], acc, 0);
                decisive += (gradual == 0x1p-126f || gradual == -0x1p-126f) &&
                            model_fma(a, s.b[COLUMNS + i % COLUMNS], acc, 1) == 0.0f;
            }
            assert_int_equal(differing(&s, 1, RIGHT, ops ? ops->tier : "VDPBF16PS"), 0);
        }
        assert_true(decisive > 20);
        if (ops)
            exec_close(&x);
    }
}

/* Every upper half with the lower halves that decide a rounding: the definition, bf16_of, VCVTNEPS2BF16. */
static void rounding_to_bf16(void **state) {
    (void)state;
    static const uint32_t low[] = {0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
    for (uint32_t high = 0; high < 65536; high += 2) {
        float x[16];
        uint16_t hardware[16];
        for (int i = 0; i < 16; i++)
            x[i] = from_bits((high + (uint32_t)i / 8) << 16 | low[i % 8]);
        if (has_bf16())
            hardware_round(x, hardware);
        for (int i = 0; i < 16; i++) {
            float want = from_bits((uint32_t)model_bf16(SY_NUMERIC_X86, x[i]) << 16);
            float kept = from_bits((uint32_t)model_bf16(SY_NUMERIC_SM90, x[i]) << 16);
            assert_true(same(f32_of(bf16_of(x[i], 1)), want));
            assert_true(same(f32_of(bf16_of(x[i], 0)), kept));
            assert_true(!has_bf16() || same(f32_of(hardware[i]), want));
        }
    }
}

/* The same through the store of each tier: a chain of no rows from acc. */
static void every_tier_stores_bf(void **state) {
    (void)state;
    enum { N = 4096 };
    static float acc[N];
    static uint16_t c[N];
    static const uint32_t low[] = {0, 0x7fff, 0x8000, 0x8001};
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (int cls = 0; ops && cls < SY_NUMERIC_FP32; cls++) {
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)cls, 1, 64, 64);
            for (uint32_t first = 0; first < 65536 * 4; first += N) {
                for (uint32_t i = 0; i < N; i++)
                    acc[i] = from_bits((first + i) / 4 << 16 | low[i % 4]);
                struct sy_gemm g = {.m = 1, .n = N, .acc = acc, .acc_row = N, .c = sy_mat_of(c, SY_BF16, N)};
                x.ops->gemm(&x, &g, 1);
                for (int i = 0; i < N; i++) {
                    uint16_t want = model_bf16((enum sy_numeric_class)cls, no_minus_zero(acc[i]));
                    assert_true(same(from_bits((uint32_t)c[i] << 16), from_bits((uint32_t)want << 16)));
                }
            }
            exec_close(&x);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_by_hand),
        cmocka_unit_test(model_is_fmaf_without_flush),
        cmocka_unit_test(x86_is_vdpbf16ps),
        cmocka_unit_test(near_the_flush),
        cmocka_unit_test(rounding_to_bf16),
        cmocka_unit_test(every_tier_stores_bf),
        cmocka_unit_test(every_tier_is_the_definition),
        cmocka_unit_test(a_cut_is_neutral),
        cmocka_unit_test(wrong_orders_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
