/* The mixture-of-experts layer: see layer.h. Buffers: layer_buffers.c. */
#include "moe/layer.h"

#include "moe/router.h"
#include "ops/product.h"

/* --- dispatch and combine ------------------------------------------------------------------------------------- */

static int has_ranks(const struct sy_moe_env *env) { return env->ep.size > 1; }
static int before(const struct sy_moe_env *env) { return env->config->score_before_experts; }
static int64_t row_bytes(const struct sy_moe_env *env) { return env->d * (int64_t)sy_dtype_bytes(env->x->dtype); }

static sy_status sort(const struct sy_moe_env *env, const struct sy_moe_call *call, struct sy_moe_act *act,
                      struct sy_moe_work *g) {
    int forced = env->forced_balance && !call->given;
    int closed = forced && sy_dispatch_is_closed(env->seq_len, env->config->num_experts, env->config->top_k);
    if (closed)
        sy_dispatch_forced(env->x, &act->routes, call->n_sequences, act->ids);
    else
        sy_dispatch_sort(env->x, &act->routes, call->n_sequences, act->ids);
    if (has_ranks(env)) {
        struct sy_exchange *e = &act->exchange;
        SY_TRY(sy_exchange_plan(e, &g->counts, &act->routes, &call->sequences, closed, env->counters));
        if (e->overflow)
            SY_FAIL(SY_ERR_MEMORY,
                    "experts of one rank get %lld rows, there is room for %lld: run again with larger buffers",
                    (long long)e->needed_rows, (long long)sy_exchange_max_rows(&env->ep, &e->shape));
        return SY_OK;
    }
    env->counters->path_forced += closed;
    env->counters->path_local += !closed;
    return SY_OK;
}

/* Rows to the experts: x, and the weights that backward needs there. */
static sy_status dispatch_begin(const struct sy_moe_env *env, const struct sy_moe_call *call, struct sy_mat n,
                                struct sy_moe_act *act, struct sy_moe_work *g) {
    const float *w = before(env) ? act->w : NULL;
    int scalars = !before(env) && call->pass != SY_PASS_EVAL;
    SY_TRY(sort(env, call, act, g));
    sy_dispatch_rows(env->x, &act->routes, env->d, w, n, has_ranks(env) ? g->local : act->x);
    if (scalars)
        sy_dispatch_to_rows(env->x, &act->routes, act->w, has_ranks(env) ? g->local_w : act->row_w);
    if (!has_ranks(env))
        return SY_OK;
    SY_TRY(sy_exchange_dispatch_begin(&act->exchange, &g->rows, row_bytes(env), g->local.data, env->counters));
    if (scalars)
        SY_TRY(sy_exchange_dispatch_begin(&act->exchange, &g->scalars, sizeof(float), g->local_w, env->counters));
    if (call->pass == SY_PASS_RECOMPUTE)
        env->counters->a2a_in_backward += 1 + scalars;
    return SY_OK;
}

static sy_status dispatch_wait(const struct sy_moe_env *env, const struct sy_moe_call *call, struct sy_moe_act *act,
                               struct sy_moe_work *g) {
    if (!has_ranks(env))
        return SY_OK;
    SY_TRY(sy_exchange_dispatch_wait(env->x, &act->exchange, &g->rows, act->x.data));
    if (!before(env) && call->pass != SY_PASS_EVAL)
        SY_TRY(sy_exchange_dispatch_wait(env->x, &act->exchange, &g->scalars, act->row_w));
    return SY_OK;
}

/* y = the experts' rows of each token, and the shared output. By gather when asked for, or for combine_groups; scatter-add
 * gives the same bits, into y itself unless that overlaps protect [T, D], what backward reads. */
static void combine(const struct sy_moe_env *env, const struct sy_moe_act *act, struct sy_moe_work *g, const float *w,
                    struct sy_mat rows, struct sy_mat shared, struct sy_mat protect, struct sy_mat y) {
    if (env->config->combine == SY_COMBINE_GATHER || env->combine_groups > 0) {
        sy_dispatch_combine(env->x, &act->routes, env->d, w, rows, shared, y);
        return;
    }
    struct sy_scatter s = g->scatter;
    s.protect = protect.data;
    s.protect_bytes = (size_t)(act->routes.tokens * protect.row) * sy_dtype_bytes(protect.dtype);
    sy_dispatch_scatter(env->x, &act->routes, env->d, w, rows, shared, &s, env->counters, y);
}

