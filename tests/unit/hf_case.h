/* Models and config.json for tests of Hugging Face folders. */
#ifndef TESTS_UNIT_HF_CASE_H
#define TESTS_UNIT_HF_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/hf_config.h"
#include "formats/json.h"

static inline struct sy_config *new_config(const char *flavor, const char *more) {
    struct sy_config *c = NULL;
    char text[512];
    assert_int_equal(sy_config_create(&c), SY_OK);
    snprintf(text, sizeof text, "[model]\n%s%s%s\n%s\n[numerics]\nclass = \"x86\"\n",
             *flavor ? "flavor = \"" : "", flavor, *flavor ? "\"" : "", more);
    if (sy_config_load_text(c, "t", text, strlen(text)) != SY_OK ||
        (*flavor && sy_config_finish(c, false) != SY_OK))
        fail_msg("%s", sy_error_message());
    return c;
}

/* Every key of [model] and [moe] is the same. */
static inline void same_model(struct sy_config *a, struct sy_config *b, const char *what) {
    const char *key, *ta = NULL, *tb = NULL;
    for (int i = 0; (key = sy_config_key(i, NULL)); i++) {
        if ((strncmp(key, "model.", 6) != 0 && strncmp(key, "moe.", 4) != 0) ||
            strcmp(key, "model.flavor") == 0)
            continue;
        assert_int_equal(sy_config_get(a, key, &ta), SY_OK);
        assert_int_equal(sy_config_get(b, key, &tb), SY_OK);
        if (strcmp(ta, tb) != 0)
            fail_msg("%s: %s is %s, was %s", what, key, tb, ta);
    }
}

static inline struct sy_config *read_back(const json_t *root, const char *what) {
    struct sy_config *c = NULL;
    assert_int_equal(sy_config_create(&c), SY_OK);
    if (sy_hf_config_apply("config.json", root, c) != SY_OK || sy_config_finish(c, false) != SY_OK)
        fail_msg("%s: %s", what, sy_error_message());
    return c;
}

static inline json_t *parse(const char *text) {
    json_t *root = NULL;
    assert_int_equal(sy_json_parse("t", text, strlen(text), 0, &root), SY_OK);
    return root;
}

#endif
