/* Gradients in buckets: see buckets.h. */
#include "parallel/buckets.h"

#include <stdlib.h>

enum { BUCKET = 1 << 20 }; /* floats; a larger tensor is alone in its bucket */

static int n_sums(const struct sy_buckets *b) { return b->params->n_tensors + b->params->n_sites; }

static int is_expert(const struct sy_buckets *b, int tensor) {
    return sy_buckets_param(b, tensor)->kind == SY_PARAM_EXPERT;
}

int sy_buckets_alone(const struct sy_buckets *b, int tensor) {
    return (is_expert(b, tensor) ? b->mesh->edp : b->mesh->dp) == 1;
}

/* --- the order ------------------------------------------------------------------------------------------ */

/* When backward completes it: the head, then layers from the last on, in each the experts first, then the
 * embedding. */
static int64_t turn_of(const struct sy_buckets *b, int tensor) {
    const struct sy_params *p = b->params;
    const struct sy_param *q = sy_buckets_param(b, tensor);
    if (q->kind == SY_PARAM_EMBEDDING)
        return INT64_MAX;
    int64_t layers = q->layer < 0 ? 0 : p->n_layers - q->layer;
    return (2 * layers + (q->kind != SY_PARAM_EXPERT)) * ((int64_t)p->n_tensors + 1) + tensor;
}

struct turn {
    int64_t when;
    int tensor;
};
static int by_turn(const void *a, const void *b) {
    int64_t x = ((const struct turn *)a)->when, y = ((const struct turn *)b)->when;
    return (x > y) - (x < y);
}

static sy_status list_tensors(struct sy_buckets *b, int *n_tensors) {
    struct turn *turn = calloc((size_t)n_sums(b) + 1, sizeof *turn);
    int n = 0;
    if (!turn)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", n_sums(b));
    for (int i = 0; i < n_sums(b); i++) {
        const struct sy_param *p = sy_buckets_param(b, i);
        if (p->kind != SY_PARAM_BUFFER && sy_owner_holds(&b->owner, p) && !sy_buckets_alone(b, i))
            turn[n++] = (struct turn){turn_of(b, i), i};
    }
    qsort(turn, (size_t)n, sizeof *turn, by_turn);
    for (int i = 0; i < n; i++)
        b->tensor[i] = turn[i].tensor;
    free(turn);
    *n_tensors = n;
    return SY_OK;
}

/* --- the cut -------------------------------------------------------------------------------------------- */

struct sy_range_of sy_bucket_part(const struct sy_buckets *b, const struct sy_gradient_bucket *bucket,
                                  int tensor, int rank) {
    int part = bucket->experts ? sy_mesh_expert_part(b->mesh, rank) : sy_mesh_dense_part(b->mesh, rank);
    return sy_shard_range(&(struct sy_shard){part, bucket->joining->size}, sy_buckets_tensor(b, tensor)->n);
}

int64_t sy_bucket_stride(const struct sy_buckets *b, const struct sy_gradient_bucket *bucket, int rank) {
    int64_t n = 0;
    for (int i = 0; i < bucket->n_tensors; i++)
        n += sy_bucket_room(sy_bucket_part(b, bucket, bucket->tensor[i], rank).n);
    return n;
}

/* A bucket is of one layer and kind: on ranks that hold other experts, or none, the others are cut alike. */
static void fill(struct sy_buckets *b, int n_tensors) {
    int64_t filled = 0;
    for (int i = 0; i < n_tensors; i++) {
        int experts = is_expert(b, b->tensor[i]);
        int64_t n = sy_buckets_tensor(b, b->tensor[i])->n;
        struct sy_gradient_bucket *last = b->n ? &b->bucket[b->n - 1] : NULL;
        if (!last || last->experts != experts || filled + n > BUCKET ||
            sy_buckets_param(b, last->tensor[0])->layer != sy_buckets_param(b, b->tensor[i])->layer) {
            last = &b->bucket[b->n++];
            *last = (struct sy_gradient_bucket){.joining = experts ? &b->experts : &b->dense,
                                                .experts = experts,
                                                .tensor = b->tensor + i,
                                                .own = b->n_own};
            filled = 0;
        }
        filled += n;
        last->n_tensors++;
        b->own[b->tensor[i]] = b->n_own;
        b->n_own += sy_bucket_room(sy_bucket_part(b, last, b->tensor[i], last->joining->rank).n);
    }
}

/* --- creation ------------------------------------------------------------------------------------------- */

/* The leaves of each rank of a group: lanes of the data-parallel ranks, lane groups of those with the same
 * experts. */
static sy_status make_joinings(struct sy_buckets *b, int in_turn) {
    const struct sy_mesh *m = b->mesh;
    struct sy_share *of = calloc((size_t)m->dp, sizeof *of);
    if (!of)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the lanes of %d ranks", m->dp);
    for (int i = 0; i < m->dp; i++)
        of[i] = sy_mesh_lanes(m, i);
    sy_status status = sy_joining_init(of, m->dp, m->dp_rank, m->lanes, &b->dense);
    for (int i = 0; i < m->edp; i++)
        of[i] = sy_mesh_lane_groups(m, i);
    if (status == SY_OK)
        status = sy_joining_init(of, m->edp, m->edp_rank, m->lanes / m->expert_lanes, &b->experts);
    free(of);
    if (status == SY_OK && in_turn) {
        sy_joining_in_turn(&b->dense);
        sy_joining_in_turn(&b->experts);
    }
    return status;
}

sy_status sy_buckets_init(const struct sy_params *params, const struct sy_mesh *mesh, int in_turn,
                          struct sy_buckets *out) {
    *out = (struct sy_buckets){.params = params, .mesh = mesh, .owner = sy_mesh_owner(mesh, mesh->rank)};
    size_t n = (size_t)n_sums(out) + 1;
    int n_tensors = 0;
    SY_TRY(make_joinings(out, in_turn));
    out->tensor = calloc(n, sizeof *out->tensor);
    out->own = calloc(n, sizeof *out->own);
    out->bucket = calloc(n, sizeof *out->bucket);
    if (!out->tensor || !out->own || !out->bucket)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", params->n_tensors);
    SY_TRY(list_tensors(out, &n_tensors));
    fill(out, n_tensors);
    return SY_OK;
}

void sy_buckets_fini(struct sy_buckets *b) {
    sy_joining_fini(&b->dense);
    sy_joining_fini(&b->experts);
    free(b->tensor);
    free(b->own);
    free(b->bucket);
}
