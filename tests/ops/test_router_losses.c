/* The router's auxiliary losses: every tier, class and number of threads with == against the definition of
 * NUMERICS 3, "Router losses", written out per element; laws with known values; wrong orders and wrong scopes
 * that must show. Finite differences: test_gradients.c; PyTorch: test_router_oracle.c.
 */
#include "ops_harness.h"

enum { E_MAX = 600, K_MAX = 9 };

/* One case: logits, the scores and routes of router_fwd for them, and both losses. */
struct losses {
    struct sy_router_losses op;
    float *s;
    int32_t *ids;
    int64_t loss[2], n_bad;
};

static void losses_open(struct losses *c, struct lab *l, int64_t sequences, int64_t seq_len, int64_t e,
                        int64_t k, enum sy_score_func func, const float *logits, float *dl) {
    int64_t t = sequences * seq_len, bad = SY_NO_TOKEN;
    float *w = must_alloc((size_t)(t * k) * sizeof *w);
    *c = (struct losses){.s = must_alloc((size_t)(t * e) * sizeof(float)),
                         .ids = must_alloc((size_t)(t * k) * sizeof(int32_t))};
    l->x.ops->router_fwd(&l->x, &(struct sy_router_fwd){.tokens = t,
                                                        .seq_len = seq_len,
                                                        .layers = 1,
                                                        .experts = e,
                                                        .top_k = k,
                                                        .score_func = func,
                                                        .route_scale = 1.0f,
                                                        .logits = logits,
                                                        .s = c->s,
                                                        .ids = c->ids,
                                                        .w = w,
                                                        .bad_token = &bad});
    free(w);
    c->op = (struct sy_router_losses){.sequences = sequences,
                                      .seq_len = seq_len,
                                      .experts = e,
                                      .top_k = k,
                                      .score_func = func,
                                      .balance = 0.25f,
                                      .z = 0.125f,
                                      .logits = logits,
                                      .s = c->s,
                                      .ids = c->ids,
                                      .dl = dl};
}

static void losses_run(struct losses *c, struct lab *l) {
    c->op.loss = c->loss;
    c->op.n_bad = &c->n_bad;
    l->x.ops->router_losses(&l->x, &c->op);
}

static void losses_close(struct losses *c) {
    free(c->s);
    free(c->ids);
}

/* --- the definition ------------------------------------------------------------------------------------- */

struct token {
    float p[E_MAX], n, softmax[E_MAX], lse;
};

static void define_token(const struct sy_router_losses *op, int64_t t, struct token *k) {
    int64_t e = op->experts;
    const float *l = op->logits + t * e, *s = op->s + t * e;
    float top = -INFINITY, ex[E_MAX];
    for (int64_t i = 0; i < e; i++)
        top = fmaxf(top, l[i]);
    for (int64_t i = 0; i < e; i++)
        ex[i] = def_exp(l[i] - top);
    float z = def_v64(e, ex, NULL);
    k->n = def_v64(e, s, NULL);
    k->lse = top + def_log(z);
    for (int64_t i = 0; i < e; i++) {
        k->softmax[i] = ex[i] * (1.0f / z);
        k->p[i] = op->score_func == SY_ROUTER_SIGMOID   ? s[i] / k->n
                  : op->score_func == SY_ROUTER_SOFTMAX ? s[i]
                                                        : k->softmax[i];
    }
}

/* Sum down the rows of one sequence in blocks of `block` rows (R64: 64), of x x or of x. */
static float down(int64_t n, int64_t block, const float *x, int square) {
    float sum = 0.0f, chain = 0.0f;
    for (int64_t t = 0; t < n; t++) {
        chain = square ? fmaf(x[t], x[t], chain) : chain + x[t];
        if (t % block == block - 1 || t == n - 1) {
            sum = sum + chain;
            chain = 0.0f;
        }
    }
    return sum;
}

static int64_t fixed(float loss) { return (int64_t)rint(fmin((double)loss, 4096.0) * 0x1p24); }

