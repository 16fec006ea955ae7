/* Everything that a run holds in one process: see session.h. */
#include "train/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fmath.h"
#include "model/head.h"
#include "train/classes.h"

struct sy_data_options sy_session_data_options(const struct sy_config *c, const struct sy_log *log) {
    return (struct sy_data_options){.dataset_paths = c->training.dataset_path.items,
                                    .n_dataset_paths = (int)c->training.dataset_path.n,
                                    .format = sy_config_word(c, "data.format"),
                                    .suffixes = c->data.suffixes.items,
                                    .n_suffixes = (int)c->data.suffixes.n,
                                    .text_key = c->data.text_key,
                                    .max_bytes = c->data.max_bytes,
                                    .holdout = c->data.holdout,
                                    .validation_paths = c->validation.dataset_path.items,
                                    .n_validation_paths = (int)c->validation.dataset_path.n,
                                    .validate = c->validation.enable,
                                    .shuffle = c->data.shuffle,
                                    .max_bad_lines = c->data.max_bad_lines,
                                    .replace = c->data.encoding_errors == SY_ENCODING_REPLACE,
                                    .seed = (uint64_t)c->debug.seed,
                                    .log = log};
}

double sy_flops_per_token(const struct sy_config *c, const struct sy_params *params) {
    const struct sy_config_model *m = &c->model;
    int mla = m->attention == SY_ATTENTION_MLA;
    double qk = (double)(mla ? m->qk_nope_head_dim + m->qk_rope_head_dim : m->head_dim);
    double v = (double)(mla ? m->v_head_dim : m->head_dim);
    return 6.0 * (double)(params->n_active - m->vocab_size * m->dim) +
           6.0 * (double)(m->n_layers * m->n_heads) * (qk + v) * (double)c->training.seq_len;
}

/* --- creation ------------------------------------------------------------------------------------------------- */

static sy_status make_exec(struct sy_session *s) {
    const struct sy_config *c = s->config;
    SY_TRY(sy_ops_select(sy_config_word(c, "run.tier"), &s->exec.ops));
    SY_TRY(sy_pool_create((int)c->run.threads, &s->pool));
    int64_t row, head;
    sy_model_extent(&c->model, &c->moe, &row, &head);
    s->exec.cls = sy_config_numeric_class(c);
    s->exec.dtype = sy_class_dtype(s->exec.cls);
    s->exec.kb = sy_class_kb(s->exec.cls);
    s->exec.pool = s->pool;
    s->exec.scratch_bytes = sy_ops_scratch_bytes(row, head, c->training.seq_len);
    SY_TRY(sy_arena_init(s->exec.scratch_bytes * (size_t)sy_pool_size(s->pool), "scratch of the threads", &s->scratch));
    s->exec.scratch = s->scratch.base;
    return SY_OK;
}

static void carve_state(struct sy_session *s, int train, struct sy_arena *a) {
    const struct sy_params *p = s->params;
    s->weights = (struct sy_weights){.params = p, .dtype = s->exec.dtype};
    s->weights.master = sy_take_f32(a, "master weights", p->n_floats);
    s->weights.stored = s->exec.dtype == SY_F32
                            ? s->weights.master
                            : sy_arena_take(a, "stored weights", (size_t)p->n_floats, sy_dtype_bytes(s->exec.dtype));
    s->update = (struct sy_update){.params = p, .exec = &s->exec, .weights = s->weights};
    s->update.digests = sy_arena_take(a, "update", (size_t)sy_pool_size(s->pool), sizeof(struct sy_digest));
    if (!train)
        return;
    s->update.m = s->m = sy_take_f32(a, "moments", p->n_trained);
    s->update.v = s->v = sy_take_f32(a, "moments", p->n_trained);
    s->update.blocks = sy_arena_take(a, "update", (size_t)sy_update_blocks(p), sizeof(double));
    s->counts = sy_arena_take(a, "update", (size_t)(p->n_layers * s->config->moe.num_experts) + 1, sizeof(int64_t));
}

