/* The direct dispatch when something goes wrong: a device that fails at any wait of any rank ends the call on
 * all ranks, and none of them hangs; too many rows give none, and the tally of the rank that would have got
 * them says how many.
 */
#include <unistd.h>

#include "moe_harness.h"
#include "moe_routing.h"

enum { RANKS = 3, S = 6 };

struct fault {
    int at, waits, failed; /* the wait that fails; how many there were */
};

static sy_status faulty_wait(const struct sy_device *d) {
    struct fault *f = d->state;
    if (f->waits++ != f->at)
        return SY_OK;
    f->failed = 1;
    SY_FAIL(SY_ERR_RUNTIME, "the device failed, as planted");
}

struct trial {
    struct job j;
    struct fault fault; /* of rank `bad` */
    int bad;
    int64_t overflow[MAX_RANKS], rows[MAX_RANKS];
    sy_status status[MAX_RANKS];
    char message[MAX_RANKS][200];
};

static sy_status trial_rank(const struct sy_comm *comm, void *arg) {
    struct trial *q = arg;
    struct rank r;
    struct slot s;
    int me = comm->rank;
    job_open(&q->j, comm, &r, &s);
    if (me == q->bad) {
        r.device.state = &q->fault;
        r.device.wait = faulty_wait;
    }
    sy_status status = slot_fwd(&s, SY_PASS_TRAIN);
    q->overflow[me] = s.tally.overflow;
    q->rows[me] = *(s.exchange.received.offset + s.exchange.received.experts * s.exchange.received.sequences);
    if (status == SY_OK) /* a step goes on to its end */
        status = slot_bwd(&s);
    q->status[me] = status;
    snprintf(q->message[me], sizeof q->message[me], "%s", status == SY_OK ? "" : sy_error_message());
    status = comm->ops->agree(comm, SY_OK); /* what the others still write has its place */
    slot_close(&s);
    rank_close(&r);
    return status;
}

struct scene {
    struct problem p;
    struct batch b;
    struct layout l;
};

static struct scene scene_of(enum routing routing) {
    struct scene s = {.p = problem_of(SY_NUMERIC_X86, 6, 2, S), .l = lay(RANKS, 5, 1)};
    problem_fill(&s.p, 31);
    s.b = batch_of(&s.p, 5, 32);
    route_as(routing, &s.p, &s.b);
    s.l.known = 1;
    return s;
}

static void run(struct trial *q, struct answer *out) {
    *out = answer_of(q->j.p, q->j.b);
    q->j.out = out;
    assert_int_equal(on_ranks(RANKS, trial_rank, q), SY_OK);
}

static void test_failing_device(void **state) {
    (void)state;
    static const struct setup direct = {.tier = "auto", .threads = 1, .direct = 1};
    struct scene s = scene_of(RANDOM);
    alarm(120); /* a rank that hangs ends the test */
    for (int bad = 0; bad < RANKS; bad++) {
        int failures = 0, failed = 1;
        for (int at = 0; failed; at++) {
            struct answer got;
            struct trial q = {
                .j = {.p = &s.p, .b = &s.b, .l = &s.l, .s = &direct}, .fault = {.at = at}, .bad = bad};
            run(&q, &got);
            failed = q.fault.failed;
            failures += failed;
            for (int r = 0; r < RANKS && failed; r++)
                if (q.status[r] == SY_OK) { /* the last wait of all: the others had what they need */
                    assert_true(r != bad);
                } else if (r == bad) {
                    assert_non_null(strstr(q.message[r], "as planted"));
                } else {
                    assert_non_null(strstr(q.message[r], "of those that share experts has failed"));
                }
            answer_free(&got);
        }
        assert_true(failures >= 7); /* there and back, free, and the same in backward */
    }
    alarm(0);
    batch_free(&s.b);
    problem_free(&s.p);
}

/* Rows of this rank's experts, of the ids that were chosen. */
static int64_t rows_for(const struct scene *s, const struct answer *a, int rank) {
    int64_t first, n, rows = 0;
    sy_experts_share(s->p.config.num_experts, rank, RANKS, &first, &n);
    for (int64_t i = 0; i < s->b.sequences * S * s->p.config.top_k; i++)
        rows += (int64_t)a->v[IDS][i] >= first && (int64_t)a->v[IDS][i] < first + n;
    return rows;
}

static void test_too_many_rows(void **state) {
    (void)state;
    struct setup direct = {.tier = "auto", .threads = 1, .direct = 1};
    struct scene s = scene_of(HEAVY);
    struct answer got;
    struct trial q = {.j = {.p = &s.p, .b = &s.b, .l = &s.l, .s = &direct}, .bad = -1};
    run(&q, &got);
    int64_t rows[RANKS], most = 0;
    for (int r = 0; r < RANKS; r++) {
        rows[r] = rows_for(&s, &got, r);
        most = rows[r] > most ? rows[r] : most;
        assert_int_equal(q.status[r], SY_OK);
        assert_int_equal(q.rows[r], rows[r]);
        assert_int_equal(q.overflow[r], 0);
    }
    answer_free(&got);
    direct.max_rows = most - 1;
    struct trial tight = {.j = q.j, .bad = -1};
    run(&tight, &got);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(tight.overflow[r], rows[r] == most ? most : 0);
        assert_int_equal(tight.rows[r], rows[r] == most ? 0 : rows[r]);
    }
    answer_free(&got);
    batch_free(&s.b);
    problem_free(&s.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_device),
        cmocka_unit_test(test_too_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
