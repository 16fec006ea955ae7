/* The mixture-of-experts feed-forward: see moe_layer.h. */
#include "model/moe_layer.h"

static int64_t shared_width(const struct sy_layer_ctx *c) { return c->moe->num_shared_experts * c->model->moe_inter_dim; }

void sy_moe_take(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_moe_act *act) {
    int64_t t = c->max_tokens, e = c->moe->num_experts, k = c->moe->top_k, d = c->model->dim;
    *act = (struct sy_moe_act){0};
    act->s = sy_take_f32(a, "routes", t * e);
    act->w = sy_take_f32(a, "routes", t * k);
    act->ids = sy_arena_take(a, "routes", (size_t)(t * k), sizeof *act->ids);
    sy_dispatch_take(a, c->max_sequences, c->seq_len, e, k, &act->routes);
    act->routes.combine_groups = c->combine_groups;
    act->x = sy_take_mat(a, "experts", t * k, d, c->x->dtype);
    act->gu = sy_take_mat(a, "experts", t * k, 2 * c->model->moe_inter_dim, c->x->dtype);
    if (c->moe->num_shared_experts > 0)
        sy_ffn_take(c, a, shared_width(c), &act->shared);
    if (c->moe->shared_gate) {
        act->shared_y = sy_take_mat(a, "experts", t, d, c->x->dtype);
        act->shared_logit = sy_take_f32(a, "experts", t);
    }
}

void sy_moe_take_grad(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_moe_grad *g) {
    static const char *const tag = "gradients of activations";
    int64_t t = c->max_tokens, e = c->moe->num_experts, k = c->moe->top_k, n = t * k, d = c->model->dim;
    int64_t f = c->model->moe_inter_dim;
    enum sy_dtype dt = c->x->dtype;
    *g = (struct sy_moe_grad){0};
    g->logits = sy_take_f32(a, "routes", t * e);
    g->bad_token = sy_arena_take(a, "routes", 1, sizeof *g->bad_token);
    g->problems = sy_arena_take(a, "routes", (size_t)e, sizeof *g->problems);
    g->parts = sy_arena_take(a, "routes", (size_t)(2 * e), sizeof *g->parts);
    g->o = sy_take_mat(a, tag, n, d, dt);
    g->h = sy_take_mat(a, tag, n, f, dt);
    g->dy = sy_take_mat(a, tag, n, d, dt);
    g->a = sy_take_mat(a, tag, n, f, SY_F32);
    g->dgu = sy_take_mat(a, tag, n, 2 * f, dt);
    g->dx = g->o; /* forward's rows are not needed backward */
    g->row_w = sy_take_f32(a, "routes", n);
    g->row_dw = sy_take_f32(a, "routes", n);
    g->dw = sy_take_f32(a, "routes", n);
    g->dlogits = sy_take_mat(a, tag, t, e, dt);
    g->d_gate = sy_take_mat(a, tag, t, d, dt);
    g->d_routed = sy_take_mat(a, tag, t, d, dt);
    if (c->moe->num_shared_experts > 0) {
        g->ys = sy_take_mat(a, tag, t, d, dt);
        g->d_shared = sy_take_mat(a, tag, t, d, dt);
        sy_ffn_take_grad(c, a, shared_width(c), &g->shared);
    }
    if (c->moe->shared_gate) {
        g->dys = sy_take_mat(a, tag, t, d, dt);
        g->dshared_logit = sy_take_mat(a, tag, t, 1, dt);
        g->d_shared_gate = sy_take_mat(a, tag, t, d, dt);
    }
}

static struct sy_expert_weights expert_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p) {
    const struct sy_param *q = c->w.params->param;
    int64_t step = c->moe->num_experts > 1 ? q[p->first_expert + 2].offset - q[p->first_expert].offset : 0;
    return (struct sy_expert_weights){
        sy_weight(c, p->first_expert), sy_weight(c, p->first_expert + 1), step, step, c->model->dim,
        c->model->moe_inter_dim};
}

static enum sy_score_func score_func(const struct sy_config_moe *m) {
    return m->score_func == SY_SCORE_SIGMOID   ? SY_ROUTER_SIGMOID
           : m->score_func == SY_SCORE_SOFTMAX ? SY_ROUTER_SOFTMAX
                                               : SY_ROUTER_TOPK_SOFTMAX;
}

