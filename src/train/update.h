/* What ends a step (NUMERICS 3, 4 and 6), enqueued and never waited for: tally -> judge -> verdict; AdamW
 * with stored weights and digest, and the expert biases, obey the verdict. The lists of tensors are made
 * once. */
#ifndef SY_TRAIN_UPDATE_H
#define SY_TRAIN_UPDATE_H

#include "base/digest.h"
#include "config/config.h"
#include "parallel/reduce.h"
#include "parallel/keeper.h"
#include "train/state.h"

struct sy_update_options {
    int norm_without_experts; /* a planted bug */
    const struct sy_state *state;
    struct sy_keeper keeper;
    const struct sy_config_moe *moe;
    const struct sy_config *config; /* its groups of tensors */
    int64_t routes;                 /* of a step and layer: T K */
    const int64_t *counts;          /* [n_layers, E] in the exec's memory */
};

struct sy_update;

/* Local. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_update_create(const struct sy_update_options *options, struct sy_update **out);
void sy_update_destroy(struct sy_update *u);

/* The step's scalars but w: t counts applied steps, this one included. */
struct sy_update_step {
    int64_t t;
    double lr, beta1, beta2, eps, weight_decay, max_norm;
};
void sy_update_scalars(const struct sy_update_step *step, struct sy_scalars *out);

/* Enqueued: the norm of the gradients that this rank owns to the tally. */
void sy_update_norm(struct sy_update *u, const struct sy_reduce *g, struct sy_tally *tally);

/* Enqueued: the verdict, and what follows from it; the verdict's digest is that of the
 * rank's weights afterwards. */
struct sy_update_memory { /* in the exec's memory */
    const struct sy_scalars *scalars;
    const struct sy_tally *tally;
    struct sy_verdict *verdict;
};
void sy_update_apply(struct sy_update *u, const struct sy_reduce *g, const struct sy_update_memory *m);

/* Enqueued: BF of every master; the masters' digest onto sum [2]. */
void sy_update_stored(const struct sy_update *u);
void sy_update_digest(const struct sy_update *u, uint64_t *sum);

#endif
