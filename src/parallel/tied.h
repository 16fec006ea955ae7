/* A weight that is used at two sites: the embedding that is the head, too (model.tie_word_embeddings). Each
 * site has its own sum over a step's lanes; the roots are added, the embedding's and the head's (NUMERICS 4).
 *
 *     one stage       who owns a part of the weight has both sums of it: head += embedding
 *     several stages  the first owns the weight. The head's sum goes from each rank of the last one to the
 *                     rank of the first with the same data, which owns the same part; what is stored of the
 *                     updated weight comes back:
 *
 *         last  --head's sum-->  first: + embedding's, norm, AdamW  --stored weight-->  last
 *
 * Only bits move; each element is added once, by its owner.
 */
#ifndef SY_PARALLEL_TIED_H
#define SY_PARALLEL_TIED_H

#include "device/carve.h"
#include "parallel/keeper.h"
#include "parallel/mesh.h"

struct sy_tied {
    int tensor; /* the embedding's; -1: nothing is tied, and all below does nothing */
    const struct sy_exec *exec;
    const struct sy_comm *stages;       /* of this rank's data; NULL to measure */
    int n_stages, place;                /* ranks of the pipeline, and which this is */
    int64_t n;                          /* elements that this rank, or its like of the first stage, owns */
    float *arrived;                     /* [n] first of several stages: the head's sum */
    float *sum;                         /* this step's, of what this rank owns */
    int64_t *of_first, *of_last, *none; /* [n_stages + 1] a message with that rank */
    struct sy_comm_request request;
    int64_t bytes_sent; /* by this rank, since init */
};

struct sy_tied_options {
    const struct sy_params *params;
    const struct sy_exec *exec;
    const struct sy_mesh *mesh;
    const struct sy_groups *groups; /* NULL to measure; outlives it */
};

/* Local. Errors: ERR_MEMORY. sy_tied_fini (of {0} too). */
sy_status sy_tied_init(const struct sy_tied_options *options, struct sy_tied *out);
void sy_tied_fini(struct sy_tied *t);
/* For sy_tied_add alone. */
void sy_tied_carve(struct sy_tied *t, struct sy_arena *a);

/* Collective over the stages of the same data; returns the agreed status. The sums of both sites of this
 * rank's part, NULL of one that another stage has; t->sum is the weight's gradient until the next call, NULL
 * where none of it is owned. Errors: `mine`, of the device, ERR_PEER. */
sy_status sy_tied_add(struct sy_tied *t, sy_status mine, const float *embedding, float *head);

/* Collective over the stages of the same data. What this rank keeps of the weight is that of the first stage.
 * Errors: of the device, ERR_PEER. */
sy_status sy_tied_spread(struct sy_tied *t, const struct sy_keeper *keeper);

#endif
