/* The routed experts: y = W2 (silu(W1 x) * (W3 x)) for the rows of each expert, all experts in one list of products.
 *
 * Saved for backward: x and the pre-activation, nothing else. Expert e's weights lie w13_step and w2_step elements after
 * e-1's. Without gradients and with equal counts the experts go in blocks whose pre-activation stays in cache.
 */
#ifndef SY_MOE_EXPERTS_H
#define SY_MOE_EXPERTS_H

#include "moe/dispatch.h"

struct sy_expert_weights {
    struct sy_mat w13, w2;     /* of this rank's first expert: [2f, d], [d, f] */
    int64_t w13_step, w2_step; /* elements */
    int64_t d, f;
};

/* A right-hand side of forward, of the first expert: W13^T [d, 2f] or W2^T [f, d]; the weights read by columns, or a copy
 * that is read by rows. */
struct sy_expert_operand {
    struct sy_mat b;
    int64_t step; /* elements to the next expert's */
};

/* Scratch: products of all experts at once. */
struct sy_expert_lists {
    struct sy_gemm *problems;   /* [experts] */
    struct sy_gemm_part *parts; /* [2 experts] */
};

/* gu [N, 2f] = x W13^T: what backward needs. */
void sy_experts_pre(const struct sy_exec *x, const struct sy_dispatch *rows, const struct sy_expert_weights *w,
                    struct sy_expert_operand w13_t, const struct sy_expert_lists *lists, struct sy_mat in, struct sy_mat gu);

/* o [N, d] from gu; h [N, f] scratch. */
void sy_experts_post(const struct sy_exec *x, const struct sy_dispatch *rows, const struct sy_expert_weights *w,
                     struct sy_expert_operand w2_t, const struct sy_expert_lists *lists, struct sy_mat gu, struct sy_mat h,
                     struct sy_mat o);

/* Whether every expert has the same number of rows, and some. */
int sy_experts_are_equal(const struct sy_dispatch *rows);

/* pre and post of equal counts in blocks of experts; gu and h are scratch. */
void sy_experts_batched(const struct sy_exec *x, const struct sy_dispatch *rows, const struct sy_expert_weights *w,
                        struct sy_expert_operand w13_t, struct sy_expert_operand w2_t, const struct sy_expert_lists *lists,
                        struct sy_mat in, struct sy_mat gu, struct sy_mat h, struct sy_mat o);

/* From dy [N, d], unweighted: a [N, f] fp32 scratch, dgu, hw = BF(w h), dw [N] (w and dw NULL: weight 1), dx [N, d]. */
void sy_experts_bwd(const struct sy_exec *x, const struct sy_dispatch *rows, const struct sy_expert_weights *w,
                    const struct sy_expert_lists *lists, struct sy_mat dy, struct sy_mat gu, const float *row_w,
                    struct sy_mat a, struct sy_mat dgu, struct sy_mat hw, float *dw, struct sy_mat dx);

#endif
