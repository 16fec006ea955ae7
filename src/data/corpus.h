/* The tokens of documents.
 *
 * Of the byte tokenizer they are the documents' bytes, and nothing is kept. Else each document is encoded
 * once, by all threads, before training; its tokens do not depend on who did it.
 */
#ifndef SY_DATA_CORPUS_H
#define SY_DATA_CORPUS_H

#include "base/threads.h"
#include "data/documents.h"
#include "tokenizer/tokenizer.h"

struct sy_corpus {
    const struct sy_documents *documents;
    int32_t bos, eos, pad, n_ids; /* bos may be SY_TOKEN_NONE */
    int32_t *token;               /* of all documents, one after another; NULL: the bytes */
    int64_t *start;               /* [n_documents + 1] where, in token */
};

/* Local. Documents and tokenizer must outlive it. `pool` may be NULL. Errors: those of sy_encoder_add, with
 * file and line of the document; ERR_MEMORY. */
sy_status sy_corpus_create(const struct sy_documents *documents, const struct sy_tokenizer *tokenizer,
                           struct sy_pool *pool, struct sy_corpus **out);
void sy_corpus_destroy(struct sy_corpus *corpus);

/* Local. Makes token and start of bytes, too. Errors: ERR_MEMORY. */
sy_status sy_corpus_spell_out(struct sy_corpus *corpus);

/* Local. Tokens of document i: BOS if there is one, text, EOS. And token j of it. */
static inline int64_t sy_corpus_length(const struct sy_corpus *c, int64_t i) {
    int64_t text = c->token ? c->start[i + 1] - c->start[i] : c->documents->document[i].bytes;
    return text + 1 + (c->bos >= 0);
}

static inline int32_t sy_corpus_token(const struct sy_corpus *c, int64_t i, int64_t j) {
    j -= c->bos >= 0;
    if (j < 0)
        return c->bos;
    const struct sy_document *document = &c->documents->document[i];
    int64_t text = c->token ? c->start[i + 1] - c->start[i] : document->bytes;
    if (j == text)
        return c->eos;
    return c->token ? c->token[c->start[i] + j] : (unsigned char)c->documents->text[document->offset + j];
}

/* Local. Entropy in nats per token of the distribution of single tokens in the texts of documents index[0 …
 * n-1]; NAN without memory. */
double sy_corpus_entropy(const struct sy_corpus *corpus, const int64_t *index, int64_t n);

#endif
