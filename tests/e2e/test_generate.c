/* What generate says is what the model's logits and the formula of sampling.h say: the same text is made
 * here from a session that was trained to the same step, token by token, with a window, a softmax and a
 * choice of its own.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

#include "../lib/session.h"

enum { STEPS = 3, SEQ = 32, IDS = 259, BOS = 256, EOS = 257, PAD = 258, MOST = 200 };

static char room[128], run[160], said[4 * MOST];
static struct sy_config *config;
static struct sy_session *session;

static struct sy_config *make_config(void) {
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.seq_len", "32"},
                                {"training.global_batch_size", "8"},
                                {"training.steps", "3"},
                                {"lr_scheduler.warmup_steps", "0"},
                                {"optimizer.lr", "3e-2"}, /* far from where it began */
                                {"numerics.class", "x86"},
                                {"run.threads", "1"},
                                {"run.dir", run}};
    return config_with(options, sizeof options / sizeof *options);
}

static int train_twice(void **state) {
    (void)state;
    struct sy_io io = {0};
    struct sy_train_summary out;
    struct sy_step_result r;
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%s/sy-generate-XXXXXX", tmp && strlen(tmp) < 60 ? tmp : "/tmp");
    if (!mkdtemp(room))
        return 1;
    snprintf(run, sizeof run, "%s/run", room);
    struct sy_config *c = make_config();
    assert_int_equal(sy_train(c, "x", &io, &out), SY_OK);
    sy_config_destroy(c);
    config = make_config();
    session = session_of(config, SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT);
    for (int step = 0; step < STEPS; step++)
        assert_int_equal(sy_session_step(session, step, &r), SY_OK);
    assert_string_equal(r.digest, out.weights_digest);
    return 0;
}

static int clean_up(void **state) {
    (void)state;
    char command[200];
    sy_session_destroy(session);
    sy_config_destroy(config);
    snprintf(command, sizeof command, "rm -rf '%s'", room);
    return system(command);
}

static void keep(void *user, const char *text, size_t n) {
    size_t *used = user;
    assert_true(*used + n < sizeof said);
    memcpy(said + *used, text, n);
    *used += n;
}

/* p[id] of the token after `tokens`, of all but BOS and PAD. The exp is libm's: a choice at an edge is
 * none. */
static void distribution(const int32_t *tokens, int64_t n, double temperature, double p[IDS]) {
    int32_t ids[SEQ], starts[SEQ] = {0}, positions[SEQ];
    const float *logits; /* of the CPU's memory */
    double top = -INFINITY, sum = 0;
    int64_t used = n < SEQ ? n : SEQ;
    for (int i = 0; i < SEQ; i++) {
        ids[i] = i < used ? tokens[n - used + i] : 7; /* what stands behind is not seen */
        positions[i] = i;
    }
    struct sy_batch b = {
        .at = {0, 1, SEQ}, .tokens = SEQ, .ids = ids, .doc_start = starts, .position = positions};
    assert_int_equal(sy_model_logits(session->model, &b, used - 1, &logits), SY_OK);
    for (int id = 0; id < IDS; id++)
        if (id != BOS && id != PAD && (double)logits[id] > top)
            top = (double)logits[id];
    for (int id = 0; id < IDS; id++)
        sum += p[id] = id == BOS || id == PAD ? 0 : exp(((double)logits[id] - top) / temperature);
    for (int id = 0; id < IDS; id++)
        p[id] /= sum;
}

/* Larger p first, then the smaller id. Returns -1 if u is too near an edge to say. */
static int choose(const double p[IDS], double u) {
    char taken[IDS] = {0};
    double at = 0;
    for (;;) {
        int best = -1;
        for (int id = 0; id < IDS; id++)
            if (!taken[id] && p[id] > 0 && (best < 0 || p[id] > p[best]))
                best = id;
        if (best < 0)
            return -1;
        taken[best] = 1;
        at += p[best];
        if (fabs(u - at) < 1e-9)
            return -1;
        if (u < at)
            return best;
    }
}

static void says_the_same(const char *prompt, double temperature, uint64_t seed, int64_t most) {
    size_t used = 0, n = 1, bytes = strlen(prompt);
    struct sy_io io = {.write = keep, .user = &used};
    struct sy_generate_options how = {.prompts = &prompt,
                                      .n_prompts = 1,
                                      .max_tokens = most,
                                      .temperature = temperature,
                                      .top_p = 1,
                                      .seed = seed};
    struct sy_config *c;
    int32_t tokens[2 * MOST + 1] = {BOS};
    double p[IDS];
    assert_int_equal(sy_config_create(&c), SY_OK);
    if (sy_generate(c, run, &how, &io) != SY_OK)
        fail_msg("%s", sy_error_message());
    sy_config_destroy(c);
    for (; n <= bytes; n++)
        tokens[n] = (unsigned char)prompt[n - 1];
    for (int64_t i = 0; i < most; i++) {
        distribution(tokens, (int64_t)n, temperature > 0 ? temperature : 1, p);
        double u = sy_rng_uniform(sy_rng_key(seed, SY_RNG_SAMPLE, 0, 0), (uint64_t)i);
        int id = choose(p, temperature > 0 ? u : 0);
        if (id == EOS)
            break;
        assert_in_range(id, 0, 255);
        tokens[n++] = id;
    }
    assert_int_equal(used, n); /* without BOS, with the newline at the end */
    for (size_t i = 1; i < n; i++)
        if ((unsigned char)said[i - 1] != tokens[i])
            fail_msg("prompt \"%.20s\", temperature %g, seed %d: byte %zu is %d, should be %d", prompt,
                     temperature, (int)seed, i, (unsigned char)said[i - 1], tokens[i]);
    assert_int_equal(said[used - 1], '\n');
}

static void texts(void **state) {
    (void)state;
    static const char long_prompt[] =
        "A prompt that is longer than the sequences on which the model was trained, and on.";
    for (uint64_t seed = 1; seed <= 3; seed++) {
        says_the_same("", 0.8, seed, 50);
        says_the_same("The ", 1, seed, 60);
        says_the_same(long_prompt, 2, seed, 20);
    }
    says_the_same("The ", 0, 1, 60);
    says_the_same("0123456789012345678901234567890", 0, 1, 5); /* BOS and 31 bytes fill the window */
    says_the_same("x", 1, 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts)};
    return cmocka_run_group_tests(tests, train_twice, clean_up);
}
