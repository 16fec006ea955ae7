/* The weights of a step that ranks have updated in parts, brought to all of them: matrices as they are stored,
 * vectors as the masters are. Layer by layer. */
#ifndef SY_TRAIN_SPREAD_H
#define SY_TRAIN_SPREAD_H

#include "parallel/gather.h"
#include "parallel/resident.h"
#include "train/state.h"

struct sy_spread_options {
    const struct sy_state *state;
    const struct sy_resident *resident; /* without memory to measure */
    const struct sy_groups *groups;
    const struct sy_exec *exec;
};

struct sy_spread;

/* Local. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_spread_create(const struct sy_spread_options *options, struct sy_spread **out);
void sy_spread_destroy(struct sy_spread *s);

/* Collective over the data-parallel ranks. Errors: of the device, ERR_PEER. */
sy_status sy_spread_run(struct sy_spread *s);

#endif
