/* Rows of routes: the sort by (expert, sequence, token) with segments at any multiple, its closed form under
 * forced balance, gathers and the combining sum, segments that travel, counts and comparisons of routes.
 * Every tier, class and number of threads with == against the definition; laws.
 */
#include "route_ids.h"

enum { SEGMENT = 16 }; /* where segments start on the other device */

static int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* --- the places of routes ------------------------------------------------------------------------------- */

struct places { /* a sort, and what it must be */
    struct sy_route_sort op, want;
    struct sy_rows rows;
    struct buf ids, row, route;
    int64_t most_rows, most_tiles, n_tiles[2];
    struct sy_device device; /* the CPU, with the case's multiple */
};

static void places_open(struct places *p, struct lab *l, int64_t sequences, int64_t seq_len, int64_t e,
                        int64_t k) {
    int64_t bins = e * sequences, n = sequences * seq_len * k, multiple = below(2) ? SEGMENT : 1;
    *p = (struct places){.device = *sy_device_cpu()};
    p->device.segment = multiple;
    l->x.device = &p->device;
    p->most_rows = n + bins * (multiple - 1);
    p->most_tiles = p->most_rows / SY_TILE_ROWS + e;
    p->ids = buf_i32(l, "ids", n);
    p->row = buf_i32(l, "row", n);
    p->route = buf_i32(l, "route", p->most_rows);
    struct sy_route_sort *both[2] = {&p->op, &p->want};
    for (int i = 0; i < 2; i++) {
        *both[i] =
            (struct sy_route_sort){.sequences = sequences,
                                   .seq_len = seq_len,
                                   .experts = e,
                                   .top_k = k,
                                   .ids = i ? p->ids.want : p->ids.got,
                                   .offset = must_alloc((size_t)(bins + 1) * sizeof(int64_t)),
                                   .count = below(3) || i ? must_alloc((size_t)bins * sizeof(int64_t)) : NULL,
                                   .row = i ? p->row.want : p->row.got,
                                   .route = i ? p->route.want : p->route.got,
                                   .tile = must_alloc((size_t)p->most_tiles * sizeof(struct sy_tile)),
                                   .n_tiles = &p->n_tiles[i]};
    }
    p->rows = (struct sy_rows){e, sequences, p->most_rows, p->op.offset, p->op.tile, p->op.n_tiles};
}

static void def_sort(const struct sy_route_sort *d, int64_t multiple) {
    int64_t at = 0, b = d->sequences;
    *d->n_tiles = 0;
    for (int64_t bin = 0; bin < d->experts * b; bin++) { /* rows by (expert, sequence, token) */
        d->offset[bin] = at;
        for (int64_t t = bin % b * d->seq_len; t < (bin % b + 1) * d->seq_len; t++)
            for (int64_t j = 0; j < d->top_k; j++)
                if (d->ids[t * d->top_k + j] == bin / b) {
                    d->row[t * d->top_k + j] = (int32_t)at;
                    d->route[at++] = (int32_t)(t * d->top_k + j);
                }
        d->count[bin] = at - d->offset[bin];
        while (at % multiple != 0)
            d->route[at++] = -1;
    }
    d->offset[d->experts * b] = at;
    for (int64_t e = 0; e < d->experts; e++)
        for (int64_t r = d->offset[e * b]; r < d->offset[(e + 1) * b]; r += 64)
            d->tile[(*d->n_tiles)++] = (struct sy_tile){e, r};
}

/* row and route are buffers of the lab: lab_check compares them. */
static void places_check(const struct places *p) {
    int64_t bins = p->op.experts * p->op.sequences;
    assert_memory_equal(p->op.offset, p->want.offset, (size_t)(bins + 1) * sizeof(int64_t));
    if (p->op.count)
        assert_memory_equal(p->op.count, p->want.count, (size_t)bins * sizeof(int64_t));
    assert_int_equal(p->n_tiles[0], p->n_tiles[1]);
    assert_true(p->n_tiles[0] <= p->most_tiles);
    assert_memory_equal(p->op.tile, p->want.tile, (size_t)p->n_tiles[0] * sizeof(struct sy_tile));
}

static void places_close(struct places *p, struct lab *l) {
    struct sy_route_sort *both[2] = {&p->op, &p->want};
    for (int i = 0; i < 2; i++) {
        free(both[i]->offset);
        free(both[i]->count);
        free(both[i]->tile);
    }
    l->x.device = sy_device_cpu();
}

/* --- moving rows ---------------------------------------------------------------------------------------- */

