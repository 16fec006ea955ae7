/* Routes of steps that are not applied: a run that skips some can be followed step by step, with the
 * same bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fmath.h"
#include "base/rng.h"
#include "../lib/room.h"
#include "../lib/session.h"

enum { STEPS = 6 };

static struct sy_session *open_session(const char *key, const char *dir, const char *batch) {
    const char *options[][2] = {{"model.flavor", "micro_gqa"},        {"training.seq_len", "32"},
                                {"training.global_batch_size", "8"},  {"training.steps", "10"},
                                {"lr_scheduler.warmup_steps", "0"},   {"numerics.class", "x86"},
                                {"training.local_batch_size", batch}, {"run.threads", "1"},
                                {"training.dataset_path", "none"},    {key, dir}};
    return session_of(config_with(options, sizeof options / sizeof *options),
                      SY_SESSION_TRAIN | SY_SESSION_INIT);
}

/* What is not finite in a step: nothing, a token's loss, a router's logit, its weight. */
enum fault { NONE, LOSS, LOGIT, WEIGHT };
static const enum fault faults[STEPS] = {NONE, LOSS, LOGIT, NONE, WEIGHT, NONE};

static float *at(const struct sy_session *s, int param, int64_t i) { return s->state.master[param] + i; }

/* Sequence n of a step is a function of n, whatever its place in the walk. */
static void fill(struct sy_session *s, int step) {
    for (int64_t k = 0; k < 8; k++)
        for (int64_t t = 0; t < 32; t++) {
            int64_t n = step * 8 + sy_walk_sequence(&s->walk, k);
            s->feed.ids[k * 32 + t] = (int32_t)(sy_mix64((uint64_t)(n * 32 + t)) % 256);
            s->feed.labels[k * 32 + t] = (int32_t)(sy_mix64((uint64_t)(n * 32 + t + 1)) % 256);
            s->feed.doc_start[k * 32 + t] = 0;
        }
}

static void do_step(struct sy_session *s, int step, struct sy_step_result *r) {
    int gate = s->params->layer[s->params->n_layers - 1].gate;
    int64_t dim = s->config->model.dim;
    fill(s, step);
    float *x[3] = {at(s, s->params->head, 3), at(s, s->params->embedding, s->feed.ids[5 * 32] * dim),
                   at(s, gate, 0)};
    float kept[64];
    float *broken = faults[step] == NONE ? NULL : x[faults[step] - 1];
    int64_t n = faults[step] == WEIGHT ? dim : 1;
    assert_true(n <= 64);
    for (int64_t i = 0; broken && i < n; i++) {
        kept[i] = broken[i];
        broken[i] = faults[step] == WEIGHT ? 3e38f : NAN;
    }
    assert_int_equal(sy_session_weights_changed(s), SY_OK);
    if (sy_session_step_filled(s, step, r) != SY_OK)
        fail_msg("%s", sy_error_message());
    assert_int_equal(r->applied, !broken);
    memcpy(broken ? broken : kept, kept, broken ? (size_t)n * sizeof *kept : 0);
    assert_int_equal(sy_session_weights_changed(s), SY_OK);
    assert_int_equal(sy_session_digest(s, r->digest), SY_OK);
}

static void run(const char *key, const char *dir, const char *batch, struct sy_step_result r[STEPS]) {
    struct sy_session *s = open_session(key, dir, batch);
    for (int step = 0; step < STEPS; step++)
        do_step(s, step, &r[step]);
    close_session(s);
}

static void a_run_with_skipped_steps_is_followed(void **state) {
    (void)state;
    static struct sy_step_result first[STEPS], then[STEPS];
    char dir[2][160];
    for (int i = 0; i < 2; i++)
        snprintf(dir[i], sizeof dir[i], "%s/%d", room, i);
    run("moe.routes_out", dir[0], "8", first);
    run("moe.routes_out", dir[1], "3", then); /* another layout writes the same files */
    char command[400];
    snprintf(command, sizeof command, "diff -r '%s' '%s'", dir[0], dir[1]);
    assert_int_equal(system(command), 0);
    run("moe.routes_in", dir[0], "4", then);
    for (int i = 0; i < STEPS; i++) {
        assert_string_equal(then[i].digest, first[i].digest);
        assert_true(sy_f64_bits(then[i].loss) == sy_f64_bits(first[i].loss) || isnan(first[i].loss));
        assert_true(isnan(then[i].loss) == isnan(first[i].loss));
        assert_true(sy_f64_bits(then[i].norm) == sy_f64_bits(first[i].norm) || isnan(first[i].norm));
        assert_true(isnan(then[i].norm) == isnan(first[i].norm));
    }
    /* Routes are written where they are known and finite. */
    struct sy_session *s = open_session("moe.routes_in", dir[0], "8");
    int layers[] = {(int)s->config->model.n_dense_layers, (int)s->config->model.n_dense_layers + 1};
    struct sy_routes_options o = {dir[0],
                                  0,
                                  8,
                                  32,
                                  s->config->moe.top_k,
                                  s->config->moe.num_experts,
                                  layers,
                                  (int)(s->config->model.n_layers - s->config->model.n_dense_layers)};
    struct sy_routes_files *f;
    assert_in_range(o.n_layers, 1, 2);
    assert_int_equal(sy_routes_open(&o, &f), SY_OK);
    for (int i = 0; i < STEPS; i++) {
        int skipped = -1;
        assert_int_equal(sy_routes_load(f, i + 1, &skipped), SY_OK);
        assert_int_equal(skipped, faults[i] == LOGIT || faults[i] == WEIGHT);
    }
    sy_routes_close(f);
    close_session(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_with_skipped_steps_is_followed)};
    return cmocka_run_group_tests(tests, open_room, close_room);
}
