/* Everything that a run holds in one process: see session.h. A step: step.c; its sequences: feed.c. */
#include "train/session.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "comm/world.h"
#include "device/cuda.h"
#include "ops/wrapped.h"
#include "train/classes.h"
#include "train/feed.h"

double sy_flops_per_token(const struct sy_config *c, const struct sy_params *params) {
    const struct sy_config_model *m = &c->model;
    int mla = m->attention == SY_ATTENTION_MLA;
    double qk = (double)(mla ? m->qk_nope_head_dim + m->qk_rope_head_dim : m->head_dim);
    double v = (double)(mla ? m->v_head_dim : m->head_dim);
    return 6.0 * (double)(params->n_active - m->vocab_size * m->dim) +
           6.0 * (double)(m->n_layers * m->n_heads) * (qk + v) * (double)c->training.seq_len;
}

int64_t sy_session_batch(const struct sy_session *s) { return s->calls.max_sequences; }

/* --- the exec ------------------------------------------------------------------------------------------- */

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

/* *own: to be destroyed at the end, or NULL. */
static sy_status open_device(const struct sy_config *c, struct sy_device **own,
                             const struct sy_device **out) {
    int ordinal;
    *own = NULL;
    if (sy_config_cuda(c, &ordinal))
        SY_TRY(sy_device_cuda_create(ordinal, own));
    else if (c->run.device == SY_DEVICE_GUARDED)
        SY_TRY(sy_device_guarded_create(own));
    *out = *own ? *own : sy_device_cpu();
    return SY_OK;
}

static sy_status make_device(struct sy_session *s) {
    SY_TRY(open_device(s->config, &s->own_device, &s->exec.device));
    sy_exec_guard(&s->exec, &s->guarded);
    return SY_OK;
}

static sy_status choose_ops(const struct sy_config *c, const struct sy_ops **out) {
    int ordinal;
    *out = sy_ops_cuda();
    return sy_config_cuda(c, &ordinal) ? SY_OK : sy_ops_select(sy_config_word(c, "run.tier"), out);
}

/* A GPU's ops share one workspace; a CPU's have one a thread. */
static char *take_scratch(const struct sy_config *c, int threads, size_t bytes, struct sy_arena *a) {
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
    s->exec.scratch = take_scratch(s->config, sy_pool_size(s->pool), s->exec.scratch_bytes, a);
}

/* A rank's share of the process's threads, at least one. */
static int threads_of(const struct sy_config *c, const struct sy_mesh *m) {
    int64_t ranks = m->world == 1 ? 1 : c->run.ranks,
            all = c->run.threads > 0 ? c->run.threads : sy_world_cpus(c);
    return all < ranks ? 1 : (int)sy_deal(all, ranks, m->rank % ranks).n;
}

static sy_status make_exec(struct sy_session *s) {
    const struct sy_config *c = s->config;
    SY_TRY(choose_ops(c, &s->exec.ops));
    SY_TRY(sy_pool_create(threads_of(c, &s->mesh), &s->pool));
    sy_exec_set_class(&s->exec, sy_config_numeric_class(c));
    s->exec.pool = s->pool;
    s->exec.scratch_bytes = scratch_bytes(c, s->calls.max_sequences);
    SY_TRY(make_device(s));
    return sy_arena_build(s->exec.device, "scratch of the ops", carve_scratch, s, &s->scratch);
}

/* --- what a step needs beside the model ----------------------------------------------------------------- */

struct step_memory { /* on one side of the copy */
    const struct sy_config *config;
    const struct sy_calls *calls;
    struct sy_feed *feed;
    struct sy_step_memory *step;
};

