/* gemm of every tier and number of threads against the scalar CHAIN of chain_model.h: shapes that no tile divides,
 * transposed and strided operands, parts with odd k, bias, accumulators, folds, both kinds of output, several problems in
 * one call.
 */
#include "chain_model.h"

enum { PARTS = 3, MAX_SIDE = 129, CANARY = 0x7b };

struct operand { /* a [rows, cols] matrix in a buffer with gaps */
    struct sy_mat mat;
    float *value; /* [rows, cols] */
    size_t bytes;
};

struct problem {
    enum sy_numeric_class cls;
    int n_parts, with_bias, acc_kind; /* acc: 0 none, 1 its own buffer, 2 c itself */
    int64_t m, n, c_row, acc_row;
    struct operand a[PARTS], b[PARTS];
    struct sy_gemm_part parts[PARTS];
    enum sy_gemm_out out;
    enum sy_dtype c_type;
    float *bias, *acc, *want; /* acc [m, acc_row]; want [m, n] */
    char *c_first, *c;        /* what c holds before; c */
    size_t c_bytes;
};

static void *must_alloc(size_t n) {
    void *p = malloc(n ? n : 1);
    assert_non_null(p);
    return p;
}

static struct operand operand_random(enum sy_dtype t, int64_t rows, int64_t cols, enum regime r) {
    struct operand o = {.mat = {NULL, t, 0, 1}};
    int64_t gap = random_below(3) ? random_below(4) : 0, transposed = random_below(2);
    int64_t lead = (transposed ? rows : cols) + gap, lines = transposed ? cols : rows;
    o.mat.row = transposed ? 1 : lead;
    o.mat.col = transposed ? lead : 1;
    /* the last line has no gap behind it: reading there is an error that ASan sees */
    o.bytes = lines ? (size_t)((lines - 1) * lead + (lead - gap)) * sy_dtype_bytes(t) : 0;
    o.mat.data = must_alloc(o.bytes);
    memset(o.mat.data, 0xff, o.bytes);
    o.value = must_alloc((size_t)(rows * cols) * 4);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            put(t, o.mat.data, i * o.mat.row + j * o.mat.col, o.value[i * cols + j] = random_value(r, t == SY_F32));
    return o;
}

static void expect(struct problem *p) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            float old = get(p->c_type, p->c_first, i * p->c_row + j);
            float acc = p->acc_kind == 0 ? 0.0f : p->acc_kind == 1 ? p->acc[i * p->acc_row + j] : old;
            for (int q = 0; q < p->n_parts; q++)
                acc = model_rows(p->cls, p->parts[q].k, p->a[q].value + i * p->parts[q].k, 1, p->b[q].value + j, p->n, acc,
                                 RIGHT);
            acc = no_minus_zero(acc);
            if (p->out == SY_GEMM_FOLD)
                acc = old + acc;
            else if (p->with_bias)
                acc = acc + p->bias[j];
            p->want[i * p->n + j] = p->c_type == SY_F32 ? acc : model_bf(p->cls, acc);
        }
}

static struct problem problem_random(enum sy_numeric_class cls, enum regime r, int64_t m, int64_t n, int64_t k) {
    struct problem p = {.cls = cls, .m = m, .n = n, .n_parts = 1 + (int)random_below(PARTS)};
    enum sy_dtype t = sy_class_dtype(cls);
    for (int q = 0; q < p.n_parts; q++) {
        p.parts[q].k = q == 0 ? k : random_below(40);
        p.a[q] = operand_random(t, m, p.parts[q].k, r);
        p.b[q] = operand_random(t, p.parts[q].k, n, r);
        p.parts[q].a = p.a[q].mat;
        p.parts[q].b = p.b[q].mat;
    }
    p.out = random_below(3) ? SY_GEMM_STORE : SY_GEMM_FOLD;
    p.c_type = p.out == SY_GEMM_FOLD || random_below(2) ? SY_F32 : t;
    p.with_bias = p.out == SY_GEMM_STORE && random_below(2);
    p.acc_kind = (int)random_below(p.c_type == SY_F32 && p.out == SY_GEMM_STORE ? 3 : 2);
    p.c_row = n + random_below(4);
    p.acc_row = p.acc_kind == 2 ? p.c_row : n + random_below(4);
    p.bias = must_alloc((size_t)n * 4);
    p.acc = must_alloc((size_t)(m * p.acc_row) * 4);
    p.want = must_alloc((size_t)(m * n) * 4);
    p.c_bytes = (size_t)(m * p.c_row) * sy_dtype_bytes(p.c_type);
    p.c_first = must_alloc(p.c_bytes);
    p.c = must_alloc(p.c_bytes);
    memset(p.c_first, CANARY, p.c_bytes);
    for (int64_t j = 0; j < n; j++)
        p.bias[j] = random_acc(r);
    for (int64_t i = 0; i < m * p.acc_row; i++)
        p.acc[i] = random_acc(r);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            put(p.c_type, p.c_first, i * p.c_row + j, random_acc(r));
    expect(&p);
    return p;
}