static void define_sequence(const struct sy_router_losses *op, int64_t sequence, int64_t block, float *dl,
                            int64_t *loss, int64_t *n_bad) {
    int64_t e = op->experts, k = op->top_k, n = op->seq_len, first = sequence * n, finite = 1;
    struct token *token = must_alloc((size_t)n * sizeof *token);
    float *column = must_alloc((size_t)n * sizeof *column), f[E_MAX], mean[E_MAX], g[E_MAX], balance = 0.0f,
          z = 0.0f;
    float scale = (float)(1.0 / (double)n);
    for (int64_t t = 0; t < n; t++)
        define_token(op, first + t, &token[t]);
    for (int64_t i = 0; i < e; i++) {
        int64_t count = 0;
        for (int64_t r = first * k; r < (first + n) * k; r++)
            count += op->ids[r] == i;
        f[i] = (float)((double)(count * e) / (double)(k * n));
        g[i] = (float)((double)op->balance * (double)f[i] / (double)n);
        for (int64_t t = 0; t < n; t++)
            column[t] = token[t].p[i];
        mean[i] = down(n, block, column, 0) * scale;
    }
    for (int64_t t = 0; t < n; t++) {
        float mid = def_v64(e, g, token[t].p), c = (float)(2.0 * (double)op->z / (double)n);
        column[t] = token[t].lse;
        for (int64_t i = 0; i < e; i++) {
            float s = op->s[(first + t) * e + i], *out = &dl[(first + t) * e + i];
            finite &= isfinite(op->logits[(first + t) * e + i]);
            *out = 0.0f;
            if (op->balance != 0.0f)
                *out = op->score_func == SY_ROUTER_SIGMOID ? ((g[i] - mid) / token[t].n) * (s * (1.0f - s))
                                                           : token[t].p[i] * (g[i] - mid);
            if (op->z != 0.0f)
                *out = *out + (c * token[t].lse) * token[t].softmax[i];
        }
    }
    balance = op->balance != 0.0f ? def_v64(e, f, mean) : 0.0f;
    z = op->z != 0.0f ? down(n, block, column, 1) * scale : 0.0f;
    if (finite && isfinite(balance) && isfinite(z)) {
        loss[0] += fixed(balance);
        loss[1] += fixed(z);
    } else {
        *n_bad += 1;
    }
    free(column);
    free(token);
}

/* --- every tier against it ------------------------------------------------------------------------------ */

static void one_case(struct lab *l, int64_t sequences, int64_t seq_len, int64_t e, enum regime r) {
    int64_t k = 1 + below(e < K_MAX ? e : K_MAX), n = sequences * seq_len * e, loss[2] = {5, 7}, n_bad = 3;
    struct buf logits = buf_new(l, "logits", SY_F32, n, PLAIN), dl = buf_new(l, "dl", SY_F32, n, SPECIAL);
    float size = r == BIG ? 60.0f : r == TINY ? 1e-30f : r == WIDE ? 1e36f : 4.0f;
    for (int64_t i = 0; i < n; i++)
        set_both(logits, i,
                 r == SPECIAL && below(60) == 0 ? random_value(SPECIAL)
                 : r == ZEROS                   ? (float)below(2)
                                                : size * uniform());
    struct losses c;
    losses_open(&c, l, sequences, seq_len, e, k, (enum sy_score_func)below(3), logits.got, dl.got);
    c.op.balance = below(4) ? 0.01f * (1.0f + uniform()) : 0.0f;
    c.op.z = below(4) ? 0.001f * (1.0f + uniform()) : 0.0f;
    c.loss[0] = loss[0];
    c.loss[1] = loss[1];
    c.n_bad = n_bad;
    losses_run(&c, l);
    for (int64_t b = 0; b < sequences; b++)
        define_sequence(&c.op, b, 64, dl.want, loss, &n_bad);
    assert_int_equal(c.loss[0], loss[0]);
    assert_int_equal(c.loss[1], loss[1]);
    assert_int_equal(c.n_bad, n_bad);
    losses_close(&c);
    lab_check(l, "router_losses");
}

static void cases(struct lab *l) {
    static const int64_t experts[] = {1, 2, 7, 8, 63, 64, 65, 130};
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++)
        for (int r = 0; r < N_REGIMES; r++)
            one_case(l, 1 + below(3), 1 + below(9), experts[i], (enum regime)r);
    for (int r = 0; r < N_REGIMES; r++)
        one_case(l, 2 + below(4), 60 + below(80), 16, (enum regime)r);
    one_case(l, 5, 130, 70, PLAIN); /* enough for several threads */
    one_case(l, 2, 15, E_MAX, PLAIN);
}

static void test_definition(void **state) {
    (void)state;
    labs_each(cases);
}

/* --- laws ----------------------------------------------------------------------------------------------- */

/* Known values. Equal logits and equal counts: the balance loss is 1 and its gradient 0. One expert that
 * has all routes and all of the score: E. Equal logits a: lse = a + ln E. */
static void test_known_values(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { B = 2, S = 64, E = 8, K = 2, T = B * S };
    float logits[T * E], dl[T * E];
    for (int f = 0; f < 3; f++) {
        struct losses c;
        for (int i = 0; i < T * E; i++)
            logits[i] = 0.5f;
        losses_open(&c, &l, B, S, E, K, (enum sy_score_func)f, logits, dl);
        for (int i = 0; i < T * K; i++)
            c.ids[i] = i % E;
        c.op.z = 0.0f;
        losses_run(&c, &l);
        assert_int_equal(c.loss[0], B << 24);
        assert_int_equal(c.loss[1], 0);
        for (int i = 0; i < T * E; i++)
            assert_true(dl[i] == 0.0f);
        c.op.z = 1.0f;
        losses_run(&c, &l);
        double lse = 0.5 + log((double)E), got = (double)c.loss[1] * 0x1p-24 / B;
        assert_true(fabs(got - lse * lse) < 1e-5);
        for (int i = 0; i < T * E; i++)
            assert_true(fabs((double)dl[i] - 2.0 / S * lse / E) < 1e-7);
        losses_close(&c);
        for (int i = 0; i < T * E; i++)
            logits[i] = i % E == 3 ? 60.0f : -60.0f;
        losses_open(&c, &l, B, S, E, 1, (enum sy_score_func)f, logits, dl);
        losses_run(&c, &l);
        assert_true(llabs(c.loss[0] - ((int64_t)B * E << 24)) <= 16);
        assert_int_equal(c.n_bad, 0);
        losses_close(&c);
    }
    lab_close(&l);
}