static void carve_step(void *self, struct sy_arena *a) {
    const struct step_memory *m = self;
    const struct sy_config *c = m->config;
    int64_t walk = sy_walk_length(&m->calls->walk[m->calls->rank]), call = m->calls->max_sequences;
    int64_t sequences = walk > call ? walk : call; /* a held-out call may have more */
    size_t tokens = (size_t)(sequences * c->training.seq_len);
    int32_t **arrays[] = {&m->feed->ids, &m->feed->labels, &m->feed->doc_start, &m->feed->position};
    for (int i = 0; i < 4; i++)
        *arrays[i] = sy_arena_take(a, "batch", tokens, sizeof(int32_t));
    m->feed->sequence = sy_arena_take(a, "batch", (size_t)sequences, sizeof(int32_t));
    m->step->scalars = sy_arena_take(a, "update", 1, sizeof *m->step->scalars);
    m->step->tally = sy_arena_take(a, "update", 1, sizeof *m->step->tally);
    m->step->verdict = sy_arena_take(a, "update", 1, sizeof *m->step->verdict);
    m->step->counts =
        sy_arena_take(a, "update", (size_t)(c->model.n_layers * c->moe.num_experts) + 1, sizeof(int64_t));
}

static sy_status make_step(struct sy_session *s) {
    struct step_memory device = {s->config, &s->calls, &s->fed, &s->step},
                       host = {s->config, &s->calls, &s->feed, &s->seen};
    SY_TRY(sy_arena_build(s->exec.device, "batch", carve_step, &device, &s->memory));
    SY_TRY(sy_arena_build(sy_device_cpu(), "batch", carve_step, &host, &s->host));
    for (int64_t k = 0; k < sy_walk_length(&s->walk); k++)
        s->feed.sequence[k] = (int32_t)sy_walk_sequence(&s->walk, k);
    return SY_OK;
}

/* --- the parts ------------------------------------------------------------------------------------------ */

struct part_of { /* what all parts' options are made from */
    const struct sy_config *config;
    const struct sy_exec *exec;
    const struct sy_params *params;
    const struct sy_mesh *mesh;
    struct sy_walk walk;
    const struct sy_calls *calls;
};

static struct part_of parts_of(const struct sy_session *s) {
    return (struct part_of){s->config, &s->exec, s->params, &s->mesh, s->walk, &s->calls};
}

/* One that is measured with: it has ranks and says nothing. */
static struct sy_comm measured_ep(const struct sy_mesh *m) {
    struct sy_comm c = sy_comm_self();
    c.rank = m->ep_rank;
    c.size = m->ep;
    return c;
}

static int is_direct(const struct sy_config *c) {
    return c->parallelism.expert_parallel_comm_backend == SY_COMM_DIRECT;
}

static sy_status make_schedule(const struct part_of *o, struct sy_schedule **out) {
    const struct sy_stages *s = &o->mesh->stages;
    int64_t n = o->calls->n;
    return sy_schedule_create(&(struct sy_schedule_shape){o->config->parallelism.pipeline_parallel_schedule,
                                                          s->ranks, s->n, n < INT_MAX ? (int)n : INT_MAX},
                              out);
}

/* The stages of a rank, for the model's options: [n / ranks]; NULL without memory. Its layers' are dealt here. */
static struct sy_model_stage *stages_of(const struct sy_mesh *m, const struct sy_schedule *schedule) {
    struct sy_model_stage *stages = calloc((size_t)(m->stages.n / m->stages.ranks), sizeof *stages);
    for (int i = 0; stages && i < m->stages.n / m->stages.ranks; i++)
        stages[i] = sy_pipeline_stage(schedule, i * m->stages.ranks + m->pp_rank, &m->stages);
    return stages;
}

static struct sy_model_options model_options(const struct part_of *o, int train) {
    const struct sy_config *c = o->config;
    return (struct sy_model_options){.model = &c->model,
                                     .moe = &c->moe,
                                     .recompute = train ? &c->activation_checkpoint : NULL,
                                     .exec = o->exec,
                                     .ep = measured_ep(o->mesh),
                                     .params = o->params,
                                     .max_sequences = o->calls->max_sequences,
                                     .max_rounds = o->calls->max_rounds,
                                     .room = c->parallelism.expert_parallel_room,
                                     .direct = is_direct(c),
                                     .seq_len = c->training.seq_len,
                                     .combine_groups = c->numerics.combine_groups,
                                     .forced_balance = c->debug.moe_force_load_balance,
                                     .loss_sequences = c->training.global_batch_size};
}

