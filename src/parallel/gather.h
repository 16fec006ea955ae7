/* Parts of tensors that the ranks of a group own (parallel/shard.h), brought to all of them: what a rank has of
 * a set of tensors goes to each other one as one message. Only bits move.
 *
 * Two sets may be in flight: while one comes, the next is sent.
 */
#ifndef SY_PARALLEL_GATHER_H
#define SY_PARALLEL_GATHER_H

#include "comm/comm.h"
#include "device/carve.h"
#include "ops/ops.h"
#include "parallel/shard.h"

struct sy_gather_item {
    int64_t n; /* elements of the tensor */
    size_t element;
    const void *own; /* this rank's part, in the exec's memory; may lie in its place in `all` */
    void *all;       /* [n] there */
};

struct sy_gather_set { /* over one group */
    struct sy_comm comm;
    const struct sy_gather_item *item;
    int n_items;
};

struct sy_gather;

/* Local. For these sets, which outlive it, as do their items. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_gather_create(const struct sy_exec *exec, const struct sy_gather_set *set, int n_sets,
                           struct sy_gather **out);
void sy_gather_destroy(struct sy_gather *g);
/* The messages' buffers. */
void sy_gather_carve(struct sy_gather *g, struct sy_arena *a);

/* Collective over the set's group. begin waits for nobody; sets are waited for in the order in which they were
 * begun. A message carries no status: a rank that has failed sends what it has, or leaves. Errors: of the
 * device, ERR_PEER. */
sy_status sy_gather_begin(struct sy_gather *g, int set);
sy_status sy_gather_wait(struct sy_gather *g, int set);

/* Collective over all sets' groups: every set, one after the other. */
sy_status sy_gather_all(struct sy_gather *g);

#endif
