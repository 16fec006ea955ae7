/* What a thread turns text into ids with, of a tokenizer.json. */
#ifndef SY_TOKENIZER_ENCODE_H
#define SY_TOKENIZER_ENCODE_H

#include "tokenizer/model.h"

struct sy_encoding;

/* Local. `bpe` must outlive it. Errors: ERR_MEMORY. */
sy_status sy_encoding_create(const struct sy_bpe *bpe, struct sy_encoding **out);
void sy_encoding_destroy(struct sy_encoding *e);

/* Local. Adds the ids of valid UTF-8. Errors: ERR_MEMORY, those of sy_regex_find. */
sy_status sy_encoding_add(struct sy_encoding *e, const char *text, size_t n, struct sy_tokens *out);

#endif