static sy_status make_state(struct sy_session *s, int train) {
    struct sy_arena measure = sy_arena_measure();
    carve_state(s, train, &measure);
    SY_TRY(sy_arena_check(&measure, "weights"));
    SY_TRY(sy_arena_init(measure.used, "weights and moments", &s->state));
    carve_state(s, train, &s->state);
    return sy_arena_check(&s->state, "weights");
}

static void init_part(void *arg, int thread, int n_threads) {
    struct sy_session *s = arg;
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *t = &s->params->tensor[i];
        int64_t lo, hi;
        sy_range(t->n, 1024, thread, n_threads, &lo, &hi);
        sy_params_init(t, (uint64_t)s->config->debug.seed, lo, hi - lo, s->weights.master + t->offset + lo);
    }
}

int64_t sy_session_batch(const struct sy_config *c) {
    return c->training.local_batch_size < c->training.global_batch_size ? c->training.local_batch_size
                                                                        : c->training.global_batch_size;
}

struct sy_model_options sy_session_model_options(const struct sy_config *c, const struct sy_exec *exec,
                                                 struct sy_weights weights, int train) {
    return (struct sy_model_options){.model = &c->model,
                                     .moe = &c->moe,
                                     .recompute = train ? &c->activation_checkpoint : NULL,
                                     .exec = exec,
                                     .groups = sy_groups_self(),
                                     .weights = weights,
                                     .max_sequences = sy_session_batch(c),
                                     .seq_len = c->training.seq_len,
                                     .combine_groups = c->numerics.combine_groups,
                                     .forced_balance = c->debug.moe_force_load_balance,
                                     .loss_sequences = c->training.global_batch_size};
}

struct sy_gradients_options sy_session_gradients_options(const struct sy_config *c, const struct sy_exec *exec,
                                                         const struct sy_params *params) {
    return (struct sy_gradients_options){.params = params,
                                         .exec = exec,
                                         .lanes = (int)c->numerics.lanes,
                                         .expert_lanes = (int)c->numerics.expert_lanes,
                                         .cell = (int)c->numerics.cell,
                                         .rounds = c->training.global_batch_size / (c->numerics.lanes * c->numerics.cell),
                                         .seq_len = c->training.seq_len,
                                         .max_sequences = sy_session_batch(c),
                                         .head_chunk = SY_HEAD_CHUNK,
                                         .plant = c->debug.break_};
}

static sy_status make_model(struct sy_session *s, int train) {
    struct sy_model_options model = sy_session_model_options(s->config, &s->exec, s->weights, train);
    model.groups = s->groups;
    model.log = s->log;
    SY_TRY(sy_model_create(&model, &s->model));
    if (!train)
        return SY_OK;
    struct sy_gradients_options gradients = sy_session_gradients_options(s->config, &s->exec, s->params);
    return sy_gradients_create(&gradients, &s->gradients);
}

static void carve_batch(struct sy_session *s, struct sy_arena *a) {
    size_t n = (size_t)(s->config->training.global_batch_size * s->config->training.seq_len);
    int32_t **arrays[] = {&s->ids, &s->labels, &s->doc_start, &s->position};
    for (int i = 0; i < 4; i++)
        *arrays[i] = sy_arena_take(a, "batch", n, sizeof(int32_t));
}

static sy_status make_data(struct sy_session *s) {
    const struct sy_config *c = s->config;
    struct sy_data_options options = sy_session_data_options(c, s->log);
    SY_TRY(sy_documents_load(&options, &s->documents));
    return sy_loader_create(s->documents, s->tokenizer, &options, c->training.seq_len, &s->loader);
}

static sy_status make_batch(struct sy_session *s) {
    struct sy_arena measure = sy_arena_measure();
    carve_batch(s, &measure);
    SY_TRY(sy_arena_check(&measure, "batch"));
    SY_TRY(sy_arena_init(measure.used, "batch", &s->batch));
    carve_batch(s, &s->batch);
    return sy_arena_check(&s->batch, "batch");
}

