/* The mixture-of-experts feed-forward of a layer: moe/layer.h with the layer's weights, its gradients to the sink. */
#ifndef SY_MODEL_MOE_LAYER_H
#define SY_MODEL_MOE_LAYER_H

#include "model/layer.h"

/* The layer's weights as views; `prepared` may be NULL. */
struct sy_moe_weights sy_layer_moe_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p,
                                           struct sy_prepared *prepared);

/* After sy_moe_bwd: dy [T, D] is the output's gradient, n the input. */
void sy_layer_moe_bwd_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p, const struct sy_grad_sink *sink,
                              struct sy_mat n, struct sy_mat dy, const struct sy_moe_act *act,
                              const struct sy_moe_work *work);

#endif
