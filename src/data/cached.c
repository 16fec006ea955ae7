/* Documents by way of the cache: see cached.h.
 *
 *     file of text -> documents, some at a time -> tokens, by all threads -> .part -> entry -> rows
 */
#include "data/cached.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "data/cache.h"
#include "data/corpus.h"
#include "data/read_text.h"
#include "data/token_documents.h"
#include "formats/token_writer.h"

/* Raised when files of text are read, or texts are encoded, in another way than before. */
#define TEXT_RULES "text 1"
#define INDEX_RULES "index 1"

struct job {
    struct sy_documents *d;
    const struct sy_data_options *o;
    const char *path; /* of the data file */
    struct sy_token_options options;
    struct sy_cache_entry entry;
    struct sy_token_writer *writer;
    sy_status (*open)(struct job *j, struct sy_token_file **out);
    sy_status (*make)(struct job *j, int fd);
};

/* --- any entry ------------------------------------------------------------------------------------------ */

static sy_status open_entry(struct job *j, struct sy_token_file **out) {
    struct sy_token_file *f = NULL;
    SY_TRY(j->open(j, &f));
    const char *key = sy_token_file_note(f, "key");
    sy_status status = SY_OK;
    if (!key || strcmp(key, j->entry.key) != 0)
        status = sy_fail(SY_ERR_DATA, "%s: it is not the entry of its name", j->entry.path);
    if (status != SY_OK) {
        sy_token_file_close(f);
        return status;
    }
    *out = f;
    return SY_OK;
}

/* *old: the entry's inode, if there is one that cannot be used. */
static sy_status try_entry(struct job *j, ino_t *old, struct sy_token_file **out) {
    *old = sy_cache_inode(&j->entry);
    if (*old == 0)
        return SY_OK;
    sy_status status = open_entry(j, out);
    if (status == SY_OK || status == SY_ERR_MEMORY)
        return status;
    sy_log_warn(j->o->log, "%s: this entry of data.cache_dir is damaged and made anew (%s)", j->entry.path,
                sy_error_message());
    return SY_OK;
}

static sy_status take(struct job *j, struct sy_token_file **out) {
    for (*out = NULL;;) {
        ino_t old;
        int is_there;
        SY_TRY(try_entry(j, &old, out));
        if (*out) {
            j->d->n_cached++;
            return SY_OK;
        }
        SY_TRY(sy_cache_begin(&j->entry, old, j->o->log, &is_there));
        if (is_there)
            continue;
        int fd = dup(j->entry.fd);
        sy_status status =
            fd < 0 ? sy_fail(SY_ERR_IO, "%s: no descriptor is left", j->entry.part) : j->make(j, fd);
        SY_TRY(sy_cache_end(&j->entry, status));
        return open_entry(j, out);
    }
}

/* --- files of text -------------------------------------------------------------------------------------- */

static sy_status name_text(struct job *j) {
    const struct sy_data_options *o = j->o;
    char more[256];
    struct sy_text identity = {0};
    int64_t room = o->max_bytes > 0 ? o->max_bytes - sy_documents_bytes(j->d) : -1;
    sy_status status = sy_cache_identify(j->path, &identity);
    snprintf(more, sizeof more, "%s\n%s\n%s %d %d %" PRId64 "\n", TEXT_RULES, j->options.tokenizer,
             o->format ? o->format : "auto", sy_text_is_named_jsonl(j->path), o->replace, room);
    sy_text_add(&identity, more, strlen(more));
    sy_text_add(&identity, o->text_key ? o->text_key : "text", strlen(o->text_key ? o->text_key : "text"));
    if (status == SY_OK)
        status = sy_cache_name(o->cache_dir, &identity, ".tokens", &j->entry);
    free(identity.s);
    return status;
}

static sy_status open_text(struct job *j, struct sy_token_file **out) {
    struct sy_token_file *f = NULL;
    SY_TRY(sy_token_file_open(j->entry.path, &j->options, &f));
    int64_t bytes = f->n * sy_ids_bytes(f->ids), *checked = &j->d->checked_bytes;
    sy_status status = SY_OK;
    if (bytes <= SY_CACHE_CHECKED_BYTES - *checked) {
        *checked += bytes;
        status = sy_token_file_check(f);
    }
    if (status != SY_OK) {
        sy_token_file_close(f);
        return status;
    }
    *out = f;
    return SY_OK;
}

