/* Any bytes as a tokenizer.json, a zero byte, and a text: refused, or every id is a token of the file and all
 * of them decode; the words' table changes nothing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/encode.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode_twice(const struct sy_bpe *bpe, const char *text, size_t n) {
    struct sy_encoding *e = NULL;
    struct sy_tokens once = {0}, twice = {0};
    if (sy_encoding_create(bpe, &e) != SY_OK)
        return;
    sy_status a = sy_encoding_add(e, text, n, &once), b = sy_encoding_add(e, text, n, &twice);
    if (a == SY_OK && b == SY_OK)
        require(once.n == twice.n &&
                (once.n == 0 || memcmp(once.id, twice.id, once.n * sizeof *once.id) == 0));
    for (size_t i = 0; i < once.n; i++) {
        size_t bytes = 0;
        require(once.id[i] >= 0 && once.id[i] < bpe->n_ids && sy_bpe_spelling(bpe, once.id[i], &bytes));
        require(bpe->decoded_at[once.id[i]] <= bpe->decoded_at[once.id[i] + 1]);
    }
    free(once.id);
    free(twice.id);
    sy_encoding_destroy(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *json = (const char *)data, *zero = size ? memchr(json, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - json) : size;
    struct sy_bpe *bpe = NULL;
    sy_status status = sy_bpe_parse("fuzz", json, n, &bpe);
    require(status == SY_OK || status == SY_ERR_DATA || status == SY_ERR_UNAVAILABLE ||
            status == SY_ERR_MEMORY);
    if (status == SY_OK && zero) {
        const char *text = zero + 1;
        encode_twice(bpe, text, sy_utf8_span(text, size - n - 1));
    }
    sy_bpe_destroy(bpe);
    return 0;
}
