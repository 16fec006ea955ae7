/* linear and linear_dx against the scalar CHAIN of chain_model.h, by every tier and number of threads: shapes
 * that no tile divides, transposed and strided operands, dense rows and rows of groups with empty groups,
 * empty segments and padding, right-hand sides packed, one to four maps, bias, residual, SwiGLU and its
 * backward. linear_dw: test_products_dw.c.
 */
#include "product_harness.h"

enum { K_MAX = 640 };

static const struct matrix NO_MATRIX = {-1, 0, 0};

/* --- linear --------------------------------------------------------------------------------------------- */

struct linear {
    struct trial t;
    struct layout rows;
    struct sy_linear op;
    struct matrix x, y, h, residual;
    struct operand *w;
    int bias;
};

static void run_linear(const struct sy_exec *x, const void *op) { x->ops->linear(x, op); }

static void swiglu_row(struct linear *c, int64_t i) {
    int64_t f = c->op.n / 2;
    for (int64_t j = 0; j < f; j++) {
        float g = want(&c->t, c->y, i, j), u = want(&c->t, c->y, i, f + j), s = g * def_sig(g);
        expect(&c->t, c->h, i, j, s * u);
    }
}

static void expect_linear(struct linear *c) {
    int64_t k = c->op.k, n = c->op.n;
    float x[K_MAX], *w = NULL;
    for (int64_t i = 0, group = -1; i < c->rows.used; i++) {
        if (group_of(&c->rows, i) != group) {
            group = group_of(&c->rows, i);
            free(w);
            w = operand_values(&c->t, c->w, group);
        }
        row_values(&c->t, c->x, i, k, x);
        for (int64_t j = 0; j < n; j++) {
            float v = no_minus_zero(model_rows(c->t.cls, k, x, 1, w + j, n, 0.0f, RIGHT));
            if (c->op.bias)
                v = v + want_at(&c->t, c->bias, j);
            if (c->residual.buf >= 0)
                v = want(&c->t, c->residual, i, j) + model_bf(c->t.cls, v);
            expect(&c->t, c->y, i, j, v);
        }
        if (c->op.epilogue == SY_EPILOGUE_SWIGLU)
            swiglu_row(c, i);
    }
    free(w);
}

/* epilogue: 0 none, 1 residual, 2 SwiGLU. */
static void linear_open(struct linear *c, enum sy_numeric_class cls, enum regime r, struct layout rows,
                        int64_t n, int64_t k, int epilogue) {
    *c = (struct linear){.t = trial_new(cls), .rows = rows, .residual = NO_MATRIX, .h = NO_MATRIX};
    struct trial *t = &c->t;
    int64_t most = rows.rows.max_rows;
    assert_true(k <= K_MAX);
    c->x = matrix_new(t, "x", t->stored, most, k, (int)random_below(2), r, VALUES);
    mark_rows(t, &rows, c->x, k, 0);
    c->w = operand_new(t, rows.rows.groups, k, n, r, &c->op.w);
    c->bias = buffer_new(t, "bias", SY_F32, n, r, SUMS);
    int in_place = epilogue == 1 && random_below(2);
    c->y = matrix_new(t, "y", in_place || random_below(2) ? t->stored : SY_F32, most, n, 0, r,
                      in_place ? VALUES : SUMS);
    c->op.rows = rows.rows;
    c->op.k = k;
    c->op.n = n;
    c->op.x = mat(t, c->x);
    c->op.bias = random_below(2) ? got_of(t, c->bias) : NULL;
    c->op.y = mat(t, c->y);
    if (epilogue == 1) {
        c->residual = in_place ? c->y : matrix_new(t, "residual", t->stored, most, n, 0, r, VALUES);
        c->op.residual = mat(t, c->residual);
    }
    if (epilogue == 2) {
        c->op.epilogue = SY_EPILOGUE_SWIGLU;
        c->h = matrix_new(t, "h", t->stored, most, n / 2, 0, r, VALUES);
        c->op.h = mat(t, c->h);
    }
    t->run = run_linear;
    t->op = &c->op;
    expect_linear(c);
}

static void linear_close(struct linear *c) {
    trial_free(&c->t);
    layout_free(&c->rows);
}

static void linear_case(enum sy_numeric_class cls, enum regime r, struct layout rows, int64_t n, int64_t k,
                        int epilogue, const char *what) {
    static struct linear c;
    linear_open(&c, cls, r, rows, epilogue == 2 ? n + n % 2 : n, k, epilogue);
    run_everywhere(&c.t, what);
    linear_close(&c);
}

