/* A tokenizer as its tokenizer.json has it, read once and then the same for all threads.
 *
 *     text -> added tokens (raw) | normalisers -> added tokens (normalised) | pre-tokenizers -> words
 *          -> characters or bytes -> merges -> ids
 */
#ifndef SY_TOKENIZER_MODEL_H
#define SY_TOKENIZER_MODEL_H

#include "tokenizer/added.h"
#include "tokenizer/merges.h"
#include "tokenizer/steps.h"
#include "tokenizer/strings.h"
#include "tokenizer/tokens.h"

enum { SY_TOKENIZER_MAX_IDS = 1 << 22 };

/* What stands for the spaces of SentencePiece. */
#define SY_METASPACE "\xe2\x96\x81"

enum sy_decoding {
    SY_DECODE_BYTES,    /* characters that stand for bytes */
    SY_DECODE_REPLACED, /* `from` becomes `to`, <0xHH> a byte, and `strip` spaces at the start go */
    SY_DECODE_METASPACE /* `from` becomes a space, or nothing in the first token */
};

struct sy_bpe {
    struct sy_strings vocab;  /* as the file spells them; added ones too */
    struct sy_strings pieces; /* with ignore_merges: as they stand in a word */
    struct sy_merges merges;
    int byte_level;    /* words are bytes, which are spelled by alphabet.h */
    int byte_fallback; /* a character that is no token is its bytes <0xHH> */
    int ignore_merges; /* a word that is a token is not merged */
    int fuse_unk;
    int32_t unk;           /* -1: none, and every text has tokens */
    int32_t byte_id[256];  /* of byte_level or byte_fallback */
    int32_t ascii_id[128]; /* of one character each; -1: none */
    int cuts_at_space;     /* no token has a SY_METASPACE behind another character */
    struct sy_step normalizer[SY_MAX_STEPS], pre[SY_MAX_STEPS];
    int n_normalizers, n_pre;
    struct sy_added *added;
    int32_t n_added;
    struct sy_trie raw, normal; /* of added tokens */
    enum sy_decoding decoding;
    char *from, *to; /* of the decoder; NULL: nothing is replaced */
    int strip, drops_first;
    int32_t n_ids;                      /* the largest id + 1 */
    struct sy_text decoded;             /* what each id decodes to, one after another */
    size_t *decoded_at;                 /* [n_ids + 1] where */
    int32_t *added_of;                  /* [n_ids] which added token it is; -1: none */
    int32_t template_bos, template_eos; /* what the post-processor puts around a text; -1: nothing */
};

/* Local. Reads a tokenizer.json; `name` is the file's in messages. Errors: ERR_DATA broken,
 * ERR_UNAVAILABLE something that is not known here: both name field and value; ERR_MEMORY. */
sy_status sy_bpe_parse(const char *name, const char *json, size_t bytes, struct sy_bpe **out);
void sy_bpe_destroy(struct sy_bpe *bpe);

/* Local. A token's spelling before it is decoded: an added one's is that which is looked for. NULL: a hole. */
const char *sy_bpe_spelling(const struct sy_bpe *bpe, int32_t id, size_t *n);

static inline int sy_bpe_is_special(const struct sy_bpe *bpe, int32_t id) {
    return bpe->added_of[id] >= 0 && bpe->added[bpe->added_of[id]].special;
}

/* What a thread encodes with: buffers, and the words it met last. */
struct sy_words;
sy_status sy_words_create(const struct sy_bpe *bpe, struct sy_words **out);
void sy_words_destroy(struct sy_words *words);

/* Local. Adds a word's ids. Errors: ERR_MEMORY. */
sy_status sy_words_add(struct sy_words *words, const char *text, size_t n, struct sy_tokens *out);

#endif
