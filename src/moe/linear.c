/* Weight matrices as products read them, and linear maps: see linear.h. */
#include "moe/linear.h"

#include <assert.h>

void sy_packed_take(const struct sy_exec *x, struct sy_arena *a, const struct sy_right *r,
                    struct sy_packed *p) {
    size_t bytes = x->ops->pack_bytes(x, r->m, r->k, r->n);
    *p = (struct sy_packed){.step = (int64_t)bytes};
    if (bytes)
        p->data = sy_arena_take(a, "packed weights", (size_t)r->groups, bytes);
}

struct sy_operand sy_packed_operand(const struct sy_exec *x, const struct sy_right *r, int64_t version,
                                    struct sy_packed *p) {
    struct sy_operand o = {.m = r->m, .step = r->step};
    if (!p || !p->data || version == 0)
        return o;
    if (p->version != version) {
        x->ops->pack(x, &(struct sy_pack){.groups = r->groups,
                                          .k = r->k,
                                          .n = r->n,
                                          .b = o,
                                          .packed = p->data,
                                          .packed_step = p->step});
        p->version = version;
        p->fresh = 1;
    }
    o.packed = p->data;
    o.packed_step = p->step;
    return o;
}

/* W [rows, cols] by columns, W^T, and by rows. */
static struct sy_right forward(struct sy_mat w, int64_t rows, int64_t cols) {
    return (struct sy_right){.groups = 1, .k = cols, .n = rows, .m = sy_mat_t(w)};
}
static struct sy_right backward(struct sy_mat w, int64_t rows, int64_t cols) {
    return (struct sy_right){.groups = 1, .k = rows, .n = cols, .m = w};
}

void sy_weight_take(const struct sy_exec *x, struct sy_arena *a, int64_t rows, int64_t cols,
                    struct sy_weight_cache *c) {
    struct sy_mat w = sy_mat_of(NULL, x->dtype, cols);
    struct sy_right fwd = forward(w, rows, cols), dx = backward(w, rows, cols);
    sy_packed_take(x, a, &fwd, &c->fwd);
    sy_packed_take(x, a, &dx, &c->dx);
}

struct sy_weight sy_weight_of(const struct sy_exec *x, struct sy_mat w, int64_t rows, int64_t cols,
                              int64_t version, struct sy_weight_cache *c) {
    struct sy_right fwd = forward(w, rows, cols), dx = backward(w, rows, cols);
    return (struct sy_weight){rows, cols, sy_packed_operand(x, &fwd, version, c ? &c->fwd : NULL),
                              sy_packed_operand(x, &dx, version, c ? &c->dx : NULL)};
}

static struct sy_linear map_of(int64_t tokens, const struct sy_weight *w, struct sy_mat in, struct sy_mat y) {
    return (struct sy_linear){
        .rows = sy_rows_dense(1, tokens), .k = w->cols, .n = w->rows, .x = in, .w = w->fwd, .y = y};
}

void sy_linear_fwd(const struct sy_exec *x, int64_t tokens, const struct sy_weight *w, const float *bias,
                   struct sy_mat in, struct sy_mat y) {
    struct sy_linear op = map_of(tokens, w, in, y);
    op.bias = bias;
    x->ops->linear(x, &op);
}

void sy_linear_fwd_add(const struct sy_exec *x, int64_t tokens, const struct sy_weight *w, const float *bias,
                       struct sy_mat in, struct sy_added to) {
    struct sy_linear op = map_of(tokens, w, in, to.y);
    op.bias = bias;
    op.residual = to.residual;
    x->ops->linear(x, &op);
}

void sy_linear_bwd(const struct sy_exec *x, int64_t tokens, int n, const struct sy_linear_grad *maps,
                   struct sy_mat dx) {
    struct sy_linear_dx op = {.rows = sy_rows_dense(1, tokens), .n = maps[0].w->cols, .n_maps = n, .dx = dx};
    assert(n <= SY_DX_MAPS);
    for (int i = 0; i < n; i++)
        op.map[i] = (struct sy_dx_map){maps[i].dy, maps[i].w->dx, maps[i].w->rows};
    x->ops->linear_dx(x, &op);
}
