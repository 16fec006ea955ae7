/* Routing: every op of every tier, class and number of threads with == against its definition, in which every
 * choice is made by sorting (value descending, id ascending); laws of the choice. Rows of routes:
 * test_dispatch.c. Top-k alone: test_topk.c. The router against double precision: test_router_oracle.c;
 * finite differences: test_gradients.c.
 */
#include "route_ids.h"

/* --- router --------------------------------------------------------------------------------------------- */

/* The experts that remain after group-limited routing, in `in`. */
static void choose_groups(const struct sy_router_fwd *op, const float *c, int *in) {
    int64_t size = op->experts / op->groups;
    struct item group[E_MAX], member[E_MAX];
    for (int64_t g = 0; g < op->groups; g++) {
        for (int64_t i = 0; i < size; i++)
            member[i] = (struct item){c[g * size + i], (int32_t)i};
        qsort(member, (size_t)size, sizeof *member, better_first);
        group[g] = (struct item){op->group_top2_sum ? member[0].value + member[1].value : member[0].value,
                                 (int32_t)g};
    }
    qsort(group, (size_t)op->groups, sizeof *group, better_first);
    for (int64_t i = 0; i < op->experts; i++)
        in[i] = 0;
    for (int64_t j = 0; j < op->limited_groups; j++)
        for (int64_t i = 0; i < size; i++)
            in[group[j].id * size + i] = 1;
}

/* One token without NaN, as NUMERICS 3, "Router", says. */
static void router_token(const struct sy_router_fwd *op, const float *l, const float *bias, int64_t t,
                         float *s, int32_t *ids, float *w) {
    int64_t e = op->experts, k = op->top_k, n = 0;
    int in[E_MAX], chosen[E_MAX] = {0}, few = op->score_func == SY_ROUTER_TOPK_SOFTMAX;
    float top = -INFINITY, z = 0.0f, norm = 0.0f, ex[E_MAX], c[E_MAX];
    struct item item[E_MAX];
    for (int64_t i = 0; i < e; i++)
        top = fmaxf(top, l[i]);
    for (int64_t i = 0; i < e; i++)
        ex[i] = def_exp(l[i] - top);
    for (int64_t i = 0; i < e; i++)
        s[i] = op->score_func == SY_ROUTER_SIGMOID ? def_sig(l[i]) : ex[i] * (1.0f / def_v64(e, ex, NULL));
    for (int64_t i = 0; i < e; i++) {
        c[i] = (few ? l[i] : s[i]) + (bias ? bias[i] : 0.0f);
        in[i] = 1;
    }
    if (op->groups)
        choose_groups(op, c, in);
    for (int64_t i = 0; i < e; i++)
        if (in[i])
            item[n++] = (struct item){c[i], (int32_t)i};
    qsort(item, (size_t)n, sizeof *item, better_first);
    for (int64_t j = 0; j < k; j++)
        ids[j] = op->given    ? op->given[t * k + j]
                 : op->forced ? (int32_t)(((t % op->seq_len) * k + j) % e)
                              : item[j].id;
    qsort(ids, (size_t)k, sizeof *ids, ascending);
    for (int64_t j = 0; j < k; j++)
        chosen[ids[j]] = 1;
    if (few) {
        top = -INFINITY;
        for (int64_t i = 0; i < e; i++)
            top = chosen[i] ? fmaxf(top, l[i]) : top;
        for (int64_t i = 0; i < e; i++)
            z += chosen[i] ? def_exp(l[i] - top) : 0.0f;
        for (int64_t i = 0; i < e; i++)
            s[i] = chosen[i] ? def_exp(l[i] - top) * (1.0f / z) : 0.0f;
    }
    if (op->chosen_only && op->score_func == SY_ROUTER_SIGMOID && (op->given || op->forced))
        for (int64_t i = 0; i < e; i++)
            s[i] = chosen[i] ? s[i] : 0.0f;
    for (int64_t j = 0; j < k; j++)
        norm += s[ids[j]];
    norm = norm + 1e-20f;
    for (int64_t j = 0; j < k; j++)
        w[j] = (op->route_norm ? s[ids[j]] / norm : s[ids[j]]) * op->route_scale;
}

