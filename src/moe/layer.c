/* The mixture-of-experts layer: see layer.h. Buffers: layer_buffers.c. */
#include "moe/layer.h"

#include <assert.h>

#include "moe/router.h"

/* --- dispatch and combine ------------------------------------------------------------------------------- */

static int has_ranks(const struct sy_moe_env *env) { return env->ep.size > 1; }
static int before(const struct sy_moe_env *env) { return env->config->score_before_experts; }
static int64_t row_bytes(const struct sy_moe_env *env) {
    return env->d * (int64_t)sy_dtype_bytes(env->x->dtype);
}

static int is_direct(const struct sy_moe_env *env) { return has_ranks(env) && env->direct; }
/* Whether the weights of routes go with their rows: backward needs them there. */
static int has_weights(const struct sy_moe_env *env, const struct sy_moe_call *call) {
    return !before(env) && call->pass != SY_PASS_EVAL;
}

/* What the experts of a rank got. Behind the first call that was too many no number means anything. */
static void note_rows(const struct sy_moe_env *env, const struct sy_moe_call *call, const int64_t *rows) {
    int64_t *most = env->most_rows, planned = env->planned_rows;
    if (!most || (planned > 0 && *most > planned) || *rows <= *most)
        return;
    *most = *rows;
    if (planned > 0 && *most > planned)
        env->x->device->copy(env->x->device, &call->tally->overflow, most, sizeof *most);
}

static sy_status plan(const struct sy_moe_env *env, const struct sy_moe_call *call, struct sy_moe_act *act,
                      struct sy_moe_scratch *g, int closed) {
    sy_status status =
        sy_exchange_plan(env->x, act->exchange, &g->counts, &act->routes, &call->sequences, closed);
    note_rows(env, call, &act->exchange->most);
    return status;
}

static sy_status sort(const struct sy_moe_env *env, const struct sy_moe_call *call, struct sy_moe_act *act,
                      struct sy_moe_scratch *g) {
    int forced = env->forced_balance && !call->given;
    int closed = forced && sy_dispatch_is_closed(call->seq_len, env->config->num_experts, env->config->top_k);
    if (closed)
        sy_dispatch_forced(env->x, &act->routes, call->n_sequences, call->seq_len, act->ids);
    else
        sy_dispatch_sort(env->x, &act->routes, call->n_sequences, call->seq_len, act->ids);
    if (has_ranks(env))
        return is_direct(env) ? SY_OK : plan(env, call, act, g, closed);
    env->counters->path_forced += closed;
    env->counters->path_local += !closed;
    return SY_OK;
}

/* Rows to the experts: x, and the weights that backward needs there. */
static sy_status dispatch_begin(const struct sy_moe_env *env, const struct sy_moe_call *call, struct sy_mat n,
                                struct sy_moe_act *act, struct sy_moe_scratch *g) {
    const float *w = before(env) ? act->w : NULL;
    int scalars = has_weights(env, call);
    SY_TRY(sort(env, call, act, g));
    if (call->pass == SY_PASS_RECOMPUTE && has_ranks(env))
        env->counters->a2a_in_backward += is_direct(env) ? 1 : 1 + scalars;
    if (is_direct(env))
        return sy_direct_begin(env->x, act->exchange, &g->direct, &act->routes, &call->sequences, n, act->w);
    if (!sy_moe_gathers(env))
        sy_dispatch_rows(env->x, &act->routes, env->d, w, n, has_ranks(env) ? g->local : act->x);
    if (scalars)
        sy_dispatch_to_rows(env->x, &act->routes, act->w, has_ranks(env) ? g->local_w : act->row_w);
    if (!has_ranks(env))
        return SY_OK;
    SY_TRY(sy_exchange_dispatch_begin(env->x, act->exchange, &g->exchange, row_bytes(env), g->local.data));
    if (scalars)
        SY_TRY(sy_exchange_dispatch_begin(env->x, act->exchange, &g->exchange_w, sizeof(float), g->local_w));
    return SY_OK;
}

static sy_status dispatch_wait(const struct sy_moe_env *env, const struct sy_moe_call *call,
                               struct sy_moe_act *act, struct sy_moe_scratch *g) {
    sy_status rows, weights = SY_OK;
    int scalars = has_weights(env, call);
    if (!has_ranks(env))
        return SY_OK;
    if (is_direct(env))
        return sy_direct_wait(env->x, act->exchange, &g->direct, before(env), act->x,
                              scalars ? act->row_w : NULL, &call->tally->overflow);
    rows = sy_exchange_dispatch_wait(env->x, act->exchange, &g->exchange, act->x.data);
    if (scalars) /* in any case: it is in flight */
        weights = sy_exchange_dispatch_wait(env->x, act->exchange, &g->exchange_w, act->row_w);
    return rows != SY_OK ? rows : weights;
}

