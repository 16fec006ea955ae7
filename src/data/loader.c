/* Sequences out of documents: see loader.h.
 *
 * A `pass` is documents in one order with `start`, the place in that order's tokens where each begins;
 * start[n] is their sum. Two passes hold the orders of the two epochs used last, a third the held-out
 * documents.
 */
#include "data/loader.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "data/order.h"
#include "data/order_file.h"

struct pass {
    int64_t epoch;  /* -1: holds none */
    uint64_t used;  /* clock of the last use */
    int64_t n;      /* documents */
    int64_t *order; /* places in `document` */
    int64_t *start; /* n + 1 */
};

struct sy_loader {
    const struct sy_corpus *corpus;
    int64_t seq_len, epoch_tokens, eval_tokens;
    uint64_t clock;
    struct pass epochs[2], eval;
    struct sy_order_file kept; /* of which an epoch's order is one */
    char documents_hash[33];
    pthread_mutex_t lock;
};

/* A sequence that is being filled. */
struct filled {
    int32_t *tokens, *labels, *doc_start;
    int64_t i; /* its next token */
};

static void pass_start(struct pass *pass, const struct sy_corpus *c, const int64_t *index) {
    pass->start[0] = 0;
    for (int64_t i = 0; i < pass->n; i++)
        pass->start[i + 1] = pass->start[i] + sy_corpus_length(c, index[pass->order[i]]);
}

static int pass_init(struct pass *pass, int64_t n) {
    pass->epoch = -1;
    pass->n = n;
    pass->order = malloc((size_t)(n + 1) * sizeof *pass->order);
    pass->start = malloc((size_t)(n + 1) * sizeof *pass->start);
    return pass->order && pass->start;
}

static void pass_fini(struct pass *pass) {
    free(pass->order);
    free(pass->start);
}

static sy_status allocate(struct sy_loader *loader) {
    const struct sy_documents *d = loader->corpus->documents;
    int ok = pass_init(&loader->epochs[0], d->n_train);
    ok &= pass_init(&loader->epochs[1], d->n_train);
    ok &= pass_init(&loader->eval, d->n_heldout);
    if (!ok)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the order of %" PRId64 " documents", d->n_documents);
    for (int64_t i = 0; i < d->n_heldout; i++)
        loader->eval.order[i] = i;
    pass_start(&loader->eval, loader->corpus, d->heldout);
    loader->eval_tokens = loader->eval.start[d->n_heldout];
    return SY_OK;
}

static sy_status name_orders(struct sy_loader *loader, const struct sy_data_options *o) {
    const struct sy_documents *d = loader->corpus->documents;
    loader->kept = (struct sy_order_file){.dir = o->tokenizer ? o->cache_dir : NULL,
                                          .log = o->log,
                                          .documents = loader->documents_hash,
                                          .tokenizer = o->tokenizer ? sy_tokenizer_hash(o->tokenizer) : "",
                                          .seed = o->seed,
                                          .shuffle = o->shuffle,
                                          .n = d->n_train};
    return sy_documents_hash(d, loader->documents_hash);
}

sy_status sy_loader_create(const struct sy_corpus *corpus, const struct sy_data_options *options,
                           int64_t seq_len, struct sy_loader **out) {
    const struct sy_documents *documents = corpus->documents;
    if (seq_len < 1 || seq_len > SY_SEQ_LEN_MAX)
        SY_FAIL(SY_ERR_USAGE, "training.seq_len %" PRId64 " must be in 1 … %d", seq_len, SY_SEQ_LEN_MAX);
    if (documents->n_train < 1 || documents->train_bytes < 1)
        SY_FAIL(SY_ERR_USAGE,
                "no training documents: %" PRId64 " documents, %" PRId64 " held out, %" PRId64
                " bytes to train on",
                documents->n_documents, documents->n_heldout, documents->train_bytes);
    struct sy_loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the loader");
    loader->corpus = corpus;
    loader->seq_len = seq_len;
    for (int64_t i = 0; i < documents->n_train; i++)
        loader->epoch_tokens += sy_corpus_length(corpus, documents->train[i]);
    pthread_mutex_init(&loader->lock, NULL);
    sy_status status = allocate(loader);
    if (status == SY_OK)
        status = name_orders(loader, options);
    if (status != SY_OK) {
        sy_loader_destroy(loader);
        return status;
    }
    *out = loader;
    return SY_OK;
}

void sy_loader_destroy(struct sy_loader *loader) {
    if (!loader)
        return;
    pass_fini(&loader->epochs[0]);
    pass_fini(&loader->epochs[1]);
    pass_fini(&loader->eval);
    pthread_mutex_destroy(&loader->lock);
    free(loader);
}

