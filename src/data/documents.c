/* Loading files into documents: see documents.h. The split is in holdout.c, the fingerprint in fingerprint.c. */
#include "data/documents.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/fmath.h"
#include "data/holdout.h"
#include "data/paths.h"
#include "formats/jsonl.h"
#include "formats/jsonl_source.h"

enum { READ_BYTES = 1 << 16 };

static int ends_with(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static int is_jsonl(const char *path) {
    static const char *const suffixes[] = {".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(path, suffixes[i]))
            return 1;
    return 0;
}

static sy_status check_options(const struct sy_data_options *o) {
    if (o->format && strcmp(o->format, "auto") != 0 && strcmp(o->format, "text") != 0 && strcmp(o->format, "jsonl") != 0)
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
static sy_status append_text(struct sy_documents *d, const struct sy_data_options *o, const char *s, size_t bytes) {
    int64_t n = (int64_t)bytes;
    if (o->max_bytes > 0 && n > o->max_bytes - d->text_bytes)
        d->is_full = 1;
    if (d->is_full || n == 0)
        return SY_OK;
    if (n > d->text_capacity - d->text_bytes) {
        int64_t capacity = d->text_capacity + d->text_capacity / 2 + n + READ_BYTES;
        char *larger = realloc(d->text, (size_t)capacity);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " bytes of text; data.max_bytes bounds what is loaded",
                    capacity);
        d->text = larger;
        d->text_capacity = capacity;
    }
    memcpy(d->text + d->text_bytes, s, (size_t)n);
    d->text_bytes += n;
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
    if (d->n_documents == d->document_capacity) {
        int64_t capacity = d->document_capacity ? 2 * d->document_capacity : 256;
        struct sy_document *larger = realloc(d->document, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for a table of %" PRId64 " documents", capacity);
        d->document = larger;
        d->document_capacity = capacity;
    }
    int64_t bytes = d->text_bytes - offset;
    d->document[d->n_documents++] = (struct sy_document){
        .offset = offset,
        .bytes = bytes,
        .hash = XXH3_64bits(d->text + offset, (size_t)bytes),
        .file = (int32_t)(d->n_files - 1),
        .line = line,
    };
    return SY_OK;
}

/* Reads what is left, so that the hash is the whole file's. */
static sy_status load_text(struct sy_documents *d, const struct sy_data_options *o, struct sy_source *source) {
    char piece[READ_BYTES];
    int64_t offset = d->text_bytes;
    size_t n = 0;
    do {
        SY_TRY(sy_source_read(source, piece, sizeof piece, &n));
        SY_TRY(append_text(d, o, piece, n));
    } while (n > 0);
    return end_document(d, offset, 0);
}

static sy_status load_jsonl(struct sy_documents *d, const struct sy_data_options *o, struct sy_jsonl *jsonl) {
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

static void note_file(struct sy_data_file *file, const struct sy_source *source) {
    file->bytes = sy_source_stored_bytes(source);
    sy_source_stored_hash(source, file->hash);
}

static sy_status load_file(struct sy_documents *d, const struct sy_data_options *o) {
    struct sy_data_file *file = &d->file[d->n_files - 1];
    int as_jsonl = o->format && strcmp(o->format, "auto") != 0 ? strcmp(o->format, "jsonl") == 0 : is_jsonl(file->path);
    sy_status status;
    if (as_jsonl) {
        struct sy_jsonl *jsonl = NULL;
        struct sy_jsonl_options options = {
            .text_key = o->text_key,
            .max_bad_lines = o->max_bad_lines,
            .n_bad_lines = &d->n_bad_lines,
            .log = o->log,
        };
        SY_TRY(sy_jsonl_open(file->path, &options, &jsonl));
        status = load_jsonl(d, o, jsonl);
        note_file(file, sy_jsonl_source(jsonl));
        sy_jsonl_close(jsonl);
    } else {
        struct sy_source *source = NULL;
        SY_TRY(sy_source_open(file->path, &source));
        status = load_text(d, o, source);
        note_file(file, source);
        sy_source_close(source);
    }
    return status;
}

static sy_status load_files(struct sy_documents *d, const struct sy_data_options *o, struct sy_paths *paths) {
    if (paths->n > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE, "%" PRId64 " data files are more than %d", paths->n, INT32_MAX);
    d->file = calloc((size_t)paths->n, sizeof *d->file);
    if (!d->file)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " data files", paths->n);
    for (int64_t i = 0; i < paths->n && !d->is_full; i++) {
        d->file[d->n_files++].path = paths->item[i].path;
        paths->item[i].path = NULL;
        SY_TRY(load_file(d, o));
    }
    if (d->n_documents == 0 && d->is_full)
        SY_FAIL(SY_ERR_USAGE, "%s: no documents: the first is larger than data.max_bytes = %" PRId64, d->file[0].path,
                o->max_bytes);
    if (d->n_documents == 0)
        SY_FAIL(SY_ERR_USAGE,
                "%s: no documents: %" PRId64 " files hold no text (%" PRId64 " empty documents, %" PRId64 " broken lines)",
                o->dataset_paths[0], paths->n, d->n_empty, d->n_bad_lines);
    if (d->is_full)
        sy_log_info(o->log,
                    "data: stopped at data.max_bytes = %" PRId64 ": %" PRId64 " bytes, %" PRId64 " documents, %" PRId64
                    " of %" PRId64 " files",
                    o->max_bytes, d->text_bytes, d->n_documents, d->n_files, paths->n);
    return SY_OK;
}

static sy_status load(struct sy_documents *d, const struct sy_data_options *o) {
    struct sy_paths paths = {0};
    struct sy_path_request request = {.option = "training.dataset_path",
                                      .roots = o->dataset_paths,
                                      .n_roots = o->n_dataset_paths,
                                      .suffixes = o->suffixes,
                                      .n_suffixes = o->n_suffixes,
                                      .log = o->log};
    SY_TRY(check_options(o));
    SY_TRY(sy_paths_find(&request, &paths));
    sy_status status = load_files(d, o, &paths);
    sy_paths_fini(&paths);
    SY_TRY(status);
    return sy_holdout_split(d, o->holdout);
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