/* Backward's rows, dy [T, D], to where forward's went. */
static sy_status gradients_begin(const struct sy_moe_env *env, const struct sy_moe_memory *memory,
                                 struct sy_mat dy) {
    const struct sy_moe_act *act = memory->act;
    struct sy_moe_scratch *g = memory->scratch;
    if (is_direct(env))
        return sy_direct_again_begin(env->x, act->exchange, &g->direct, &act->routes, dy);
    sy_dispatch_rows(env->x, &act->routes, env->d, NULL, dy, has_ranks(env) ? g->local : memory->grad->dy);
    if (!has_ranks(env))
        return SY_OK;
    return sy_exchange_dispatch_begin(env->x, act->exchange, &g->exchange, row_bytes(env), g->local.data);
}

static sy_status gradients_wait(const struct sy_moe_env *env, const struct sy_moe_memory *memory) {
    struct sy_moe_scratch *g = memory->scratch;
    const struct sy_exchange *e = memory->act->exchange;
    if (is_direct(env))
        return sy_direct_again_wait(env->x, e, &g->direct, memory->grad->dy);
    return has_ranks(env) ? sy_exchange_dispatch_wait(env->x, e, &g->exchange, memory->grad->dy.data) : SY_OK;
}

/* The experts' rows of each token, and the shared output. By gather when asked for, or for combine_groups;
 * scatter-add gives the same bits, into y itself unless that overlaps protect [T, D], what backward reads. */
static void combine(const struct sy_moe_env *env, const struct sy_moe_act *act,
                    const struct sy_moe_scratch *g, const struct sy_dispatch_sum *sum,
                    struct sy_mat protect) {
    if (env->config->combine == SY_COMBINE_GATHER || env->combine_groups > 0) {
        sy_dispatch_combine(env->x, &act->routes, sum);
        return;
    }
    struct sy_scatter s = g->scatter;
    s.protect = protect.data;
    s.protect_bytes = (size_t)(act->routes.tokens * protect.row) * sy_dtype_bytes(protect.dtype);
    sy_dispatch_scatter(env->x, &act->routes, sum, &s, env->counters);
}

/* Experts' rows back to this rank's order. */
static sy_status bring_back(const struct sy_moe_env *env, const struct sy_moe_act *act,
                            struct sy_moe_scratch *g, struct sy_mat *rows) {
    *rows = g->rows;
    if (!has_ranks(env))
        return SY_OK;
    struct sy_exchange_buffer *b = &g->exchange;
    *rows = g->local;
    if (is_direct(env))
        return sy_direct_return(env->x, act->exchange, &g->direct, row_bytes(env), g->rows.data, 0);
    SY_TRY(sy_exchange_combine_begin(env->x, act->exchange, b, row_bytes(env), g->rows.data, g->local.data));
    return sy_exchange_combine_wait(env->x, act->exchange, b, g->local.data);
}

/* --- forward -------------------------------------------------------------------------------------------- */

/* The shared experts' output, BF(SIG(l) y) with the gate; data NULL without shared experts. */
static struct sy_mat shared_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                                const struct sy_moe_call *call, struct sy_mat n, const struct sy_moe_act *act,
                                struct sy_moe_scratch *g) {
    const struct sy_exec *x = env->x;
    int64_t t = call->n_sequences * call->seq_len;
    int gated = env->config->shared_gate, needs_y = call->pass != SY_PASS_RECOMPUTE || gated;
    if (env->config->num_shared_experts == 0)
        return (struct sy_mat){0};
    sy_mlp_fwd(x, &w->shared,
               &(struct sy_mlp_fwd){.rows = sy_rows_dense(1, t),
                                    .in = n,
                                    .gu = act->shared_gu,
                                    .scratch = g->ya,
                                    .y = needs_y ? g->ys : (struct sy_mat){0}});
    if (gated) {
        sy_linear_fwd(x, t, &w->shared_gate, NULL, n, sy_mat_of(act->shared_logit, SY_F32, 1));
        x->ops->join(x,
                     &(struct sy_join){.rows = t, .d = env->d, .n = 1, .term = {g->ys}, .y = act->shared_y});
        x->ops->sigmoid_gate(
            x, &(struct sy_sigmoid_gate){.rows = t, .d = env->d, .logit = act->shared_logit, .y = g->ys});
    }
    return g->ys;
}

