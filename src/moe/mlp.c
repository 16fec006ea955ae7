/* One SwiGLU network on all tokens: see mlp.h. */
#include "moe/mlp.h"

#include "ops/product.h"

void sy_mlp_take(struct sy_arena *a, const char *tag, enum sy_dtype t, int64_t tokens, int64_t f, struct sy_mlp_act *act) {
    act->gu = sy_take_mat(a, tag, tokens, 2 * f, t);
}

void sy_mlp_take_grad(struct sy_arena *a, enum sy_dtype t, int64_t tokens, int64_t f, struct sy_mlp_grad *g) {
    static const char *const tag = "gradients of activations";
    g->a = sy_take_mat(a, tag, tokens, f, SY_F32);
    g->dgu = sy_take_mat(a, tag, tokens, 2 * f, t);
    g->h = sy_take_mat(a, tag, tokens, f, t);
}

void sy_mlp_fwd(const struct sy_exec *x, int64_t tokens, const struct sy_mlp_weights *w, struct sy_mat n,
                const struct sy_mlp_act *act, const struct sy_mlp_grad *g, struct sy_mat y) {
    sy_product(x, tokens, 2 * w->f, w->d, n, sy_mat_t(w->w13), NULL, act->gu);
    if (!y.data)
        return;
    x->ops->swiglu_fwd(x, &(struct sy_swiglu_fwd){.rows = tokens, .f = w->f, .gu = act->gu, .h = g->h});
    sy_product(x, tokens, w->d, w->f, g->h, sy_mat_t(w->w2), NULL, y);
}

void sy_mlp_bwd(const struct sy_exec *x, int64_t tokens, const struct sy_mlp_weights *w, struct sy_mat dy,
                const struct sy_mlp_act *act, const struct sy_mlp_grad *g, struct sy_mat dn) {
    sy_product(x, tokens, w->f, w->d, dy, w->w2, NULL, g->a);
    x->ops->swiglu_bwd(
        x, &(struct sy_swiglu_bwd){.rows = tokens, .f = w->f, .gu = act->gu, .a = g->a, .dgu = g->dgu, .hw = g->h});
    struct sy_gemm_part parts[2];
    sy_swiglu_input_parts(g->dgu, w->w13, w->f, parts);
    x->ops->gemm(x, &(struct sy_gemm){.m = tokens, .n = w->d, .parts = parts, .n_parts = 2, .c = dn}, 1);
}
