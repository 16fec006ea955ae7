/* Expert rows over ranks have a planned size. A plan that needs more says so on every rank, before a row
 * has moved; with what it asked for, the same call has the bits of one process, on every path. What is
 * planned for a factor is checked against numbers worked out by hand.
 */
#include "moe_harness.h"
#include "moe_routing.h"

enum { S = 6 };

struct tight {
    struct job j;
    int64_t needed[MAX_RANKS], received[MAX_RANKS]; /* as each rank's plan says */
    int64_t told[MAX_RANKS];                        /* the caller, env.most_rows */
    size_t bytes[MAX_RANKS];
    sy_status status[MAX_RANKS];
    char message[MAX_RANKS][200];
};

/* Forward alone, then, if it fits, backward. */
static sy_status tight_rank(const struct sy_comm *comm, void *arg) {
    struct tight *q = arg;
    struct rank r;
    struct slot s;
    int me = comm->rank;
    job_open(&q->j, comm, &r, &s);
    q->status[me] = slot_fwd(&s, SY_PASS_TRAIN);
    snprintf(q->message[me], sizeof q->message[me], "%s", sy_error_message());
    q->needed[me] = s.exchange.most;
    q->told[me] = r.most_rows;
    q->received[me] = s.exchange.received.rows;
    q->bytes[me] = r.arena.used + s.act_arena.used;
    sy_status status = q->status[me] == SY_OK ? slot_bwd(&s) : SY_OK;
    q->j.counters[me] = r.counters;
    slot_close(&s);
    rank_close(&r);
    return status;
}

static void run_tight(struct tight *q, const struct problem *p, const struct batch *b, const struct layout *l,
                      const struct setup *s, struct answer *out) {
    *q = (struct tight){.j = {.p = p, .b = b, .l = l, .s = s, .out = out}};
    *out = answer_of(p, b);
    if (on_ranks(l->ranks, tight_rank, q) != SY_OK)
        fail_msg("%s", sy_error_message());
    sum_counts(out, l->ranks);
}

/* What the fullest rank gets, of the ids that one process chose; with padding, size times the largest
 * part. */
static int64_t expected_rows(const struct problem *p, const struct answer *one, const struct layout *l,
                             int padded) {
    int64_t most = 0, k = p->config.top_k, number[MAX_SEQUENCES];
    for (int to = 0; to < l->ranks; to++) {
        int64_t first, n, all = 0, largest = 0;
        sy_experts_share(p->config.num_experts, to, l->ranks, &first, &n);
        for (int from = 0; from < l->ranks; from++) {
            int64_t part = 0, sequences = numbers_of(l, from, number);
            for (int64_t b = 0; b < sequences; b++)
                for (int64_t i = 0; i < p->seq_len * k; i++) {
                    int64_t id = (int64_t)one->v[IDS][number[b] * p->seq_len * k + i];
                    part += id >= first && id < first + n;
                }
            all += part;
            largest = part > largest ? part : largest;
        }
        int64_t rows = padded ? largest * l->ranks : all;
        most = rows > most ? rows : most;
    }
    return most;
}

static int64_t paths_of(const struct sy_moe_counters *c) {
    return c->path_standard + c->path_equal + c->path_equal_padded + c->path_forced + c->path_local +
           c->path_direct;
}

static void check_refused(const struct tight *q, int64_t rows, int64_t room_for) {
    char want[120];
    snprintf(want, sizeof want, "the experts of a rank get %lld rows, padding included, and %lld are planned",
             (long long)rows, (long long)room_for);
    for (int r = 0; r < q->j.l->ranks; r++) {
        assert_int_equal(q->status[r], SY_ERR_MEMORY);
        assert_non_null(strstr(q->message[r], want));
        assert_int_equal(q->needed[r], rows);
        assert_int_equal(q->told[r], rows);
        assert_int_equal(q->j.counters[r].rows_sent, 0);
        assert_int_equal(paths_of(&q->j.counters[r]), 0);
        for (int64_t e = 0; e < q->j.p->config.num_experts; e++)
            assert_int_equal(q->j.out->rank_counts[r][e], 0);
    }
}