static void permuted(struct lab *l, const struct places *p, int64_t d, struct buf x, int64_t x_row,
                     struct buf w, int weighted, struct buf rows, int64_t y_row) {
    int64_t k = p->op.top_k, used = p->want.offset[p->op.experts * p->op.sequences];
    l->x.ops->permute(&l->x, &(struct sy_permute){p->rows, k, d, p->route.got, weighted ? w.got : NULL,
                                                  mat_of(x, x_row), mat_of(rows, y_row), 0, NULL});
    for (int64_t q = 0; q < used; q++)
        for (int64_t i = 0; i < d; i++) {
            int64_t from = p->want.route[q];
            float v = from < 0 ? 0.0f : take(x, from / k * x_row + i);
            if (weighted && from >= 0)
                put(l, rows, q * y_row + i, take(w, from) * v);
            else
                store(rows.t, rows.want, q * y_row + i, v);
        }
}

static void combined(struct lab *l, const struct places *p, int64_t d, int64_t groups, struct buf w,
                     int weighted, struct buf rows, int64_t y_row, struct buf shared, int with_shared,
                     struct buf y, int64_t x_row) {
    int64_t k = p->op.top_k, e = p->op.experts, tokens = p->op.sequences * p->op.seq_len;
    struct sy_mat none = {0};
    l->x.ops->combine(&l->x,
                      &(struct sy_combine){tokens, k, d, e, groups, p->ids.got, p->row.got,
                                           weighted ? w.got : NULL, mat_of(rows, y_row),
                                           with_shared ? mat_of(shared, x_row) : none, mat_of(y, x_row)});
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < d; i++) {
            float sum = 0.0f;
            for (int64_t c = 0; c < (groups ? groups : 1); c++) {
                float part = 0.0f;
                for (int64_t j = 0; j < k; j++)
                    if (!groups || p->want.ids[t * k + j] / (e / groups) == c)
                        part = fmaf(weighted ? take(w, t * k + j) : 1.0f,
                                    take(rows, p->want.row[t * k + j] * y_row + i), part);
                sum = groups ? sum + bf_if(l, l->x.dtype, part) : part;
            }
            put(l, y, t * x_row + i, with_shared ? sum + take(shared, t * x_row + i) : sum);
        }
}

/* From routes to rows, +0 in padding, as many as the last offset says; back to routes, which undoes it. */
static void gathered(struct lab *l, const struct places *p, struct buf f, struct buf g, struct buf back) {
    int64_t n = p->op.sequences * p->op.seq_len * p->op.top_k, last = p->op.experts * p->op.sequences;
    l->x.ops->gather_f32(
        &l->x, &(struct sy_gather_f32){p->most_rows, p->op.offset + last, p->route.got, f.got, g.got});
    l->x.ops->gather_f32(&l->x, &(struct sy_gather_f32){n, NULL, p->row.got, g.got, back.got});
    for (int64_t q = 0; q < p->want.offset[last]; q++)
        put(l, g, q, p->want.route[q] < 0 ? 0.0f : take(f, p->want.route[q]));
    for (int64_t i = 0; i < n; i++)
        put(l, back, i, take(f, i));
}

static void moves(struct lab *l, int64_t seq_len, int64_t d, enum regime r) {
    int64_t sequences = 1 + below(3), e = 1 + below(3) * 4 + below(4), k = 1 + below(e < 5 ? e : 5);
    int64_t tokens = sequences * seq_len, n = tokens * k, x_row = d + below(3), y_row = d + below(3);
    int64_t groups = below(2) && e % 4 == 0 ? 4
                     : below(2)             ? e
                                            : 0,
            weighted = below(2), with_shared = below(2);
    struct places p;
    places_open(&p, l, sequences, seq_len, e, k);
    fill_ids(p.ids, tokens, e, k);
    l->x.ops->route_sort(&l->x, &p.op);
    def_sort(&p.want, p.device.segment);
    places_check(&p);
    struct buf x = buf_new(l, "x", l->x.dtype, tokens * x_row, r),
               w = buf_new(l, "w", SY_F32, n, r == BIG ? PLAIN : r);
    struct buf rows = buf_new(l, "rows", l->x.dtype, p.most_rows * y_row, PLAIN);
    struct buf y = buf_new(l, "y", l->x.dtype, tokens * x_row, r), f = buf_new(l, "f", SY_F32, n, r);
    struct buf shared = buf_new(l, "shared", l->x.dtype, tokens * x_row, r),
               back = buf_new(l, "back", SY_F32, n, r);
    struct buf g = buf_new(l, "gathered", SY_F32, p.most_rows, r);
    permuted(l, &p, d, x, x_row, w, (int)weighted, rows, y_row);
    combined(l, &p, d, groups, w, (int)below(2), rows, y_row, shared, (int)with_shared, y, x_row);
    gathered(l, &p, f, g, back);
    places_close(&p, l);
    lab_check(l, "route_sort, permute, combine or gather_f32");
}

