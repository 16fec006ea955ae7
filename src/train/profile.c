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

static const char *const op_names[] = {
#define X(name, type) #name,
    SY_OPS_LIST(X)
#undef X
};

/* Parts of the ops, one up: 0 is an op that nobody placed. A product's is that of its weight. */
#define OF(op, part) [SY_OP_##op] = SY_PART_##part + 1
static const unsigned char part_of[SY_N_OPS] = {
    OF(linear, products),
    OF(linear_dx, products),
    OF(linear_dw, w_matrices),
    OF(pack, cast),
    OF(fill, pointwise),
    OF(copy, router),
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
    OF(fold_rows, w_embedding),
    OF(router_fwd, router),
    OF(router_bwd, router),
    OF(router_losses, router),
    OF(routes_equal, router),
    OF(count_routes, router),
    OF(topk, router),
    OF(topk_bwd, router),
    OF(route_sort, router),
    OF(route_forced, router),
    OF(move_segments, router),
    OF(route_slots, router),
    OF(send_slots, router),
    OF(route_arrived, router),
    OF(return_rows, router),
    OF(permute, router),
    OF(combine, router),
    OF(gather_f32, router),
    OF(rowdot, router),
    OF(cross_entropy, head),
    OF(row_sum, w_vectors),
    OF(add_f32, pointwise),
    OF(norm, norm),
    OF(judge, norm),
    OF(adamw, adamw),
    OF(expert_bias, adamw),
    OF(digest, digest),
    OF(cast, cast),
    OF(init, cast),
};
#undef OF

const char *sy_profile_part_name(int part, const char **text) {
    *text = parts[part].text;
    return parts[part].name;
}
const char *sy_profile_op_name(int op) { return op_names[op]; }

int sy_profile_columns(int part) {
    return part < SY_PART_w_matrices ? SY_N_COLUMNS : part <= SY_PART_reduce ? SY_SUMS + 1 : 1;
}

enum sy_profile_part sy_profile_part_of(int op) {
    int part = part_of[op] - 1;
    return part < 0 ? SY_PART_other : (enum sy_profile_part)part;
}

/* --- charging ------------------------------------------------------------------------------ */

static void add(struct sy_profile_tally *t, double seconds, int64_t calls, int64_t runs) {
    t->seconds += seconds;
    t->calls += calls;
    t->runs += runs;
}

/* When what was enqueued is done: a GPU's failure is said by the step's own wait. */
static double now_of(const struct sy_profile *p) {
    if (p->waits)
        sy_exec_wait(p->state->exec);
    return p->clock();
}

static void charge(struct sy_profile *p) {
    double now = now_of(p), seconds = now - p->since;
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
    p->now.began = p->since;
    p->now.held = p->timeline ? p->timeline->events : 0;
    return before;
}

/* A call of the sink that only noted what is to be done is no span, unless it took so many seconds. */
static const double NOTABLE = 1e-5;

static void leave(struct sy_profile *p, struct sy_profile_place before) {
    charge(p);
    if (p->timeline && p->now.span &&
        (p->timeline->events > p->now.held || p->since - p->now.began > NOTABLE))
        sy_timeline_span(p->timeline, parts[p->now.part].text, p->now.began, p->since, -1);
    p->now = before;
    if (before.part == SY_PART_host)
        p->now.column = p->column;
}

static struct sy_profile_place place(const struct sy_profile *p, enum sy_profile_part part) {
    int has_passes = sy_profile_columns(part) == SY_N_COLUMNS;
    return (struct sy_profile_place){has_passes ? p->column : 0, part, parts[part].layer, 0, 0, 0};
}

/* A timeline shows the parts of a step that are marked, and of the first one its passes. */
static void tell_phase(const struct sy_profile *p, const struct sy_profile_place *at) {
    static const char *const passes[] = {"forward", "recompute", "backward"};
    int has_passes = sy_profile_columns(at->part) == SY_N_COLUMNS;
    if (p->timeline)
        sy_timeline_phase(p->timeline, has_passes ? passes[at->column] : parts[at->part].text, p->since);
}

void sy_profile_mark(struct sy_profile *p, enum sy_profile_part part) {
    if (p) {
        enter(p, place(p, part));
        tell_phase(p, &p->now);
    }
}

struct sy_profile_place sy_profile_enter(struct sy_profile *p, enum sy_profile_part part) {
    struct sy_profile_place at = p ? place(p, part) : (struct sy_profile_place){0};
    at.span = 1;
    return p ? enter(p, at) : at;
}

void sy_profile_leave(struct sy_profile *p, struct sy_profile_place before) {
    if (p)
        leave(p, before);
}

void sy_profile_begin(struct sy_profile *p) {
    memset(p->part, 0, sizeof p->part);
    memset(p->op, 0, sizeof p->op);
    memset(p->op_bytes, 0, sizeof p->op_bytes);
    memset(p->op_flops, 0, sizeof p->op_flops);
    p->layers = (struct sy_profile_tally){0};
    p->passes = p->expert_rows = p->expert_padding = 0;
    p->column = SY_FORWARD;
    p->op_now = -1;
    p->now = (struct sy_profile_place){SY_FORWARD, SY_PART_other, 0, 0, 0, 0};
    p->runs_since = sy_pool_runs(p->pool);
    p->since = now_of(p);
}

