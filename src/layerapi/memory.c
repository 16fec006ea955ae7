/* Memory of an MoE layer by itself: what is carved, and larger buffers for rows. See layerapi.h.
 *
 *   arena        weights, a caller's tensors and rows on their way; of slots what planned rows do not touch
 *   work.arena   gradients and scratch of a call; with recompute the act that slots share
 *   slot.rows    what a slot alone has of an act: all of it without recompute, with ROWS the dispatched rows
 */
#include "layerapi/layerapi.h"

#include <stdlib.h>

/* Planned rows over balanced load. */
static const double planned_factor = 2.0;

/* --- one size ---------------------------------------------------------------------------------- */

static void take_mlp(struct sy_moe *m, struct sy_arena *a, int64_t groups, int64_t f,
                     struct sy_mlp_cache *cache, struct sy_mat w[2]) {
    int64_t d = m->o.dim;
    w[0] = sy_take_mat(a, "weights", groups * 2 * f, d, m->exec.dtype);
    w[1] = sy_take_mat(a, "weights", groups * d, f, m->exec.dtype);
    sy_mlp_take_cache(&m->exec, a, groups, d, f, cache);
}

static void take_weights(struct sy_moe *m, struct sy_arena *a) {
    const struct sy_config_moe *c = &m->config;
    int64_t d = m->o.dim, e = c->num_experts;
    struct sy_mat w[2];
    m->gate = sy_take_mat(a, "weights", e, d, m->exec.dtype);
    sy_weight_take(&m->exec, a, e, d, &m->gate_cache);
    m->gate_bias = c->gate_bias ? sy_take_f32(a, "weights", e) : NULL;
    m->expert_bias = sy_config_has_expert_bias(c) ? sy_take_f32(a, "weights", e) : NULL;
    take_mlp(m, a, m->n_experts, m->o.inter_dim, &m->experts_cache, w);
    m->w13 = w[0];
    m->w2 = w[1];
    if (c->num_shared_experts > 0) {
        take_mlp(m, a, 1, sy_moe_shared_width(m), &m->shared_cache, w);
        m->shared_w13 = w[0];
        m->shared_w2 = w[1];
    }
    if (c->shared_gate) {
        m->shared_gate = sy_take_mat(a, "weights", 1, d, m->exec.dtype);
        sy_weight_take(&m->exec, a, 1, d, &m->shared_gate_cache);
    }
}

static void take_slot(struct sy_moe *m, struct sy_arena *a, int i) {
    int64_t t = m->env.max_tokens, k = m->config.top_k;
    struct sy_moe_slot *s = &m->slot[i];
    struct sy_moe_act check = {0};
    s->x = sy_take_mat(a, "micro-batches", t, m->o.dim, m->exec.dtype);
    s->routes.ids = sy_arena_take(a, "micro-batches", (size_t)(t * k), sizeof *s->routes.ids);
    s->routes.w = sy_take_f32(a, "micro-batches", t * k);
    if (sy_moe_recomputes(m) && i < m->o.micro_batches) /* the last one is eval's */
        sy_moe_take_check(&m->env, a, &check);
    s->first_ids = check.first_ids;
    s->first_w = check.first_w;
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_moe *m = self;
    struct sy_moe_tensor list[SY_MOE_TENSORS];
    int64_t t = m->env.max_tokens, d = m->o.dim;
    take_weights(m, a);
    sy_moe_list_tensors(m, list);
    for (int i = 0; i < SY_MOE_TENSORS; i++)
        *sy_moe_tensor_of(&m->tensors, &list[i]) =
            list[i].has ? sy_take_f32(a, "a caller's tensors", list[i].n) : NULL;
    for (int i = 0; i < m->n_slots; i++)
        take_slot(m, a, i);
    m->y = sy_take_mat(a, "micro-batches", t, d, m->exec.dtype);
    m->dy = sy_take_mat(a, "micro-batches", t, d, m->exec.dtype);
    m->dx = m->y;
    m->io = sy_take_f32(a, "a caller's rows", t * d);
    m->tally = sy_arena_take(a, "tally", 1, sizeof *m->tally);
    m->call_counts = sy_arena_take(a, "tally", (size_t)m->config.num_experts, sizeof *m->call_counts);
}

static void carve_scratch(void *self, struct sy_arena *a) {
    struct sy_moe *m = self;
    m->exec.scratch = sy_arena_take(a, "scratch of the threads", (size_t)m->o.threads, m->exec.scratch_bytes);
}

/* --- planned rows ------------------------------------------------------------------------------ */

static void carve_work(void *self, struct sy_arena *a) {
    struct sy_moe *m = self;
    struct sy_moe_work *w = &m->work;
    if (sy_moe_recomputes(m))
        sy_moe_take(&m->env, a, &w->act);
    if (m->o.micro_batches > 0)
        sy_moe_take_grad(&m->env, a, &w->grad);
    sy_moe_take_scratch(&m->env, a, &w->scratch);
}

static void drop_work(struct sy_moe_work *w) {
    sy_arena_fini(&w->arena);
    sy_moe_scratch_fini(&w->scratch);
    sy_exchange_fini(&w->exchange);
    w->planned = -1;
}

static const char decides[] = "moe layer (max_sequences, micro_batches and recompute decide how much)";

static sy_status make_work(struct sy_moe *m) {
    struct sy_moe_work *w = &m->work;
    drop_work(w);
    SY_TRY(sy_moe_exchange_init(&m->env, &w->exchange));
    SY_TRY(sy_moe_scratch_init(&m->env, &w->scratch));
    w->act.exchange = &w->exchange;
    SY_TRY(sy_arena_build(m->exec.device, decides, carve_work, m, &w->arena));
    w->planned = m->env.planned_rows;
    return SY_OK;
}

