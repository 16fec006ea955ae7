/* What is done to a text before its words are merged: normalisers, then pre-tokenizers, in the file's order.
 *
 * A normaliser makes a text of a text. A pre-tokenizer makes pieces of a piece; the next one gets each of
 * them alone, as a text that has a beginning and an end.
 */
#ifndef SY_TOKENIZER_STEPS_H
#define SY_TOKENIZER_STEPS_H

#include "tokenizer/regex.h"

enum { SY_MAX_STEPS = 16 };

enum sy_step_kind {
    SY_STEP_FORM,     /* NFC, NFD, NFKC, NFKD */
    SY_STEP_PREPEND,  /* `text` before a text that is not empty */
    SY_STEP_REPLACE,  /* every match becomes `content` */
    SY_STEP_SPLIT,    /* at every match */
    SY_STEP_PREFIX,   /* a space before a piece that begins with none */
    SY_STEP_METASPACE /* spaces become `text`, which is put in front, too, and begins a piece */
};

enum sy_split { SY_SPLIT_REMOVED, SY_SPLIT_ISOLATED, SY_SPLIT_PREVIOUS, SY_SPLIT_NEXT, SY_SPLIT_CONTIGUOUS };
enum sy_scheme { SY_SCHEME_ALWAYS, SY_SCHEME_FIRST, SY_SCHEME_NEVER };

struct sy_step {
    enum sy_step_kind kind;
    int options;            /* of FORM: utf8proc's */
    enum sy_split split;    /* of SPLIT */
    int invert;             /* of SPLIT: what does not match is the match */
    enum sy_scheme scheme;  /* of METASPACE */
    int splits;             /* of METASPACE */
    struct sy_regex *regex; /* the pattern, or NULL: it is `text` */
    char *text, *content;
    size_t text_bytes, content_bytes;
};

/* Local. Frees what it owns. */
void sy_step_fini(struct sy_step *step);

/* What is done with the pieces at the end; a piece is valid during the call. */
typedef sy_status (*sy_piece_fn)(void *user, const char *piece, size_t n);

/* Buffers of a thread; {0} but for the matcher at first. */
struct sy_stepping {
    struct sy_matcher *matcher;
    struct sy_text normal[2], piece[SY_MAX_STEPS];
};
void sy_stepping_fini(struct sy_stepping *s);

/* Local. *text and *n become the normalised text, valid until the next call. Errors: ERR_MEMORY, those of
 * sy_regex_find. */
sy_status sy_normalize(const struct sy_step *step, int n_steps, struct sy_stepping *s, const char **text,
                       size_t *n);

/* Local. Every piece that is not empty to fn, in order. `at_start`: the text is the beginning of a
 * document. Errors: fn's, and as above. */
struct sy_pieces {
    const struct sy_step *step;
    int n_steps;
    struct sy_stepping *stepping;
    sy_piece_fn fn;
    void *user;
};
sy_status sy_split_text(const struct sy_pieces *p, const char *text, size_t n, int at_start);

#endif
