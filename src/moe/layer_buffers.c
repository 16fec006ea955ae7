/* Memory of an MoE layer: what of layer.h is carved for which option. */
#include "moe/layer.h"
#include "moe/router.h"

struct sizes {
    int64_t t, e, k, n, d, f;    /* n = routes of this rank */
    int64_t local_experts, rows; /* rows that this rank's experts may get */
    enum sy_dtype dt;
};

static struct sy_exchange_shape shape_of(const struct sy_moe_env *env) {
    return (struct sy_exchange_shape){.experts = env->config->num_experts,
                                      .top_k = env->config->top_k,
                                      .seq_len = env->seq_len,
                                      .max_sequences = env->max_sequences,
                                      .max_rounds = env->max_rounds,
                                      .pad = env->config->equal_split == SY_EQUAL_PAD,
                                      .max_rows = env->max_rows};
}

static struct sizes sizes_of(const struct sy_moe_env *env) {
    struct sy_exchange_shape shape = shape_of(env);
    struct sizes s = {.t = env->max_sequences * env->seq_len,
                      .e = env->config->num_experts,
                      .k = env->config->top_k,
                      .d = env->d,
                      .f = env->f,
                      .rows = sy_exchange_max_rows(&env->ep, &shape),
                      .dt = env->x->dtype};
    int64_t first;
    s.n = s.t * s.k;
    sy_exchange_share(s.e, env->ep.rank, env->ep.size, &first, &s.local_experts);
    return s;
}

static int64_t shared_width(const struct sy_moe_env *env) { return env->config->num_shared_experts * env->f; }

void sy_moe_take_kept(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    struct sizes s = sizes_of(env);
    sy_dispatch_take(a, env->max_sequences, env->seq_len, s.e, s.k, &act->routes);
    act->routes.combine_groups = env->combine_groups;
    if (env->ep.size > 1) {
        struct sy_exchange_shape shape = shape_of(env);
        sy_exchange_take(a, &env->ep, &shape, &act->exchange);
    }
    act->x = sy_take_mat(a, "dispatched rows", s.rows, s.d, s.dt);
    act->row_w = env->config->score_before_experts ? NULL : sy_take_f32(a, "dispatched rows", s.rows);
}

void sy_moe_take_made(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    struct sizes s = sizes_of(env);
    *act = (struct sy_moe_act){0};
    act->s = sy_take_f32(a, "routes", s.t * s.e);
    act->w = sy_take_f32(a, "routes", s.n);
    act->ids = sy_arena_take(a, "routes", (size_t)s.n, sizeof *act->ids);
    if (sy_router_has_losses(env->config))
        act->dl_loss = sy_take_f32(a, "routes", s.t * s.e);
    act->gu = sy_take_mat(a, "experts", s.rows, 2 * s.f, s.dt);
    if (env->config->num_shared_experts > 0)
        sy_mlp_take(a, "feed-forward", s.dt, s.t, shared_width(env), &act->shared);
    if (env->config->shared_gate) {
        act->shared_y = sy_take_mat(a, "experts", s.t, s.d, s.dt);
        act->shared_logit = sy_take_f32(a, "experts", s.t);
    }
}

void sy_moe_take(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    sy_moe_take_made(env, a, act);
    sy_moe_take_kept(env, a, act);
}

void sy_moe_take_check(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act) {
    struct sizes s = sizes_of(env);
    act->kept_ids = sy_arena_take(a, "routes", (size_t)s.n, sizeof *act->kept_ids);
    act->kept_w = sy_take_f32(a, "routes", s.n);
}

static void take_exchange(const struct sy_moe_env *env, const struct sizes *s, struct sy_arena *a, struct sy_moe_work *g) {
    static const char *const tag = "exchange of rows";
    struct sy_exchange_shape shape = shape_of(env);
    g->local = sy_take_mat(a, tag, s->n, s->d, s->dt);
    g->local_w = sy_take_f32(a, tag, s->n);
    sy_exchange_take_counts(a, &env->ep, &shape, &g->counts);
    sy_exchange_take_buffer(a, &env->ep, &shape, s->d * (int64_t)sy_dtype_bytes(s->dt), &g->rows);
    sy_exchange_take_buffer(a, &env->ep, &shape, sizeof(float), &g->scalars);
}

static void take_shared(const struct sy_moe_env *env, const struct sizes *s, struct sy_arena *a, struct sy_moe_work *g) {
    static const char *const tag = "gradients of activations";
    if (env->config->num_shared_experts == 0)
        return;
    g->ys = sy_take_mat(a, tag, s->t, s->d, s->dt);
    g->d_shared = sy_take_mat(a, tag, s->t, s->d, s->dt);
    sy_mlp_take_grad(a, s->dt, s->t, shared_width(env), &g->shared);
    if (!env->config->shared_gate)
        return;
    g->dys = sy_take_mat(a, tag, s->t, s->d, s->dt);
    g->dshared_logit = sy_take_mat(a, tag, s->t, 1, s->dt);
    g->d_shared_gate = sy_take_mat(a, tag, s->t, s->d, s->dt);
}

void sy_moe_take_work(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_work *g) {
    static const char *const tag = "gradients of activations";
    struct sizes s = sizes_of(env);
    *g = (struct sy_moe_work){0};
    g->logits = sy_take_f32(a, "routes", s.t * s.e);
    g->bad_token = sy_arena_take(a, "routes", 1, sizeof *g->bad_token);
    g->lists.problems = sy_arena_take(a, "routes", (size_t)s.local_experts, sizeof *g->lists.problems);
    g->lists.parts = sy_arena_take(a, "routes", (size_t)(2 * s.local_experts), sizeof *g->lists.parts);
    g->o = sy_take_mat(a, tag, s.rows, s.d, s.dt);
    g->h = sy_take_mat(a, tag, s.rows, s.f, s.dt);
    g->dy = sy_take_mat(a, tag, s.rows, s.d, s.dt);
    g->a = sy_take_mat(a, tag, s.rows, s.f, SY_F32);
    g->dgu = sy_take_mat(a, tag, s.rows, 2 * s.f, s.dt);
    g->dx = g->o; /* forward's rows are not needed backward */
    g->row_dw = sy_take_f32(a, "routes", s.rows > s.n ? s.rows : s.n); /* of either side of the exchange */
    g->dw = sy_take_f32(a, "routes", s.n);
    g->dlogits = sy_take_mat(a, tag, s.t, s.e, s.dt);
    g->d_gate = sy_take_mat(a, tag, s.t, s.d, s.dt);
    g->d_routed = sy_take_mat(a, tag, s.t, s.d, s.dt);
    if (env->config->score_before_experts)
        g->local_x = sy_take_mat(a, tag, s.n, s.d, s.dt);
    take_shared(env, &s, a, g);
    if (env->ep.size > 1)
        take_exchange(env, &s, a, g);
    if (env->config->combine == SY_COMBINE_SCATTER) {
        g->scatter.index = sy_arena_take(a, "scatter-add", (size_t)s.n, sizeof *g->scatter.index);
        g->scatter.scale = sy_take_f32(a, "scatter-add", s.n);
        g->scatter.spare = sy_take_f32(a, "scatter-add", s.t * s.d);
    }
}

void sy_moe_take_prepared(const struct sy_moe_env *env, struct sy_arena *a, struct sy_prepared *p) {
    struct sizes s = sizes_of(env);
    sy_prepared_take(a, s.dt, s.local_experts, s.d, s.f, p);
}
