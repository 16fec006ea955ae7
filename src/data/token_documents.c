/* Files of tokens to documents: see token_documents.h. */
#include "data/token_documents.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/folders.h"
#include "data/cached.h"
#include "data/corpus.h"

struct sy_token_options sy_token_options_of(const struct sy_tokenizer *t) {
    return (struct sy_token_options){sy_tokenizer_hash(t), sy_tokenizer_n_ids(t), sy_tokenizer_bos(t),
                                     sy_tokenizer_eos(t)};
}

sy_status sy_token_documents_take(struct sy_documents *d, const struct sy_data_options *o,
                                  struct sy_token_file *ids) {
    struct sy_data_file *file = &d->file[d->n_files - 1];
    file->ids = ids;
    for (int64_t i = 0; i < ids->n_documents && !d->is_full; i++) {
        const struct sy_token_document *from = &ids->document[i];
        d->is_full = o->max_bytes > 0 && from->bytes > o->max_bytes - sy_documents_bytes(d);
        if (d->is_full)
            break;
        SY_TRY(sy_documents_add_row(d, &(struct sy_document){.offset = from->first,
                                                             .bytes = from->bytes,
                                                             .tokens = from->n,
                                                             .hash = from->hash,
                                                             .file = (int32_t)(d->n_files - 1),
                                                             .line = i}));
        d->other_bytes += from->bytes;
        file->n_taken++;
    }
    d->n_empty += ids->n_empty;
    free(ids->document); /* its rows are here now; how many there were is asked for later */
    ids->document = NULL;
    return SY_OK;
}

static int is_there(const struct sy_documents *d, const char *path) {
    for (int64_t i = d->n_files; i-- > 0;)
        if (strcmp(d->file[i].path, path) == 0)
            return 1;
    return 0;
}

static sy_status add_stored(struct sy_documents *d, const struct sy_token_stored *stored) {
    SY_TRY(sy_documents_add_file(d, strdup(stored->path)));
    struct sy_data_file *file = &d->file[d->n_files - 1];
    file->bytes = stored->bytes;
    memcpy(file->hash, stored->hash, sizeof file->hash);
    return SY_OK;
}

/* The index of a pair goes first, so that the documents are the last entry's. */
static sy_status add(struct sy_documents *d, const struct sy_data_options *o, const char *path) {
    struct sy_token_file *ids = NULL;
    SY_TRY(sy_cached_tokens_open(d, o, path, &ids));
    sy_status status = SY_OK;
    for (int i = ids->n_stored; i-- > 0 && status == SY_OK;)
        status = add_stored(d, &ids->stored[i]);
    if (status == SY_OK)
        return sy_token_documents_take(d, o, ids);
    sy_token_file_close(ids);
    return status;
}

sy_status sy_token_documents_add(struct sy_documents *d, const struct sy_data_options *o, char *path) {
    char other[SY_PATH_BYTES];
    enum sy_token_kind kind = sy_token_file_kind(path, other, sizeof other);
    sy_status status =
        kind == SY_TOKEN_MEGATRON && is_there(d, other) && is_there(d, path) ? SY_OK : add(d, o, path);
    free(path);
    return status;
}

sy_status sy_token_documents_write(struct sy_documents *some, const struct sy_data_options *o,
                                   struct sy_token_writer *w) {
    struct sy_corpus *c = NULL;
    SY_TRY(sy_corpus_create(some, o->tokenizer, o->pool, &c));
    sy_status status = SY_OK;
    for (int64_t i = 0; i < some->n_documents && status == SY_OK; i++) {
        const struct sy_document *d = &some->document[i];
        const void *ids = c->token ? (const void *)(c->token + c->start[i]) : some->text + d->offset;
        int64_t n = c->token ? c->start[i + 1] - c->start[i] : d->bytes;
        status = sy_token_writer_add(
            w, &(struct sy_token_document){.n = n, .bytes = d->bytes, .hash = d->hash}, ids);
    }
    sy_corpus_destroy(c);
    some->other_bytes += some->text_bytes;
    some->text_bytes = 0;
    some->n_documents = 0;
    return status;
}

sy_status sy_token_document_set(struct sy_documents *d, int64_t i, int64_t first, int64_t n) {
    struct sy_document *document = &d->document[i];
    int32_t *id = malloc((size_t)n * sizeof *id);
    if (!id)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " tokens", n);
    sy_status status = sy_token_file_read(d->file[document->file].ids, first, n, id);
    if (status == SY_OK) {
        d->other_bytes += n * (int64_t)sizeof *id - document->bytes;
        document->offset = first;
        document->tokens = n;
        document->bytes = n * (int64_t)sizeof *id;
        document->hash = XXH3_64bits(id, (size_t)n * sizeof *id);
    }
    free(id);
    return status;
}