static void problem_free(struct problem *p) {
    for (int q = 0; q < p->n_parts; q++) {
        free(p->a[q].mat.data);
        free(p->a[q].value);
        free(p->b[q].mat.data);
        free(p->b[q].value);
    }
    free(p->bias);
    free(p->acc);
    free(p->want);
    free(p->c_first);
    free(p->c);
}

static struct sy_gemm call_of(struct problem *p) {
    memcpy(p->c, p->c_first, p->c_bytes);
    return (struct sy_gemm){.m = p->m,
                            .n = p->n,
                            .parts = p->parts,
                            .n_parts = p->n_parts,
                            .bias = p->with_bias ? p->bias : NULL,
                            .acc = p->acc_kind == 0   ? NULL
                                   : p->acc_kind == 1 ? p->acc
                                                      : (const float *)(const void *)p->c,
                            .acc_row = p->acc_row,
                            .out = p->out,
                            .c = sy_mat_of(p->c, p->c_type, p->c_row)};
}

static void check(const struct problem *p, const char *where) {
    size_t e = sy_dtype_bytes(p->c_type);
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            float want = p->want[i * p->n + j], got = get(p->c_type, p->c, i * p->c_row + j);
            if (!same(want, got))
                fail_msg("%s: m %lld n %lld k %lld, %d parts, bias %d, acc %d, out %d: (%lld, %lld) is %08x, must be %08x",
                         where, (long long)p->m, (long long)p->n, (long long)p->parts[0].k, p->n_parts, p->with_bias,
                         p->acc_kind, (int)p->out, (long long)i, (long long)j, bits_of(got), bits_of(want));
        }
        size_t at = (size_t)(i * p->c_row + p->n) * e, gap = (size_t)(p->c_row - p->n) * e;
        assert_memory_equal(p->c + at, p->c_first + at, gap);
    }
}

/* All tiers and 1, 2, 3 threads on the same problems, given in one call. */
static void run_everywhere(enum sy_numeric_class cls, struct problem *p, int n, const char *what) {
    struct sy_gemm calls[8];
    assert_true(n <= 8);
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const char *why;
        const struct sy_ops *ops = sy_ops_tier(tier, &why);
        for (int threads = 1; ops && threads <= 3; threads++) {
            char where[120];
            snprintf(where, sizeof where, "%s, %s, tier %s, %d threads", what, sy_class_name(cls), ops->tier, threads);
            struct sy_exec x = exec_open(ops, cls, threads, 64, 64);
            for (int i = 0; i < n; i++)
                calls[i] = call_of(&p[i]);
            ops->gemm(&x, calls, n);
            for (int i = 0; i < n; i++)
                check(&p[i], where);
            exec_close(&x);
        }
    }
}

static void shapes(enum sy_numeric_class cls) {
    static const int64_t sides[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 33, 65, 129};
    static const int64_t depths[] = {1, 2, 3, 15, 16, 17, 33, 64, 65, 255, 256, 257, 511, 600};
    enum { N_SIDES = sizeof sides / sizeof *sides, N_DEPTHS = sizeof depths / sizeof *depths };
    random_state = 11;
    for (int i = 0; i < 60; i++) {
        int64_t m = sides[i % N_SIDES], n = sides[random_below(N_SIDES)], k = depths[i % N_DEPTHS];
        if (m * n * k > 1500000)
            n = 33;
        struct problem p = problem_random(cls, NORMAL, m, n, k);
        run_everywhere(cls, &p, 1, "shapes");
        problem_free(&p);
    }
    struct problem p = problem_random(cls, NORMAL, 129, 129, 65);
    run_everywhere(cls, &p, 1, "several tiles");
    problem_free(&p);
}

static void shapes_x86(void **state) {
    (void)state;
    shapes(SY_NUMERIC_X86);
}
static void shapes_sm90(void **state) {
    (void)state;
    shapes(SY_NUMERIC_SM90);
}
static void shapes_fp32(void **state) {
    (void)state;
    shapes(SY_NUMERIC_FP32);
}

static void every_regime(void **state) {
    (void)state;
    random_state = 12;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int r = 0; r < N_REGIMES; r++)
            for (int i = 0; i < 6; i++) {
                struct problem p = problem_random((enum sy_numeric_class)cls, (enum regime)r, 1 + random_below(20),
                                                  1 + random_below(70), 1 + random_below(i == 0 ? 400 : 40));
                run_everywhere((enum sy_numeric_class)cls, &p, 1, regime_name[r]);
                problem_free(&p);
            }
}

