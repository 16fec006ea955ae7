/* What the backward ops mean, in class fp32: finite differences of the forward op, and adjoint pairs.
 *
 * A difference is taken along g/|g| plus a random unit vector, so that the true answer is near |g| and no
 * error of an element hides. sum g (x+ - x-), with the x+ and x- that fp32 holds, must be value(x+) -
 * value(x-) to 1e-3. As a control, the same check refuses a gradient that is 1 % too large.
 */
#include "ops_harness.h"

enum { ROWS = 7, N_MAX = 4096 };

/* --- finite differences --------------------------------------------------------------------------------- */

struct study {
    struct lab *l;
    const void *op;
    const float *y, *dy; /* the value is the sum of dy y over n elements */
    int64_t n;
    double (*value)(const struct study *s);
};

static double dot(int64_t n, const float *a, const float *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* The relative error of the gradient `g` of s->value at x, along one direction. */
static double difference(const struct study *s, int64_t n, float *x, const float *g) {
    static float at[N_MAX], up[N_MAX], down[N_MAX];
    double size = sqrt(dot(n, g, g)), expected = 0, h = 4e-3 * sqrt((double)n), random[N_MAX], length = 0,
           value;
    assert_true(n <= N_MAX && size > 0);
    memcpy(at, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        random[i] = uniform();
        length += random[i] * random[i];
    }
    for (int64_t i = 0; i < n; i++) {
        double v = (double)g[i] / size + random[i] / sqrt(length);
        up[i] = (float)((double)at[i] + h * v);
        down[i] = (float)((double)at[i] - h * v);
        expected += (double)g[i] * ((double)up[i] - (double)down[i]);
    }
    memcpy(x, up, (size_t)n * sizeof *x);
    value = s->value(s);
    memcpy(x, down, (size_t)n * sizeof *x);
    value -= s->value(s);
    memcpy(x, at, (size_t)n * sizeof *x);
    return fabs(value - expected) / (2 * h * size);
}

static void check_gradient(const char *what, const struct study *s, int64_t n, float *x, const float *g) {
    static float broken[N_MAX];
    for (int round = 0; round < 3; round++) {
        double error = difference(s, n, x, g);
        if (!(error < 1e-3))
            fail_msg("%s: the finite difference is off by %g of the gradient's norm", what, error);
    }
    for (int64_t i = 0; i < n; i++)
        broken[i] = 1.01f * g[i];
    if (difference(s, n, x, broken) < 1e-3)
        fail_msg("%s: a gradient that is 1 %% too large passed", what);
}

static void fill(int64_t n, float *x, float size) {
    for (int64_t i = 0; i < n; i++)
        x[i] = size * uniform();
}

static struct sy_mat mat(float *p, int64_t cols) { return sy_mat_of(p, SY_F32, cols); }
static struct sy_heads heads(float *p, int64_t token, int64_t head) {
    return (struct sy_heads){p, SY_F32, token, head};
}

/* --- norm and rope -------------------------------------------------------------------------------------- */

static double rmsnorm_value(const struct study *s) {
    s->l->x.ops->rmsnorm_fwd(&s->l->x, s->op);
    return dot(s->n, s->dy, s->y);
}

static void test_rmsnorm(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { D = 67, H = 2, N = ROWS * H * D };
    float x[N], y[N], dy[N], dx[N], g[D], dg[D] = {0}, r[ROWS * H];
    fill(N, x, 2.0f);
    fill(N, dy, 1.0f);
    fill(D, g, 1.0f);
    struct sy_rmsnorm_fwd fwd = {ROWS, H, D, 1e-5f, heads(x, H * D, D), g, heads(y, H * D, D), r};
    struct study s = {&l, &fwd, y, dy, N, rmsnorm_value};
    l.x.ops->rmsnorm_fwd(&l.x, &fwd);
    l.x.ops->rmsnorm_bwd(
        &l.x, &(struct sy_rmsnorm_bwd){
                  ROWS, H, D, heads(dy, H * D, D), heads(x, H * D, D), g, r, heads(dx, H * D, D), {0}});
    struct sy_row_sum_item sum = {1, ROWS * H, H, D, heads(dy, H * D, D), heads(x, H * D, D), r, NULL, dg, 0};
    l.x.ops->row_sum(&l.x, &(struct sy_row_sum){&sum, 1});
    check_gradient("rmsnorm, x", &s, N, x, dx);
    check_gradient("rmsnorm, g", &s, D, g, dg);
    lab_close(&l);
}

/* The rotation is orthogonal: backward is its inverse and its adjoint. */
static void test_rope(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { D = 34, H = 3, N = ROWS * H * D };
    float x[N], y[N], b[N], c[N], cs[ROWS * D / 2], sn[ROWS * D / 2];
    int32_t position[ROWS];
    for (int i = 0; i < ROWS * D / 2; i++) {
        float angle = 3.0f * uniform();
        cs[i] = cosf(angle);
        sn[i] = sinf(angle);
    }
    for (int t = 0; t < ROWS; t++)
        position[t] = (int32_t)below(ROWS);
    for (int halves = 0; halves < 2; halves++) {
        fill(N, x, 1.0f);
        fill(N, b, 1.0f);
        memcpy(y, x, sizeof x);
        memcpy(c, b, sizeof b);
        struct sy_rope op = {ROWS, H, D, halves, 0, position, cs, sn, heads(y, H * D, D)};
        l.x.ops->rope(&l.x, &op);
        op.backward = 1;
        op.x.data = c;
        l.x.ops->rope(&l.x, &op);
        assert_true(fabs(dot(N, y, b) - dot(N, x, c)) < 1e-5);
        assert_true(fabs(dot(N, y, b) - dot(N, x, b)) > 1e-2);
        op.x.data = y;
        l.x.ops->rope(&l.x, &op);
        for (int i = 0; i < N; i++)
            assert_true(fabsf(y[i] - x[i]) < 1e-6f);
    }
    lab_close(&l);
}

/* --- swiglu behind linear, its backward behind linear_dx ------------------------------------------------ */

/* y = SwiGLU(x W1) W2 with a weight for each row, and its loss: the sum of dy w y. One exec's scratch is
 * enough for both. */
enum { SWIGLU_D = 5, SWIGLU_F = 70 };

struct swiglu {
    float gu[ROWS * 2 * SWIGLU_F], h[ROWS * SWIGLU_F], y[ROWS * SWIGLU_D];
    float w2[SWIGLU_F * SWIGLU_D], dy[ROWS * SWIGLU_D], w[ROWS];
};

/* The value from gu: as the product leaves it, by a unit matrix; then the second product. */
static double swiglu_value(const struct study *s) {
    static float unit[4 * SWIGLU_F * SWIGLU_F], y[ROWS * 2 * SWIGLU_F];
    struct swiglu *q = (struct swiglu *)(uintptr_t)s->op;
    double sum = 0;
    for (int i = 0; i < 2 * SWIGLU_F; i++)
        unit[i * 2 * SWIGLU_F + i] = 1.0f;
    s->l->x.ops->linear(&s->l->x, &(struct sy_linear){.rows = sy_rows_dense(1, ROWS),
                                                      .k = 2 * SWIGLU_F,
                                                      .n = 2 * SWIGLU_F,
                                                      .x = mat(q->gu, 2 * SWIGLU_F),
                                                      .w = {.m = mat(unit, 2 * SWIGLU_F)},
                                                      .y = mat(y, 2 * SWIGLU_F),
                                                      .epilogue = SY_EPILOGUE_SWIGLU,
                                                      .h = mat(q->h, SWIGLU_F)});
    s->l->x.ops->linear(&s->l->x, &(struct sy_linear){.rows = sy_rows_dense(1, ROWS),
                                                      .k = SWIGLU_F,
                                                      .n = SWIGLU_D,
                                                      .x = mat(q->h, SWIGLU_F),
                                                      .w = {.m = mat(q->w2, SWIGLU_D)},
                                                      .y = mat(q->y, SWIGLU_D)});
    for (int t = 0; t < ROWS; t++)
        sum += (double)q->w[t] * dot(SWIGLU_D, q->dy + t * SWIGLU_D, q->y + t * SWIGLU_D);
    return sum;
}

static void test_swiglu(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    static struct swiglu q;
    static float dgu[ROWS * 2 * SWIGLU_F], hw[ROWS * SWIGLU_F], a[ROWS * SWIGLU_F], dw2[SWIGLU_F * SWIGLU_D];
    float dw[ROWS];
    free(l.x.scratch);
    l.x.scratch_bytes = sy_ops_scratch_bytes(LAB_MAX_ROW, 64, 64);
    l.x.scratch = aligned_alloc(64, l.x.scratch_bytes * 2);
    fill(ROWS * 2 * SWIGLU_F, q.gu, 3.0f);
    fill(SWIGLU_F * SWIGLU_D, q.w2, 1.0f);
    fill(ROWS * SWIGLU_D, q.dy, 1.0f);
    fill(ROWS, q.w, 1.0f);
    struct study s = {.l = &l, .op = &q, .value = swiglu_value};
    struct sy_linear_dx back = {
        .rows = sy_rows_dense(1, ROWS),
        .n = SWIGLU_F,
        .n_maps = 1,
        .map = {{mat(q.dy, SWIGLU_D), {.m = sy_mat_t(mat(q.w2, SWIGLU_D))}, SWIGLU_D}},
        .epilogue = SY_EPILOGUE_SWIGLU_BACK,
        .gu = mat(q.gu, 2 * SWIGLU_F),
        .a = mat(a, SWIGLU_F),
        .w = q.w,
        .dgu = mat(dgu, 2 * SWIGLU_F),
        .hw = mat(hw, SWIGLU_F),
        .dw = dw};
    l.x.ops->linear_dx(&l.x, &back);
    check_gradient("swiglu, g and u", &s, ROWS * 2 * SWIGLU_F, q.gu, dgu);
    check_gradient("swiglu, the route's weight", &s, ROWS, q.w, dw);
    l.x.ops->linear_dw(&l.x, &(struct sy_linear_dw){&(struct sy_dw){.rows = sy_rows_dense(1, ROWS),
                                                                    .n_segments = 1,
                                                                    .m = SWIGLU_F,
                                                                    .n = SWIGLU_D,
                                                                    .dy = mat(hw, SWIGLU_F),
                                                                    .x = mat(q.dy, SWIGLU_D),
                                                                    .c = dw2},
                                                    1});
    check_gradient("swiglu, the second matrix", &s, SWIGLU_F * SWIGLU_D, q.w2, dw2);
    for (int t = 0; t < ROWS; t++)
        q.w[t] = 1.0f;
    back.w = NULL;
    back.dw = NULL;
    l.x.ops->linear_dx(&l.x, &back);
    check_gradient("swiglu without weights", &s, ROWS * 2 * SWIGLU_F, q.gu, dgu);
    lab_close(&l);
}

/* --- the sigmoid gate ----------------------------------------------------------------------------------- */

struct gated {
    float *y_in, *y, *logit;
};

static double gate_value(const struct study *s) {
    const struct gated *q = s->op;
    int64_t d = s->n / ROWS;
    memcpy(q->y, q->y_in, (size_t)s->n * sizeof(float));
    s->l->x.ops->sigmoid_gate(&s->l->x, &(struct sy_sigmoid_gate){ROWS, d, q->logit, mat(q->y, d)});
    return dot(s->n, s->y, s->dy);
}

static void test_sigmoid_gate(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { D = 70, N = ROWS * D };
    float y_in[N], y[N], dy[N], dy_in[N], logit[ROWS], dlogit[ROWS];
    fill(N, y_in, 1.0f);
    fill(N, dy, 1.0f);
    fill(ROWS, logit, 3.0f);
    struct gated q = {y_in, y, logit};
    struct study s = {&l, &q, y, dy, N, gate_value};
    l.x.ops->sigmoid_gate_bwd(&l.x, &(struct sy_sigmoid_gate_bwd){ROWS, D, logit, mat(y_in, D), mat(dy, D),
                                                                  mat(dy_in, D), mat(dlogit, 1)});
    check_gradient("sigmoid gate, y", &s, N, y_in, dy_in);
    check_gradient("sigmoid gate, logit", &s, ROWS, logit, dlogit);
    lab_close(&l);
}

/* --- cross entropy -------------------------------------------------------------------------------------- */

static double loss_value(const struct study *s) {
    struct sy_cross_entropy op = *(const struct sy_cross_entropy *)s->op;
    struct sy_tally tally = sy_tally_empty;
    op.dlogits.data = NULL;
    op.tally = &tally;
    s->l->x.ops->cross_entropy(&s->l->x, &op);
    assert_int_equal(tally.n_bad, 0);
    return (double)tally.loss * 0x1p-24 * (double)*op.w;
}

static void test_cross_entropy(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { V = 97, N = ROWS * V };
    float logits[N], dlogits[N], w = 1.0f / 6.0f;
    int32_t labels[ROWS] = {0, 96, -100, 5, 5, 64, 63};
    struct sy_tally tally = sy_tally_empty;
    fill(N, logits, 4.0f);
    struct sy_cross_entropy op = {ROWS, V, logits, labels, &w, mat(dlogits, V), &tally};
    l.x.ops->cross_entropy(&l.x, &op);
    struct study s = {.l = &l, .op = &op, .value = loss_value};
    check_gradient("cross entropy", &s, N, logits, dlogits);
    lab_close(&l);
}

/* --- router --------------------------------------------------------------------------------------------- */

static double router_value(const struct study *s) {
    s->l->x.ops->router_fwd(&s->l->x, s->op);
    return dot(s->n, s->y, s->dy);
}

/* The choice is fixed by forced balance: the weights are then smooth in the logits. */
static void test_router(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { E = 70, K = 6 };
    float logits[ROWS * E], score[ROWS * E], w[ROWS * K], dw[ROWS * K], dlogits[ROWS * E];
    int32_t ids[ROWS * K];
    int64_t bad = SY_NO_TOKEN;
    fill(ROWS * E, logits, 2.0f);
    fill(ROWS * K, dw, 1.0f);
    for (int norm = 0; norm < 2; norm++)
        for (int f = 0; f < 3; f++) {
            enum sy_score_func func = (enum sy_score_func)f;
            struct sy_router_fwd fwd = {.tokens = ROWS,
                                        .experts = E,
                                        .top_k = K,
                                        .score_func = func,
                                        .route_norm = norm,
                                        .route_scale = 2.5f,
                                        .seq_len = ROWS,
                                        .forced = 1,
                                        .layers = 1,
                                        .logits = logits,
                                        .s = score,
                                        .ids = ids,
                                        .w = w,
                                        .bad_token = &bad};
            struct study s = {&l, &fwd, w, dw, ROWS * K, router_value};
            l.x.ops->router_fwd(&l.x, &fwd);
            l.x.ops->router_bwd(&l.x, &(struct sy_router_bwd){ROWS, E, K, func, norm, 2.5f, score, ids, dw,
                                                              NULL, mat(dlogits, E)});
            check_gradient("router", &s, ROWS * E, logits, dlogits);
        }
    lab_close(&l);
}

/* --- router losses -------------------------------------------------------------------------------------- */

struct auxiliary {
    struct sy_router_fwd fwd;
    struct sy_router_losses losses;
};

static double losses_value(const struct study *s) {
    struct auxiliary q = *(const struct auxiliary *)s->op;
    float unused[2 * ROWS * 70];
    int64_t loss[2] = {0, 0}, n_bad = 0;
    q.losses.dl = unused;
    q.losses.loss = loss;
    q.losses.n_bad = &n_bad;
    s->l->x.ops->router_fwd(&s->l->x, &q.fwd);
    s->l->x.ops->router_losses(&s->l->x, &q.losses);
    assert_int_equal(n_bad, 0);
    return ((double)loss[0] * (double)q.losses.balance + (double)loss[1] * (double)q.losses.z) * 0x1p-24;
}

/* Two sequences; the routes are given, so the counts stay. Control: the balance loss of another score is
 * refused. */
static void test_router_losses(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { E = 70, K = 6, T = 2 * ROWS };
    float logits[T * E], score[T * E], w[T * K], dl[T * E];
    int32_t ids[T * K], given[T * K];
    int64_t bad = SY_NO_TOKEN, loss[2], n_bad;
    fill(T * E, logits, 2.0f);
    for (int i = 0; i < T * K; i++) /* few experts have all routes, so that the gradient is large */
        given[i] = (int32_t)(i / K % 3 + i % K * 2);
    for (int f = 0; f < 3; f++)
        for (int which = 1; which < 4; which++) {
            enum sy_score_func func = (enum sy_score_func)f;
            struct auxiliary q = {{.tokens = T,
                                   .seq_len = ROWS,
                                   .layers = 1,
                                   .experts = E,
                                   .top_k = K,
                                   .score_func = func,
                                   .route_scale = 1.0f,
                                   .given = given,
                                   .logits = logits,
                                   .s = score,
                                   .ids = ids,
                                   .w = w,
                                   .bad_token = &bad},
                                  {.sequences = 2,
                                   .seq_len = ROWS,
                                   .experts = E,
                                   .top_k = K,
                                   .score_func = func,
                                   .balance = which & 1 ? 1.0f : 0.0f,
                                   .z = which & 2 ? 0.125f : 0.0f,
                                   .logits = logits,
                                   .s = score,
                                   .ids = ids,
                                   .dl = dl,
                                   .loss = loss,
                                   .n_bad = &n_bad}};
            struct study s = {.l = &l, .op = &q, .value = losses_value};
            l.x.ops->router_fwd(&l.x, &q.fwd);
            assert_memory_equal(ids, given, sizeof ids);
            l.x.ops->router_losses(&l.x, &q.losses);
            check_gradient("router losses", &s, T * E, logits, dl);
            if (which == 1) {
                q.losses.score_func = func == SY_ROUTER_SIGMOID ? SY_ROUTER_SOFTMAX : SY_ROUTER_SIGMOID;
                l.x.ops->router_losses(&l.x, &q.losses);
                q.losses.score_func = func;
                if (func != SY_ROUTER_TOPK_SOFTMAX)
                    assert_true(difference(&s, T * E, logits, dl) > 1e-2);
            }
        }
    lab_close(&l);
}

/* --- permute and combine are adjoint -------------------------------------------------------------------- */

enum { MOVE_T = 22, MOVE_S = 11, MOVE_E = 6, MOVE_K = 3, MOVE_D = 37, MOVE_N = MOVE_T * MOVE_K };

static struct sy_rows routes_random(struct lab *l, int32_t *ids, int32_t *row, int32_t *route) {
    static int64_t offset[MOVE_E * 2 + 1], n_tiles;
    static struct sy_tile tile[MOVE_E + MOVE_N / SY_TILE_ROWS];
    for (int t = 0; t < MOVE_T; t++) { /* K of E, ascending */
        int32_t n = 0;
        for (int32_t e = 0; e < MOVE_E && n < MOVE_K; e++)
            if (below(MOVE_E - e) < MOVE_K - n)
                ids[t * MOVE_K + n++] = e;
    }
    l->x.ops->route_sort(&l->x, &(struct sy_route_sort){.sequences = MOVE_T / MOVE_S,
                                                        .seq_len = MOVE_S,
                                                        .experts = MOVE_E,
                                                        .top_k = MOVE_K,
                                                        .ids = ids,
                                                        .offset = offset,
                                                        .row = row,
                                                        .route = route,
                                                        .tile = tile,
                                                        .n_tiles = &n_tiles});
    return (struct sy_rows){MOVE_E, MOVE_T / MOVE_S, MOVE_N, offset, tile, &n_tiles};
}

static void test_permute_combine(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float x[MOVE_T * MOVE_D], y[MOVE_T * MOVE_D], o[MOVE_N * MOVE_D], rows[MOVE_N * MOVE_D], w[MOVE_N],
        sum_w[MOVE_T], shared[MOVE_T * MOVE_D];
    int32_t ids[MOVE_N], row[MOVE_N], route[MOVE_N];
    struct sy_rows some = routes_random(&l, ids, row, route);
    fill(MOVE_N, w, 1.0f);
    fill(MOVE_T * MOVE_D, x, 1.0f);
    fill(MOVE_T * MOVE_D, shared, 1.0f);
    fill(MOVE_N * MOVE_D, o, 1.0f);
    struct sy_mat none = {0};
    for (int weighted = 0; weighted < 2; weighted++) {
        const float *weight = weighted ? w : NULL;
        l.x.ops->permute(&l.x, &(struct sy_permute){some, MOVE_K, MOVE_D, route, weight, mat(x, MOVE_D),
                                                    mat(rows, MOVE_D), 0, NULL});
        struct sy_combine op = {MOVE_T, MOVE_K,         MOVE_D, MOVE_E,        0, ids, row,
                                weight, mat(o, MOVE_D), none,   mat(y, MOVE_D)};
        l.x.ops->combine(&l.x, &op);
        double left = dot(MOVE_N * MOVE_D, rows, o), right = dot(MOVE_T * MOVE_D, x, y);
        assert_true(fabs(left - right) < 1e-4 && fabs(left) > 1e-2);
        op.o = mat(
            rows,
            MOVE_D); /* combine of permute: every token times the sum of its weights, the shared term once */
        op.w = w;
        op.shared = mat(shared, MOVE_D);
        l.x.ops->permute(&l.x, &(struct sy_permute){some, MOVE_K, MOVE_D, route, NULL, mat(x, MOVE_D),
                                                    mat(rows, MOVE_D), 0, NULL});
        l.x.ops->combine(&l.x, &op);
        for (int t = 0; t < MOVE_T; t++) {
            sum_w[t] = w[t * MOVE_K] + w[t * MOVE_K + 1] + w[t * MOVE_K + 2];
            for (int i = 0; i < MOVE_D; i++)
                assert_true(fabsf(y[t * MOVE_D + i] -
                                  (sum_w[t] * x[t * MOVE_D + i] + shared[t * MOVE_D + i])) < 2e-6f);
        }
    }
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),       cmocka_unit_test(test_rope),
        cmocka_unit_test(test_swiglu),        cmocka_unit_test(test_sigmoid_gate),
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_router),
        cmocka_unit_test(test_router_losses), cmocka_unit_test(test_permute_combine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
