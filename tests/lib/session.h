/* Configurations and sessions from tables of options, for tests that train. What fails ends the test with the
 * library's message. */
#ifndef SY_TESTS_LIB_SESSION_H
#define SY_TESTS_LIB_SESSION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/session.h"

static inline void expect_ok(sy_status status) {
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
}

/* As flags would. */
static inline void set_options(struct sy_config *c, const char *(*keys)[2], size_t n) {
    for (size_t i = 0; i < n; i++)
        expect_ok(sy_config_set(c, SY_LAYER_FLAG, "test", keys[i][0], keys[i][1]));
}

/* Not finished. sy_config_destroy. */
static inline struct sy_config *config_with(const char *(*keys)[2], size_t n) {
    struct sy_config *c;
    expect_ok(sy_config_create(&c));
    set_options(c, keys, n);
    return c;
}

/* Finishes c, which is the session's from then on: close_session. */
static inline struct sy_session *session_of(struct sy_config *c, int parts) {
    struct sy_session *s;
    expect_ok(sy_config_finish(c, false));
    expect_ok(sy_session_create(c, NULL, parts, &s));
    return s;
}

/* A small training on the prose of tests/data, with first weights. */
static inline struct sy_session *prose_session(const char *flavor, const char *(*keys)[2], size_t n) {
    const char *options[][2] = {{"model.flavor", flavor},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.global_batch_size", "16"},
                                {"training.seq_len", "32"},
                                {"training.steps", "10"},
                                {"run.threads", "2"}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    set_options(c, keys, n);
    return session_of(c, SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT);
}

static inline void close_session(struct sy_session *s) {
    struct sy_config *c = s->config;
    sy_session_destroy(s);
    sy_config_destroy(c);
}

#endif
