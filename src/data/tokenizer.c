/* The byte tokenizer: see tokenizer.h. */
#include "data/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sy_tokenizer {
    int32_t vocab_size;
};

sy_status sy_tokenizer_create(const char *path, int64_t vocab_size, struct sy_tokenizer **out) {
    if (path && strcmp(path, "byte") != 0)
        SY_FAIL(SY_ERR_UNAVAILABLE,
                "tokenizer.path \"%s\": this release has only \"byte\"; tokenizer.json comes in a later one",
                path);
    if (vocab_size < SY_TOKEN_BYTE_IDS || vocab_size > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE, "vocab_size %" PRId64 ": the byte tokenizer needs %d … %d", vocab_size,
                SY_TOKEN_BYTE_IDS, INT32_MAX);
    struct sy_tokenizer *tokenizer = malloc(sizeof *tokenizer);
    if (!tokenizer)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the tokenizer");
    tokenizer->vocab_size = (int32_t)vocab_size;
    *out = tokenizer;
    return SY_OK;
}

void sy_tokenizer_destroy(struct sy_tokenizer *tokenizer) { free(tokenizer); }

int32_t sy_tokenizer_n_ids(const struct sy_tokenizer *tokenizer) {
    (void)tokenizer;
    return SY_TOKEN_BYTE_IDS;
}

int32_t sy_tokenizer_bos(const struct sy_tokenizer *tokenizer) {
    (void)tokenizer;
    return SY_TOKEN_BOS;
}

int32_t sy_tokenizer_eos(const struct sy_tokenizer *tokenizer) {
    (void)tokenizer;
    return SY_TOKEN_EOS;
}

int32_t sy_tokenizer_pad(const struct sy_tokenizer *tokenizer) {
    (void)tokenizer;
    return SY_TOKEN_PAD;
}

sy_status sy_tokenizer_encode(const struct sy_tokenizer *tokenizer, const void *text, size_t bytes,
                              int32_t *tokens, size_t capacity, size_t *n_tokens) {
    (void)tokenizer;
    if (bytes > capacity)
        SY_FAIL(SY_ERR_USAGE, "%zu bytes of text are %zu tokens, there is room for %zu", bytes, bytes,
                capacity);
    const unsigned char *s = text;
    for (size_t i = 0; i < bytes; i++)
        tokens[i] = s[i];
    *n_tokens = bytes;
    return SY_OK;
}

sy_status sy_tokenizer_decode(const struct sy_tokenizer *tokenizer, const int32_t *tokens, size_t n_tokens,
                              char *text, size_t capacity, size_t *bytes) {
    size_t n = 0;
    for (size_t i = 0; i < n_tokens; i++) {
        int32_t token = tokens[i];
        if (token < 0 || token >= tokenizer->vocab_size)
            SY_FAIL(SY_ERR_DATA, "token %zu is %" PRId32 ", outside the vocabulary of %" PRId32, i, token,
                    tokenizer->vocab_size);
        if (token > 255)
            continue;
        if (n == capacity)
            SY_FAIL(SY_ERR_USAGE, "%zu tokens need more than the %zu bytes there is room for", n_tokens,
                    capacity);
        text[n++] = (char)(unsigned char)token;
    }
    *bytes = n;
    return SY_OK;
}
