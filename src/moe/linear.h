/* Weight matrices as products read them, and linear maps.
 *
 * A right-hand side may be packed in the order of the tier (op pack), once for each version of the weights.
 * The cache lies beside the weights: whoever holds them (model/weights.h) packs them; a layer sees operands.
 * Version 0 is never kept.
 */
#ifndef SY_MOE_LINEAR_H
#define SY_MOE_LINEAR_H

#include "device/carve.h"
#include "ops/ops.h"

struct sy_packed {   /* of `groups` right-hand sides m [k, n], `step` elements apart */
    void *data;      /* NULL: this tier reads m as fast */
    int64_t step;    /* bytes of one group */
    int64_t version; /* of the weights that it was made of; 0: nothing */
    int fresh;       /* made for the use to come: cleared by who counts misses */
};

struct sy_right { /* right-hand sides of as many groups, m [k, n] each, `step` elements apart */
    int64_t groups, k, n, step;
    struct sy_mat m;
};

/* Carves the cache of right-hand sides like these. */
void sy_packed_take(const struct sy_exec *x, struct sy_arena *a, const struct sy_right *r,
                    struct sy_packed *p);

/* They as an operand; packed now unless the cache has this version. p NULL or version 0: as they are. */
struct sy_operand sy_packed_operand(const struct sy_exec *x, const struct sy_right *r, int64_t version,
                                    struct sy_packed *p);

struct sy_weight {         /* W [rows, cols]: outputs, inputs */
    int64_t rows, cols;    /* rows 0: the layer has no such map */
    struct sy_operand fwd; /* W^T [cols, rows] */
    struct sy_operand dx;  /* W [rows, cols] */
};

struct sy_weight_cache {
    struct sy_packed fwd, dx;
};
void sy_weight_take(const struct sy_exec *x, struct sy_arena *a, int64_t rows, int64_t cols,
                    struct sy_weight_cache *c);
/* W as it is stored at w [rows, cols]; c NULL: without a cache. */
struct sy_weight sy_weight_of(const struct sy_exec *x, struct sy_mat w, int64_t rows, int64_t cols,
                              int64_t version, struct sy_weight_cache *c);

/* y [T, rows] = BF(x [T, cols] W^T + bias), stored or fp32; bias NULL: none. */
void sy_linear_fwd(const struct sy_exec *x, int64_t tokens, const struct sy_weight *w, const float *bias,
                   struct sy_mat in, struct sy_mat y);
/* The same, and y = BF(residual + it), y stored. */
struct sy_added {
    struct sy_mat residual, y;
};
void sy_linear_fwd_add(const struct sy_exec *x, int64_t tokens, const struct sy_weight *w, const float *bias,
                       struct sy_mat in, struct sy_added to);

/* dx [T, cols] = CHAIN over the outputs of the n maps, in order. */
struct sy_linear_grad {
    const struct sy_weight *w;
    struct sy_mat dy;
};
void sy_linear_bwd(const struct sy_exec *x, int64_t tokens, int n, const struct sy_linear_grad *maps,
                   struct sy_mat dx);

#endif