void sy_profile_end(struct sy_profile *p) { charge(p); }

/* --- ops ----------------------------------------------------------------------------------- */

static struct sy_profile *profile_of(const struct sy_exec *x) {
    return (struct sy_profile *)(uintptr_t)x->ops;
}

static int lies_in(const void *at, const void *first, int64_t bytes) {
    return first && (uintptr_t)at >= (uintptr_t)first && (uintptr_t)at - (uintptr_t)first < (uintptr_t)bytes;
}

/* The parameter that lies at `at`, stored or as a master; -1: none. */
static int param_at(const struct sy_profile *p, const void *at) {
    const struct sy_params *q = p->state->params;
    for (int i = 0; i < q->n_tensors; i++) {
        const struct sy_tensor *t = &q->tensor[i];
        struct sy_kept kept = p->keeper.of(p->keeper.self, i);
        if (lies_in(at, kept.at, kept.range.n * (int64_t)kept.element) ||
            lies_in(at, p->state->of[SY_STATE_W][i], sy_state_own(p->state, i).n * (int64_t)sizeof(float)))
            return t->param;
    }
    return -1;
}

static enum sy_profile_part part_of_param(const struct sy_params *q, int param) {
    if (param < 0 || q->param[param].kind == SY_PARAM_EXPERT)
        return SY_PART_experts;
    if (q->param[param].layer < 0) /* final norm, head; an embedding that is the head */
        return SY_PART_head;
    const struct sy_layer_params *l = &q->layer[q->param[param].layer];
    if (param == l->gate)
        return SY_PART_router;
    if (param == l->w13 || param == l->w2 || param == l->shared_w13 || param == l->shared_w2 ||
        param == l->shared_gate)
        return SY_PART_ffn;
    return q->param[param].kind == SY_PARAM_VECTOR ? SY_PART_pointwise : SY_PART_products;
}

/* Forward until the loss, then backward; a norm's forward begins a layer's recompute there, and what its
 * backward reads first ends it: the pre-activation of its feed-forward, or a product of a gradient. */
static void follow(struct sy_profile *p, int op) {
    p->passes += op == SY_OP_embed_fwd;
    if (op == SY_OP_embed_fwd)
        p->column = SY_FORWARD;
    else if (op == SY_OP_cross_entropy || (op == SY_OP_linear_dx && p->column == SY_RECOMPUTE))
        p->column = SY_BACKWARD;
    else if (op == SY_OP_rmsnorm_fwd && p->column == SY_BACKWARD)
        p->column = SY_RECOMPUTE;
}

static int is_last_of_recompute(const struct sy_profile *p, int op, int param) {
    const struct sy_params *q = p->state->params;
    if (op != SY_OP_linear || param < 0 || q->param[param].layer < 0)
        return 0;
    return q->param[param].kind == SY_PARAM_EXPERT || param == q->layer[q->param[param].layer].w13;
}

static int in_sink(const struct sy_profile *p) {
    return p->now.part >= SY_PART_w_matrices && p->now.part < SY_PART_reduce;
}
static int is_over_ranks(const struct sy_profile *p) {
    return p->now.part == SY_PART_reduce || p->now.part == SY_PART_spread;
}

/* weight: of a norm or product, else NULL. */
static struct sy_profile_place begin(struct sy_profile *p, int op, const void *weight) {
    struct sy_profile_place at;
    if (in_sink(p)) {
        at = p->now;
        at.column = op == SY_OP_add_f32 || op == SY_OP_fold_rows ? SY_SUMS : SY_LEAVES;
        if (op == SY_OP_row_sum) /* at flush, beside the matrices */
            at.part = SY_PART_w_vectors;
    } else if (is_over_ranks(p)) {
        at = p->now;
        at.column = at.part == SY_PART_reduce && op == SY_OP_add_f32 ? SY_SUMS : 0;
    } else {
        int param = weight ? param_at(p, weight) : -1;
        follow(p, op);
        at = place(p, weight ? part_of_param(p->state->params, param) : sy_profile_part_of(op));
        if (p->column == SY_RECOMPUTE && is_last_of_recompute(p, op, param))
            p->column = SY_BACKWARD;
        if (op == SY_OP_cross_entropy || (at.part == SY_PART_head && op == SY_OP_linear))
            at.column = SY_FORWARD;
    }
    at.span = 0;
    p->op_now = op;
    struct sy_profile_place before = enter(p, at);
    if (before.part == SY_PART_host && sy_profile_columns(at.part) == SY_N_COLUMNS)
        tell_phase(p, &at);
    if (p->timeline)
        sy_timeline_op_begin(p->timeline, op_names[op]);
    return before;
}

