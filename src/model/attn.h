/* Attention blocks, grouped-query and multi-head latent, with one silhouette: take, fwd, bwd_inputs, bwd_weights.
 *
 * n is the block's input [T, D] (after the norm), y its output [T, D] before the residual; dn and dy their gradients.
 */
#ifndef SY_MODEL_ATTN_H
#define SY_MODEL_ATTN_H

#include "model/layer.h"

struct sy_attn_act {
    struct sy_mat o;       /* [T, width]: output, H hd (gqa) or H v (mla) wide; with lse what selective recompute keeps */
    float *lse;            /* [T, H] */
    struct sy_mat q, k, v; /* gqa: [T, H hd], [T, Hkv hd] twice; mla: q [T, H (nope+rope)] */
    struct sy_mat q_raw, k_raw;
    float *rq, *rk;                      /* with qk_norm: before the norm, and its r */
    struct sy_mat qa, qan, kva, kvn, kv; /* mla: [T, q_lora], its norm, [T, kv_lora | rope], its norm, [T, H (nope | v)] */
    float *r_qa, *r_kva;
};

struct sy_attn_grad {
    struct sy_mat d_o, dq, dk, dv;
    struct sy_mat dq_norm, dk_norm;           /* at the norms' outputs */
    struct sy_mat dqa, dqan, dkv, dkva, dkvn; /* mla */
    struct sy_mat dk_rope;                    /* [T, H rope], one a head of the shared key */
};

struct sy_attn_part {
    int64_t (*width)(const struct sy_config_model *model); /* of the output */
    /* All of act but o and lse. */
    void (*take)(const struct sy_layer_ctx *c, struct sy_arena *act_arena, struct sy_attn_act *act);
    void (*take_grad)(const struct sy_layer_ctx *c, struct sy_arena *arena, struct sy_attn_grad *grad);
    void (*fwd)(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n,
                const struct sy_attn_act *act, struct sy_mat y);
    void (*bwd_inputs)(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat dy,
                       const struct sy_attn_act *act, const struct sy_attn_grad *grad, struct sy_mat dn);
    void (*bwd_weights)(const struct sy_layer_ctx *c, const struct sy_layer_params *p, const struct sy_grad_sink *sink,
                        struct sy_mat n, struct sy_mat dy, const struct sy_attn_act *act, const struct sy_attn_grad *grad);
};

extern const struct sy_attn_part sy_attn_gqa, sy_attn_mla;

#endif
