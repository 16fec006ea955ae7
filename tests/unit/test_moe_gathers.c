/* The MoE layer with ops that take rows by name, as a GPU's do: the bits of the layer that copies them, kept
 * and recomputed, with padding between segments. On one rank with weights behind the experts no copy is made
 * in forward; with weights before them, and over ranks, rows are copied as ever.
 */
#include "moe_harness.h"
#include "moe_routing.h"

enum { S = 7, B = 5, E = 6, K = 3 };

struct run {
    struct job job;
    int copies[MAX_RANKS]; /* whether a layer has rows of its own */
};

static sy_status run_rank(const struct sy_comm *comm, void *arg) {
    struct run *q = arg;
    struct rank r;
    struct slot s;
    job_open(&q->job, comm, &r, &s);
    sy_status status = slot_fwd(&s, SY_PASS_TRAIN);
    if (status == SY_OK && q->job.keep != KEEP_ALL)
        status = slot_fwd(&s, SY_PASS_RECOMPUTE);
    if (status == SY_OK)
        status = slot_bwd(&s);
    q->copies[comm->rank] = s.act.x.data != NULL;
    slot_close(&s);
    rank_close(&r);
    return status;
}

static struct answer answer_with(struct run *q, int ranks) {
    struct answer out = answer_of(q->job.p, q->job.b);
    q->job.out = &out;
    if (on_ranks(ranks, run_rank, q) != SY_OK)
        fail_msg("%s", sy_error_message());
    return out;
}

static void both_ways(const struct problem *p, const struct batch *b, int ranks, enum keep keep,
                      int segment) {
    struct layout l = ranks == 1 ? one_process(B) : lay(ranks, B, 1);
    struct setup copies = {.tier = "auto", .segment = segment}, names = copies;
    names.gathers = 1;
    struct run q[2] = {{.job = {.p = p, .b = b, .l = &l, .s = &copies, .keep = keep}},
                       {.job = {.p = p, .b = b, .l = &l, .s = &names, .keep = keep}}};
    calls_by_name = 0;
    struct answer want = answer_with(&q[0], ranks);
    assert_int_equal(calls_by_name, 0);
    struct answer got = answer_with(&q[1], ranks);
    const char *d = difference(&got, &want);
    if (d)
        fail_msg("class %s, %d ranks, keep %d: %s", sy_class_name(p->cls), ranks, keep, d);
    int gathers = ranks == 1 && !p->config.score_before_experts;
    assert_int_equal(calls_by_name, !gathers ? 0 : keep == KEEP_ALL ? 1 : 2);
    for (int r = 0; r < ranks; r++) {
        assert_int_equal(q[0].copies[r], 1);
        assert_int_equal(q[1].copies[r], !gathers);
    }
    answer_free(&want);
    answer_free(&got);
}

static void by_name_as_copied(void **state) {
    (void)state;
    static const enum routing routings[] = {RANDOM, FORCED_OPEN, GIVEN_WEIGHTS};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int before = 0; before < 2; before++)
            for (int i = 0; i < 3; i++) {
                struct problem p = problem_of((enum sy_numeric_class)cls, E, K, S);
                p.config.score_before_experts = before;
                p.config.num_shared_experts = i == 1;
                problem_fill(&p, 9100);
                struct batch b = batch_of(&p, B, 9200);
                route_as(routings[i], &p, &b);
                for (int keep = KEEP_ALL; keep <= KEEP_NOTHING; keep++)
                    both_ways(&p, &b, 1, (enum keep)keep, i == 2 ? 1 : 16);
                both_ways(&p, &b, 3, KEEP_ALL, 1);
                batch_free(&b);
                problem_free(&p);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_name_as_copied)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