static sy_status order_epoch(const struct sy_loader *loader, int64_t epoch, struct pass *pass) {
    struct sy_order_file kept = loader->kept;
    kept.epoch = epoch;
    pass->epoch = -1; /* until it is whole */
    if (!sy_order_file_read(&kept, pass->order, pass->start)) {
        if (kept.shuffle)
            SY_TRY(sy_order_shuffle(kept.seed, epoch, pass->n, pass->order));
        else
            for (int64_t i = 0; i < pass->n; i++)
                pass->order[i] = i;
        pass_start(pass, loader->corpus, loader->corpus->documents->train);
        sy_order_file_write(&kept, pass->order, pass->start);
    }
    pass->epoch = epoch;
    return SY_OK;
}

/* The pass of an epoch; the one that was used longer ago makes room. */
static sy_status epoch_pass(struct sy_loader *loader, int64_t epoch, const struct pass **out) {
    struct pass *p = loader->epochs;
    struct pass *pass = p[0].epoch == epoch      ? &p[0]
                        : p[1].epoch == epoch    ? &p[1]
                        : p[0].used <= p[1].used ? &p[0]
                                                 : &p[1];
    pass->used = ++loader->clock;
    *out = pass;
    return pass->epoch == epoch ? SY_OK : order_epoch(loader, epoch, pass);
}

/* The document of a pass that token `at` < start[n] belongs to. */
static int64_t find_document(const struct pass *pass, int64_t at) {
    int64_t low = 0, high = pass->n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (pass->start[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Writes a document's tokens from j on, as far as the sequence reaches. */
static sy_status fill_document(const struct sy_loader *loader, int64_t document, int64_t j,
                               struct filled *s) {
    const struct sy_corpus *c = loader->corpus;
    int64_t left = sy_corpus_length(c, document) - j, room = loader->seq_len - s->i;
    int64_t n = left < room ? left : room;
    int32_t start = j == 0 ? (int32_t)s->i : 0; /* j > 0 only for what began before the sequence */
    int32_t *tokens = s->tokens + s->i, *labels = s->labels + s->i;
    SY_TRY(sy_corpus_read(c, document, j, n, tokens));
    memcpy(labels, tokens + 1, (size_t)(n - 1) * sizeof *labels);
    labels[n - 1] = SY_LABEL_NONE;
    if (n < left)
        SY_TRY(sy_corpus_read(c, document, j + n, 1, labels + n - 1));
    for (int64_t i = 0; i < n; i++)
        s->doc_start[s->i + i] = start;
    s->i += n;
    return SY_OK;
}

/* Fills from token `at` of a pass until the sequence or the pass ends. index: the documents of the pass. */
static sy_status fill_pass(const struct sy_loader *loader, const struct pass *pass, const int64_t *index,
                           int64_t at, struct filled *s) {
    int64_t k = find_document(pass, at);
    int64_t j = at - pass->start[k];
    for (; k < pass->n && s->i < loader->seq_len; k++, j = 0)
        SY_TRY(fill_document(loader, index[pass->order[k]], j, s));
    return SY_OK;
}

sy_status sy_loader_fetch(struct sy_loader *loader, int64_t at, int32_t *tokens, int32_t *labels,
                          int32_t *doc_start) {
    if (at < 0 || at > INT64_MAX - loader->seq_len)
        SY_FAIL(SY_ERR_USAGE, "token %" PRId64 " of the stream, and %" PRId64 " from there: out of range", at,
                loader->seq_len);
    int64_t epoch = at / loader->epoch_tokens;
    at %= loader->epoch_tokens;
    struct filled s = {tokens, labels, doc_start, 0};
    sy_status status = SY_OK;
    pthread_mutex_lock(&loader->lock);
    for (; s.i < loader->seq_len && status == SY_OK; epoch++, at = 0) {
        const struct pass *pass;
        status = epoch_pass(loader, epoch, &pass);
        if (status == SY_OK)
            status = fill_pass(loader, pass, loader->corpus->documents->train, at, &s);
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

int64_t sy_loader_eval_count(const struct sy_loader *loader) {
    return (loader->eval_tokens + loader->seq_len - 1) / loader->seq_len;
}

int64_t sy_loader_eval_labels(const struct sy_loader *loader) { return loader->eval_tokens - loader->eval.n; }

sy_status sy_loader_eval_fetch(struct sy_loader *loader, int64_t n, int32_t *tokens, int32_t *labels,
                               int32_t *doc_start) {
    if (n < 0 || n >= sy_loader_eval_count(loader))
        SY_FAIL(SY_ERR_USAGE, "held-out sequence %" PRId64 " of %" PRId64, n, sy_loader_eval_count(loader));
    struct filled s = {tokens, labels, doc_start, 0};
    SY_TRY(fill_pass(loader, &loader->eval, loader->corpus->documents->heldout, n * loader->seq_len, &s));
    int32_t start = (int32_t)s.i;
    for (; s.i < loader->seq_len; s.i++) {
        tokens[s.i] = loader->corpus->pad;
        labels[s.i] = SY_LABEL_NONE;
        doc_start[s.i] = start;
    }
    return SY_OK;
}