/* --- linear_dx ------------------------------------------------------------------------------------------ */

struct dx {
    struct trial t;
    struct layout rows;
    struct sy_linear_dx op;
    struct matrix dy[SY_DX_MAPS], dx, gu, a, dgu, hw;
    struct operand *w[SY_DX_MAPS];
    int weight, dw;
};

static void run_dx(const struct sy_exec *x, const void *op) { x->ops->linear_dx(x, op); }

static void swiglu_back_row(struct dx *c, int64_t i) {
    int64_t f = c->op.n;
    float a[K_MAX], h[K_MAX], w = c->op.w ? want_at(&c->t, c->weight, i) : 1.0f;
    for (int64_t j = 0; j < f; j++) {
        float g = want(&c->t, c->gu, i, j), u = want(&c->t, c->gu, i, f + j), sig = def_sig(g), s = g * sig;
        a[j] = want(&c->t, c->a, i, j);
        h[j] = model_bf(c->t.cls, s * u);
        float weighted = c->op.w ? w * a[j] : a[j];
        expect(&c->t, c->dgu, i, f + j, weighted * s);
        expect(&c->t, c->dgu, i, j, (weighted * u) * (sig * fmaf(g, 1.0f - sig, 1.0f)));
        expect(&c->t, c->hw, i, j, c->op.w ? w * h[j] : h[j]);
    }
    if (c->op.dw)
        want_set(&c->t, c->dw, i, def_b64(f, a, h));
}

static void expect_dx(struct dx *c) {
    int back = c->op.epilogue == SY_EPILOGUE_SWIGLU_BACK;
    int64_t n = c->op.n;
    float x[K_MAX], acc[K_MAX];
    for (int64_t i = 0; i < c->rows.used; i++) {
        int64_t group = group_of(&c->rows, i);
        memset(acc, 0, sizeof acc);
        for (int q = 0; q < c->op.n_maps; q++) {
            float *w = operand_values(&c->t, c->w[q], group);
            row_values(&c->t, c->dy[q], i, c->op.map[q].k, x);
            for (int64_t j = 0; j < n; j++)
                acc[j] = model_rows(c->t.cls, c->op.map[q].k, x, 1, w + j, n, acc[j], RIGHT);
            free(w);
        }
        for (int64_t j = 0; j < n; j++)
            expect(&c->t, back ? c->a : c->dx, i, j, no_minus_zero(acc[j]));
        if (back)
            swiglu_back_row(c, i);
    }
}

static void dx_back_open(struct dx *c, enum regime r) {
    struct trial *t = &c->t;
    int64_t most = c->rows.rows.max_rows, f = c->op.n;
    c->op.epilogue = SY_EPILOGUE_SWIGLU_BACK;
    c->gu = matrix_new(t, "gu", t->stored, most, 2 * f, 0, r, VALUES);
    c->a = matrix_new(t, "a", SY_F32, most, f, 0, r, SUMS);
    t->buf[c->a.buf].workspace = 1;
    c->dgu = matrix_new(t, "dgu", t->stored, most, 2 * f, 0, r, VALUES);
    c->hw = matrix_new(t, "hw", t->stored, most, f, 0, r, VALUES);
    c->weight = buffer_new(t, "route weights", SY_F32, most, r, VALUES);
    c->dw = buffer_new(t, "dw", SY_F32, most, r, SUMS);
    mark_rows(t, &c->rows, c->gu, 2 * f, 0);
    c->op.gu = mat(t, c->gu);
    c->op.a = mat(t, c->a);
    c->op.dgu = mat(t, c->dgu);
    c->op.hw = mat(t, c->hw);
    c->op.w = random_below(3) ? got_of(t, c->weight) : NULL;
    c->op.dw = c->op.w && random_below(3) ? got_of(t, c->dw) : NULL;
}

