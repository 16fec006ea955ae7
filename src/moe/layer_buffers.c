/* Memory of an MoE layer: what of layer.h is carved for which option. */
#include "moe/layer.h"
#include "moe/router.h"

struct sizes {
    int64_t t, e, k, d, f;
    int64_t local; /* most rows of this rank's tokens */
    int64_t rows;  /* that this rank's experts may get */
    enum sy_dtype dt;
};

static struct sy_exchange_shape shape_of(const struct sy_moe_env *env) {
    return (struct sy_exchange_shape){.experts = env->config->num_experts,
                                      .top_k = env->config->top_k,
                                      .seq_len = env->seq_len,
                                      .max_sequences = env->max_sequences,
                                      .max_rounds = env->max_rounds,
                                      .pad = env->config->equal_split == SY_EQUAL_PAD,
                                      .max_rows = env->planned_rows,
                                      .direct = env->direct,
                                      .goes_on = env->goes_on};
}

int64_t sy_moe_rows_for(const struct sy_moe_env *env, double factor) {
    struct sy_exchange_shape shape = shape_of(env);
    return env->ep.size > 1 ? sy_exchange_rows_for(&env->ep, &shape, factor) : 0;
}

sy_status sy_moe_exchange_init(const struct sy_moe_env *env, struct sy_exchange *e) {
    struct sy_exchange_shape shape = shape_of(env);
    *e = (struct sy_exchange){0};
    return env->ep.size > 1 ? sy_exchange_init(&env->ep, &shape, env->counters, e) : SY_OK;
}

sy_status sy_moe_scratch_init(const struct sy_moe_env *env, struct sy_moe_scratch *g) {
    struct sy_exchange_shape shape = shape_of(env);
    *g = (struct sy_moe_scratch){0};
    if (env->ep.size == 1)
        return SY_OK;
    sy_status status = sy_exchange_counts_init(env->x, &env->ep, &shape, &g->counts);
    if (status == SY_OK)
        status = sy_exchange_buffer_init(&env->ep, &g->exchange);
    if (status == SY_OK)
        status = sy_exchange_buffer_init(&env->ep, &g->exchange_w);
    if (status == SY_OK && env->direct)
        status = sy_direct_init(&env->ep, &shape, &g->direct);
    if (status != SY_OK)
        sy_moe_scratch_fini(g);
    return status;
}

void sy_moe_scratch_fini(struct sy_moe_scratch *g) {
    sy_exchange_counts_fini(&g->counts);
    sy_exchange_buffer_fini(&g->exchange);
    sy_exchange_buffer_fini(&g->exchange_w);
    sy_direct_fini(&g->direct);
}

sy_status sy_moe_connect(const struct sy_moe_env *env, sy_status mine, struct sy_moe_scratch *g) {
    return env->ep.size > 1 && env->direct ? sy_direct_connect(env->x, mine, &g->direct) : mine;
}

int sy_moe_gathers(const struct sy_moe_env *env) {
    return env->ep.size == 1 && env->x->ops->gathers && !env->config->score_before_experts;
}

static struct sizes sizes_of(const struct sy_moe_env *env) {
    struct sizes s = {.t = env->max_tokens,
                      .e = env->config->num_experts,
                      .k = env->config->top_k,
                      .d = env->d,
                      .f = env->f,
                      .dt = env->x->dtype};
    s.local = s.rows = sy_dispatch_most_rows(env->x, s.t * s.k, s.e * env->max_sequences);
    if (env->ep.size > 1) {
        struct sy_exchange_shape shape = shape_of(env);
        s.rows = sy_exchange_max_rows(env->x, &env->ep, &shape);
    }
    return s;
}

/* A route's row and a row's route are numbers of 32 bits. */
sy_status sy_moe_check_rows(const struct sy_moe_env *env) {
    struct sizes s = sizes_of(env);
    if (s.local > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE,
                "an MoE layer may have %lld rows in a pass: %lld tokens, moe.top_k = %lld, and segments of "
                "%lld experts "
                "times %lld sequences that start at multiples of %lld; there can be %lld: choose fewer "
                "(training.local_batch_size) or shorter sequences",
                (long long)s.local, (long long)s.t, (long long)s.k, (long long)s.e,
                (long long)env->max_sequences, (long long)env->x->device->segment, (long long)INT32_MAX);
    return SY_OK;
}

static int64_t shared_width(const struct sy_moe_env *env) { return env->config->num_shared_experts * env->f; }

void sy_moe_take_saved(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    struct sizes s = sizes_of(env);
    sy_dispatch_take(env->x, a, &(struct sy_dispatch_bounds){env->max_sequences, s.t, s.e, s.k},
                     &act->routes);
    act->routes.combine_groups = env->combine_groups;
    if (env->ep.size > 1) {
        struct sy_exchange_shape shape = shape_of(env);
        act->routes.count =
            sy_arena_take(a, "routes", (size_t)(s.e * env->max_sequences), sizeof *act->routes.count);
        sy_exchange_take(env->x, a, &env->ep, &shape, act->exchange);
    }
    if (!sy_moe_gathers(env))
        act->x = sy_take_mat(a, "dispatched rows", s.rows, s.d, s.dt);
    act->row_w = env->config->score_before_experts ? NULL : sy_take_f32(a, "dispatched rows", s.rows);
}