static struct sy_gradients_options gradients_options(const struct part_of *o, const struct sy_owner *own) {
    const struct sy_config *c = o->config;
    int64_t batch = o->calls->max_sequences, s = c->training.seq_len;
    struct sy_share experts = sy_mesh_experts(o->mesh, o->mesh->ep_rank);
    return (struct sy_gradients_options){
        .params = o->params,
        .exec = o->exec,
        .walk = o->walk,
        .seq_len = s,
        .max_sequences = batch,
        .head_chunk = sy_head_chunk(o->exec->device, c->model.vocab_size, s, batch * s),
        .walks = o->calls->walk,
        .n_ranks = o->calls->ranks,
        .first_expert = experts.first,
        .n_experts = experts.n,
        .own = own,
        .plant = c->debug.break_};
}

static struct sy_weights_options weights_options(const struct part_of *o) {
    return (struct sy_weights_options){
        .config = o->config, .params = o->params, .exec = o->exec, .mesh = o->mesh};
}

static struct sy_reduce_options reduce_options(const struct part_of *o) {
    return (struct sy_reduce_options){.params = o->params, .exec = o->exec, .mesh = o->mesh};
}

static sy_status measure_model(const struct part_of *o, struct sy_model_options *model, struct sy_arena *a) {
    struct sy_schedule *schedule = NULL;
    SY_TRY(make_schedule(o, &schedule));
    struct sy_model_stage *stages = stages_of(o->mesh, schedule);
    model->stages = o->mesh->pp > 1 ? stages : NULL;
    model->n_stages = o->mesh->stages.n / o->mesh->pp;
    sy_status status =
        stages ? sy_model_measure(model, a) : sy_fail(SY_ERR_MEMORY, "no memory for the stages");
    free(stages);
    sy_schedule_destroy(schedule);
    return status;
}

static sy_status measure(const struct part_of *o, struct sy_arena *a) {
    const struct sy_config *c = o->config;
    struct sy_feed feed;
    struct sy_step_memory step;
    struct sy_owner own = sy_mesh_owner(o->mesh, o->mesh->rank);
    struct sy_model_options model = model_options(o, 1);
    struct sy_gradients_options gradients = gradients_options(o, &own);
    struct sy_weights_options weights = weights_options(o);
    struct sy_reduce_options reduce = reduce_options(o);
    SY_TRY(sy_state_measure(o->params, o->exec, &own, 1, a));
    SY_TRY(sy_weights_measure(&weights, a));
    SY_TRY(sy_gradients_measure(&gradients, a));
    SY_TRY(sy_reduce_measure(&reduce, a));
    SY_TRY(measure_model(o, &model, a));
    for (int side = 0; side < 2; side++)
        carve_step(&(struct step_memory){c, o->calls, &feed, &step}, a);
    SY_TRY(sy_step_routes_measure(c, o->calls->max_sequences, a));
    take_scratch(c, threads_of(c, o->mesh), o->exec->scratch_bytes, a);
    return sy_arena_check(a, "the plan");
}

sy_status sy_session_measure(const struct sy_config *c, const struct sy_params *params,
                             const struct sy_mesh *mesh, struct sy_arena *a) {
    struct sy_walk walk = sy_session_walk(c, mesh, mesh->dp_rank);
    struct sy_calls calls;
    struct sy_exec x = {0};
    struct sy_device *own = NULL;
    int ordinal;
    sy_exec_set_class(&x, sy_config_numeric_class(c));
    SY_TRY(choose_ops(c, &x.ops));
    if (sy_config_cuda(c, &ordinal))
        x.device = sy_device_cuda_planned();
    else
        SY_TRY(open_device(c, &own, &x.device));
    sy_status status = sy_calls_init(mesh, &walk, c->training.local_batch_size, &calls);
    x.scratch_bytes = scratch_bytes(c, calls.max_sequences);
    if (status == SY_OK)
        status = measure(&(struct part_of){c, &x, params, mesh, walk, &calls}, a);
    sy_calls_fini(&calls);
    sy_device_destroy(own);
    return status;
}

