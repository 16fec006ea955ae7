/* The JSON Lines reader: see jsonl.h.
 *
 *     source -> block[] -> line[] (whole lines, at most max_line_bytes) -> jansson -> text
 */
#include "formats/jsonl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/json.h"
#include "formats/jsonl_first.h"
#include "formats/jsonl_plain.h"
#include "formats/jsonl_source.h"

enum { BLOCK_BYTES = 1 << 16, DEFAULT_LINE_BYTES = 64 << 20 };

struct sy_jsonl {
    struct sy_jsonl_options options;
    struct sy_source *source;
    char block[BLOCK_BYTES];
    size_t block_at, block_n;
    int at_end;
    char *line;
    size_t line_n, line_capacity;
    int too_long;
    int64_t line_number, own_counter;
    json_t *value; /* holds the text that was returned last */
    struct sy_jsonl_first first;
};

sy_status sy_jsonl_open(struct sy_source *source, const struct sy_jsonl_options *options,
                        struct sy_jsonl **out) {
    struct sy_jsonl *jsonl = calloc(1, sizeof *jsonl);
    if (!jsonl)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", sy_source_name(source));
    jsonl->options = *options;
    if (!jsonl->options.text_key)
        jsonl->options.text_key = "text";
    if (!jsonl->options.max_line_bytes)
        jsonl->options.max_line_bytes = DEFAULT_LINE_BYTES;
    if (!jsonl->options.n_bad_lines)
        jsonl->options.n_bad_lines = &jsonl->own_counter;
    jsonl->source = source;
    *out = jsonl;
    return SY_OK;
}

void sy_jsonl_close(struct sy_jsonl *jsonl) {
    if (!jsonl)
        return;
    json_decref(jsonl->value);
    free(jsonl->line);
    free(jsonl);
}

int64_t sy_jsonl_line(const struct sy_jsonl *jsonl) { return jsonl->line_number; }

static sy_status append(struct sy_jsonl *jsonl, const char *s, size_t n) {
    if (jsonl->too_long || n > jsonl->options.max_line_bytes - jsonl->line_n) {
        jsonl->too_long = 1;
        return SY_OK;
    }
    if (jsonl->line_n + n > jsonl->line_capacity) {
        size_t capacity = 2 * (jsonl->line_n + n);
        char *larger = realloc(jsonl->line, capacity);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "%s:%" PRId64 ": out of memory for a line of %zu bytes",
                    sy_source_name(jsonl->source), jsonl->line_number, capacity);
        jsonl->line = larger;
        jsonl->line_capacity = capacity;
    }
    if (n)
        memcpy(jsonl->line + jsonl->line_n, s, n);
    jsonl->line_n += n;
    return SY_OK;
}

/* The next line without its newline; *got is 0 at the end. */
static sy_status read_line(struct sy_jsonl *jsonl, int *got) {
    int any = 0;
    jsonl->line_n = 0;
    jsonl->too_long = 0;
    jsonl->line_number++;
    while (!jsonl->at_end) {
        if (jsonl->block_at == jsonl->block_n) {
            jsonl->block_at = 0;
            SY_TRY(sy_source_read(jsonl->source, jsonl->block, BLOCK_BYTES, &jsonl->block_n));
            jsonl->at_end = jsonl->block_n == 0;
            continue;
        }
        const char *from = jsonl->block + jsonl->block_at;
        size_t left = jsonl->block_n - jsonl->block_at;
        const char *newline = memchr(from, '\n', left);
        size_t n = newline ? (size_t)(newline - from) : left;
        SY_TRY(append(jsonl, from, n));
        jsonl->block_at += n + (newline != NULL);
        any = 1;
        if (newline)
            break;
    }
    if (!any)
        jsonl->line_number--;
    *got = any;
    return SY_OK;
}

static int is_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r')
            return 0;
    return 1;
}

/* A mark at the beginning becomes blanks. */
static void drop_mark(char *line, size_t n) {
    if (n >= 3 && memcmp(line, SY_UTF8_BOM, 3) == 0)
        memset(line, ' ', 3);
}

enum { FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL };

