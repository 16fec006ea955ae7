/* The chain of every tier, by way of linear_dw, against the scalar CHAIN of chain_model.h and, where the CPU
 * has it, that against the instruction VDPBF16PS; BF against VCVTNEPS2BF16; negative controls; edges by hand.
 */
#include "chain_model.h"

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
static void run_chain(const struct sy_exec *x, struct chains *s, int64_t first, int64_t k, const float *acc,
                      float *c) {
    enum sy_dtype t = x->dtype;
    struct sy_dw d = {.rows = sy_rows_dense(1, k),
                      .n_segments = 1,
                      .m = ROWS,
                      .n = COLUMNS,
                      .dy = sy_mat_t(sy_mat_cols(sy_mat_of(s->a_stored, t, s->k), first)),
                      .x = sy_mat_rows(sy_mat_of(s->b_stored, t, COLUMNS), first),
                      .acc = acc,
                      .c = c};
    x->ops->linear_dw(x, &(struct sy_linear_dw){&d, 1});
}

static float model_output(const struct chains *s, int i, int j, int with_acc, enum wrong wrong) {
    float acc = with_acc ? s->acc[i * COLUMNS + j] : 0.0f;
    const float *a = s->a + i * s->k, *b = s->b + j;
    if (wrong == SPLIT_K) {
        int64_t half = s->k / 64 * 32;
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
                print_error("%s, %s, k %lld: output (%d, %d) is %08x, must be %08x\n", what,
                            sy_class_name(s->cls), (long long)s->k, i, j, bits_of(got), bits_of(want));
        }
    return n;
}

static void every_tier_is_the_definition(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 65, 129, 255, 256, 257, 600};
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
                        run_chain(&x, &s, 0, s.k, with_acc ? s.acc : NULL, s.c);
                        char what[80];
                        snprintf(what, sizeof what, "tier %s, %s%s", ops->tier, regime_name[r],
                                 with_acc ? ", acc" : "");
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
                    run_chain(&x, &s, 0, at, s.acc, half);
                    run_chain(&x, &s, at, s.k - at, half, half);
                    memcpy(s.c, half, sizeof half);
                    assert_int_equal(differing(&s, 1, RIGHT, "cut"), 0);
                }
            exec_close(&x);
        }
    }
}

/* One value that is not finite among ordinary ones, at every place of a block: in a row of a, a column of b,
 * in acc. */
static void one_special_value_is_seen(void **state) {
    (void)state;
    enum { K = 32 };
    static const float special[] = {INFINITY, -INFINITY, NAN};
    static struct chains s;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (int cls = 0; ops && cls < SY_N_CLASSES; cls++) {
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)cls, 1, 64, 64);
            for (int p = 0; p < 2 * K + COLUMNS; p++) {
                float v = special[p % 3];
                fill(&s, (enum sy_numeric_class)cls, K, NORMAL);
                if (p < K)
                    put(x.dtype, s.a_stored, K + p, s.a[K + p] = v);
                else if (p < 2 * K)
                    put(x.dtype, s.b_stored, (p - K) * COLUMNS + p, s.b[(p - K) * COLUMNS + p] = v);
                else
                    s.acc[COLUMNS + p - 2 * K] = v;
                run_chain(&x, &s, 0, K, s.acc, s.c);
                assert_int_equal(differing(&s, 1, RIGHT, "one special value"), 0);
            }
            exec_close(&x);
        }
    }
}

/* sm90, a block whose largest exponent is m: about where a tier's quick step begins and ends, and, with the
 * largest mantissas and one sign, sums of more than 31 bits. */
static void fill_about(struct chains *s, int m, int largest) {
    s->cls = SY_NUMERIC_SM90;
    s->k = 16;
    for (int64_t p = 0; p < 16; p++) {
        int ea = (int)random_below(40) - 20 + m / 2, near = largest ? 0 : (int)random_below(3);
        for (int i = 0; i < ROWS; i++) {
            float f = largest ? 1.9921875f : 1.0f + (float)random_below(128) / 128.0f;
            float sign = !largest && random_below(2) ? -1.0f : 1.0f;
            put(SY_BF16, s->a_stored, i * 16 + p, s->a[i * 16 + p] = sign * ldexpf(f, ea));
        }
        for (int j = 0; j < COLUMNS; j++) {
            float f = largest ? 1.9921875f : 1.0f + (float)random_below(128) / 128.0f;
            float v = ldexpf(f, m - ea - near);
            put(SY_BF16, s->b_stored, p * COLUMNS + j, s->b[p * COLUMNS + j] = v);
            s->b[p * COLUMNS + j] = get(SY_BF16, s->b_stored, p * COLUMNS + j);
        }
    }
    for (int i = 0; i < ROWS * COLUMNS; i++)
        s->acc[i] = ldexpf((float)(random_below(1 << 24) + (1 << 24)) * 0x1p-24f, m - (int)random_below(3));
}