static sy_status make_model(struct sy_session *s, int train) {
    struct part_of p = parts_of(s);
    struct sy_model_options o = model_options(&p, train);
    o.ep = s->groups.ep;
    o.planned_rows = s->planned_rows;
    o.weights = s->weights.source;
    o.scalars = s->step.scalars;
    o.tally = s->step.tally;
    o.counts = train ? s->step.counts : NULL;
    o.log = s->log;
    if (s->mesh.pp == 1)
        return sy_model_create(&o, &s->model);
    SY_TRY(make_schedule(&p, &s->schedule));
    struct sy_model_stage *stages = stages_of(&s->mesh, s->schedule);
    o.stages = stages;
    o.n_stages = s->mesh.stages.n / s->mesh.pp;
    sy_status status =
        stages ? sy_model_create(&o, &s->model) : sy_fail(SY_ERR_MEMORY, "no memory for the stages");
    free(stages);
    SY_TRY(status);
    return sy_pipeline_create(&(struct sy_pipeline_options){.schedule = s->schedule,
                                                            .pp = s->groups.pp,
                                                            .exec = &s->exec,
                                                            .model = s->model,
                                                            .d = s->config->model.dim},
                              &s->pipeline);
}

sy_status sy_session_regrow(struct sy_session *s, int64_t rows) {
    struct sy_moe_counters counters = *sy_model_counters(s->model);
    const struct sy_comm *world = &s->groups.world;
    int train = s->gradients != NULL;
    s->planned_rows = rows + rows / 4; /* loads that creep up do not grow the buffers at each step */
    sy_pipeline_destroy(s->pipeline);
    sy_model_destroy(s->model);
    sy_schedule_destroy(s->schedule);
    s->pipeline = NULL;
    s->model = NULL;
    s->schedule = NULL;
    SY_TRY(world->ops->agree(world, make_model(s, train)));
    counters.buffer_regrown++;
    *sy_model_counters(s->model) = counters;
    return SY_OK;
}

static sy_status make_weights(struct sy_session *s, int train) {
    struct part_of p = parts_of(s);
    struct sy_owner own = sy_mesh_owner(&s->mesh, s->mesh.rank);
    SY_TRY(sy_state_init(s->params, &s->exec, &own, train, &s->state));
    struct sy_weights_options o = weights_options(&p);
    o.groups = &s->groups;
    o.state = &s->state;
    SY_TRY(sy_weights_init(&o, &s->weights));
    return sy_update_create(&(struct sy_update_options){.state = &s->state,
                                                        .keeper = s->weights.keeper,
                                                        .moe = &s->config->moe,
                                                        .routes = s->config->training.global_batch_size *
                                                                  s->config->training.seq_len *
                                                                  s->config->moe.top_k,
                                                        .counts = s->step.counts},
                            &s->update);
}

static sy_status make_training(struct sy_session *s) {
    struct part_of p = parts_of(s);
    struct sy_gradients_options o = gradients_options(&p, &s->state.own);
    struct sy_reduce_options reduce = reduce_options(&p);
    SY_TRY(sy_gradients_create(&o, &s->gradients));
    reduce.groups = &s->groups;
    reduce.gradients = s->gradients;
    SY_TRY(sy_reduce_create(&reduce, &s->reduce));
    return sy_step_routes_create(s->config, s->exec.device, sy_session_batch(s), &s->routes);
}

