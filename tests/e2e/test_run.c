/* A run as a handle does what sy_train does: the same digests step by step, the same folder, also when it is
 * closed and opened again; held-out loss; logits; weights out and in; what is refused. Public API alone.
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

#include "switchyard.h"
#include "../lib/room.h"

enum { STEPS = 4, MOST = 1 << 20 };
static float a[MOST], b[MOST];

static void must(sy_status status) {
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
}

static struct sy_config *config_of(const char *run) {
    char dir[200];
    snprintf(dir, sizeof dir, "%s/%s", room, run);
    const char *options[][2] = {{"model.flavor", "micro_mla"},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.seq_len", "32"},
                                {"training.steps", "4"},
                                {"lr_scheduler.warmup_steps", "0"},
                                {"checkpoint.interval", "100"},
                                {"validation.enable", "true"},
                                {"validation.freq", "100"},
                                {"numerics.class", "fp32"},
                                {"run.threads", "2"},
                                {"run.dir", dir}};
    struct sy_config *c;
    must(sy_config_create(&c));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        must(sy_option_set(c, options[i][0], options[i][1]));
    return c;
}

static struct sy_run *open_run(struct sy_config *c) {
    struct sy_run *run = NULL;
    must(sy_run_open(c, "x", NULL, &run));
    return run;
}

static void refused(sy_status status, const char *word) {
    if (status != SY_ERR_USAGE)
        fail_msg("\"%s\": status %d", word, (int)status);
    if (!strstr(sy_error_message(), word))
        fail_msg("\"%s\" is not in: %s", word, sy_error_message());
}

static void steps_are_those_of_train(void **state) {
    (void)state;
    struct sy_config *c = config_of("whole"), *d = config_of("steps");
    struct sy_io io = {.size = sizeof io};
    struct sy_train_summary whole;
    struct sy_run_result r = {0};
    struct sy_run_about about;
    double loss;
    must(sy_train(c, "x", &io, &whole));
    struct sy_run *run = open_run(d);
    must(sy_run_step(run, &r));
    must(sy_run_step(run, &r));
    assert_true(r.step == 2 && r.applied && r.tokens == 8 * 32 && isfinite(r.grad_norm));
    must(sy_run_save(run));
    must(sy_run_save(run)); /* it is there */
    must(sy_run_step(run, &r));
    must(sy_run_close(run)); /* step 3 is lost */
    run = open_run(d);
    sy_run_about(run, &about);
    assert_true(about.step == 2 && about.steps == STEPS && about.seq_len == 32 && about.vocab_size == 272);
    assert_non_null(strstr(about.run_dir, "/steps"));
    must(sy_run_step(run, &r));
    must(sy_run_step(run, &r));
    assert_string_equal(r.weights_digest, whole.weights_digest);
    assert_true(r.loss == whole.loss);
    must(sy_run_eval(run, &loss));
    assert_true(loss == whole.eval_loss);
    refused(sy_run_step(run, &r), "training.steps = 4");
    sy_run_about(run, &about);
    assert_string_equal(about.weights_digest, whole.weights_digest);
    must(sy_run_close(run));
    sy_config_destroy(c);
    sy_config_destroy(d);
}

/* Logits of a shorter sequence are the first ones of a longer; the mean loss of labels is what their softmax
 * says. */
static void logits(void **state) {
    (void)state;
    struct sy_config *c = config_of("logits");
    struct sy_run *run = open_run(c);
    int32_t ids[40];
    for (int i = 0; i < 40; i++)
        ids[i] = 60 + i;
    must(sy_run_logits(run, ids, 32, a));
    must(sy_run_logits(run, ids, 7, b));
    assert_memory_equal(a, b, 7 * 272 * sizeof *a);
    ids[6]++;
    must(sy_run_logits(run, ids, 7, b));
    assert_memory_equal(a, b, 6 * 272 * sizeof *a);
    assert_memory_not_equal(a + 6 * 272, b + 6 * 272, 272 * sizeof *a);
    for (int i = 0; i < 7 * 272; i++)
        assert_true(isfinite(b[i]));
    refused(sy_run_logits(run, ids, 33, a), "seq_len = 32");
    refused(sy_run_logits(run, ids, 0, a), "0 ids");
    ids[3] = 272;
    refused(sy_run_logits(run, ids, 7, a), "id 3 is 272");
    must(sy_run_close(run));
    sy_config_destroy(c);
}

