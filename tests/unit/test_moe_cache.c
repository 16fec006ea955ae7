/* Packed expert weights belong to a version of the weights and never change a bit. Passes without gradients
 * whose experts have equal counts are counted: by the tally on one rank, by the plan over ranks. On one rank
 * and on three.
 */
#include "moe_harness.h"
#include "moe_routing.h"

enum { S = 6, B = 6 };

enum use { NEITHER, HIT, MISS };
struct expected { /* what a call adds to the counters */
    enum use w13, w2t;
    int batched;
};

struct cached {
    const struct problem *p, *changed; /* the same but for the experts' weights */
    const struct batch *b;
    struct layout l;
    struct setup s;
    struct answer *out; /* y of `p`, of `changed`, of this run */
    int rank_equal[MAX_RANKS];
    int64_t eval_rows[MAX_RANKS];
    char wrong[MAX_RANKS][200];
};

static void note(struct cached *q, int rank, const char *what, const char *why) {
    if (!q->wrong[rank][0])
        snprintf(q->wrong[rank], sizeof q->wrong[0], "%s: %s", what, why);
}

/* Rows of this rank's sequences in y: the bits of `want`? */
static int has_y(const struct slot *s, const struct answer *want) {
    int64_t per = S * s->r->p->d;
    for (int64_t i = 0; i < s->n_sequences * per; i++)
        if (bits_of(get(s->r->x.dtype, s->y.data, i)) !=
            bits_of(want->v[Y][s->number[i / per] * per + i % per]))
            return 0;
    return 1;
}

/* Rows that one dispatch sends to other ranks. */
static int64_t sent_at_once(const struct slot *s) {
    const struct sy_exchange *x = &s->exchange;
    int size = s->r->env.ep.size, rank = s->r->env.ep.rank;
    if (size == 1)
        return 0;
    if (x->path == SY_PATH_EQUAL_PADDED)
        return x->padded_rows * (size - 1);
    return x->send_at[size] - (x->send_at[rank + 1] - x->send_at[rank]);
}

static void step(struct cached *q, struct slot *s, const char *what, enum sy_pass pass,
                 const struct answer *want, struct expected e) {
    struct sy_moe_counters was = s->r->counters, *now = &s->r->counters;
    int rank = s->r->env.ep.rank, equal = q->rank_equal[rank];
    if (slot_fwd(s, pass) != SY_OK)
        note(q, rank, what, "failed");
    if (want && !has_y(s, want))
        note(q, rank, what, "another y");
    if (now->cached_w13_hit - was.cached_w13_hit != (e.w13 == HIT) ||
        now->cached_w13_miss - was.cached_w13_miss != (e.w13 == MISS))
        note(q, rank, what, "W1 and W3");
    if (now->cached_w2t_hit - was.cached_w2t_hit != (e.w2t == HIT) ||
        now->cached_w2t_miss - was.cached_w2t_miss != (e.w2t == MISS))
        note(q, rank, what, "W2");
    int64_t batched =
        now->batched_no_grad - was.batched_no_grad + s->tally.batched; /* ranks know, one counts */
    if (batched != (equal ? e.batched : 0))
        note(q, rank, what, "batched");
    int64_t sent = now->rows_sent - was.rows_sent;
    if (pass == SY_PASS_EVAL)
        q->eval_rows[rank] = sent;
    if (pass == SY_PASS_TRAIN &&
        sent != q->eval_rows[rank] + (s->r->config.score_before_experts ? 0 : sent_at_once(s)))
        note(q, rank, what, "evaluation sends weights"); /* which backward alone needs there */
}

