/* Patterns by pcre2: see regex.h. */
#include "tokenizer/regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { JIT_STACK_MIN = 1 << 15, JIT_STACK_MAX = 1 << 22, MATCH_LIMIT = 10000000 };

struct sy_regex {
    pcre2_code *code;
    char where[160];
};

struct sy_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static sy_status compile(struct sy_regex *regex, const char *pattern, size_t n) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a pattern", regex->where);
    int error = 0;
    PCRE2_SIZE at = 0;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, n,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                &at, context);
    pcre2_compile_context_free(context);
    if (!regex->code) {
        char why[200] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        SY_FAIL(SY_ERR_DATA, "%s: the pattern is broken: %s", regex->where, why);
    }
    uint32_t empty = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty)
        SY_FAIL(SY_ERR_UNAVAILABLE, "%s: the pattern can match an empty text: such are not known here",
                regex->where);
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    return SY_OK;
}

sy_status sy_regex_create(const char *where, const char *pattern, struct sy_regex **out) {
    struct sy_regex *regex = calloc(1, sizeof *regex);
    if (!regex)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a pattern", where);
    snprintf(regex->where, sizeof regex->where, "%s", where);
    struct sy_text translated = {0};
    sy_status status = sy_pattern_translate(where, pattern, &translated);
    if (status == SY_OK)
        status = compile(regex, translated.s, translated.n);
    free(translated.s);
    if (status != SY_OK) {
        sy_regex_destroy(regex);
        return status;
    }
    *out = regex;
    return SY_OK;
}

void sy_regex_destroy(struct sy_regex *regex) {
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    free(regex);
}

sy_status sy_matcher_create(struct sy_matcher **out) {
    struct sy_matcher *m = calloc(1, sizeof *m);
    if (m) {
        m->data = pcre2_match_data_create(1, NULL);
        m->context = pcre2_match_context_create(NULL);
        m->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL); /* NULL: no JIT */
    }
    if (!m || !m->data || !m->context) {
        sy_matcher_destroy(m);
        SY_FAIL(SY_ERR_MEMORY, "out of memory for matching patterns");
    }
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    if (m->stack)
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
    *out = m;
    return SY_OK;
}

void sy_matcher_destroy(struct sy_matcher *m) {
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    free(m);
}

sy_status sy_regex_find(const struct sy_regex *regex, struct sy_matcher *m, const char *text, size_t n,
                        size_t from, int *found, size_t *start, size_t *end) {
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data,
                         m->context);
    *found = rc >= 0;
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        char why[200] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        SY_FAIL(rc == PCRE2_ERROR_NOMEMORY ? SY_ERR_MEMORY : SY_ERR_DATA,
                "%s: matching %zu bytes of text from byte %zu on: %s", regex->where, n, from, why);
    }
    if (*found) {
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
        *start = at[0];
        *end = at[1];
    }
    return SY_OK;
}