void sy_moe_take_rebuilt(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    struct sizes s = sizes_of(env);
    *act = (struct sy_moe_act){.exchange = act->exchange};
    act->s = sy_take_f32(a, "routes", s.t * s.e);
    act->w = sy_take_f32(a, "routes", s.t * s.k);
    act->ids = sy_arena_take(a, "routes", (size_t)(s.t * s.k), sizeof *act->ids);
    if (sy_router_has_losses(env->config))
        act->dl_loss = sy_take_f32(a, "routes", s.t * s.e);
    act->gu = sy_take_mat(a, "experts", s.rows, 2 * s.f, s.dt);
    if (env->config->num_shared_experts > 0)
        act->shared_gu = sy_take_mat(a, "feed-forward", s.t, 2 * shared_width(env), s.dt);
    if (env->config->shared_gate) {
        act->shared_y = sy_take_mat(a, "experts", s.t, s.d, s.dt);
        act->shared_logit = sy_take_f32(a, "experts", s.t);
    }
}

void sy_moe_take(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    sy_moe_take_rebuilt(env, a, act);
    sy_moe_take_saved(env, a, act);
}

void sy_moe_take_check(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    struct sizes s = sizes_of(env);
    act->first_ids = sy_arena_take(a, "routes", (size_t)(s.t * s.k), sizeof *act->first_ids);
    act->first_w = sy_take_f32(a, "routes", s.t * s.k);
}

static const char gradients[] = "gradients of activations";

void sy_moe_take_grad(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_grad *g) {
    struct sizes s = sizes_of(env);
    *g = (struct sy_moe_grad){0};
    g->dy = sy_take_mat(a, gradients, s.rows, s.d, s.dt);
    if (sy_moe_gathers(env))
        g->x = sy_take_mat(a, gradients, s.rows, s.d, s.dt);
    sy_mlp_take_grad(a, s.dt, s.rows, s.f, &g->experts);
    g->dlogits = sy_take_mat(a, gradients, s.t, s.e, s.dt);
    if (env->config->num_shared_experts == 0)
        return;
    sy_mlp_take_grad(a, s.dt, s.t, shared_width(env), &g->shared);
    if (!env->config->shared_gate)
        return;
    g->dys = sy_take_mat(a, gradients, s.t, s.d, s.dt);
    g->dshared_logit = sy_take_mat(a, gradients, s.t, 1, s.dt);
}

static void take_exchange(const struct sy_moe_env *env, const struct sizes *s, struct sy_arena *a,
                          struct sy_moe_scratch *g) {
    static const char *const tag = "exchange of rows";
    struct sy_exchange_shape shape = shape_of(env);
    g->local = sy_take_mat(a, tag, s->local, s->d, s->dt);
    g->local_w = sy_take_f32(a, tag, s->local);
    if (env->direct) {
        sy_direct_take(env->x, a, s->d, g->local.data, g->local_w, &g->direct);
        return;
    }
    sy_exchange_take_buffer(env->x, a, &env->ep, &shape, s->d * (int64_t)sy_dtype_bytes(s->dt), &g->exchange);
    sy_exchange_take_buffer(env->x, a, &env->ep, &shape, sizeof(float), &g->exchange_w);
}

static void take_shared(const struct sy_moe_env *env, const struct sizes *s, struct sy_arena *a,
                        struct sy_moe_scratch *g) {
    if (env->config->num_shared_experts == 0)
        return;
    g->ys = sy_take_mat(a, gradients, s->t, s->d, s->dt);
    g->ya = sy_take_mat(a, gradients, s->t, shared_width(env), SY_F32);
    g->d_shared = sy_take_mat(a, gradients, s->t, s->d, s->dt);
    if (env->config->shared_gate)
        g->d_shared_gate = sy_take_mat(a, gradients, s->t, s->d, s->dt);
}

void sy_moe_take_scratch(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_scratch *g) {
    struct sizes s = sizes_of(env);
    g->logits = sy_take_f32(a, "routes", s.t * s.e);
    g->rows = sy_take_mat(a, gradients, s.rows, s.d, s.dt);
    g->a = sy_take_mat(a, gradients, s.rows, s.f, SY_F32);
    g->row_dw = sy_take_f32(a, "routes", s.rows > s.local ? s.rows : s.local);
    g->dw = sy_take_f32(a, "routes", s.t * s.k);
    g->d_gate = sy_take_mat(a, gradients, s.t, s.d, s.dt);
    g->d_routed = sy_take_mat(a, gradients, s.t, s.d, s.dt);
    if (env->config->score_before_experts)
        g->local_x = sy_take_mat(a, gradients, s.local, s.d, s.dt);
    take_shared(env, &s, a, g);
    if (env->ep.size > 1)
        take_exchange(env, &s, a, g);
    if (env->config->combine == SY_COMBINE_SCATTER) {
        g->scatter.scale = sy_take_f32(a, "scatter-add", s.local);
        g->scatter.spare = sy_take_f32(a, "scatter-add", s.t * s.d);
    }
}
