/* Configs for tests: from text and from words, and what is said of them. Messages are compared whole where
 * their form is the promise: `file:line: key = value: bound: what to do`.
 */
#ifndef TESTS_UNIT_CONFIG_CASE_H
#define TESTS_UNIT_CONFIG_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static inline struct sy_config *fresh(void) {
    struct sy_config *cfg;
    assert_int_equal(sy_config_create(&cfg), SY_OK);
    return cfg;
}

static inline void must(sy_status status) {
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
}

static inline sy_status load(struct sy_config *cfg, const char *text) {
    return sy_config_load_text(cfg, "f.toml", text, strlen(text));
}

/* Takes words as argv; checks that what is left is `rest`. */
static inline sy_status flags(struct sy_config *cfg, const char *words, const char *rest) {
    char text[1024], left[1024] = "", *argv[64] = {(char *)"switchyard"};
    int argc = 1;
    snprintf(text, sizeof text, "%s", words);
    for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    sy_status status = sy_config_flags(cfg, &argc, argv);
    for (int i = 1; i < argc; i++)
        snprintf(left + strlen(left), sizeof left - strlen(left), "%s%s", i > 1 ? " " : "", argv[i]);
    if (status == SY_OK)
        assert_string_equal(left, rest);
    return status;
}

static inline void expect_get(struct sy_config *cfg, const char *key, const char *value) {
    const char *text;
    must(sy_config_get(cfg, key, &text));
    assert_string_equal(text, value);
}

/* Loading this file fails with this message. */
static inline void expect_load(const char *text, const char *message) {
    struct sy_config *cfg = fresh();
    assert_int_equal(load(cfg, text), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
    sy_config_destroy(cfg);
}

/* A micro model with these flags fails to finish with this message. */
static inline void expect_finish(const char *flavor, const char *words, const char *message) {
    struct sy_config *cfg = fresh();
    must(sy_config_set(cfg, SY_LAYER_FLAG, "command line", "model.flavor", flavor));
    must(flags(cfg, words, ""));
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
    sy_config_destroy(cfg);
}

static inline void expect_problems(const struct sy_config *cfg, int n, const char *const *messages) {
    int seen = -1;
    for (int i = 0; i < (n < 10 ? n : 10); i++) {
        assert_non_null(sy_config_problem(cfg, i, &seen));
        assert_string_equal(sy_config_problem(cfg, i, NULL), messages[i]);
        assert_int_equal(seen, n);
    }
    assert_null(sy_config_problem(cfg, n < 10 ? n : 10, &seen));
    assert_null(sy_config_problem(cfg, -1, NULL));
    assert_int_equal(seen, n);
}

#endif
