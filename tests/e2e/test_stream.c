/* A run's place in its data is a token: whatever batch and seq_len a resume has, nothing is skipped and
 * nothing read twice.
 *
 * Stretches of a run go through sy_train, each with its own batch and seq_len; the same steps are done
 * by sessions that hand weights on by hand, with the place of each stretch counted here. Digests and the
 * tokens in metrics.jsonl must agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#include "../lib/room.h"
#include "../lib/session.h"

struct stretch {
    int64_t seq_len, batch, steps;
};

static struct sy_config *configure(const struct stretch *s, int64_t last_step, const char *dir) {
    char seq_len[24], batch[24], steps[24];
    snprintf(seq_len, sizeof seq_len, "%lld", (long long)s->seq_len);
    snprintf(batch, sizeof batch, "%lld", (long long)s->batch);
    snprintf(steps, sizeof steps, "%lld", (long long)last_step);
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.seq_len", seq_len},
                                {"training.global_batch_size", batch},
                                {"training.steps", steps},
                                {"numerics.class", "x86"},
                                {"numerics.lanes", "4"},
                                {"checkpoint.new_recipe", "true"},
                                {"run.dir", dir},
                                {"lr_scheduler.decay_ratio", "0"},
                                {"run.threads", "2"}};
    return config_with(options, sizeof options / sizeof *options);
}

/* --- the steps by hand ---------------------------------------------------------------------------------- */

/* The step's batch holds tokens first … first + batch*seq_len - 1 of the stream, each once. */
static void check_batch(const struct sy_session *s, int64_t first) {
    struct sy_data_options options = sy_session_data_options(s->config, NULL);
    struct sy_loader *one = NULL; /* a token at a time */
    int64_t seq = s->config->training.seq_len, batch = s->config->training.global_batch_size;
    assert_int_equal(sy_loader_create(s->data.mixture->of[0].corpus, &options, 1, &one), SY_OK);
    for (int64_t k = 0; k < batch; k++)
        for (int64_t i = 0; i < seq; i++) {
            int32_t token, label, start;
            int64_t at = first + sy_walk_sequence(&s->walk, k) * seq + i;
            assert_int_equal(sy_loader_fetch(one, at, &token, &label, &start), SY_OK);
            assert_int_equal(s->feed.ids[k * seq + i], token);
        }
    sy_loader_destroy(one);
}

static void hand_on(const struct sy_session *from, struct sy_session *to) {
    for (int i = 0; i < from->params->n_tensors; i++)
        for (int kind = 0; kind < SY_STATE_KINDS; kind++)
            if (from->state.of[kind][i])
                memcpy(to->state.of[kind][i], from->state.of[kind][i],
                       (size_t)from->params->tensor[i].n * sizeof(float));
    to->applied = from->applied;
    sy_session_weights_changed(to);
}

/* tokens[i]: trained on after step i + 1. */
static void by_hand(const struct stretch *stretches, int n, char digest[SY_DIGEST_CHARS], int64_t *tokens) {
    struct sy_session *before = NULL, *s = NULL;
    int64_t step = 0, place = 0;
    for (int i = 0; i < n; i++) {
        struct sy_config *c = configure(&stretches[i], step + stretches[i].steps, "");
        s = session_of(c, SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT);
        if (before) {
            hand_on(before, s);
            close_session(before);
        }
        s->base_step = step;
        s->base_token = place;
        for (int64_t k = 0; k < stretches[i].steps; k++, step++) {
            struct sy_step_result r;
            assert_int_equal(sy_session_step(s, step, &r), SY_OK);
            check_batch(s, place);
            place += stretches[i].batch * stretches[i].seq_len;
            tokens[step] = place;
            memcpy(digest, r.digest, SY_DIGEST_CHARS);
        }
        before = s;
    }
    close_session(s);
}

/* --- the same run, stopped and resumed ------------------------------------------------------------------ */

static sy_status train_on(const struct stretch *s, int64_t last_step, struct sy_train_summary *out) {
    char dir[300];
    struct sy_io io = {0};
    snprintf(dir, sizeof dir, "%s/run", room);
    struct sy_config *c = configure(s, last_step, dir);
    sy_status status = sy_train(c, "x", &io, out);
    sy_config_destroy(c);
    return status;
}

static void remove_run(void) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s/run'", room);
    assert_int_equal(system(command), 0);
}

static void check_metrics(const int64_t *tokens, int64_t n) {
    char path[300], line[8192];
    snprintf(path, sizeof path, "%s/run/metrics.jsonl", room);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int64_t i = 0; i < n; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        const char *found = strstr(line, "\"tokens\":");
        assert_non_null(found);
        assert_int_equal(atoll(found + 9), tokens[i]);
    }
    fclose(f);
}