static void sm90_where_ranges_end(void **state) {
    (void)state;
    static const int tops[] = {-134, -133, -127, -126, -102, -101, -100, -99,
                               -98,  0,    123,  124,  125,  126,  127};
    static struct chains s;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        if (!ops)
            continue;
        struct sy_exec x = exec_open(ops, SY_NUMERIC_SM90, 1, 64, 64);
        for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
            for (int round = 0; round < 8; round++) {
                char what[80];
                snprintf(what, sizeof what, "tier %s, largest exponent %d", ops->tier, tops[i]);
                fill_about(&s, tops[i], round % 2);
                run_chain(&x, &s, 0, s.k, s.acc, s.c);
                assert_int_equal(differing(&s, 1, RIGHT, what), 0);
            }
        exec_close(&x);
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
        {EVEN_FIRST, SY_NUMERIC_AMX, NORMAL, 256, 3500},
        {EVEN_JOINED_FIRST, SY_NUMERIC_AMX, NORMAL, 256, 3000},
        {NO_FLUSH, SY_NUMERIC_AMX, TINY_RESULTS, 3, 1000},
        {NO_FLUSH, SY_NUMERIC_AMX, TINY_OPERANDS, 33, 20},
        {SPLIT_K, SY_NUMERIC_AMX, NORMAL, 256, 2000},
        {REVERSED_BLOCKS, SY_NUMERIC_AMX, NORMAL, 256, 2000},
        {HALF_BLOCKS, SY_NUMERIC_AMX, NORMAL, 256, 2000},
        {SPLIT_K, SY_NUMERIC_FP32, NORMAL, 256, 4000},
        {REVERSED_BLOCKS, SY_NUMERIC_X86, NORMAL, 256, 4000},
        {REVERSED_BLOCKS, SY_NUMERIC_SM90, NORMAL, 256, 4000},
        {REVERSED_BLOCKS, SY_NUMERIC_FP32, NORMAL, 256, 4000},
        {HALF_BLOCKS, SY_NUMERIC_SM90, NORMAL, 256, 4000},
        {NO_FLOOR, SY_NUMERIC_SM90, BELOW_FLOOR, 16, 5},
    };
    static struct chains s;
    random_state = 1; /* how many change must not depend on what ran before */
    for (size_t q = 0; q < sizeof controls / sizeof *controls; q++) {
        const char *why;
        struct sy_exec x = exec_open(sy_ops_tier(0, &why), controls[q].cls, 1, 64, 64);
        int64_t n = 0;
        for (int round = 0; round < 20; round++) {
            fill(&s, controls[q].cls, controls[q].k, controls[q].regime);
            run_chain(&x, &s, 0, s.k, s.acc, s.c);
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
    /* x86: 2^-63 (1 - 2^-8) 2^-63 lies below 2^-126 and flushes; 2^-126 itself stays; subnormal operands
     * and acc are 0 */
    assert_true(same(model_fma(0x1.fep-64f, 0x1p-63f, 0.0f, 1), 0.0f));
    assert_true(same(model_fma(-0x1.fep-64f, 0x1p-63f, 0.0f, 1), -0.0f));
    assert_true(same(model_fma(0x1p-63f, 0x1p-63f, 0.0f, 1), t));
    assert_true(same(model_fma(s, 0x1p100f, 1.0f, 1), 1.0f));
    assert_true(same(model_fma(0.0f, 1.0f, 0x1p-130f, 1), 0.0f));
    /* 2^-126 - 2^-152 rounds to 2^-126 in 24 bits: kept; 2^-126 - 2^-150 is a number of 24 bits: flushed */
    assert_true(same(model_fma(-0x1p-76f, 0x1p-76f, t, 1), t));
    assert_true(same(model_fma(-0x1p-75f, 0x1p-75f, t, 1), 0.0f));
    assert_true(same(model_fma(-0x1p-75f, 0x1p-75f, t, 0), t));
    /* amx: a chain from +0 for each parity; acc meets their sum alone. A last block may end after any row:
     * its missing products change no bit but the sign of a zero, which + 0.0f takes away. */
    const float x[4] = {1.0f, 0x1p-24f, 0x1p-24f, 0x1p-24f}, one[4] = {1, 1, 1, 1};
    assert_true(same(model_amx(4, x, one, 0.0f, RIGHT), 0x1.000002p+0f)); /* 1 + 2^-24 + 2^-23: 1 + 2^-23 */
    assert_true(same(model_amx(4, x, one, 0.0f, EVEN_FIRST), 1.0f));
    assert_true(same(model_amx(2, x, one, -1.0f, RIGHT), 0.0f)); /* 1 + 2^-24 is 1, and nothing is left */
    assert_true(same(model_amx(2, (float[]){-0x1p-64f, 0.0f}, (float[]){0x1p-64f, 0.0f}, 1.0f, RIGHT), 1.0f));
    assert_true(same(model_amx(2, (float[]){0.0f, 0.0f}, (float[]){0.0f, 0.0f}, 0x1p-130f, RIGHT), 0.0f));
    /* sm90: with M at its floor of -133 a term is cut to a multiple of 2^-158, and the sum to one of
     * 2^-149 */
    float a[16] = {0}, b[16] = {0};
    a[0] = 0x1p-75f, b[0] = 0x1p-74f;
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0x1p-149f));
    a[0] = 0x1.8p-75f, b[0] = 0x1p-75f;
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0.0f));
    for (int i = 0; i < 16; i++)
        a[i] = 0x1p-80f, b[i] = 0x1p-78f; /* 16 terms of 2^-158 */
    assert_true(same(model_sm90(16, a, b, 0.0f, -133), 0.0f));
    for (int i = 1; i < 16; i++)
        a[i] = 0x1p-80f,
        b[i] = 0x1p-80f; /* without the floor 15 terms of 2^-160 would lift the first to 2^-149 */
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

