/* Handles of the MoE layer are values: four micro-batches of different layouts in flight with one scratch, a
 * recompute between, backward in another order, must give each the bits that it has alone. And a NaN leaves
 * nothing behind: a NaN logit runs through on all ranks, the tally of its rank alone names the token, and the
 * next call is as if it had not been.
 */
#include "moe_harness.h"
#include "moe_routing.h"

enum { N = 4, S = 6 };

struct interleaved {
    struct problem p;
    struct batch b[N];
    struct layout l[N];
    struct answer out[N];
    struct setup s;
    enum keep keep;
    const int *order; /* of backward */
    int64_t bad_token[MAX_RANKS];
};

static int64_t most_of(const struct interleaved *q) {
    int64_t most = 1;
    for (int i = 0; i < N; i++)
        most = most_sequences(&q->l[i]) > most ? most_sequences(&q->l[i]) : most;
    return most;
}

static sy_status interleaved_rank(const struct sy_comm *comm, void *arg) {
    struct interleaved *q = arg;
    struct rank r;
    struct slot s[N];
    sy_status status = rank_open(&r, comm, &q->p, &q->s, most_of(q), 3, 8);
    for (int i = 0; i < N && status == SY_OK; i++)
        status = slot_open(&s[i], &r, &q->b[i], &q->l[i], &q->out[i], q->keep, 1);
    if (status != SY_OK)
        abort();
    for (int i = 0; i < N && status == SY_OK; i++)
        status = slot_fwd(&s[i], SY_PASS_TRAIN);
    for (int i = 0; i < N && status == SY_OK; i++) {
        int m = q->order[i];
        if (q->keep != KEEP_ALL || m == 1) /* 1 is made again in any case: nothing says that it must not */
            status = slot_fwd(&s[m], SY_PASS_RECOMPUTE);
        if (status == SY_OK && i + 1 < N && q->keep != KEEP_ALL)
            status = slot_fwd(&s[q->order[i + 1]],
                              SY_PASS_RECOMPUTE); /* the next one's before this one's backward */
        if (status == SY_OK)
            status = slot_bwd(&s[m]);
    }
    for (int i = 0; i < N; i++)
        slot_close(&s[i]);
    rank_close(&r);
    return status;
}

static void make(struct interleaved *q, enum sy_numeric_class cls, int ranks, int before, enum keep keep,
                 int scatter) {
    static const int order[N] = {2, 1, 3, 0};
    *q = (struct interleaved){.keep = keep, .order = order};
    q->s = (struct setup){.tier = "auto", .threads = 1, .pad = before, .scatter = scatter, .max_rounds = 3};
    q->p = problem_of(cls, 7, 3, S);
    q->p.config.score_before_experts = before;
    q->p.config.num_shared_experts = 1;
    q->p.config.shared_gate = true;
    problem_fill(&q->p, 50);
    for (int i = 0; i < N; i++) {
        q->b[i] = batch_of(&q->p, 3 + i, (uint64_t)(60 + 20 * i));
        q->l[i] = ranks == 1 ? one_process(3 + i) : lay_anyhow(ranks, 1 + i % 3, 3 + i, (uint64_t)i);
        q->out[i] = answer_of(&q->p, &q->b[i]);
    }
}

static void drop(struct interleaved *q) {
    for (int i = 0; i < N; i++) {
        answer_free(&q->out[i]);
        batch_free(&q->b[i]);
    }
    problem_free(&q->p);
}

static void interleave(enum sy_numeric_class cls, int ranks, int before, enum keep keep, int scatter) {
    static const struct setup plain = {.tier = "auto", .threads = 1};
    struct interleaved q;
    make(&q, cls, ranks, before, keep, scatter);
    if (on_ranks(ranks, interleaved_rank, &q) != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int i = 0; i < N; i++) {
        struct layout one = one_process(q.b[i].sequences);
        struct job j = {.p = &q.p, .b = &q.b[i], .l = &one, .s = &plain};
        struct answer alone;
        job_run(&j, &alone);
        sum_counts(&q.out[i], ranks);
        const char *d = difference(&q.out[i], &alone);
        if (d)
            fail_msg("class %s, %d ranks, before %d, keep %d, scatter %d: micro-batch %d: %s",
                     sy_class_name(cls), ranks, before, (int)keep, scatter, i, d);
        answer_free(&alone);
    }
    drop(&q);
}

static void four_micro_batches(void **state) {
    (void)state;
    static const int ranks[] = {1, 3, 5};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 3; i++)
            for (int before = 0; before < 2; before++)
                for (int keep = KEEP_ALL; keep <= KEEP_NOTHING; keep++)
                    if (!is_quick() || (i > 0 && keep != KEEP_ALL && cls == (i + before + keep) % 3))
                        interleave((enum sy_numeric_class)cls, ranks[i], before, (enum keep)keep,
                                   (cls + i + keep) % 2);
}

