/* Tokens to text: see tokenizer.h. */
#include <inttypes.h>

#include "tokenizer/internal.h"
#include "tokenizer/write.h"

/* The token's text without the marks that stand for spaces, as a text's first. */
static void add_first(const struct sy_bpe *bpe, int32_t id, struct sy_text *out) {
    size_t n = 0, mark = strlen(bpe->from);
    const char *s = sy_bpe_spelling(bpe, id, &n);
    for (size_t at = 0; s && at < n;) {
        int is_mark = n - at >= mark && memcmp(s + at, bpe->from, mark) == 0;
        if (!is_mark)
            sy_text_add(out, s + at, 1);
        at += is_mark ? mark : 1;
    }
}

/* Up to `most` spaces at `from` go. */
static void strip(struct sy_text *out, size_t from, int most) {
    size_t n = 0;
    while (n < (size_t)most && from + n < out->n && out->s[from + n] == ' ')
        n++;
    if (n) {
        memmove(out->s + from, out->s + from + n, out->n - from - n + 1);
        out->n -= n;
    }
}

static void decode_bpe(const struct sy_bpe *bpe, const int32_t *tokens, size_t n_tokens, int flags,
                       struct sy_text *out) {
    size_t begin = out->n;
    int is_first = flags & SY_DECODE_START;
    for (size_t i = 0; i < n_tokens; i++) {
        int32_t id = tokens[i];
        int special = id < bpe->n_ids && sy_bpe_is_special(bpe, id);
        if (id >= bpe->n_ids || (special && !(flags & SY_DECODE_SPECIAL)))
            continue;
        if (is_first && bpe->drops_first)
            add_first(bpe, id, out);
        else
            sy_text_add(out, bpe->decoded.s + bpe->decoded_at[id],
                        bpe->decoded_at[id + 1] - bpe->decoded_at[id]);
        is_first = 0;
    }
    if (flags & SY_DECODE_START)
        strip(out, begin, bpe->strip);
}

static void decode_bytes(const int32_t *tokens, size_t n_tokens, int flags, struct sy_text *out) {
    for (size_t i = 0; i < n_tokens; i++) {
        char byte = (char)tokens[i];
        if (tokens[i] < 256)
            sy_text_add(out, &byte, 1);
        else if (tokens[i] < SY_TOKEN_BYTE_IDS && (flags & SY_DECODE_SPECIAL))
            sy_text_add(out, sy_byte_token_name(tokens[i]), strlen(sy_byte_token_name(tokens[i])));
    }
}

sy_status sy_tokenizer_decode(const struct sy_tokenizer *t, const int32_t *tokens, size_t n_tokens, int flags,
                              struct sy_text *out) {
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || tokens[i] >= t->vocab_size)
            SY_FAIL(SY_ERR_DATA, "token %zu is %" PRId32 ", outside the vocabulary of %" PRId32, i, tokens[i],
                    t->vocab_size);
    if (t->bpe)
        decode_bpe(t->bpe, tokens, n_tokens, flags, out);
    else
        decode_bytes(tokens, n_tokens, flags, out);
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the text of %zu tokens", n_tokens);
    return SY_OK;
}