static void dx_open(struct dx *c, enum sy_numeric_class cls, enum regime r, struct layout rows, int64_t n,
                    int64_t k, int maps, int back) {
    *c = (struct dx){.t = trial_new(cls), .rows = rows};
    struct trial *t = &c->t;
    assert_true(n <= K_MAX && k <= K_MAX);
    c->op.rows = rows.rows;
    c->op.n = n;
    c->op.n_maps = maps;
    for (int q = 0; q < maps; q++) {
        int64_t kq = c->op.map[q].k = q == 0 ? k : random_below(40);
        c->dy[q] = matrix_new(t, "dy", t->stored, rows.rows.max_rows, kq, (int)random_below(2), r, VALUES);
        mark_rows(t, &rows, c->dy[q], kq, 0);
        c->op.map[q].dy = mat(t, c->dy[q]);
        c->w[q] = operand_new(t, rows.rows.groups, kq, n, r, &c->op.map[q].w);
    }
    if (back) {
        dx_back_open(c, r);
    } else {
        c->dx = matrix_new(t, "dx", random_below(2) ? t->stored : SY_F32, rows.rows.max_rows, n, 0, r, SUMS);
        c->op.dx = mat(t, c->dx);
    }
    t->run = run_dx;
    t->op = &c->op;
    expect_dx(c);
}

static void dx_close(struct dx *c) {
    trial_free(&c->t);
    layout_free(&c->rows);
}

static void dx_case(enum sy_numeric_class cls, enum regime r, struct layout rows, int64_t n, int64_t k,
                    int maps, int back, const char *what) {
    static struct dx c;
    dx_open(&c, cls, r, rows, n, k, maps, back);
    run_everywhere(&c.t, what);
    dx_close(&c);
}

/* --- what is run ---------------------------------------------------------------------------------------- */

static void shapes(enum sy_numeric_class cls) {
    static const int64_t sides[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 33, 65, 129};
    static const int64_t depths[] = {1, 2, 3, 15, 16, 17, 33, 64, 65, 255, 256, 257, 511, 600};
    enum { N_SIDES = sizeof sides / sizeof *sides, N_DEPTHS = sizeof depths / sizeof *depths };
    random_state = 11;
    for (int i = 0; i < 60; i++) {
        int64_t m = sides[i % N_SIDES], n = sides[random_below(N_SIDES)], k = depths[i % N_DEPTHS];
        if (m * n * k > 700000)
            n = 33;
        linear_case(cls, NORMAL, layout_dense(1, m), n, k, i % 3, "shapes of linear");
        dx_case(cls, NORMAL, layout_dense(1, m), n, k, 1 + i % SY_DX_MAPS, i % 3 == 0, "shapes of linear_dx");
    }
    for (int i = 0; i < 3; i++)
        linear_case(cls, NORMAL, layout_dense(1, 129), 129, 65, i, "several tiles");
    dx_case(cls, NORMAL, layout_dense(1, 129), 129, 65, 2, 0, "several tiles");
    dx_case(cls, NORMAL, layout_dense(1, 129), 130, 65, 1, 1, "several tiles");
}

static void shapes_x86(void **state) {
    (void)state;
    shapes(SY_NUMERIC_X86);
}
static void shapes_amx(void **state) {
    (void)state;
    shapes(SY_NUMERIC_AMX);
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
                int64_t n = 1 + random_below(70), k = 1 + random_below(i == 0 ? 400 : 40);
                linear_case((enum sy_numeric_class)cls, (enum regime)r, layout_random(30), n, k, i % 3,
                            regime_name[r]);
                dx_case((enum sy_numeric_class)cls, (enum regime)r, layout_random(30), n, k,
                        1 + i % SY_DX_MAPS, i % 2, regime_name[r]);
            }
}

/* Groups of routed rows: empty ones, empty segments, padding, tiles of several groups; the last rounds
 * have enough work for several threads. */
static void groups(void **state) {
    (void)state;
    random_state = 14;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 8; i++) {
            int64_t most = i >= 6 ? 150 : 1 + random_below(40), n = i >= 6 ? 140 : 1 + random_below(140);
            int64_t k = i >= 6 ? 30 : 1 + random_below(40), multiple = i % 2 ? 16 : 1;
            struct layout a = layout_grouped(1 + random_below(5), 1 + random_below(3), most, multiple);
            linear_case((enum sy_numeric_class)cls, NORMAL, a, n, k, i % 3, "groups of linear");
            struct layout b = layout_grouped(1 + random_below(5), 1 + random_below(3), most, multiple);
            dx_case((enum sy_numeric_class)cls, NORMAL, b, n, k, 1, i % 2, "groups of linear_dx");
        }
}

/* Rows so few that threads share their columns: panels side by side and those that are left, SwiGLU by
 * columns of both halves, depths that end between steps. */
