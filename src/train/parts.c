/* The parts of a session: see parts.h; and their memory, measured. */
#include "train/parts.h"

#include <limits.h>
#include <stdlib.h>

#include "train/exec.h"
#include "train/feed.h"
#include "train/plants.h"
#include "train/repeat.h"

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

sy_status sy_session_make_step(struct sy_session *s) {
    struct step_memory device = {s->config, &s->calls, &s->fed, &s->step},
                       host = {s->config, &s->calls, &s->feed, &s->seen};
    SY_TRY(sy_arena_build(s->exec.device, "batch", carve_step, &device, &s->memory));
    SY_TRY(sy_arena_pinned(s->exec.device, "batch", carve_step, &host, &s->host));
    for (int64_t k = 0; k < sy_walk_length(&s->walk); k++)
        s->feed.sequence[k] = (int32_t)sy_walk_sequence(&s->walk, k);
    s->ahead.step = -1;
    return sy_feed_make_ahead(s);
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

/* The stages of a rank, for the model's options: [n / ranks]; NULL without memory. Its layers' are dealt
 * here. */
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
                                     .recount = sy_plant_is(c, "routes_twice"),
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
        .head_piece = sy_head_sizes(o->exec->device, c->model.vocab_size, s, batch * s).piece,
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
    return (struct sy_reduce_options){.params = o->params,
                                      .exec = o->exec,
                                      .mesh = o->mesh,
                                      .in_turn = sy_plant_is(o->config, "ranks_in_turn")};
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
    sy_exec_take_scratch(c, sy_exec_threads(c, o->mesh), o->exec->scratch_bytes, a);
    return sy_arena_check(a, "the plan");
}

sy_status sy_session_measure(const struct sy_config *c, const struct sy_params *params,
                             const struct sy_mesh *mesh, struct sy_arena *a) {
    struct sy_walk walk = sy_session_walk(c, mesh, mesh->dp_rank);
    struct sy_calls calls;
    struct sy_exec x;
    struct sy_device *own;
    SY_TRY(sy_calls_init(mesh, &walk, c->training.local_batch_size, &calls));
    sy_status status = sy_exec_plan(c, calls.max_sequences, &own, &x);
    if (status == SY_OK)
        status = measure(&(struct part_of){c, &x, params, mesh, walk, &calls}, a);
    sy_calls_fini(&calls);
    sy_device_destroy(own);
    return status;
}

sy_status sy_session_make_model(struct sy_session *s, int train) {
    struct part_of p = parts_of(s);
    struct sy_model_options o = model_options(&p, train);
    o.ep = s->groups.ep;
    o.planned_rows = s->planned_rows;
    o.weights = s->weights.source;
    o.scalars = s->step.scalars;
    o.tally = s->step.tally;
    o.counts = train ? s->step.counts : NULL;
    o.cache = s->cache;
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

static void forget_model(struct sy_session *s) {
    sy_repeat_forget(s);
    sy_pipeline_destroy(s->pipeline);
    sy_model_destroy(s->model);
    sy_schedule_destroy(s->schedule);
    s->pipeline = NULL;
    s->model = NULL;
    s->schedule = NULL;
}

sy_status sy_session_regrow(struct sy_session *s, int64_t rows) {
    struct sy_moe_counters counters = *sy_model_counters(s->model);
    const struct sy_comm *world = &s->groups.world;
    int train = s->gradients != NULL;
    s->planned_rows = rows + rows / 4; /* loads that creep up do not grow the buffers at each step */
    forget_model(s);
    SY_TRY(world->ops->agree(world, sy_session_make_model(s, train)));
    counters.buffer_regrown++;
    *sy_model_counters(s->model) = counters;
    return SY_OK;
}

/* What is of a batch, from its walk to the memory of its gradients. */
static sy_status make_for_batch(struct sy_session *s) {
    s->walk = sy_session_walk(s->config, &s->mesh, s->mesh.dp_rank);
    SY_TRY(sy_calls_init(&s->mesh, &s->walk, s->config->training.local_batch_size, &s->calls));
    SY_TRY(sy_session_make_step(s));
    SY_TRY(sy_session_make_update(s));
    SY_TRY(sy_session_make_model(s, 1));
    return sy_session_make_training(s);
}

sy_status sy_session_set_batch(struct sy_session *s, int64_t sequences) {
    struct sy_moe_counters counters = *sy_model_counters(s->model);
    const struct sy_comm *world = &s->groups.world;
    if (sequences == s->config->training.global_batch_size)
        return SY_OK;
    forget_model(s);
    sy_step_routes_destroy(s->routes);
    sy_reduce_destroy(s->reduce);
    sy_gradients_destroy(s->gradients);
    sy_update_destroy(s->update);
    sy_feed_free_ahead(s);
    sy_arena_fini(&s->memory);
    sy_arena_fini(&s->host);
    sy_calls_fini(&s->calls);
    s->routes = NULL;
    s->reduce = NULL;
    s->gradients = NULL;
    s->update = NULL;
    s->ahead = (struct sy_feed_ahead){.step = -1};
    s->of_batch = *s->config;
    s->of_batch.training.global_batch_size = sequences;
    s->config = &s->of_batch;
    SY_TRY(world->ops->agree(world, make_for_batch(s)));
    *sy_model_counters(s->model) = counters;
    return sy_session_find_ends(s);
}

sy_status sy_session_make_weights(struct sy_session *s, int train) {
    struct part_of p = parts_of(s);
    struct sy_owner own = sy_mesh_owner(&s->mesh, s->mesh.rank);
    SY_TRY(sy_state_init(s->params, &s->exec, &own, train, &s->state));
    struct sy_weights_options o = weights_options(&p);
    o.groups = &s->groups;
    o.state = &s->state;
    SY_TRY(sy_weights_init(&o, &s->weights));
    return sy_session_make_update(s);
}

sy_status sy_session_make_update(struct sy_session *s) {
    return sy_update_create(
        &(struct sy_update_options){.norm_without_experts = sy_plant_is(s->config, "clip_without_experts"),
                                    .state = &s->state,
                                    .keeper = s->weights.keeper,
                                    .moe = &s->config->moe,
                                    .config = s->config,
                                    .routes = s->config->training.global_batch_size *
                                              s->config->training.seq_len * s->config->moe.top_k /
                                              (sy_plant_is(s->config, "bias_local") ? s->mesh.dp : 1),
                                    .counts = s->step.counts},
        &s->update);
}

sy_status sy_session_make_training(struct sy_session *s) {
    struct part_of p = parts_of(s);
    struct sy_gradients_options o = gradients_options(&p, &s->state.own);
    struct sy_reduce_options reduce = reduce_options(&p);
    SY_TRY(sy_gradients_create(&o, &s->gradients));
    reduce.groups = &s->groups;
    reduce.gradients = s->gradients;
    SY_TRY(sy_reduce_create(&reduce, &s->reduce));
    return sy_step_routes_create(s->config, s->exec.device, sy_session_batch(s), &s->routes);
}
