/* The MoE layer by itself, through switchyard.h. Laws, compared with ==: experts spread over 2, 3 and 4
 * ranks, in rounds, with any recompute, give y, dx and every gradient of one rank; micro-batches interleave;
 * a leaf is added to what is there; given routes, in any order, give what the router's own gave; counts and
 * losses are counted once. In class fp32 the gradients are those of finite differences. Misuse:
 * test_moe_misuse.c.
 *
 * Checks on ranks are counted and asserted after the threads are gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "moe_public_problem.h"

struct answer {
    float y[T * D], dx[T * D], w[T * MOST_K], bias[MOST_E];
    int32_t ids[T * MOST_K];
    int64_t counts[RANKS][MOST_E];
    struct tensors grads[RANKS]; /* experts' in the first */
    double balance[RANKS], z[RANKS];
};

/* Sequences of a rank in each round; those of the batch lie round by round, in a round rank by rank. */
enum { ROUNDS = 2 };
struct layout {
    int ranks;
    int64_t sequences[RANKS * ROUNDS]; /* [ranks, rounds] */
};
static const struct layout layouts[] = {
    {1, {6, 2}}, {2, {4, 0, 2, 2}}, {3, {1, 0, 5, 1, 0, 1}}, {4, {2, 1, 0, 0, 3, 0, 1, 1}}};

static float x[T * D], dy[T * D];
static struct tensors weights;

struct job {
    const struct problem *problem;
    const struct layout *layout;
    const char *cls;
    enum sy_moe_recompute recompute;
    int plant; /* a rank's rounds swapped: must be seen */
    struct answer *out;
    int wrong[RANKS]; /* checks that failed, of each rank */
    char what[RANKS][512];
};

#define CHECK(holds)                                                                        \
    do {                                                                                    \
        if (!(holds) && !j->wrong[rank]++)                                                  \
            snprintf(j->what[rank], sizeof j->what[rank], "line %d: %s", __LINE__, #holds); \
    } while (0)
#define MUST(call)                  \
    do {                            \
        sy_status status_ = (call); \
        if (status_ != SY_OK)       \
            return status_;         \
    } while (0)

/* Copies the rows of this rank's sequences from the batch, or (back) to it. */
static void rows(const struct layout *l, int rank, size_t row_bytes, void *batch, void *mine, int back) {
    size_t bytes = S * row_bytes, b = 0, m = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int r = 0; r < l->ranks; r++)
            for (int64_t i = 0; i < l->sequences[r * ROUNDS + round]; i++, b++)
                if (r == rank) {
                    char *at = (char *)batch + b * bytes, *own = (char *)mine + m++ * bytes;
                    memcpy(back ? at : own, back ? own : at, bytes);
                }
}

struct room { /* a rank's own */
    float x[T * D], dy[T * D], y[T * D], dx[T * D], other[T * D], w[T * MOST_K];
    int32_t ids[T * MOST_K];
    struct tensors scrap;
};

static sy_status passes(struct sy_moe *moe, struct job *j, int rank, struct room *m,
                        const struct sy_moe_batch *b) {
    const struct problem *p = j->problem;
    int64_t first, n, n_values = b->n_sequences * S * D;
    sy_moe_experts(moe, &first, &n);
    struct sy_moe_tensors w = view(p, &weights, first), scrap = view(p, &m->scrap, 0);
    struct sy_moe_tensors g = view(p, &j->out->grads[rank], 0), e = view(p, &j->out->grads[0], first);
    g.w1 = e.w1;
    g.w3 = e.w3;
    g.w2 = e.w2;
    MUST(sy_moe_set_weights(moe, &w, 7));
    struct sy_moe_batch plain = *b;
    plain.ids_out = NULL;
    plain.w_out = NULL;
    MUST(sy_moe_forward(moe, 1, b, m->x, m->y));
    sy_moe_counts(moe, j->out->counts[rank]);
    sy_moe_losses(moe, &j->out->balance[rank], &j->out->z[rank]);
    if (j->recompute) { /* with every slot taken */
        MUST(sy_moe_forward(moe, 0, &plain, m->dy, m->other));
        MUST(sy_moe_eval(moe, &plain, m->x, m->other));
    } else {
        MUST(sy_moe_eval(moe, &plain, m->x, m->other));
        MUST(sy_moe_forward(moe, 0, &plain, m->dy, m->dx));
    }
    CHECK(memcmp(m->other, m->y, (size_t)n_values * sizeof(float)) == 0);
    MUST(sy_moe_backward(moe, 1, m->dy, m->dx, &g));
    MUST(sy_moe_backward(moe, 0, m->x, NULL, &scrap));
    sy_moe_discard(moe);
    MUST(sy_moe_forward(moe, 0, &plain, m->x, m->other)); /* the same call, in place, gives the same */
    memcpy(m->other, m->dy, sizeof m->other);
    MUST(sy_moe_backward(moe, 0, m->other, m->other, NULL));
    CHECK(memcmp(m->other, m->dx, (size_t)n_values * sizeof(float)) == 0);
    if (j->recompute != SY_MOE_RECOMPUTE_FULL)
        CHECK(counter(moe, "a2a_in_backward") == 0);
    else
        CHECK((counter(moe, "a2a_in_backward") > 0) == (j->layout->ranks > 1));
    CHECK(counter(moe, "counts_exchanged") == 0 || !p->forced);
    int64_t counts[MOST_E];
    sy_moe_counts(moe, counts);
    CHECK(memcmp(counts, j->out->counts[rank], (size_t)p->experts * sizeof *counts) == 0);
    return sy_moe_update_bias(moe);
}