/* debug.break = nan_at_step_N: a gradient element becomes NaN in step N; 0 if another or none. */
static const char planted_nan_name[] = "nan_at_step_";
static int64_t planted_nan(const char *plant) {
    size_t n = sizeof planted_nan_name - 1;
    return strncmp(plant, planted_nan_name, n) == 0 ? atoll(plant + n) : 0;
}

static sy_status check_plant(const struct sy_config *c) {
    const char *plant = c->debug.break_;
    int known = plant[0] == 0 || planted_nan(plant) > 0;
    for (int i = 0; sy_gradients_plant(i); i++)
        known |= strcmp(sy_gradients_plant(i), plant) == 0;
    if (!known)
        return sy_config_fail(c, "debug.break",
                              "no such planted bug; there are swap_sequences, shuffle_lanes, lanes_in_turn and "
                              "nan_at_step_N");
    return SY_OK;
}

static sy_status build(struct sy_session *s, int parts) {
    int train = parts & SY_SESSION_TRAIN;
    SY_TRY(check_plant(s->config));
    SY_TRY(make_exec(s));
    SY_TRY(sy_params_create(&s->config->model, &s->config->moe, &s->params));
    SY_TRY(sy_tokenizer_create(s->config->tokenizer.path, s->config->model.vocab_size, &s->tokenizer));
    if (parts & SY_SESSION_DATA)
        SY_TRY(make_data(s));
    SY_TRY(make_batch(s));
    SY_TRY(make_state(s, train));
    SY_TRY(make_model(s, train));
    if (train)
        SY_TRY(sy_step_routes_create(s->config, sy_session_batch(s->config), &s->routes));
    if (parts & SY_SESSION_INIT)
        sy_pool_run(s->pool, init_part, s);
    sy_update_stored(&s->update);
    s->flops_per_token = sy_flops_per_token(s->config, s->params);
    return SY_OK;
}

sy_status sy_session_create(struct sy_config *config, const struct sy_log *log, int parts, struct sy_session **out) {
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
    sy_loader_destroy(s->loader);
    sy_documents_destroy(s->documents);
    sy_tokenizer_destroy(s->tokenizer);
    sy_params_destroy(s->params);
    sy_pool_destroy(s->pool);
    sy_arena_fini(&s->scratch);
    sy_arena_fini(&s->state);
    sy_arena_fini(&s->batch);
    free(s);
}

void sy_session_weights_changed(struct sy_session *s) {
    sy_update_stored(&s->update);
    sy_model_weights_changed(s->model);
}

void sy_session_digest(const struct sy_session *s, char out[SY_DIGEST_CHARS]) {
    struct sy_digest d = sy_update_digest(&s->update);
    sy_digest_hex(&d, out);
}

/* --- a step --------------------------------------------------------------------------------------------------- */

static void positions(int64_t n, int64_t seq_len, const int32_t *doc_start, int32_t *position) {
    for (int64_t t = 0; t < n; t++)
        position[t] = (int32_t)(t % seq_len) - doc_start[t];
}

int64_t sy_session_token(const struct sy_session *s, int64_t step) {
    int64_t batch = s->config->training.global_batch_size * s->config->training.seq_len, token;
    if (__builtin_mul_overflow(step - s->base_step, batch, &token) || __builtin_add_overflow(token, s->base_token, &token))
        return INT64_MAX;
    return token;
}

/* All sequences of the step, in the order of the walk. */
static sy_status fetch(struct sy_session *s, int64_t step) {
    int64_t seq = s->config->training.seq_len, batch = s->config->training.global_batch_size;
    int64_t first = sy_session_token(s, step);
    if (first > INT64_MAX - batch * seq)
        SY_FAIL(SY_ERR_USAGE, "step %lld: its tokens are beyond what can be counted", (long long)(step + 1));
    for (int64_t k = 0; k < batch; k++) {
        int64_t at = first + seq * sy_gradients_sequence(s->gradients, k);
        SY_TRY(sy_loader_fetch(s->loader, at, s->ids + k * seq, s->labels + k * seq, s->doc_start + k * seq));
    }
    return SY_OK;
}

