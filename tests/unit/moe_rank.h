/* A rank of the tests of the MoE layer: exec, options, weights, scratch. Its memory starts as NaN. */
#ifndef SY_TESTS_UNIT_MOE_RANK_H
#define SY_TESTS_UNIT_MOE_RANK_H

#include "moe_case.h"
#include "../lib/by_name.h"

#if SY_ARENA_GUARD
#include <sanitizer/asan_interface.h>
#endif

struct setup { /* what may differ between layouts besides the sequences */
    const char *tier;
    int threads, pad, scatter;
    int max_rounds;   /* 0: the layout's */
    int64_t max_rows; /* planned; 0: the worst case */
    int direct;       /* straight into the others' memory */
    int segment;      /* at whose multiples segments of rows start on the device; 0: 1 */
    int gathers;      /* linear takes rows by name, as a GPU's does */
};

struct rank {
    const struct problem *p;
    struct sy_device device; /* the CPU, but for its segment */
    struct sy_exec x;
    struct sy_ops by_name; /* the exec's, with `gathers` */
    struct sy_config_moe config;
    struct sy_moe_counters counters;
    struct sy_moe_env env;
    int64_t most_rows;
    struct sy_moe_scratch scratch;
    struct sy_moe_grad grad;
    struct sy_mlp_cache cache; /* of the experts */
    struct sy_moe_weights w;
    struct sy_arena arena;
    void *stored[6];
    int64_t first_expert, n_experts;
};

static inline void *stored_of(enum sy_dtype t, const float *v, int64_t n) {
    void *p = room(n, sy_dtype_bytes(t));
    for (int64_t i = 0; i < n; i++)
        put(t, p, i, v[i]);
    return p;
}

/* An arena full of NaN for what `take` takes. */
static inline sy_status arena_for(void (*take)(void *arg, struct sy_arena *a), void *arg,
                                  struct sy_arena *out) {
    struct sy_arena measure = sy_arena_measure();
    take(arg, &measure);
    SY_TRY(sy_arena_init(measure.used, "the test", out));
    memset(out->base, 0xff, out->size);
    take(arg, out);
    return sy_arena_check(out, "the test");
}

static inline void take_work(void *arg, struct sy_arena *a) {
    struct rank *r = arg;
    sy_moe_take_grad(&r->env, a, &r->grad);
    sy_moe_take_scratch(&r->env, a, &r->scratch);
    sy_mlp_take_cache(&r->x, a, r->n_experts, r->p->d, r->p->f, &r->cache);
}

/* Views of the stored weights; of the experts for a version, with the rank's cache or without. */
static inline void rank_view(struct rank *r, int cached, int64_t version) {
    const struct sy_exec *x = &r->x;
    const struct problem *p = r->p;
    int64_t e = p->config.num_experts, d = p->d, f = p->f, sf = shared_width(p);
    struct sy_mat m[6];
    const int64_t cols[6] = {d, d, f, d, sf, d};
    for (int i = 0; i < 6; i++)
        m[i] = sy_mat_of(r->stored[i], x->dtype, cols[i]);
    struct sy_mlp_stored experts = {r->n_experts, d, f, m[1], m[2]}, shared = {1, d, sf, m[3], m[4]};
    r->w =
        (struct sy_moe_weights){.gate = sy_weight_of(x, m[0], e, d, 0, NULL),
                                .gate_bias = p->config.gate_bias ? p->gate_bias : NULL,
                                .expert_bias = any(p->expert_bias, e) ? p->expert_bias : NULL,
                                .experts = sy_mlp_weights_of(x, &experts, version, cached ? &r->cache : NULL),
                                .shared = sy_mlp_weights_of(x, &shared, 0, NULL),
                                .shared_gate = sy_weight_of(x, m[5], 1, d, 0, NULL)};
}

