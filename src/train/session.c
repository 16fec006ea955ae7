/* Everything that a rank of a run holds: see session.h. Its parts: parts.c, exec.c, weights.c. A step:
 * step.c; its sequences: feed.c; held-out ones: eval.c. */
#include "train/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "device/cuda.h"
#include "train/classes.h"
#include "train/exec.h"
#include "train/feed.h"
#include "train/groups.h"
#include "train/parts.h"
#include "train/plants.h"
#include "train/selftest_kept.h"
#include "train/start.h"

double sy_flops_per_token(const struct sy_config *c, const struct sy_params *params) {
    const struct sy_config_model *m = &c->model;
    int mla = m->attention == SY_ATTENTION_MLA;
    double qk = (double)(mla ? m->qk_nope_head_dim + m->qk_rope_head_dim : m->head_dim);
    double v = (double)(mla ? m->v_head_dim : m->head_dim);
    int64_t looked_up = m->tie_word_embeddings ? 0 : m->vocab_size * m->dim; /* the head multiplies with it */
    return 6.0 * (double)(params->n_active - looked_up) +
           6.0 * (double)(m->n_layers * m->n_heads) * (qk + v) * (double)c->training.seq_len;
}

int64_t sy_session_batch(const struct sy_session *s) { return s->calls.max_sequences; }
int64_t sy_session_rows(const struct sy_session *s) {
    return s->calls.max_sequences * s->config->training.seq_len;
}

struct sy_walk sy_session_walk(const struct sy_config *c, const struct sy_mesh *mesh, int dp_rank) {
    struct sy_share own = sy_mesh_lanes(mesh, dp_rank);
    return (struct sy_walk){.lanes = (int)c->numerics.lanes,
                            .expert_lanes = (int)c->numerics.expert_lanes,
                            .cell = (int)c->numerics.cell,
                            .rounds = c->training.global_batch_size / (c->numerics.lanes * c->numerics.cell),
                            .first_lane = (int)own.first,
                            .n_lanes = (int)own.n,
                            .swapped = strcmp(c->debug.break_, "swap_sequences") == 0};
}

static sy_status check_plant(const struct sy_config *c) {
    const char *plant = c->debug.break_;
    int known = plant[0] == 0 || sy_session_planted_nan(plant) > 0 || sy_session_planted_flip(plant) > 0;
    int ordinal, lost = sy_session_planted_loss(plant) > 0;
    if (lost && !sy_config_cuda(c, &ordinal))
        return sy_config_fail(c, "debug.break", "needs run.device = \"cuda\": a CPU is not lost like this");
    if (!known && !lost && !sy_plant_is_known(plant))
        return sy_config_fail(c, "debug.break",
                              "no such planted bug; there are nan_at_step_N, flip_at_step_N, "
                              "gpu_lost_at_step_N and those that `switchyard verify --break list` lists");
    return SY_OK;
}

/* Planted: expert 1's row of each gate, [E, D], has the values of expert 0's. */
static int equal_rows(const struct sy_session *s, struct sy_init_item *items) {
    int n = 0;
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *t = &s->params->tensor[i];
        const struct sy_param *q = &s->params->param[t->param];
        struct sy_range_of own = sy_state_own(&s->state, i);
        int64_t d = q->cols, first = own.first > d ? own.first : d,
                end = own.first + own.n < 2 * d ? own.first + own.n : 2 * d;
        if (q->layer < 0 || s->params->layer[q->layer].gate != t->param || end <= first)
            continue;
        items[n] = sy_params_init(t, (uint64_t)s->config->debug.seed);
        items[n].first = first - d;
        items[n].n = end - first;
        items[n++].out = s->state.of[SY_STATE_W][i] + (first - own.first);
    }
    return n;
}

static sy_status fill(struct sy_session *s, const struct sy_init_item *items, int n) {
    s->exec.ops->init(&s->exec, &(struct sy_init_values){items, n});
    return sy_exec_wait(&s->exec);
}

/* Initial values: a function of seed, name and index (NUMERICS 2). */
static sy_status initialise(struct sy_session *s) {
    int n = s->params->n_tensors;
    struct sy_init_item *items = calloc((size_t)n + 1, sizeof *items);
    if (!items)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d tensors", n);
    for (int i = 0; i < n; i++) {
        struct sy_range_of own = sy_state_own(&s->state, i);
        items[i] = sy_params_init(&s->params->tensor[i], (uint64_t)s->config->debug.seed);
        items[i].first = own.first;
        items[i].n = own.n;
        items[i].out = s->state.of[SY_STATE_W][i];
    }
    sy_status status = fill(s, items, n);
    if (status == SY_OK &&
        (sy_plant_is(s->config, "equal_gate_rows") || sy_plant_is(s->config, "ties_higher")))
        status = fill(s, items, equal_rows(s, items));
    free(items);
    return status;
}

