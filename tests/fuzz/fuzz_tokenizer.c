/* Any bytes as text: encode then decode gives them back. The same bytes as 32-bit tokens: decode refuses or
 * its text is no longer than the tokens and, encoded again, is a fixed point.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition) {
    if (!condition)
        abort();
}

static void text_round_trip(const struct sy_tokenizer *t, const uint8_t *data, size_t size, int32_t *tokens,
                            char *text) {
    size_t n = 0, bytes = 0;
    require(sy_tokenizer_encode(t, data, size, tokens, size, &n) == SY_OK);
    require(sy_tokenizer_decode(t, tokens, n, text, size, &bytes) == SY_OK);
    require(bytes == size && (size == 0 || memcmp(text, data, size) == 0));
}

static void tokens_to_text(const struct sy_tokenizer *t, const uint8_t *data, size_t size, int32_t *tokens,
                           char *text) {
    size_t n = size / 4, bytes = 0, again = 0;
    if (n)
        memcpy(tokens, data, 4 * n);
    if (sy_tokenizer_decode(t, tokens, n, text, n, &bytes) != SY_OK)
        return;
    require(bytes <= n);
    require(sy_tokenizer_encode(t, text, bytes, tokens, n, &again) == SY_OK && again == bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sy_tokenizer *t = NULL;
    int64_t vocab_size = size ? 250 + data[0] : 259;
    sy_status status = sy_tokenizer_create("byte", vocab_size, &t);
    require((status == SY_OK) == (vocab_size >= 259));
    if (status != SY_OK)
        return 0;
    int32_t *tokens = malloc((size + 1) * sizeof *tokens);
    char *text = malloc(size + 1);
    if (tokens && text) {
        text_round_trip(t, data, size, tokens, text);
        tokens_to_text(t, data, size, tokens, text);
    }
    free(tokens);
    free(text);
    sy_tokenizer_destroy(t);
    return 0;
}