static void router_token_bwd(const struct sy_router_bwd *op, const float *s, const int32_t *ids,
                             const float *dw, float *dl) {
    int64_t e = op->experts, k = op->top_k;
    float norm = 0.0f, t = 0.0f, t2 = 0.0f, ds[E_MAX] = {0};
    int chosen[E_MAX] = {0};
    for (int64_t j = 0; j < k; j++)
        norm += s[ids[j]];
    norm = norm + 1e-20f;
    for (int64_t j = 0; j < k; j++)
        t = fmaf(dw[j] * op->route_scale, s[ids[j]] / norm, t);
    for (int64_t j = 0; j < k; j++) {
        float g = dw[j] * op->route_scale;
        ds[ids[j]] = op->route_norm ? (g - t) / norm : g;
        chosen[ids[j]] = 1;
    }
    for (int64_t j = 0; j < k; j++)
        t2 = fmaf(ds[ids[j]], s[ids[j]], t2);
    for (int64_t i = 0; i < e; i++) {
        if (op->score_func == SY_ROUTER_SIGMOID)
            dl[i] = chosen[i] ? ds[i] * (s[i] * (1.0f - s[i])) : 0.0f;
        else if (op->score_func == SY_ROUTER_SOFTMAX || chosen[i])
            dl[i] = s[i] * (ds[i] - t2);
        else
            dl[i] = 0.0f;
    }
}

/* Values of few kinds, so that ties and -0 beside +0 are common, or ordinary ones. NaN on request, never
 * infinities. */
static void fill_logits(struct buf b, enum regime r) {
    for (int64_t i = 0; i < b.n; i++) {
        float v = 4.0f * uniform();
        if (r == ZEROS)
            v = (float)(below(3) - 1) * (below(2) ? 1.0f : -1.0f);
        else if (r == BIG)
            v = 60.0f * v;
        else if (r == TINY)
            v = 1e-30f * v;
        else if (r == WIDE)
            v = 1e36f * v;
        else if (r == SPECIAL && below(40) == 0)
            v = NAN;
        set_both(b, i, v);
    }
}