/* --- failures ------------------------------------------------------------------------------------------- */

static sy_status failing_rank(const struct sy_comm *comm, void *arg) {
    struct interleaved *q = arg;
    struct rank r;
    struct slot s[2];
    sy_status status = rank_open(&r, comm, &q->p, &q->s, most_of(q), 3, 8);
    for (int i = 0; i < 2 && status == SY_OK; i++)
        status = slot_open(&s[i], &r, &q->b[i], &q->l[i], &q->out[i], KEEP_ALL, 0);
    if (status != SY_OK)
        abort();
    status = slot_fwd(&s[0], SY_PASS_TRAIN);
    q->bad_token[comm->rank] = s[0].tally.bad_token;
    if (status == SY_OK)
        status = slot_bwd(&s[0]);
    if (status == SY_OK)
        status = slot_fwd(&s[1], SY_PASS_TRAIN);
    if (status == SY_OK)
        status = slot_bwd(&s[1]);
    for (int i = 0; i < 2; i++)
        slot_close(&s[i]);
    rank_close(&r);
    return status;
}

/* Micro-batch 0 has a NaN in token `position` of the last sequence of rank `bad`, micro-batch 1 has none. */
static void nan_on(enum sy_numeric_class cls, int ranks, int bad, int64_t position) {
    struct interleaved q;
    int64_t number[MAX_SEQUENCES];
    make(&q, cls, ranks, 0, KEEP_ALL, 0);
    q.l[0] = lay(ranks, q.b[0].sequences, 1);
    if (q.l[0].of[bad][0] ==
        0) { /* a rank without tokens cannot have a NaN: the first one gives it a sequence */
        q.l[0].of[bad][0]++;
        q.l[0].of[0][0]--;
    }
    int64_t n = numbers_of(&q.l[0], bad, number), token = (n - 1) * S + position;
    q.b[0].x[(number[n - 1] * S + position) * q.p.d + 3] = NAN;
    if (on_ranks(ranks, failing_rank, &q) != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int r = 0; r < ranks; r++)
        assert_int_equal(q.bad_token[r], r == bad ? token : SY_NO_TOKEN);
    struct layout one = one_process(q.b[1].sequences);
    struct job j = {.p = &q.p, .b = &q.b[1], .l = &one, .s = &q.s};
    struct answer alone;
    job_run(&j, &alone);
    sum_counts(&q.out[1], ranks);
    assert_null(difference(&q.out[1], &alone));
    answer_free(&alone);
    drop(&q);
}

static void a_nan_logit_on_one_rank(void **state) {
    (void)state;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int ranks = 1; ranks <= 5; ranks += 2)
            for (int bad = is_quick() ? ranks / 2 : 0; bad < ranks; bad++)
                nan_on((enum sy_numeric_class)cls, ranks, bad, bad % S);
}

/* Each rank names its lowest. */
static void several_nan_logits(void **state) {
    (void)state;
    struct interleaved q;
    make(&q, SY_NUMERIC_X86, 3, 0, KEEP_ALL, 0);
    q.l[0] = lay(3, 3, 0); /* one sequence each */
    q.b[0].x[(1 * S + 4) * q.p.d] = NAN;
    q.b[0].x[(2 * S + 5) * q.p.d] = NAN;
    q.b[0].x[(2 * S + 1) * q.p.d] = NAN;
    if (on_ranks(3, failing_rank, &q) != SY_OK)
        fail_msg("%s", sy_error_message());
    assert_int_equal(q.bad_token[0], SY_NO_TOKEN);
    assert_int_equal(q.bad_token[1], 4);
    assert_int_equal(q.bad_token[2], 1);
    drop(&q);
}

/* No rank has a token; and one alone has some. */
static void nothing_to_do(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 3; ranks++)
        for (int pad = 0; pad < 2; pad++) {
            struct problem p = problem_of(SY_NUMERIC_X86, 7, 3, S);
            p.config.num_shared_experts = 1;
            problem_fill(&p, 50);
            struct batch b = batch_of(&p, 0, 60);
            struct layout l = {.ranks = ranks, .rounds = 2};
            struct setup setup = {.tier = "auto", .threads = 1, .pad = pad, .scatter = pad};
            struct job j = {.p = &p, .b = &b, .l = &l, .s = &setup, .keep = KEEP_NOTHING};
            struct answer got;
            job_run(&j, &got);
            for (int f = 0; f < N_FIELDS; f++)
                assert_false(any(got.v[f], got.n[f]));
            assert_int_equal(j.counters[0].rows_sent, 0);
            answer_free(&got);
            batch_free(&b);
            problem_free(&p);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_micro_batches),
        cmocka_unit_test(a_nan_logit_on_one_rank),
        cmocka_unit_test(several_nan_logits),
        cmocka_unit_test(nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
