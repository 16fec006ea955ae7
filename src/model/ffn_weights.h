/* What feed-forwards hand to the sink (sink.h): a SwiGLU network's weight gradients, and an MoE layer's. One
 * place for the model and for a layer by itself, so that both hand over the same.
 */
#ifndef SY_MODEL_FFN_WEIGHTS_H
#define SY_MODEL_FFN_WEIGHTS_H

#include "model/params.h"
#include "model/sink.h"
#include "moe/layer.h"

struct sy_mlp_handed {
    int w13, w2;         /* parameters */
    struct sy_mat n, dy; /* [T, D] input, gradient of the output */
    const struct sy_mlp_grad *grad;
};
void sy_mlp_hand(const struct sy_grad_sink *sink, const struct sy_span *at, const struct sy_mlp_handed *h);

struct sy_moe_handed {
    const struct sy_moe_env *env;
    int layer;
    const struct sy_layer_params *params; /* gate, gate_bias, shared_*; an absent one is negative */
    struct sy_mat n, dy;
    const struct sy_moe_act *act;
    const struct sy_moe_grad *grad;
    const struct sy_sink_source *source; /* of the experts' rows; NULL: the span's */
    int n_sources;
};
void sy_moe_hand(const struct sy_grad_sink *sink, const struct sy_span *at, const struct sy_moe_handed *h);

#endif