/* Nothing to do, no rows to sum: an empty m or n touches nothing, k = 0 gives acc + 0 + bias. */
static void empty_sides(void **state) {
    (void)state;
    random_state = 13;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 24; i++) {
            struct problem p = problem_random((enum sy_numeric_class)cls, i % 2 ? NON_FINITE : TINY_RESULTS,
                                              i % 3 == 0 ? 0 : 5, i % 3 == 1 ? 0 : 7, i % 3 == 2 ? 0 : 9);
            run_everywhere((enum sy_numeric_class)cls, &p, 1, "empty");
            problem_free(&p);
        }
    for (int cls = 0; cls < SY_N_CLASSES; cls++) { /* no parts at all, no problems at all */
        struct problem p = problem_random((enum sy_numeric_class)cls, NORMAL, 3, 5, 0);
        for (int q = 0; q < p.n_parts; q++) {
            free(p.a[q].mat.data);
            free(p.a[q].value);
            free(p.b[q].mat.data);
            free(p.b[q].value);
        }
        p.n_parts = 0;
        expect(&p);
        run_everywhere((enum sy_numeric_class)cls, &p, 1, "no parts");
        run_everywhere((enum sy_numeric_class)cls, &p, 0, "no problems");
        problem_free(&p);
    }
}

/* Grouped: unequal and empty problems in one call; the last round is work enough for several threads. */
static void many_problems(void **state) {
    (void)state;
    random_state = 14;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 7; i++) {
            struct problem p[5];
            int64_t least = i == 6 ? 70 : 1;
            for (int q = 0; q < 5; q++)
                p[q] = problem_random((enum sy_numeric_class)cls, (enum regime)(q % N_REGIMES),
                                      (q + i) % 5 == 0 ? 0 : least - 1 + random_below(90), least + random_below(140),
                                      least - 1 + random_below(50));
            run_everywhere((enum sy_numeric_class)cls, p, 5, "grouped");
            for (int q = 0; q < 5; q++)
                problem_free(&p[q]);
        }
}

/* Parts are padded by themselves: two parts of odd k are not one part of their sum (x86, sm90), and are in fp32. */
static void parts_pad_by_themselves(void **state) {
    (void)state;
    enum { K = 33, N = 64 };
    static float c[2][N];
    const char *why;
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        struct sy_exec x = exec_open(sy_ops_tier(0, &why), (enum sy_numeric_class)cls, 1, 64, 64);
        static char a[2 * K * 4], b[2 * K * N * 4];
        for (int i = 0; i < 2 * K; i++)
            put(x.dtype, a, i, random_value(NORMAL, x.dtype == SY_F32));
        for (int i = 0; i < 2 * K * N; i++)
            put(x.dtype, b, i, random_value(NORMAL, x.dtype == SY_F32));
        struct sy_mat ma = sy_mat_of(a, x.dtype, 2 * K), mb = sy_mat_of(b, x.dtype, N);
        struct sy_gemm_part one = {ma, mb, 2 * K}, two[2] = {{ma, mb, K}, {sy_mat_cols(ma, K), sy_mat_rows(mb, K), K}};
        struct sy_gemm g[2] = {{.m = 1, .n = N, .parts = &one, .n_parts = 1, .c = sy_mat_of(c[0], SY_F32, N)},
                               {.m = 1, .n = N, .parts = two, .n_parts = 2, .c = sy_mat_of(c[1], SY_F32, N)}};
        x.ops->gemm(&x, g, 2);
        int equal = memcmp(c[0], c[1], sizeof c[0]) == 0;
        assert_int_equal(equal, cls == SY_NUMERIC_FP32);
        exec_close(&x);
    }
}

/* The comparison above must be able to fail: one bit of one operand. */
static void one_bit_is_seen(void **state) {
    (void)state;
    const char *why;
    struct problem p = problem_random(SY_NUMERIC_X86, NORMAL, 5, 7, 30);
    struct sy_exec x = exec_open(sy_ops_tier(0, &why), SY_NUMERIC_X86, 1, 64, 64);
    ((uint16_t *)p.a[0].mat.data)[0] ^= 1;
    p.out = SY_GEMM_STORE;
    struct sy_gemm g = call_of(&p);
    static float c[7 * 5];
    g.c = sy_mat_of(c, SY_F32, 7);
    g.acc = NULL;
    g.bias = NULL;
    x.ops->gemm(&x, &g, 1);
    int differ = 0;
    for (int j = 0; j < 7; j++) {
        float acc = 0.0f;
        for (int q = 0; q < p.n_parts; q++)
            acc = model_rows(p.cls, p.parts[q].k, p.a[q].value, 1, p.b[q].value + j, p.n, acc, RIGHT);
        differ += !same(no_minus_zero(acc), c[j]);
    }
    assert_true(differ > 0);
    exec_close(&x);
    problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_x86),
        cmocka_unit_test(shapes_sm90),
        cmocka_unit_test(shapes_fp32),
        cmocka_unit_test(every_regime),
        cmocka_unit_test(empty_sides),
        cmocka_unit_test(many_problems),
        cmocka_unit_test(parts_pad_by_themselves),
        cmocka_unit_test(one_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