static struct sy_batch batch_at(const struct sy_session *s, int64_t first, int64_t n) {
    int64_t seq = s->config->training.seq_len, t = first * seq;
    return (struct sy_batch){.sequences = n,
                             .seq_len = seq,
                             .tokens = n * seq,
                             .ids = s->ids + t,
                             .labels = s->labels + t,
                             .doc_start = s->doc_start + t,
                             .position = s->position + t};
}

/* Gradients and loss of the step's batch. */
static sy_status accumulate(struct sy_session *s, struct sy_step_result *r) {
    int64_t batch = s->config->training.global_batch_size, local = sy_session_batch(s->config);
    struct sy_grad_sink sink = sy_gradients_sink(s->gradients);
    struct sy_model_stats stats = {.counts = s->counts};
    memset(s->counts, 0, (size_t)(s->params->n_layers * s->config->moe.num_experts) * sizeof *s->counts);
    sy_gradients_begin(s->gradients);
    SY_TRY(sy_step_routes_begin(s->routes, r->step));
    for (int64_t k = 0; k < batch; k += local) {
        struct sy_batch b = batch_at(s, k, batch - k < local ? batch - k : local);
        sy_gradients_batch(s->gradients, k, b.sequences);
        sy_step_routes_before(s->routes, s->gradients, k, &b);
        SY_TRY(sy_model_train(s->model, &b, (float)(1.0 / (double)r->n_valid), &sink, &stats));
        sy_step_routes_after(s->routes, s->gradients, k, &b);
    }
    if (stats.n_bad == 0 && stats.n_bad_router == 0) /* else weights may be NaN, and no file of routes has such */
        SY_TRY(sy_step_routes_end(s->routes, r->step));
    const struct sy_comm *dp = &s->groups.dp;
    dp->ops->sum_i64(dp, s->counts, s->params->n_layers * s->config->moe.num_experts);
    dp->ops->sum_i64(dp, &stats.loss, 1);
    dp->ops->sum_i64(dp, &stats.n_bad, 1);
    dp->ops->sum_i64(dp, stats.router_loss, 2);
    dp->ops->sum_i64(dp, &stats.n_bad_router, 1);
    int64_t summed = s->config->training.global_batch_size * (s->params->n_layers - s->config->model.n_dense_layers);
    r->has_balance_loss = s->config->moe.seq_aux_loss_coeff > 0 && summed > 0;
    r->has_z_loss = s->config->moe.z_loss_coeff > 0 && summed > 0;
    double scale = stats.n_bad_router ? (double)NAN : 0x1p-24 / (double)summed; /* the sums lack those that are not finite */
    r->balance_loss = r->has_balance_loss ? (double)stats.router_loss[0] * scale : 0.0;
    r->z_loss = r->has_z_loss ? (double)stats.router_loss[1] * scale : 0.0;
    r->loss_fixed = stats.loss;
    r->n_bad = stats.n_bad;
    r->n_bad_router = stats.n_bad_router;
    r->counted = 1;
    r->loss = stats.n_bad || stats.n_bad_router ? NAN : (double)stats.loss * 0x1p-24 / (double)r->n_valid;
    return SY_OK;
}

static void apply(struct sy_session *s, struct sy_step_result *r) {
    const struct sy_config *c = s->config;
    struct sy_update_step u = {.t = ++s->applied,
                               .lr = r->lr,
                               .beta1 = c->optimizer.beta1,
                               .beta2 = c->optimizer.beta2,
                               .eps = c->optimizer.eps,
                               .weight_decay = c->optimizer.weight_decay,
                               .max_norm = c->training.max_norm,
                               .norm = r->norm};
    sy_update_adamw(&s->update, s->gradients, &u);
    for (int l = 0; l < s->params->n_layers; l++)
        sy_update_expert_bias(&s->update, l, &c->moe, c->training.global_batch_size * c->training.seq_len,
                              s->counts + l * c->moe.num_experts);
    sy_session_weights_changed(s);
    r->applied = 1;
}

