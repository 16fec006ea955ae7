/* Any bytes as a file of tokens, ours or llm.c's: refused, or every document lies inside it and can be
 * read, and every id that is read is one of the tokenizer's. As a stranger's file of ours never has the
 * right digest, the same bytes are also tried with sums and digest put right.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "formats/safetensors.h"
#include "formats/token_parts.h"
#include "placed.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sy_token_options options = {"byte", 259, 256, 257};

static void read_document(const struct sy_token_file *f, const struct sy_token_document *d) {
    int32_t id[256];
    require(d->n >= (f->sums ? 0 : 1) && d->bytes >= 1 && d->first >= 0 && d->first <= f->n - d->n);
    for (int64_t at = 0; at < d->n; at += 256) {
        int64_t n = d->n - at < 256 ? d->n - at : 256;
        sy_status status = sy_token_file_read(f, d->first + at, n, id);
        require(status == SY_OK || status == SY_ERR_DATA);
        require(status == SY_ERR_DATA || sy_ids_check(id, n, f->n_ids) == n);
    }
}

static void try_file(const char *path) {
    struct sy_token_file *f = NULL;
    sy_status status = sy_token_file_open(path, &options, &f);
    if (status != SY_OK) {
        require(!f && sy_error_message()[0]);
        return;
    }
    int64_t counted = 0, tokens = 0;
    for (int64_t i = 0; i < f->n_documents && i < 1000; i++)
        read_document(f, &f->document[i]);
    for (int32_t id = 0; id < f->n_ids && !f->sums; id++)
        counted += f->counts[id];
    for (int64_t i = 0; i < f->n_documents && !f->sums; i++)
        tokens += f->document[i].n;
    require(counted == tokens);
    sy_token_file_close(f);
}

static int pair_of(const void *arg, int64_t i, const char **key, const char **value) {
    struct sy_safetensors_pair p = sy_safetensors_metadata_at(arg, i);
    *key = p.key;
    *value = p.value;
    return p.key != NULL;
}

static void put_sums_right(uint8_t *data, const struct sy_safetensors *s) {
    const struct sy_safetensors_tensor *ids = sy_safetensors_find(s, "tokens"),
                                       *sums = sy_safetensors_find(s, "sums");
    for (int64_t i = 0; ids && sums && 8 * i + 8 <= sums->bytes; i++) {
        int64_t at = i * SY_TOKEN_BLOCK_BYTES, left = ids->bytes - at;
        if (left <= 0)
            break;
        uint64_t sum = XXH3_64bits(data + ids->offset + at,
                                   (size_t)(left < SY_TOKEN_BLOCK_BYTES ? left : SY_TOKEN_BLOCK_BYTES));
        memcpy(data + sums->offset + 8 * i, &sum, 8);
    }
}

/* Puts the digest right in place; 0 where there is none. */
static int put_right(uint8_t *data, size_t size) {
    static const char key[] = "\"digest\":\"";
    static const char *const names[] = {"documents", "sums", "counts"};
    struct sy_safetensors *s = NULL;
    struct sy_token_part parts[3] = {{NULL, 0}};
    char digest[33];
    if (sy_safetensors_parse("fuzz", data, size, &s) != SY_OK)
        return 0;
    put_sums_right(data, s);
    for (int i = 0; i < 3; i++) {
        const struct sy_safetensors_tensor *t = sy_safetensors_find(s, names[i]);
        if (t)
            parts[i] = (struct sy_token_part){t->data, (size_t)t->bytes};
    }
    uint8_t *at = memmem(data, size, key, sizeof key - 1);
    int ok =
        at && size - (size_t)(at - data) >= sizeof key - 1 + 32 && sy_token_digest(pair_of, s, parts, digest);
    if (ok)
        memcpy(at + sizeof key - 1, digest, 32);
    sy_safetensors_close(s);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    static const char *path;
    if (fd < 0)
        fd = placed_file("t.bin", &path);
    placed_fill(fd, data, size);
    try_file(path);
    uint8_t *mended = malloc(size + 1);
    if (mended && size)
        memcpy(mended, data, size);
    if (mended && put_right(mended, size)) {
        placed_fill(fd, mended, size);
        try_file(path);
    }
    free(mended);
    return 0;
}
