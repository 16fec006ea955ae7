/* The journey of rows straight into the memory of other ranks and back, all ranks in one process: slots,
 * windows, arrival and return against what the routes say, written out. Every tier, class and number of
 * threads.
 *
 * A token comes to a rank once; an owner's rows are by (expert, round, rank, sequence, token), segments at
 * any multiple; what returns lies in the rows of the sender's own sort. Too many rows: none, and the first
 * such count stays.
 */
#include "route_ids.h"

enum { MOST_RANKS = 4, MOST_SEQUENCES = 6, MOST_ROWS = 4096 };

struct rank {
    int64_t sequences, of[2]; /* of each round */
    int32_t *ids, *row;       /* [T, K]; by its own sort */
    float *w;
    float *x; /* [T, d] */
    int32_t *token;
    int64_t *first;
    struct sy_window window; /* of all sources, one after the other */
    float *back;             /* what returns, by `row` */
};

struct scene {
    struct lab *l;
    int64_t ranks, experts, top_k, seq_len, d, rounds, max_tokens;
    struct sy_device device;
    struct rank rank[MOST_RANKS];
};

static void *blank(size_t bytes) {
    void *p = must_alloc(bytes);
    memset(p, 0x7b, bytes);
    return p;
}

/* A row's number in the sender's own order: routes by (expert, sequence, token). */
static void sort_own(const struct scene *s, struct rank *r) {
    int32_t at = 0;
    for (int64_t e = 0; e < s->experts; e++)
        for (int64_t i = 0; i < r->sequences * s->seq_len * s->top_k; i++)
            if (r->ids[i] == e)
                r->row[i] = at++;
}

static void open_rank(struct scene *s, struct rank *r) {
    struct item item[E_MAX];
    int64_t k = s->top_k, all = s->max_tokens, windows = s->ranks * all;
    for (int64_t j = 0; j < s->rounds; j++)
        r->sequences += r->of[j] = below(MOST_SEQUENCES / 2 + 1);
    int64_t tokens = r->sequences * s->seq_len;
    r->ids = blank((size_t)(tokens * k) * sizeof *r->ids);
    r->row = blank((size_t)(tokens * k) * sizeof *r->row);
    r->w = blank((size_t)(tokens * k) * sizeof *r->w);
    r->x = blank((size_t)(tokens * s->d) * sizeof *r->x);
    r->back = blank((size_t)(tokens * k * s->d) * sizeof *r->back);
    r->token = blank((size_t)(s->ranks * tokens) * sizeof *r->token);
    r->first = blank((size_t)(s->ranks * (r->sequences + 1)) * sizeof *r->first);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t e = 0; e < s->experts; e++)
            item[e] = (struct item){uniform(), (int32_t)e};
        qsort(item, (size_t)s->experts, sizeof *item, better_first);
        for (int64_t i = 0; i < k; i++)
            r->ids[t * k + i] = item[i].id;
        qsort(r->ids + t * k, (size_t)k, sizeof *r->ids, ascending);
    }
    for (int64_t i = 0; i < tokens * k; i++)
        r->w[i] = uniform();
    for (int64_t i = 0; i < tokens * s->d; i++) /* of any class */
        r->x[i] = def_bf(SY_NUMERIC_X86, uniform() + 2.0f);
    sort_own(s, r);
    r->window.rows = blank((size_t)(windows * s->d) * sizeof(float));
    r->window.ids = blank((size_t)(windows * k) * sizeof *r->window.ids);
    r->window.home = blank((size_t)(windows * k) * sizeof *r->window.home);
    r->window.w = blank((size_t)(windows * k) * sizeof *r->window.w);
    r->window.first = blank((size_t)(s->ranks * (MOST_SEQUENCES + 1)) * sizeof *r->window.first);
}

static void close_rank(struct rank *r) {
    free(r->ids);
    free(r->row);
    free(r->w);
    free(r->x);
    free(r->back);
    free(r->token);
    free(r->first);
    free(r->window.rows);
    free(r->window.ids);
    free(r->window.home);
    free(r->window.w);
    free(r->window.first);
}

static int owns(const struct scene *s, int64_t rank, int32_t e) {
    int64_t first, n;
    sy_experts_share(s->experts, rank, s->ranks, &first, &n);
    return e >= first && e < first + n;
}

/* The x of a rank as it is stored. */
static struct sy_mat stored(const struct scene *s, const struct rank *r, void *room) {
    int64_t n = r->sequences * s->seq_len * s->d;
    for (int64_t i = 0; i < n; i++)
        store(s->l->x.dtype, room, i, r->x[i]);
    return sy_mat_of(room, s->l->x.dtype, s->d);
}

