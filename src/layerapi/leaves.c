/* The sink of an MoE layer by itself: one leaf of each weight's gradient is added to what its array holds
 * (NUMERICS 4). W1 and W3 are one matrix inside and two arrays outside: two ranges of columns of dgu. See
 * layerapi.h.
 */
#include <assert.h>

#include "layerapi/layerapi.h"

enum { GATE, GATE_BIAS, SHARED_W13, SHARED_W2, SHARED_GATE };

struct sy_layer_params sy_moe_leaf_params(const struct sy_moe *m) {
    return (struct sy_layer_params){.gate = GATE,
                                    .gate_bias = m->config.gate_bias ? GATE_BIAS : -1,
                                    .shared_w13 = SHARED_W13,
                                    .shared_w2 = SHARED_W2,
                                    .shared_gate = SHARED_GATE};
}

/* A leaf of every group's rows; c NULL: not asked for. */
static void add(struct sy_moe_leaves *l, struct sy_dw q) {
    if (!q.c || q.rows.groups == 0 || q.rows.sequences == 0)
        return;
    assert(l->n < SY_MOE_TENSORS);
    q.n_segments = q.rows.sequences;
    q.c_step = q.m * q.n;
    q.fold = 1;
    l->problem[l->n++] = q;
}

static void matrix(void *self, const struct sy_span *at, int param, struct sy_mat dy, struct sy_mat x) {
    struct sy_moe_leaves *l = self;
    const struct sy_moe_tensors *t = l->to;
    int64_t d = l->m->o.dim, f = sy_moe_shared_width(l->m);
    struct sy_dw q = {.rows = sy_rows_dense(at->n, at->n * at->seq_len), .n = d, .dy = dy, .x = x};
    switch (param) {
    case GATE:
        q.m = l->m->config.num_experts;
        q.c = t->gate;
        break;
    case SHARED_W13:
        q.m = f;
        q.c = t->shared_w1;
        add(l, q);
        q.dy = sy_mat_cols(dy, f);
        q.c = t->shared_w3;
        break;
    case SHARED_W2:
        q.m = d;
        q.n = f;
        q.c = t->shared_w2;
        break;
    default:
        assert(param == SHARED_GATE);
        q.m = 1;
        q.c = t->shared_gate;
    }
    add(l, q);
}

static void experts(void *self, const struct sy_span *at, const struct sy_sink_experts *e) {
    struct sy_moe_leaves *l = self;
    const struct sy_moe_tensors *t = l->to;
    int64_t d = l->m->o.dim, f = l->m->o.inter_dim;
    (void)at;
    add(l, (struct sy_dw){.rows = e->rows, .m = f, .n = d, .dy = e->dgu, .x = e->x, .c = t->w1});
    add(l,
        (struct sy_dw){.rows = e->rows, .m = f, .n = d, .dy = sy_mat_cols(e->dgu, f), .x = e->x, .c = t->w3});
    add(l, (struct sy_dw){.rows = e->rows, .m = d, .n = f, .dy = e->dy, .x = e->h, .c = t->w2});
}

static void vector(void *self, const struct sy_span *at, const struct sy_sink_vector *v) {
    const struct sy_moe_leaves *l = self;
    assert(v->param == GATE_BIAS);
    if (!l->to->gate_bias || at->n == 0)
        return;
    struct sy_row_sum_item item = {.sequences = at->n,
                                   .rows_per_sequence = at->seq_len * v->heads,
                                   .heads = v->heads,
                                   .d = l->m->config.num_experts,
                                   .a = v->a,
                                   .x = v->x,
                                   .r = v->r,
                                   .out = l->to->gate_bias,
                                   .fold = 1};
    l->m->exec.ops->row_sum(&l->m->exec, &(struct sy_row_sum){&item, 1});
}

static void flush(void *self) {
    struct sy_moe_leaves *l = self;
    if (l->n > 0)
        l->m->exec.ops->linear_dw(&l->m->exec, &(struct sy_linear_dw){l->problem, l->n});
    l->n = 0;
}

/* The layer has neither pieces nor an embedding. */
struct sy_grad_sink sy_moe_leaf_sink(struct sy_moe_leaves *leaves) {
    return (struct sy_grad_sink){
        .self = leaves, .matrix = matrix, .experts = experts, .vector = vector, .flush = flush};
}
