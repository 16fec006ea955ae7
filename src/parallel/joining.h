/* How the maximal nodes of a group's ranks add up to the root: in the order of the tree (NUMERICS 4),
 * the same for every tensor. A pure function of how the leaves lie on the ranks, which ascend with them. */
#ifndef SY_PARALLEL_JOINING_H
#define SY_PARALLEL_JOINING_H

#include "parallel/shard.h"
#include "parallel/tree.h"

struct sy_joining {
    int size, rank;            /* of the group */
    int *first;                /* [size + 1] number of a rank's first node */
    struct sy_tree_node *node; /* [first[size]] */
    int *to, *from;            /* [n_joins] numbers of nodes: to = to + from, one after another */
    int n_joins, root;         /* where the sum is at the end */
};

/* Local. of [size]: the leaves of each rank, of `leaves` in all. Errors: ERR_MEMORY. sy_joining_fini (of {0}
 * too). */
sy_status sy_joining_init(const struct sy_share *of, int size, int rank, int leaves, struct sy_joining *out);
void sy_joining_fini(struct sy_joining *j);

/* A planted bug: one node after another, as the ranks have them. */
void sy_joining_in_turn(struct sy_joining *j);

/* Nodes of this rank. */
static inline int sy_joining_own(const struct sy_joining *j) {
    return j->first[j->rank + 1] - j->first[j->rank];
}

#endif
