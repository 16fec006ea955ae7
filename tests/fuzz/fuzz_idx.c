/* Any bytes as an index of Megatron's, and any as the ids beside it: refused, or the documents stand one
 * behind another inside of the ids, and what was counted is what they have. An index of ours that is made
 * of the pair gives the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/token_writer.h"
#include "placed.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sy_token_options options = {"byte", 259, 256, 257};

static void check(const struct sy_token_file *f) {
    int64_t end = 0, tokens = 0, counted = 0;
    for (int64_t i = 0; i < f->n_documents; i++) {
        const struct sy_token_document *d = &f->document[i];
        int32_t last;
        require(d->n >= 1 && d->first >= end && d->first <= f->n - d->n && d->bytes == 4 * d->n);
        end = d->first + d->n;
        tokens += d->n;
        require(sy_token_file_read(f, end - 1, 1, &last) == SY_OK && last >= 0 && last < f->n_ids);
    }
    for (int32_t id = 0; id < f->n_ids; id++)
        counted += f->counts[id];
    require(counted == tokens);
}

static void again_by_index(const char *path, const struct sy_token_file *f, int index,
                           const char *index_path) {
    struct sy_token_file *again = NULL;
    placed_fill(index, "", 0);
    if (sy_token_index_write(index_path, dup(index), f, options.tokenizer, NULL, 0) != SY_OK)
        return;
    if (sy_token_file_open_indexed(path, index_path, &options, &again) == SY_OK) {
        require(again->n_documents == f->n_documents && again->n_empty == f->n_empty);
        require(!f->n_documents ||
                memcmp(again->document, f->document, (size_t)f->n_documents * sizeof *f->document) == 0);
    } else {
        require(strstr(sy_error_message(), "memory") != NULL);
    }
    sy_token_file_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int idx = -1, bin, index;
    static const char *path, *index_path;
    struct sy_token_file *f = NULL;
    size_t n = size ? 1 + data[0] : 0; /* of the ids, which stand behind their number */
    if (idx < 0) {
        idx = placed_file("m.idx", &path);
        bin = placed_file("m.bin", NULL);
        index = placed_file("m.index", &index_path);
    }
    n = n < size ? n : size;
    placed_fill(bin, data + (n > 0), n ? n - 1 : 0);
    placed_fill(idx, data + n, size - n);
    if (sy_token_file_open(path, &options, &f) != SY_OK) {
        require(!f && sy_error_message()[0]);
        return 0;
    }
    check(f);
    again_by_index(path, f, index, index_path);
    sy_token_file_close(f);
    return 0;
}