/* The four hex digits of an escape \uXXXX at s, or -1. */
static int escaped(const char *s, size_t n) {
    int value = 0;
    if (n < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int c = s[i], lower = c | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* Half a surrogate pair is no character: \ufffd in its place. */
static void replace_half_pairs(char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        int one = escaped(s + i, n - i);
        if (one < 0) {
            i += s[i] == '\\' ? 2 : 1;
            continue;
        }
        int two = one >= 0xd800 && one < 0xdc00 ? escaped(s + i + 6, n - i - 6) : -1;
        int is_pair = two >= 0xdc00 && two < 0xe000;
        if (!is_pair && one >= 0xd800 && one < 0xe000)
            memcpy(s + i + 2, "fffd", 4);
        i += is_pair ? 12 : 6;
    }
}

static sy_status replace_broken(struct sy_jsonl *jsonl) {
    replace_half_pairs(jsonl->line, jsonl->line_n);
    if (sy_utf8_span(jsonl->line, jsonl->line_n) == jsonl->line_n)
        return SY_OK;
    size_t n = sy_utf8_clean(jsonl->line, jsonl->line_n, NULL);
    char *clean = malloc(n);
    if (!clean)
        SY_FAIL(SY_ERR_MEMORY, "%s:%" PRId64 ": out of memory for a line of %zu bytes",
                sy_source_name(jsonl->source), jsonl->line_number, n);
    sy_utf8_clean(jsonl->line, jsonl->line_n, clean);
    free(jsonl->line);
    jsonl->line = clean;
    jsonl->line_n = jsonl->line_capacity = n;
    return SY_OK;
}

static void drop_mark_of_text(const char **text, size_t *bytes) {
    size_t mark = *bytes >= 3 && memcmp(*text, SY_UTF8_BOM, 3) == 0 ? 3 : 0;
    *text += mark;
    *bytes -= mark;
}

/* Parses line[] into jsonl->value and sets *text, or leaves it NULL and says why in `why`. */
static sy_status parse_line(struct sy_jsonl *jsonl, char *why, size_t why_bytes, const char **text,
                            size_t *bytes) {
    const char *s = jsonl->line;
    size_t n = jsonl->line_n;
    if (jsonl->too_long) {
        snprintf(why, why_bytes, "longer than %zu bytes", jsonl->options.max_line_bytes);
        return SY_OK;
    }
    if (sy_jsonl_plain(jsonl->line, n, jsonl->options.text_key, text, bytes)) {
        drop_mark_of_text(text, bytes);
        return SY_OK;
    }
    if (n && sy_json_too_deep(s, n, SY_JSON_MAX_DEPTH)) {
        snprintf(why, why_bytes, "nested more than %d levels deep", SY_JSON_MAX_DEPTH);
        return SY_OK;
    }
    json_error_t error;
    int out_of_memory = 0;
    jsonl->value = sy_json_decode(s, n, FLAGS, &error, &out_of_memory);
    if (out_of_memory)
        SY_FAIL(SY_ERR_MEMORY, "%s:%" PRId64 ": out of memory", sy_source_name(jsonl->source),
                jsonl->line_number);
    json_t *value = json_object_get(jsonl->value, jsonl->options.text_key);
    if (!jsonl->value)
        snprintf(why, why_bytes, "column %d: %s", error.column, error.text);
    else if (!json_is_object(jsonl->value))
        snprintf(why, why_bytes, "not a JSON object");
    else if (!value)
        snprintf(why, why_bytes, "no key \"%s\"", jsonl->options.text_key);
    else if (!json_is_string(value))
        snprintf(why, why_bytes, "key \"%s\" is not a string", jsonl->options.text_key);
    else {
        *text = json_string_value(value);
        *bytes = json_string_length(value);
        drop_mark_of_text(text, bytes);
    }
    return SY_OK;
}

/* A broken line is counted and named; if nothing but broken ones began the file, that is fatal. */
static sy_status count_bad(struct sy_jsonl *jsonl, const char *why) {
    const char *name = sy_source_name(jsonl->source);
    struct sy_jsonl_first *first = &jsonl->first;
    if (!first->over) {
        sy_jsonl_first_note(first, jsonl->line_number, jsonl->line, jsonl->line_n, jsonl->value, why);
        if (first->n == SY_JSONL_FIRST_LINES)
            return sy_jsonl_first_refuse(first, name, jsonl->options.text_key);
    }
    int64_t n = ++*jsonl->options.n_bad_lines;
    if (n > jsonl->options.max_bad_lines)
        SY_FAIL(SY_ERR_DATA,
                "%s:%" PRId64 ": %s (broken line %" PRId64 ", data.max_bad_lines is %" PRId64 ")", name,
                jsonl->line_number, why, n, jsonl->options.max_bad_lines);
    sy_log_warn(jsonl->options.log, "%s:%" PRId64 ": %s; line skipped", name, jsonl->line_number, why);
    return SY_OK;
}

static sy_status end(struct sy_jsonl *jsonl) {
    if (jsonl->first.over || jsonl->first.n == 0)
        return SY_OK;
    jsonl->first.over = 1;
    return sy_jsonl_first_refuse(&jsonl->first, sy_source_name(jsonl->source), jsonl->options.text_key);
}

sy_status sy_jsonl_next(struct sy_jsonl *jsonl, const char **text, size_t *bytes) {
    for (;;) {
        json_decref(jsonl->value);
        jsonl->value = NULL;
        int got = 0;
        SY_TRY(read_line(jsonl, &got));
        *text = NULL;
        *bytes = 0;
        if (!got)
            return end(jsonl);
        drop_mark(jsonl->line, jsonl->line_n);
        if (!jsonl->too_long && is_blank(jsonl->line, jsonl->line_n))
            continue;
        if (jsonl->options.replace && !jsonl->too_long)
            SY_TRY(replace_broken(jsonl));
        char why[512];
        SY_TRY(parse_line(jsonl, why, sizeof why, text, bytes));
        if (*text) {
            jsonl->first.over = 1;
            return SY_OK;
        }
        SY_TRY(count_bad(jsonl, why));
    }
}

sy_status sy_jsonl_recognize(const char *head, size_t n, int whole, const char *text_key, int *yes) {
    *yes = 0;
    if (n >= 3 && memcmp(head, SY_UTF8_BOM, 3) == 0)
        head += 3, n -= 3;
    const char *newline;
    while ((newline = memchr(head, '\n', n)) != NULL && is_blank(head, (size_t)(newline - head))) {
        n -= (size_t)(newline + 1 - head);
        head = newline + 1;
    }
    size_t line = newline ? (size_t)(newline - head) : n, at = 0;
    while (at < line && is_blank(head + at, 1))
        at++;
    if (at == line || head[at] != '{')
        return SY_OK;
    if (!newline && !whole) { /* an object begins with a key */
        for (at++; at < line && is_blank(head + at, 1); at++)
            ;
        *yes = at < line && head[at] == '"';
        return SY_OK;
    }
    if (sy_json_too_deep(head, line, SY_JSON_MAX_DEPTH))
        return SY_OK;
    json_error_t error;
    int out_of_memory = 0;
    json_t *value = sy_json_decode(head, line, FLAGS, &error, &out_of_memory);
    if (out_of_memory)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the first line of a file");
    *yes = json_is_string(json_object_get(value, text_key ? text_key : "text"));
    json_decref(value);
    return SY_OK;
}
