/* Where the time of a training step goes: see profile.h. */
#include "train/profile.h"

#include "base/clock.h"

static const struct {
    const char *name, *text;
    int layer;
} parts[] = {
#define X(name, text, layer) {#name, text, layer},
    SY_PROFILE_PART_LIST(X)
#undef X
};

static const char *const op_names[] = {"gemm",
#define X(name, type) #name,
                                       SY_OPS_LIST(X)
#undef X
};

/* Parts of the ops, one up: 0 is an op that nobody placed. */
enum { SAME_AS_PRODUCT = SY_N_PARTS };
#define OF(op, part) [SY_OP_##op] = SY_PART_##part + 1
static const unsigned char part_of[SY_N_OPS] = {
    OF(gemm, products),
    OF(embed_fwd, embedding),
    OF(attention_fwd, attention),
    OF(attention_bwd, attention),
    OF(rmsnorm_fwd, pointwise),
    OF(rmsnorm_bwd, pointwise),
    OF(rope, pointwise),
    OF(join, pointwise),
    OF(head_sum, pointwise),
    OF(sigmoid_gate, ffn),
    OF(sigmoid_gate_bwd, ffn),
    OF(scatter_add, router),
    OF(router_fwd, router),
    OF(router_bwd, router),
    OF(router_losses, router),
    OF(topk, router),
    OF(topk_bwd, router),
    OF(route_sort, router),
    OF(permute, router),
    OF(combine, router),
    OF(gather_f32, router),
    OF(rowdot, router),
    OF(cross_entropy, head),
    OF(row_sum, w_vectors),
    OF(add_f32, pointwise),
    OF(square_sum, norm),
    OF(adamw, adamw),
    OF(cast, cast),
    [SY_OP_swiglu_fwd] = SAME_AS_PRODUCT + 1,
    [SY_OP_swiglu_bwd] = SAME_AS_PRODUCT + 1,
};
#undef OF

const char *sy_profile_part_name(int part, const char **text) {
    *text = parts[part].text;
    return parts[part].name;
}
const char *sy_profile_op_name(int op) { return op_names[op]; }

int sy_profile_columns(int part) {
    return part < SY_PART_w_matrices ? SY_N_COLUMNS : part < SY_PART_norm ? SY_SUMS + 1 : 1;
}

enum sy_profile_part sy_profile_part_of(int op) {
    int part = part_of[op] - 1;
    return part < 0                  ? SY_PART_other
           : part == SAME_AS_PRODUCT ? SY_PART_experts
                                     : (enum sy_profile_part)part;
}

/* --- charging ------------------------------------------------------------------------------ */

static void add(struct sy_profile_tally *t, double seconds, int64_t calls, int64_t runs) {
    t->seconds += seconds;
    t->calls += calls;
    t->runs += runs;
}

static void charge(struct sy_profile *p) {
    double now = p->clock(), seconds = now - p->since;
    int64_t runs = sy_pool_runs(p->pool) - p->runs_since;
    add(&p->part[p->now.column][p->now.part], seconds, 0, runs);
    if (p->now.layer)
        add(&p->layers, seconds, 0, runs);
    p->since = now;
    p->runs_since += runs;
}

static struct sy_profile_place enter(struct sy_profile *p, struct sy_profile_place place) {
    struct sy_profile_place before = p->now;
    charge(p);
    p->now = place;
    return before;
}

static void leave(struct sy_profile *p, struct sy_profile_place before) {
    charge(p);
    p->now = before;
    if (before.part == SY_PART_host)
        p->now.column = p->column;
}

static struct sy_profile_place place(const struct sy_profile *p, enum sy_profile_part part) {
    int has_passes = sy_profile_columns(part) == SY_N_COLUMNS;
    return (struct sy_profile_place){has_passes ? p->column : 0, part, parts[part].layer};
}

void sy_profile_mark(struct sy_profile *p, enum sy_profile_part part) {
    if (p)
        enter(p, place(p, part));
}