static void weights(void **state) {
    (void)state;
    struct sy_config *c = config_of("weights");
    struct sy_run *run = open_run(c);
    struct sy_run_about before, after;
    struct sy_run_tensor t, last = {.name = ""};
    int64_t n = 0;
    sy_run_about(run, &before);
    for (int i = 0; i < before.n_tensors; i++) {
        must(sy_run_tensor(run, i, &t));
        assert_true(strcmp(last.name, t.name) < 0 && t.n == t.dims[0] * (t.n_dims > 1 ? t.dims[1] : 1));
        assert_true(t.n <= MOST);
        must(sy_run_weights(run, t.name, t.n, a));
        must(sy_run_set_weights(run, t.name, t.n, a));
        n += strstr(t.name, "e_score") ? 0 : t.n;
        last = t;
    }
    assert_true(n == before.n_parameters);
    sy_run_about(run, &after);
    assert_string_equal(before.weights_digest, after.weights_digest); /* the same values */
    refused(sy_run_tensor(run, before.n_tensors, &t), "tensor ");
    const char *name = "model.embed_tokens.weight";
    must(sy_run_weights(run, name, 272 * 32, a));
    int32_t ids[4] = {7, 8, 9, 10};
    must(sy_run_logits(run, ids, 4, b));
    float was = b[3 * 272];
    a[10 * 32 + 5] += 1; /* of token 10 */
    must(sy_run_set_weights(run, name, 272 * 32, a));
    must(sy_run_logits(run, ids, 4, b));
    assert_true(b[3 * 272] != was); /* the stored weights, too */
    sy_run_about(run, &after);
    assert_string_not_equal(before.weights_digest, after.weights_digest);
    refused(sy_run_weights(run, name, 5, a), "has 8704 elements, not 5");
    refused(sy_run_weights(run, "model.embed", 5, a), "no such tensor");
    a[3] = NAN;
    refused(sy_run_set_weights(run, name, 272 * 32, a), "element 3");
    must(sy_run_save(run));
    must(sy_run_close(run));
    run = open_run(c); /* from the checkpoint of step 0 */
    sy_run_about(run, &before);
    assert_string_equal(before.weights_digest, after.weights_digest);
    must(sy_run_close(run));
    sy_config_destroy(c);
}

static void what_is_refused(void **state) {
    (void)state;
    struct sy_config *c = config_of("refused");
    struct sy_run *run = NULL, *second = NULL;
    double loss;
    must(sy_option_set(c, "run.ranks", "2"));
    refused(sy_run_open(c, "x", NULL, &run), "one rank");
    assert_null(run);
    must(sy_option_set(c, "run.ranks", "1"));
    must(sy_option_set(c, "validation.enable", "false"));
    must(sy_option_set(c, "data.holdout", "0"));
    must(sy_option_set(c, "checkpoint.enable", "false"));
    run = open_run(c);
    refused(sy_run_eval(run, &loss), "held out");
    refused(sy_run_save(run), "checkpoint.enable");
    struct sy_config *other = config_of("refused");
    assert_int_equal(sy_run_open(other, "x", NULL, &second), SY_ERR_RUNTIME); /* it is locked */
    sy_config_destroy(other);
    must(sy_run_close(run));
    sy_config_destroy(c);
    must(sy_run_close(NULL));
    /* options of another size: version 0.1's, a shorter one, one with a member that is not known here */
    struct {
        struct sy_tokenize_options known;
        int newer;
    } o = {.known = {.tokenizer = "byte", .text = "ab"}};
    struct sy_io io = {.size = sizeof io};
    must(sy_tokenize(&o.known, &io));
    o.known.size = sizeof o;
    must(sy_tokenize(&o.known, &io));
    o.newer = 1;
    refused(sy_tokenize(&o.known, &io), "struct sy_tokenize_options");
    o.known.size = offsetof(struct sy_tokenize_options, ids);
    o.known.ids = "7"; /* beyond the size: as if it were not there */
    must(sy_tokenize(&o.known, &io));
    o.known.size = 3;
    refused(sy_tokenize(&o.known, &io), "size is 3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_train),
        cmocka_unit_test(logits),
        cmocka_unit_test(weights),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, open_room, close_room);
}
