/* Recompute of the MoE layer: full and with the dispatched rows kept it gives the bits of none, it counts
 * nothing and leaves y alone; with kept rows backward makes no all-to-all of forward's. The check finds a
 * forward that is not the same again and names the token, in the tally of its rank alone, and no rank waits
 * for another.
 */
#include "moe_harness.h"
#include "moe_routing.h"

enum { S = 7, B = 6, E = 7, K = 3 };

static struct problem make(enum sy_numeric_class cls, int before, enum routing routing, struct batch *b) {
    struct problem p = problem_of(cls, E, K, S);
    p.config.score_before_experts = before;
    p.config.num_shared_experts = 1;
    p.config.shared_gate = true;
    p.config.seq_aux_loss_coeff = 0.5;
    p.config.z_loss_coeff = 0.5;
    problem_fill(&p, 7000);
    *b = batch_of(&p, B, 8000);
    route_as(routing, &p, b);
    return p;
}

/* --- same bits ------------------------------------------------------------------------------------------ */

static void same_with_recompute(const struct problem *p, const struct batch *b, const struct layout *l,
                                const struct setup *setup) {
    struct job j = {.p = p, .b = b, .l = l, .s = setup};
    struct answer none, got;
    int after = !p->config.score_before_experts;
    job_run(&j, &none);
    int64_t sent[MAX_RANKS], exchanged = j.counters[0].counts_exchanged;
    for (int r = 0; r < l->ranks; r++) {
        assert_int_equal(j.counters[r].a2a_in_backward, 0);
        sent[r] = j.counters[r].rows_sent;
    }
    for (int keep = KEEP_ROWS; keep <= KEEP_NOTHING; keep++) {
        j.keep = (enum keep)keep;
        job_run(&j, &got);
        const char *d = difference(&got, &none);
        if (d)
            fail_msg("class %s, %d ranks, before %d, %s: %s", sy_class_name(p->cls), l->ranks, !after,
                     keep == KEEP_ROWS ? "rows kept" : "full", d);
        assert_memory_equal(got.loss, none.loss, sizeof got.loss);
        int full = keep == KEEP_NOTHING;
        for (int r = 0; r < l->ranks && l->ranks > 1; r++) {
            assert_int_equal(j.counters[r].a2a_in_backward, full * (1 + after));
            assert_int_equal(j.counters[r].counts_exchanged, exchanged * (1 + full));
            assert_true(full ? j.counters[r].rows_sent >= sent[r] : j.counters[r].rows_sent == sent[r]);
        }
        answer_free(&got);
    }
    answer_free(&none);
}

static void full_and_kept_give_the_bits_of_none(void **state) {
    (void)state;
    static const enum routing routings[] = {RANDOM, FORCED_OPEN, GIVEN_WEIGHTS};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int before = 0; before < 2; before++)
            for (int i = 0; i < 3; i++)
                for (int ranks = 1; ranks <= 5; ranks += 2) {
                    if (is_quick() && (ranks == 5 || i != (cls + before) % 3))
                        continue;
                    struct batch b;
                    struct problem p = make((enum sy_numeric_class)cls, before, routings[i], &b);
                    struct layout l =
                        ranks == 1 ? one_process(B) : lay_anyhow(ranks, 1 + i, B, (uint64_t)ranks);
                    struct setup setup = {.tier = "auto", .threads = 1, .pad = i == 1, .scatter = i == 2};
                    l.known = before;
                    same_with_recompute(&p, &b, &l, &setup);
                    batch_free(&b);
                    problem_free(&p);
                }
}

/* --- what recompute must not do ------------------------------------------------------------------------- */

struct passes { /* what a rank calls, and what is then different */
    const struct problem *p;
    const struct batch *b;
    const struct layout *l;
    const enum sy_pass *pass;
    int n;
    struct answer *out;
    int y_changed[MAX_RANKS];
};