static void router_case(struct lab *l, int64_t tokens, int64_t e, enum regime r) {
    int64_t k = 1 + below(e < K_MAX ? e : K_MAX), groups = 0, limited = 0, top2 = below(2),
            row = e + below(3);
    if (e % 4 == 0 && e >= 8 && below(4)) {
        groups = e % 8 == 0 && e >= 16 && below(2) ? 8 : 4;
        limited = 1 + below(groups);
        k = k < e / groups * limited ? k : e / groups * limited;
    }
    struct buf logits = buf_new(l, "logits", SY_F32, tokens * e, PLAIN),
               bias = buf_new(l, "bias", SY_F32, e, PLAIN);
    struct buf s = buf_new(l, "s", SY_F32, tokens * e, PLAIN), ids = buf_i32(l, "ids", tokens * k);
    struct buf w = buf_new(l, "w", SY_F32, tokens * k, PLAIN),
               dw = buf_new(l, "dw", SY_F32, tokens * k, PLAIN);
    struct buf dl = buf_new(l, "dlogits", l->x.dtype, tokens * row, PLAIN);
    struct buf given = buf_i32(l, "given", tokens * k), aux = buf_new(l, "aux", SY_F32, tokens * e, r);
    fill_logits(logits, r);
    fill_ids(given, tokens, e, k);
    fill_logits(bias, r == SPECIAL ? PLAIN : r == WIDE ? PLAIN : r);
    int64_t with_bias = below(3), forced = below(4) == 0, with_given = below(4) == 0, with_aux = below(2);
    int64_t seq_len = 1 + below(5), layers = 1 + below(4), with_place = below(2);
    int64_t bad = below(2) ? SY_NO_TOKEN : below(tokens * layers), want_bad = bad;
    struct buf place = buf_i32(l, "place", (tokens + seq_len - 1) / seq_len);
    for (int64_t i = 0; i < place.n; i++) /* sequences of a larger batch, in any order */
        set_both_i32(place, i, (int32_t)below(2 * place.n));
    struct sy_router_fwd fwd = {.tokens = tokens,
                                .experts = e,
                                .top_k = k,
                                .score_func = (enum sy_score_func)below(3),
                                .groups = groups,
                                .limited_groups = limited,
                                .group_top2_sum = (int)top2,
                                .route_norm = (int)below(2),
                                .route_scale = below(2) ? 1.0f : 2.5f,
                                .seq_len = seq_len,
                                .forced = (int)forced,
                                .given = with_given ? given.got : NULL,
                                .chosen_only = (int)below(2),
                                .logits = logits.got,
                                .bias = with_bias ? bias.got : NULL,
                                .s = s.got,
                                .ids = ids.got,
                                .w = w.got,
                                .place = with_place ? place.got : NULL,
                                .layer = below(layers),
                                .layers = layers,
                                .bad_token = &bad};
    l->x.ops->router_fwd(&l->x, &fwd);
    struct sy_router_bwd bwd = {tokens,          e,     k,       fwd.score_func, fwd.route_norm,
                                fwd.route_scale, s.got, ids.got, dw.got,         with_aux ? aux.got : NULL,
                                mat_of(dl, row)};
    l->x.ops->router_bwd(&l->x, &bwd);
    for (int64_t t = 0; t < tokens; t++) {
        float *ws = (float *)s.want + t * e, *ww = (float *)w.want + t * k, grad[E_MAX];
        int32_t *wi = i32_of(ids.want) + t * k;
        if (has_nan(e, (float *)logits.want +
                           t * e)) { /* reported; everything after it stays finite and in range */
            int64_t sequence = with_place ? i32_of(place.want)[t / seq_len] : t / seq_len;
            int64_t named = (sequence * seq_len + t % seq_len) * layers + fwd.layer;
            want_bad = want_bad < 0 || named < want_bad ? named : want_bad;
            for (int64_t i = 0; i < e; i++)
                ws[i] = 0.0f;
            for (int64_t j = 0; j < k; j++) {
                wi[j] = (int32_t)j;
                ww[j] = 0.0f;
            }
        } else {
            router_token(&fwd, (float *)logits.want + t * e, with_bias ? bias.want : NULL, t, ws, wi, ww);
        }
        router_token_bwd(&bwd, ws, wi, (float *)dw.want + t * k, grad);
        for (int64_t i = 0; i < e; i++)
            put(l, dl, t * row + i, with_aux ? grad[i] + take(aux, t * e + i) : grad[i]);
    }
    assert_int_equal(bad, want_bad);
    lab_check(l, "router");
}

static void routers(struct lab *l) {
    static const int64_t experts[] = {1, 2, 3, 8, 12, 16, 63, 64, 65, 96, 128, 130};
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++)
        for (int r = 0; r < 4 * N_REGIMES; r++)
            router_case(l, 1 + below(17), experts[i], (enum regime)(r % N_REGIMES));
    for (int r = 0; r < N_REGIMES; r++)
        router_case(l, 90, 128, (enum regime)r); /* enough for several threads */
}

/* An expert outside the kept groups is never chosen, even where all that remains is as low as a value can
 * be. */
static void test_limited_groups_are_strict(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float logits[8] = {5, -INFINITY, 9, 9, -INFINITY, 20, 0, 0}, s[8], w[3];
    int32_t ids[3];
    int64_t bad = SY_NO_TOKEN;
    struct sy_router_fwd op = {.tokens = 1,
                               .seq_len = 1,
                               .layers = 1,
                               .experts = 8,
                               .top_k = 2,
                               .score_func = SY_ROUTER_TOPK_SOFTMAX,
                               .groups = 4,
                               .limited_groups = 1,
                               .route_scale = 1.0f,
                               .logits = logits,
                               .s = s,
                               .ids = ids,
                               .w = w,
                               .bad_token = &bad};
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(ids[0], 4);
    assert_int_equal(ids[1], 5);
    lab_close(&l);
}

