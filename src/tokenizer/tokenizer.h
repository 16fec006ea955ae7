/* Text to tokens and back: bytes, or what a tokenizer.json says.
 *
 *     "byte": 0 … 255 the bytes, 256 BOS, 257 EOS, 258 PAD
 *     a tokenizer.json, or a folder with one: its ids (model.h says what is known of such files)
 *
 * Ids from sy_tokenizer_n_ids to vocab_size-1 never occur in data and are never sampled. A document is
 * BOS text EOS; a tokenizer may have no BOS.
 */
#ifndef SY_TOKENIZER_TOKENIZER_H
#define SY_TOKENIZER_TOKENIZER_H

#include "base/status.h"
#include "base/text.h"
#include "tokenizer/tokens.h"

enum {
    SY_TOKEN_BOS = 256, /* of "byte" */
    SY_TOKEN_EOS = 257,
    SY_TOKEN_PAD = 258,
    SY_TOKEN_BYTE_IDS = 259,
    SY_TOKEN_NONE = -1,
    SY_LABEL_NONE = -100
};

struct sy_tokenizer_options {
    const char *path; /* "byte" (NULL too), a tokenizer.json, or a folder with one */
    /* Which tokens begin and end a document, as the file spells them; "none": no BOS. NULL or "": what
     * tokenizer_config.json beside the file says, else its post_processor, else config.json, else its only
     * special token. */
    const char *bos, *eos;
    int64_t vocab_size; /* of the model; 0: as many as the tokenizer has */
    int any_ends;       /* 1: EOS may be missing, too */
};

struct sy_tokenizer;

/* Local. Errors: ERR_USAGE vocab_size below n_ids (both are named), no such token, no EOS; ERR_IO,
 * ERR_DATA, ERR_UNAVAILABLE name the file and the field; ERR_MEMORY. */
sy_status sy_tokenizer_create(const struct sy_tokenizer_options *o, struct sy_tokenizer **out);
void sy_tokenizer_destroy(struct sy_tokenizer *tokenizer);

/* Local. Ids that have a meaning: 0 … n_ids-1; the sampler chooses among these, less BOS and PAD. BOS may
 * be SY_TOKEN_NONE; PAD is EOS where the files name none. */
int32_t sy_tokenizer_n_ids(const struct sy_tokenizer *tokenizer);
int32_t sy_tokenizer_bos(const struct sy_tokenizer *tokenizer);
int32_t sy_tokenizer_eos(const struct sy_tokenizer *tokenizer);
int32_t sy_tokenizer_pad(const struct sy_tokenizer *tokenizer);
int sy_tokenizer_is_byte(const struct sy_tokenizer *tokenizer);
int sy_tokenizer_is_special(const struct sy_tokenizer *tokenizer, int32_t id);
int sy_tokenizer_has(const struct sy_tokenizer *tokenizer, int32_t id); /* 0: a hole between its ids */

/* Local. The id of a token as the file spells it, or SY_TOKEN_NONE. */
int32_t sy_tokenizer_find(const struct sy_tokenizer *tokenizer, const char *token);

/* Local. XXH3-128 of the tokenizer.json, BOS and EOS, as 32 hex digits; "byte" of bytes. */
const char *sy_tokenizer_hash(const struct sy_tokenizer *tokenizer);

/* Local. The tokenizer.json and the tokenizer_config.json that stand for it in a model's folder; of the
 * tokenizer. */
const char *sy_tokenizer_json(const struct sy_tokenizer *tokenizer, size_t *bytes);
const char *sy_tokenizer_config(const struct sy_tokenizer *tokenizer, size_t *bytes);

/* What one thread encodes with; the tokenizer must outlive it. */
struct sy_encoder;
sy_status sy_encoder_create(const struct sy_tokenizer *tokenizer, struct sy_encoder **out);
void sy_encoder_destroy(struct sy_encoder *encoder);

/* Local. Adds the tokens of a text, without BOS and EOS. Errors: ERR_DATA names the first byte that is not
 * UTF-8 ("byte" takes any), or a pattern that takes too many steps; ERR_MEMORY. */
sy_status sy_encoder_add(struct sy_encoder *encoder, const char *text, size_t bytes, struct sy_tokens *out);

/* Local. The same with an encoder for this one text. */
sy_status sy_tokenizer_encode(const struct sy_tokenizer *tokenizer, const char *text, size_t bytes,
                              struct sy_tokens *out);

enum {
    SY_DECODE_START = 1,  /* a text begins here: the space that its first word was given goes */
    SY_DECODE_SPECIAL = 2 /* special tokens by their names, and not left out */
};

/* Local. Adds the bytes of the tokens; those that are not UTF-8 stay what they are. Errors: ERR_DATA a token
 * outside the vocabulary; ERR_MEMORY. */
sy_status sy_tokenizer_decode(const struct sy_tokenizer *tokenizer, const int32_t *tokens, size_t n_tokens,
                              int flags, struct sy_text *out);

#endif
