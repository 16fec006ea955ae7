/* The mixture-of-experts feed-forward: router, dispatch, routed and shared experts, combine (NUMERICS 3).
 *
 * take, take_grad, fwd, bwd_inputs, bwd_weights, as the attention parts. n [T, D] is the block's input, y its output.
 */
#ifndef SY_MODEL_MOE_LAYER_H
#define SY_MODEL_MOE_LAYER_H

#include "model/ffn.h"
#include "moe/experts.h"

struct sy_moe_act {
    float *s, *w; /* scores [T, E], weights [T, K] */
    int32_t *ids; /* [T, K] ascending */
    struct sy_dispatch routes;
    struct sy_mat x, gu; /* rows [N, D], pre-activation [N, 2F] */
    struct sy_ffn_act shared;
    struct sy_mat shared_y; /* before the sigmoid gate, with moe.shared_gate */
    float *shared_logit;
};

struct sy_moe_grad {
    float *logits;                            /* [T, E] fp32, forward scratch */
    int64_t *bad_token;                       /* [1] */
    struct sy_mat o, h;                       /* [N, D], [N, F]: forward scratch; h backward: rows of W2's gradient */
    struct sy_mat ys;                         /* [T, D] shared output */
    struct sy_gemm *problems;                 /* [E] */
    struct sy_gemm_part *parts;               /* [2 E] */
    struct sy_mat dy, a, dgu, dx;             /* [N, D], [N, F] fp32, [N, 2F], [N, D] */
    float *row_w, *row_dw, *dw;               /* [N], [N], [T, K] */
    struct sy_mat dlogits;                    /* [T, E] */
    struct sy_mat d_gate, d_routed, d_shared; /* [T, D] terms of the input's gradient */
    struct sy_ffn_grad shared;
    struct sy_mat dys, dshared_logit, d_shared_gate;
};

void sy_moe_take(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_grad(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_moe_grad *grad);

/* Adds each expert's routes to counts [E] (NULL: evaluation or recompute). ERR_NONFINITE names the token of a NaN logit. */
sy_status sy_moe_fwd(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n, struct sy_moe_act *act,
                     const struct sy_moe_grad *grad, int64_t *counts, struct sy_mat y);
void sy_moe_bwd_inputs(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n, struct sy_mat dy,
                       const struct sy_moe_act *act, const struct sy_moe_grad *grad, struct sy_mat dn);
void sy_moe_bwd_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p, const struct sy_grad_sink *sink,
                        struct sy_mat n, struct sy_mat dy, const struct sy_moe_act *act, const struct sy_moe_grad *grad);

#endif
