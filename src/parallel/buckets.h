/* Gradients over ranks go in buckets (reduce.h): which tensors go together and when, and where each rank's
 * part of them stands. Known when a run begins; nothing is moved here.
 *
 *     in turn, as backward ends them: the head, layers from the last on, in each the experts first, embedding
 *     of a node, to one owner: its parts of the bucket's tensors, one behind another, each of sy_bucket_room
 *
 * Tensors are counted with the sites of a tied weight behind them. One rank alone has no buckets.
 */
#ifndef SY_PARALLEL_BUCKETS_H
#define SY_PARALLEL_BUCKETS_H

#include "parallel/joining.h"
#include "parallel/mesh.h"

struct sy_gradient_bucket { /* of one layer and kind, the same on all ranks */
    const struct sy_joining *joining;
    int experts, n_tensors;
    const int *tensor;
    int64_t own; /* where this rank's part begins among its gradient */
};

struct sy_buckets {
    const struct sy_params *params;
    const struct sy_mesh *mesh;
    struct sy_owner owner;
    struct sy_joining dense, experts;
    int *tensor;  /* as they are completed, trained ones that this rank holds and others, too; sites alike */
    int64_t *own; /* [n_tensors + n_sites] this rank's part in its gradient */
    struct sy_gradient_bucket *bucket;
    int n;         /* buckets */
    int64_t n_own; /* floats of the gradient */
};

/* Local. in_turn: a planted bug, as sy_joining_in_turn. Errors: ERR_MEMORY. sy_buckets_fini, also after an
 * error. */
sy_status sy_buckets_init(const struct sy_params *params, const struct sy_mesh *mesh, int in_turn,
                          struct sy_buckets *out);
void sy_buckets_fini(struct sy_buckets *b);

static inline const struct sy_tensor *sy_buckets_tensor(const struct sy_buckets *b, int tensor) {
    return &b->params->tensor[tensor];
}
static inline const struct sy_param *sy_buckets_param(const struct sy_buckets *b, int tensor) {
    return &b->params->param[sy_buckets_tensor(b, tensor)->param];
}

/* Whether one rank alone has the tensor: its gradient is the root of its tree. */
int sy_buckets_alone(const struct sy_buckets *b, int tensor);

/* Floats that n of them take. */
static inline int64_t sy_bucket_room(int64_t n) { return (n + 15) / 16 * 16; }

/* What one rank of the bucket's group owns of a tensor; of a node of all the bucket's tensors, in floats. */
struct sy_range_of sy_bucket_part(const struct sy_buckets *b, const struct sy_gradient_bucket *bucket,
                                  int tensor, int rank);
int64_t sy_bucket_stride(const struct sy_buckets *b, const struct sy_gradient_bucket *bucket, int rank);

#endif