static sy_status hand_over_many(void *arg, struct sy_documents *some) {
    const struct job *j = arg;
    return some->text_bytes < SY_TOKENS_AT_ONCE ? SY_OK : sy_token_documents_write(some, j->o, j->writer);
}

/* What is known of the file beside its tokens. */
static sy_status finish_text(struct job *j, const struct sy_documents *read) {
    char bytes[24], bad[24], empty[24], full[2];
    const struct sy_data_file *file = &read->file[0];
    snprintf(bytes, sizeof bytes, "%" PRId64, file->bytes);
    snprintf(bad, sizeof bad, "%" PRId64, read->n_bad_lines - j->d->n_bad_lines);
    snprintf(empty, sizeof empty, "%" PRId64, read->n_empty);
    snprintf(full, sizeof full, "%d", read->is_full);
    const struct sy_token_note notes[] = {{"key", j->entry.key},     {"file_bytes", bytes},
                                          {"file_hash", file->hash}, {"bad_lines", bad},
                                          {"empty", empty},          {"full", full}};
    sy_log_info(j->o->log, "data: %s: %" PRId64 " documents, %" PRId64 " tokens, kept as %s", j->path,
                sy_token_writer_documents(j->writer), sy_token_writer_tokens(j->writer), j->entry.path);
    struct sy_token_writer *w = j->writer;
    j->writer = NULL;
    return sy_token_writer_finish(w, notes, sizeof notes / sizeof *notes);
}

static void free_documents(struct sy_documents *d) {
    for (int64_t i = 0; i < d->n_files; i++)
        free(d->file[i].path);
    free(d->file);
    free(d->document);
    free(d->text);
}

static sy_status make_text(struct job *j, int fd) {
    const struct sy_tokenizer *t = j->o->tokenizer;
    const struct sy_token_head head = {j->options.tokenizer, j->options.n_ids, sy_tokenizer_is_byte(t)};
    struct sy_documents read = {.other_bytes = sy_documents_bytes(j->d), .n_bad_lines = j->d->n_bad_lines};
    SY_TRY(sy_token_writer_open(j->entry.part, fd, &head, &j->writer));
    sy_status status = sy_documents_add_file(&read, strdup(j->path));
    if (status == SY_OK)
        status = sy_text_read(&(struct sy_text_reading){&read, j->o, hand_over_many, j});
    if (status == SY_OK)
        status = sy_token_documents_write(&read, j->o, j->writer);
    if (status == SY_OK)
        status = finish_text(j, &read);
    sy_token_writer_abandon(j->writer);
    j->writer = NULL;
    free_documents(&read);
    return status;
}

static sy_status take_text(struct job *j, struct sy_token_file *f) {
    struct sy_documents *d = j->d;
    struct sy_data_file *file = &d->file[d->n_files - 1];
    const char *hash = sy_token_file_note(f, "file_hash");
    file->bytes = sy_token_file_number(f, "file_bytes");
    snprintf(file->hash, sizeof file->hash, "%s", hash ? hash : "");
    file->is_cached = 1;
    d->n_empty += sy_token_file_number(f, "empty");
    d->n_bad_lines += sy_token_file_number(f, "bad_lines");
    SY_TRY(sy_token_documents_take(d, j->o, f));
    d->is_full = sy_token_file_number(f, "full") > 0;
    if (d->n_bad_lines > j->o->max_bad_lines)
        SY_FAIL(SY_ERR_DATA, "%s: with its broken lines there are %" PRId64 ", data.max_bad_lines = %" PRId64,
                file->path, d->n_bad_lines, j->o->max_bad_lines);
    return SY_OK;
}

