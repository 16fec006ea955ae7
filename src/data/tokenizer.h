/* Text to tokens and back. In this release one tokenizer: "byte", where a token is a byte.
 *
 *     0 … 255 the bytes     256 BOS     257 EOS     258 PAD     259 … vocab_size-1 never occur in data,
 * never sampled
 */
#ifndef SY_DATA_TOKENIZER_H
#define SY_DATA_TOKENIZER_H

#include "base/status.h"

enum {
    SY_TOKEN_BOS = 256,
    SY_TOKEN_EOS = 257,
    SY_TOKEN_PAD = 258,
    SY_TOKEN_BYTE_IDS = 259,
    SY_LABEL_NONE = -100
};

struct sy_tokenizer;

/* Local. `path` is "byte" or NULL. Errors: ERR_USAGE vocab_size below 259, ERR_UNAVAILABLE another path.
 */
sy_status sy_tokenizer_create(const char *path, int64_t vocab_size, struct sy_tokenizer **out);
void sy_tokenizer_destroy(struct sy_tokenizer *tokenizer);

/* Local. Ids that have a meaning: 0 … n_ids-1 (259); the sampler chooses among these, less BOS and PAD.
 */
int32_t sy_tokenizer_n_ids(const struct sy_tokenizer *tokenizer);
int32_t sy_tokenizer_bos(const struct sy_tokenizer *tokenizer);
int32_t sy_tokenizer_eos(const struct sy_tokenizer *tokenizer);
int32_t sy_tokenizer_pad(const struct sy_tokenizer *tokenizer);

/* Local. Tokens of the text alone, without BOS and EOS. Errors: ERR_USAGE with both numbers when
 * capacity is too small (the byte tokenizer needs `bytes` tokens). */
sy_status sy_tokenizer_encode(const struct sy_tokenizer *tokenizer, const void *text, size_t bytes,
                              int32_t *tokens, size_t capacity, size_t *n_tokens);

/* Local. Bytes of the tokens; BOS, EOS, PAD and unused ids give none. Errors: ERR_DATA a token outside
 * the vocabulary; ERR_USAGE capacity too small (`n_tokens` bytes always suffice). No NUL is added. */
sy_status sy_tokenizer_decode(const struct sy_tokenizer *tokenizer, const int32_t *tokens, size_t n_tokens,
                              char *text, size_t capacity, size_t *bytes);

#endif