static sy_status check_plant(const struct sy_config *c) {
    const char *plant = c->debug.break_;
    int known = plant[0] == 0 || sy_session_planted_nan(plant) > 0 || sy_session_planted_flip(plant) > 0;
    for (int i = 0; sy_gradients_plant(i); i++)
        known |= strcmp(sy_gradients_plant(i), plant) == 0;
    if (!known)
        return sy_config_fail(c, "debug.break",
                              "no such planted bug; there are swap_sequences, shuffle_lanes, lanes_in_turn, "
                              "nan_at_step_N and flip_at_step_N");
    return SY_OK;
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
    s->exec.ops->init(&s->exec, &(struct sy_init_values){items, n});
    sy_status status = sy_exec_wait(&s->exec);
    free(items);
    return status;
}

static sy_status open_data(struct sy_session *s) {
    if (s->data.loader)
        return SY_OK;
    SY_TRY(sy_data_open(s->config, s->log, &s->own_data));
    s->data = s->own_data;
    return SY_OK;
}

static sy_status build(struct sy_session *s, int parts) {
    int train = parts & SY_SESSION_TRAIN;
    SY_TRY(check_plant(s->config));
    s->walk = sy_session_walk(s->config, &s->mesh, s->mesh.dp_rank);
    SY_TRY(sy_calls_init(&s->mesh, &s->walk, s->config->training.local_batch_size, &s->calls));
    SY_TRY(make_exec(s));
    SY_TRY(sy_params_create(&s->config->model, &s->config->moe, &s->params));
    SY_TRY(sy_tokenizer_create(s->config->tokenizer.path, s->config->model.vocab_size, &s->tokenizer));
    if (parts & SY_SESSION_DATA)
        SY_TRY(open_data(s));
    SY_TRY(make_step(s));
    SY_TRY(make_weights(s, train));
    SY_TRY(make_model(s, train));
    if (train)
        SY_TRY(make_training(s));
    if (parts & SY_SESSION_INIT)
        SY_TRY(initialise(s));
    s->flops_per_token = sy_flops_per_token(s->config, s->params);
    return sy_exec_wait(&s->exec);
}

static sy_status shell(struct sy_config *config, const struct sy_log *log, struct sy_session **out) {
    struct sy_session *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a session");
    s->config = config;
    s->log = log;
    *out = s;
    return SY_OK;
}

/* Its weights are as the masters say: the last part, and the first that ranks do together. */
static sy_status finish(struct sy_session *s, sy_status status, struct sy_session **out) {
    status = s->groups.world.ops->agree(&s->groups.world, status);
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
    struct sy_session *s = NULL;
    SY_TRY(shell(config, log, &s));
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
    return finish(s, status, out);
}

/* What is not computed over ranks yet. */
static sy_status check_axes(const struct sy_config *c, const struct sy_mesh *m, const struct sy_comm *world) {
    if (m->ep > 1 && is_direct(c) && !world->ops->windows)
        return sy_config_fail(
            c, "parallelism.expert_parallel_comm_backend",
            "direct needs ranks that see each other's memory, and those of transport \"%s\" "
            "do not: choose \"auto\" or \"standard\", or ranks of one process (run.ranks)",
            world->ops->name);
    if (m->world > 1 && *c->moe.routes_out)
        return sy_config_fail(c, "moe.routes_out", "routes of %d ranks are not written yet: use one rank",
                              m->world);
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
    return finish(s, build(s, o->parts), out);
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
    sy_tokenizer_destroy(s->tokenizer);
    sy_params_destroy(s->params);
    sy_pool_destroy(s->pool);
    sy_arena_fini(&s->scratch);
    sy_arena_fini(&s->memory);
    sy_arena_fini(&s->host);
    sy_device_destroy(s->own_device);
    sy_groups_destroy(&s->groups);
    sy_calls_fini(&s->calls);
    free(s);
}

sy_status sy_session_weights_changed(struct sy_session *s) {
    sy_update_stored(s->update);
    return sy_session_spread(s);
}

sy_status sy_session_spread(struct sy_session *s) {
    SY_TRY(sy_weights_changed(&s->weights));
    return sy_exec_wait(&s->exec);
}

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