/* Infinite logits, for which scores are NaN: ids stay in range, distinct and ascending, for few experts a
 * token and many. */
static void infinities(struct lab *l) {
    enum { T = 2, E = 48, K = 20 };
    for (int n = 0; n < 200; n++) {
        float logits[T * E], s[T * E], w[T * K], bias[E];
        int32_t ids[T * K];
        int64_t bad = SY_NO_TOKEN, k = below(2) ? 2 : K;
        for (int i = 0; i < T * E; i++)
            logits[i] = below(2) ? uniform() : below(2) ? INFINITY : -INFINITY;
        for (int i = 0; i < E; i++)
            bias[i] = below(8) ? 0.0f : below(2) ? INFINITY : -INFINITY;
        struct sy_router_fwd op = {.tokens = T,
                                   .seq_len = T,
                                   .layers = 1,
                                   .experts = E,
                                   .top_k = k,
                                   .score_func = (enum sy_score_func)below(3),
                                   .groups = below(2) ? 4 : 0,
                                   .limited_groups = 2,
                                   .group_top2_sum = (int)below(2),
                                   .route_norm = 1,
                                   .route_scale = 1.0f,
                                   .logits = logits,
                                   .bias = bias,
                                   .s = s,
                                   .ids = ids,
                                   .w = w,
                                   .bad_token = &bad};
        l->x.ops->router_fwd(&l->x, &op);
        for (int64_t i = 0; i < T * k; i++)
            assert_true(ids[i] >= 0 && ids[i] < E && (i % k == 0 || ids[i] > ids[i - 1]));
    }
}

static void test_router(void **state) {
    (void)state;
    labs_each(routers);
    labs_each(infinities);
}

/* One token, topk_softmax (the choice is on the logits as they are), 8 experts in 4 groups. */
static void choose(struct lab *l, const float *logits, const float *bias, int64_t limited, int top2,
                   int64_t k, int32_t *ids) {
    float s[8], w[8];
    int64_t bad = SY_NO_TOKEN;
    l->x.ops->router_fwd(&l->x, &(struct sy_router_fwd){.tokens = 1,
                                                        .seq_len = 1,
                                                        .layers = 1,
                                                        .experts = 8,
                                                        .top_k = k,
                                                        .score_func = SY_ROUTER_TOPK_SOFTMAX,
                                                        .groups = 4,
                                                        .limited_groups = limited,
                                                        .group_top2_sum = top2,
                                                        .route_scale = 1.0f,
                                                        .logits = logits,
                                                        .bias = bias,
                                                        .s = s,
                                                        .ids = ids,
                                                        .w = w,
                                                        .bad_token = &bad});
    assert_int_equal(bad, -1);
}

static void test_group_ties(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    int32_t ids[8];
    const float tied[8] = {1, 1, 1, 1, 1, 1, 1, 1}, sums[8] = {4, 0, 2, 2, 1, 3, 0, 5},
                bias[8] = {0, 0, 0, 0, 0, 0, 1, 0};
    choose(&l, tied, NULL, 2, 1, 3, ids); /* all tied: the lowest groups, then the lowest experts */
    for (int j = 0; j < 3; j++)
        assert_int_equal(ids[j], j);
    choose(&l, sums, NULL, 2, 1, 2,
           ids); /* sums 4 4 4 5: group 3, then group 0 of the tie: experts 0 and 7 */
    assert_true(ids[0] == 0 && ids[1] == 7);
    choose(&l, sums, NULL, 2, 1, 4, ids);
    assert_true(ids[0] == 0 && ids[1] == 1 && ids[2] == 6 && ids[3] == 7);
    choose(&l, sums, NULL, 3, 0, 3, ids); /* largest 4 2 3 5: groups 0, 2, 3 */
    assert_true(ids[0] == 0 && ids[1] == 5 && ids[2] == 7);
    choose(&l, sums, NULL, 1, 0, 2, ids);
    assert_true(ids[0] == 6 && ids[1] == 7);
    choose(&l, tied, bias, 1, 1, 1, ids); /* the bias chooses group and expert */
    assert_int_equal(ids[0], 6);
    const float zeros[8] = {-0.0f, -0.0f, 0.0f, 0.0f, 0.0f, -0.0f, 0.0f, 0.0f};
    choose(&l, zeros, NULL, 1, 0, 1, ids); /* -0 equals +0 between groups and experts */
    assert_int_equal(ids[0], 0);
    lab_close(&l);
}