/* The values of p as this rank stores them; then rank_view. */
static inline void rank_store(struct rank *r, const struct problem *p) {
    enum sy_dtype t = r->x.dtype;
    int64_t e = p->config.num_experts, d = p->d, f = p->f, sf = shared_width(p), first = r->first_expert,
            n = r->n_experts;
    for (int i = 0; i < 6; i++)
        free(r->stored[i]);
    r->stored[0] = stored_of(t, p->gate, e * d);
    r->stored[1] =
        stored_of(t, p->w13 + first * 2 * f * d, n * 2 * f * d); /* nothing of others' experts is there */
    r->stored[2] = stored_of(t, p->w2 + first * d * f, n * d * f);
    r->stored[3] = stored_of(t, p->s13, 2 * sf * d);
    r->stored[4] = stored_of(t, p->s2, d * sf);
    r->stored[5] = stored_of(t, p->sg, d);
}

static inline sy_status rank_exec(struct rank *r, const struct setup *s) {
    r->device = *sy_device_cpu();
    r->device.segment = s->segment > 0 ? s->segment : 1;
    r->x = (struct sy_exec){.device = &r->device};
    sy_exec_set_class(&r->x, r->p->cls);
    SY_TRY(sy_ops_select(s->tier ? s->tier : "auto", &r->x.ops));
    if (s->gathers) {
        r->by_name = ops_by_name(r->x.ops);
        r->x.ops = &r->by_name;
    }
    SY_TRY(sy_pool_create(s->threads > 0 ? s->threads : 1, &r->x.pool));
    r->x.scratch_bytes = (sy_ops_scratch_bytes(640, 64, 64) + 63) / 64 * 64;
    r->x.scratch = aligned_alloc(64, r->x.scratch_bytes * (size_t)sy_pool_size(r->x.pool));
    if (!r->x.scratch)
        SY_FAIL(SY_ERR_MEMORY, "scratch");
    memset(r->x.scratch, 0xff, r->x.scratch_bytes * (size_t)sy_pool_size(r->x.pool));
    return SY_OK;
}

static inline sy_status rank_open(struct rank *r, const struct sy_comm *comm, const struct problem *p,
                                  const struct setup *s, int64_t max_sequences, int max_rounds,
                                  int64_t loss_sequences) {
    *r = (struct rank){.p = p, .config = p->config};
    SY_TRY(rank_exec(r, s));
    r->config.equal_split = s->pad ? SY_EQUAL_PAD : SY_EQUAL_EXACT;
    r->config.combine = s->scatter ? SY_COMBINE_SCATTER : SY_COMBINE_GATHER;
    r->env = (struct sy_moe_env){.x = &r->x,
                                 .config = &r->config,
                                 .ep = *comm,
                                 .d = p->d,
                                 .f = p->f,
                                 .seq_len = p->seq_len,
                                 .max_sequences = max_sequences,
                                 .max_tokens = max_sequences * p->seq_len,
                                 .max_rounds = max_rounds,
                                 .combine_groups = p->combine_groups,
                                 .forced_balance = p->forced,
                                 .loss_sequences = loss_sequences,
                                 .planned_rows = s->max_rows,
                                 .direct = s->direct,
                                 .most_rows = &r->most_rows,
                                 .counters = &r->counters};
    sy_experts_share(p->config.num_experts, comm->rank, comm->size, &r->first_expert, &r->n_experts);
    rank_store(r, p);
    rank_view(r, 0, 0);
    sy_status status = sy_moe_scratch_init(&r->env, &r->scratch);
    if (status == SY_OK)
        status = arena_for(take_work, r, &r->arena);
    return sy_moe_connect(&r->env, status, &r->scratch);
}

static inline void rank_close(struct rank *r) {
    for (int i = 0; i < 6; i++)
        free(r->stored[i]);
    sy_arena_fini(&r->arena);
    sy_moe_scratch_fini(&r->scratch);
    sy_pool_destroy(r->x.pool);
    free(r->x.scratch);
}

#endif