sy_status sy_cached_text_add(struct sy_documents *d, const struct sy_data_options *o, char *path) {
    struct sy_token_file *f = NULL;
    SY_TRY(sy_documents_add_file(d, path));
    struct job j = {.d = d, .o = o, .path = path, .open = open_text, .make = make_text};
    j.options = sy_token_options_of(o->tokenizer);
    SY_TRY(name_text(&j));
    SY_TRY(take(&j, &f));
    return take_text(&j, f);
}

/* --- indices of files of tokens ------------------------------------------------------------------------- */

static sy_status open_index(struct job *j, struct sy_token_file **out) {
    return sy_token_file_open_indexed(j->path, j->entry.path, &j->options, out);
}

static sy_status make_index(struct job *j, int fd) {
    struct sy_token_file *f = NULL;
    const struct sy_token_note note = {"key", j->entry.key};
    sy_status status = sy_token_file_open(j->path, &j->options, &f);
    if (status != SY_OK) {
        close(fd);
        return status;
    }
    status = sy_token_index_write(j->entry.part, fd, f, j->options.tokenizer, &note, 1);
    sy_log_info(j->o->log, "data: %s: %" PRId64 " documents, %" PRId64 " tokens, its index kept as %s",
                j->path, f->n_documents, f->n, j->entry.path);
    sy_token_file_close(f);
    return status;
}

sy_status sy_cached_tokens_open(struct sy_documents *d, const struct sy_data_options *o, const char *path,
                                struct sy_token_file **out) {
    char other[SY_PATH_BYTES];
    struct job j = {.d = d, .o = o, .path = path, .open = open_index, .make = make_index};
    enum sy_token_kind kind = sy_token_file_kind(path, other, sizeof other);
    j.options = sy_token_options_of(o->tokenizer);
    if (kind == SY_TOKEN_OURS || !o->cache_dir || !*o->cache_dir)
        return sy_token_file_open(path, &j.options, out);
    struct sy_text identity = {0};
    sy_status status = sy_cache_identify(path, &identity);
    if (status == SY_OK && kind == SY_TOKEN_MEGATRON)
        status = sy_cache_identify(other, &identity);
    sy_text_add(&identity, INDEX_RULES "\n", sizeof INDEX_RULES);
    sy_text_add(&identity, j.options.tokenizer, strlen(j.options.tokenizer));
    if (status == SY_OK)
        status = sy_cache_name(o->cache_dir, &identity, ".index", &j.entry);
    free(identity.s);
    return status == SY_OK ? take(&j, out) : status;
}

/* --- a text that is wanted again ------------------------------------------------------------------------ */

struct wanted {
    struct sy_documents *to;
    int64_t left; /* documents before it */
};

static sy_status look(void *arg, struct sy_documents *read) {
    struct wanted *w = arg;
    if (w->left-- == 0) {
        free(w->to->text);
        w->to->text = read->text; /* nothing else stands there: every text is in the cache */
        w->to->text_bytes = read->text_bytes;
        w->to->text_capacity = read->text_capacity;
        read->text = NULL;
        read->text_capacity = 0;
    }
    read->text_bytes = 0;
    read->n_documents = 0;
    return SY_OK;
}

sy_status sy_cached_text_again(struct sy_documents *d, const struct sy_data_options *o, int64_t i) {
    struct sy_document *document = &d->document[i];
    struct sy_documents read = {0};
    struct sy_data_options all = *o;
    struct wanted w = {.to = d, .left = document->line};
    all.max_bytes = 0;
    all.log = NULL;
    sy_status status = sy_documents_add_file(&read, strdup(d->file[document->file].path));
    if (status == SY_OK)
        status = sy_text_read(&(struct sy_text_reading){&read, &all, look, &w});
    free_documents(&read);
    SY_TRY(status);
    if (w.left >= 0 || d->text_bytes != document->bytes ||
        XXH3_64bits(d->text, (size_t)d->text_bytes) != document->hash)
        SY_FAIL(SY_ERR_DATA, "%s: it changed while it was read", d->file[document->file].path);
    d->file[document->file].n_taken = -1; /* its counts are not those of the rows */
    d->other_bytes -= document->bytes;
    document->tokens = SY_TEXT;
    document->offset = 0;
    return SY_OK;
}