/* --- the CPU's own instructions ------------------------------------------------------------------------- */

#if defined(__x86_64__)
__attribute__((target("avx512bf16,avx512f"))) static void
hardware_pairs(int64_t k, const float *a, const float *b, const float *acc, float *c) {
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

/* Operands that lead two steps to the edge of the flush: acc near 2^-126, products that nearly cancel its
 * last bits. */
static void fill_near_the_flush(struct chains *s) {
    fill(s, SY_NUMERIC_X86, 2, TINY_RESULTS);
    for (int i = 0; i < ROWS * 2; i++)
        put(SY_BF16, s->a_stored, i,
            s->a[i] = from_bits((uint32_t)(random_bits() >> 63) << 31 | 64u << 23 |
                                (random_bits() % 2 ? 0 : (uint32_t)random_bits() & 0x7f0000u)));
    for (int i = 0; i < 2 * COLUMNS; i++)
        put(SY_BF16, s->b_stored, i,
            s->b[i] =
                from_bits((uint32_t)(random_bits() >> 63) << 31 | (38u + (uint32_t)random_below(28)) << 23 |
                          (random_bits() % 3 ? 0 : (uint32_t)random_bits() & 0x7f0000u)));
    for (int i = 0; i < ROWS * COLUMNS; i++)
        s->acc[i] = from_bits(
            (uint32_t)(random_bits() >> 63) << 31 | (uint32_t)random_below(3) << 23 |
            (random_bits() % 2 ? (uint32_t)random_bits() & 0x7u : 0x7fffffu - (random_bits() & 3u)));
}

/* The definition against VDPBF16PS (tier -1) and every tier. A sum just below 2^-126 that gradual
 * underflow would round to it must have come up, or nothing here tells the flush after 24 bits from one
 * after rounding. */
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
                run_chain(&x, &s, 0, s.k, s.acc, s.c);
            for (int i = 0; i < ROWS * COLUMNS; i++) {
                s.c[i] = no_minus_zero(s.c[i]);
                float acc = bits_of(s.acc[i]) << 1 < 0x01000000u ? 0.0f : s.acc[i],
                      a = s.a[i / COLUMNS * 2 + 1];
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

/* The same through the store of each tier: a chain of no rows, and a bias that is any fp32. */
static void every_tier_stores_bf(void **state) {
    (void)state;
    enum { N = 4096 };
    static float bias[N];
    static uint16_t c[N];
    static const uint32_t low[] = {0, 0x7fff, 0x8000, 0x8001};
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (int cls = 0; ops && cls < SY_NUMERIC_FP32; cls++) {
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)cls, 1, 64, 64);
            for (uint32_t first = 0; first < 65536 * 4; first += N) {
                for (uint32_t i = 0; i < N; i++)
                    bias[i] = from_bits((first + i) / 4 << 16 | low[i % 4]);
                struct sy_mat none = sy_mat_of(c, SY_BF16, N);
                x.ops->linear(&x, &(struct sy_linear){.rows = sy_rows_dense(1, 1),
                                                      .n = N,
                                                      .x = none,
                                                      .w = {.m = none},
                                                      .bias = bias,
                                                      .y = none});
                for (int i = 0; i < N; i++) {
                    uint16_t want = model_bf16((enum sy_numeric_class)cls, no_minus_zero(bias[i]));
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
        cmocka_unit_test(one_special_value_is_seen),
        cmocka_unit_test(sm90_where_ranges_end),
        cmocka_unit_test(wrong_orders_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
