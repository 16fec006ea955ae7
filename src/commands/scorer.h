/* A model that is read to say how likely texts are: loaded once, no gradients, several sequences side by
 * side in a pass.
 *
 * What is said of a sequence depends on model, tokens and numeric class alone: no bit depends on which rows
 * are computed together (NUMERICS 1), and losses are added as the integers of the step's tally (NUMERICS 3
 * "Cross entropy"), so that no layout shows in any sum. */
#ifndef SY_COMMANDS_SCORER_H
#define SY_COMMANDS_SCORER_H

#include "ckpt/checkpoint.h"
#include "train/session.h"

enum { SY_SCORER_MOST = 64 }; /* sequences of a pass */

struct sy_scorer {
    struct sy_session *session;
    struct sy_tokenizer *tokenizer;
    char digest[SY_DIGEST_CHARS];             /* of the weights */
    struct sy_text_rows rows[SY_SCORER_MOST]; /* of the last batch */
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

/* Tokens of one document, up to sy_scorer_length. */
struct sy_sequence {
    const int32_t *id;
    int64_t n;
};
/* Local. As many of the n sequences, from the first on, as a pass has room for: for what reads logits, rows
 * of which are those of the sequences one behind the other. Returns how many; n at least 1. */
int64_t sy_scorer_together(const struct sy_scorer *scorer, int64_t n, const struct sy_sequence *sequences);
struct sy_batch sy_scorer_batch(struct sy_scorer *scorer, int64_t n, const struct sy_sequence *sequences);

/* Tokens, of which first … n-1 are scored; first from 1. Where they are more than sy_scorer_length, windows
 * are made. stride 0: each begins with the last token before those that it scores. Else a window scores
 * `stride` tokens (the first: all it can), and reads as many before them as there is room for. */
struct sy_scored {
    const int32_t *id;
    int64_t n, first;
    int64_t stride; /* up to sy_scorer_length */
    int64_t nats;   /* grows by -ln p of each of the tokens after those before it, in units of 2^-24 */
};

/* Local. The nats of n texts, which are read together. Errors: ERR_NONFINITE, of the first text that has
 * one, names the window's tokens, and *which the text; of the device, *which is 0. */
sy_status sy_scorer_nats(struct sy_scorer *scorer, int64_t n, struct sy_scored *texts, int64_t *which);

static inline double sy_scorer_real(int64_t nats) { return (double)nats * 0x1p-24; }

#endif
