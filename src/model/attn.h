/* Attention blocks, grouped-query and multi-head latent, with one silhouette: widths, take, take_grad,
 * fwd, bwd_inputs, bwd_weights.
 *
 * n is the block's input [T, D] (after the norm), x the residual stream before it, y = x + the block's output
 * [T, D]; dn and dy are the gradients of n and of the output.
 */
#ifndef SY_MODEL_ATTN_H
#define SY_MODEL_ATTN_H

#include "model/layer.h"

struct sy_attn_widths {  /* of a head, as attention reads it */
    int64_t heads, q, o; /* mla: q is nope | rope */
    int64_t k_heads, k;  /* mla: nope | v */
    int64_t v_heads, v;  /* mla: rope, the one key that all heads share */
};
struct sy_attn_views {
    struct sy_heads q, k, v, o;
    float *lse;
};
struct sy_attn_cache {  /* cache.h */
    struct sy_mat q, o; /* [texts tokens, ...] of texts by their tokens, shared by all layers */
    float *lse;
    struct sy_mat k, v; /* of a layer: [texts, k_heads, tokens, k], [texts, v_heads, tokens, v] */
};

struct sy_attn_act {
    /* saved by a selective recompute: [T, width] output, H hd (gqa) or H v (mla) wide */
    struct sy_mat o;
    float *lse;            /* and [T, H] */
    struct sy_mat q, k, v; /* gqa: [T, H hd], [T, Hkv hd] twice; mla: q [T, H (nope+rope)] */
    struct sy_mat q_raw, k_raw;
    float *rq, *rk; /* with qk_norm: before the norm, and its r */
    /* mla: [T, q_lora], its norm, [T, kv_lora | rope], its norm, [T, H (nope | v)] */
    struct sy_mat qa, qan, kva, kvn, kv;
    float *r_qa, *r_kva;
    struct sy_attn_cache cache;
};

struct sy_attn_grad {
    struct sy_mat d_o, dq, dk, dv;
    struct sy_mat dq_norm, dk_norm;           /* at the norms' outputs */
    struct sy_mat dqa, dqan, dkv, dkva, dkvn; /* mla */
    struct sy_mat dk_rope;                    /* [T, H rope], one a head of the shared key */
};

struct sy_attn_call {
    const struct sy_batch *batch;
    const struct sy_layer_weights *w;
    const struct sy_layer_params *p; /* names of the gradients */
    int saved;                       /* forward again: o and lse are still there */
};

struct sy_attn_back { /* what backward reads, and the gradients that it makes on the way */
    struct sy_mat n, dy;
    const struct sy_attn_act *act;
    const struct sy_attn_grad *grad;
};

struct sy_attn_kind {
    struct sy_attn_widths (*widths)(const struct sy_config_model *model);
    /* All of act but o and lse. */
    void (*take)(const struct sy_layer_ctx *c, struct sy_arena *act_arena, struct sy_attn_act *act);
    void (*take_grad)(const struct sy_layer_ctx *c, struct sy_arena *arena, struct sy_attn_grad *grad);
    void (*fwd)(const struct sy_layer_ctx *c, const struct sy_attn_call *call, struct sy_mat n,
                const struct sy_attn_act *act, struct sy_mat x, struct sy_mat y);
    void (*bwd_inputs)(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
                       const struct sy_attn_back *back, struct sy_mat dn);
    void (*bwd_weights)(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
                        const struct sy_attn_back *back, const struct sy_grad_sink *sink);
};

/* Of a bias: R64 of dy at the map's output. param -1: there is none. */
static inline void sy_attn_bias(const struct sy_attn_call *call, const struct sy_layer_ctx *c,
                                const struct sy_grad_sink *sink, int param, struct sy_mat dy) {
    if (param >= 0)
        sink->vector(sink->self, &call->batch->at,
                     &(struct sy_sink_vector){
                         .param = param, .heads = 1, .a = sy_heads_of(dy, 0, c->params->param[param].cols)});
}

extern const struct sy_attn_kind sy_attn_gqa, sy_attn_mla;

static inline const struct sy_attn_kind *sy_attn_kind_of(const struct sy_config_model *model) {
    return model->attention == SY_ATTENTION_MLA ? &sy_attn_mla : &sy_attn_gqa;
}

#endif