static sy_status open_data(struct sy_session *s) {
    if (s->data.mixture)
        return SY_OK;
    SY_TRY(sy_data_open(s->config, s->log, &s->own_data));
    s->data = s->own_data;
    return SY_OK;
}

/* Once for a GPU, its driver, this build and the class. */
static sy_status test_class(const struct sy_session *s) {
    const struct sy_cuda_about *gpu = sy_device_cuda_is(s->exec.device);
    const char *cls = sy_class_name(s->exec.cls);
    if (!gpu || sy_selftest_is_kept(gpu, cls))
        return SY_OK;
    SY_TRY(sy_class_selftest(&s->exec));
    sy_selftest_keep(gpu, cls);
    return SY_OK;
}

static int starts_elsewhere(const struct sy_session *s) {
    return *s->config->checkpoint.initial_load_path != 0;
}

static sy_status build(struct sy_session *s, int parts) {
    int train = parts & SY_SESSION_TRAIN;
    SY_TRY(check_plant(s->config));
    s->walk = sy_session_walk(s->config, &s->mesh, s->mesh.dp_rank);
    SY_TRY(sy_calls_init(&s->mesh, &s->walk, s->config->training.local_batch_size, &s->calls));
    SY_TRY(sy_exec_open(s));
    SY_TRY(test_class(s));
    SY_TRY(sy_params_create(&s->config->model, &s->config->moe, &s->params));
    if (train) {
        SY_TRY(sy_groups_check(s->config, s->params));
        SY_TRY(sy_session_fits(s));
    }
    if (parts & SY_SESSION_DATA)
        SY_TRY(open_data(s));
    SY_TRY(sy_session_make_step(s));
    SY_TRY(sy_session_make_weights(s, train));
    SY_TRY(sy_session_make_model(s, train));
    if (train)
        SY_TRY(sy_session_make_training(s));
    if ((parts & SY_SESSION_INIT) && !starts_elsewhere(s))
        SY_TRY(initialise(s));
    s->flops_per_token = sy_flops_per_token(s->config, s->params);
    return sy_exec_wait(&s->exec);
}

static sy_status shell(struct sy_config *config, const struct sy_log *log, struct sy_session **out) {
    struct sy_session *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a session");
    s->config = config;
    s->most_sequences = config->training.global_batch_size;
    s->log = log;
    *out = s;
    return SY_OK;
}

/* Whether every rank has sequences in a step's last pass. */
static sy_status find_ends(struct sy_session *s, sy_status status) {
    const struct sy_comm *world = &s->groups.world;
    int64_t ends = status == SY_OK && s->calls.call[s->calls.n - 1].n > 0;
    status = world->ops->sum_i64(world, status, &ends, 1);
    s->all_end_together = ends == world->size;
    return status;
}
sy_status sy_session_find_ends(struct sy_session *s) { return find_ends(s, SY_OK); }