static void few_rows(void **state) {
    (void)state;
    random_state = 15;
    static const int64_t widths[] = {32, 128, 160, 200, 256, 352}, depths[] = {1, 2, 31, 32, 64, 97, 256};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 24; i++) {
            int64_t n = widths[random_below(6)], k = depths[random_below(7)], m = 1 + i % 4;
            enum regime r = i < 12 ? NORMAL : (enum regime)(i % N_REGIMES);
            linear_case((enum sy_numeric_class)cls, r, layout_dense(1, m), n, k, i % 3, "few rows of linear");
            linear_case((enum sy_numeric_class)cls, r, layout_grouped(4, 1, 2 + m, 1), n, k, (i + 1) % 3,
                        "few rows of groups");
            dx_case((enum sy_numeric_class)cls, r, layout_dense(1, m), n, k, 1, 0, "few rows of linear_dx");
        }
}

/* Nothing to do, no rows to sum: without rows or columns nothing is touched, k = 0 gives +0 + bias. What
 * SwiGLU makes of any g and u, by a bias that is both. */
static void empty_sides(void **state) {
    (void)state;
    random_state = 13;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 24; i++) {
            enum regime r = i % 2 ? NON_FINITE : TINY_RESULTS;
            int64_t m = i % 3 == 0 ? 0 : 5, n = i % 3 == 1 ? 0 : 7, k = i % 3 == 2 ? 0 : 9;
            linear_case((enum sy_numeric_class)cls, r, layout_dense(1, m), n, k, i / 3 % 3, "empty");
            dx_case((enum sy_numeric_class)cls, r, layout_dense(1, m), n, k, 1 + i % 3, i / 3 % 2, "empty");
        }
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int r = 0; r < N_REGIMES; r++)
            linear_case((enum sy_numeric_class)cls, (enum regime)r, layout_dense(1, 1), 256, 0, 2,
                        "SwiGLU of anything");
}

/* --- laws and controls ---------------------------------------------------------------------------------- */

/* Maps are padded by themselves: two maps of odd k are not one of their sum (x86, amx, sm90), and are in
 * fp32. */
static void maps_pad_by_themselves(void **state) {
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
        struct sy_linear_dx one = {.rows = sy_rows_dense(1, 1),
                                   .n = N,
                                   .n_maps = 1,
                                   .map = {{ma, {.m = mb}, 2 * K}},
                                   .dx = sy_mat_of(c[0], SY_F32, N)};
        struct sy_linear_dx two = {
            .rows = sy_rows_dense(1, 1),
            .n = N,
            .n_maps = 2,
            .map = {{ma, {.m = mb}, K}, {sy_mat_cols(ma, K), {.m = sy_mat_rows(mb, K)}, K}},
            .dx = sy_mat_of(c[1], SY_F32, N)};
        x.ops->linear_dx(&x, &one);
        x.ops->linear_dx(&x, &two);
        assert_int_equal(memcmp(c[0], c[1], sizeof c[0]) == 0, cls == SY_NUMERIC_FP32);
        exec_close(&x);
    }
}

/* The comparison must be able to fail: one bit of one operand, and of one group's right-hand side alone. */
static void one_bit_is_seen(void **state) {
    (void)state;
    const char *why;
    static struct linear c;
    random_state = 15;
    struct layout rows = layout_dense(1, 5);
    linear_open(&c, SY_NUMERIC_X86, NORMAL, rows, 7, 30, 0);
    struct sy_exec x = exec_open(sy_ops_tier(0, &why), SY_NUMERIC_X86, 1, 64, 64);
    for (int which = 0; which < 2; which++) {
        int buf = which ? c.w->m.buf : c.x.buf, differ = 0;
        ((uint16_t *)c.t.buf[buf].first)[0] ^= 1;
        run_once(&c.t, &x, 0);
        for (int64_t i = 0; i < c.t.buf[c.y.buf].n; i++)
            differ += !same(get(c.t.buf[c.y.buf].t, c.t.buf[c.y.buf].got, i), want_at(&c.t, c.y.buf, i));
        assert_true(differ > 0);
        ((uint16_t *)c.t.buf[buf].first)[0] ^= 1;
    }
    exec_close(&x);
    linear_close(&c);
}

