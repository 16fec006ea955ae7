/* Writing tokenizer.json and tokenizer_config.json, as Hugging Face's libraries read them. */
#ifndef SY_TOKENIZER_WRITE_H
#define SY_TOKENIZER_WRITE_H

#include "base/status.h"
#include "base/text.h"

/* A byte-level BPE: ids are bytes as alphabet.h orders them, merges, special tokens. */
struct sy_written_bpe {
    const int32_t (*merge)[2]; /* [n_merges] ids of both sides; merge i makes first_merged + i */
    int32_t n_merges, first_merged;
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
