/* An MoE layer by itself: create, destroy, what it counted. See public.h. */
#include "moe/public.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* --- memory ----------------------------------------------------------------------------------------------------------- */

static int recomputes(const struct sy_moe *m) { return m->o.recompute != SY_MOE_RECOMPUTE_NONE; }

static int64_t shared_width(const struct sy_moe *m) { return m->config.num_shared_experts * m->o.inter_dim; }

static void take_weights(struct sy_moe *m, struct sy_arena *a) {
    static const char *const tag = "weights";
    const struct sy_config_moe *c = &m->config;
    int64_t d = m->o.dim, f = m->o.inter_dim, e = c->num_experts, n = m->n_experts, fs = shared_width(m);
    enum sy_dtype t = m->exec.dtype;
    m->w.gate = sy_take_mat(a, tag, e, d, t);
    m->w.gate_bias = m->gate_bias = c->gate_bias ? sy_take_f32(a, tag, e) : NULL;
    m->w.expert_bias = m->expert_bias = sy_config_has_expert_bias(c) ? sy_take_f32(a, tag, e) : NULL;
    m->w.experts = (struct sy_expert_weights){
        sy_take_mat(a, tag, n * 2 * f, d, t), sy_take_mat(a, tag, n * d, f, t), 2 * f * d, d * f, d, f};
    if (fs > 0)
        m->w.shared = (struct sy_mlp_weights){sy_take_mat(a, tag, 2 * fs, d, t), sy_take_mat(a, tag, d, fs, t), d, fs};
    if (c->shared_gate)
        m->w.shared_gate = sy_take_mat(a, tag, 1, d, t);
    sy_moe_take_prepared(&m->env, a, &m->prepared);
    m->w.prepared = &m->prepared;
}

/* Without recompute each slot has all; else one act is shared, and with ROWS each slot has its own part of it. */
static void take_slots(struct sy_moe *m, struct sy_arena *a) {
    int64_t t = m->o.max_sequences * m->o.seq_len, k = m->config.top_k;
    struct sy_moe_act shared = {0};
    struct sy_moe_slot measured; /* what is carved goes nowhere while there is no memory */
    m->slot = sy_arena_take(a, "micro-batches", (size_t)m->n_slots, sizeof *m->slot);
    if (recomputes(m))
        sy_moe_take(&m->env, a, &shared);
    for (int i = 0; i < m->n_slots; i++) {
        struct sy_moe_slot *s = m->slot ? &m->slot[i] : &measured;
        *s = (struct sy_moe_slot){.x = sy_take_mat(a, "micro-batches", t, m->o.dim, m->exec.dtype)};
        size_t entries = (size_t)m->env.ep.size * (size_t)m->o.max_rounds;
        s->table = sy_arena_take(a, "micro-batches", entries, sizeof *s->table);
        s->routes.ids = sy_arena_take(a, "micro-batches", (size_t)(t * k), sizeof *s->routes.ids);
        s->routes.w = sy_take_f32(a, "micro-batches", t * k);
        if (!recomputes(m)) {
            sy_moe_take(&m->env, a, &s->act);
            continue;
        }
        s->act = shared;
        if (i == m->o.micro_batches)
            continue; /* eval's */
        sy_moe_take_check(&m->env, a, &s->act);
        if (m->o.recompute == SY_MOE_RECOMPUTE_ROWS)
            sy_moe_take_kept(&m->env, a, &s->act);
    }
}

static void carve(struct sy_moe *m, struct sy_arena *a) {
    int64_t t = m->o.max_sequences * m->o.seq_len, e = m->config.num_experts, d = m->o.dim;
    take_weights(m, a);
    take_slots(m, a);
    sy_moe_take_work(&m->env, a, &m->work);
    m->y = sy_take_mat(a, "micro-batches", t, d, m->exec.dtype);
    m->dy = sy_take_mat(a, "micro-batches", t, d, m->exec.dtype);
    m->dx = m->y;
    m->counts = sy_arena_take(a, "routes", (size_t)e, sizeof *m->counts);
    m->leaf = m->config.gate_bias ? sy_take_f32(a, "routes", e) : NULL;
    m->parts = sy_arena_take(a, "routes", (size_t)(m->env.ep.size * m->o.max_sequences), sizeof *m->parts);
    m->tickets = sy_arena_take(a, "routes", (size_t)m->env.ep.size * SY_MOE_TICKET, sizeof *m->tickets);
}

/* --- creation --------------------------------------------------------------------------------------------------------- */

static sy_status make_exec(struct sy_moe *m, const char *tier, int threads) {
    int64_t fs = shared_width(m), row = m->o.dim;
    row = 2 * m->o.inter_dim > row ? 2 * m->o.inter_dim : row;
    row = 2 * fs > row ? 2 * fs : row;
    row = m->config.num_experts > row ? m->config.num_experts : row;
    sy_status status = sy_ops_select(tier ? tier : "auto", &m->exec.ops);
    if (status == SY_OK)
        status = sy_pool_create(threads, &m->pool);
    if (status != SY_OK)
        return sy_fail_context(status, "moe layer");
    m->exec.cls = m->cls;
    m->exec.dtype = sy_class_dtype(m->cls);
    m->exec.kb = sy_class_kb(m->cls);
    m->exec.pool = m->pool;
    m->exec.scratch_bytes = sy_ops_scratch_bytes(row, 1, 1);
    SY_TRY(sy_arena_init(m->exec.scratch_bytes * (size_t)threads, "moe layer: scratch of the threads", &m->scratch));
    m->exec.scratch = m->scratch.base;
    return SY_OK;
}