/* Experts' rows back to this rank's order; *rows becomes where they are. */
static sy_status bring_back(const struct sy_moe_env *env, const struct sy_moe_act *act, struct sy_moe_work *g,
                            struct sy_mat *rows) {
    const struct sy_exchange *e = &act->exchange;
    if (!has_ranks(env))
        return SY_OK;
    SY_TRY(sy_exchange_combine_begin(env->x, e, &g->rows, row_bytes(env), rows->data, g->local.data, env->counters));
    SY_TRY(sy_exchange_combine_wait(e, &g->rows, g->local.data));
    *rows = g->local;
    return SY_OK;
}

/* --- forward -------------------------------------------------------------------------------------------------- */

/* The shared experts' output, BF(SIG(l) y) with the gate; data NULL without shared experts. */
static struct sy_mat shared_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                                struct sy_mat n, const struct sy_moe_act *act, const struct sy_moe_work *g) {
    const struct sy_exec *x = env->x;
    int64_t t = call->n_sequences * env->seq_len;
    int gated = env->config->shared_gate, needs_y = call->pass != SY_PASS_RECOMPUTE || gated;
    if (env->config->num_shared_experts == 0)
        return (struct sy_mat){0};
    sy_mlp_fwd(x, t, &w->shared, n, &act->shared, &g->shared, needs_y ? g->ys : (struct sy_mat){0});
    if (gated) {
        sy_product(x, t, 1, env->d, n, sy_mat_t(w->shared_gate), NULL, sy_mat_of(act->shared_logit, SY_F32, 1));
        x->ops->join(x, &(struct sy_join){.rows = t, .d = env->d, .n = 1, .term = {g->ys}, .y = act->shared_y});
        x->ops->sigmoid_gate(x, &(struct sy_sigmoid_gate){.rows = t, .d = env->d, .logit = act->shared_logit, .y = g->ys});
    }
    return g->ys;
}

static void experts_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                        const struct sy_moe_act *act, const struct sy_moe_work *g) {
    const struct sy_exec *x = env->x;
    const struct sy_dispatch *rows = sy_moe_rows(env, act);
    const struct sy_expert_weights *e = &w->experts;
    struct sy_expert_operand w13_t = sy_prepared_w13(x, rows->experts, e, w->version, w->prepared, env->counters), w2_t;
    if (call->pass != SY_PASS_RECOMPUTE)
        w2_t = sy_prepared_w2(x, rows->experts, e, w->version, w->prepared, env->counters);
    if (call->pass == SY_PASS_EVAL && sy_experts_are_equal(rows)) {
        env->counters->batched_no_grad++;
        sy_experts_batched(x, rows, e, w13_t, w2_t, &g->lists, act->x, act->gu, g->h, g->o);
        return;
    }
    sy_experts_pre(x, rows, e, w13_t, &g->lists, act->x, act->gu);
    if (call->pass != SY_PASS_RECOMPUTE)
        sy_experts_post(x, rows, e, w2_t, &g->lists, act->gu, g->h, g->o);
}

sy_status sy_moe_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                     struct sy_mat n, struct sy_moe_act *act, struct sy_moe_work *g, struct sy_mat y) {
    int dispatches = call->pass != SY_PASS_RECOMPUTE || !call->kept;
    SY_TRY(sy_router_run(env, w, call, n, act, g));
    if (dispatches)
        SY_TRY(dispatch_begin(env, call, n, act, g));
    struct sy_mat shared = shared_fwd(env, w, call, n, act, g);
    if (dispatches)
        SY_TRY(dispatch_wait(env, call, act, g));
    if (call->pass == SY_PASS_TRAIN && call->counts)
        for (int64_t e = 0; e < act->routes.experts; e++)
            call->counts[e] += sy_dispatch_count(&act->routes, e);
    experts_fwd(env, w, call, act, g);
    if (call->pass == SY_PASS_RECOMPUTE)
        return SY_OK;
    struct sy_mat rows = g->o;
    SY_TRY(bring_back(env, act, g, &rows));
    combine(env, act, g, before(env) ? NULL : act->w, rows, shared, n, y);
    return SY_OK;
}

