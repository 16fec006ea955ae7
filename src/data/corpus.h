/* The tokens of documents.
 *
 * Of a file of tokens they are read where they are wanted. Of a text in memory and the byte tokenizer they
 * are its bytes, and nothing is kept. Other texts are encoded once, by all threads, before training; their
 * tokens do not depend on who did it.
 */
#ifndef SY_DATA_CORPUS_H
#define SY_DATA_CORPUS_H

#include "base/threads.h"
#include "data/documents.h"
#include "tokenizer/tokenizer.h"

struct sy_corpus {
    const struct sy_documents *documents;
    const char *tokenizer;        /* its hash */
    int32_t bos, eos, pad, n_ids; /* bos may be SY_TOKEN_NONE */
    int32_t *token;               /* of all texts in memory, one after another; NULL: the bytes */
    int64_t *start;               /* [n_documents + 1] where, in token */
};

/* Local. Documents and tokenizer must outlive it. `pool` may be NULL. Errors: those of sy_encoder_add, with
 * file and line of the document; ERR_MEMORY. */
sy_status sy_corpus_create(const struct sy_documents *documents, const struct sy_tokenizer *tokenizer,
                           struct sy_pool *pool, struct sy_corpus **out);
void sy_corpus_destroy(struct sy_corpus *corpus);

/* Local. Tokens of document i: BOS if there is one, text, EOS. */
static inline int64_t sy_corpus_length(const struct sy_corpus *c, int64_t i) {
    const struct sy_document *d = &c->documents->document[i];
    int64_t text = d->tokens != SY_TEXT ? d->tokens : c->token ? c->start[i + 1] - c->start[i] : d->bytes;
    return text + 1 + (c->bos >= 0);
}

/* Local. Tokens j … j + n - 1 of it. Errors: those of sy_token_file_read. */
sy_status sy_corpus_read(const struct sy_corpus *corpus, int64_t i, int64_t j, int64_t n, int32_t *out);

/* Local. Entropy in nats per token of the distribution of single tokens in the texts that are trained on; NAN
 * if it cannot be had. Kept in cache_dir, if that is one. */
double sy_corpus_entropy(const struct sy_corpus *corpus, const char *cache_dir);

#endif