static sy_status build(struct sy_moe *m, const char *tier) {
    const struct sy_moe_options *o = &m->o;
    SY_TRY(make_exec(m, tier, o->threads));
    m->env = (struct sy_moe_env){.x = &m->exec,
                                 .config = &m->config,
                                 .ep = m->env.ep,
                                 .d = o->dim,
                                 .f = o->inter_dim,
                                 .seq_len = o->seq_len,
                                 .max_sequences = o->max_sequences,
                                 .max_rounds = o->max_rounds,
                                 .combine_groups = o->combine_groups,
                                 .forced_balance = o->forced_balance,
                                 .loss_sequences = o->global_sequences > 0 ? o->global_sequences : 1,
                                 .counters = &m->counters};
    m->n_slots = o->micro_batches + (o->micro_batches == 0 || recomputes(m));
    sy_exchange_share(m->config.num_experts, m->env.ep.rank, m->env.ep.size, &m->first_expert, &m->n_experts);
    struct sy_arena measure = sy_arena_measure();
    carve(m, &measure);
    if (measure.overflow)
        SY_FAIL(SY_ERR_MEMORY, "moe layer: it needs more memory than can be addressed: fewer or shorter sequences");
    SY_TRY(
        sy_arena_reserve(measure.used, "moe layer (max_sequences, micro_batches and recompute decide how much)", &m->arena));
    carve(m, &m->arena);
    return sy_arena_check(&m->arena, "moe layer");
}

/* The section's values without its texts: they are the configuration's, which need not live as long. */
static struct sy_config_moe own(const struct sy_config_moe *section) {
    struct sy_config_moe c = *section;
    c.routes_in = c.routes_out = "";
    return c;
}

static sy_status create(const struct sy_config_moe *section, const struct sy_moe_options *options,
                        const struct sy_comm *comm, struct sy_moe **out) {
    struct sy_moe_options o = *options;
    enum sy_numeric_class cls = SY_NUMERIC_X86;
    struct sy_moe *m = NULL;
    sy_status status = sy_moe_check_options(section, comm, &o, &cls);
    if (status == SY_OK && !(m = calloc(1, sizeof *m)))
        status = sy_fail(SY_ERR_MEMORY, "moe layer: no memory for %zu bytes", sizeof *m);
    status = comm->ops->agree(comm, status);
    if (status == SY_OK)
        status = sy_moe_check_equal(comm, section, &o, cls);
    if (status == SY_OK) {
        const char *tier = o.tier;
        assert(m);
        o.tier = o.numeric_class = NULL;
        *m = (struct sy_moe){.o = o, .config = own(section), .cls = cls, .env.ep = *comm};
        status = comm->ops->agree(comm, build(m, tier));
    }
    if (status != SY_OK) {
        sy_moe_destroy(m);
        return status;
    }
    *out = m;
    return SY_OK;
}

/* The section, out of the whole for the places of its values in messages. What a run does with files, a layer does not. */
static sy_status check_section(const struct sy_config *config, const struct sy_moe_options *options) {
    if (!config || !options)
        SY_FAIL(SY_ERR_USAGE, "moe layer: %s is NULL", config ? "options" : "config");
    SY_TRY(sy_config_check_moe(config));
    if (*config->moe.routes_in)
        return sy_config_fail(config, "moe.routes_in",
                              "a layer by itself gets routes with each batch (ids_in): leave it out");
    if (*config->moe.routes_out)
        return sy_config_fail(config, "moe.routes_out", "a layer by itself hands routes out (ids_out): leave it out");
    return SY_OK;
}

sy_status sy_moe_create(const struct sy_config *config, const struct sy_moe_options *options, const struct sy_comm *comm,
                        struct sy_moe **out) {
    struct sy_comm self = sy_comm_self();
    if (!comm)
        comm = &self;
    SY_TRY(comm->ops->agree(comm, check_section(config, options)));
    return create(&config->moe, options, comm, out);
}

void sy_moe_destroy(struct sy_moe *m) {
    if (!m)
        return;
    sy_arena_fini(&m->arena);
    sy_arena_fini(&m->scratch);
    if (m->pool)
        sy_pool_destroy(m->pool);
    free(m);
}

/* --- what it counted -------------------------------------------------------------------------------------------------- */

void sy_moe_experts(const struct sy_moe *m, int64_t *first, int64_t *n) {
    *first = m->first_expert;
    *n = m->n_experts;
}

void sy_moe_discard(struct sy_moe *m) {
    for (int i = 0; i < m->n_slots; i++)
        m->slot[i].waits = 0;
    memset(m->counts, 0, (size_t)m->config.num_experts * sizeof *m->counts);
    m->loss[0] = m->loss[1] = m->n_bad = 0;
}

void sy_moe_counts(const struct sy_moe *m, int64_t *counts) {
    memcpy(counts, m->counts, (size_t)m->config.num_experts * sizeof *counts);
}

void sy_moe_losses(const struct sy_moe *m, double *balance, double *z) {
    double scale = m->n_bad ? (double)NAN : 0x1p-24 / (double)m->env.loss_sequences;
    *balance = m->config.seq_aux_loss_coeff > 0 ? (double)m->loss[0] * scale : 0.0;
    *z = m->config.z_loss_coeff > 0 ? (double)m->loss[1] * scale : 0.0;
}

const char *sy_moe_counter(const struct sy_moe *m, int i, int64_t *value) {
    static const char *const name[] = {
#define X(field, text) #field,
        SY_MOE_COUNTER_LIST(X)
#undef X
    };
    const int64_t values[] = {
#define X(field, text) m->counters.field,
        SY_MOE_COUNTER_LIST(X)
#undef X
    };
    if (i < 0 || (size_t)i >= sizeof name / sizeof *name)
        return NULL;
    *value = values[i];
    return name[i];
}