static sy_status route(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n,
                       struct sy_moe_act *act, const struct sy_moe_grad *g) {
    const struct sy_config_moe *m = c->moe;
    int64_t t = c->batch.tokens, e = m->num_experts;
    sy_linear_fwd(c, p->gate, p->gate_bias, n, sy_mat_of(g->logits, SY_F32, e));
    struct sy_router_fwd op = {.tokens = t,
                               .experts = e,
                               .top_k = m->top_k,
                               .score_func = score_func(m),
                               .groups = m->num_expert_groups,
                               .limited_groups = m->num_limited_groups,
                               .group_top2_sum = m->group_score == SY_GROUP_TOP2_SUM,
                               .route_norm = m->route_norm,
                               .route_scale = (float)m->route_scale,
                               .forced_seq_len = c->forced_balance ? c->batch.seq_len : 0,
                               .logits = g->logits,
                               .bias = sy_vector(c, p->expert_bias),
                               .s = act->s,
                               .ids = act->ids,
                               .w = act->w,
                               .bad_token = g->bad_token};
    c->x->ops->router_fwd(c->x, &op);
    if (*g->bad_token >= 0)
        SY_FAIL(SY_ERR_NONFINITE, "router: token %lld of the batch (sequence %lld, position %lld) has a NaN logit",
                (long long)*g->bad_token, (long long)(*g->bad_token / c->batch.seq_len),
                (long long)(*g->bad_token % c->batch.seq_len));
    return SY_OK;
}

/* The shared experts' output, BF(SIG(l) y) with the gate; data NULL without shared experts. */
static struct sy_mat shared_fwd(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n,
                                const struct sy_moe_act *act, const struct sy_moe_grad *g) {
    if (c->moe->num_shared_experts == 0)
        return (struct sy_mat){0};
    int64_t t = c->batch.tokens, d = c->model->dim;
    sy_ffn_fwd(c, p->shared_w13, p->shared_w2, n, &act->shared, &g->shared, g->ys);
    if (c->moe->shared_gate) {
        sy_linear_fwd(c, p->shared_gate, -1, n, sy_mat_of(act->shared_logit, SY_F32, 1));
        c->x->ops->join(c->x, &(struct sy_join){.rows = t, .d = d, .n = 1, .term = {g->ys}, .y = act->shared_y});
        c->x->ops->sigmoid_gate(c->x, &(struct sy_sigmoid_gate){.rows = t, .d = d, .logit = act->shared_logit, .y = g->ys});
    }
    return g->ys;
}

sy_status sy_moe_fwd(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n, struct sy_moe_act *act,
                     const struct sy_moe_grad *g, int64_t *counts, struct sy_mat y) {
    SY_TRY(route(c, p, n, act, g));
    sy_dispatch_sort(c->x, &act->routes, c->batch.sequences, act->ids);
    for (int64_t e = 0; counts && e < c->moe->num_experts; e++)
        counts[e] += sy_dispatch_first(&act->routes, e + 1) - sy_dispatch_first(&act->routes, e);
    int before = c->moe->score_before_experts;
    sy_dispatch_rows(c->x, &act->routes, c->model->dim, before ? act->w : NULL, n, act->x);
    struct sy_mat shared = shared_fwd(c, p, n, act, g);
    struct sy_expert_weights w = expert_weights(c, p);
    sy_experts_fwd(c->x, &act->routes, &w, g->problems, g->parts, act->x, act->gu, g->h, g->o);
    sy_dispatch_combine(c->x, &act->routes, c->model->dim, before ? NULL : act->w, g->o, shared, y);
    return SY_OK;
}

/* Gradient of the shared experts' input, and of their gate's. */
static void shared_bwd(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat dy,
                       const struct sy_moe_act *act, const struct sy_moe_grad *g) {
    if (c->moe->shared_gate) {
        c->x->ops->sigmoid_gate_bwd(c->x, &(struct sy_sigmoid_gate_bwd){.rows = c->batch.tokens,
                                                                        .d = c->model->dim,
                                                                        .logit = act->shared_logit,
                                                                        .y_in = act->shared_y,
                                                                        .dy = dy,
                                                                        .dy_in = g->dys,
                                                                        .dlogit = g->dshared_logit});
        sy_linear_bwd(c, 1, (struct sy_linear_grad[]){{p->shared_gate, g->dshared_logit}}, g->d_shared_gate);
        dy = g->dys;
    }
    sy_ffn_bwd_inputs(c, p->shared_w13, p->shared_w2, dy, &act->shared, &g->shared, g->d_shared);
}