static sy_status passes_rank(const struct sy_comm *comm, void *arg) {
    struct passes *q = arg;
    static const struct setup setup = {.tier = "auto", .threads = 1};
    struct rank r;
    struct slot s;
    sy_status status = rank_open(&r, comm, q->p, &setup, most_sequences(q->l), q->l->rounds, B);
    if (status == SY_OK)
        status = slot_open(&s, &r, q->b, q->l, q->out, KEEP_NOTHING, 0);
    if (status != SY_OK)
        abort();
    size_t bytes = (size_t)(s.n_sequences * S * q->p->d) * sy_dtype_bytes(r.x.dtype);
    for (int i = 0; i < q->n && status == SY_OK; i++) {
        void *before = room((int64_t)bytes, 1);
        memset(s.y.data, 0x5a, bytes);
        memcpy(before, s.y.data, bytes);
        status = slot_fwd(&s, q->pass[i]);
        q->y_changed[comm->rank] += bytes > 0 && memcmp(before, s.y.data, bytes) != 0;
        free(before);
    }
    slot_close(&s);
    rank_close(&r);
    return status;
}

static struct answer after_passes(const struct problem *p, const struct batch *b, const struct layout *l,
                                  const enum sy_pass *pass, int n, int y_changes) {
    struct answer out = answer_of(p, b);
    struct passes q = {.p = p, .b = b, .l = l, .pass = pass, .n = n, .out = &out};
    if (on_ranks(l->ranks, passes_rank, &q) != SY_OK)
        fail_msg("%s", sy_error_message());
    sum_counts(&out, l->ranks);
    for (int r = 0; r < l->ranks; r++)
        assert_int_equal(q.y_changed[r], sequences_of(l, r) > 0 ? y_changes : 0);
    return out;
}

static void counts_and_losses_are_of_training_alone(void **state) {
    (void)state;
    static const enum sy_pass train[] = {SY_PASS_TRAIN};
    static const enum sy_pass more[] = {SY_PASS_EVAL, SY_PASS_TRAIN, SY_PASS_RECOMPUTE, SY_PASS_RECOMPUTE,
                                        SY_PASS_EVAL};
    static const enum sy_pass counting[] = {SY_PASS_TRAIN,
                                            SY_PASS_TRAIN}; /* a recompute that counts would be this */
    for (int ranks = 1; ranks <= 4; ranks++) {
        struct batch b;
        struct problem p = make(SY_NUMERIC_X86, 0, RANDOM, &b);
        struct layout l = lay(ranks, B, 1);
        struct answer once = after_passes(&p, &b, &l, train, 1, 1),
                      again = after_passes(&p, &b, &l, more, 5, 3);
        struct answer doubled = after_passes(&p, &b, &l, counting, 2, 2);
        float sum = 0;
        for (int e = 0; e < E; e++)
            sum += once.v[COUNTS][e];
        assert_true(sum == (float)(B * S * K));
        assert_int_equal(first_difference(&once, &again, COUNTS), -1);
        assert_memory_equal(once.loss, again.loss, sizeof once.loss);
        assert_true(first_difference(&once, &doubled, COUNTS) >= 0); /* the negative control */
        for (int r = 0; r < ranks; r++)
            for (int i = 0; i < 2; i++)
                assert_int_equal(doubled.loss[r][i], 2 * once.loss[r][i]);
        answer_free(&once);
        answer_free(&again);
        answer_free(&doubled);
        batch_free(&b);
        problem_free(&p);
    }
}

/* --- the check ------------------------------------------------------------------------------------------ */

struct
    /* a gate weight of (expert 0, input 0) changes on one rank after forward; or there the expert bias */
    fault {
    const struct problem *p;
    const struct batch *b;
    struct layout l;
    enum keep keep;
    int check, bad;
    float change;
    const float *other_bias; /* or NULL */
    struct answer *out;
    int64_t changed[MAX_RANKS][3]; /* as the tallies say */
    int64_t again[MAX_RANKS];      /* with the weights of forward */
};