/* --- backward ------------------------------------------------------------------------------------------------- */

/* Gradient of the shared experts' input, and of their gate's. */
static void shared_bwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, int64_t tokens, struct sy_mat dy,
                       const struct sy_moe_act *act, const struct sy_moe_work *g) {
    const struct sy_exec *x = env->x;
    if (env->config->num_shared_experts == 0)
        return;
    if (env->config->shared_gate) {
        x->ops->sigmoid_gate_bwd(x, &(struct sy_sigmoid_gate_bwd){.rows = tokens,
                                                                  .d = env->d,
                                                                  .logit = act->shared_logit,
                                                                  .y_in = act->shared_y,
                                                                  .dy = dy,
                                                                  .dy_in = g->dys,
                                                                  .dlogit = g->dshared_logit});
        sy_product(x, tokens, env->d, 1, g->dshared_logit, w->shared_gate, NULL, g->d_shared_gate);
        dy = g->dys;
    }
    sy_mlp_bwd(x, tokens, &w->shared, dy, &act->shared, &g->shared, g->d_shared);
}

/* g->dw [T, K]: gradient of the routes' weights. rows: input gradients, of this rank's tokens. */
static sy_status weight_gradient(const struct sy_moe_env *env, struct sy_mat n, const struct sy_moe_act *act,
                                 struct sy_moe_work *g, struct sy_mat rows) {
    const struct sy_dispatch *d = &act->routes;
    float *dw = g->row_dw;
    if (before(env)) { /* dw = V64(dxw x) with x before its weight */
        sy_dispatch_rows(env->x, d, env->d, NULL, n, g->local_x);
        env->x->ops->rowdot(env->x,
                            &(struct sy_rowdot){.rows = d->rows, .d = env->d, .a = rows, .b = g->local_x, .y = g->row_dw});
    } else if (has_ranks(env)) {
        const struct sy_exchange *e = &act->exchange;
        SY_TRY(
            sy_exchange_combine_begin(env->x, e, &g->scalars, sizeof(float), g->row_dw, g->local_w, env->counters));
        SY_TRY(sy_exchange_combine_wait(e, &g->scalars, g->local_w));
        dw = g->local_w;
    }
    sy_dispatch_to_routes(env->x, d, dw, g->dw);
    return SY_OK;
}

sy_status sy_moe_bwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, int64_t n_sequences, struct sy_mat n,
                     struct sy_mat dy, const struct sy_moe_act *act, struct sy_moe_work *g, struct sy_mat dn) {
    const struct sy_config_moe *m = env->config;
    int64_t t = n_sequences * env->seq_len;
    sy_dispatch_rows(env->x, &act->routes, env->d, NULL, dy, has_ranks(env) ? g->local : g->dy);
    if (has_ranks(env))
        SY_TRY(sy_exchange_dispatch_begin(&act->exchange, &g->rows, row_bytes(env), g->local.data, env->counters));
    shared_bwd(env, w, t, dy, act, g);
    if (has_ranks(env))
        SY_TRY(sy_exchange_dispatch_wait(env->x, &act->exchange, &g->rows, g->dy.data));
    sy_experts_bwd(env->x, sy_moe_rows(env, act), &w->experts, &g->lists, g->dy, act->gu, before(env) ? NULL : act->row_w,
                   g->a, g->dgu, g->h, before(env) ? NULL : g->row_dw, g->dx);
    struct sy_mat rows = g->dx;
    SY_TRY(bring_back(env, act, g, &rows));
    SY_TRY(weight_gradient(env, n, act, g, rows));
    sy_router_bwd(env, t, act, g);
    sy_product(env->x, t, env->d, m->num_experts, g->dlogits, w->gate, NULL, g->d_gate);
    combine(env, act, g, before(env) ? act->w : NULL, rows, (struct sy_mat){0}, (struct sy_mat){0}, g->d_routed);
    struct sy_join join = {.rows = t, .d = env->d, .n = 2, .term = {g->d_gate, g->d_routed}, .y = dn};
    if (m->num_shared_experts > 0)
        join.term[join.n++] = g->d_shared;
    if (m->num_shared_experts > 0 && m->shared_gate)
        join.term[join.n++] = g->d_shared_gate;
    env->x->ops->join(env->x, &join);
    return SY_OK;
}