/* Worst case, one row too few, just enough. */
static void squeeze(enum sy_numeric_class cls, enum routing routing, const struct layout *l, int pad,
                    int before, int segment) {
    static const struct setup plain = {.tier = "auto", .threads = 1};
    struct problem p = problem_of(cls, 6, 3, S);
    p.config.score_before_experts = before;
    problem_fill(&p, 81);
    int64_t sequences = 0;
    for (int r = 0; r < l->ranks; r++)
        sequences += sequences_of(l, r);
    struct batch b = batch_of(&p, sequences, 82);
    route_as(routing, &p, &b);
    struct layout alone = one_process(sequences);
    struct setup setup = {.tier = "auto", .threads = 1, .pad = pad, .segment = segment};
    struct answer one, got;
    struct tight q;
    job_run(&(struct job){.p = &p, .b = &b, .l = &alone, .s = &plain}, &one);

    run_tight(&q, &p, &b, l, &setup, &got);
    int padded = q.j.counters[0].path_equal_padded > 0;
    int64_t rows = expected_rows(&p, &one, l, padded), fullest = expected_rows(&p, &one, l, 0), most = 0;
    size_t worst[MAX_RANKS];
    assert_true(rows > 0);
    for (int r = 0; r < l->ranks; r++) {
        assert_int_equal(q.status[r], SY_OK);
        assert_int_equal(q.needed[r], rows);
        most = q.received[r] > most ? q.received[r] : most;
        worst[r] = q.bytes[r];
    }
    assert_true(segment == 1 ? most == fullest : most >= fullest && most % segment == 0);
    assert_null(difference(&got, &one));
    answer_free(&got);

    setup.max_rows = rows - 1;
    if (rows > 1) {
        run_tight(&q, &p, &b, l, &setup, &got);
        check_refused(&q, rows, rows - 1);
        answer_free(&got);
    }

    setup.max_rows = rows;
    run_tight(&q, &p, &b, l, &setup, &got);
    const char *d = difference(&got, &one);
    if (d)
        fail_msg("class %d, routing %d, %d ranks, pad %d: %s", (int)cls, (int)routing, l->ranks, pad, d);
    for (int r = 0; r < l->ranks; r++) {
        assert_int_equal(q.status[r], SY_OK);
        assert_true(q.j.counters[r].rows_sent > 0 || sequences_of(l, r) == 0 || fullest == 0);
        assert_true(q.bytes[r] < worst[r] || rows == l->ranks * most_sequences(l) * S * p.config.top_k);
    }
    answer_free(&got);
    answer_free(&one);
    batch_free(&b);
    problem_free(&p);
}

static void one_row_too_few(void **state) {
    (void)state;
    static const enum routing routings[] = {RANDOM, HEAVY, TIED, FORCED_CLOSED, FORCED_OPEN, GIVEN_EQUAL};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (size_t i = 0; i < sizeof routings / sizeof *routings; i++)
            for (int v = 0; v < 4; v++) {
                if (is_quick() && (cls + (int)i + v) % 4)
                    continue;
                int ranks = 2 + ((int)i + v + cls) % 3;
                struct layout l = v < 2 ? lay(ranks, 6, v) : lay_anyhow(ranks, 2, 7, (uint64_t)(i + 3));
                l.known = routings[i] == FORCED_CLOSED && v % 2;
                squeeze((enum sy_numeric_class)cls, routings[i], &l, v % 2, v / 2, v == 2 ? 16 : 1);
            }
}

static void rows_for_a_factor(void **state) {
    (void)state;
    static const struct {
        int ranks;
        int64_t experts, top_k, seq_len, sequences;
        double factor;
        int64_t rows;
    } cases[] = {{4, 8, 2, 16, 3, 1.0, 96},                                  /* a quarter of 4 * 3 * 16 * 2 */
                 {4, 8, 2, 16, 3, 1.25, 120},  {4, 8, 2, 16, 3, 1.0001, 97}, /* rounded up */
                 {4, 8, 2, 16, 3, 100.0, 384},                               /* there are no more */
                 {4, 6, 2, 16, 3, 1.0, 128}, /* two of six experts on the first ranks */
                 {4, 3, 2, 16, 3, 1.0, 128}, /* one of three, and a rank without */
                 {1, 8, 2, 16, 3, 1.0, 96},    {4, 8, 2, 16, 3, 0.0001, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sy_comm comm = {.size = cases[i].ranks};
        struct sy_exec x = {.device = sy_device_cpu()};
        struct sy_exchange_shape shape = {.experts = cases[i].experts,
                                          .top_k = cases[i].top_k,
                                          .seq_len = cases[i].seq_len,
                                          .max_sequences = cases[i].sequences};
        int64_t all = cases[i].ranks * cases[i].sequences * cases[i].seq_len * cases[i].top_k;
        assert_int_equal(sy_exchange_rows_for(&comm, &shape, cases[i].factor), cases[i].rows);
        assert_int_equal(sy_exchange_max_rows(&x, &comm, &shape), all);
        shape.max_rows = 5;
        assert_int_equal(sy_exchange_max_rows(&x, &comm, &shape), 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_row_too_few),
        cmocka_unit_test(rows_for_a_factor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
