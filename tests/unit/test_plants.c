/* The planted bugs do what their names say, no less and no more: each is the wrong order that it stands
 * for.
 *
 * swap_sequences: in round 0 the sequences of lanes 0 and 1 change places. shuffle_lanes: an expert's
 * leaf takes its sequences from last to first. lanes_in_turn: lanes are added one after the other, not
 * as a tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
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

/* The list has no others: one that is added needs its test here. */
static void the_list(void **state) {
    (void)state;
    static const char *const known[] = {"swap_sequences", "shuffle_lanes", "lanes_in_turn"};
    for (int i = 0; i < 3; i++)
        assert_string_equal(sy_gradients_plant(i), known[i]);
    assert_null(sy_gradients_plant(3));
    assert_null(sy_gradients_plant(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(swap_sequences), cmocka_unit_test(shuffle_lanes),
                                       cmocka_unit_test(lanes_in_turn), cmocka_unit_test(nan_at_step),
                                       cmocka_unit_test(the_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
