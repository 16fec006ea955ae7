/* The planted bugs do what their names say, no less and no more: each is the wrong order that it stands
 * for.
 *
 * swap_sequences: in round 0 the sequences of lanes 0 and 1 change places. shuffle_lanes: an expert's
 * leaf takes its sequences from last to first. lanes_in_turn: lanes are added one after the other, not
 * as a tree. Those of a step over ranks: at each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "switchyard.h"
#include "train/feed.h"
#include "train/plants.h"
#include "../lib/session.h"

enum { SEQ = 32 };

struct recipe {
    const char *batch, *lanes, *expert_lanes, *cell, *plant;
};

static struct sy_session *open_session(struct recipe r) {
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"training.seq_len", "32"},
                                {"training.dataset_path", "none"},
                                {"training.global_batch_size", r.batch},
                                {"training.local_batch_size", r.batch},
                                {"numerics.lanes", r.lanes},
                                {"numerics.expert_lanes", r.expert_lanes},
                                {"numerics.cell", r.cell},
                                {"numerics.class", "fp32"},
                                {"run.threads", "1"},
                                {"debug.break", r.plant}};
    return session_of(config_with(options, sizeof options / sizeof *options),
                      SY_SESSION_TRAIN | SY_SESSION_INIT);
}

/* Place k of the walk holds sequence of[k]. */
static void do_step(struct sy_session *s, const int64_t *of) {
    struct sy_step_result r;
    for (int64_t k = 0; k < s->config->training.global_batch_size; k++)
        for (int64_t t = 0; t < SEQ; t++) {
            uint64_t at = (uint64_t)(of[k] * SEQ + t);
            s->feed.ids[k * SEQ + t] = (int32_t)(sy_mix64(at) % 256);
            s->feed.labels[k * SEQ + t] = (int32_t)(sy_mix64(at + 1) % 256);
            s->feed.doc_start[k * SEQ + t] = 0;
        }
    assert_int_equal(sy_session_step_filled(s, 0, &r), SY_OK);
    assert_int_equal(r.applied, 1);
}

/* How many gradients of experts, or of the others, have other bits. */
static int other_gradients(const struct sy_session *a, const struct sy_session *b, int experts) {
    int n = 0;
    for (int i = 0; i < a->params->n_params; i++) {
        const struct sy_param *p = &a->params->param[i];
        if (p->kind == SY_PARAM_BUFFER || (p->kind == SY_PARAM_EXPERT) != experts)
            continue;
        n += memcmp(sy_gradients_root(a->gradients, i), sy_gradients_root(b->gradients, i),
                    (size_t)(p->rows * p->cols) * sizeof(float)) != 0;
    }
    return n;
}

static void swap_sequences(void **state) {
    (void)state;
    const struct recipe r = {"24", "4", "2", "2", ""};
    struct recipe planted = r;
    planted.plant = "swap_sequences";
    struct sy_session *good = open_session(r), *bad = open_session(planted);
    for (int64_t k = 0; k < 24; k++) { /* sequences 0..3 are round 0 of lanes 0 and 1, two of a cell each */
        int64_t n = sy_walk_sequence(&good->walk, k);
        assert_int_equal(sy_walk_sequence(&bad->walk, k), n < 2 ? n + 2 : n < 4 ? n - 2 : n);
    }
    close_session(good);
    close_session(bad);
    struct recipe alone = {"4", "1", "1", "1",
                           "swap_sequences"}; /* one lane has none to change places with */
    bad = open_session(alone);
    for (int64_t k = 0; k < 4; k++)
        assert_int_equal(sy_walk_sequence(&bad->walk, k), k);
    close_session(bad);
}