struct own { /* a slot's carving */
    const struct sy_moe *m;
    struct sy_moe_slot *s;
};
static void carve_rows(void *self, struct sy_arena *a) {
    const struct own *o = self;
    if (sy_moe_recomputes(o->m))
        sy_moe_take_saved(&o->m->env, a, &o->s->act);
    else
        sy_moe_take(&o->m->env, a, &o->s->act);
}

static void drop_rows(struct sy_moe_slot *s) {
    sy_arena_fini(&s->rows);
    sy_exchange_fini(&s->exchange);
    s->planned = -1;
}

/* Whether a slot has rows of its own. */
static int has_rows(const struct sy_moe *m, const struct sy_moe_slot *s) {
    return !sy_moe_recomputes(m) ||
           (m->o.recompute == SY_MOE_RECOMPUTE_ROWS && s - m->slot < m->o.micro_batches);
}

static sy_status make_rows(struct sy_moe *m, struct sy_moe_slot *s) {
    drop_rows(s);
    if (has_rows(m, s)) {
        SY_TRY(sy_moe_exchange_init(&m->env, &s->exchange));
        s->act.exchange = &s->exchange;
        SY_TRY(sy_arena_build(m->exec.device, decides, carve_rows, &(struct own){m, s}, &s->rows));
    }
    s->planned = m->env.planned_rows;
    return SY_OK;
}

sy_status sy_moe_fit(struct sy_moe *m, struct sy_moe_slot *s) {
    if (m->work.planned != m->env.planned_rows)
        SY_TRY(make_work(m));
    if (s && s->planned != m->env.planned_rows)
        SY_TRY(make_rows(m, s));
    return SY_OK;
}

/* A quarter more than were needed: loads that creep up do not grow the buffers at each call. */
sy_status sy_moe_grow(struct sy_moe *m, struct sy_moe_slot *s) {
    m->env.planned_rows = m->most_rows + m->most_rows / 4;
    m->counters.buffer_regrown++;
    return m->env.ep.ops->agree(&m->env.ep, sy_moe_fit(m, s));
}

void sy_moe_bind(const struct sy_moe *m, struct sy_moe_slot *s) {
    struct sy_moe_act own = s->act;
    if (!sy_moe_recomputes(m))
        return;
    s->act = m->work.act;
    if (has_rows(m, s)) {
        s->act.routes = own.routes;
        s->act.exchange = own.exchange;
        s->act.x = own.x;
        s->act.row_w = own.row_w;
    }
    s->act.routes.ids = s->act.ids;
    s->act.first_ids = s->first_ids;
    s->act.first_w = s->first_w;
}

/* --- all of it --------------------------------------------------------------------------------- */

static sy_status take_host(struct sy_moe *m) {
    size_t e = (size_t)m->config.num_experts, routes = (size_t)(m->env.max_tokens * m->config.top_k);
    size_t ranks = (size_t)m->env.ep.size;
    int all = (m->slot = calloc((size_t)m->n_slots, sizeof *m->slot)) != NULL;
    for (int i = 0; all && i < m->n_slots; i++) {
        m->slot[i].planned = -1;
        all = (m->slot[i].table = calloc(ranks * (size_t)m->o.max_rounds, sizeof *m->slot[i].table)) != NULL;
    }
    m->seen_counts = calloc(e, sizeof *m->seen_counts);
    m->counts = calloc(e, sizeof *m->counts);
    m->sorted.ids = calloc(routes, sizeof *m->sorted.ids);
    m->sorted.w = calloc(routes, sizeof *m->sorted.w);
    m->tickets = calloc(ranks * SY_MOE_TICKET, sizeof *m->tickets);
    m->cast = calloc((size_t)sy_moe_most_casts(m), sizeof *m->cast);
    if (!all || !m->seen_counts || !m->counts || !m->sorted.ids || !m->sorted.w || !m->tickets || !m->cast)
        SY_FAIL(SY_ERR_MEMORY,
                "moe layer: no memory for the routes of %lld tokens and the tables of %d ranks",
                (long long)m->env.max_tokens, m->env.ep.size);
    return SY_OK;
}

sy_status sy_moe_memory_init(struct sy_moe *m) {
    m->work.planned = -1;
    SY_TRY(take_host(m));
    SY_TRY(
        sy_arena_build(m->exec.device, "moe layer: scratch of the threads", carve_scratch, m, &m->scratch));
    SY_TRY(sy_arena_build(m->exec.device, decides, carve, m, &m->arena));
    sy_moe_list_casts(m);
    m->env.planned_rows = sy_moe_rows_for(&m->env, planned_factor);
    for (int i = 0; i < m->n_slots; i++)
        SY_TRY(sy_moe_fit(m, &m->slot[i]));
    return SY_OK;
}

void sy_moe_memory_fini(struct sy_moe *m) {
    drop_work(&m->work);
    for (int i = 0; m->slot && i < m->n_slots; i++) {
        drop_rows(&m->slot[i]);
        free(m->slot[i].table);
    }
    sy_arena_fini(&m->arena);
    sy_arena_fini(&m->scratch);
    free(m->slot);
    free(m->seen_counts);
    free(m->counts);
    free(m->sorted.ids);
    free(m->sorted.w);
    free(m->tickets);
    free(m->cast);
}
