/* Writing tokenizer.json and tokenizer_config.json, as Hugging Face's libraries read them. */
#ifndef SY_TOKENIZER_WRITE_H
#define SY_TOKENIZER_WRITE_H

#include "base/status.h"
#include "base/text.h"

struct sy_made { /* a merge: left, right become into */
    int32_t left, right, into;
};

/* A byte-level BPE. */
struct sy_written_bpe {
    const struct sy_made *made; /* in the order of their ranks; sides are bytes or made before */
    int32_t n_made, n_ids;      /* merges; the largest id + 1 */
    const int32_t *byte_id;     /* [256] */
    const char *const *special; /* [n_special] their texts, with ids from first_special on */
    int32_t n_special, first_special;
    int32_t bos, eos, pad; /* which special token; -1: none */
    const char *pattern;   /* of a Split before ByteLevel; NULL: none */
    const char *form;      /* "NFC", or NULL */
};

/* Local. Errors: ERR_MEMORY. */
sy_status sy_write_tokenizer(const struct sy_written_bpe *w, struct sy_text *json, struct sy_text *config);

/* Local. The byte tokenizer's: 259 tokens, no merges. */
sy_status sy_write_byte_tokenizer(struct sy_text *json, struct sy_text *config);
const char *sy_byte_token_name(int32_t id); /* of 256, 257, 258 */

#endif