static void shuffle_lanes(void **state) {
    (void)state;
    const struct recipe r = {"16", "4", "2", "2", ""};
    struct recipe planted = r;
    int64_t in_order[16], reversed[16];
    planted.plant = "shuffle_lanes";
    for (int64_t k = 0; k < 16; k++) {
        in_order[k] = k;
        reversed[k] = k / 4 * 4 + 3 - k % 4; /* a leaf of experts has F W = 4 sequences */
    }
    struct sy_session *good = open_session(r), *bad = open_session(planted), *other = open_session(r);
    do_step(good, in_order);
    do_step(bad, in_order);
    do_step(other, reversed);
    assert_true(other_gradients(good, bad, 1) > 0);
    assert_int_equal(other_gradients(good, bad, 0), 0);
    assert_int_equal(other_gradients(other, bad, 1), 0);
    close_session(good);
    close_session(bad);
    close_session(other);
    const struct recipe single = {"8", "4", "1", "1", ""}; /* leaves of one sequence have one order */
    planted = single;
    planted.plant = "shuffle_lanes";
    good = open_session(single);
    bad = open_session(planted);
    do_step(good, in_order);
    do_step(bad, in_order);
    assert_int_equal(other_gradients(good, bad, 0) + other_gradients(good, bad, 1), 0);
    close_session(good);
    close_session(bad);
}

/* Differs where a tree does: from four lanes on, for experts from four groups of lanes on. */
static void lanes_in_turn(void **state) {
    (void)state;
    static const struct {
        struct recipe r;
        int dense, experts;
    } cases[] = {{{"8", "8", "1", "1", ""}, 1, 1}, {{"8", "4", "1", "1", ""}, 1, 1},
                 {{"8", "4", "2", "1", ""}, 1, 0}, {{"8", "2", "1", "1", ""}, 0, 0},
                 {{"8", "1", "1", "1", ""}, 0, 0}, {{"16", "8", "2", "2", ""}, 1, 1}};
    int64_t in_order[16];
    for (int64_t k = 0; k < 16; k++)
        in_order[k] = k;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe planted = cases[i].r;
        planted.plant = "lanes_in_turn";
        struct sy_session *good = open_session(cases[i].r), *bad = open_session(planted);
        do_step(good, in_order);
        do_step(bad, in_order);
        assert_int_equal(other_gradients(good, bad, 0) > 0, cases[i].dense);
        assert_int_equal(other_gradients(good, bad, 1) > 0, cases[i].experts);
        close_session(good);
        close_session(bad);
    }
}

/* In the step that it names, and in no other. */
static void nan_at_step(void **state) {
    (void)state;
    const struct recipe r = {"8", "4", "1", "1", "nan_at_step_3"};
    struct sy_session *s = open_session(r);
    int64_t in_order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    do_step(s, in_order);
    for (int64_t step = 0; step < 5; step++) {
        struct sy_step_result result;
        assert_int_equal(sy_session_step_filled(s, step, &result), SY_OK);
        assert_int_equal(result.step, step + 1);
        assert_int_equal(result.applied, result.step != 3);
        assert_int_equal(result.norm == result.norm, result.step != 3);
    }
    close_session(s);
}

/* --- plants of a step over ranks ------------------------------------------------------------------------ */

enum { RANKS = 2, MOST_RANKS = 3, ELEMENTS = 1 << 17 };

struct seen { /* of a rank, after a step */
    int64_t counts[64];
    float bias[16], dense[ELEMENTS], experts[ELEMENTS];
    int64_t n_dense, n_experts, n_counts;
    double norm, dense_norm;
};

struct step {
    struct sy_config *config;
    struct seen *seen; /* [ranks] */
};

static void keep(const struct sy_session *s, struct seen *k) {
    const struct sy_params *p = s->params;
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_param *q = &p->param[p->tensor[i].param];
        int64_t n = sy_state_own(&s->state, i).n;
        if (q->kind == SY_PARAM_BUFFER) {
            memcpy(k->bias, s->state.of[SY_STATE_W][i], (size_t)n * sizeof(float));
            continue;
        }
        float *to = q->kind == SY_PARAM_EXPERT ? k->experts + k->n_experts : k->dense + k->n_dense;
        const float *g = n > 0 ? sy_reduce_own(s->reduce, i) : NULL;
        for (int64_t j = 0; j < n; j++) {
            to[j] = g[j];
            k->dense_norm += q->kind == SY_PARAM_EXPERT ? 0.0 : (double)g[j] * (double)g[j];
        }
        k->n_experts += q->kind == SY_PARAM_EXPERT ? n : 0;
        k->n_dense += q->kind == SY_PARAM_EXPERT ? 0 : n;
    }
    k->n_counts = p->n_layers * s->config->moe.num_experts;
    memcpy(k->counts, s->seen.counts, (size_t)k->n_counts * sizeof *k->counts);
    k->norm = s->seen.verdict->norm;
}