static sy_status cached_rank(const struct sy_comm *comm, void *arg) {
    struct cached *q = arg;
    const struct answer *old = &q->out[0], *new = &q->out[1];
    struct rank r;
    struct slot s;
    sy_status status = rank_open(&r, comm, q->p, &q->s, most_sequences(&q->l), q->l.rounds, B);
    if (status == SY_OK)
        status = slot_open(&s, &r, q->b, &q->l, &q->out[2], KEEP_NOTHING, 1);
    if (status != SY_OK)
        abort();
    rank_view(&r, 0, 0);
    step(q, &s, "no cache", SY_PASS_EVAL, old, (struct expected){NEITHER, NEITHER, 1});
    rank_view(&r, 0, 1);
    step(q, &s, "a version without a cache", SY_PASS_EVAL, old, (struct expected){NEITHER, NEITHER, 1});
    rank_view(&r, 1, 1);
    step(q, &s, "the first call", SY_PASS_EVAL, old, (struct expected){MISS, MISS, 1});
    step(q, &s, "the second call", SY_PASS_EVAL, old, (struct expected){HIT, HIT, 1});
    rank_view(&r, 1, 1);
    step(q, &s, "views of the same version again", SY_PASS_EVAL, old, (struct expected){HIT, HIT, 1});
    step(q, &s, "training", SY_PASS_TRAIN, old, (struct expected){HIT, HIT, 0});
    step(q, &s, "recompute", SY_PASS_RECOMPUTE, NULL, (struct expected){HIT, NEITHER, 0});
    rank_store(&r, q->changed);
    rank_view(&r, 1, 1);
    step(q, &s, "other weights, the version forgotten", SY_PASS_EVAL, old,
         (struct expected){HIT, HIT, 1}); /* it is used */
    rank_view(&r, 1, 2);
    step(q, &s, "other weights", SY_PASS_EVAL, new, (struct expected){MISS, MISS, 1});
    step(q, &s, "other weights again", SY_PASS_EVAL, new, (struct expected){HIT, HIT, 1});
    rank_store(&r, q->changed);
    rank_view(&r, 1, 3);
    step(q, &s, "the same values, another version", SY_PASS_EVAL, new, (struct expected){MISS, MISS, 1});
    rank_store(&r, q->p);
    rank_view(&r, 1, 0);
    step(q, &s, "version 0", SY_PASS_EVAL, old, (struct expected){NEITHER, NEITHER, 1});
    rank_store(&r, q->changed);
    rank_view(&r, 1, 3);
    step(q, &s, "version 0 left the cache alone", SY_PASS_EVAL, new, (struct expected){HIT, HIT, 1});
    rank_store(&r, q->p);
    rank_view(&r, 1, 1);
    step(q, &s, "an older version", SY_PASS_EVAL, old, (struct expected){MISS, MISS, 1});
    rank_view(&r, 0, 1);
    step(q, &s, "the cache is gone", SY_PASS_EVAL, old, (struct expected){NEITHER, NEITHER, 1});
    rank_view(&r, 1, 4);
    step(q, &s, "training in another version", SY_PASS_TRAIN, old, (struct expected){MISS, MISS, 0});
    step(q, &s, "its recompute", SY_PASS_RECOMPUTE, NULL, (struct expected){HIT, NEITHER, 0});
    rank_view(&r, 1, 5);
    step(q, &s, "recompute in another version", SY_PASS_RECOMPUTE, NULL, (struct expected){MISS, NEITHER, 0});
    status = slot_bwd(&s);
    step(q, &s, "evaluation in that version", SY_PASS_EVAL, old, (struct expected){HIT, MISS, 1});
    slot_close(&s);
    rank_close(&r);
    return status;
}

/* Whether all experts of a rank have the same number of rows, and some. */
static int is_equal(const struct problem *p, const struct answer *a, int rank, int size) {
    int64_t first, n;
    sy_experts_share(p->config.num_experts, rank, size, &first, &n);
    for (int64_t e = first; e < first + n; e++)
        if (a->v[COUNTS][e] != a->v[COUNTS][first])
            return 0;
    return n > 0 && a->v[COUNTS][first] > 0;
}