static sy_status rank_main(const struct sy_comm *comm, void *arg) {
    struct job *j = arg;
    const struct layout *l = j->layout;
    int rank = comm ? sy_comm_rank(comm) : 0;
    struct room *m = calloc(1, sizeof *m);
    struct sy_config *config = config_of(j->problem->options);
    struct sy_moe_options options = options_of(j->problem, j->cls);
    struct sy_moe *moe = NULL;
    if (!m || !config)
        abort();
    options.recompute = j->recompute;
    options.threads = 1 + rank % 2;
    options.tier = rank % 2 ? "ref" : NULL;
    struct layout placed = *l;
    if (j->plant && l->ranks > 1) {
        placed.sequences[0] = l->sequences[1];
        placed.sequences[1] = l->sequences[0];
    }
    const int64_t *of = &placed.sequences[rank * ROUNDS];
    struct sy_moe_batch batch = {.n_sequences = of[0] + of[1],
                                 .rounds = ROUNDS,
                                 .sequences = j->problem->forced ? placed.sequences : of,
                                 .known = j->problem->forced,
                                 .ids_out = m->ids,
                                 .w_out = m->w};
    size_t k = (size_t)j->problem->top_k;
    rows(l, rank, D * sizeof(float), x, m->x, 0);
    rows(l, rank, D * sizeof(float), dy, m->dy, 0);
    sy_status status = sy_moe_create(config, &options, comm, &moe);
    sy_config_destroy(config); /* it may go */
    if (status == SY_OK)
        status = passes(moe, j, rank, m, &batch);
    rows(l, rank, D * sizeof(float), j->out->y, m->y, 1);
    rows(l, rank, D * sizeof(float), j->out->dx, m->dx, 1);
    rows(l, rank, k * sizeof(float), j->out->w, m->w, 1);
    rows(l, rank, k * sizeof(int32_t), j->out->ids, m->ids, 1);
    if (status == SY_OK && rank == 0)
        sy_moe_expert_bias(moe, j->out->bias); /* or there is none */
    sy_moe_destroy(moe);
    free(m);
    return status;
}

static void run(struct job *j) {
    *j->out = (struct answer){0};
    sy_status status =
        j->layout->ranks > 1 ? sy_comm_threads_run(j->layout->ranks, rank_main, j) : rank_main(NULL, j);
    if (status != SY_OK)
        fail_msg("%s, %s, %d ranks: %s", j->problem->name, j->cls, j->layout->ranks, sy_error_message());
    for (int r = 0; r < j->layout->ranks; r++)
        if (j->wrong[r])
            fail_msg("%s, %s, rank %d of %d: %s", j->problem->name, j->cls, r, j->layout->ranks, j->what[r]);
}