static void count_cache(struct sy_packed *p, int64_t *hit, int64_t *miss) {
    if (!p)
        return;
    *hit += !p->fresh;
    *miss += p->fresh;
    p->fresh = 0;
}

static void experts_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                        const struct sy_moe_call *call, struct sy_mat n, const struct sy_moe_act *act,
                        struct sy_moe_scratch *g) {
    int again = call->pass == SY_PASS_RECOMPUTE;
    int gathers = sy_moe_gathers(env);
    struct sy_moe_counters *c = env->counters;
    count_cache(w->experts.cache13, &c->cached_w13_hit, &c->cached_w13_miss);
    if (!again)
        count_cache(w->experts.cache2, &c->cached_w2t_hit, &c->cached_w2t_miss);
    sy_mlp_fwd(
        env->x, &w->experts,
        &(struct sy_mlp_fwd){.rows = sy_dispatch_rows_of(sy_moe_rows(env, act)),
                             .in = gathers ? n : act->x,
                             .named = gathers ? sy_dispatch_names(&act->routes) : (struct sy_named_rows){0},
                             .gu = act->gu,
                             .scratch = g->a,
                             .y = again ? (struct sy_mat){0} : g->rows});
}

/* Routes are counted here: once a token in training; and whether all experts have as many, without
 * gradients. */
static void count_routes(const struct sy_moe_env *env, const struct sy_moe_call *call,
                         const struct sy_moe_act *act) {
    int counts = call->pass == SY_PASS_TRAIN || (env->recount && call->pass == SY_PASS_RECOMPUTE);
    int trains = counts && call->counts, evaluates = call->pass == SY_PASS_EVAL;
    if (trains || (evaluates && !has_ranks(env)))
        env->x->ops->count_routes(
            env->x, &(struct sy_count_routes){.tokens = call->n_sequences * call->seq_len,
                                              .experts = env->config->num_experts,
                                              .top_k = env->config->top_k,
                                              .ids = act->ids,
                                              .counts = trains ? call->counts : NULL,
                                              .equal = evaluates ? &call->tally->batched : NULL});
    else if (evaluates && has_ranks(env) && !is_direct(env))
        env->counters->batched_no_grad += sy_exchange_is_even(act->exchange);
}

sy_status sy_moe_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                     const struct sy_moe_call *call, const struct sy_moe_memory *memory, struct sy_mat n,
                     struct sy_mat y) {
    struct sy_moe_act *act = memory->act;
    struct sy_moe_scratch *g = memory->scratch;
    struct sy_dispatch_sum sum = {.width = env->d, .w = before(env) ? NULL : act->w, .y = y};
    int dispatches = call->pass != SY_PASS_RECOMPUTE || !call->saved;
    assert(!has_ranks(env) || call->seq_len == env->seq_len);
    sy_router_run(env, w, call, n, act, g);
    if (dispatches)
        SY_TRY(dispatch_begin(env, call, n, act, g));
    sum.shared = shared_fwd(env, w, call, n, act, g);
    if (dispatches)
        SY_TRY(dispatch_wait(env, call, act, g));
    count_routes(env, call, act);
    experts_fwd(env, w, call, n, act, g);
    if (call->pass == SY_PASS_RECOMPUTE)
        return SY_OK;
    SY_TRY(bring_back(env, act, g, &sum.rows));
    combine(env, act, g, &sum, n);
    return SY_OK;
}

/* --- backward ------------------------------------------------------------------------------------------- */

/* Gradient of the shared experts' input, and of their gate's. */
static void shared_bwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                       const struct sy_moe_memory *memory, struct sy_mat dy) {
    const struct sy_exec *x = env->x;
    const struct sy_moe_act *act = memory->act;
    const struct sy_moe_grad *grad = memory->grad;
    const struct sy_moe_scratch *g = memory->scratch;
    int64_t tokens = act->routes.tokens;
    if (env->config->num_shared_experts == 0)
        return;
    if (env->config->shared_gate) {
        x->ops->sigmoid_gate_bwd(x, &(struct sy_sigmoid_gate_bwd){.rows = tokens,
                                                                  .d = env->d,
                                                                  .logit = act->shared_logit,
                                                                  .y_in = act->shared_y,
                                                                  .dy = dy,
                                                                  .dy_in = grad->dys,
                                                                  .dlogit = grad->dshared_logit});
        sy_linear_bwd(x, tokens, 1, (struct sy_linear_grad[]){{&w->shared_gate, grad->dshared_logit}},
                      g->d_shared_gate);
        dy = grad->dys;
    }
    sy_mlp_bwd(x, &w->shared,
               &(struct sy_mlp_bwd){.rows = sy_rows_dense(1, tokens),
                                    .dy = dy,
                                    .gu = act->shared_gu,
                                    .scratch = g->ya,
                                    .grad = &grad->shared,
                                    .dx = g->d_shared});
}

