/* SwiGLU networks: see mlp.h. */
#include "moe/mlp.h"

/* What the products of a network read, in the order of struct sy_mlp_cache. */
struct rights {
    struct sy_right w13_t, w2_t, w1, w3, w2;
};
static struct rights rights_of(const struct sy_mlp_stored *w) {
    int64_t n = w->groups, d = w->d, f = w->f, step = 2 * f * d;
    struct sy_mat w3 = w->w13.data ? sy_mat_rows(w->w13, f) : w->w13; /* no memory yet: a shape */
    return (struct rights){.w13_t = {n, d, 2 * f, step, sy_mat_t(w->w13)},
                           .w2_t = {n, f, d, d * f, sy_mat_t(w->w2)},
                           .w1 = {n, f, d, step, w->w13},
                           .w3 = {n, f, d, step, w3},
                           .w2 = {n, d, f, d * f, w->w2}};
}

void sy_mlp_take_cache(const struct sy_exec *x, struct sy_arena *a, int64_t groups, int64_t d, int64_t f,
                       struct sy_mlp_cache *c) {
    struct sy_mat w13 = sy_mat_of(NULL, x->dtype, d), w2 = sy_mat_of(NULL, x->dtype, f);
    struct rights r = rights_of(&(struct sy_mlp_stored){groups, d, f, w13, w2});
    sy_packed_take(x, a, &r.w13_t, &c->w13_t);
    sy_packed_take(x, a, &r.w2_t, &c->w2_t);
    sy_packed_take(x, a, &r.w1, &c->w1);
    sy_packed_take(x, a, &r.w3, &c->w3);
    sy_packed_take(x, a, &r.w2, &c->w2);
}

struct sy_mlp_weights sy_mlp_weights_of(const struct sy_exec *x, const struct sy_mlp_stored *w,
                                        int64_t version, struct sy_mlp_cache *c) {
    struct rights r = rights_of(w);
    return (struct sy_mlp_weights){.groups = w->groups,
                                   .d = w->d,
                                   .f = w->f,
                                   .w13_t = sy_packed_operand(x, &r.w13_t, version, c ? &c->w13_t : NULL),
                                   .w2_t = sy_packed_operand(x, &r.w2_t, version, c ? &c->w2_t : NULL),
                                   .w1 = sy_packed_operand(x, &r.w1, version, c ? &c->w1 : NULL),
                                   .w3 = sy_packed_operand(x, &r.w3, version, c ? &c->w3 : NULL),
                                   .w2 = sy_packed_operand(x, &r.w2, version, c ? &c->w2 : NULL),
                                   .cache13 = c && version ? &c->w13_t : NULL,
                                   .cache2 = c && version ? &c->w2_t : NULL};
}

void sy_mlp_take_grad(struct sy_arena *a, enum sy_dtype t, int64_t rows, int64_t f, struct sy_mlp_grad *g) {
    g->dgu = sy_take_mat(a, "gradients of activations", rows, 2 * f, t);
    g->h = sy_take_mat(a, "gradients of activations", rows, f, t);
}

void sy_mlp_fwd(const struct sy_exec *x, const struct sy_mlp_weights *w, const struct sy_mlp_fwd *c) {
    struct sy_mat h = sy_mat_of(c->scratch.data, x->dtype, w->f);
    struct sy_linear up = {
        .rows = c->rows, .k = w->d, .n = 2 * w->f, .x = c->in, .w = w->w13_t, .y = c->gu, .named = c->named};
    if (c->y.data) {
        up.epilogue = SY_EPILOGUE_SWIGLU;
        up.h = h;
    }
    x->ops->linear(x, &up);
    if (c->y.data)
        x->ops->linear(x, &(struct sy_linear){.rows = c->rows,
                                              .k = w->f,
                                              .n = w->d,
                                              .x = h,
                                              .w = w->w2_t,
                                              .residual = c->residual,
                                              .y = c->y});
}

void sy_mlp_bwd(const struct sy_exec *x, const struct sy_mlp_weights *w, const struct sy_mlp_bwd *c) {
    x->ops->linear_dx(x, &(struct sy_linear_dx){.rows = c->rows,
                                                .n = w->f,
                                                .n_maps = 1,
                                                .map = {{c->dy, w->w2, w->d}},
                                                .epilogue = SY_EPILOGUE_SWIGLU_BACK,
                                                .gu = c->gu,
                                                .a = c->scratch,
                                                .w = c->row_w,
                                                .dgu = c->grad->dgu,
                                                .hw = c->grad->h,
                                                .dw = c->row_w ? c->row_dw : NULL});
    x->ops->linear_dx(x, &(struct sy_linear_dx){.rows = c->rows,
                                                .n = w->d,
                                                .n_maps = 2,
                                                .map = {{c->grad->dgu, w->w1, w->f},
                                                        {sy_mat_cols(c->grad->dgu, w->f), w->w3, w->f}},
                                                .dx = c->dx});
}
