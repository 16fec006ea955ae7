/* Private to the files of a stage: what it holds, and one of its layers while it is computed. */
#ifndef SY_MODEL_STAGE_PARTS_H
#define SY_MODEL_STAGE_PARTS_H

#include "model/attn.h"
#include "model/ffn_weights.h"
#include "model/stage.h"

struct sy_layer_act { /* what one layer's backward reads; the halves as in moe/layer.h */
    struct sy_mat n1, x_mid, n2;
    float *r1, *r2;
    struct sy_attn_act attn;
    struct sy_mat ffn_gu;
    struct sy_moe_act moe;
};

struct sy_layer_grad { /* what one layer's weight gradients read */
    struct sy_mat dx, dn1, dn2, dx_mid;
    struct sy_attn_grad attn;
    struct sy_mlp_grad ffn;
    struct sy_moe_grad moe;
};

struct sy_micro_batch {
    struct sy_batch batch;
    struct sy_mat *x;           /* [n_layers + 1] inputs of the layers, then the last output */
    struct sy_layer_act *act;   /* [n_layers] views: own memory, or in part what layers share */
    struct sy_layer_grad *grad; /* [n_layers] the same */
    struct sy_mat dout;
};

struct sy_stage {
    struct sy_stage_options o;
    const struct sy_attn_kind *attn;
    int backward, selective, check;
    int *recomputed;           /* [n_layers] */
    struct sy_micro_batch *mb; /* [pending] */
    /* [pending * n_layers + 1] of each layer and micro-batch; the last is shared */
    struct sy_exchange *exchange;
    struct sy_mat y, ffn_a; /* of one call */
    struct sy_moe_scratch moe;
};

/* Of attention's output. */
static inline int64_t sy_stage_width(const struct sy_stage *s) {
    struct sy_attn_widths w = s->attn->widths(s->o.ctx->model);
    return w.heads * w.o;
}

static inline int sy_stage_is_moe(const struct sy_stage *s, int l) {
    return sy_layer_is_moe(s->o.ctx->model, s->o.first + l);
}

struct sy_stage_kinds {
    int dense, moe;
};
static inline struct sy_stage_kinds sy_stage_kinds_of(const struct sy_stage *s) {
    struct sy_stage_kinds k = {0, 0};
    for (int l = 0; l < s->o.n_layers; l++) {
        k.moe |= sy_stage_is_moe(s, l);
        k.dense |= !sy_stage_is_moe(s, l);
    }
    return k;
}

/* --- a layer (stage_layer.c) ---------------------------------------------------------------------------- */

struct sy_layer_call { /* one layer of one micro-batch, while it is computed */
    const struct sy_layer_ctx *c;
    const struct sy_batch *b;
    const struct sy_layer_weights *w;
    const struct sy_layer_params *p;
    struct sy_layer_act *act;
    int l, saved; /* l: of the model */
    enum sy_pass pass;
};

/* Collective over the expert-parallel group. y from x; a recompute ends with what backward reads: the
 * pre-activation. Errors: those of the exchange. */
sy_status sy_stage_layer_fwd(struct sy_stage *s, const struct sy_layer_call *k, struct sy_mat x,
                             struct sy_mat y);

/* Collective, likewise. dx from dy; x: the layer's input. */
sy_status sy_stage_layer_bwd_inputs(struct sy_stage *s, const struct sy_layer_call *k, struct sy_mat x,
                                    struct sy_mat dy, const struct sy_layer_grad *g, struct sy_mat dx);

/* Local. Reads what both have left, and writes to the sink alone. */
void sy_stage_layer_bwd_weights(struct sy_stage *s, const struct sy_layer_call *k, struct sy_mat x,
                                struct sy_mat dy, const struct sy_layer_grad *g,
                                const struct sy_grad_sink *sink);

#endif