/* A batch of B sequences is B batches of one, bit for bit. Control: as one long sequence it is not. */
static void test_cut_between_sequences(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { B = 5, S = 70, E = 24, K = 3, N = B * S * E };
    static float logits[N], all[N], each[N];
    for (int i = 0; i < N; i++)
        logits[i] = 3.0f * uniform();
    for (int f = 0; f < 3; f++) {
        struct losses c;
        losses_open(&c, &l, B, S, E, K, (enum sy_score_func)f, logits, all);
        losses_run(&c, &l);
        int64_t whole[2] = {c.loss[0], c.loss[1]};
        memset(c.loss, 0, sizeof c.loss);
        c.op.sequences = 1;
        for (int b = 0; b < B; b++) {
            c.op.logits = logits + b * S * E;
            c.op.s = c.s + b * S * E;
            c.op.ids = c.ids + b * S * K;
            c.op.dl = each + b * S * E;
            losses_run(&c, &l);
        }
        assert_memory_equal(c.loss, whole, sizeof whole);
        assert_memory_equal(each, all, sizeof all);
        c.op = (struct sy_router_losses){1,     B * S, E,    K,   c.op.score_func, 0.25f, 0.125f, logits, c.s,
                                         c.ids, each,  NULL, NULL};
        losses_run(&c, &l);
        assert_memory_not_equal(each, all, sizeof all);
        losses_close(&c);
    }
    lab_close(&l);
}

/* Controls. Blocks of 32 or one chain instead of R64: other losses on some of these sequences. */
static void test_order_shows(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { B = 40, S = 200, E = 12, K = 2, N = B * S * E };
    float *logits = must_alloc(N * sizeof *logits), *dl = must_alloc(N * sizeof *dl);
    int differs[2][2] = {{0, 0}, {0, 0}};
    for (int i = 0; i < N; i++)
        logits[i] = 3.0f * uniform();
    for (int b = 0; b < B; b++) {
        struct losses c;
        losses_open(&c, &l, 1, S, E, K, SY_ROUTER_SIGMOID, logits + b * S * E, dl);
        losses_run(&c, &l);
        for (int j = 0; j < 3; j++) {
            int64_t loss[2] = {0, 0}, n_bad = 0;
            define_sequence(&c.op, 0, j == 0 ? 64 : j == 1 ? 32 : S, dl, loss, &n_bad);
            for (int q = 0; q < 2; q++)
                if (j == 0)
                    assert_int_equal(loss[q], c.loss[q]);
                else
                    differs[j - 1][q] += loss[q] != c.loss[q];
        }
        losses_close(&c);
    }
    assert_true(differs[0][0] > 0 && differs[0][1] > 0 && differs[1][0] > 0 && differs[1][1] > 0);
    free(logits);
    free(dl);
    lab_close(&l);
}

/* Infinite and NaN logits are counted by sequence and never summed, also where EXP would hide them. */
static void test_non_finite(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { B = 3, S = 6, E = 8, K = 2, N = B * S * E };
    static const float wrong[] = {INFINITY, -INFINITY, NAN};
    float logits[N], dl[N];
    for (int i = 0; i < N; i++)
        logits[i] = uniform();
    for (int f = 0; f < 3; f++)
        for (int j = 0; j < 3; j++)
            for (int which = 1; which < 4; which++) { /* balance, z, both */
                struct losses c;
                losses_open(&c, &l, B, S, E, K, (enum sy_score_func)f, logits, dl);
                c.op.balance = which & 1 ? 1.0f : 0.0f;
                c.op.z = which & 2 ? 1.0f : 0.0f;
                losses_run(&c, &l);
                int64_t good[2] = {c.loss[0], c.loss[1]};
                assert_int_equal(c.n_bad, 0);
                float before = logits[S * E + 9];
                logits[S * E + 9] = wrong[j];
                losses_run(&c, &l);
                assert_int_equal(c.n_bad, 1);
                assert_true(c.loss[0] < 2 * good[0] || !(which & 1));
                assert_true(c.loss[1] < 2 * good[1] || !(which & 2));
                logits[S * E + 9] = before;
                losses_close(&c);
            }
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_cut_between_sequences),
        cmocka_unit_test(test_order_shows),
        cmocka_unit_test(test_non_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