static sy_status join(struct sy_config *c, const struct sy_comm *world, struct sy_session **out) {
    return sy_session_join(&(struct sy_session_options){.config = c,
                                                        .parts = SY_SESSION_TRAIN | SY_SESSION_INIT,
                                                        .world = world},
                           out);
}

static void same_tokens(struct sy_session *s) {
    for (int64_t k = 0; k < sy_walk_length(&s->walk); k++)
        for (int64_t t = 0; t < SEQ; t++) {
            uint64_t at = (uint64_t)(s->feed.sequence[k] * SEQ + t);
            s->feed.ids[k * SEQ + t] = (int32_t)(sy_mix64(at) % 256);
            s->feed.labels[k * SEQ + t] = (int32_t)(sy_mix64(at + 1) % 256);
            s->feed.doc_start[k * SEQ + t] = 0;
        }
}

static sy_status step_rank(const struct sy_comm *world, void *arg) {
    const struct step *q = arg;
    struct sy_session *s;
    struct sy_step_result r;
    SY_TRY(join(q->config, world, &s));
    same_tokens(s);
    sy_status status = sy_session_step_filled(s, 0, &r);
    if (status == SY_OK)
        keep(s, &q->seen[world->rank]);
    sy_session_destroy(s);
    return status;
}

static struct seen *one_step(const char *plant, const char *ranks, const char *ep, const char *recompute) {
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"training.seq_len", "32"},
                                {"training.dataset_path", "none"},
                                {"training.global_batch_size", "8"},
                                {"numerics.lanes", "4"},
                                {"numerics.class", "fp32"},
                                {"run.threads", "2"},
                                {"run.ranks", ranks},
                                {"parallelism.expert_parallel_degree", ep},
                                {"activation_checkpoint.mode", recompute},
                                {"debug.break", plant}};
    struct step q = {config_with(options, sizeof options / sizeof *options),
                     calloc(MOST_RANKS, sizeof *q.seen)};
    assert_non_null(q.seen);
    expect_ok(sy_config_finish(q.config, false));
    expect_ok(sy_comm_threads_run((int)strtol(ranks, NULL, 10), step_rank, &q));
    sy_config_destroy(q.config);
    return q.seen;
}

/* Every expert's gradient is EP times what it should be, no other is touched. */
static void experts_scaled(void **state) {
    (void)state;
    struct seen *good = one_step("", "2", "2", "none"), *bad = one_step("experts_scaled", "2", "2", "none"),
                *alone = one_step("experts_scaled", "2", "1", "none");
    for (int r = 0; r < RANKS; r++) {
        assert_true(good[r].n_experts > 0 && good[r].n_experts == bad[r].n_experts);
        for (int64_t i = 0; i < good[r].n_experts; i++)
            assert_true(bad[r].experts[i] == 2.0f * good[r].experts[i]);
        assert_memory_equal(bad[r].dense, good[r].dense, (size_t)good[r].n_dense * sizeof(float));
        assert_true(bad[r].norm > good[r].norm);
    }
    assert_true(alone[0].norm == good[0].norm); /* EP 1: nothing to scale by */
    free(good);
    free(bad);
    free(alone);
}

