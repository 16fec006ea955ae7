/* How a prompt goes on: tokens are sampled until the text's end, a stop, or max_tokens.
 *
 * Text is handed out as soon as no stop can begin in it. With `json` it is one object, at its end:
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
#include "train/context.h"

struct sy_continuation_options {
    struct sy_context *model;
    const struct sy_tokenizer *tokenizer;
    struct sy_sampling how;
    const char *const *stops; /* [n_stops], none empty */
    int n_stops;
    int json;
    int64_t number; /* of the prompt */
    const struct sy_io *io;
};

/* Local. *n_sampled grows by the tokens that were sampled. Errors: ERR_NONFINITE a logit; STOPPED; of the
 * tokenizer and the device; ERR_MEMORY. */
sy_status sy_continue(const struct sy_continuation_options *options, const struct sy_text *prompt,
                      int64_t *n_sampled);

#endif
