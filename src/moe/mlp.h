/* SwiGLU networks, y = W2 (silu(W1 n) * (W3 n)): one for all tokens (a dense layer's feed-forward, the shared
 * experts), or one for each group of rows (the routed experts), in three products.
 *
 * Saved for backward: n and the pre-activation, nothing else. The weight gradients are products of what
 * backward leaves: dW13 of (dgu, n), dW2 of (dy, h).
 */
#ifndef SY_MOE_MLP_H
#define SY_MOE_MLP_H

#include "moe/linear.h"

/* W13 [2f, d], W1's rows first, and W2 [d, f] of each group. */
struct sy_mlp_weights {
    int64_t groups, d, f;
    struct sy_operand w13_t, w2_t;      /* forward: [d, 2f], [f, d] */
    struct sy_operand w1, w3, w2;       /* input gradients: [f, d] twice, [d, f] */
    struct sy_packed *cache13, *cache2; /* of w13_t and w2_t; NULL: there is no cache */
};

struct sy_mlp_cache {
    struct sy_packed w13_t, w2_t, w1, w3, w2;
};
void sy_mlp_take_cache(const struct sy_exec *x, struct sy_arena *a, int64_t groups, int64_t d, int64_t f,
                       struct sy_mlp_cache *c);
struct sy_mlp_stored { /* contiguous */
    int64_t groups, d, f;
    struct sy_mat w13, w2; /* [groups, 2f, d], [groups, d, f] */
};
/* Weights as they are stored; c NULL: without a cache. */
struct sy_mlp_weights sy_mlp_weights_of(const struct sy_exec *x, const struct sy_mlp_stored *w,
                                        int64_t version, struct sy_mlp_cache *c);

struct sy_mlp_grad {   /* what the weight gradients read */
    struct sy_mat dgu; /* [rows, 2f] */
    struct sy_mat h;   /* [rows, f]: h again, times the route's weight: the rows of W2's gradient */
};
void sy_mlp_take_grad(struct sy_arena *a, enum sy_dtype t, int64_t rows, int64_t f, struct sy_mlp_grad *grad);

/* gu [rows, 2f] and y [rows, d]; y.data NULL: gu alone, which is all that backward needs. residual.data NULL:
 * none. scratch [rows, f] fp32. */
struct sy_mlp_fwd {
    struct sy_rows rows;
    struct sy_mat in, gu, scratch, residual, y;
    struct sy_named_rows named; /* in's rows */
};
void sy_mlp_fwd(const struct sy_exec *x, const struct sy_mlp_weights *w, const struct sy_mlp_fwd *c);

/* From dy [rows, d], before the rows' weights row_w (NULL: 1): grad, row_dw [rows] (with row_w), dx [rows,
 * d]. */
struct sy_mlp_bwd {
    struct sy_rows rows;
    struct sy_mat dy, gu, scratch;
    const float *row_w;
    float *row_dw;
    const struct sy_mlp_grad *grad;
    struct sy_mat dx;
};
void sy_mlp_bwd(const struct sy_exec *x, const struct sy_mlp_weights *w, const struct sy_mlp_bwd *c);

#endif