#define EACH(name)                                                     \
    static void name##_shapes(struct lab *l) { shapes_each(l, name); } \
    static void test_##name(void **state) {                            \
        (void)state;                                                   \
        labs_each(name##_shapes);                                      \
    }
EACH(moves)

/* --- forced balance ------------------------------------------------------------------------------------- */

static void forced_ids(struct lab *l, int64_t tokens, int64_t seq_len, int64_t e, int64_t k, struct buf ids) {
    float *logits = must_alloc((size_t)(tokens * e) * 2 * sizeof *logits),
          *w = must_alloc((size_t)(tokens * k) * sizeof *w);
    int64_t bad = SY_NO_TOKEN;
    for (int64_t i = 0; i < tokens * e; i++)
        logits[i] = uniform();
    l->x.ops->router_fwd(&l->x, &(struct sy_router_fwd){.tokens = tokens,
                                                        .experts = e,
                                                        .top_k = k,
                                                        .route_scale = 1.0f,
                                                        .seq_len = seq_len,
                                                        .forced = 1,
                                                        .logits = logits,
                                                        .s = logits + tokens * e,
                                                        .ids = ids.got,
                                                        .w = w,
                                                        .layers = 1,
                                                        .bad_token = &bad});
    memcpy(ids.want, ids.got, (size_t)(tokens * k) * sizeof(int32_t));
    for (int64_t i = 0; i < tokens * k; i++) /* the weights are those of the scores, as ever */
        assert_true(w[i] == def_sig(logits[i / k * e + i32_of(ids.got)[i]]));
    free(logits);
    free(w);
}

/* The closed form is the sort of forced ids: S K a multiple of E, K up to E, so that ids wrap. */
static void closed(struct lab *l) {
    for (int round = 0; round < 60; round++) {
        int64_t e = 1 + below(12), k = 1 + below(e), sequences = 1 + below(3),
                seq_len = e * (1 + below(round < 55 ? 4 : 60));
        struct places p;
        places_open(&p, l, sequences, seq_len, e, k);
        forced_ids(l, sequences * seq_len, seq_len, e, k, p.ids);
        l->x.ops->route_forced(&l->x, &(struct sy_route_forced){p.op});
        def_sort(&p.want, p.device.segment);
        places_check(&p);
        places_close(&p, l);
        lab_check(l, "route_forced");
    }
}

static void test_forced_is_sorted(void **state) {
    (void)state;
    labs_each(closed);
}

/* Where E divides S K: every expert has N/E rows, and position p = e (N/E) + j is of the token of route j
 * E + e (N of one sequence). Tokens count from the start of their sequence, so all sequences agree. */
static void test_forced_balance(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { S = 12, B = 3, K = 3, E = 4, N = B * S * K, PER = S * K / E };
    struct places p;
    places_open(&p, &l, B, S, E, K);
    forced_ids(&l, B * S, S, E, K, p.ids);
    l.x.ops->route_sort(&l.x, &p.op);
    for (int e = 0; e < E; e++)
        for (int b = 0; b < B; b++) {
            int64_t from = p.op.offset[e * B + b];
            assert_int_equal(p.op.offset[e * B + b + 1] - from, up_to(PER, p.device.segment));
            for (int j = 0; j < PER; j++)
                assert_int_equal(p.op.route[from + j] / K, b * S + (j * E + e) / K);
        }
    for (int i = 0; i < N; i++)
        assert_true(p.op.row[p.op.route[p.op.row[i]]] == p.op.row[i]);
    places_close(&p, &l);
    lab_close(&l);
}

/* --- segments that travel ------------------------------------------------------------------------------- */

