/* Gradients over ranks: each rank's tree ends in its maximal nodes; of every tensor the owner (owner.h)
 * gets its part of all ranks' nodes and joins them in the order of the tree (NUMERICS 4). Only bits move; a
 * node is added once, by its owner.
 *
 *     rank's nodes --pack by owner--> all-to-all --> owner's part of every node --join--> its gradient
 *
 * Tensors go in buckets, in the order in which backward completes them, and while it goes on. Dense
 * parameters are reduced over the data-parallel ranks, experts over those that have the same ones. One rank
 * alone has its roots and nothing is moved.
 */
#ifndef SY_PARALLEL_REDUCE_H
#define SY_PARALLEL_REDUCE_H

#include "parallel/gradients.h"
#include "parallel/mesh.h"

struct sy_reduce_options {
    const struct sy_params *params;
    const struct sy_exec *exec;
    const struct sy_mesh *mesh;
    const struct sy_groups *groups;       /* not read by measure */
    const struct sy_gradients *gradients; /* nor this */
    int in_turn;                          /* a planted bug: rank after rank, no tree */
};

struct sy_reduce;

/* Local. Adds what create takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_reduce_measure(const struct sy_reduce_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_MEMORY with the bytes. Owned by the caller. */
sy_status sy_reduce_create(const struct sy_reduce_options *options, struct sy_reduce **out);
void sy_reduce_destroy(struct sy_reduce *r);

/* Before a step's first batch. */
void sy_reduce_begin(struct sy_reduce *r);

/* Collective over the data-parallel ranks, from a step's beginning until run. While backward goes on:
 * buckets that are complete go out. may_wait: also where others must come for that, which is right in
 * the last pass alone, and if all ranks do the same in it. */
void sy_reduce_progress(struct sy_reduce *r, int may_wait);

/* Collective over the data-parallel ranks, after the last batch: the rest of it; returns the agreed status.
 * Errors: `mine`, of the device, ERR_PEER. */
sy_status sy_reduce_run(struct sy_reduce *r, sy_status mine);

/* Bytes that this rank has sent to others since creation. */
int64_t sy_reduce_sent(const struct sy_reduce *r);

/* This rank's part (sy_owner_range) of a tensor's gradient, in the exec's memory, until the next step begins;
 * NULL if it is empty. */
float *sy_reduce_own(const struct sy_reduce *r, int tensor);

#endif
