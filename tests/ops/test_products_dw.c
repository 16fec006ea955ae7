/* linear_dw against the scalar CHAIN of chain_model.h, by every tier and number of threads: lists of problems
 * over the segments of dense and of grouped rows, chains that begin at +0, go on from an accumulator or in
 * place, stored or folded in; groups without rows; rows of padding that change nothing.
 */
#include "product_harness.h"

enum { PROBLEMS = 5, ROWS_MAX = 1024 };

struct problem {
    struct layout rows;
    struct matrix dy, x;
    int acc, c; /* acc: buffer or -1 */
};

struct leaves {
    struct trial t;
    int n;
    struct problem p[PROBLEMS];
    struct sy_dw dw[PROBLEMS];
    struct sy_linear_dw op;
};

static void run_dw(const struct sy_exec *x, const void *op) { x->ops->linear_dw(x, op); }

/* Rows of a column of the segments' own rows, without padding, segment by segment. */
static float chain(const struct leaves *l, int q, int64_t g, int64_t i, int64_t j, float acc) {
    const struct problem *p = &l->p[q];
    const struct sy_dw *d = &l->dw[q];
    float dy[ROWS_MAX], x[ROWS_MAX];
    for (int64_t s = d->first; s < d->first + d->n_segments; s++) {
        int64_t lo = segment_start(&p->rows, g, s), n = p->rows.count[g * p->rows.rows.sequences + s];
        assert_true(n <= ROWS_MAX);
        for (int64_t r = 0; r < n; r++) {
            dy[r] = want(&l->t, p->dy, lo + r, i);
            x[r] = want(&l->t, p->x, lo + r, j);
        }
        acc = model_rows(l->t.cls, n, dy, 1, x, 1, acc, RIGHT);
    }
    return no_minus_zero(acc);
}

static void expect_problem(struct leaves *l, int q) {
    const struct sy_dw *d = &l->dw[q];
    for (int64_t g = 0; g < d->rows.groups; g++)
        for (int64_t i = 0; i < d->m; i++)
            for (int64_t j = 0; j < d->n; j++) {
                int64_t at = g * d->c_step + i * d->n + j;
                float acc =
                    l->p[q].acc >= 0 ? want_at(&l->t, l->p[q].acc, g * d->acc_step + i * d->n + j) : 0.0f;
                float v = chain(l, q, g, i, j, acc);
                want_set(&l->t, l->p[q].c, at, d->fold ? want_at(&l->t, l->p[q].c, at) + v : v);
            }
}

static void problem_add(struct leaves *l, enum regime r, struct layout rows, int64_t m, int64_t n) {
    struct trial *t = &l->t;
    int q = l->n++;
    struct problem *p = &l->p[q];
    struct sy_dw *d = &l->dw[q];
    int64_t most = rows.rows.max_rows, sequences = rows.rows.sequences, size = m * n,
            groups = rows.rows.groups;
    int acc = (int)random_below(3); /* none, its own, c itself */
    *p = (struct problem){.rows = rows, .acc = -1};
    *d = (struct sy_dw){.rows = rows.rows, .m = m, .n = n, .fold = acc < 2 && random_below(2)};
    d->first = random_below(2) ? 0 : random_below(sequences);
    d->n_segments = random_below(2) ? sequences - d->first : random_below(sequences - d->first + 1);
    p->dy = matrix_new(t, "dy", t->stored, most, m, (int)random_below(2), r, VALUES);
    p->x = matrix_new(t, "x", t->stored, most, n, (int)random_below(2), r, VALUES);
    mark_rows(t, &rows, p->dy, m, 1);
    mark_rows(t, &rows, p->x, n, 1);
    d->c_step = size + random_below(4);
    p->c = buffer_new(t, "c", SY_F32, groups * d->c_step, r, NO_MINUS_ZERO);
    if (acc == 1) {
        d->acc_step = size + random_below(4);
        p->acc = buffer_new(t, "acc", SY_F32, groups * d->acc_step, r, d->fold ? NO_MINUS_ZERO : SUMS);
    } else if (acc == 2) {
        d->acc_step = d->c_step;
        p->acc = p->c;
    }
    d->dy = mat(t, p->dy);
    d->x = mat(t, p->x);
    d->acc = p->acc >= 0 ? got_of(t, p->acc) : NULL;
    d->c = got_of(t, p->c);
    expect_problem(l, q);
}