/* Rows of any bytes between two orders; with clear_rows what no segment covers is +0, without it stays. */
static void travels(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    enum { MOST = 9 };
    int64_t n = below(MOST + 1), size[MOST], from[MOST], to[MOST], at = below(3), covered = 0;
    for (int64_t i = 0; i < n; i++) {
        size[i] = below(3) ? below(rows + 1) : 0;
        from[i] = at;
        at += size[i] + below(3);
    }
    int64_t from_rows = at + 1, to_rows = 0;
    for (int64_t i = n; i-- > 0;) { /* backwards, so that the orders differ */
        to_rows += below(3);
        to[i] = to_rows;
        to_rows += size[i];
        covered += size[i];
    }
    to_rows += 1 + below(4);
    struct buf x = buf_new(l, "from", SY_BF16, from_rows * d, r),
               y = buf_new(l, "to", SY_BF16, to_rows * d, r);
    int64_t clear = below(2) ? to_rows - below(2) : 0;
    l->x.ops->move_segments(&l->x, &(struct sy_move_segments){n, 2 * d, size, from, to, x.got, y.got, clear});
    memset(y.want, 0, (size_t)(clear * d) * 2);
    for (int64_t i = 0; i < n; i++)
        memcpy((uint16_t *)y.want + to[i] * d, (uint16_t *)x.want + from[i] * d, (size_t)(size[i] * d) * 2);
    assert_memory_equal(y.got, y.want, (size_t)y.n * 2);
    lab_check(l, "move_segments");
}
EACH(travels)

/* --- counts and comparisons ----------------------------------------------------------------------------- */

static void counts(struct lab *l) {
    enum { MOST = 40 };
    for (int round = 0; round < 80; round++) {
        int64_t e = 1 + below(MOST), k = 1 + below(e < K_MAX ? e : K_MAX), tokens = below(30), got[MOST],
                want[MOST];
        int64_t equal = 3, all = tokens > 0, with_counts = below(3), with_equal = below(3);
        struct buf ids = buf_i32(l, "ids", tokens * k);
        if (below(2))
            fill_ids(ids, tokens, e, k);
        else /* in turn: often equally many */
            for (int64_t i = 0; i < tokens * k; i++)
                set_both_i32(ids, i, (int32_t)(i % e));
        for (int64_t i = 0; i < e; i++) {
            int64_t own = 0;
            for (int64_t j = 0; j < tokens * k; j++)
                own += i32_of(ids.want)[j] == i;
            all = all && own * e == tokens * k;
            got[i] = below(100);
            want[i] = got[i] + (with_counts ? own : 0);
        }
        l->x.ops->count_routes(&l->x,
                               &(struct sy_count_routes){tokens, e, k, ids.got, with_counts ? got : NULL,
                                                         with_equal ? &equal : NULL});
        assert_memory_equal(got, want, (size_t)e * sizeof *got);
        assert_int_equal(equal, with_equal && all ? 4 : 3);
        lab_check(l, "count_routes");
    }
}

static void test_count_routes(void **state) {
    (void)state;
    labs_each(counts);
}

/* One id or one bit of a weight, somewhere or nowhere; -0 is not +0 here. */
static void comparisons(struct lab *l) {
    for (int round = 0; round < 80; round++) {
        int64_t k = 1 + below(5), seq_len = 1 + below(7), sequences = 1 + below(4),
                tokens = sequences * seq_len, n = tokens * k;
        int64_t layers = 1 + below(5), layer = below(layers), with_place = below(2), best = SY_NO_TOKEN,
                route = -1;
        struct buf was = buf_i32(l, "was_ids", n), ids = buf_i32(l, "ids", n),
                   place = buf_i32(l, "place", sequences);
        struct buf was_w = buf_new(l, "was_w", SY_F32, n, PLAIN), w = buf_new(l, "w", SY_F32, n, PLAIN);
        int64_t changed[3] = {SY_NO_TOKEN, 5, 6}, before[3];
        if (below(2))
            changed[0] = below(2 * tokens * layers);
        memcpy(before, changed, sizeof before);
        for (int64_t i = 0; i < sequences; i++)
            set_both_i32(place, i, (int32_t)((i * 7 + 3) % (2 * sequences))); /* any order */
        for (int64_t i = 0; i < n; i++) {
            set_both_i32(was, i, (int32_t)below(9));
            set_both_i32(ids, i, i32_of(was.want)[i]);
            set_both(w, i, take(was_w, i));
        }
        for (int64_t c = below(4); c > 0; c--) {
            int64_t at = below(n);
            if (below(2))
                set_both_i32(ids, at, i32_of(was.want)[at] + 1);
            else if (below(2)) {
                set_both(was_w, at, 0.0f);
                set_both(w, at, -0.0f);
            } else
                set_both(w, at, from_bits(bits_of(take(was_w, at)) ^ 1));
        }
        l->x.ops->routes_equal(
            &l->x, &(struct sy_routes_equal){tokens, seq_len, k, was.got, ids.got, was_w.got, w.got,
                                             with_place ? place.got : NULL, layer, layers, changed});
        for (int64_t i = 0; i < n; i++) {
            if (i32_of(was.want)[i] == i32_of(ids.want)[i] && bits_of(take(was_w, i)) == bits_of(take(w, i)))
                continue;
            int64_t t = i / k, s = with_place ? i32_of(place.want)[t / seq_len] : t / seq_len;
            int64_t named = (s * seq_len + t % seq_len) * layers + layer;
            if (best == SY_NO_TOKEN || named < best) {
                best = named;
                route = i;
            }
        }
        if (best != SY_NO_TOKEN && (before[0] == SY_NO_TOKEN || best < before[0])) {
            before[0] = best;
            before[1] = i32_of(was.want)[route];
            before[2] = i32_of(ids.want)[route];
        }
        assert_memory_equal(changed, before, sizeof changed);
        lab_check(l, "routes_equal");
    }
}