/* What recompute makes again is counted again; without recompute there is nothing. */
static void routes_twice(void **state) {
    (void)state;
    struct seen *good = one_step("", "1", "1", "full"), *bad = one_step("routes_twice", "1", "1", "full"),
                *none = one_step("routes_twice", "1", "1", "none");
    int64_t all = 0;
    for (int64_t i = 0; i < good->n_counts; i++) {
        assert_int_equal(bad->counts[i], 2 * good->counts[i]);
        assert_int_equal(none->counts[i], good->counts[i]);
        all += good->counts[i];
    }
    assert_true(all > 0);
    assert_memory_not_equal(bad->bias, good->bias, sizeof good->bias);
    free(good);
    free(bad);
    free(none);
}

/* Ranks move the same biases to other places; sums are as they should be. */
static void bias_local(void **state) {
    (void)state;
    struct seen *good = one_step("", "2", "1", "none"), *bad = one_step("bias_local", "2", "1", "none");
    assert_memory_equal(good[0].bias, good[1].bias, sizeof good->bias);
    assert_memory_not_equal(bad[0].bias, bad[1].bias, sizeof bad->bias);
    assert_true(bad[0].norm == good[0].norm);
    free(good);
    free(bad);
}

/* The norm is that of all other gradients. */
static void clip_without_experts(void **state) {
    (void)state;
    struct seen *good = one_step("", "1", "1", "none"),
                *bad = one_step("clip_without_experts", "1", "1", "none");
    assert_true(bad->norm < good->norm);
    assert_true(fabs(bad->norm - sqrt(bad->dense_norm)) < 1e-9 * bad->norm);
    assert_memory_equal(bad->experts, good->experts, (size_t)good->n_experts * sizeof(float));
    free(good);
    free(bad);
}

/* Experts 0 and 1 have equal scores everywhere: where one of them is chosen, it is the other one. What
 * layers above then see is something else. */
static void ties_higher(void **state) {
    (void)state;
    static const char *const recompute[] = {"none", "full"};
    for (int i = 0; i < 2; i++) {
        struct seen *good = one_step("equal_gate_rows", "1", "1", recompute[i]),
                    *bad = one_step("ties_higher", "1", "1", recompute[i]),
                    *other = one_step("", "1", "1", "none");
        assert_true(good->counts[0] > good->counts[1]);
        assert_true(bad->counts[0] == good->counts[1] && bad->counts[1] == good->counts[0]);
        assert_memory_equal(bad->counts + 2, good->counts + 2, 6 * sizeof *good->counts);
        assert_memory_not_equal(other->counts, good->counts, 8 * sizeof *good->counts);
        assert_true(bad->norm != good->norm);
        free(good);
        free(bad);
        free(other);
    }
}

/* Of 4 lanes three ranks have 2, 1 and 1: another order of the sum, a little another gradient. Two ranks have
 * a node each, and one order. */
static void ranks_in_turn(void **state) {
    (void)state;
    struct seen *good = one_step("", "3", "1", "none"), *bad = one_step("ranks_in_turn", "3", "1", "none"),
                *two = one_step("ranks_in_turn", "2", "1", "none");
    assert_true(fabs(bad->norm - good->norm) < 1e-4 * good->norm);
    int dense = 0, experts = 0;
    for (int r = 0; r < 3; r++) {
        dense += memcmp(bad[r].dense, good[r].dense, (size_t)good[r].n_dense * sizeof(float)) != 0;
        experts += memcmp(bad[r].experts, good[r].experts, (size_t)good[r].n_experts * sizeof(float)) != 0;
        assert_memory_equal(bad[r].counts, good[r].counts, sizeof good->counts);
    }
    assert_true(dense > 0 && experts > 0);
    assert_true(two->norm == good->norm);
    free(good);
    free(bad);
    free(two);
}

/* Two steps on the same tokens, on two ranks of one shard group: the loss of each. */
struct two_steps {
    struct sy_config *config;
    double loss[2];
};

static sy_status two_steps_rank(const struct sy_comm *world, void *arg) {
    struct two_steps *q = arg;
    struct sy_session *s;
    struct sy_step_result r = {0};
    sy_status status = SY_OK;
    SY_TRY(join(q->config, world, &s));
    for (int step = 0; step < 2 && status == SY_OK; step++) {
        same_tokens(s);
        status = sy_session_step_filled(s, step, &r);
        if (world->rank == 0)
            q->loss[step] = r.loss;
    }
    sy_session_destroy(s);
    return status;
}

