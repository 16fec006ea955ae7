/* A tokenizer, for its room. */
#ifndef SY_TOKENIZER_INTERNAL_H
#define SY_TOKENIZER_INTERNAL_H

#include "tokenizer/model.h"
#include "tokenizer/tokenizer.h"

enum { SY_TOKENIZER_PATH = 4096, SY_TOKENIZER_MAX_BYTES = 1 << 28 };

struct sy_tokenizer {
    struct sy_bpe *bpe; /* NULL: bytes */
    int32_t n_ids, vocab_size;
    int32_t bos, eos, pad;
    char hash[33];
    struct sy_text json, config; /* tokenizer.json, tokenizer_config.json */
};

/* Local. bos, eos and pad of a tokenizer.json at `file` in `folder`, and its config. Errors: as those of
 * sy_tokenizer_create. */
sy_status sy_tokenizer_ends(struct sy_tokenizer *t, const struct sy_tokenizer_options *o, const char *folder,
                            const char *file);

/* Local. A whole file; ERR_IO, or ERR_DATA if it is larger than SY_TOKENIZER_MAX_BYTES. */
sy_status sy_tokenizer_read_file(const char *path, struct sy_text *out);

#endif