static void test_routes_equal(void **state) {
    (void)state;
    labs_each(comparisons);
}

/* --- combine of ranges ---------------------------------------------------------------------------------- */

/* combine_groups = C: what the experts of one range give to a token may travel as one row, summed and
 * rounded where they are. In bf16 that differs from the plain sum, which is why C belongs to the recipe. */
static void ranges_travel(struct lab *l) {
    enum { T = 9, E = 12, K = 5, C = 3, D = 130 };
    struct buf o = buf_new(l, "o", l->x.dtype, T * K * D, PLAIN), w = buf_new(l, "w", SY_F32, T * K, PLAIN);
    struct buf y = buf_new(l, "y", l->x.dtype, T * D, PLAIN),
               plain = buf_new(l, "plain", l->x.dtype, T * D, PLAIN);
    struct buf part = buf_new(l, "part", l->x.dtype, C * T * D, ZEROS), ids = buf_i32(l, "ids", T * K);
    struct buf row = buf_i32(l, "row", T * K), cut = buf_i32(l, "cut", T * K);
    float *w_range = must_alloc(T * K * sizeof(float));
    struct sy_mat none = {0};
    fill_ids(ids, T, E, K);
    for (int i = 0; i < T * K; i++)
        set_both_i32(row, i, i);
    struct sy_combine op = {T, K, D, E, C, ids.got, row.got, w.got, mat_of(o, D), none, mat_of(y, D)};
    l->x.ops->combine(&l->x, &op);
    op.groups = 0;
    op.y = mat_of(plain, D);
    l->x.ops->combine(&l->x, &op);
    struct sy_join join = {.rows = T, .d = D, .n = C, .y = mat_of(plain, D)};
    for (int c = 0; c < C; c++) { /* a rank per range: its experts alone, token by token */
        for (int t = 0; t < T; t++) {
            int n = 0;
            for (int k = 0; k < K; k++)
                if (i32_of(ids.got)[t * K + k] / (E / C) == c) {
                    i32_of(cut.got)[n] = t * K + k;
                    w_range[n++] = ((float *)w.got)[t * K + k];
                }
            int32_t chosen[K] = {0, 1, 2, 3, 4};
            l->x.ops->combine(&l->x,
                              &(struct sy_combine){1,
                                                   n,
                                                   D,
                                                   E,
                                                   0,
                                                   chosen,
                                                   cut.got,
                                                   w_range,
                                                   mat_of(o, D),
                                                   none,
                                                   {sy_at(part.got, part.t, (c * T + t) * D), part.t, D, 1}});
        }
        join.term[c] = (struct sy_mat){sy_at(part.got, part.t, c * T * D), part.t, D, 1};
    }
    int differs = 0;
    for (int64_t i = 0; i < T * D; i++)
        differs += !same_f32(load(y.t, y.got, i), load(plain.t, plain.got, i));
    assert_true(differs > 0 || l->x.cls == SY_NUMERIC_FP32);
    l->x.ops->join(&l->x, &join);
    for (int64_t i = 0; i < T * D; i++)
        assert_true(load(y.t, y.got, i) == load(plain.t, plain.got, i));
    free(w_range);
    lab_drop(l);
}

static void test_combine_groups(void **state) {
    (void)state;
    labs_each(ranges_travel);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),          cmocka_unit_test(test_forced_is_sorted),
        cmocka_unit_test(test_forced_balance), cmocka_unit_test(test_travels),
        cmocka_unit_test(test_count_routes),   cmocka_unit_test(test_routes_equal),
        cmocka_unit_test(test_combine_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
