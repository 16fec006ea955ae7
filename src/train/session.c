/* Everything that a run holds in one process: see session.h. A step: step.c; its sequences: feed.c. */
#include "train/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cpus.h"
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

int64_t sy_session_batch(const struct sy_config *c) {
    return c->training.local_batch_size < c->training.global_batch_size ? c->training.local_batch_size
                                                                        : c->training.global_batch_size;
}

/* --- the exec ------------------------------------------------------------------------------------------- */

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

static size_t scratch_bytes(const struct sy_config *c) {
    int64_t row, head;
    int ordinal;
    if (sy_config_cuda(c, &ordinal)) {
        struct sy_attention most = {.sequences = sy_session_batch(c),
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

static sy_status make_exec(struct sy_session *s) {
    const struct sy_config *c = s->config;
    SY_TRY(choose_ops(c, &s->exec.ops));
    SY_TRY(sy_pool_create((int)c->run.threads, &s->pool));
    sy_exec_set_class(&s->exec, sy_config_numeric_class(c));
    s->exec.pool = s->pool;
    s->exec.scratch_bytes = scratch_bytes(c);
    SY_TRY(make_device(s));
    return sy_arena_build(s->exec.device, "scratch of the ops", carve_scratch, s, &s->scratch);
}

/* --- what a step needs beside the model ----------------------------------------------------------------- */

struct step_memory { /* on one side of the copy */
    const struct sy_config *config;
    struct sy_feed *feed;
    struct sy_step_memory *step;
};

static void carve_step(void *self, struct sy_arena *a) {
    const struct step_memory *m = self;
    const struct sy_config *c = m->config;
    size_t tokens = (size_t)(c->training.global_batch_size * c->training.seq_len);
    int32_t **arrays[] = {&m->feed->ids, &m->feed->labels, &m->feed->doc_start, &m->feed->position};
    for (int i = 0; i < 4; i++)
        *arrays[i] = sy_arena_take(a, "batch", tokens, sizeof(int32_t));
    m->feed->sequence = sy_arena_take(a, "batch", (size_t)c->training.global_batch_size, sizeof(int32_t));
    m->step->scalars = sy_arena_take(a, "update", 1, sizeof *m->step->scalars);
    m->step->tally = sy_arena_take(a, "update", 1, sizeof *m->step->tally);
    m->step->verdict = sy_arena_take(a, "update", 1, sizeof *m->step->verdict);
    m->step->counts =
        sy_arena_take(a, "update", (size_t)(c->model.n_layers * c->moe.num_experts) + 1, sizeof(int64_t));
}

static sy_status make_step(struct sy_session *s) {
    struct step_memory device = {s->config, &s->fed, &s->step}, host = {s->config, &s->feed, &s->seen};
    SY_TRY(sy_arena_build(s->exec.device, "batch", carve_step, &device, &s->memory));
    SY_TRY(sy_arena_build(sy_device_cpu(), "batch", carve_step, &host, &s->host));
    for (int64_t k = 0; k < s->config->training.global_batch_size; k++)
        s->feed.sequence[k] = (int32_t)sy_walk_sequence(&s->walk, k);
    return SY_OK;
}

/* --- the parts ------------------------------------------------------------------------------------------ */

static struct sy_model_options model_options(const struct sy_config *c, const struct sy_exec *exec,
                                             const struct sy_params *params, int train) {
    return (struct sy_model_options){.model = &c->model,
                                     .moe = &c->moe,
                                     .recompute = train ? &c->activation_checkpoint : NULL,
                                     .exec = exec,
                                     .ep = sy_comm_self(),
                                     .params = params,
                                     .max_sequences = sy_session_batch(c),
                                     .seq_len = c->training.seq_len,
                                     .combine_groups = c->numerics.combine_groups,
                                     .forced_balance = c->debug.moe_force_load_balance,
                                     .loss_sequences = c->training.global_batch_size};
}

static struct sy_walk walk_of(const struct sy_config *c) {
    int lanes = (int)c->numerics.lanes;
    return (struct sy_walk){.lanes = lanes,
                            .expert_lanes = (int)c->numerics.expert_lanes,
                            .cell = (int)c->numerics.cell,
                            .rounds = c->training.global_batch_size / (c->numerics.lanes * c->numerics.cell),
                            .n_lanes = lanes,
                            .swapped = strcmp(c->debug.break_, "swap_sequences") == 0};
}

static struct sy_gradients_options gradients_options(const struct sy_config *c, const struct sy_exec *exec,
                                                     const struct sy_params *params) {
    int64_t batch = sy_session_batch(c), s = c->training.seq_len;
    return (struct sy_gradients_options){.params = params,
                                         .exec = exec,
                                         .walk = walk_of(c),
                                         .seq_len = s,
                                         .max_sequences = batch,
                                         .head_chunk = sy_head_chunk(c->model.vocab_size, s, batch * s),
                                         .plant = c->debug.break_};
}

static struct sy_resident_options resident_options(const struct sy_config *c, const struct sy_exec *exec,
                                                   const struct sy_params *params, float *const *master) {
    return (struct sy_resident_options){
        .params = params, .model = &c->model, .moe = &c->moe, .exec = exec, .master = master};
}

static sy_status measure(const struct sy_config *c, const struct sy_exec *x, const struct sy_params *params,
                         struct sy_arena *a) {
    struct sy_feed feed;
    struct sy_step_memory step;
    struct sy_model_options model = model_options(c, x, params, 1);
    struct sy_gradients_options gradients = gradients_options(c, x, params);
    struct sy_resident_options resident = resident_options(c, x, params, NULL);
    SY_TRY(sy_state_measure(params, x, 1, a));
    SY_TRY(sy_resident_measure(&resident, a));
    SY_TRY(sy_gradients_measure(&gradients, a));
    SY_TRY(sy_model_measure(&model, a));
    for (int side = 0; side < 2; side++)
        carve_step(&(struct step_memory){c, &feed, &step}, a);
    SY_TRY(sy_step_routes_measure(c, sy_session_batch(c), a));
    int threads = c->run.threads > 0 ? (int)c->run.threads : sy_cpus_usable();
    take_scratch(c, threads, x->scratch_bytes, a);
    return sy_arena_check(a, "the plan");
}

sy_status sy_session_measure(const struct sy_config *c, const struct sy_params *params, struct sy_arena *a) {
    struct sy_exec x = {.scratch_bytes = scratch_bytes(c)};
    struct sy_device *own;
    int ordinal;
    sy_exec_set_class(&x, sy_config_numeric_class(c));
    SY_TRY(choose_ops(c, &x.ops));
    if (sy_config_cuda(c, &ordinal)) {
        x.device = sy_device_cuda_planned();
        return measure(c, &x, params, a);
    }
    SY_TRY(open_device(c, &own, &x.device));
    sy_status status = measure(c, &x, params, a);
    sy_device_destroy(own);
    return status;
}

static sy_status make_model(struct sy_session *s, int train) {
    struct sy_model_options o = model_options(s->config, &s->exec, s->params, train);
    o.ep = s->groups.ep;
    o.weights = sy_resident_source(s->resident);
    o.scalars = s->step.scalars;
    o.tally = s->step.tally;
    o.counts = train ? s->step.counts : NULL;
    o.log = s->log;
    return sy_model_create(&o, &s->model);
}

static sy_status make_weights(struct sy_session *s, int train) {
    SY_TRY(sy_state_init(s->params, &s->exec, train, &s->state));
    struct sy_resident_options o = resident_options(s->config, &s->exec, s->params, s->state.master);
    SY_TRY(sy_resident_create(&o, &s->resident));
    return sy_update_create(&(struct sy_update_options){.state = &s->state,
                                                        .resident = s->resident,
                                                        .moe = &s->config->moe,
                                                        .routes = s->config->training.global_batch_size *
                                                                  s->config->training.seq_len *
                                                                  s->config->moe.top_k,
                                                        .counts = s->step.counts},
                            &s->update);
}

static sy_status make_training(struct sy_session *s) {
    struct sy_gradients_options o = gradients_options(s->config, &s->exec, s->params);
    SY_TRY(sy_gradients_create(&o, &s->gradients));
    return sy_step_routes_create(s->config, s->exec.device, sy_session_batch(s->config), &s->routes);
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

static sy_status check_ranks(const struct sy_config *c) {
    if (c->run.ranks > 1)
        return sy_config_fail(c, "run.ranks", "training over ranks is not in this build: choose 1");
    return SY_OK;
}

/* Initial values: a function of seed, name and index (NUMERICS 2). */
static sy_status initialise(struct sy_session *s) {
    int n = s->params->n_tensors;
    struct sy_init_item *items = calloc((size_t)n + 1, sizeof *items);
    if (!items)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d tensors", n);
    for (int i = 0; i < n; i++) {
        struct sy_range_of own = sy_shard_range(&s->state.shard, s->params->tensor[i].n);
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

static sy_status build(struct sy_session *s, int parts) {
    int train = parts & SY_SESSION_TRAIN;
    SY_TRY(check_plant(s->config));
    SY_TRY(check_ranks(s->config));
    SY_TRY(make_exec(s));
    SY_TRY(sy_params_create(&s->config->model, &s->config->moe, &s->params));
    SY_TRY(sy_tokenizer_create(s->config->tokenizer.path, s->config->model.vocab_size, &s->tokenizer));
    if (parts & SY_SESSION_DATA)
        SY_TRY(sy_feed_open(s));
    s->walk = walk_of(s->config);
    SY_TRY(make_step(s));
    SY_TRY(make_weights(s, train));
    SY_TRY(make_model(s, train));
    if (train)
        SY_TRY(make_training(s));
    if (parts & SY_SESSION_INIT)
        SY_TRY(initialise(s));
    sy_update_stored(s->update);
    s->flops_per_token = sy_flops_per_token(s->config, s->params);
    return sy_exec_wait(&s->exec);
}

sy_status sy_session_create(struct sy_config *config, const struct sy_log *log, int parts,
                            struct sy_session **out) {
    struct sy_session *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a session");
    s->config = config;
    s->log = log;
    s->groups = sy_groups_self();
    sy_status status = build(s, parts);
    if (status != SY_OK) {
        sy_session_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

void sy_session_destroy(struct sy_session *s) {
    if (!s)
        return;
    sy_step_routes_destroy(s->routes);
    sy_gradients_destroy(s->gradients);
    sy_model_destroy(s->model);
    sy_update_destroy(s->update);
    sy_resident_destroy(s->resident);
    sy_state_fini(&s->state);
    sy_loader_destroy(s->loader);
    sy_documents_destroy(s->documents);
    sy_tokenizer_destroy(s->tokenizer);
    sy_params_destroy(s->params);
    sy_pool_destroy(s->pool);
    sy_arena_fini(&s->scratch);
    sy_arena_fini(&s->memory);
    sy_arena_fini(&s->host);
    sy_device_destroy(s->own_device);
    free(s);
}

sy_status sy_session_weights_changed(struct sy_session *s) {
    sy_update_stored(s->update);
    sy_resident_changed(s->resident);
    return sy_exec_wait(&s->exec);
}

sy_status sy_session_digest(const struct sy_session *s, char out[SY_DIGEST_CHARS]) {
    const struct sy_device *d = s->exec.device;
    struct sy_verdict none = {0}, verdict;
    d->copy(d, s->step.verdict, &none, sizeof none);
    sy_update_digest(s->update, s->step.verdict->digest);
    d->copy(d, &verdict, s->step.verdict, sizeof verdict);
    SY_TRY(sy_exec_wait(&s->exec));
    sy_digest_hex(&(struct sy_digest){{verdict.digest[0], verdict.digest[1]}}, out);
    return SY_OK;
}
