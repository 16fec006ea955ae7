/* Any bytes as a text file, plain, gzip or zstd: what is refused is replaced on request, and nothing
 * else is touched. The pieces that come out are whole UTF-8 without zero bytes; the kind of the file
 * depends on the bytes alone.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"
#include "formats/kinds.h"
#include "formats/plain_text.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* At most a MiB of it, since a small input may unpack to very much. */
static sy_status read_all(struct sy_source *source, int replace, struct sy_text *out, int64_t *replaced) {
    struct sy_plain_text *text = NULL;
    const char *piece = NULL;
    size_t n = 1;
    SY_TRY(sy_plain_text_open(source, replace, &text));
    sy_status status = SY_OK;
    while (n > 0 && status == SY_OK && out->n < 1 << 20) {
        status = sy_plain_text_next(text, &piece, &n);
        if (status == SY_OK) {
            require(sy_utf8_span(piece, n) == n && (n == 0 || !memchr(piece, 0, n)));
            if (!sy_text_add(out, piece, n))
                status = sy_fail(SY_ERR_MEMORY, "no memory");
        }
    }
    *replaced = sy_plain_text_replaced(text);
    sy_plain_text_close(text);
    return status;
}

static sy_status run(const uint8_t *data, size_t size, int replace, struct sy_text *out, int64_t *replaced) {
    struct sy_source *source = NULL;
    const char *head;
    size_t n;
    SY_TRY(sy_source_open_memory("fuzz", data, size, &source));
    sy_status status = sy_source_peek(source, &head, &n);
    if (status == SY_OK)
        require(sy_kind_of(head, n, 0) == NULL || sy_kind_of(head, n, 1) != NULL);
    if (status == SY_OK)
        status = read_all(source, replace, out, replaced);
    sy_source_close(source);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sy_text strict = {0}, loose = {0};
    int64_t replaced = 0, none = 0;
    sy_status a = run(data, size, 0, &strict, &none), b = run(data, size, 1, &loose, &replaced);
    require(a == SY_OK || a == SY_ERR_DATA || a == SY_ERR_MEMORY);
    require(none == 0);
    if (a == SY_OK && b == SY_OK) {
        require(replaced == 0 && strict.n == loose.n &&
                (strict.n == 0 || memcmp(strict.s, loose.s, strict.n) == 0));
        int packed = size >= 2 && (memcmp(data, "\x1f\x8b", 2) == 0 || data[1] == 0xb5 || data[1] == 0x2a);
        size_t mark = size >= 3 && memcmp(data, SY_UTF8_BOM, 3) == 0 ? 3 : 0;
        if (!packed && size < 1 << 20)
            require(strict.n == size - mark &&
                    (strict.n == 0 || memcmp(strict.s, data + mark, strict.n) == 0));
    } else if (a == SY_ERR_DATA && b == SY_OK) {
        require(replaced > 0);
    }
    free(strict.s);
    free(loose.s);
    return 0;
}
