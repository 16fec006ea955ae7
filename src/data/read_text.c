/* Reading files of text: see read_text.h. */
#include "data/read_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "formats/jsonl.h"
#include "formats/jsonl_source.h"
#include "formats/kinds.h"
#include "formats/plain_text.h"

enum { ROOM_BYTES = 1 << 16 };

/* Takes a suffix off the first n characters of s; capitals do not matter. */
static int take_off(const char *s, size_t *n, const char *suffix) {
    size_t m = strlen(suffix);
    if (*n < m || strncasecmp(s + *n - m, suffix, m) != 0)
        return 0;
    *n -= m;
    return 1;
}

int sy_text_is_named_jsonl(const char *path) {
    static const char *const suffixes[] = {".jsonl", ".jsonlines", ".ndjson", ".json"};
    size_t n = strlen(path);
    if (!take_off(path, &n, ".gz"))
        take_off(path, &n, ".zst");
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (take_off(path, &n, suffixes[i]))
            return 1;
    return 0;
}

/* Adds bytes to the text, unless that goes beyond max_bytes: then the data set is full. */
static sy_status append_text(struct sy_documents *d, const struct sy_data_options *o, const char *s,
                             size_t bytes) {
    int64_t n = (int64_t)bytes;
    if (o->max_bytes > 0 && n > o->max_bytes - sy_documents_bytes(d))
        d->is_full = 1;
    if (d->is_full || n == 0)
        return SY_OK;
    if (n > d->text_capacity - d->text_bytes) {
        int64_t capacity = d->text_capacity + d->text_capacity / 2 + n + ROOM_BYTES;
        char *larger = realloc(d->text, (size_t)capacity);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY,
                    "out of memory for %" PRId64 " bytes of text; data.max_bytes bounds what is loaded",
                    capacity);
        d->text = larger;
        d->text_capacity = capacity;
    }
    memcpy(d->text + d->text_bytes, s, (size_t)n);
    d->text_bytes += n;
    return SY_OK;
}

/* The text from `offset` to the end becomes a document; if it did not fit, it is dropped whole. */
static sy_status end_document(const struct sy_text_reading *r, int64_t offset, int64_t line) {
    struct sy_documents *d = r->to;
    if (d->is_full) {
        d->text_bytes = offset;
        return SY_OK;
    }
    if (d->text_bytes == offset) {
        d->n_empty++;
        return SY_OK;
    }
    SY_TRY(sy_documents_add(d, offset, d->text_bytes - offset, (int32_t)(d->n_files - 1), line));
    return r->after ? r->after(r->arg, d) : SY_OK;
}

/* Reads to the end, so that the hash is the whole file's. */
static sy_status append_pieces(struct sy_documents *d, const struct sy_data_options *o,
                               struct sy_plain_text *text) {
    const char *piece = NULL;
    size_t n = 0;
    do {
        SY_TRY(sy_plain_text_next(text, &piece, &n));
        SY_TRY(append_text(d, o, piece, n));
    } while (n > 0);
    return SY_OK;
}

static sy_status load_text(const struct sy_text_reading *r, struct sy_source *source) {
    struct sy_documents *d = r->to;
    const struct sy_data_options *o = r->o;
    int64_t offset = d->text_bytes;
    struct sy_plain_text *text = NULL;
    SY_TRY(sy_plain_text_open(source, o->replace, &text));
    sy_status status = append_pieces(d, o, text);
    int64_t replaced = sy_plain_text_replaced(text);
    sy_plain_text_close(text);
    SY_TRY(status);
    if (replaced > 0)
        sy_log_warn(o->log, "%s: U+FFFD in %" PRId64 " places that are not UTF-8", sy_source_name(source),
                    replaced);
    return end_document(r, offset, 0);
}

static sy_status append_lines(const struct sy_text_reading *r, struct sy_jsonl *jsonl) {
    struct sy_documents *d = r->to;
    for (;;) {
        const char *text = NULL;
        size_t bytes = 0;
        SY_TRY(sy_jsonl_next(jsonl, &text, &bytes));
        if (!text)
            return SY_OK;
        if (d->is_full) /* the rest is read for the file's hash alone */
            continue;
        int64_t offset = d->text_bytes;
        SY_TRY(append_text(d, r->o, text, bytes));
        SY_TRY(end_document(r, offset, sy_jsonl_line(jsonl)));
    }
}

static sy_status load_jsonl(const struct sy_text_reading *r, struct sy_source *source) {
    const struct sy_data_options *o = r->o;
    struct sy_jsonl *jsonl = NULL;
    struct sy_jsonl_options options = {
        .text_key = o->text_key,
        .max_bad_lines = o->max_bad_lines,
        .n_bad_lines = &r->to->n_bad_lines,
        .log = o->log,
        .replace = o->replace,
    };
    SY_TRY(sy_jsonl_open(source, &options, &jsonl));
    sy_status status = append_lines(r, jsonl);
    sy_jsonl_close(jsonl);
    return status;
}

/* What is no text is refused by name, whatever the options say. */
static sy_status refuse_other_kinds(const char *path, const char *head, size_t n) {
    size_t whole = sy_utf8_span(head, n);
    int is_cut = 0;
    if (whole < n)
        sy_utf8_broken(head + whole, n - whole, &is_cut);
    int broken = (whole < n && !is_cut) || memchr(head, 0, n) != NULL;
    const struct sy_kind *kind = sy_kind_of(head, n, broken);
    if (kind)
        SY_FAIL(SY_ERR_DATA, "%s: %s, not UTF-8 text: %s", path, kind->what, kind->remedy);
    return SY_OK;
}

/* By data.format; auto: by the name, then by the content. */
static sy_status choose_format(const struct sy_data_options *o, const char *path, const char *head, size_t n,
                               int *as_jsonl) {
    *as_jsonl = 0;
    if (o->format && strcmp(o->format, "auto") != 0)
        *as_jsonl = strcmp(o->format, "jsonl") == 0;
    else if (sy_text_is_named_jsonl(path))
        *as_jsonl = 1;
    else
        return sy_jsonl_recognize(head, n, n < SY_SOURCE_HEAD_BYTES, o->text_key, as_jsonl);
    return SY_OK;
}

static sy_status load_source(const struct sy_text_reading *r, struct sy_source *source) {
    struct sy_data_file *file = &r->to->file[r->to->n_files - 1];
    const char *head = NULL;
    size_t n = 0;
    int as_jsonl = 0;
    SY_TRY(sy_source_peek(source, &head, &n));
    SY_TRY(refuse_other_kinds(file->path, head, n));
    SY_TRY(choose_format(r->o, file->path, head, n, &as_jsonl));
    SY_TRY(as_jsonl ? load_jsonl(r, source) : load_text(r, source));
    file->bytes = sy_source_stored_bytes(source);
    sy_source_stored_hash(source, file->hash);
    return SY_OK;
}

sy_status sy_text_read(const struct sy_text_reading *r) {
    struct sy_source *source = NULL;
    sy_status status = sy_source_open(r->to->file[r->to->n_files - 1].path, &source);
    if (status == SY_OK)
        status = load_source(r, source);
    sy_source_close(source);
    return status;
}
