/* The weights of a step that ranks have updated in parts, brought to all ranks that keep the same (keeper.h):
 * matrices as they are stored, vectors as the masters are. Layer by layer. */
#ifndef SY_TRAIN_SPREAD_H
#define SY_TRAIN_SPREAD_H

#include "parallel/gather.h"
#include "parallel/keeper.h"
#include "parallel/mesh.h"
#include "train/state.h"

struct sy_spread_options {
    const struct sy_params *params;
    const struct sy_mesh *mesh;
    const struct sy_exec *exec;
    const struct sy_state *state; /* NULL to measure, as the two below */
    const struct sy_keeper *keeper;
    const struct sy_groups *groups;
};

struct sy_spread;

/* Local. Adds what create takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_spread_measure(const struct sy_spread_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_spread_create(const struct sy_spread_options *options, struct sy_spread **out);
void sy_spread_destroy(struct sy_spread *s);

/* Collective over the ranks that keep the same. Errors: of the device, ERR_PEER. */
sy_status sy_spread_run(struct sy_spread *s);

/* Bytes that this rank has sent to others. */
int64_t sy_spread_sent(const struct sy_spread *s);

#endif