static sy_status fault_rank(const struct sy_comm *comm, void *arg) {
    struct fault *q = arg;
    static const struct setup setup = {.tier = "auto", .threads = 1};
    struct rank r;
    struct slot s;
    sy_status status = rank_open(&r, comm, q->p, &setup, most_sequences(&q->l), q->l.rounds, B);
    if (status == SY_OK)
        status = slot_open(&s, &r, q->b, &q->l, q->out, q->keep, q->check);
    if (status != SY_OK)
        abort();
    status = slot_fwd(&s, SY_PASS_TRAIN);
    float good = get(r.x.dtype, r.stored[0], 0);
    const float *bias = r.w.expert_bias;
    if (comm->rank == q->bad && q->other_bias)
        r.w.expert_bias = q->other_bias;
    if (comm->rank == q->bad)
        put(r.x.dtype, r.stored[0], 0, model_bf(q->p->cls, good + q->change));
    if (status == SY_OK)
        status = slot_fwd(&s, SY_PASS_RECOMPUTE);
    memcpy(q->changed[comm->rank], s.tally.changed, sizeof s.tally.changed);
    put(r.x.dtype, r.stored[0], 0, good);
    r.w.expert_bias = bias;
    if (status == SY_OK)
        status = slot_fwd(&s, SY_PASS_RECOMPUTE); /* the same weights again: no complaint */
    q->again[comm->rank] = s.tally.changed[0];
    if (status == SY_OK)
        status = slot_bwd(&s);
    slot_close(&s);
    rank_close(&r);
    return status;
}

/* change 8: expert 0 is now chosen; forced: the ids cannot change, a weight does. */
static void fault_on(enum sy_numeric_class cls, int ranks, int bad, enum keep keep, int check, int forced) {
    struct batch b;
    struct problem p = make(cls, 0, forced ? FORCED_OPEN : RANDOM, &b);
    struct answer out = answer_of(&p, &b);
    int64_t number[MAX_SEQUENCES];
    struct fault q = {
        .p = &p, .b = &b, .l = lay(ranks, B, 0), .keep = keep, .check = check, .bad = bad, .out = &out};
    q.change = forced ? 0.0625f : 8.0f;
    int64_t n = numbers_of(&q.l, bad, number), token = (n - 1) * S + 2;
    for (int64_t t = 0; t < B * S;
         t++) /* position 2 of a sequence: routes 6, 7, 8 of forced balance, expert 0 among them */
        b.x[t * p.d] = t == number[n - 1] * S + 2 ? 1.0f : 0.0f;
    if (on_ranks(ranks, fault_rank, &q) != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int r = 0; r < ranks; r++) {
        assert_int_equal(q.changed[r][0], check && r == bad ? token : SY_NO_TOKEN);
        assert_int_equal(q.again[r], SY_NO_TOKEN);
    }
    answer_free(&out);
    batch_free(&b);
    problem_free(&p);
}

static void a_changed_gate_is_found(void **state) {
    (void)state;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int ranks = 1; ranks <= (is_quick() ? 2 : 4); ranks++)
            for (int bad = 0; bad < ranks; bad++)
                for (int forced = 0; forced < 2; forced++)
                    fault_on((enum sy_numeric_class)cls, ranks, bad, bad % 2 ? KEEP_ROWS : KEEP_NOTHING, 1,
                             forced);
}

/* Other experts with the same weights: all scores are tied, and the bias chooses others. */
static void a_changed_choice_is_found(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 3; ranks++) {
        struct batch b;
        struct problem p = make(SY_NUMERIC_X86, 0, TIED, &b);
        struct answer out = answer_of(&p, &b);
        const float other[E] = {0, 0, 1, 2, 3};
        struct fault q = {.p = &p,
                          .b = &b,
                          .l = lay(ranks, B, 0),
                          .keep = KEEP_NOTHING,
                          .check = 1,
                          .bad = ranks - 1,
                          .out = &out};
        q.other_bias = other;
        if (on_ranks(ranks, fault_rank, &q) != SY_OK)
            fail_msg("%s", sy_error_message());
        for (int r = 0; r < ranks; r++) {
            assert_int_equal(q.changed[r][0], r == q.bad ? 0 : SY_NO_TOKEN);
            assert_true(r != q.bad || (q.changed[r][1] == 0 && q.changed[r][2] == 2)); /* experts: was, is */
        }
        answer_free(&out);
        batch_free(&b);
        problem_free(&p);
    }
}

static void without_the_check_nothing_is_compared(void **state) {
    (void)state;
    fault_on(SY_NUMERIC_X86, 1, 0, KEEP_NOTHING, 0, 0);
    fault_on(SY_NUMERIC_X86, 3, 1, KEEP_NOTHING, 0, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_and_kept_give_the_bits_of_none),
        cmocka_unit_test(counts_and_losses_are_of_training_alone),
        cmocka_unit_test(a_changed_gate_is_found),
        cmocka_unit_test(a_changed_choice_is_found),
        cmocka_unit_test(without_the_check_nothing_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