static void send(struct scene *s, int64_t from) {
    struct rank *r = &s->rank[from];
    const struct sy_exec *x = &s->l->x;
    struct sy_window to[MOST_RANKS];
    int64_t tokens = r->sequences * s->seq_len;
    void *room = must_alloc((size_t)(tokens * s->d) * sizeof(float));
    x->ops->route_slots(x, &(struct sy_route_slots){.sequences = r->sequences,
                                                    .seq_len = s->seq_len,
                                                    .experts = s->experts,
                                                    .top_k = s->top_k,
                                                    .ranks = s->ranks,
                                                    .ids = r->ids,
                                                    .token = r->token,
                                                    .first = r->first});
    for (int64_t q = 0; q < s->ranks; q++) {
        struct sy_window *w = &s->rank[q].window;
        int64_t slot = from * s->max_tokens, at = 0;
        to[q] = (struct sy_window){sy_at(w->rows, x->dtype, slot * s->d), w->ids + slot * s->top_k,
                                   w->home + slot * s->top_k, w->w + slot * s->top_k,
                                   w->first + from * (MOST_SEQUENCES + 1)};
        for (int64_t t = 0; t < tokens; t++) { /* each token once, ascending */
            int goes = 0;
            for (int64_t i = 0; i < s->top_k; i++)
                goes |= owns(s, q, r->ids[t * s->top_k + i]);
            if (t % s->seq_len == 0)
                assert_int_equal(r->first[q * (r->sequences + 1) + t / s->seq_len], at);
            if (goes)
                assert_int_equal(r->token[q * tokens + at++], t);
        }
        assert_int_equal(r->first[q * (r->sequences + 1) + r->sequences], at);
    }
    x->ops->send_slots(x, &(struct sy_send_slots){.sequences = r->sequences,
                                                  .tokens = tokens,
                                                  .top_k = s->top_k,
                                                  .ranks = s->ranks,
                                                  .d = s->d,
                                                  .token = r->token,
                                                  .first = r->first,
                                                  .x = stored(s, r, room),
                                                  .ids = r->ids,
                                                  .row = r->row,
                                                  .w = r->w,
                                                  .to = to});
    free(room);
}

struct arrival {
    struct sy_route_arrived op;
    int32_t source[MOST_RANKS * MOST_SEQUENCES], sequence[MOST_RANKS * MOST_SEQUENCES];
    int64_t offset[MOST_RANKS * MOST_SEQUENCES * 16 + 1], n_tiles, overflow;
    int32_t route[MOST_ROWS], back[MOST_ROWS];
    struct sy_tile tile[MOST_ROWS];
};

static void arrive(struct scene *s, int64_t rank, int64_t max_rows, struct arrival *a) {
    const struct sy_window *w = &s->rank[rank].window;
    int64_t n = 0;
    for (int64_t j = 0; j < s->rounds; j++)
        for (int64_t r = 0; r < s->ranks; r++)
            for (int64_t b = 0; b < s->rank[r].of[j]; b++, n++) {
                a->source[n] = (int32_t)r;
                a->sequence[n] = (int32_t)(b + (j ? s->rank[r].of[0] : 0));
            }
    a->op = (struct sy_route_arrived){.ranks = s->ranks,
                                      .max_tokens = s->max_tokens,
                                      .max_sequences = MOST_SEQUENCES,
                                      .top_k = s->top_k,
                                      .max_rows = max_rows,
                                      .sequences = n,
                                      .source = a->source,
                                      .sequence = a->sequence,
                                      .ids = w->ids,
                                      .home = w->home,
                                      .first = w->first,
                                      .offset = a->offset,
                                      .route = a->route,
                                      .back = a->back,
                                      .tile = a->tile,
                                      .n_tiles = &a->n_tiles,
                                      .overflow = &a->overflow};
    sy_experts_share(s->experts, rank, s->ranks, &a->op.first_expert, &a->op.experts);
    s->l->x.ops->route_arrived(&s->l->x, &a->op);
}

/* Row by row: whose route it is, and that the window holds that token. Returns how many rows there are. */
static int64_t check_arrival(const struct scene *s, const struct arrival *a, const struct sy_window *w) {
    int64_t row = 0, rows = 0, tile = 0, k = s->top_k, multiple = s->device.segment;
    for (int64_t e = a->op.first_expert; e < a->op.first_expert + a->op.experts; e++) {
        int64_t begin = row;
        for (int64_t q = 0; q < a->op.sequences; q++) {
            const struct rank *r = &s->rank[a->source[q]];
            assert_int_equal(a->offset[(e - a->op.first_expert) * a->op.sequences + q], row);
            for (int64_t t = a->sequence[q] * s->seq_len; t < (a->sequence[q] + 1) * s->seq_len; t++)
                for (int64_t i = 0; i < k; i++) {
                    if (r->ids[t * k + i] != e)
                        continue;
                    int64_t slot = a->route[row] / k;
                    assert_int_equal(slot / s->max_tokens, a->source[q]);
                    assert_int_equal(a->route[row] % k, i);
                    assert_int_equal(a->back[row], r->row[t * k + i]);
                    assert_true(w->w[a->route[row]] == r->w[t * k + i]);
                    for (int64_t c = 0; c < s->d; c++)
                        assert_true(load(s->l->x.dtype, w->rows, slot * s->d + c) == r->x[t * s->d + c]);
                    row++;
                    rows++;
                }
            for (; row % multiple != 0; row++)
                assert_int_equal(a->route[row], -1);
        }
        for (int64_t i = begin; i < row; i += SY_TILE_ROWS, tile++)
            assert_true(a->tile[tile].group == e - a->op.first_expert && a->tile[tile].first == i);
    }
    assert_int_equal(a->offset[a->op.experts * a->op.sequences], row);
    assert_int_equal(a->n_tiles, tile);
    return rows;
}

