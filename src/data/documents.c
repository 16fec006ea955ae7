/* Loading files into documents: see documents.h. The split is in holdout.c, the fingerprint in
 * fingerprint.c. */
#include "data/documents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "base/fmath.h"
#include "base/utf8.h"
#include "data/holdout.h"
#include "data/paths.h"
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

static int is_named_jsonl(const char *path) {
    static const char *const suffixes[] = {".jsonl", ".jsonlines", ".ndjson", ".json"};
    size_t n = strlen(path);
    if (!take_off(path, &n, ".gz"))
        take_off(path, &n, ".zst");
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (take_off(path, &n, suffixes[i]))
            return 1;
    return 0;
}

static sy_status check_options(const struct sy_data_options *o) {
    if (o->format && strcmp(o->format, "auto") != 0 && strcmp(o->format, "text") != 0 &&
        strcmp(o->format, "jsonl") != 0)
        SY_FAIL(SY_ERR_USAGE, "data.format \"%s\" must be auto, text or jsonl", o->format);
    if (!(o->holdout >= 0.0 && o->holdout < 1.0))
        SY_FAIL(SY_ERR_USAGE, "data.holdout %g must be at least 0 and below 1", o->holdout);
    if (o->max_bytes < 0)
        SY_FAIL(SY_ERR_USAGE, "data.max_bytes %" PRId64 " must be 0 (no bound) or more", o->max_bytes);
    if (o->max_bad_lines < 0)
        SY_FAIL(SY_ERR_USAGE, "data.max_bad_lines %" PRId64 " must be 0 or more", o->max_bad_lines);
    return SY_OK;
}