/* Its weights are as the masters say: the last part, and the first that ranks do together. */
static sy_status finish(struct sy_session *s, sy_status status, int parts, struct sy_session **out) {
    status = find_ends(s, status);
    if (status == SY_OK && (parts & SY_SESSION_INIT) && starts_elsewhere(s))
        status = sy_start_load(s);
    if (status == SY_OK)
        status = sy_session_weights_changed(s);
    if (status != SY_OK) {
        sy_session_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

sy_status sy_session_create(struct sy_config *config, const struct sy_log *log, int parts,
                            struct sy_session **out) {
    struct sy_cache_size none = {0}, one = {1, config->training.seq_len};
    int cached = (parts & SY_SESSION_CACHE) && !(parts & SY_SESSION_TRAIN);
    return sy_session_create_cache(config, log, cached ? one : none, parts, out);
}

sy_status sy_session_create_cache(struct sy_config *config, const struct sy_log *log,
                                  struct sy_cache_size cache, int parts, struct sy_session **out) {
    struct sy_session *s = NULL;
    SY_TRY(shell(config, log, &s));
    s->cache = cache;
    s->groups = sy_groups_self();
    sy_status status = SY_OK;
    if ((parts & SY_SESSION_TRAIN) && config->run.ranks > 1)
        status = sy_config_fail(config, "run.ranks", "one rank was started: choose 1");
    else if (parts & SY_SESSION_TRAIN)
        status = sy_mesh_create(config, 1, 0, &s->mesh);
    else
        s->mesh = sy_mesh_alone(config);
    if (status == SY_OK)
        status = build(s, parts);
    return finish(s, status, parts, out);
}

/* What is not computed over ranks yet. */
static sy_status check_axes(const struct sy_config *c, const struct sy_mesh *m, const struct sy_comm *world) {
    int ordinal;
    if (m->world > 1 && sy_config_cuda(c, &ordinal) && !world->ops->windows)
        return sy_config_fail(c, "run.device",
                              "%d ranks that are processes compute on CPUs: choose \"cpu\", or ranks of one "
                              "process, each with a GPU of this host (run.ranks)",
                              m->world);
    if (m->ep > 1 && c->parallelism.expert_parallel_comm_backend == SY_COMM_DIRECT &&
        sy_config_cuda(c, &ordinal))
        return sy_config_fail(
            c, "parallelism.expert_parallel_comm_backend",
            "direct writes into the memory of CPUs: choose \"auto\" or \"standard\" on GPUs");
    if (m->ep > 1 && c->parallelism.expert_parallel_comm_backend == SY_COMM_DIRECT && !world->ops->windows)
        return sy_config_fail(
            c, "parallelism.expert_parallel_comm_backend",
            "direct needs ranks that see each other's memory, and those of transport \"%s\" "
            "do not: choose \"auto\" or \"standard\", or ranks of one process (run.ranks)",
            world->ops->name);
    return SY_OK;
}

sy_status sy_session_join(const struct sy_session_options *o, struct sy_session **out) {
    const struct sy_comm *world = o->world;
    struct sy_session *s = NULL;
    sy_status status = shell(o->config, o->log, &s);
    if (status == SY_OK)
        status = sy_mesh_create(o->config, world->size, world->rank, &s->mesh);
    if (status == SY_OK)
        status = check_axes(o->config, &s->mesh, world);
    status = world->ops->agree(world, status);
    if (status == SY_OK)
        status = sy_mesh_split(&s->mesh, world, &s->groups);
    if (status != SY_OK) {
        sy_session_destroy(s);
        return status;
    }
    if (o->data)
        s->data = *o->data;
    return finish(s, build(s, o->parts), o->parts, out);
}

void sy_session_destroy(struct sy_session *s) {
    if (!s)
        return;
    sy_step_routes_destroy(s->routes);
    sy_reduce_destroy(s->reduce);
    sy_gradients_destroy(s->gradients);
    sy_pipeline_destroy(s->pipeline);
    sy_model_destroy(s->model);
    sy_schedule_destroy(s->schedule);
    sy_update_destroy(s->update);
    sy_weights_fini(&s->weights);
    sy_state_fini(&s->state);
    sy_data_close(&s->own_data);
    sy_params_destroy(s->params);
    sy_arena_fini(&s->scratch);
    sy_arena_fini(&s->memory);
    sy_arena_fini(&s->host);
    sy_feed_free_ahead(s);
    sy_device_destroy(s->own_device);
    sy_pool_destroy(s->pool);
    sy_groups_destroy(&s->groups);
    sy_calls_fini(&s->calls);
    free(s);
}

sy_status sy_session_weights_changed(struct sy_session *s) {
    sy_update_stored(s->update);
    SY_TRY(sy_session_spread(s));
    return sy_exec_wait(&s->exec);
}

sy_status sy_session_spread(struct sy_session *s) { return sy_weights_changed(&s->weights); }

sy_status sy_session_digest(const struct sy_session *s, char out[SY_DIGEST_CHARS]) {
    const struct sy_device *d = s->exec.device;
    struct sy_verdict none = {0}, verdict;
    d->copy(d, s->step.verdict, &none, sizeof none);
    sy_update_digest(s->update, s->step.verdict->digest);
    d->copy(d, &verdict, s->step.verdict, sizeof verdict);
    sy_status status = sy_exec_wait(&s->exec);
    SY_TRY(s->groups.world.ops->sum_i64(&s->groups.world, status, (int64_t *)verdict.digest, 2));
    sy_digest_hex(&(struct sy_digest){{verdict.digest[0], verdict.digest[1]}}, out);
    return SY_OK;
}