sy_status sy_session_step(struct sy_session *s, int64_t step, struct sy_step_result *r) {
    double t0 = sy_clock(), seconds;
    SY_TRY(fetch(s, step));
    seconds = sy_clock() - t0;
    sy_status status = sy_session_step_filled(s, step, r);
    r->data_seconds = seconds;
    return status;
}

sy_status sy_session_step_filled(struct sy_session *s, int64_t step, struct sy_step_result *r) {
    const struct sy_config *c = s->config;
    int64_t tokens = c->training.global_batch_size * c->training.seq_len;
    *r = (struct sy_step_result){.step = step + 1, .loss = NAN, .norm = NAN};
    positions(tokens, c->training.seq_len, s->doc_start, s->position);
    for (int64_t t = 0; t < tokens; t++)
        r->n_valid += s->labels[t] >= 0;
    s->groups.dp.ops->sum_i64(&s->groups.dp, &r->n_valid, 1);
    if (r->n_valid == 0)
        SY_FAIL(SY_ERR_DATA, "step %lld has no valid label: every token of its %lld sequences ends a document",
                (long long)(step + 1), (long long)c->training.global_batch_size);
    r->lr = sy_schedule_lr(&c->lr_scheduler, c->optimizer.lr, step, c->training.steps);
    sy_status status = accumulate(s, r);
    if (status != SY_OK && status != SY_ERR_NONFINITE)
        return status;
    if (status == SY_ERR_NONFINITE) { /* which part of the batch was counted depends on the layout: nothing is */
        memset(s->counts, 0, (size_t)(s->params->n_layers * c->moe.num_experts) * sizeof *s->counts);
        snprintf(r->why, sizeof r->why, "%s", sy_error_message());
    } else if (r->n_bad_router) {
        snprintf(r->why, sizeof r->why, "router losses of %lld sequences are not finite, summed over layers",
                 (long long)r->n_bad_router);
    } else if (r->n_bad) {
        snprintf(r->why, sizeof r->why, "%lld of %lld token losses are not finite", (long long)r->n_bad,
                 (long long)r->n_valid);
    } else {
        int64_t bad = 0;
        if (step + 1 == planted_nan(c->debug.break_))
            sy_gradients_root(s->gradients, s->params->head)[0] = NAN;
        r->norm = sy_update_norm(&s->update, s->gradients, &bad);
        if (bad || !isfinite(r->norm))
            snprintf(r->why, sizeof r->why, "%lld gradient elements are not finite, or their norm is not", (long long)bad);
        else
            apply(s, r);
    }
    sy_session_digest(s, r->digest);
    return SY_OK;
}

sy_status sy_session_eval(struct sy_session *s, int64_t max_batches, double *loss, int64_t *n_valid) {
    int64_t seq = s->config->training.seq_len, local = sy_session_batch(s->config);
    int64_t total = sy_loader_eval_count(s->loader), batch = s->config->training.global_batch_size;
    struct sy_model_stats stats = {0};
    if (max_batches >= 0 && max_batches < (total + batch - 1) / batch)
        total = max_batches * batch;
    for (int64_t k = 0; k < total; k += local) {
        int64_t n = total - k < local ? total - k : local;
        for (int64_t q = 0; q < n; q++)
            SY_TRY(sy_loader_eval_fetch(s->loader, k + q, s->ids + q * seq, s->labels + q * seq, s->doc_start + q * seq));
        positions(n * seq, seq, s->doc_start, s->position);
        struct sy_batch b = batch_at(s, 0, n);
        SY_TRY(sy_model_eval(s->model, &b, &stats));
    }
    *n_valid = stats.n_valid;
    *loss = stats.n_bad || stats.n_valid == 0 ? NAN : (double)stats.loss * 0x1p-24 / (double)stats.n_valid;
    return SY_OK;
}
