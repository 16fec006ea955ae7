/* The weight source of a rank that keeps a shard of all stored weights (FSDP; over several such groups
 * HSDP): a layer's are gathered from the ranks of its shard group when it is computed, the next layer's
 * meanwhile.
 *
 *     shards, as messages have them --gather--> a room for a layer (or for each: reshard 0) --> the layer
 *
 * A room keeps its layer until another needs it: the last layer of forward is not gathered again for
 * backward, nor what recompute reads twice. The embedding, the final norm and the head are gathered once a
 * version and stay.
 */
#ifndef SY_PARALLEL_SHARDED_H
#define SY_PARALLEL_SHARDED_H

#include "comm/comm.h"
#include "model/weights.h"
#include "parallel/keeper.h"
#include "parallel/mesh.h"

struct sy_sharded_options {
    const struct sy_params *params;
    const struct sy_config_model *model;
    const struct sy_config_moe *moe;
    const struct sy_exec *exec;
    float *const *master; /* [n_params] expert biases, which every rank has whole */
    const struct sy_mesh *mesh;
    const struct sy_groups *groups; /* not read by measure */
    int reshard;                    /* 0: what was gathered stays until the weights change */
};

struct sy_sharded;

/* Local. Adds what create takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_sharded_measure(const struct sy_sharded_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_MEMORY with the bytes. Owned by the caller. */
sy_status sy_sharded_create(const struct sy_sharded_options *options, struct sy_sharded **out);
void sy_sharded_destroy(struct sy_sharded *s);

/* This rank's shards, to be written with what its masters and those of its replicas say. */
struct sy_keeper sy_sharded_keeper(const struct sy_sharded *s);

/* Local. What is kept has changed. */
void sy_sharded_changed(struct sy_sharded *s);

/* Acquire and ends are collective over the shard groups, which make the same calls in the same order. */
struct sy_weight_source sy_sharded_source(struct sy_sharded *s);

/* Local. What failed in gathering, since creation. */
sy_status sy_sharded_status(const struct sy_sharded *s);
/* Bytes that this rank has sent to others. */
int64_t sy_sharded_sent(const struct sy_sharded *s);

#endif
