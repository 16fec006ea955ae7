/* The calls of a step: which of its sequences each rank of an expert-parallel group brings to which.
 *
 * An exchange of rows is collective, and so may be the gathering of weights: all data-parallel ranks make as
 * many calls, with no sequences where they have none left. Every rank knows what the others of its group
 * bring, as it follows from the mesh:
 *
 *     whole lane groups each    `batch` sequences a call, in the order of the walk, until there are no more:
 *                               one round. A leaf of an expert's gradient is of one rank
 *     some have a part of one   whole rounds, as many of them as `batch` holds of the rank with the most
 *                               lanes, one at least: a leaf is complete within a call, its ranks in the
 *                               order of their lanes
 */
#ifndef SY_PARALLEL_CALLS_H
#define SY_PARALLEL_CALLS_H

#include "model/layer.h"
#include "parallel/mesh.h"
#include "parallel/walk.h"

struct sy_call {
    int64_t first, n; /* this rank's sequences, by places of its walk */
    struct sy_group_batch group;
};

struct sy_calls {
    int ranks, rank;
    struct sy_walk *walk;  /* [ranks] */
    int by_rounds;         /* a call is of whole rounds */
    int64_t n;             /* calls of a step: as many on all data-parallel ranks */
    int64_t batch;         /* sequences of a call, or its rounds */
    int64_t max_sequences; /* of any rank in a call; the least that this is in any group of the run */
    int64_t least_sequences;
    int max_rounds;       /* of a call */
    struct sy_call *call; /* [n] */
    int64_t *of;          /* [n, ranks, max_rounds] what the calls point to */
    struct sy_sink_source *source;
};

/* Local. For the group of a rank, whose walk has its lanes (first_lane, n_lanes); `batch` is
 * training.local_batch_size. Errors: ERR_MEMORY. sy_calls_fini ({0} is fine). */
sy_status sy_calls_init(const struct sy_mesh *mesh, const struct sy_walk *walk, int64_t batch,
                        struct sy_calls *calls);
void sy_calls_fini(struct sy_calls *calls);

/* The walk of a data-parallel rank: `like`, with its lanes. */
struct sy_walk sy_walk_of(const struct sy_mesh *mesh, int dp_rank, const struct sy_walk *like);

#endif