void sy_profile_begin(struct sy_profile *p) {
    memset(p->part, 0, sizeof p->part);
    memset(p->op, 0, sizeof p->op);
    p->layers = (struct sy_profile_tally){0};
    p->passes = 0;
    p->column = SY_FORWARD;
    p->now = (struct sy_profile_place){SY_FORWARD, SY_PART_other, 0};
    p->runs_since = sy_pool_runs(p->pool);
    p->since = p->clock();
}

void sy_profile_end(struct sy_profile *p) { charge(p); }

/* --- ops ----------------------------------------------------------------------------------- */

static struct sy_profile *profile_of(const struct sy_exec *x) {
    return (struct sy_profile *)(uintptr_t)x->ops;
}

/* The parameter that lies at `at`, or -1: then it is a copy of expert weights (moe/prepared.h). */
static int param_at(const struct sy_profile *p, const void *at) {
    const struct sy_params *q = p->weights.params;
    const char *base[] = {p->weights.stored, (const char *)p->weights.master};
    size_t bytes[] = {sy_dtype_bytes(p->weights.dtype), sizeof(float)};
    for (int i = 0; i < 2; i++) {
        uintptr_t first = (uintptr_t)base[i], a = (uintptr_t)at;
        if (a < first || a - first >= (size_t)q->n_floats * bytes[i])
            continue;
        int64_t offset = (int64_t)((a - first) / bytes[i]);
        for (int k = 0; k < q->n_params; k++)
            if (offset >= q->param[k].offset &&
                offset < q->param[k].offset + q->param[k].rows * q->param[k].cols)
                return k;
    }
    return -1;
}

static enum sy_profile_part part_of_param(const struct sy_params *q, int param) {
    if (param < 0 || q->param[param].kind == SY_PARAM_EXPERT)
        return SY_PART_experts;
    if (param == q->head || param == q->final_norm)
        return SY_PART_head;
    const struct sy_layer_params *l = &q->layer[q->param[param].layer];
    if (param == l->gate)
        return SY_PART_router;
    if (param == l->w13 || param == l->w2 || param == l->shared_w13 || param == l->shared_w2 ||
        param == l->shared_gate)
        return SY_PART_ffn;
    return q->param[param].kind == SY_PARAM_VECTOR ? SY_PART_pointwise : SY_PART_products;
}

/* Forward until the loss, then backward; a norm's forward begins a layer's recompute there, and
 * what its backward reads first ends it: the pre-activation of its feed-forward, or a product of a
 * gradient. */
static void follow(struct sy_profile *p, int op) {
    p->passes += op == SY_OP_embed_fwd;
    if (op == SY_OP_embed_fwd)
        p->column = SY_FORWARD;
    else if (op == SY_OP_cross_entropy)
        p->column = SY_BACKWARD;
    else if (op == SY_OP_rmsnorm_fwd && p->column == SY_BACKWARD)
        p->column = SY_RECOMPUTE;
}

static int in_sink(const struct sy_profile *p) {
    return p->now.part >= SY_PART_w_matrices && p->now.part < SY_PART_norm;
}

/* weight: of a norm, else NULL. */
static struct sy_profile_place begin(struct sy_profile *p, int op, const void *weight) {
    struct sy_profile_place at;
    if (in_sink(p)) {
        at = p->now;
        at.column = op == SY_OP_add_f32 ? SY_SUMS : SY_LEAVES;
    } else {
        follow(p, op);
        int part = part_of[op] - 1;
        at = place(p, part == SAME_AS_PRODUCT ? p->product
                      : weight ? part_of_param(p->weights.params, param_at(p, weight))
                               : sy_profile_part_of(op));
        if (op == SY_OP_cross_entropy)
            at.column = SY_FORWARD;
    }
    return enter(p, at);
}

static void finish(struct sy_profile *p, int op, struct sy_profile_place before) {
    double seconds = p->clock() - p->since;
    int64_t runs = sy_pool_runs(p->pool) - p->runs_since;
    add(&p->op[op], seconds, 1, runs);
    p->part[p->now.column][p->now.part].calls++;
    p->layers.calls += p->now.layer;
    leave(p, before);
}

