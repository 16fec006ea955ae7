/* The prompts of generate: see prompts.h. */
#include "commands/prompts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/jsonl.h"
#include "formats/jsonl_source.h"

enum { PIECE = 1 << 16, MOST_BYTES = 1 << 30 };
static const char key[] = "prompt";

static sy_status add(struct sy_prompts *p, const char *s, size_t n) {
    struct sy_text *grown = realloc(p->at, ((size_t)p->n + 1) * sizeof *grown);
    if (grown) {
        p->at = grown;
        grown[p->n] = (struct sy_text){0};
        sy_text_add(&grown[p->n++], s, n);
    }
    if (!grown || p->at[p->n - 1].failed)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %lld prompts", (long long)p->n + 1);
    return SY_OK;
}

/* Whole, as a pipe is read. */
static sy_status read_file(const char *path, struct sy_text *out) {
    char piece[PIECE];
    size_t n;
    FILE *f = fopen(path, "re");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: %s", path, strerror(errno));
    while ((n = fread(piece, 1, sizeof piece, f)) > 0 && out->n <= MOST_BYTES)
        sy_text_add(out, piece, n);
    int why = ferror(f) ? errno : 0;
    fclose(f);
    if (why)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", path, strerror(why));
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %s", path);
    if (out->n > MOST_BYTES)
        SY_FAIL(SY_ERR_USAGE, "%s: more than %d bytes of prompts", path, MOST_BYTES);
    return SY_OK;
}

static sy_status unpack(struct sy_source *source, struct sy_text *out) {
    char piece[PIECE];
    size_t n = 1;
    while (n > 0 && out->n <= MOST_BYTES) {
        SY_TRY(sy_source_read(source, piece, sizeof piece, &n));
        sy_text_add(out, piece, n);
    }
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %s", sy_source_name(source));
    if (out->n > MOST_BYTES)
        SY_FAIL(SY_ERR_USAGE, "%s: more than %d bytes of prompts", sy_source_name(source), MOST_BYTES);
    return SY_OK;
}

/* A mark (BOM) at the beginning is no part of the first prompt. */
static sy_status add_lines(struct sy_source *source, struct sy_prompts *p) {
    struct sy_text text = {0};
    sy_status status = unpack(source, &text);
    size_t mark = text.n >= 3 && memcmp(text.s, SY_UTF8_BOM, 3) == 0 ? 3 : 0;
    for (size_t at = mark; status == SY_OK && at < text.n;) {
        const char *line = text.s + at, *newline = memchr(line, '\n', text.n - at);
        size_t n = newline ? (size_t)(newline - line) : text.n - at;
        at += n + 1;
        if (n > 0 && line[n - 1] == '\r')
            n--;
        if (n > 0)
            status = add(p, line, n);
    }
    free(text.s);
    return status;
}

static sy_status add_json_lines(struct sy_source *source, const struct sy_log *log, struct sy_prompts *p) {
    struct sy_jsonl *lines;
    const char *text;
    size_t n;
    SY_TRY(sy_jsonl_open(source, &(struct sy_jsonl_options){.text_key = key, .log = log}, &lines));
    sy_status status = sy_jsonl_next(lines, &text, &n);
    while (status == SY_OK && text) {
        status = add(p, text, n);
        if (status == SY_OK)
            status = sy_jsonl_next(lines, &text, &n);
    }
    sy_jsonl_close(lines);
    return status;
}

static sy_status add_source(struct sy_source *source, const struct sy_log *log, struct sy_prompts *p) {
    const char *head;
    size_t n;
    int is_json = 0;
    int64_t before = p->n;
    SY_TRY(sy_source_peek(source, &head, &n));
    SY_TRY(sy_jsonl_recognize(head, n, n < SY_SOURCE_HEAD_BYTES, key, &is_json));
    SY_TRY(is_json ? add_json_lines(source, log, p) : add_lines(source, p));
    if (p->n == before)
        SY_FAIL(SY_ERR_USAGE, "%s: holds no prompt: a line each, or JSON lines with \"%s\"",
                sy_source_name(source), key);
    return SY_OK;
}

static sy_status add_file(const char *path, const struct sy_log *log, struct sy_prompts *p) {
    struct sy_text stored = {0};
    struct sy_source *source = NULL;
    sy_status status = read_file(path, &stored);
    if (status == SY_OK)
        status = sy_source_open_memory(path, stored.s, stored.n, &source);
    if (status == SY_OK)
        status = add_source(source, log, p);
    sy_source_close(source);
    free(stored.s);
    return status;
}

sy_status sy_prompts_read(const char *const *given, int n_given, const char *file, const struct sy_log *log,
                          struct sy_prompts *out) {
    for (int i = 0; i < n_given; i++)
        SY_TRY(add(out, given[i], strlen(given[i])));
    if (file)
        SY_TRY(add_file(file, log, out));
    return out->n > 0 ? SY_OK : add(out, "", 0);
}

void sy_prompts_fini(struct sy_prompts *p) {
    for (int64_t i = 0; i < p->n; i++)
        free(p->at[i].s);
    free(p->at);
    *p = (struct sy_prompts){0};
}
