/* One SwiGLU network on all tokens: see mlp.h. */
#include "moe/mlp.h"

void sy_mlp_take(struct sy_arena *a, const char *tag, enum sy_dtype t, int64_t tokens, int64_t f, struct sy_mlp_act *act) {
    act->gu = sy_take_mat(a, tag, tokens, 2 * f, t);
}

void sy_mlp_take_grad(struct sy_arena *a, enum sy_dtype t, int64_t tokens, int64_t f, struct sy_mlp_grad *g) {
    static const char *const tag = "gradients of activations";
    g->a = sy_take_mat(a, tag, tokens, f, SY_F32);
    g->dgu = sy_take_mat(a, tag, tokens, 2 * f, t);
    g->h = sy_take_mat(a, tag, tokens, f, t);
}

static void product(const struct sy_exec *x, int64_t tokens, struct sy_mat a, struct sy_mat b, int64_t k, struct sy_mat c,
                    int64_t n) {
    struct sy_gemm_part part = {a, b, k};
    x->ops->gemm(x, &(struct sy_gemm){.m = tokens, .n = n, .parts = &part, .n_parts = 1, .c = c}, 1);
}

void sy_mlp_fwd(const struct sy_exec *x, int64_t tokens, const struct sy_mlp_weights *w, struct sy_mat n,
                const struct sy_mlp_act *act, const struct sy_mlp_grad *g, struct sy_mat y) {
    product(x, tokens, n, sy_mat_t(w->w13), w->d, act->gu, 2 * w->f);
    if (!y.data)
        return;
    x->ops->swiglu_fwd(x, &(struct sy_swiglu_fwd){.rows = tokens, .f = w->f, .gu = act->gu, .h = g->h});
    product(x, tokens, g->h, sy_mat_t(w->w2), w->f, y, w->d);
}

void sy_mlp_bwd(const struct sy_exec *x, int64_t tokens, const struct sy_mlp_weights *w, struct sy_mat dy,
                const struct sy_mlp_act *act, const struct sy_mlp_grad *g, struct sy_mat dn) {
    product(x, tokens, dy, w->w2, w->d, g->a, w->f);
    x->ops->swiglu_bwd(
        x, &(struct sy_swiglu_bwd){.rows = tokens, .f = w->f, .gu = act->gu, .a = g->a, .dgu = g->dgu, .hw = g->h});
    struct sy_gemm_part parts[2];
    sy_swiglu_input_parts(g->dgu, w->w13, w->f, parts);
    x->ops->gemm(x, &(struct sy_gemm){.m = tokens, .n = w->d, .parts = parts, .n_parts = 2, .c = dn}, 1);
}