static struct sy_profile_place begin_gemm(struct sy_profile *p, const struct sy_gemm *g, int n) {
    if (in_sink(p) || n == 0)
        return begin(p, SY_OP_gemm, NULL);
    const struct sy_params *q = p->weights.params;
    int param = param_at(p, g->parts[0].b.data), of_gradient = param >= 0 && g->parts[0].b.row != 1;
    p->product = part_of_param(q, param);
    struct sy_profile_place at = place(p, p->product);
    if (p->column == SY_RECOMPUTE && of_gradient)
        p->column = at.column = SY_BACKWARD;
    if (p->product == SY_PART_head)
        at.column = of_gradient ? SY_BACKWARD : SY_FORWARD;
    int dense = p->product == SY_PART_ffn && param == q->layer[q->param[param].layer].w13;
    if (p->column == SY_RECOMPUTE && (dense || p->product == SY_PART_experts))
        p->column = SY_BACKWARD;
    return enter(p, at);
}

static void gemm(const struct sy_exec *x, const struct sy_gemm *problems, int n) {
    struct sy_profile *p = profile_of(x);
    struct sy_profile_place before = begin_gemm(p, problems, n);
    p->inner->gemm(x, problems, n);
    finish(p, SY_OP_gemm, before);
}

#define NORM(type, op) const struct type * : ((const struct type *)(const void *)(op))->g
#define X(name, type)                                                                \
    static void name(const struct sy_exec *x, const struct type *op) {               \
        struct sy_profile *p = profile_of(x);                                        \
        const void *weight =                                                         \
            _Generic(op, NORM(sy_rmsnorm_fwd, op), NORM(sy_rmsnorm_bwd, op), default \
                     : NULL);                                                        \
        struct sy_profile_place before = begin(p, SY_OP_##name, weight);             \
        p->inner->name(x, op);                                                       \
        finish(p, SY_OP_##name, before);                                             \
    }
SY_OPS_LIST(X)
#undef X

void sy_profile_init(struct sy_profile *p, const struct sy_exec *exec, struct sy_weights weights) {
    *p = (struct sy_profile){.ops = *exec->ops,
                             .inner = exec->ops,
                             .weights = weights,
                             .pool = exec->pool,
                             .clock = sy_clock};
    p->ops.gemm = gemm;
#define X(name, type) p->ops.name = name;
    SY_OPS_LIST(X)
#undef X
    sy_profile_begin(p);
}

/* --- sink ---------------------------------------------------------------------------------- */

static struct sy_profile_place begin_sink(struct sy_profile *p, enum sy_profile_part part,
                                          int param) {
    int of_layer = p->weights.params->param[param].layer >= 0;
    return enter(p, (struct sy_profile_place){SY_LEAVES, part, of_layer});
}

static void matrix(void *self, int param, int64_t first, int64_t n, struct sy_mat dy,
                   struct sy_mat x) {
    struct sy_profile *p = self;
    int head = param == p->weights.params->head;
    struct sy_profile_place before =
        begin_sink(p, head ? SY_PART_w_head : SY_PART_w_matrices, param);
    p->sink.matrix(p->sink.self, param, first, n, dy, x);
    leave(p, before);
}

static void experts(void *self, const struct sy_sink_experts *rows) {
    struct sy_profile *p = self;
    struct sy_profile_place before = begin_sink(p, SY_PART_w_experts, rows->first_param);
    p->sink.experts(p->sink.self, rows);
    leave(p, before);
}

static void vector(void *self, int param, int64_t heads, struct sy_heads a, struct sy_heads x,
                   const float *r) {
    struct sy_profile *p = self;
    struct sy_profile_place before = begin_sink(p, SY_PART_w_vectors, param);
    p->sink.vector(p->sink.self, param, heads, a, x, r);
    leave(p, before);
}

static void embedding(void *self, int param, const int32_t *ids, struct sy_mat dy) {
    struct sy_profile *p = self;
    struct sy_profile_place before = begin_sink(p, SY_PART_w_embedding, param);
    p->sink.embedding(p->sink.self, param, ids, dy);
    leave(p, before);
}

struct sy_grad_sink sy_profile_sink(struct sy_profile *p, struct sy_grad_sink sink) {
    if (!p)
        return sink;
    p->sink = sink;
    return (struct sy_grad_sink){p, matrix, experts, vector, embedding};
}
