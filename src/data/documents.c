/* Loading files into documents: see documents.h. The split is in holdout.c, the fingerprint in
 * fingerprint.c. */
#include "data/documents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/folders.h"
#include "data/cached.h"
#include "data/holdout.h"
#include "data/paths.h"
#include "data/read_text.h"
#include "data/token_documents.h"

static sy_status check_options(const struct sy_data_options *o) {
    static const char *const formats[] = {"auto", "text", "jsonl", "tokens"};
    int is_known = !o->format;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        is_known |= o->format && strcmp(o->format, formats[i]) == 0;
    if (!is_known)
        SY_FAIL(SY_ERR_USAGE, "data.format \"%s\" must be auto, text, jsonl or tokens", o->format);
    if (!(o->holdout >= 0.0 && o->holdout < 1.0))
        SY_FAIL(SY_ERR_USAGE, "data.holdout %g must be at least 0 and below 1", o->holdout);
    if (o->max_bytes < 0)
        SY_FAIL(SY_ERR_USAGE, "data.max_bytes %" PRId64 " must be 0 (no bound) or more", o->max_bytes);
    if (o->max_bad_lines < 0)
        SY_FAIL(SY_ERR_USAGE, "data.max_bad_lines %" PRId64 " must be 0 or more", o->max_bad_lines);
    return SY_OK;
}

void sy_document_set(struct sy_documents *d, int64_t i, int64_t offset, int64_t bytes) {
    struct sy_document *document = &d->document[i];
    document->offset = offset;
    document->bytes = bytes;
    document->hash = XXH3_64bits(d->text + offset, (size_t)bytes);
}

sy_status sy_documents_add_row(struct sy_documents *d, const struct sy_document *row) {
    if (d->n_documents == d->document_capacity) {
        int64_t capacity = d->document_capacity ? 2 * d->document_capacity : 256;
        struct sy_document *larger = realloc(d->document, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for a table of %" PRId64 " documents", capacity);
        d->document = larger;
        d->document_capacity = capacity;
    }
    d->document[d->n_documents++] = *row;
    return SY_OK;
}

sy_status sy_documents_add(struct sy_documents *d, int64_t offset, int64_t bytes, int32_t file,
                           int64_t line) {
    SY_TRY(sy_documents_add_row(d, &(struct sy_document){.file = file, .line = line, .tokens = SY_TEXT}));
    sy_document_set(d, d->n_documents - 1, offset, bytes);
    return SY_OK;
}

sy_status sy_documents_add_file(struct sy_documents *d, char *path) {
    struct sy_data_file *larger = NULL;
    if (d->n_files < INT32_MAX && path)
        larger = realloc(d->file, (size_t)(d->n_files + 1) * sizeof *d->file);
    if (!larger) {
        free(path);
        SY_FAIL(SY_ERR_MEMORY, "no room for more than %" PRId64 " data files", d->n_files);
    }
    d->file = larger;
    d->file[d->n_files++] = (struct sy_data_file){.path = path};
    return SY_OK;
}

/* By what it is: tokens or text. */
static sy_status load_kind(struct sy_documents *d, const struct sy_data_options *o, char *path) {
    char other[SY_PATH_BYTES];
    enum sy_token_kind kind = SY_TOKEN_NO_FILE;
    const char *format = o->format ? o->format : "auto";
    if (o->tokenizer && (strcmp(format, "auto") == 0 || strcmp(format, "tokens") == 0))
        kind = sy_token_file_kind(path, other, sizeof other);
    if (kind != SY_TOKEN_NO_FILE)
        return sy_token_documents_add(d, o, path);
    if (o->tokenizer && o->cache_dir && *o->cache_dir && strcmp(format, "tokens") != 0)
        return sy_cached_text_add(d, o, path);
    SY_TRY(sy_documents_add_file(d, path));
    if (strcmp(format, "tokens") == 0)
        SY_FAIL(SY_ERR_DATA,
                "%s: no file of tokens (ours, llm.c's, Megatron's), which data.format = tokens reads",
                d->file[d->n_files - 1].path);
    return sy_text_read(&(struct sy_text_reading){d, o, o->after, o->arg});
}

/* One that was found in a folder may be left out by data.suffixes. */
static sy_status load_file(struct sy_documents *d, const struct sy_data_options *o, struct sy_path *path) {
    char why[2048], *name = path->path;
    int in_folder = name[path->relative] != 0;
    path->path = NULL;
    sy_status status = load_kind(d, o, name);
    if (status != SY_ERR_DATA || !in_folder)
        return status;
    snprintf(why, sizeof why, "%s", sy_error_message());
    return sy_fail(status, "%s (data.suffixes says which files of a folder are read)", why);
}

static sy_status load_files(struct sy_documents *d, const struct sy_data_options *o, struct sy_paths *paths) {
    int64_t before = sy_documents_bytes(d);
    d->is_full = 0;
    for (int64_t i = 0; i < paths->n && !d->is_full; i++)
        SY_TRY(load_file(d, o, &paths->item[i]));
    int is_empty = sy_documents_bytes(d) == before;
    if (is_empty && d->is_full)
        SY_FAIL(SY_ERR_USAGE, "%s: no documents: the first is larger than data.max_bytes = %" PRId64,
                d->file[d->n_files - 1].path, o->max_bytes);
    if (is_empty)
        SY_FAIL(SY_ERR_USAGE,
                "%s: no documents: %" PRId64 " files hold no text (%" PRId64 " empty documents, %" PRId64
                " broken lines)",
                o->dataset_paths[0], paths->n, d->n_empty, d->n_bad_lines);
    if (d->n_cached > 0)
        sy_log_info(o->log,
                    "data: of %" PRId64 " of %" PRId64 " files the tokens were in data.cache_dir = %s",
                    d->n_cached, d->n_files, o->cache_dir);
    if (d->is_full)
        sy_log_info(o->log,
                    "data: stopped at data.max_bytes = %" PRId64 ": %" PRId64 " bytes, %" PRId64
                    " documents, %" PRId64 " of %" PRId64 " files",
                    o->max_bytes, sy_documents_bytes(d), d->n_documents, d->n_files, paths->n);
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
    SY_TRY(load_list(d, o, o->list ? o->list : "training.dataset_path"));
    if (o->after)
        return SY_OK;
    SY_TRY(o->n_validation_paths > 0 ? load_given(d, o) : sy_holdout_split(d, o));
    if (o->validate && d->n_heldout == 0)
        SY_FAIL(SY_ERR_USAGE,
                "validation.enable: nothing is held out of %" PRId64 " documents with %" PRId64
                " bytes (data.holdout = %g): "
                "give validation.dataset_path, or choose validation.enable = false",
                d->n_documents, sy_documents_bytes(d), o->holdout);
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
    for (int64_t i = 0; i < d->n_files; i++) {
        free(d->file[i].path);
        sy_token_file_close(d->file[i].ids);
    }
    free(d->file);
    free(d->document);
    free(d->text);
    free(d->train);
    free(d->heldout);
    free(d);
}