static int cached(enum sy_numeric_class cls, int64_t experts, enum routing routing, int ranks, int before) {
    static const struct setup plain = {.tier = "auto", .threads = 1};
    struct problem p = problem_of(cls, experts, 2, S);
    p.config.score_before_experts = before;
    p.config.num_shared_experts = 1;
    problem_fill(&p, 31);
    struct batch b = batch_of(&p, B, 32);
    route_as(routing, &p, &b);
    struct problem changed = p;
    changed.w13 = values(cls, experts * 2 * p.f * p.d, 133, 0.5);
    changed.w2 = values(cls, experts * p.d * p.f, 134, 0.5);
    struct layout one = one_process(B);
    struct answer out[3];
    job_run(&(struct job){.p = &p, .b = &b, .l = &one, .s = &plain}, &out[0]);
    job_run(&(struct job){.p = &changed, .b = &b, .l = &one, .s = &plain}, &out[1]);
    assert_true(first_difference(&out[0], &out[1], Y) >= 0);
    out[2] = answer_of(&p, &b);
    struct cached q = {.p = &p, .changed = &changed, .b = &b, .l = lay(ranks, B, 1), .out = out};
    q.s = (struct setup){.tier = "auto", .threads = 1 + ranks % 2, .pad = before};
    int n_equal = 0;
    for (int r = 0; r < ranks; r++)
        n_equal += q.rank_equal[r] = is_equal(&p, &out[0], r, ranks);
    if (on_ranks(ranks, cached_rank, &q) != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int r = 0; r < ranks; r++)
        if (q.wrong[r][0])
            fail_msg("class %s, %lld experts, routing %d, rank %d of %d: %s", sy_class_name(cls),
                     (long long)experts, (int)routing, r, ranks, q.wrong[r]);
    memcpy(out[2].v[COUNTS], out[0].v[COUNTS],
           (size_t)experts * sizeof(float)); /* it trained more than once */
    assert_null(difference(&out[2], &out[0]));
    for (int i = 0; i < 3; i++)
        answer_free(&out[i]);
    free(changed.w13);
    free(changed.w2);
    batch_free(&b);
    problem_free(&p);
    return n_equal;
}

static void versions(void **state) {
    (void)state;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int ranks = 1; ranks <= 3; ranks += 2)
            for (int before = 0; before < 2; before++) {
                if (is_quick() && before != (cls + ranks / 2) % 2)
                    continue;
                assert_int_equal(cached((enum sy_numeric_class)cls, 6, FORCED_CLOSED, ranks, before), ranks);
                assert_int_equal(cached((enum sy_numeric_class)cls, 6, GIVEN_EQUAL, ranks, before), ranks);
                assert_int_equal(cached((enum sy_numeric_class)cls, 7, HEAVY, ranks, before), 0);
                assert_true(cached((enum sy_numeric_class)cls, 4, SOME_WITHOUT, ranks, before) < ranks);
                cached((enum sy_numeric_class)cls, 8, RANDOM, ranks, before);
            }
}

/* Experts whose rows fill many tiles, the last one short, in forward and without gradients: the same bits. */
static void several_tiles(void **state) {
    (void)state;
    static const struct setup plain = {.tier = "auto", .threads = 2};
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        if (cls == SY_NUMERIC_SM90 || (is_quick() && cls == SY_NUMERIC_X86)) /* slow, and a tile is a tile */
            continue;
        struct problem p = problem_of((enum sy_numeric_class)cls, 5, 1, 320);
        p.d = 4;
        p.f = cls == SY_NUMERIC_X86 ? 128 : 64;
        problem_fill(&p, 61);
        struct batch b = batch_of(&p, 8, 62);
        route_as(FORCED_CLOSED, &p, &b);
        struct layout l = one_process(8);
        struct answer train, eval;
        struct job j = {.p = &p, .b = &b, .l = &l, .s = &plain};
        job_run(&j, &train);
        eval = answer_of(&p, &b);
        struct rank r;
        struct slot s;
        struct sy_comm self = sy_comm_self();
        assert_int_equal(rank_open(&r, &self, &p, &plain, 8, 1, 8), SY_OK);
        assert_int_equal(slot_open(&s, &r, &b, &l, &eval, KEEP_ALL, 0), SY_OK);
        for (int cached = 0; cached < 2; cached++) {
            rank_view(&r, cached, 1);
            assert_int_equal(slot_fwd(&s, SY_PASS_EVAL), SY_OK);
            assert_int_equal(first_difference(&eval, &train, Y), -1);
            assert_int_equal(s.tally.batched, 1);
        }
        slot_close(&s);
        rank_close(&r);
        answer_free(&train);
        answer_free(&eval);
        batch_free(&b);
        problem_free(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(versions), cmocka_unit_test(several_tiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
