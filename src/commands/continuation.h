/* How a prompt goes on: tokens are sampled until the text's end, a stop, or max_tokens. One at a time, from
 * logits that others compute, so that several texts go on together.
 *
 * Text is handed out as soon as no stop can begin in it, once it is this text's turn. With `json` it is one
 * object, at its end:
 *
 *     {"prompt":"…","number":0,"sample":0,"prompt_tokens":5,"text":"…","tokens":[…],"end":"length"}
 *
 * number: of the prompt, sample: of its samples, both from 0; text: without the prompt, and without a stop;
 * tokens: all that were sampled, without EOS; end: what ended it, "eos", "stop", "length" or "interrupted".
 * What is not UTF-8 is U+FFFD there.
 */
#ifndef SY_COMMANDS_CONTINUATION_H
#define SY_COMMANDS_CONTINUATION_H

#include "base/text.h"
#include "commands/sampling.h"
#include "tokenizer/tokenizer.h"

struct sy_continuation_options {
    const struct sy_tokenizer *tokenizer;
    struct sy_sampling how;
    const char *const *stops; /* [n_stops], none empty */
    int n_stops;
    int json;
    int64_t number; /* of the prompt */
    const struct sy_io *io;
};

struct sy_continuation;

/* Local. The prompt's tokens, behind the one that texts begin with. Errors: ERR_USAGE none at all; of the
 * tokenizer. */
sy_status sy_prompt_tokens(const struct sy_tokenizer *tokenizer, const struct sy_text *prompt,
                           struct sy_tokens *out);

/* Local. Begins one; options and prompt outlive it. Errors: those of sy_prompt_tokens; ERR_MEMORY. Owned by
 * the caller. */
sy_status sy_continuation_create(const struct sy_continuation_options *options, const struct sy_text *prompt,
                                 struct sy_continuation **out);
void sy_continuation_destroy(struct sy_continuation *continuation);

/* Its tokens until now; NULL: it has ended. */
const int32_t *sy_continuation_ids(const struct sy_continuation *continuation, int64_t *n);

/* Local. Chooses its next token by the logits [vocab] after them. What goes wrong ends it, and is
 * sy_continuation_finish's to say: texts before it are whole. */
void sy_continuation_add(struct sy_continuation *continuation, const float *logits);

/* It is asked to end where it is. */
void sy_continuation_stop(struct sy_continuation *continuation);

/* Its turn: prompt and text until now are handed out, and from here on what comes. */
void sy_continuation_show(struct sy_continuation *continuation);

/* Local. Of one that has ended, after sy_continuation_show: what is left of it is handed out. *n_sampled
 * grows by the tokens that were sampled. Errors: ERR_NONFINITE a logit; STOPPED; of the tokenizer;
 * ERR_MEMORY. */
sy_status sy_continuation_finish(struct sy_continuation *continuation, int64_t *n_sampled);

#endif
