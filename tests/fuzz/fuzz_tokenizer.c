/* Any bytes as text: encode then decode gives them back. The same bytes as 32-bit tokens: decode refuses or
 * its text is no longer than the tokens and, encoded again, is a fixed point.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_round_trip(const struct sy_tokenizer *t, const uint8_t *data, size_t size) {
    struct sy_tokens tokens = {0};
    struct sy_text text = {0};
    if (sy_tokenizer_encode(t, (const char *)data, size, &tokens) == SY_OK) {
        require(tokens.n == size);
        if (sy_tokenizer_decode(t, tokens.id, tokens.n, 0, &text) == SY_OK)
            require(text.n == size && (size == 0 || memcmp(text.s, data, size) == 0));
    }
    free(tokens.id);
    free(text.s);
}

static void tokens_to_text(const struct sy_tokenizer *t, const uint8_t *data, size_t size) {
    size_t n = size / 4;
    int32_t *ids = malloc(size + 4);
    struct sy_text text = {0};
    struct sy_tokens again = {0};
    if (ids && n)
        memcpy(ids, data, 4 * n);
    if (ids && sy_tokenizer_decode(t, ids, n, 0, &text) == SY_OK) {
        require(text.n <= n);
        if (sy_tokenizer_encode(t, text.s ? text.s : "", text.n, &again) == SY_OK)
            require(again.n == text.n);
    }
    free(ids);
    free(text.s);
    free(again.id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sy_tokenizer *t = NULL;
    int64_t vocab_size = size ? 250 + data[0] : 259;
    sy_status status = sy_tokenizer_create(&(struct sy_tokenizer_options){.vocab_size = vocab_size}, &t);
    require(status == SY_ERR_MEMORY || (status == SY_OK) == (vocab_size >= 259));
    if (status != SY_OK)
        return 0;
    text_round_trip(t, data, size);
    tokens_to_text(t, data, size);
    sy_tokenizer_destroy(t);
    return 0;
}