/* g->dw [T, K]: gradient of the routes' weights. */
static void weight_gradient(const struct sy_layer_ctx *c, struct sy_mat n, const struct sy_moe_act *act,
                            const struct sy_moe_grad *g) {
    if (c->moe
            ->score_before_experts) { /* dw = V64(dxw x) with x before its weight; dy's rows are not needed any more here */
        struct sy_mat x = g->dy;
        sy_dispatch_rows(c->x, &act->routes, c->model->dim, NULL, n, x);
        c->x->ops->rowdot(
            c->x, &(struct sy_rowdot){.rows = act->routes.rows, .d = c->model->dim, .a = g->dx, .b = x, .y = g->row_dw});
    }
    sy_dispatch_to_routes(c->x, &act->routes, g->row_dw, g->dw);
}

void sy_moe_bwd_inputs(const struct sy_layer_ctx *c, const struct sy_layer_params *p, struct sy_mat n, struct sy_mat dy,
                       const struct sy_moe_act *act, const struct sy_moe_grad *g, struct sy_mat dn) {
    int64_t t = c->batch.tokens, e = c->moe->num_experts, k = c->moe->top_k, d = c->model->dim;
    int before = c->moe->score_before_experts;
    struct sy_expert_weights w = expert_weights(c, p);
    sy_dispatch_rows(c->x, &act->routes, d, NULL, dy, g->dy);
    sy_dispatch_to_rows(c->x, &act->routes, act->w, g->row_w);
    sy_experts_bwd(c->x, &act->routes, &w, g->problems, g->parts, g->dy, act->gu, before ? NULL : g->row_w, g->a, g->dgu,
                   g->h, before ? NULL : g->row_dw, g->dx);
    weight_gradient(c, n, act, g);
    if (before) /* what was overwritten is a row of W2's gradient */
        sy_dispatch_rows(c->x, &act->routes, d, NULL, dy, g->dy);
    c->x->ops->router_bwd(c->x, &(struct sy_router_bwd){.tokens = t,
                                                        .experts = e,
                                                        .top_k = k,
                                                        .score_func = score_func(c->moe),
                                                        .route_norm = c->moe->route_norm,
                                                        .route_scale = (float)c->moe->route_scale,
                                                        .s = act->s,
                                                        .ids = act->ids,
                                                        .dw = g->dw,
                                                        .dlogits = g->dlogits});
    sy_linear_bwd(c, 1, (struct sy_linear_grad[]){{p->gate, g->dlogits}}, g->d_gate);
    sy_dispatch_combine(c->x, &act->routes, d, before ? act->w : NULL, g->dx, (struct sy_mat){0}, g->d_routed);
    struct sy_join join = {.rows = t, .d = d, .n = 2, .term = {g->d_gate, g->d_routed}, .y = dn};
    if (c->moe->num_shared_experts > 0) {
        shared_bwd(c, p, dy, act, g);
        join.term[join.n++] = g->d_shared;
        if (c->moe->shared_gate)
            join.term[join.n++] = g->d_shared_gate;
    }
    c->x->ops->join(c->x, &join);
}

void sy_moe_bwd_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p, const struct sy_grad_sink *sink,
                        struct sy_mat n, struct sy_mat dy, const struct sy_moe_act *act, const struct sy_moe_grad *g) {
    int64_t t = c->batch.tokens, e = c->moe->num_experts;
    sink->matrix(sink->self, p->gate, 0, t, g->dlogits, n);
    if (p->gate_bias >= 0)
        sink->vector(sink->self, p->gate_bias, 1, sy_heads_of(g->dlogits, 0, e), (struct sy_heads){0}, NULL);
    struct sy_sink_experts rows = {p->first_expert, 2, e, act->routes.offset, g->dgu, act->x};
    sink->experts(sink->self, &rows);
    rows = (struct sy_sink_experts){p->first_expert + 1, 2, e, act->routes.offset, g->dy, g->h};
    sink->experts(sink->self, &rows);
    if (c->moe->num_shared_experts == 0)
        return;
    struct sy_mat dys = c->moe->shared_gate ? g->dys : dy;
    if (c->moe->shared_gate)
        sink->matrix(sink->self, p->shared_gate, 0, t, g->dshared_logit, n);
    sy_ffn_bwd_weights(c, p->shared_w13, p->shared_w2, sink, n, dys, &g->shared);
}