static void leaves_open(struct leaves *l, enum sy_numeric_class cls) {
    *l = (struct leaves){.t = trial_new(cls)};
    l->op.problem = l->dw;
    l->t.run = run_dw;
    l->t.op = &l->op;
}

static void leaves_run(struct leaves *l, const char *what) {
    l->op.n_problems = l->n;
    run_everywhere(&l->t, what);
}

static void leaves_close(struct leaves *l) {
    trial_free(&l->t);
    for (int q = 0; q < l->n; q++)
        layout_free(&l->p[q].rows);
}

static void one(enum sy_numeric_class cls, enum regime r, struct layout rows, int64_t m, int64_t n,
                const char *what) {
    static struct leaves l;
    leaves_open(&l, cls);
    problem_add(&l, r, rows, m, n);
    leaves_run(&l, what);
    leaves_close(&l);
}

/* --- what is run ---------------------------------------------------------------------------------------- */

static void shapes(void **state) {
    (void)state;
    static const int64_t sides[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 33, 65, 129};
    static const int64_t depths[] = {1, 2, 3, 15, 16, 17, 33, 64, 65, 255, 256, 257, 511, 600};
    enum { N_SIDES = sizeof sides / sizeof *sides, N_DEPTHS = sizeof depths / sizeof *depths };
    random_state = 21;
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        for (int i = 0; i < 60; i++) {
            int64_t m = sides[i % N_SIDES], n = sides[random_below(N_SIDES)], k = depths[i % N_DEPTHS];
            int64_t sequences = 1 + random_below(3);
            if (m * n * k > 500000)
                n = 33;
            one((enum sy_numeric_class)cls, NORMAL, layout_dense(sequences, (k + sequences - 1) / sequences),
                m, n, "shapes");
        }
        one((enum sy_numeric_class)cls, NORMAL, layout_dense(1, 65), 129, 129, "several tiles");
    }
}

static void every_regime(void **state) {
    (void)state;
    random_state = 22;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int r = 0; r < N_REGIMES; r++)
            for (int i = 0; i < 8; i++)
                one((enum sy_numeric_class)cls, (enum regime)r, layout_random(i == 0 ? 300 : 60),
                    1 + random_below(20), 1 + random_below(40), regime_name[r]);
}

/* Unequal and empty problems in one call; the last rounds are work enough for several threads. */
static void lists(void **state) {
    (void)state;
    static struct leaves l;
    random_state = 23;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 8; i++) {
            int64_t least = i >= 6 ? 60 : 1;
            leaves_open(&l, (enum sy_numeric_class)cls);
            for (int q = 0; q < PROBLEMS; q++)
                problem_add(&l, (enum regime)(q % N_REGIMES), layout_random(q == i % PROBLEMS ? 0 : 60),
                            (q + i) % 5 == 0 ? 0 : least - 1 + random_below(70), least + random_below(90));
            leaves_run(&l, "lists");
            l.n = 0; /* no problems at all: nothing happens */
            for (int b = 0; b < l.t.n; b++)
                memcpy(l.t.buf[b].want, l.t.buf[b].first, bytes_of(&l.t.buf[b]));
            if (i == 0)
                leaves_run(&l, "no problems");
            l.n = PROBLEMS;
            leaves_close(&l);
        }
}

/* --- laws and controls ---------------------------------------------------------------------------------- */

/* A group without rows: c = +0, not what stood there; folded: c stays; from an accumulator: that. */
static void groups_without_rows(void **state) {
    (void)state;
    enum { M = 3, N = 5 };
    int64_t offset[3] = {0, 0, 2}, tiles = 1;
    struct sy_tile tile = {1, 0};
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (int n = 0; ops && n < SY_N_CLASSES * 5; n++) {
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)(n / 5), 2, 64, 64);
            float dy[2 * M], in[2 * N], c[2 * M * N], acc[2 * M * N];
            int with_acc = n % 5 == 2 || n % 5 == 3, in_place = n % 5 == 4, fold = n % 5 == 1 || n % 5 == 3;
            memset(dy, 0, sizeof dy);
            memset(in, 0, sizeof in);
            for (int i = 0; i < 2 * M * N; i++) {
                c[i] = 7.0f;
                acc[i] = 3.0f;
            }
            struct sy_dw d = {.rows = {2, 1, 2, offset, &tile, &tiles},
                              .n_segments = 1,
                              .m = M,
                              .n = N,
                              .dy = sy_mat_of(dy, x.dtype, M),
                              .x = sy_mat_of(in, x.dtype, N),
                              .acc = with_acc   ? acc
                                     : in_place ? c
                                                : NULL,
                              .acc_step = M * N,
                              .c = c,
                              .c_step = M * N,
                              .fold = fold};
            ops->linear_dw(&x, &(struct sy_linear_dw){&d, 1});
            for (int i = 0; i < M * N; i++) {
                float chain_of_none = with_acc ? 3.0f : in_place ? 7.0f : 0.0f;
                assert_true(bits_of(c[i]) == bits_of(fold ? 7.0f + chain_of_none : chain_of_none));
            }
            exec_close(&x);
        }
    }
}

