/* The dense feed-forward of a layer: moe/mlp.h with the layer's weights, its gradients to the sink. */
#ifndef SY_MODEL_FFN_H
#define SY_MODEL_FFN_H

#include "model/layer.h"
#include "moe/mlp.h"

/* W1|W3 and W2 as views. */
static inline struct sy_mlp_weights sy_ffn_weights(const struct sy_layer_ctx *c, int w13, int w2) {
    return (struct sy_mlp_weights){sy_weight(c, w13), sy_weight(c, w2), c->model->dim, c->w.params->param[w2].cols};
}

/* After sy_mlp_bwd: dy [T, D] is the output's gradient, n the input. */
static inline void sy_ffn_bwd_weights(const struct sy_layer_ctx *c, int w13, int w2, const struct sy_grad_sink *sink,
                                      struct sy_mat n, struct sy_mat dy, const struct sy_mlp_grad *g) {
    sink->matrix(sink->self, w13, 0, c->batch.tokens, g->dgu, n);
    sink->matrix(sink->self, w2, 0, c->batch.tokens, dy, g->h);
}

#endif
