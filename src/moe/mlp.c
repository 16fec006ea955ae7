/* SwiGLU networks: see mlp.h. */
#include "moe/mlp.h"

/* [rows, cols] by rows and by columns, of memory to come. */
static struct sy_mat by_rows(const struct sy_exec *x, int64_t cols) { return sy_mat_of(NULL, x->dtype, cols); }
static struct sy_mat by_columns(const struct sy_exec *x, int64_t rows) { return sy_mat_t(by_rows(x, rows)); }

void sy_mlp_take_cache(const struct sy_exec *x, struct sy_arena *a, int64_t groups, int64_t d, int64_t f,
                       struct sy_mlp_cache *c) {
    sy_packed_take(x, a, groups, by_columns(x, d), d, 2 * f, &c->w13_t);
    sy_packed_take(x, a, groups, by_columns(x, f), f, d, &c->w2_t);
    sy_packed_take(x, a, groups, by_rows(x, d), f, d, &c->w1);
    sy_packed_take(x, a, groups, by_rows(x, d), f, d, &c->w3);
    sy_packed_take(x, a, groups, by_rows(x, f), d, f, &c->w2);
}

struct sy_mlp_weights sy_mlp_weights_of(const struct sy_exec *x, int64_t groups, int64_t d, int64_t f, struct sy_mat w13,
                                        struct sy_mat w2, int64_t version, struct sy_mlp_cache *c) {
    int64_t n = groups, step = 2 * f * d;
    return (struct sy_mlp_weights){
        .groups = n,
        .d = d,
        .f = f,
        .w13_t = sy_packed_operand(x, n, sy_mat_t(w13), step, d, 2 * f, version, c ? &c->w13_t : NULL),
        .w2_t = sy_packed_operand(x, n, sy_mat_t(w2), d * f, f, d, version, c ? &c->w2_t : NULL),
        .w1 = sy_packed_operand(x, n, w13, step, f, d, version, c ? &c->w1 : NULL),
        .w3 = sy_packed_operand(x, n, sy_mat_rows(w13, f), step, f, d, version, c ? &c->w3 : NULL),
        .w2 = sy_packed_operand(x, n, w2, d * f, d, f, version, c ? &c->w2 : NULL),
        .cache13 = c && version ? &c->w13_t : NULL,
        .cache2 = c && version ? &c->w2_t : NULL};
}

void sy_mlp_take_grad(struct sy_arena *a, enum sy_dtype t, int64_t rows, int64_t f, struct sy_mlp_grad *g) {
    g->dgu = sy_take_mat(a, "gradients of activations", rows, 2 * f, t);
    g->h = sy_take_mat(a, "gradients of activations", rows, f, t);
}

void sy_mlp_fwd(const struct sy_exec *x, const struct sy_mlp_weights *w, const struct sy_mlp_fwd *c) {
    struct sy_mat h = sy_mat_of(c->scratch.data, x->dtype, w->f);
    struct sy_linear up = {.rows = c->rows, .k = w->d, .n = 2 * w->f, .x = c->in, .w = w->w13_t, .y = c->gu};
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
