/* Parts of tensors that the ranks of a group own (parallel/shard.h), brought to all of them: what a rank
 * has of a set of tensors goes to each other one as one message. Only bits move.
 *
 * SY_GATHER_SLOTS sets may be in flight: while one comes, the next is sent.
 */
#ifndef SY_PARALLEL_GATHER_H
#define SY_PARALLEL_GATHER_H

#include "comm/comm.h"
#include "device/carve.h"
#include "ops/ops.h"
#include "parallel/shard.h"

enum { SY_GATHER_SLOTS = 4 };

struct sy_gather_item {
    int64_t n; /* elements of the tensor */
    size_t element;
    const void *own; /* this rank's part, in the exec's memory; may lie in its place in `all` */
    void *all;       /* there: the parts of all ranks, one behind the other */
};

struct sy_gather_set { /* over one group: rank r has part first + r of `of` of each tensor's blocks */
    struct sy_comm comm;
    int first, of;
    struct sy_gather_item *item;
    int n_items;
    int layer; /* for messages: whose tensors they are; -1: of none */
    /* all items' own parts as a message has them (one behind the other), or NULL: they are copied into one */
    const void *message;
};

/* Part `rank` of an item. */
struct sy_range_of sy_gather_part(const struct sy_gather_set *set, int item, int rank);
/* Its bytes in that rank's message, padding behind it included; those of the message. */
size_t sy_gather_bytes(const struct sy_gather_set *set, int item, int rank);
size_t sy_gather_message(const struct sy_gather_set *set, int rank);

struct sy_gather;

/* Local. For these sets, which outlive it, as do their items. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_gather_create(const struct sy_exec *exec, const struct sy_gather_set *set, int n_sets,
                           struct sy_gather **out);
void sy_gather_destroy(struct sy_gather *g);
/* The messages' buffers. */
void sy_gather_carve(struct sy_gather *g, struct sy_arena *a);

/* Collective over the set's group. begin waits for nobody; sets are waited for in the order in which
 * they were begun. A message carries no status: a rank that has failed sends what it has, or leaves.
 * Errors: of the device, ERR_PEER. */
sy_status sy_gather_begin(struct sy_gather *g, int set);
sy_status sy_gather_wait(struct sy_gather *g, int set);
/* Begun, and not waited for. */
int sy_gather_is_begun(const struct sy_gather *g, int set);

/* Collective over all sets' groups: every set, one after the other. */
sy_status sy_gather_all(struct sy_gather *g);

/* Bytes that this rank has sent to others since creation. */
int64_t sy_gather_sent(const struct sy_gather *g);

#endif
