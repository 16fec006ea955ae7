/* Linear maps and norms over whole rows, as ops on a layer's weights. See layer.h. */
#include "model/layer.h"
#include "ops/product.h"

void sy_linear_fwd(const struct sy_layer_ctx *c, int weight, int bias, struct sy_mat x, struct sy_mat y) {
    const struct sy_param *p = &c->w.params->param[weight];
    sy_product(c->x, c->batch.tokens, p->rows, p->cols, x, sy_mat_t(sy_weight(c, weight)), sy_vector(c, bias), y);
}

void sy_linear_bwd(const struct sy_layer_ctx *c, int n, const struct sy_linear_grad *maps, struct sy_mat dx) {
    enum { MAX_MAPS = 4 };
    struct sy_gemm_part parts[MAX_MAPS];
    for (int i = 0; i < n && i < MAX_MAPS; i++)
        parts[i] = (struct sy_gemm_part){maps[i].dy, sy_weight(c, maps[i].weight), c->w.params->param[maps[i].weight].rows};
    c->x->ops->gemm(
        c->x,
        &(struct sy_gemm){
            .m = c->batch.tokens, .n = c->w.params->param[maps[0].weight].cols, .parts = parts, .n_parts = n, .c = dx},
        1);
}

void sy_norm_eps_fwd(const struct sy_layer_ctx *c, double eps, int g, struct sy_mat x, struct sy_mat y, float *r) {
    int64_t d = c->w.params->param[g].cols;
    c->x->ops->rmsnorm_fwd(c->x, &(struct sy_rmsnorm_fwd){.tokens = c->batch.tokens,
                                                          .heads = 1,
                                                          .d = d,
                                                          .eps = (float)eps,
                                                          .x = sy_heads_of(x, 0, d),
                                                          .g = sy_vector(c, g),
                                                          .y = sy_heads_of(y, 0, d),
                                                          .r = r});
}

void sy_norm_fwd(const struct sy_layer_ctx *c, int g, struct sy_mat x, struct sy_mat y, float *r) {
    sy_norm_eps_fwd(c, c->model->norm_eps, g, x, y, r);
}

void sy_norm_bwd(const struct sy_layer_ctx *c, int g, struct sy_mat dy, struct sy_mat x, const float *r, struct sy_mat dx) {
    int64_t d = c->w.params->param[g].cols;
    c->x->ops->rmsnorm_bwd(c->x, &(struct sy_rmsnorm_bwd){.tokens = c->batch.tokens,
                                                          .heads = 1,
                                                          .d = d,
                                                          .dy = sy_heads_of(dy, 0, d),
                                                          .x = sy_heads_of(x, 0, d),
                                                          .g = sy_vector(c, g),
                                                          .r = r,
                                                          .dx = sy_heads_of(dx, 0, d)});
}

void sy_norm_weights(const struct sy_layer_ctx *c, const struct sy_grad_sink *sink, int g, struct sy_mat dy, struct sy_mat x,
                     const float *r) {
    int64_t d = c->w.params->param[g].cols;
    sink->vector(sink->self, g, 1, sy_heads_of(dy, 0, d), sy_heads_of(x, 0, d), r);
}
