/* Norms over whole rows, as ops on a layer's weights. See layer.h. */
#include "model/layer.h"

void sy_norm_fwd(const struct sy_layer_ctx *c, double eps, int64_t tokens, int64_t d, const float *g,
                 struct sy_mat x, struct sy_mat y, float *r) {
    c->x->ops->rmsnorm_fwd(c->x, &(struct sy_rmsnorm_fwd){.tokens = tokens,
                                                          .heads = 1,
                                                          .d = d,
                                                          .eps = (float)eps,
                                                          .x = sy_heads_of(x, 0, d),
                                                          .g = g,
                                                          .y = sy_heads_of(y, 0, d),
                                                          .r = r});
}

void sy_norm_bwd(const struct sy_layer_ctx *c, int64_t tokens, int64_t d, const float *g, struct sy_mat dy, struct sy_mat x,
                 const float *r, struct sy_mat dx) {
    c->x->ops->rmsnorm_bwd(c->x, &(struct sy_rmsnorm_bwd){.tokens = tokens,
                                                          .heads = 1,
                                                          .d = d,
                                                          .dy = sy_heads_of(dy, 0, d),
                                                          .x = sy_heads_of(x, 0, d),
                                                          .g = g,
                                                          .r = r,
                                                          .dx = sy_heads_of(dx, 0, d)});
}

void sy_norm_weights(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_grad_sink *sink, int g,
                     struct sy_mat dy, struct sy_mat x, const float *r) {
    int64_t d = c->params->param[g].cols;
    sink->vector(sink->self, &b->at, g, 1, sy_heads_of(dy, 0, d), sy_heads_of(x, 0, d), r);
}
