/* The routed experts: y = W2 (silu(W1 x) * (W3 x)) for the rows of each expert, all experts in one list of products.
 *
 * Saved for backward: x and the pre-activation, nothing else. Expert e's weights lie w13_step and w2_step elements after
 * e-1's.
 */
#ifndef SY_MOE_EXPERTS_H
#define SY_MOE_EXPERTS_H

#include "moe/dispatch.h"

struct sy_expert_weights {
    struct sy_mat w13, w2;     /* of expert 0: [2f, d], [d, f] */
    int64_t w13_step, w2_step; /* elements */
    int64_t d, f;
};

/* gu [N, 2f] from x [N, d]; h [N, f] scratch; o [N, d]. problems: scratch for E products. */
void sy_experts_fwd(const struct sy_exec *x, const struct sy_dispatch *routes, const struct sy_expert_weights *w,
                    struct sy_gemm *problems, struct sy_gemm_part *parts, struct sy_mat in, struct sy_mat gu,
                    struct sy_mat h, struct sy_mat o);

/* From dy [N, d], unweighted: a [N, f] fp32 scratch, dgu, hw = BF(w h), dw [N] (w and dw NULL: weight 1), dx [N, d]. */
void sy_experts_bwd(const struct sy_exec *x, const struct sy_dispatch *routes, const struct sy_expert_weights *w,
                    struct sy_gemm *problems, struct sy_gemm_part *parts, struct sy_mat dy, struct sy_mat gu,
                    const float *row_w, struct sy_mat a, struct sy_mat dgu, struct sy_mat hw, float *dw, struct sy_mat dx);

#endif