/* The bias chooses and never weighs: with the choice unchanged, the weights' bits are. */
static void test_bias_never_weighs(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { T = 20, E = 8, K = 3 };
    float logits[T * E], s[2][T * E], w[2][T * K], bias[E];
    int32_t ids[2][T * K];
    int64_t bad = SY_NO_TOKEN;
    for (int i = 0; i < T * E; i++)
        logits[i] = 3.0f * uniform();
    for (int e = 0; e < E; e++)
        bias[e] = 0.75f; /* the same for all */
    for (int f = 0; f < 3; f++) {
        for (int with = 0; with < 2; with++)
            l.x.ops->router_fwd(&l.x, &(struct sy_router_fwd){.tokens = T,
                                                              .seq_len = T,
                                                              .layers = 1,
                                                              .experts = E,
                                                              .top_k = K,
                                                              .score_func = (enum sy_score_func)f,
                                                              .route_norm = 1,
                                                              .route_scale = 2.5f,
                                                              .logits = logits,
                                                              .bias = with ? bias : NULL,
                                                              .s = s[with],
                                                              .ids = ids[with],
                                                              .w = w[with],
                                                              .bad_token = &bad});
        assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
        assert_memory_equal(w[0], w[1], sizeof w[0]);
        for (int t = 0; t < T; t++)
            assert_true(fabsf(w[0][t * K] + w[0][t * K + 1] + w[0][t * K + 2] - 2.5f) < 1e-6f);
    }
    lab_close(&l);
}

/* A NaN is named by the place of its sequence in the step's batch and its layer: the lowest of several
 * calls stays, in whatever order they come. */
static void test_lowest_bad_token(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { S = 4, B = 3, E = 5, LAYERS = 6 };
    float logits[B * S * E], s[B * S * E], w[B * S];
    int32_t ids[B * S], place[2][B] = {{7, 2, 9}, {4, 0, 1}};
    int64_t bad = SY_NO_TOKEN;
    struct sy_router_fwd op = {.tokens = B * S,
                               .experts = E,
                               .top_k = 1,
                               .route_scale = 1.0f,
                               .seq_len = S,
                               .logits = logits,
                               .s = s,
                               .ids = ids,
                               .w = w,
                               .layers = LAYERS,
                               .bad_token = &bad};
    for (int i = 0; i < B * S * E; i++)
        logits[i] = uniform();
    op.place = place[0];
    op.layer = 3;
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(bad, SY_NO_TOKEN);
    logits[(0 * S + 2) * E + 4] = logits[(2 * S + 1) * E] = NAN; /* sequences 7 and 9 of the batch */
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(bad, (7 * S + 2) * LAYERS + 3);
    op.layer = 1; /* an earlier layer of the same token */
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(bad, (7 * S + 2) * LAYERS + 1);
    op.place = place[1]; /* sequences 4 and 1: the second is the lower one */
    op.layer = 5;
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(bad, (1 * S + 1) * LAYERS + 5);
    op.place = NULL;
    op.tokens = S; /* sequence 0 by itself */
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(bad, 2 * LAYERS + 5);
    op.place = place[0];
    l.x.ops->router_fwd(&l.x, &op);
    assert_int_equal(bad, 2 * LAYERS + 5);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_router),           cmocka_unit_test(test_limited_groups_are_strict),
        cmocka_unit_test(test_group_ties),       cmocka_unit_test(test_bias_never_weighs),
        cmocka_unit_test(test_lowest_bad_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