/* Segments are padded by themselves: two of odd length are not one of their sum (x86, sm90), and are in
 * fp32. And the order of the segments is that of the rows: a leaf over segments 0 and 1 is one over 0,
 * gone on with over 1. */
static void segments_pad_by_themselves(void **state) {
    (void)state;
    enum { K = 33, M = 4, N = 64, SIZE = M * N };
    static float c[3][SIZE];
    const char *why;
    random_state = 24;
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        struct sy_exec x = exec_open(sy_ops_tier(0, &why), (enum sy_numeric_class)cls, 1, 64, 64);
        static char a[2 * K * M * 4], b[2 * K * N * 4];
        for (int i = 0; i < 2 * K * M; i++)
            put(x.dtype, a, i, random_value(NORMAL, x.dtype == SY_F32));
        for (int i = 0; i < 2 * K * N; i++)
            put(x.dtype, b, i, random_value(NORMAL, x.dtype == SY_F32));
        struct sy_dw d = {.rows = sy_rows_dense(1, 2 * K),
                          .n_segments = 1,
                          .m = M,
                          .n = N,
                          .dy = sy_mat_of(a, x.dtype, M),
                          .x = sy_mat_of(b, x.dtype, N),
                          .c = c[0]};
        struct sy_linear_dw op = {&d, 1};
        x.ops->linear_dw(&x, &op);
        d.rows.sequences = d.n_segments = 2;
        d.c = c[1];
        x.ops->linear_dw(&x, &op);
        assert_int_equal(memcmp(c[0], c[1], sizeof c[0]) == 0, cls == SY_NUMERIC_FP32);
        d.n_segments = 1;
        d.c = c[2];
        x.ops->linear_dw(&x, &op);
        assert_memory_not_equal(c[1], c[2], sizeof c[1]);
        d.first = 1;
        d.acc = c[2];
        x.ops->linear_dw(&x, &op);
        assert_memory_equal(c[1], c[2], sizeof c[1]);
        exec_close(&x);
    }
}

/* The comparison must be able to fail: one bit of one operand. */
static void one_bit_is_seen(void **state) {
    (void)state;
    const char *why;
    static struct leaves l;
    random_state = 25;
    leaves_open(&l, SY_NUMERIC_X86);
    problem_add(&l, NORMAL, layout_dense(1, 30), 5, 7);
    l.op.n_problems = 1;
    l.dw[0].first = 0;
    struct sy_exec x = exec_open(sy_ops_tier(0, &why), SY_NUMERIC_X86, 1, 64, 64);
    for (int which = 0; which < 2; which++) {
        struct buffer *b = &l.t.buf[which ? l.p[0].x.buf : l.p[0].dy.buf], *c = &l.t.buf[l.p[0].c];
        for (int spoilt = 0; spoilt < 2; spoilt++) {
            int differ = 0;
            ((uint16_t *)b->first)[0] ^= (uint16_t)(spoilt ? 4 : 0);
            run_once(&l.t, &x, 0);
            for (int64_t i = 0; i < c->n; i++)
                differ += !same(get(SY_F32, c->got, i), get(SY_F32, c->want, i));
            assert_int_equal(differ > 0, spoilt);
            ((uint16_t *)b->first)[0] ^= (uint16_t)(spoilt ? 4 : 0);
        }
    }
    exec_close(&x);
    leaves_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(every_regime),
        cmocka_unit_test(lists),
        cmocka_unit_test(groups_without_rows),
        cmocka_unit_test(segments_pad_by_themselves),
        cmocka_unit_test(one_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
