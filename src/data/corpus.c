/* The tokens of documents: see corpus.h. */
#include "data/corpus.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fmath.h"
#include "data/cache.h"

enum { AT_ONCE = 8 }; /* documents that a thread takes */

/* What one thread has encoded. */
struct worker {
    struct sy_tokens tokens;
    sy_status status;
    int64_t failed; /* the document */
    char why[1024];
};

struct encoding {
    const struct sy_documents *documents;
    const struct sy_tokenizer *tokenizer;
    struct worker *worker;
    int32_t *who;   /* which worker has a document */
    int64_t *place; /* where, in its tokens */
    int64_t *n;     /* tokens of a document */
    atomic_int_fast64_t next;
    atomic_int has_failed;
};

static void give_up(struct encoding *e, struct worker *w, sy_status status, int64_t document) {
    w->status = status;
    w->failed = document;
    snprintf(w->why, sizeof w->why, "%s", sy_error_message());
    atomic_store(&e->has_failed, 1);
}

static sy_status encode_one(struct encoding *e, int thread, struct sy_encoder *encoder, int64_t i) {
    const struct sy_document *document = &e->documents->document[i];
    struct worker *w = &e->worker[thread];
    size_t before = w->tokens.n;
    e->n[i] = 0;
    if (document->tokens != SY_TEXT)
        return SY_OK;
    e->who[i] = thread;
    e->place[i] = (int64_t)before;
    SY_TRY(
        sy_encoder_add(encoder, e->documents->text + document->offset, (size_t)document->bytes, &w->tokens));
    e->n[i] = (int64_t)(w->tokens.n - before);
    return SY_OK;
}

static void encode_some(void *arg, int thread, int n_threads) {
    struct encoding *e = arg;
    struct worker *w = &e->worker[thread];
    struct sy_encoder *encoder = NULL;
    (void)n_threads;
    sy_status status = sy_encoder_create(e->tokenizer, &encoder);
    if (status != SY_OK)
        give_up(e, w, status, -1);
    while (!atomic_load(&e->has_failed)) {
        int64_t from = atomic_fetch_add(&e->next, AT_ONCE), to = from + AT_ONCE;
        if (from >= e->documents->n_documents)
            break;
        to = to < e->documents->n_documents ? to : e->documents->n_documents;
        for (int64_t i = from; i < to && w->status == SY_OK; i++) {
            status = encode_one(e, thread, encoder, i);
            if (status != SY_OK)
                give_up(e, w, status, i);
        }
    }
    sy_encoder_destroy(encoder);
}

/* The error of the first document that has one. */
static sy_status first_error(const struct encoding *e, int n_workers) {
    const struct worker *first = NULL;
    for (int i = 0; i < n_workers; i++)
        if (e->worker[i].status != SY_OK && (!first || e->worker[i].failed < first->failed))
            first = &e->worker[i];
    if (!first)
        return SY_OK;
    if (first->failed < 0)
        return sy_fail(first->status, "%s", first->why);
    const struct sy_document *document = &e->documents->document[first->failed];
    return sy_fail(first->status, "%s:%" PRId64 ": %s", e->documents->file[document->file].path,
                   document->line, first->why);
}

/* All tokens in the documents' order. */
static sy_status gather(const struct encoding *e, struct sy_corpus *c) {
    int64_t n = e->documents->n_documents;
    c->start[0] = 0;
    for (int64_t i = 0; i < n; i++)
        c->start[i + 1] = c->start[i] + e->n[i];
    c->token = malloc(((size_t)c->start[n] + 1) * sizeof *c->token);
    if (!c->token)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " tokens; data.max_bytes bounds what is loaded",
                c->start[n]);
    for (int64_t i = 0; i < n; i++)
        if (e->n[i])
            memcpy(c->token + c->start[i], e->worker[e->who[i]].tokens.id + e->place[i],
                   (size_t)e->n[i] * sizeof *c->token);
    return SY_OK;
}

static sy_status encode_all(struct sy_corpus *c, const struct sy_tokenizer *tokenizer, struct sy_pool *pool) {
    size_t n = (size_t)c->documents->n_documents + 1;
    int n_workers = sy_pool_size(pool);
    struct encoding e = {.documents = c->documents, .tokenizer = tokenizer};
    c->start = malloc(n * sizeof *c->start);
    e.worker = calloc((size_t)n_workers, sizeof *e.worker);
    e.who = malloc(n * sizeof *e.who);
    e.place = malloc(n * sizeof *e.place);
    e.n = malloc(n * sizeof *e.n);
    sy_status status = SY_OK;
    if (!c->start || !e.worker || !e.who || !e.place || !e.n)
        status = sy_fail(SY_ERR_MEMORY, "out of memory for the tokens of %zu documents", n - 1);
    if (status == SY_OK) {
        sy_pool_run(pool, encode_some, &e);
        status = first_error(&e, n_workers);
    }
    if (status == SY_OK)
        status = gather(&e, c);
    for (int i = 0; e.worker && i < n_workers; i++)
        free(e.worker[i].tokens.id);
    free(e.worker);
    free(e.who);
    free(e.place);
    free(e.n);
    return status;
}

