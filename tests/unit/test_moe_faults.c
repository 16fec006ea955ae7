/* What is found in the middle of a call of the MoE layer by itself, over ranks: NaN logits, in the lowest
 * rank that has one, and a recompute that takes other routes. The call ends on all ranks with the token's
 * name, the caller's arrays and what is counted are as before, and the next call is as if it had not
 * been.
 *
 * Checks on ranks are counted and asserted after the threads are gone.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "layerapi/layerapi.h"
#include "moe_public_problem.h"

static float x[T * D], dy[T * D];
static struct tensors weights;

struct job {
    int ranks, bad;  /* the rank */
    unsigned nan_on; /* ranks with a NaN, a bit each */
    enum sy_moe_recompute recompute;
    int eval;
    int wrong[RANKS];
    char what[RANKS][600];
};

#define CHECK(holds)                                                                            \
    do {                                                                                        \
        if (!(holds) && !j->wrong[rank]++)                                                      \
            snprintf(j->what[rank], sizeof j->what[rank], "line %d: %s (%s)", __LINE__, #holds, \
                     sy_error_message());                                                       \
    } while (0)

struct room { /* a rank's own; two sequences */
    float x[2 * S * D], y[2 * S * D], want[2 * S * D], dx[2 * S * D], want_dx[2 * S * D];
    int32_t ids[2 * S * MOST_K];
    struct tensors grads, want_grads, before;
};

static void is_counted(struct job *j, const struct sy_moe *moe, int rank, int64_t routes) {
    int64_t counts[MOST_E], sum = 0;
    double balance, z;
    sy_moe_counts(moe, counts);
    sy_moe_losses(moe, &balance, &z);
    for (int e = 0; e < problems[2].experts; e++)
        sum += counts[e];
    CHECK(sum == routes);
    CHECK((balance > 0) == (routes > 0) && (z > 0) == (routes > 0));
}

/* Of rank `from`; on the others behind its name. */
static void is_from(struct job *j, int rank, int from, const char *want) {
    char name[40];
    snprintf(name, sizeof name, "rank %d: ", from);
    CHECK(strstr(sy_error_message(), want));
    CHECK((strncmp(sy_error_message(), name, strlen(name)) == 0) == (rank != from && j->ranks > 1));
}

/* --- NaN --------------------------------------------------------------------------------------- */

static sy_status call(const struct job *j, struct sy_moe *moe, const struct sy_moe_batch *b, const float *in,
                      float *out) {
    return j->eval ? sy_moe_eval(moe, b, in, out) : sy_moe_forward(moe, 1, b, in, out);
}

static void nan_calls(struct job *j, struct sy_moe *moe, int rank, struct room *m) {
    struct sy_moe_batch b = {.n_sequences = 2}, out = {.n_sequences = 2, .ids_out = m->ids};
    int64_t routes = 2 * S * problems[2].top_k;
    int lowest = 0;
    memcpy(m->x, x + rank * 2 * S * D, sizeof m->x);
    CHECK(call(j, moe, &b, m->x, m->want) == SY_OK);
    is_counted(j, moe, rank, j->eval ? 0 : routes);
    if (!j->eval)
        CHECK(sy_moe_backward(moe, 1, dy, NULL, NULL) == SY_OK);
    memset(m->y, 0x55, sizeof m->y);
    memset(m->ids, 0x55, sizeof m->ids);
    memcpy(m->want_dx, m->y, sizeof m->y);
    if (j->nan_on >> rank & 1) { /* two tokens: the lower one is named */
        m->x[(S + 4 + rank) * D + 3] = NAN;
        m->x[(S + 3 + rank) * D] = NAN;
    }
    while (!(j->nan_on >> lowest & 1))
        lowest++;
    char want[100];
    snprintf(want, sizeof want, "token %d of the batch (sequence 1, position %d) has a NaN logit",
             S + 3 + lowest, 3 + lowest);
    CHECK(call(j, moe, &out, m->x, m->y) == SY_ERR_NONFINITE);
    is_from(j, rank, lowest, want);
    CHECK(memcmp(m->y, m->want_dx, sizeof m->y) == 0);
    CHECK(memcmp(m->ids, m->want_dx, sizeof m->ids) == 0);
    is_counted(j, moe, rank, j->eval ? 0 : routes);
    CHECK(sy_moe_backward(moe, 1, dy, NULL, NULL) == SY_ERR_USAGE); /* it does not wait */
    memcpy(m->x, x + rank * 2 * S * D, sizeof m->x);
    CHECK(call(j, moe, &b, m->x, m->y) == SY_OK);
    CHECK(memcmp(m->y, m->want, sizeof m->y) == 0);
    is_counted(j, moe, rank, j->eval ? 0 : 2 * routes);
}

/* --- recompute --------------------------------------------------------------------------------- */

