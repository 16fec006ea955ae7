/* The weights of a rank, as the model reads them: all of them (parallel/resident.h), or a shard that is
 * gathered with those of others (parallel/sharded.h); and how an update of the masters reaches them
 * (spread.h). */
#ifndef SY_TRAIN_WEIGHTS_H
#define SY_TRAIN_WEIGHTS_H

#include "parallel/resident.h"
#include "parallel/sharded.h"
#include "parallel/tied.h"
#include "train/spread.h"
#include "train/state.h"

struct sy_weights_options {
    const struct sy_config *config;
    const struct sy_params *params;
    const struct sy_exec *exec;
    const struct sy_mesh *mesh;
    const struct sy_groups *groups; /* neither read by measure */
    const struct sy_state *state;
};

struct sy_weights {
    struct sy_resident *resident; /* one of the two */
    struct sy_sharded *sharded;
    struct sy_spread *spread; /* NULL: one rank */
    struct sy_tied tied;      /* of stages */
    int stale;                /* planted: what was gathered stays */
    struct sy_keeper keeper;
    struct sy_weight_source source;
};

/* Local. Adds what init takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_weights_measure(const struct sy_weights_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_MEMORY with the bytes. sy_weights_fini (of {0} too). */
sy_status sy_weights_init(const struct sy_weights_options *options, struct sy_weights *out);
void sy_weights_fini(struct sy_weights *w);

/* Collective. The kept elements that this rank owns have changed: all ranks that keep the same get them.
 * Errors: of the device, ERR_PEER. */
sy_status sy_weights_changed(struct sy_weights *w);

/* Local. What failed in the source, which has no status of its own. */
sy_status sy_weights_status(const struct sy_weights *w);

/* Bytes of weights that this rank has sent to others. */
int64_t sy_weights_sent(const struct sy_weights *w);

#endif