/* A manifest of before there was a count of tokens: the line is taken out and the hash made anew. */
static void forget_tokens(int64_t step, const char *instead) {
    char path[400];
    static char text[1 << 16];
    snprintf(path, sizeof path, "%s/run/checkpoints/step-%08lld/switchyard.json", room, (long long)step);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 256, f);
    fclose(f);
    text[n] = 0;
    char *at = strstr(text, ",\n    \"tokens\": ");
    assert_non_null(at);
    char *end = strchr(at + 2, '\n'); /* of the line */
    assert_non_null(end);
    memmove(at + strlen(instead), end, strlen(end) + 1);
    memcpy(at, instead, strlen(instead));
    char *tail = strstr(text, "  \"hash\": \"");
    for (char *next; tail && (next = strstr(tail + 1, "\n  \"hash\": \"")) != NULL;)
        tail = next + 1;
    assert_non_null(tail);
    XXH128_hash_t hash = XXH3_128bits(text, (size_t)(tail - text));
    snprintf(tail, 256, "  \"hash\": \"%016llx%016llx\"\n}\n", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* `old`: the first checkpoint is one without a count. */
static void run_in_stretches(const struct stretch *stretches, int n, int old) {
    char want[SY_DIGEST_CHARS];
    int64_t tokens[32], step = 0;
    struct sy_train_summary out;
    by_hand(stretches, n, want, tokens);
    for (int i = 0; i < n; i++) {
        step += stretches[i].steps;
        if (train_on(&stretches[i], step, &out) != SY_OK)
            fail_msg("%s", sy_error_message());
        if (old && i == 0)
            forget_tokens(step, "");
    }
    assert_string_equal(out.weights_digest, want);
    check_metrics(tokens, step);
    remove_run();
}

static void stretches(void **state) {
    (void)state;
    run_in_stretches((const struct stretch[]){{32, 16, 3}, {64, 16, 2}}, 2, 0); /* longer */
    run_in_stretches((const struct stretch[]){{32, 16, 3}, {16, 16, 2}}, 2, 0); /* shorter */
    run_in_stretches((const struct stretch[]){{32, 16, 3}, {32, 4, 2}, {32, 16, 1}}, 3,
                     0); /* another batch */
    run_in_stretches((const struct stretch[]){{32, 16, 2}, {24, 4, 2}, {64, 8, 1}, {32, 16, 1}}, 4,
                     0); /* no multiple */
    run_in_stretches((const struct stretch[]){{32, 16, 3}, {64, 16, 2}, {16, 8, 1}}, 3, 1);
    run_in_stretches((const struct stretch[]){{1, 16, 2}, {32, 16, 1}, {1, 4, 1}}, 3, 0); /* one token */
}

/* A count that cannot be is damage. */
static void damaged(void **state) {
    (void)state;
    static const char *const counts[] = {"1535", "1568", "-1", "null", "\"1536\"", "1536.0"};
    const struct stretch s = {32, 16, 3};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct sy_train_summary out;
        char line[64];
        snprintf(line, sizeof line, ",\n    \"tokens\": %s", counts[i]);
        assert_int_equal(train_on(&s, 3, &out), SY_OK);
        forget_tokens(3, line);
        assert_int_equal(train_on(&s, 4, &out), SY_ERR_DATA);
        assert_non_null(strstr(sy_error_message(), "trainer.tokens = "));
        assert_non_null(strstr(sy_error_message(), "but the next sequence of 32 tokens is 48"));
        remove_run();
    }
}

/* Beyond what an integer holds. */
static void far_away(void **state) {
    (void)state;
    const struct stretch s = {32, 16, 1};
    struct sy_step_result r;
    struct sy_session *session =
        session_of(configure(&s, 1, ""), SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT);
    session->base_token = INT64_MAX - 512;
    assert_int_equal(sy_session_token(session, 1), INT64_MAX);
    assert_int_equal(sy_session_step(session, 0, &r), SY_OK);
    assert_int_equal(sy_session_step(session, 1, &r), SY_ERR_USAGE);
    assert_int_equal(sy_session_token(session, 2), INT64_MAX);
    assert_int_equal(sy_session_token(session, INT64_MAX), INT64_MAX);
    close_session(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(stretches), cmocka_unit_test(damaged),
                                       cmocka_unit_test(far_away)};
    return cmocka_run_group_tests(tests, open_room, close_room);
}
