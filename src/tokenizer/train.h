/* Training a byte-level BPE: the most frequent pair of neighbours becomes a token, again and again.
 *
 * A text is normalised and split by a pattern; a word is its bytes, with the number of times it occurs.
 * Equal counts: the pair with the smaller ids (left, then right) is first, so that the result is a function
 * of the words and their counts alone. Ids: special tokens, the bytes in the order of their characters
 * (alphabet.h), merged tokens. A pair that makes a token that is there already is a merge to that token.
 */
#ifndef SY_TOKENIZER_TRAIN_H
#define SY_TOKENIZER_TRAIN_H

#include "tokenizer/tokenizer.h"

/* Before a word's bytes are merged: digits in threes, letters with what stands before them, spaces. */
#define SY_TRAIN_PATTERN                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}{1,3}" \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

struct sy_train_bpe {
    int32_t vocab_size;      /* most tokens in all */
    int64_t min_frequency;   /* of a pair that becomes a token; at least 1 */
    const char *pattern;     /* NULL: SY_TRAIN_PATTERN */
    int nfc;                 /* 1: texts are made NFC first */
    const char *const *more; /* special tokens besides <|bos|>, <|eos|>, <|pad|> */
    int n_more;
};

struct sy_bpe_trainer;

/* Local. Errors: ERR_USAGE vocab_size too small, a special token twice; those of sy_regex_create. */
sy_status sy_bpe_trainer_create(const struct sy_train_bpe *options, struct sy_bpe_trainer **out);
void sy_bpe_trainer_destroy(struct sy_bpe_trainer *trainer);

/* Local. Counts the words of a text, valid UTF-8. Errors: ERR_MEMORY, those of sy_regex_find. */
sy_status sy_bpe_trainer_add(struct sy_bpe_trainer *trainer, const char *text, size_t n);

/* Local. Merges, then both files; *n_tokens is how many there are. Once. Errors: ERR_MEMORY. */
sy_status sy_bpe_trainer_finish(struct sy_bpe_trainer *trainer, struct sy_text *json, struct sy_text *config,
                                int32_t *n_tokens);

#endif