sy_status sy_corpus_create(const struct sy_documents *documents, const struct sy_tokenizer *tokenizer,
                           struct sy_pool *pool, struct sy_corpus **out) {
    struct sy_corpus *c = calloc(1, sizeof *c);
    if (!c)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a corpus");
    c->documents = documents;
    c->tokenizer = sy_tokenizer_hash(tokenizer);
    c->bos = sy_tokenizer_bos(tokenizer);
    c->eos = sy_tokenizer_eos(tokenizer);
    c->pad = sy_tokenizer_pad(tokenizer);
    c->n_ids = sy_tokenizer_n_ids(tokenizer);
    int is_done = sy_tokenizer_is_byte(tokenizer) || documents->text_bytes == 0;
    sy_status status = is_done ? SY_OK : encode_all(c, tokenizer, pool);
    if (status != SY_OK) {
        sy_corpus_destroy(c);
        return status;
    }
    *out = c;
    return SY_OK;
}

void sy_corpus_destroy(struct sy_corpus *c) {
    if (!c)
        return;
    free(c->token);
    free(c->start);
    free(c);
}

/* A damaged entry of the cache goes: the next start makes it anew. */
static sy_status read_ids(const struct sy_data_file *file, int64_t first, int64_t n, int32_t *out) {
    char why[1024];
    sy_status status = sy_token_file_read(file->ids, first, n, out);
    if (status != SY_ERR_DATA || !file->is_cached)
        return status;
    snprintf(why, sizeof why, "%s", sy_error_message());
    unlink(file->ids->stored[0].path);
    return sy_fail(status, "%s: it is removed, and the next start makes it anew", why);
}

sy_status sy_corpus_read(const struct sy_corpus *c, int64_t i, int64_t j, int64_t n, int32_t *out) {
    const struct sy_document *d = &c->documents->document[i];
    int64_t head = c->bos >= 0, text = sy_corpus_length(c, i) - 1 - head;
    if (j < head && n > 0) {
        *out++ = c->bos;
        n--;
        j++;
    }
    j -= head;
    int64_t m = n < text - j ? n : text - j;
    if (d->tokens != SY_TEXT && m > 0)
        SY_TRY(read_ids(&c->documents->file[d->file], d->offset + j, m, out));
    else if (c->token && m > 0)
        memcpy(out, c->token + c->start[i] + j, (size_t)m * sizeof *out);
    else
        for (int64_t k = 0; k < m; k++)
            out[k] = (unsigned char)c->documents->text[d->offset + j + k];
    if (m < n)
        out[m] = c->eos;
    return SY_OK;
}

/* --- how often each token stands in what is trained on -------------------------------------------------- */

/* Adds `by` for each token of a document's text. */
static sy_status count(const struct sy_corpus *c, int64_t i, int64_t by, int64_t *counts) {
    int32_t piece[4096];
    int64_t first = c->bos >= 0, end = sy_corpus_length(c, i) - 1;
    for (int64_t at = first; at < end; at += 4096) {
        int64_t n = end - at < 4096 ? end - at : 4096;
        SY_TRY(sy_corpus_read(c, i, at, n, piece));
        for (int64_t k = 0; k < n; k++)
            counts[piece[k]] += by;
    }
    return SY_OK;
}

/* A file all of whose documents are here knows how often: what is held out of it is taken off again. */
static int knows_counts(const struct sy_corpus *c, const struct sy_document *d) {
    const struct sy_data_file *file = &c->documents->file[d->file];
    return d->tokens != SY_TEXT && file->ids && file->n_taken == file->ids->n_documents;
}

static sy_status count_all(const struct sy_corpus *c, int64_t *counts) {
    const struct sy_documents *d = c->documents;
    for (int64_t f = 0; f < d->n_files; f++) {
        const struct sy_token_file *ids = d->file[f].ids;
        for (int32_t id = 0; ids && d->file[f].n_taken == ids->n_documents && id < c->n_ids; id++)
            counts[id] += ids->counts[id];
    }
    for (int64_t k = 0; k < d->n_heldout; k++)
        if (knows_counts(c, &d->document[d->heldout[k]]))
            SY_TRY(count(c, d->heldout[k], -1, counts));
    for (int64_t k = 0; k < d->n_train; k++)
        if (!knows_counts(c, &d->document[d->train[k]]))
            SY_TRY(count(c, d->train[k], 1, counts));
    return SY_OK;
}

static double measure(const struct sy_corpus *c) {
    int64_t *counts = calloc((size_t)c->n_ids, sizeof *counts), total = 0;
    double entropy = 0.0;
    if (!counts || count_all(c, counts) != SY_OK) {
        free(counts);
        return NAN;
    }
    for (int32_t id = 0; id < c->n_ids; id++)
        total += counts[id];
    for (int32_t id = 0; id < c->n_ids; id++)
        if (counts[id] > 0)
            entropy -= (double)counts[id] / (double)total * sy_log_f64((double)counts[id] / (double)total);
    free(counts);
    return entropy > 0.0 ? entropy : 0.0;
}

static sy_status name_entropy(const struct sy_corpus *c, const char *dir, struct sy_cache_entry *entry) {
    char text[200], hash[33];
    struct sy_text identity = {0};
    SY_TRY(sy_documents_hash(c->documents, hash));
    sy_text_add(&identity, text,
                (size_t)snprintf(text, sizeof text, "entropy 1\n%s\n%s\n", hash, c->tokenizer));
    sy_status status = sy_cache_name(dir, &identity, ".entropy", entry);
    free(identity.s);
    return status;
}

double sy_corpus_entropy(const struct sy_corpus *c, const char *dir) {
    struct sy_cache_entry entry;
    double entropy;
    if (!dir || !*dir || name_entropy(c, dir, &entry) != SY_OK)
        return measure(c);
    if (sy_cache_get(&entry, &entropy))
        return entropy;
    entropy = measure(c);
    if (!isnan(entropy))
        sy_cache_put(&entry, entropy);
    return entropy;
}
