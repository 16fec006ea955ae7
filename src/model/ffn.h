/* The dense feed-forward y = W2 (silu(W1 n) * (W3 n)), also used for shared experts: take, fwd, bwd_inputs, bwd_weights. */
#ifndef SY_MODEL_FFN_H
#define SY_MODEL_FFN_H

#include "model/layer.h"

struct sy_ffn_act {
    struct sy_mat gu; /* [T, 2f] pre-activation g | u */
};

struct sy_ffn_grad {
    struct sy_mat a;   /* [T, f] fp32: gradient of h */
    struct sy_mat dgu; /* [T, 2f] */
    struct sy_mat h;   /* [T, f]: h again, the rows of W2's gradient; also forward's h */
};

void sy_ffn_take(const struct sy_layer_ctx *c, struct sy_arena *a, int64_t f, struct sy_ffn_act *act);
void sy_ffn_take_grad(const struct sy_layer_ctx *c, struct sy_arena *a, int64_t f, struct sy_ffn_grad *grad);
/* Forward needs only h of grad, as scratch. */
void sy_ffn_fwd(const struct sy_layer_ctx *c, int w13, int w2, struct sy_mat n, const struct sy_ffn_act *act,
                const struct sy_ffn_grad *grad, struct sy_mat y);
void sy_ffn_bwd_inputs(const struct sy_layer_ctx *c, int w13, int w2, struct sy_mat dy, const struct sy_ffn_act *act,
                       const struct sy_ffn_grad *grad, struct sy_mat dn);
void sy_ffn_bwd_weights(const struct sy_layer_ctx *c, int w13, int w2, const struct sy_grad_sink *sink, struct sy_mat n,
                        struct sy_mat dy, const struct sy_ffn_grad *grad);

#endif
