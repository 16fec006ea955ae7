/* Any bytes as JSON Lines, plain, gzip or zstd: texts come out or an error does; going twice gives the
 * same; the bad lines counted stay within the bound. Output is limited, since a small input may unpack
 * to very much.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/jsonl.h"
#include "formats/jsonl_source.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* FNV-1a of the texts, their line numbers and the way it ended. */
static uint64_t run(const uint8_t *data, size_t size, int replace) {
    int64_t n_bad = 0;
    struct sy_jsonl_options options = {
        .max_line_bytes = 4096, .max_bad_lines = 8, .n_bad_lines = &n_bad, .replace = replace};
    struct sy_source *source = NULL;
    struct sy_jsonl *jsonl = NULL;
    const char *head;
    size_t n_head;
    int yes = 0;
    require(sy_source_open_memory("fuzz", data, size, &source) == SY_OK);
    sy_status status = sy_source_peek(source, &head, &n_head);
    if (status == SY_OK)
        status = sy_jsonl_recognize(head, n_head, n_head < SY_SOURCE_HEAD_BYTES, NULL, &yes);
    if (sy_jsonl_open(source, &options, &jsonl) != SY_OK) {
        sy_source_close(source);
        require(0);
    }
    uint64_t h = 0xcbf29ce484222325u;
    int64_t line = 0;
    for (int n = 0; n < 2000 && status == SY_OK; n++) {
        const char *text = NULL;
        size_t bytes = 0;
        status = sy_jsonl_next(jsonl, &text, &bytes);
        if (status != SY_OK || !text)
            break;
        require(sy_jsonl_line(jsonl) > line && bytes <= 3 * 4096 && text[bytes] == 0);
        line = sy_jsonl_line(jsonl);
        for (size_t i = 0; i < bytes; i++)
            h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
        require(sy_utf8_span(text, bytes) == bytes);
        h = (h ^ (uint64_t)line) * 0x100000001b3u;
    }
    require(n_bad <= 9);
    require(status == SY_OK || status == SY_ERR_DATA || status == SY_ERR_MEMORY);
    require(sy_source_stored_bytes(source) <= (int64_t)size);
    sy_jsonl_close(jsonl);
    sy_source_close(source);
    return h ^ (uint64_t)status ^ (uint64_t)yes << 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    require(run(data, size, 0) == run(data, size, 0) && run(data, size, 1) == run(data, size, 1));
    return 0;
}
