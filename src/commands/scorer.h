/* A model that is read to say how likely texts are: loaded once, one sequence at a time, no gradients.
 *
 * What is said of a sequence depends on model, tokens and numeric class alone: losses are added as the
 * integers of the step's tally (NUMERICS 3 "Cross entropy"), so that no layout shows in any sum. */
#ifndef SY_COMMANDS_SCORER_H
#define SY_COMMANDS_SCORER_H

#include "ckpt/checkpoint.h"
#include "train/session.h"

struct sy_scorer {
    struct sy_session *session;
    struct sy_tokenizer *tokenizer;
    char digest[SY_DIGEST_CHARS]; /* of the weights */
};

/* Local. Opens and loads a model (ckpt/model_folder.h) in a config that holds run.* options and others, not
 * finished. Errors: those of model folder, tokenizer, session and loading. sy_scorer_fini (of {0} too). */
sy_status sy_scorer_init(struct sy_config *config, const char *model, const struct sy_log *log,
                         struct sy_scorer *out);
void sy_scorer_fini(struct sy_scorer *scorer);

/* The token that a text without context follows: BOS, or EOS of a tokenizer that has no BOS. */
int32_t sy_scorer_prefix(const struct sy_scorer *scorer);

/* Most tokens that are read at once. */
int64_t sy_scorer_length(const struct sy_scorer *scorer);

/* Local. The n tokens as one sequence of one document, n up to sy_scorer_length: for what reads logits. */
struct sy_batch sy_scorer_batch(struct sy_scorer *scorer, const int32_t *id, int64_t n);

/* Tokens, of which first … n-1 are scored; first from 1. Where they are more than sy_scorer_length, windows
 * are made. stride 0: each begins with the last token before those that it scores. Else a window scores
 * `stride` tokens (the first: all it can), and reads as many before them as there is room for. */
struct sy_scored {
    const int32_t *id;
    int64_t n, first;
    int64_t stride; /* up to sy_scorer_length */
};

/* Local. Adds to *nats -ln p of each of the tokens after those before it, in units of 2^-24. Errors:
 * ERR_NONFINITE names the window's tokens; of the device. */
sy_status sy_scorer_nats(struct sy_scorer *scorer, const struct sy_scored *tokens, int64_t *nats);

static inline double sy_scorer_real(int64_t nats) { return (double)nats * 0x1p-24; }

#endif