/* g->dw [T, K]: gradient of the routes' weights. rows: input gradients, of this rank's tokens. */
static sy_status weight_gradient(const struct sy_moe_env *env, struct sy_mat n, const struct sy_moe_act *act,
                                 struct sy_moe_scratch *g, struct sy_mat rows) {
    const struct sy_dispatch *d = &act->routes;
    float *dw = g->row_dw;
    if (before(env)) { /* dw = V64(dxw x) with x before its weight */
        sy_dispatch_rows(env->x, d, env->d, NULL, n, g->local_x);
        env->x->ops->rowdot(
            env->x,
            &(struct sy_rowdot){
                .rows = sy_dispatch_rows_of(d), .d = env->d, .a = rows, .b = g->local_x, .y = g->row_dw});
    } else if (is_direct(env)) {
        SY_TRY(sy_direct_return(env->x, act->exchange, &g->direct, sizeof(float), g->row_dw, 1));
        dw = g->local_w;
    } else if (has_ranks(env)) {
        struct sy_exchange_buffer *b = &g->exchange_w;
        SY_TRY(sy_exchange_combine_begin(env->x, act->exchange, b, sizeof(float), g->row_dw, g->local_w));
        SY_TRY(sy_exchange_combine_wait(env->x, act->exchange, b, g->local_w));
        dw = g->local_w;
    }
    sy_dispatch_to_routes(env->x, d, dw, g->dw);
    return SY_OK;
}

static void join_inputs(const struct sy_moe_env *env, int64_t tokens, struct sy_moe_scratch *g,
                        struct sy_mat dn) {
    const struct sy_config_moe *m = env->config;
    struct sy_join join = {.rows = tokens, .d = env->d, .n = 2, .term = {g->d_gate, g->d_routed}, .y = dn};
    if (m->num_shared_experts > 0)
        join.term[join.n++] = g->d_shared;
    if (m->num_shared_experts > 0 && m->shared_gate)
        join.term[join.n++] = g->d_shared_gate;
    env->x->ops->join(env->x, &join);
}

sy_status sy_moe_bwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                     const struct sy_moe_memory *memory, struct sy_mat n, struct sy_mat dy,
                     struct sy_mat dn) {
    const struct sy_moe_act *act = memory->act;
    const struct sy_moe_grad *grad = memory->grad;
    struct sy_moe_scratch *g = memory->scratch;
    const struct sy_dispatch *d = &act->routes;
    struct sy_dispatch_sum sum = {.width = env->d, .w = before(env) ? act->w : NULL, .y = g->d_routed};
    if (sy_moe_gathers(env))
        sy_dispatch_rows(env->x, d, env->d, NULL, n, grad->x);
    SY_TRY(gradients_begin(env, memory, dy));
    shared_bwd(env, w, memory, dy);
    SY_TRY(gradients_wait(env, memory));
    sy_mlp_bwd(env->x, &w->experts,
               &(struct sy_mlp_bwd){.rows = sy_dispatch_rows_of(sy_moe_rows(env, act)),
                                    .dy = grad->dy,
                                    .gu = act->gu,
                                    .scratch = g->a,
                                    .row_w = before(env) ? NULL : act->row_w,
                                    .row_dw = g->row_dw,
                                    .grad = &grad->experts,
                                    .dx = g->rows});
    SY_TRY(bring_back(env, act, g, &sum.rows));
    SY_TRY(weight_gradient(env, n, act, g, sum.rows));
    sy_router_bwd(env, d->tokens, act, g, grad->dlogits);
    sy_linear_bwd(env->x, d->tokens, 1, (struct sy_linear_grad[]){{&w->gate, grad->dlogits}}, g->d_gate);
    combine(env, act, g, &sum, (struct sy_mat){0});
    join_inputs(env, d->tokens, g, dn);
    return SY_OK;
}
