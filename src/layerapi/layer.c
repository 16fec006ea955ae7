/* An MoE layer by itself: create, destroy, what it counted. See layerapi.h. */
#include "layerapi/layerapi.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* --- creation ---------------------------------------------------------------------------------- */

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static sy_status make_exec(struct sy_moe *m, const struct sy_device *device, const char *tier, int threads) {
    int64_t row = larger(larger(m->o.dim, 2 * m->o.inter_dim),
                         larger(2 * sy_moe_shared_width(m), m->config.num_experts));
    sy_status status = sy_ops_select(tier ? tier : "auto", &m->exec.ops);
    if (status == SY_OK)
        status = sy_pool_create(threads, &m->pool);
    if (status != SY_OK)
        return sy_fail_context(status, "moe layer");
    sy_exec_set_class(&m->exec, m->cls);
    m->exec.device = device;
    if (device == sy_device_cpu()) {
        SY_TRY(sy_device_cpu_create(m->pool, &m->own_device));
        m->exec.device = m->own_device;
    }
    m->exec.pool = m->pool;
    m->exec.scratch_bytes = sy_ops_scratch_bytes(row, 1, 1);
    sy_exec_guard(&m->exec, &m->guarded);
    return SY_OK;
}

static sy_status build(struct sy_moe *m, const struct sy_device *device, const char *tier) {
    const struct sy_moe_options *o = &m->o;
    SY_TRY(make_exec(m, device, tier, o->threads));
    m->env = (struct sy_moe_env){.x = &m->exec,
                                 .config = &m->config,
                                 .ep = m->env.ep,
                                 .d = o->dim,
                                 .f = o->inter_dim,
                                 .seq_len = o->seq_len,
                                 .max_sequences = o->max_sequences,
                                 .max_tokens = o->max_sequences * o->seq_len,
                                 .max_rounds = o->max_rounds,
                                 .combine_groups = o->combine_groups,
                                 .forced_balance = o->forced_balance,
                                 .loss_sequences = o->global_sequences > 0 ? o->global_sequences : 1,
                                 .most_rows = &m->most_rows,
                                 .counters = &m->counters};
    m->n_slots = o->micro_batches + (o->micro_batches == 0 || sy_moe_recomputes(m));
    sy_experts_share(m->config.num_experts, m->env.ep.rank, m->env.ep.size, &m->first_expert, &m->n_experts);
    SY_TRY(sy_moe_memory_init(m));
    return sy_exec_wait(&m->exec);
}

/* The section's values without its texts: they are the configuration's, which need not live as long. */
static struct sy_config_moe own(const struct sy_config_moe *section) {
    struct sy_config_moe c = *section;
    c.routes_in = c.routes_out = "";
    return c;
}

static sy_status create(const struct sy_device *device, const struct sy_config_moe *section,
                        const struct sy_moe_options *options, const struct sy_comm *comm,
                        struct sy_moe **out) {
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
        status = comm->ops->agree(comm, build(m, device, tier));
    }
    if (status != SY_OK) {
        sy_moe_destroy(m);
        return status;
    }
    *out = m;
    return SY_OK;
}

/* The section, out of the whole for the places of its values in messages. What a run does with files, a layer
 * does not. */
static sy_status check_section(const struct sy_config *config, const struct sy_moe_options *options) {
    if (!config || !options)
        SY_FAIL(SY_ERR_USAGE, "moe layer: %s is NULL", config ? "options" : "config");
    SY_TRY(sy_config_check_moe(config));
    if (*config->moe.routes_in)
        return sy_config_fail(config, "moe.routes_in",
                              "a layer by itself gets routes with each batch (ids_in): leave it out");
    if (*config->moe.routes_out)
        return sy_config_fail(config, "moe.routes_out",
                              "a layer by itself hands routes out (ids_out): leave it out");
    return SY_OK;
}

sy_status sy_moe_create_on(const struct sy_device *device, const struct sy_config *config,
                           const struct sy_moe_options *options, const struct sy_comm *comm,
                           struct sy_moe **out) {
    struct sy_comm self = sy_comm_self();
    if (!comm)
        comm = &self;
    SY_TRY(comm->ops->agree(comm, check_section(config, options)));
    return create(device, &config->moe, options, comm, out);
}

sy_status sy_moe_create(const struct sy_config *config, const struct sy_moe_options *options,
                        const struct sy_comm *comm, struct sy_moe **out) {
    return sy_moe_create_on(sy_device_cpu(), config, options, comm, out);
}

void sy_moe_destroy(struct sy_moe *m) {
    if (!m)
        return;
    sy_moe_memory_fini(m);
    sy_device_destroy(m->own_device);
    sy_pool_destroy(m->pool);
    free(m);
}

/* --- what it counted --------------------------------------------------------------------------- */

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