/* Row i of rank q goes home as the numbers q, expert's row i. */
static void give_back(struct scene *s, int64_t q, const struct arrival *a) {
    int64_t n = a->offset[a->op.experts * a->op.sequences];
    float(*rows)[2] = must_alloc((size_t)(n + 1) * sizeof *rows);
    void *to[MOST_RANKS];
    for (int64_t i = 0; i < n; i++) {
        rows[i][0] = (float)q;
        rows[i][1] = (float)i;
    }
    for (int64_t r = 0; r < s->ranks; r++)
        to[r] = s->rank[r].back;
    s->l->x.ops->return_rows(&s->l->x,
                             &(struct sy_return_rows){.rows = MOST_ROWS,
                                                      .row_bytes = sizeof *rows,
                                                      .top_k = s->top_k,
                                                      .max_tokens = s->max_tokens,
                                                      .used = a->offset + a->op.experts * a->op.sequences,
                                                      .route = a->route,
                                                      .back = a->back,
                                                      .from = rows,
                                                      .to = to});
    for (int64_t i = 0; i < n; i++) {
        const struct rank *home = &s->rank[a->route[i] < 0 ? 0 : a->route[i] / s->top_k / s->max_tokens];
        if (a->route[i] >= 0)
            assert_true(home->back[2 * a->back[i]] == (float)q && home->back[2 * a->back[i] + 1] == (float)i);
    }
    free(rows);
}

static void journey(struct lab *l) {
    static struct arrival a;
    for (int round = 0; round < 12; round++) {
        struct scene s = {.l = l, .ranks = 1 + below(MOST_RANKS), .experts = 1 + below(13)};
        s.top_k = 1 + below(s.experts < 4 ? s.experts : 4);
        s.seq_len = 1 + below(9);
        s.d = 2 + below(20);
        s.rounds = 1 + below(2);
        s.max_tokens = MOST_SEQUENCES * s.seq_len;
        s.device = *sy_device_cpu();
        s.device.segment = below(2) ? 16 : 1;
        l->x.device = &s.device;
        for (int64_t r = 0; r < s.ranks; r++)
            open_rank(&s, &s.rank[r]);
        for (int64_t r = 0; r < s.ranks; r++)
            send(&s, r);
        for (int64_t q = 0; q < s.ranks; q++) {
            a.overflow = 0;
            arrive(&s, q, MOST_ROWS, &a);
            int64_t rows = check_arrival(&s, &a, &s.rank[q].window);
            assert_int_equal(a.overflow, 0);
            give_back(&s, q, &a);
            if (rows == 0)
                continue;
            arrive(&s, q, rows, &a); /* just enough */
            assert_int_equal(a.overflow, 0);
            assert_int_equal(check_arrival(&s, &a, &s.rank[q].window), rows);
            arrive(&s, q, rows - 1, &a); /* one too few: there are none */
            assert_int_equal(a.overflow, rows);
            assert_int_equal(a.n_tiles, 0);
            for (int64_t i = 0; i <= a.op.experts * a.op.sequences; i++)
                assert_int_equal(a.offset[i], 0);
        }
        for (int64_t r = 0; r < s.ranks; r++)
            close_rank(&s.rank[r]);
        l->x.device = sy_device_cpu();
    }
}

static void test_journey(void **state) {
    (void)state;
    labs_each(journey);
}

/* The first overflow of a step stays. */
static void test_first_overflow_stays(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    static struct arrival a;
    struct scene s = {.l = &l, .ranks = 2, .experts = 4, .top_k = 2, .seq_len = 8, .d = 2, .rounds = 1};
    s.max_tokens = MOST_SEQUENCES * s.seq_len;
    s.device = *sy_device_cpu();
    for (int64_t r = 0; r < 2; r++)
        do {
            s.rank[r] = (struct rank){0};
            open_rank(&s, &s.rank[r]);
        } while (s.rank[r].sequences == 0);
    for (int64_t r = 0; r < 2; r++)
        send(&s, r);
    a.overflow = 7;
    arrive(&s, 0, 1, &a);
    assert_int_equal(a.overflow, 7);
    for (int64_t r = 0; r < 2; r++)
        close_rank(&s.rank[r]);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_journey),
        cmocka_unit_test(test_first_overflow_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