static void finish(struct sy_profile *p, int op, const struct sy_op_work *work,
                   struct sy_profile_place before) {
    double now = now_of(p);
    int64_t runs = sy_pool_runs(p->pool) - p->runs_since;
    add(&p->op[op], now - p->since, 1, runs);
    if (p->works) {
        p->op_bytes[op] += work->bytes;
        p->op_flops[op] += work->flops;
    }
    if (p->timeline)
        sy_timeline_op_end(p->timeline, parts[p->now.part].text, work, p->since, now);
    p->part[p->now.column][p->now.part].calls++;
    p->layers.calls += p->now.layer;
    p->op_now = -1;
    leave(p, before);
}

#define HAS(type, op, weight) const struct type * : ((const struct type *)(const void *)(op))->weight
#define WEIGHT(op)                                                                                     \
    _Generic(op, HAS(sy_rmsnorm_fwd, op, g), HAS(sy_rmsnorm_bwd, op, g), HAS(sy_linear, op, w.m.data), \
             HAS(sy_linear_dx, op, map[0].w.m.data), default                                           \
             : NULL)
#define X(name, type)                                                    \
    static void name(const struct sy_exec *x, const struct type *op) {   \
        struct sy_profile *p = profile_of(x);                            \
        const void *weight = WEIGHT(op);                                 \
        struct sy_op_work work;                                          \
        if (p->works) {                                                  \
            double asked = p->clock();                                   \
            sy_work_##name(x, op, p->works == SY_WORKS_COUNTED, &work);  \
            p->since += p->clock() - asked;                              \
        }                                                                \
        struct sy_profile_place before = begin(p, SY_OP_##name, weight); \
        p->inner->name(x, op);                                           \
        finish(p, SY_OP_##name, &work, before);                          \
    }
SY_OPS_LIST(X)
#undef X

void sy_profile_init(struct sy_profile *p, const struct sy_exec *exec, const struct sy_state *state,
                     const struct sy_keeper *keeper) {
    *p = (struct sy_profile){.ops = *exec->ops,
                             .inner = exec->ops,
                             .state = state,
                             .keeper = *keeper,
                             .pool = exec->pool,
                             .clock = sy_clock,
                             .waits = 1};
#define X(name, type) p->ops.name = name;
    SY_OPS_LIST(X)
#undef X
    sy_profile_begin(p);
}

/* --- sink ---------------------------------------------------------------------------------- */

static struct sy_profile_place begin_sink(struct sy_profile *p, enum sy_profile_part part, int of_layer) {
    return enter(p, (struct sy_profile_place){SY_LEAVES, part, of_layer, 1, 0, 0});
}

/* Used at flush; a full list is used before. */
static void matrix(void *self, const struct sy_span *at, int param, struct sy_mat dy, struct sy_mat x) {
    struct sy_profile *p = self;
    int head = param == p->state->params->head;
    p->flushed = head ? SY_PART_w_head : SY_PART_w_matrices;
    struct sy_profile_place before = begin_sink(p, p->flushed, !head);
    p->sink.matrix(p->sink.self, at, param, dy, x);
    leave(p, before);
}

static void piece(void *self, const struct sy_sink_piece *q) {
    struct sy_profile *p = self;
    struct sy_profile_place before = begin_sink(p, SY_PART_w_head, 0);
    p->sink.piece(p->sink.self, q);
    leave(p, before);
}

/* A device's rows are not the host's to see. */
static void count_rows(struct sy_profile *p, const struct sy_rows *r) {
    int64_t kb = p->state->exec->kb;
    for (int64_t i = 0; sy_device_is_cpu(p->state->exec->device) && i < r->groups * r->sequences; i++) {
        int64_t n = r->offset[i + 1] - r->offset[i];
        p->expert_rows += n;
        p->expert_padding += (n + kb - 1) / kb * kb - n;
    }
}

static void experts(void *self, const struct sy_span *at, const struct sy_sink_experts *e) {
    struct sy_profile *p = self;
    count_rows(p, &e->rows);
    struct sy_profile_place before = begin_sink(p, SY_PART_w_experts, 1);
    p->sink.experts(p->sink.self, at, e);
    leave(p, before);
}

static void vector(void *self, const struct sy_span *at, const struct sy_sink_vector *v) {
    struct sy_profile *p = self;
    struct sy_profile_place before =
        begin_sink(p, SY_PART_w_vectors, p->state->params->param[v->param].layer >= 0);
    p->sink.vector(p->sink.self, at, v);
    leave(p, before);
}

static void embedding(void *self, const struct sy_span *at, const int32_t *ids, struct sy_mat dy) {
    struct sy_profile *p = self;
    struct sy_profile_place before = begin_sink(p, SY_PART_w_embedding, 0);
    p->sink.embedding(p->sink.self, at, ids, dy);
    leave(p, before);
}

static void flush(void *self) {
    struct sy_profile *p = self;
    struct sy_profile_place before = begin_sink(p, p->flushed, p->flushed == SY_PART_w_matrices);
    p->sink.flush(p->sink.self);
    leave(p, before);
}

struct sy_grad_sink sy_profile_sink(struct sy_profile *p, struct sy_grad_sink sink) {
    if (!p)
        return sink;
    p->sink = sink;
    p->flushed = SY_PART_w_matrices;
    return (struct sy_grad_sink){p, matrix, piece, experts, vector, embedding, flush};
}
