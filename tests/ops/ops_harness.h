/* The laboratory of the op tests: an exec for each (tier, class, threads), buffers filled from a regime, and
 * a comparison.
 *
 * A buffer exists twice: `got` is given to the op, `want` to a definition written out in the test. lab_check
 * compares all buffers of the call, inputs and the gaps between rows too, bit for bit (all NaN are one), and
 * frees them. A difference names op, buffer, tier, class, threads, the first element and both bit patterns.
 *
 * What a definition calculates with stands in definitions.h; BF here.
 */
#ifndef SY_TESTS_OPS_HARNESS_H
#define SY_TESTS_OPS_HARNESS_H

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
#include "ops/ops.h"

enum { LAB_THREADS = 3, LAB_MAX_ROW = 640, LAB_BUFS = 16 };

enum regime { PLAIN, WIDE, TINY, ZEROS, BIG, SPECIAL, N_REGIMES };

struct buf {
    const char *name;
    enum sy_dtype t;
    int64_t n;
    void *got, *want;
};

struct lab {
    struct sy_exec x;
    int threads, n;
    struct buf buf[LAB_BUFS];
};

static inline int same_f32(float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }

static inline void *must_alloc(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

/* --- random values -------------------------------------------------------------------------------------- */

static inline int64_t below(int64_t n) { return (int64_t)(random_bits() >> 33) % n; }
static inline float uniform(void) { return (float)((int64_t)(random_bits() >> 40) - (1 << 23)) * 0x1p-23f; }

static inline float random_value(enum regime r) {
    static const float zeros[] = {0.0f, -0.0f, 1.0f, -1.0f, 0x1p-149f, -0x1p-133f, 0x1.fep-127f, 0x1p-126f};
    static const float specials[] = {INFINITY, -INFINITY, NAN, 0x1.fffffep127f};
    uint32_t u = (uint32_t)(random_bits() >> 32), sign_and_fraction = u & 0x807fffffu;
    switch (r) {
    case WIDE:
        return from_bits(sign_and_fraction | (uint32_t)(60 + below(134)) << 23);
    case TINY:
        return from_bits(sign_and_fraction | (uint32_t)below(12) << 23);
    case ZEROS:
        return zeros[below(8)];
    case BIG:
        return from_bits(sign_and_fraction | (uint32_t)(240 + below(15)) << 23);
    case SPECIAL:
        return below(24) ? 2.0f * uniform() : specials[below(4)];
    default: /* all bits of the fraction, magnitudes 2^-19 to 4: sums of few such values round already */
        return from_bits(sign_and_fraction | (uint32_t)(108 + below(21)) << 23);
    }
}

/* --- BF of NUMERICS 1 ------------------------------------------------------------------------------- */

/* Nearest bf16 value, ties to even; in classes x86 and amx a subnormal x gives a zero of its sign; fp32: x. */
static inline float def_bf(enum sy_numeric_class cls, float x) {
    if (cls == SY_NUMERIC_FP32 || x != x)
        return x;
    if ((cls == SY_NUMERIC_X86 || cls == SY_NUMERIC_AMX) && fabsf(x) < 0x1p-126f)
        return copysignf(0.0f, x);
    uint32_t u = bits_of(x), rest = u & 0xffffu, down = u - rest;
    int up = rest > 0x8000u || (rest == 0x8000u && (down & 0x10000u));
    return from_bits(down + (up ? 0x10000u : 0));
}

/* Choice by sorting: value descending, equal values by ascending id. */

struct item {
    float value;
    int32_t id;
};

static inline int better_first(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->value > y->value)
        return -1;
    if (x->value < y->value)
        return 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static inline int ascending(const void *a, const void *b) {
    return *(const int32_t *)a - *(const int32_t *)b;
}

static inline int has_nan(int64_t n, const float *x) {
    int nan = 0;
    for (int64_t i = 0; i < n; i++)
        nan += x[i] != x[i];
    return nan > 0;
}

/* --- buffers -------------------------------------------------------------------------------------------- */

static inline float load(enum sy_dtype t, const void *p, int64_t i) {
    return t == SY_F32 ? ((const float *)p)[i] : from_bits((uint32_t)((const uint16_t *)p)[i] << 16);
}
static inline void store(enum sy_dtype t, void *p, int64_t i, float v) { /* v is of type t already */
    if (t == SY_F32)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = (uint16_t)(bits_of(v) >> 16);
}
static inline float bf_if(const struct lab *l, enum sy_dtype t, float v) {
    return t == SY_F32 ? v : def_bf(l->x.cls, v);
}

static inline struct buf buf_new(struct lab *l, const char *name, enum sy_dtype t, int64_t n, enum regime r) {
    size_t bytes = (size_t)n * sy_dtype_bytes(t);
    struct buf b = {name, t, n, must_alloc(bytes), must_alloc(bytes)};
    for (int64_t i = 0; i < n; i++) /* bf16 subnormals are kept: an op must read them exactly */
        store(t, b.got, i, t == SY_F32 ? random_value(r) : def_bf(SY_NUMERIC_SM90, random_value(r)));
    memcpy(b.want, b.got, bytes);
    assert_true(l->n < LAB_BUFS);
    return l->buf[l->n++] = b;
}

/* Integers share the layout of fp32: their bits are compared. */
static inline struct buf buf_i32(struct lab *l, const char *name, int64_t n) {
    return buf_new(l, name, SY_F32, n, PLAIN);
}
static inline int32_t *i32_of(void *p) { return p; }

static inline void set_both(struct buf b, int64_t i, float v) {
    store(b.t, b.got, i, v);
    store(b.t, b.want, i, v);
}
static inline void set_both_i32(struct buf b, int64_t i, int32_t v) {
    i32_of(b.got)[i] = i32_of(b.want)[i] = v;
}

/* What the definition reads and writes. put rounds to the stored type. */
static inline float take(struct buf b, int64_t i) { return load(b.t, b.want, i); }
static inline void take_row(struct buf b, int64_t from, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++)
        out[i] = take(b, from + i);
}
static inline void put(const struct lab *l, struct buf b, int64_t i, float v) {
    store(b.t, b.want, i, bf_if(l, b.t, v));
}

