/* Norms over whole rows, as ops on a layer's weights. See layer.h. */
#include "model/layer.h"

void sy_norm_fwd(const struct sy_layer_ctx *c, double eps, int64_t tokens, const struct sy_row_norm *n,
                 struct sy_mat y) {
    c->x->ops->rmsnorm_fwd(c->x, &(struct sy_rmsnorm_fwd){.tokens = tokens,
                                                          .heads = 1,
                                                          .d = n->d,
                                                          .eps = (float)eps,
                                                          .x = sy_heads_of(n->x, 0, n->d),
                                                          .g = n->g,
                                                          .y = sy_heads_of(y, 0, n->d),
                                                          .r = n->r});
}

void sy_norm_bwd(const struct sy_layer_ctx *c, int64_t tokens, const struct sy_row_norm *n, struct sy_mat dy,
                 struct sy_mat residual, struct sy_mat dx) {
    c->x->ops->rmsnorm_bwd(c->x, &(struct sy_rmsnorm_bwd){.tokens = tokens,
                                                          .heads = 1,
                                                          .d = n->d,
                                                          .dy = sy_heads_of(dy, 0, n->d),
                                                          .x = sy_heads_of(n->x, 0, n->d),
                                                          .g = n->g,
                                                          .r = n->r,
                                                          .dx = sy_heads_of(dx, 0, n->d),
                                                          .residual = sy_heads_of(residual, 0, n->d)});
}

void sy_norm_weights(const struct sy_batch *b, const struct sy_grad_sink *sink, int param,
                     const struct sy_row_norm *n, struct sy_mat dy) {
    sink->vector(
        sink->self, &b->at,
        &(struct sy_sink_vector){param, 1, sy_heads_of(dy, 0, n->d), sy_heads_of(n->x, 0, n->d), n->r});
}