/* A residual in one rounding, as a wider sum would have it, is not BF(residual + BF(chain)). */
static void residual_rounds_twice(void **state) {
    (void)state;
    const char *why;
    enum { N = 4096 };
    static uint16_t x1[1] = {0x3f80}, w[N], r[N], y[N];
    int differs = 0;
    random_state = 16;
    for (int i = 0; i < N; i++) {
        put(SY_BF16, w, i, random_value(NORMAL, 0));
        put(SY_BF16, r, i, random_value(NORMAL, 0));
    }
    static float bias[N];
    for (int i = 0; i < N; i++)
        bias[i] = random_value(NORMAL, 1);
    struct sy_exec x = exec_open(sy_ops_tier(0, &why), SY_NUMERIC_SM90, 1, 64, 64);
    struct sy_mat row = sy_mat_of(w, SY_BF16, N);
    x.ops->linear(&x, &(struct sy_linear){.rows = sy_rows_dense(1, 1),
                                          .k = 1,
                                          .n = N,
                                          .x = sy_mat_of(x1, SY_BF16, 1),
                                          .w = {.m = row},
                                          .bias = bias,
                                          .y = sy_mat_of(y, SY_BF16, N),
                                          .residual = sy_mat_of(r, SY_BF16, N)});
    for (int i = 0; i < N; i++) {
        float chain = get(SY_BF16, w, i) + bias[i], twice = get(SY_BF16, r, i) + model_bf(x.cls, chain);
        assert_true(same(get(SY_BF16, y, i), model_bf(x.cls, twice)));
        differs += !same(get(SY_BF16, y, i), model_bf(x.cls, get(SY_BF16, r, i) + chain));
    }
    assert_true(differs > 100);
    exec_close(&x);
}

/* B64 shows. Over a row of more than 128 it is not V64 of the row; up to 128 it is. */
static void b64_is_not_v64(void **state) {
    (void)state;
    enum { ROWS = 16, F = 257 };
    const char *why;
    static float gu[ROWS * 2 * F], dy[ROWS], w[F], a[ROWS * F], dgu[ROWS * 2 * F], h[ROWS * F], weight[ROWS],
        dw[ROWS];
    struct sy_exec x = exec_open(sy_ops_tier(0, &why), SY_NUMERIC_FP32, 2, 64, 64);
    random_state = 17;
    for (int64_t f = 128; f <= F; f += 129) {
        int differs = 0;
        for (int i = 0; i < ROWS * 2 * F; i++)
            gu[i] = random_value(NORMAL, 1) * 0x1p-5f;
        for (int i = 0; i < F; i++)
            w[i] = random_value(NORMAL, 1);
        for (int t = 0; t < ROWS; t++) {
            dy[t] = random_value(NORMAL, 1);
            weight[t] = 1.0f;
        }
        x.ops->linear_dx(
            &x, &(struct sy_linear_dx){.rows = sy_rows_dense(1, ROWS),
                                       .n = f,
                                       .n_maps = 1,
                                       .map = {{sy_mat_of(dy, SY_F32, 1), {.m = sy_mat_of(w, SY_F32, f)}, 1}},
                                       .epilogue = SY_EPILOGUE_SWIGLU_BACK,
                                       .gu = sy_mat_of(gu, SY_F32, 2 * f),
                                       .a = sy_mat_of(a, SY_F32, f),
                                       .w = weight,
                                       .dgu = sy_mat_of(dgu, SY_F32, 2 * f),
                                       .hw = sy_mat_of(h, SY_F32, f),
                                       .dw = dw});
        for (int t = 0; t < ROWS; t++) {
            for (int64_t j = 0; j < f; j++)
                a[t * f + j] = fmaf(dy[t], w[j], 0.0f) + 0.0f; /* the op may leave it elsewhere */
            assert_true(same(dw[t], def_b64(f, a + t * f, h + t * f)));
            differs += !same(dw[t], def_v64(f, a + t * f, h + t * f));
        }
        assert_true((differs > 0) == (f > 128));
    }
    exec_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_x86),
        cmocka_unit_test(shapes_amx),
        cmocka_unit_test(shapes_sm90),
        cmocka_unit_test(shapes_fp32),
        cmocka_unit_test(every_regime),
        cmocka_unit_test(groups),
        cmocka_unit_test(few_rows),
        cmocka_unit_test(empty_sides),
        cmocka_unit_test(maps_pad_by_themselves),
        cmocka_unit_test(one_bit_is_seen),
        cmocka_unit_test(residual_rounds_twice),
        cmocka_unit_test(b64_is_not_v64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