/* The stored gate of this rank turned upside down, and back. */
static void negate_gate(struct sy_moe *moe, const struct problem *p) {
    float *gate = moe->gate.data; /* class fp32, and a CPU's memory */
    for (int i = 0; i < p->experts * D; i++)
        gate[i] = -gate[i];
}

static sy_status backward(const struct problem *p, struct sy_moe *moe, const float *d, float *dx,
                          struct tensors *grads) {
    struct sy_moe_tensors g = view(p, grads, 0);
    return sy_moe_backward(moe, 1, d, dx, &g);
}

static void recompute_calls(struct job *j, struct sy_moe *moe, int rank, struct room *m) {
    const struct problem *p = &problems[2];
    struct sy_moe_batch b = {.n_sequences = 2};
    const float *in = x + rank * 2 * S * D, *d = dy + rank * 2 * S * D;
    CHECK(sy_moe_forward(moe, 1, &b, in, m->want) == SY_OK);
    CHECK(backward(p, moe, d, m->want_dx, &m->want_grads) == SY_OK);
    CHECK(sy_moe_forward(moe, 1, &b, in, m->y) == SY_OK);
    memset(m->dx, 0x55, sizeof m->dx);
    memset(&m->before, 0, sizeof m->before);
    memcpy(m->y, m->dx, sizeof m->y);
    if (rank == j->bad)
        negate_gate(moe, p);
    CHECK(backward(p, moe, d, m->dx, &m->grads) == SY_ERR_RUNTIME);
    is_from(j, rank, j->bad, "recompute differs from forward at token 0 of the batch: expert ");
    CHECK(memcmp(m->dx, m->y, sizeof m->dx) == 0);
    CHECK(memcmp(&m->grads, &m->before, sizeof m->grads) == 0);
    if (rank == j->bad)
        negate_gate(moe, p);
    CHECK(backward(p, moe, d, m->dx, &m->grads) == SY_OK); /* it still waits */
    CHECK(memcmp(m->dx, m->want_dx, sizeof m->dx) == 0);
    CHECK(memcmp(&m->grads, &m->want_grads, sizeof m->grads) == 0);
}

/* --- ranks ------------------------------------------------------------------------------------- */

static sy_status rank_main(const struct sy_comm *comm, void *arg) {
    struct job *j = arg;
    int rank = comm ? sy_comm_rank(comm) : 0;
    struct room *m = calloc(1, sizeof *m);
    struct sy_config *config = config_of(problems[2].options);
    struct sy_moe_options o = options_of(&problems[2], j->nan_on ? "x86" : "fp32");
    struct sy_moe *moe = NULL;
    int64_t first, n;
    if (!m || !config)
        abort();
    o.recompute = j->recompute;
    sy_status status = sy_moe_create(config, &o, comm, &moe);
    if (status == SY_OK) {
        sy_moe_experts(moe, &first, &n);
        struct sy_moe_tensors w = view(&problems[2], &weights, first);
        status = sy_moe_set_weights(moe, &w, 0); /* read where they are stored */
    }
    if (status == SY_OK && j->nan_on)
        nan_calls(j, moe, rank, m);
    else if (status == SY_OK)
        recompute_calls(j, moe, rank, m);
    sy_moe_destroy(moe);
    sy_config_destroy(config);
    free(m);
    return status;
}

static void run(struct job *j) {
    sy_status status = j->ranks > 1 ? sy_comm_threads_run(j->ranks, rank_main, j) : rank_main(NULL, j);
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int r = 0; r < j->ranks; r++)
        if (j->wrong[r])
            fail_msg("rank %d of %d, NaN on %x, recompute %d, eval %d: %s", r, j->ranks, j->nan_on,
                     (int)j->recompute, j->eval, j->what[r]);
}

static void test_nan_logits(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= RANKS; ranks++)
        for (unsigned on = 1; on < 1u << ranks; on++) {
            struct job j = {.ranks = ranks, .nan_on = on, .recompute = (enum sy_moe_recompute)(on % 3)};
            for (j.eval = 0; j.eval < 2; j.eval++)
                run(&j);
        }
}

static void test_recompute_that_differs(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= RANKS; ranks++)
        for (int bad = 0; bad < ranks; bad++)
            for (int recompute = SY_MOE_RECOMPUTE_ROWS; recompute <= SY_MOE_RECOMPUTE_FULL; recompute++) {
                struct job j = {.ranks = ranks, .bad = bad, .recompute = (enum sy_moe_recompute)recompute};
                run(&j);
            }
}

int main(void) {
    fill(x, T * D, 11, 1.0f);
    fill(dy, T * D, 12, 1.0f);
    fill_weights(&weights);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nan_logits),
                                       cmocka_unit_test(test_recompute_that_differs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
