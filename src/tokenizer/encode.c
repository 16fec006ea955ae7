/* Text to ids: added tokens, normalisers, pre-tokenizers, words: see model.h. */
#include "tokenizer/encode.h"

#include <stdlib.h>

struct sy_encoding {
    const struct sy_bpe *bpe;
    struct sy_words *words;
    struct sy_stepping stepping;
    struct sy_tokens *out;
};

sy_status sy_encoding_create(const struct sy_bpe *bpe, struct sy_encoding **out) {
    struct sy_encoding *e = calloc(1, sizeof *e);
    if (!e)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for an encoder");
    e->bpe = bpe;
    sy_status status = sy_words_create(bpe, &e->words);
    if (status == SY_OK)
        status = sy_matcher_create(&e->stepping.matcher);
    if (status != SY_OK) {
        sy_encoding_destroy(e);
        return status;
    }
    *out = e;
    return SY_OK;
}

void sy_encoding_destroy(struct sy_encoding *e) {
    if (!e)
        return;
    sy_words_destroy(e->words);
    sy_stepping_fini(&e->stepping);
    free(e);
}

static sy_status add_piece(void *user, const char *piece, size_t n) {
    struct sy_encoding *e = user;
    return sy_words_add(e->words, piece, n, e->out);
}

/* Calls fn for what lies between the added tokens of a trie, and adds these. */
struct between {
    struct sy_encoding *e;
    const struct sy_trie *trie;
    sy_status (*fn)(struct sy_encoding *e, const char *text, size_t n, int at_start);
};

static sy_status around_added(const struct between *b, const char *text, size_t n, int at_start) {
    struct sy_found found;
    size_t done = 0, from = 0;
    while (sy_added_find(b->trie, b->e->bpe->added, text, n, from, done, &found)) {
        if (found.start > done)
            SY_TRY(b->fn(b->e, text + done, found.start - done, at_start && done == 0));
        sy_tokens_add(b->e->out, &b->e->bpe->added[found.added].id, 1);
        done = found.end;
        from = found.match_end;
    }
    return done < n ? b->fn(b->e, text + done, n - done, at_start && done == 0) : SY_OK;
}

static sy_status add_normal(struct sy_encoding *e, const char *text, size_t n, int at_start) {
    struct sy_pieces pieces = {e->bpe->pre, e->bpe->n_pre, &e->stepping, add_piece, e};
    return sy_split_text(&pieces, text, n, at_start);
}

static sy_status add_raw(struct sy_encoding *e, const char *text, size_t n, int at_start) {
    SY_TRY(sy_normalize(e->bpe->normalizer, e->bpe->n_normalizers, &e->stepping, &text, &n));
    return around_added(&(struct between){e, &e->bpe->normal, add_normal}, text, n, at_start);
}

sy_status sy_encoding_add(struct sy_encoding *e, const char *text, size_t n, struct sy_tokens *out) {
    e->out = out;
    SY_TRY(around_added(&(struct between){e, &e->bpe->raw, add_raw}, text, n, 1));
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the tokens of %zu bytes of text", n);
    return SY_OK;
}