/* Gate and shared gradients of one rank's tokens, by a layer alone. */
static void dense_alone(const struct problem *p, const char *cls, const struct layout *l, int rank,
                        struct tensors *grads) {
    static float own_x[T * D], own_dy[T * D], y[T * D];
    struct sy_config *config = config_of(p->options);
    struct sy_moe_options options = options_of(p, cls);
    struct sy_moe_tensors w = view(p, &weights, 0), g = view(p, grads, 0);
    struct sy_moe_batch batch = {.n_sequences =
                                     l->sequences[rank * ROUNDS] + l->sequences[rank * ROUNDS + 1]};
    struct sy_moe *moe;
    memset(grads, 0, sizeof *grads);
    rows(l, rank, D * sizeof(float), x, own_x, 0);
    rows(l, rank, D * sizeof(float), dy, own_dy, 0);
    assert_int_equal(sy_moe_create(config, &options, NULL, &moe), SY_OK);
    assert_int_equal(sy_moe_set_weights(moe, &w, 0), SY_OK);
    assert_int_equal(sy_moe_forward(moe, 0, &batch, own_x, y), SY_OK);
    assert_int_equal(sy_moe_backward(moe, 0, own_dy, NULL, &g), SY_OK);
    sy_moe_destroy(moe);
    sy_config_destroy(config);
}

static void expect_same(const struct job *j, const struct answer *one) {
    static struct tensors alone;
    const struct answer *a = j->out;
    const char *where = j->problem->name, *which;
    int ranks = j->layout->ranks;
    size_t routes = (size_t)(T * j->problem->top_k);
    int64_t sum[MOST_E] = {0};
    double balance = 0, z = 0;
    if (memcmp(a->y, one->y, sizeof a->y) != 0 || memcmp(a->dx, one->dx, sizeof a->dx) != 0)
        fail_msg("%s, %s, %d ranks: y or dx differs", where, j->cls, ranks);
    if (memcmp(a->ids, one->ids, routes * sizeof *a->ids) != 0 ||
        memcmp(a->w, one->w, routes * sizeof *a->w) != 0)
        fail_msg("%s, %s, %d ranks: routes differ", where, j->cls, ranks);
    if ((which = differs(&a->grads[0], &one->grads[0], 1)) != NULL)
        fail_msg("%s, %s, %d ranks: gradient of %s differs", where, j->cls, ranks, which);
    assert_memory_equal(a->bias, one->bias, sizeof a->bias);
    for (int r = 0; r < ranks; r++) {
        for (int e = 0; e < MOST_E; e++)
            sum[e] += a->counts[r][e];
        balance += a->balance[r];
        z += a->z[r];
        dense_alone(j->problem, j->cls, j->layout, r, &alone);
        if ((which = differs(&a->grads[r], &alone, 0)) != NULL)
            fail_msg("%s, %s, rank %d of %d: gradient of %s differs", where, j->cls, r, ranks, which);
    }
    assert_memory_equal(sum, one->counts[0], sizeof sum);
    assert_true(balance == one->balance[0] && z == one->z[0]); /* multiples of 2^-27: exact */
    assert_int_equal(balance != 0 && z != 0, j->problem->losses);
}

static void test_ranks(void **state) {
    (void)state;
    static struct answer one, many;
    static const char *const cls[] = {"x86", "fp32", "sm90", "amx"};
    for (int i = 0; i < N_PROBLEMS; i++)
        for (int c = 0; c < 4; c++) {
            struct job j = {.problem = &problems[i], .layout = &layouts[0], .cls = cls[c], .out = &one};
            run(&j);
            for (int l = 0; l < 4; l++)
                for (int recompute = 0; recompute < 3; recompute++) {
                    if ((getenv("QUICK") || c == 2) && (l + recompute) % 3)
                        continue;
                    struct job k = {&problems[i], &layouts[l], cls[c], (enum sy_moe_recompute)recompute, 0,
                                    &many,        {0},         {""}};
                    run(&k);
                    expect_same(&k, &one);
                }
        }
}

/* Rank 0's two rounds in the wrong order: expert gradients must tell. */
static void test_plant(void **state) {
    (void)state;
    static struct answer one, many;
    struct job j = {.problem = &problems[1], .layout = &layouts[0], .cls = "fp32", .out = &one};
    run(&j);
    struct job k = {.problem = &problems[1], .layout = &layouts[1], .cls = "fp32", .plant = 1, .out = &many};
    run(&k);
    assert_non_null(differs(&one.grads[0], &many.grads[0], 1));
}

int main(void) {
    fill(x, T * D, 11, 1.0f);
    fill(dy, T * D, 12, 1.0f);
    fill_weights(&weights);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranks), cmocka_unit_test(test_plant)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
