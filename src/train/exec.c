/* The exec of a rank: see exec.h. */
#include "train/exec.h"

#include "comm/world.h"
#include "device/cuda.h"
#include "ops/wrapped.h"
#include "train/classes.h"
#include "train/plant_ties.h"
#include "train/plants.h"

int sy_exec_gpu(const struct sy_config *c, int rank) {
    const char *why;
    int ordinal;
    if (!sy_config_cuda(c, &ordinal))
        return -1;
    if (ordinal < 0)
        return sy_device_cuda_nth(rank);
    return ordinal + rank < sy_device_cuda_count(&why) ? ordinal + rank : -1;
}

/* A rank's own, which copies from and to the others' directly. Why rank 0 has none its device says. */
static sy_status open_gpu(const struct sy_config *c, int ordinal, const struct sy_mesh *m,
                          struct sy_device **own) {
    int mine = sy_exec_gpu(c, m->rank);
    if (mine < 0 && sy_exec_gpu(c, 0) >= 0)
        SY_FAIL(SY_ERR_UNAVAILABLE,
                "run.device = %s: rank %d of %d has no GPU here that this build has kernels for: choose "
                "fewer run.ranks, or run.device=cpu",
                sy_config_word(c, "run.device"), m->rank, m->world);
    SY_TRY(sy_device_cuda_create(mine < 0 ? ordinal : mine, own));
    for (int r = 0; r < m->world; r++)
        sy_device_cuda_meet(*own, sy_exec_gpu(c, r));
    return SY_OK;
}

/* pool: that ops run on, or NULL. *own: to be destroyed at the end, or NULL. */
static sy_status open_device(const struct sy_config *c, const struct sy_mesh *m, struct sy_pool *pool,
                             struct sy_device **own, const struct sy_device **out) {
    int ordinal;
    *own = NULL;
    if (sy_config_cuda(c, &ordinal))
        SY_TRY(open_gpu(c, ordinal, m, own));
    else if (c->run.device == SY_DEVICE_GUARDED)
        SY_TRY(sy_device_guarded_create(own));
    else if (pool)
        SY_TRY(sy_device_cpu_create(pool, own));
    *out = *own ? *own : sy_device_cpu();
    return SY_OK;
}

static sy_status make_device(struct sy_session *s) {
    SY_TRY(open_device(s->config, &s->mesh, s->pool, &s->own_device, &s->exec.device));
    sy_exec_guard(&s->exec, &s->guarded);
    return SY_OK;
}

static sy_status choose_ops(const struct sy_config *c, const struct sy_ops **out) {
    int ordinal;
    *out = sy_ops_cuda();
    return sy_config_cuda(c, &ordinal) ? SY_OK : sy_ops_select(sy_config_word(c, "run.tier"), out);
}

/* A GPU's ops share one workspace; a CPU's have one a thread. */
char *sy_exec_take_scratch(const struct sy_config *c, int threads, size_t bytes, struct sy_arena *a) {
    int ordinal;
    if (sy_config_cuda(c, &ordinal))
        return sy_arena_take(a, "workspace of the ops", 1, bytes);
    return sy_arena_take(a, "scratch of the threads", (size_t)threads, bytes);
}

static size_t scratch_bytes(const struct sy_config *c, int64_t sequences) {
    int64_t row, head;
    int ordinal;
    if (sy_config_cuda(c, &ordinal)) {
        struct sy_attention most = {.sequences = sequences,
                                    .seq_len = c->training.seq_len,
                                    .heads = c->model.n_heads,
                                    .kv_heads = c->model.attention == SY_ATTENTION_MLA ? c->model.n_heads
                                                                                       : c->model.n_kv_heads};
        return sy_ops_workspace_bytes(&most);
    }
    sy_model_extent(&c->model, &c->moe, &row, &head);
    return sy_ops_scratch_bytes(row, head, c->training.seq_len);
}

static void carve_scratch(void *self, struct sy_arena *a) {
    struct sy_session *s = self;
    s->exec.scratch = sy_exec_take_scratch(s->config, sy_pool_size(s->pool), s->exec.scratch_bytes, a);
}

/* A rank's share of the process's threads, at least one. */
int sy_exec_threads(const struct sy_config *c, const struct sy_mesh *m) {
    int64_t ranks = m->world == 1 ? 1 : c->run.ranks,
            all = c->run.threads > 0 ? c->run.threads : sy_world_cpus(c);
    return all < ranks ? 1 : (int)sy_deal(all, ranks, m->rank % ranks).n;
}

static sy_status plant(struct sy_session *s) {
    int ordinal;
    if (!sy_plant_is(s->config, "ties_higher"))
        return SY_OK;
    if (sy_config_cuda(s->config, &ordinal))
        return sy_config_fail(s->config, "debug.break",
                              "it is planted in the router of a CPU: choose run.device = \"cpu\"");
    sy_plant_ties(&s->exec, &s->planted);
    return SY_OK;
}

sy_status sy_exec_open(struct sy_session *s) {
    const struct sy_config *c = s->config;
    SY_TRY(choose_ops(c, &s->exec.ops));
    SY_TRY(plant(s));
    SY_TRY(sy_pool_create(sy_exec_threads(c, &s->mesh), &s->pool));
    sy_exec_set_class(&s->exec, sy_config_numeric_class(c));
    s->exec.pool = s->pool;
    s->exec.scratch_bytes = scratch_bytes(c, s->calls.max_sequences);
    SY_TRY(make_device(s));
    return sy_arena_build(s->exec.device, "scratch of the ops", carve_scratch, s, &s->scratch);
}

sy_status sy_exec_plan(const struct sy_config *c, int64_t sequences, struct sy_device **own,
                       struct sy_exec *x) {
    int ordinal;
    *own = NULL;
    *x = (struct sy_exec){.scratch_bytes = scratch_bytes(c, sequences)};
    sy_exec_set_class(x, sy_config_numeric_class(c));
    SY_TRY(choose_ops(c, &x->ops));
    if (!sy_config_cuda(c, &ordinal))
        return open_device(c, NULL, NULL, own, &x->device);
    x->device = sy_device_cuda_planned();
    return SY_OK;
}