static inline struct sy_mat mat_of(struct buf b, int64_t row) { return (struct sy_mat){b.got, b.t, row, 1}; }
static inline struct sy_heads heads_of(struct buf b, int64_t token, int64_t head) {
    return (struct sy_heads){b.got, b.t, token, head};
}

static inline void lab_check(struct lab *l, const char *op) {
    for (int k = 0; k < l->n; k++) {
        struct buf b = l->buf[k];
        for (int64_t i = 0; i < b.n; i++) {
            float got = load(b.t, b.got, i), want = load(b.t, b.want, i);
            if (!same_f32(got, want))
                fail_msg(
                    "%s: %s[%lld] is %08x (%g), the definition says %08x (%g): tier %s, class %s, %d threads",
                    op, b.name, (long long)i, bits_of(got), (double)got, bits_of(want), (double)want,
                    l->x.ops->tier, sy_class_name(l->x.cls), l->threads);
        }
        free(b.got);
        free(b.want);
    }
    l->n = 0;
}

/* For tests of laws: nothing is compared. */
static inline void lab_drop(struct lab *l) {
    while (l->n > 0) {
        l->n--;
        free(l->buf[l->n].got);
        free(l->buf[l->n].want);
    }
}

/* --- execs ---------------------------------------------------------------------------------------------- */

static inline struct lab lab_open(const struct sy_ops *ops, enum sy_numeric_class cls, int threads) {
    struct lab l = {.threads = threads};
    size_t bytes = (12 * LAB_MAX_ROW + 4096) * sizeof(float);
    l.x = (struct sy_exec){.device = sy_device_cpu(), .ops = ops, .scratch_bytes = bytes};
    sy_exec_set_class(&l.x, cls);
    l.x.scratch = aligned_alloc(64, bytes * (size_t)threads);
    assert_non_null(l.x.scratch);
    memset(l.x.scratch, 0xff, bytes * (size_t)threads); /* NaN: nothing may depend on what was there */
    assert_int_equal(sy_pool_create(threads, &l.x.pool), SY_OK);
    return l;
}

static inline void lab_close(struct lab *l) {
    lab_drop(l);
    sy_pool_destroy(l->x.pool);
    free(l->x.scratch);
}

/* body(lab) for every tier that runs here, every class and 1 to 3 threads; the same random numbers in
 * each. */
static inline void labs_each(void (*body)(struct lab *l)) {
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
        for (int cls = 0; cls < SY_N_CLASSES; cls++)
            for (int threads = 1; threads <= LAB_THREADS; threads++) {
                const char *why;
                const struct sy_ops *ops = sy_ops_tier(tier, &why);
                if (!ops)
                    continue;
                struct lab l = lab_open(ops, (enum sy_numeric_class)cls, threads);
                random_state = 20240601;
                body(&l);
                lab_close(&l);
            }
}

/* body(lab, rows, width, regime) for widths that nothing divides, rows 1..17 and every regime; then some
 * that are large enough for an op to use its threads. */
static inline void shapes_each(struct lab *l,
                               void (*body)(struct lab *l, int64_t rows, int64_t d, enum regime r)) {
    static const int64_t widths[] = {1, 2, 7, 63, 64, 65, 127, 128, 130, 257};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int r = 0; r < N_REGIMES; r++)
            body(l, 1 + below(17), widths[i], (enum regime)r);
    body(l, 70, 600, PLAIN);
    body(l, 70, 601, ZEROS);
    body(l, 1100, 17, PLAIN);
    body(l, 1101, 16, SPECIAL);
}

/* The reference in class fp32 on two threads: where laws and differences are tested. */
static inline struct lab lab_fp32(void) {
    const char *why;
    random_state = 7;
    return lab_open(sy_ops_tier(0, &why), SY_NUMERIC_FP32, 2);
}

#endif