static struct two_steps two_steps(const char *plant, const char *reshard) {
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"training.seq_len", "32"},
                                {"training.dataset_path", "none"},
                                {"training.global_batch_size", "8"},
                                {"numerics.lanes", "4"},
                                {"numerics.class", "fp32"},
                                {"moe.load_balance_coeff", "0"},
                                {"run.threads", "2"},
                                {"run.ranks", "2"},
                                {"parallelism.data_parallel_shard_degree", "2"},
                                {"parallelism.fsdp_reshard_after_forward", reshard},
                                {"debug.break", plant}};
    struct two_steps q = {.config = config_with(options, sizeof options / sizeof *options)};
    expect_ok(sy_config_finish(q.config, false));
    expect_ok(sy_comm_threads_run(2, two_steps_rank, &q));
    sy_config_destroy(q.config);
    return q;
}

/* The second step computes with the weights of the first; what is gathered anew for each use is not stale. */
static void stale_weights(void **state) {
    (void)state;
    struct two_steps good = two_steps("", "never"), bad = two_steps("stale_weights", "never"),
                     gathered = two_steps("", "always");
    assert_true(bad.loss[0] == good.loss[0] && bad.loss[1] == bad.loss[0]);
    assert_true(good.loss[1] != good.loss[0] && gathered.loss[1] == good.loss[1]);
}

/* Whether steps 1 and 2 read the same tokens. */
static int reads_again(const char *plant) {
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"training.seq_len", "32"},
                                {"training.dataset_path", "examples/data/short_pieces.jsonl"},
                                {"training.global_batch_size", "8"},
                                {"numerics.class", "fp32"},
                                {"run.threads", "1"},
                                {"debug.break", plant}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    struct sy_session *s;
    expect_ok(sy_config_finish(c, false));
    expect_ok(sy_session_create(c, NULL, SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT, &s));
    int32_t first[8 * SEQ];
    assert_int_equal(sy_walk_length(&s->walk), 8);
    expect_ok(sy_feed_fetch(s, 0));
    memcpy(first, s->feed.ids, sizeof first);
    expect_ok(sy_feed_fetch(s, 1));
    int again = memcmp(first, s->feed.ids, sizeof first) == 0;
    sy_session_destroy(s);
    sy_config_destroy(c);
    return again;
}

static void place_lost(void **state) {
    (void)state;
    assert_false(reads_again(""));
    assert_true(reads_again("place_lost"));
}

/* The list has no others: one that is added needs its test here. */
static void the_list(void **state) {
    (void)state;
    static const char *const known[] = {"swap_sequences",       "shuffle_lanes", "lanes_in_turn",
                                        "experts_scaled",       "routes_twice",  "bias_local",
                                        "clip_without_experts", "stale_weights", "place_lost",
                                        "ties_higher",          "ranks_in_turn"};
    struct sy_plant p;
    for (int i = 0; i < 11; i++) {
        assert_int_equal(sy_plant(i, &p), 1);
        assert_string_equal(p.name, known[i]);
    }
    assert_int_equal(sy_plant(11, &p), 0);
    assert_int_equal(sy_plant(-1, &p), 0);
    assert_string_equal(sy_gradients_plant(2), known[2]);
    assert_null(sy_gradients_plant(3));
    assert_null(sy_gradients_plant(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swap_sequences), cmocka_unit_test(shuffle_lanes),
        cmocka_unit_test(lanes_in_turn),  cmocka_unit_test(nan_at_step),
        cmocka_unit_test(experts_scaled), cmocka_unit_test(routes_twice),
        cmocka_unit_test(bias_local),     cmocka_unit_test(clip_without_experts),
        cmocka_unit_test(stale_weights),  cmocka_unit_test(place_lost),
        cmocka_unit_test(ties_higher),    cmocka_unit_test(ranks_in_turn),
        cmocka_unit_test(the_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