/* Adds bytes to the text, unless that goes beyond max_bytes: then the data set is full. */
static sy_status append_text(struct sy_documents *d, const struct sy_data_options *o, const char *s,
                             size_t bytes) {
    int64_t n = (int64_t)bytes;
    if (o->max_bytes > 0 && n > o->max_bytes - d->text_bytes)
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

void sy_document_set(struct sy_documents *d, int64_t i, int64_t offset, int64_t bytes) {
    struct sy_document *document = &d->document[i];
    document->offset = offset;
    document->bytes = bytes;
    document->hash = XXH3_64bits(d->text + offset, (size_t)bytes);
}

sy_status sy_documents_add(struct sy_documents *d, int64_t offset, int64_t bytes, int32_t file,
                           int64_t line) {
    if (d->n_documents == d->document_capacity) {
        int64_t capacity = d->document_capacity ? 2 * d->document_capacity : 256;
        struct sy_document *larger = realloc(d->document, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for a table of %" PRId64 " documents", capacity);
        d->document = larger;
        d->document_capacity = capacity;
    }
    d->document[d->n_documents] = (struct sy_document){.file = file, .line = line};
    sy_document_set(d, d->n_documents++, offset, bytes);
    return SY_OK;
}

/* The text from `offset` to the end becomes a document; if it did not fit, it is dropped whole. */
static sy_status end_document(struct sy_documents *d, int64_t offset, int64_t line) {
    if (d->is_full) {
        d->text_bytes = offset;
        return SY_OK;
    }
    if (d->text_bytes == offset) {
        d->n_empty++;
        return SY_OK;
    }
    return sy_documents_add(d, offset, d->text_bytes - offset, (int32_t)(d->n_files - 1), line);
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

static sy_status load_text(struct sy_documents *d, const struct sy_data_options *o,
                           struct sy_source *source) {
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
    return end_document(d, offset, 0);
}

static sy_status append_lines(struct sy_documents *d, const struct sy_data_options *o,
                              struct sy_jsonl *jsonl) {
    for (;;) {
        const char *text = NULL;
        size_t bytes = 0;
        SY_TRY(sy_jsonl_next(jsonl, &text, &bytes));
        if (!text)
            return SY_OK;
        if (d->is_full) /* the rest is read for the file's hash alone */
            continue;
        int64_t offset = d->text_bytes;
        SY_TRY(append_text(d, o, text, bytes));
        SY_TRY(end_document(d, offset, sy_jsonl_line(jsonl)));
    }
}

static sy_status load_jsonl(struct sy_documents *d, const struct sy_data_options *o,
                            struct sy_source *source) {
    struct sy_jsonl *jsonl = NULL;
    struct sy_jsonl_options options = {
        .text_key = o->text_key,
        .max_bad_lines = o->max_bad_lines,
        .n_bad_lines = &d->n_bad_lines,
        .log = o->log,
        .replace = o->replace,
    };
    SY_TRY(sy_jsonl_open(source, &options, &jsonl));
    sy_status status = append_lines(d, o, jsonl);
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
    else if (is_named_jsonl(path))
        *as_jsonl = 1;
    else
        return sy_jsonl_recognize(head, n, n < SY_SOURCE_HEAD_BYTES, o->text_key, as_jsonl);
    return SY_OK;
}

static sy_status load_source(struct sy_documents *d, const struct sy_data_options *o,
                             struct sy_source *source) {
    struct sy_data_file *file = &d->file[d->n_files - 1];
    const char *head = NULL;
    size_t n = 0;
    int as_jsonl = 0;
    SY_TRY(sy_source_peek(source, &head, &n));
    SY_TRY(refuse_other_kinds(file->path, head, n));
    SY_TRY(choose_format(o, file->path, head, n, &as_jsonl));
    SY_TRY(as_jsonl ? load_jsonl(d, o, source) : load_text(d, o, source));
    file->bytes = sy_source_stored_bytes(source);
    sy_source_stored_hash(source, file->hash);
    return SY_OK;
}

/* `in_folder`: the file was found there, so leaving it out is a matter of suffixes. */
static sy_status load_file(struct sy_documents *d, const struct sy_data_options *o, int in_folder) {
    struct sy_source *source = NULL;
    sy_status status = sy_source_open(d->file[d->n_files - 1].path, &source);
    if (status == SY_OK)
        status = load_source(d, o, source);
    sy_source_close(source);
    if (status != SY_ERR_DATA || !in_folder)
        return status;
    char why[2048];
    snprintf(why, sizeof why, "%s", sy_error_message());
    return sy_fail(status, "%s (data.suffixes says which files of a folder are read)", why);
}

static sy_status load_files(struct sy_documents *d, const struct sy_data_options *o, struct sy_paths *paths) {
    int64_t n_before = d->n_documents, n_all = d->n_files + paths->n;
    if (n_all > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE, "%" PRId64 " data files are more than %d", n_all, INT32_MAX);
    struct sy_data_file *larger = realloc(d->file, (size_t)n_all * sizeof *d->file);
    if (!larger)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " data files", n_all);
    d->file = larger;
    d->is_full = 0;
    for (int64_t i = 0; i < paths->n && !d->is_full; i++) {
        struct sy_path *path = &paths->item[i];
        d->file[d->n_files++] = (struct sy_data_file){.path = path->path};
        path->path = NULL;
        SY_TRY(load_file(d, o, d->file[d->n_files - 1].path[path->relative] != 0));
    }
    if (d->n_documents == n_before && d->is_full)
        SY_FAIL(SY_ERR_USAGE, "%s: no documents: the first is larger than data.max_bytes = %" PRId64,
                d->file[d->n_files - 1].path, o->max_bytes);
    if (d->n_documents == n_before)
        SY_FAIL(SY_ERR_USAGE,
                "%s: no documents: %" PRId64 " files hold no text (%" PRId64 " empty documents, %" PRId64
                " broken lines)",
                o->dataset_paths[0], paths->n, d->n_empty, d->n_bad_lines);
    if (d->is_full)
        sy_log_info(o->log,
                    "data: stopped at data.max_bytes = %" PRId64 ": %" PRId64 " bytes, %" PRId64
                    " documents, %" PRId64 " of %" PRId64 " files",
                    o->max_bytes, d->text_bytes, d->n_documents, d->n_files, paths->n);
    return SY_OK;
}

/* All documents of o->dataset_paths, which are the list `option`. */
static sy_status load_list(struct sy_documents *d, const struct sy_data_options *o, const char *option) {
    struct sy_paths paths = {0};
    struct sy_path_request request = {.option = option,
                                      .roots = o->dataset_paths,
                                      .n_roots = o->n_dataset_paths,
                                      .suffixes = o->suffixes,
                                      .n_suffixes = o->n_suffixes,
                                      .log = o->log};
    SY_TRY(sy_paths_find(&request, &paths));
    sy_status status = load_files(d, o, &paths);
    sy_paths_fini(&paths);
    return status;
}

/* What is trained on is whole when there are texts for validation. */
static sy_status load_given(struct sy_documents *d, const struct sy_data_options *o) {
    struct sy_data_options given = *o;
    int64_t first = d->n_documents;
    int is_full = d->is_full;
    given.dataset_paths = o->validation_paths;
    given.n_dataset_paths = o->n_validation_paths;
    given.max_bytes = 0;
    SY_TRY(load_list(d, &given, "validation.dataset_path"));
    d->is_full = is_full;
    return sy_holdout_given(d, first, o->log);
}

static sy_status load(struct sy_documents *d, const struct sy_data_options *o) {
    SY_TRY(check_options(o));
    SY_TRY(load_list(d, o, "training.dataset_path"));
    SY_TRY(o->n_validation_paths > 0 ? load_given(d, o) : sy_holdout_split(d, o->holdout, o->log));
    if (o->validate && d->n_heldout == 0)
        SY_FAIL(SY_ERR_USAGE,
                "validation.enable: nothing is held out of %" PRId64 " documents with %" PRId64
                " bytes (data.holdout = %g): "
                "give validation.dataset_path, or choose validation.enable = false",
                d->n_documents, d->text_bytes, o->holdout);
    return SY_OK;
}

sy_status sy_documents_load(const struct sy_data_options *options, struct sy_documents **out) {
    struct sy_documents *d = calloc(1, sizeof *d);
    if (!d)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the documents");
    sy_status status = load(d, options);
    if (status != SY_OK) {
        sy_documents_destroy(d);
        return status;
    }
    *out = d;
    return SY_OK;
}

void sy_documents_destroy(struct sy_documents *d) {
    if (!d)
        return;
    for (int64_t i = 0; i < d->n_files; i++)
        free(d->file[i].path);
    free(d->file);
    free(d->document);
    free(d->text);
    free(d->train);
    free(d->heldout);
    free(d);
}

double sy_documents_entropy(const struct sy_documents *d, const int64_t *index, int64_t n) {
    int64_t counts[256] = {0}, total = 0;
    for (int64_t i = 0; i < n; i++) {
        const struct sy_document *document = &d->document[index[i]];
        const unsigned char *s = (const unsigned char *)d->text + document->offset;
        for (int64_t j = 0; j < document->bytes; j++)
            counts[s[j]]++;
        total += document->bytes;
    }
    double entropy = 0.0;
    for (int c = 0; c < 256; c++)
        if (counts[c] > 0)
            entropy -= (double)counts[c] / (double)total * sy_log_f64((double)counts[c] / (double)total);
    return entropy > 0.0 ? entropy : 0.0;
}
