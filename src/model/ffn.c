/* The dense feed-forward: see ffn.h. */
#include "model/ffn.h"

void sy_ffn_take(const struct sy_layer_ctx *c, struct sy_arena *a, int64_t f, struct sy_ffn_act *act) {
    act->gu = sy_take_mat(a, "feed-forward", c->max_tokens, 2 * f, c->x->dtype);
}

void sy_ffn_take_grad(const struct sy_layer_ctx *c, struct sy_arena *a, int64_t f, struct sy_ffn_grad *g) {
    g->a = sy_take_mat(a, "gradients of activations", c->max_tokens, f, SY_F32);
    g->dgu = sy_take_mat(a, "gradients of activations", c->max_tokens, 2 * f, c->x->dtype);
    g->h = sy_take_mat(a, "gradients of activations", c->max_tokens, f, c->x->dtype);
}

void sy_ffn_fwd(const struct sy_layer_ctx *c, int w13, int w2, struct sy_mat n, const struct sy_ffn_act *act,
                const struct sy_ffn_grad *g, struct sy_mat y) {
    int64_t f = c->w.params->param[w2].cols;
    sy_linear_fwd(c, w13, -1, n, act->gu);
    c->x->ops->swiglu_fwd(c->x, &(struct sy_swiglu_fwd){.rows = c->batch.tokens, .f = f, .gu = act->gu, .h = g->h});
    sy_linear_fwd(c, w2, -1, g->h, y);
}

void sy_ffn_bwd_inputs(const struct sy_layer_ctx *c, int w13, int w2, struct sy_mat dy, const struct sy_ffn_act *act,
                       const struct sy_ffn_grad *g, struct sy_mat dn) {
    int64_t f = c->w.params->param[w2].cols, t = c->batch.tokens;
    sy_linear_bwd(c, 1, (struct sy_linear_grad[]){{w2, dy}}, g->a);
    c->x->ops->swiglu_bwd(c->x,
                          &(struct sy_swiglu_bwd){.rows = t, .f = f, .gu = act->gu, .a = g->a, .dgu = g->dgu, .hw = g->h});
    struct sy_gemm_part parts[2];
    sy_swiglu_input_parts(g->dgu, sy_weight(c, w13), f, parts);
    c->x->ops->gemm(c->x,
                    &(struct sy_gemm){.m = t, .n = c->w.params->param[w13].cols, .parts = parts, .n_parts = 2, .c = dn}, 1);
}

void sy_ffn_bwd_weights(const struct sy_layer_ctx *c, int w13, int w2, const struct sy_grad_sink *sink, struct sy_mat n,
                        struct sy_mat dy, const struct sy_ffn_grad *g) {
    sink->matrix(sink->self, w13, 0, c->batch.tokens, g->dgu, n);
    sink->matrix(sink->self, w2, 0, c->batch.tokens, dy, g->h);
}
