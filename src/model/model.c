/* The decoder: see model.h. */
#include "model/model.h"

#include <stdlib.h>

struct sy_model {
    struct sy_layer_ctx c;
    struct sy_arena arena;
    struct sy_stage *stage;
    struct sy_moe_counters counters;
    int64_t most_rows;            /* of a rank's experts */
    struct sy_mat x, out, dy, dx; /* the stage's input and output and their gradients */
    struct sy_head head;
    float *rope_cos, *rope_sin;
    int backward;
};

static int64_t rope_dim(const struct sy_config_model *m) {
    return m->attention == SY_ATTENTION_MLA ? m->qk_rope_head_dim : m->head_dim;
}

static void max_of(int64_t *m, int64_t v) { *m = v > *m ? v : *m; }

void sy_model_extent(const struct sy_config_model *m, const struct sy_config_moe *e, int64_t *max_row,
                     int64_t *max_head) {
    int mla = m->attention == SY_ATTENTION_MLA;
    int64_t qk = mla ? m->qk_nope_head_dim + m->qk_rope_head_dim : m->head_dim, row = m->dim;
    max_of(&row, m->vocab_size);
    max_of(&row, 2 * m->inter_dim);
    max_of(&row, 2 * m->moe_inter_dim * (e->num_shared_experts > 0 ? e->num_shared_experts : 1));
    max_of(&row, m->n_heads * qk);
    max_of(&row, e->num_experts);
    max_of(&row, mla ? m->kv_lora_rank : 1);
    max_of(&row, mla ? m->q_lora_rank : 1);
    *max_row = row;
    *max_head = qk + 32;
    max_of(max_head, mla ? m->v_head_dim : 1);
}

/* --- creation ------------------------------------------------------------------------------------------- */

static struct sy_layer_ctx context(struct sy_model *m, const struct sy_model_options *o) {
    return (struct sy_layer_ctx){.x = o->exec,
                                 .model = o->model,
                                 .moe = {.x = o->exec,
                                         .config = o->moe,
                                         .ep = o->ep,
                                         .d = o->model->dim,
                                         .f = o->model->moe_inter_dim,
                                         .seq_len = o->seq_len,
                                         .max_sequences = o->max_sequences,
                                         .max_tokens = o->max_sequences * o->seq_len,
                                         .max_rounds = o->max_rounds > 0 ? o->max_rounds : 1,
                                         .combine_groups = o->combine_groups,
                                         .forced_balance = o->forced_balance,
                                         .loss_sequences = o->loss_sequences,
                                         .most_rows = &m->most_rows,
                                         .direct = o->direct,
                                         .goes_on = 1,
                                         .counters = &m->counters},
                                 .params = o->params,
                                 .weights = o->weights,
                                 .attention_scale = sy_attention_scale(o->model),
                                 .max_tokens = o->max_sequences * o->seq_len,
                                 .max_sequences = o->max_sequences,
                                 .max_seq_len = o->seq_len,
                                 .scalars = o->scalars,
                                 .tally = o->tally,
                                 .counts = o->counts};
}

static void plan_rows(struct sy_moe_env *env, const struct sy_model_options *o) {
    int64_t rows = o->room > 0 ? sy_moe_rows_for(env, o->room) : 0;
    env->planned_rows = rows > 0 && o->planned_rows > rows ? o->planned_rows : rows;
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_model *m = self;
    struct sy_layer_ctx *c = &m->c;
    struct sy_mat *mats[] = {&m->x, &m->out, &m->dy, &m->dx};
    int64_t angles = c->max_seq_len * rope_dim(c->model) / 2;
    m->rope_cos = sy_take_f32(a, "rotary tables", angles);
    m->rope_sin = sy_take_f32(a, "rotary tables", angles);
    c->rope_cos = m->rope_cos;
    c->rope_sin = m->rope_sin;
    for (int i = 0; i < (m->backward ? 4 : 2); i++)
        *mats[i] = sy_take_mat(a, "residual stream", c->max_tokens, c->model->dim, c->x->dtype);
    sy_stage_carve(m->stage, a);
    sy_head_take(c, a, m->backward, &m->head);
}

static sy_status shell(const struct sy_model_options *o, struct sy_model **out) {
    struct sy_model *m = calloc(1, sizeof *m);
    if (!m)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a model");
    m->backward = o->recompute != NULL;
    m->c = context(m, o);
    plan_rows(&m->c.moe, o);
    sy_status status = sy_stage_create(&(struct sy_stage_options){.ctx = &m->c,
                                                                  .recompute = o->recompute,
                                                                  .first = 0,
                                                                  .n_layers = (int)o->model->n_layers,
                                                                  .pending = 1,
                                                                  .log = o->log},
                                       &m->stage);
    if (status != SY_OK) {
        sy_model_destroy(m);
        return status;
    }
    *out = m;
    return SY_OK;
}

void sy_model_destroy(struct sy_model *m) {
    if (!m)
        return;
    sy_stage_destroy(m->stage);
    sy_arena_fini(&m->arena);
    free(m);
}

sy_status sy_model_measure(const struct sy_model_options *o, struct sy_arena *arena) {
    struct sy_model *m;
    SY_TRY(shell(o, &m));
    carve(m, arena);
    sy_model_destroy(m);
    return SY_OK;
}

/* The tables are made by the host, once. */
static sy_status fill_rope(struct sy_model *m) {
    const struct sy_layer_ctx *c = &m->c;
    int64_t d = rope_dim(c->model);
    size_t n = (size_t)(c->max_seq_len * d / 2), bytes = n * sizeof(float);
    float *tables = malloc(2 * bytes + 1);
    if (!tables)
        SY_FAIL(SY_ERR_MEMORY, "no memory for rotary tables of %lld positions", (long long)c->max_seq_len);
    sy_rope_tables(c->model, d, c->max_seq_len, tables, tables + n);
    c->x->device->copy(c->x->device, m->rope_cos, tables, bytes);
    c->x->device->copy(c->x->device, m->rope_sin, tables + n, bytes);
    sy_status status = sy_exec_wait(c->x);
    free(tables);
    return status;
}

sy_status sy_model_create(const struct sy_model_options *o, struct sy_model **out) {
    struct sy_model *m = NULL;
    sy_status status = shell(o, &m);
    if (status == SY_OK)
        status = sy_arena_build(
            o->exec->device,
            "activations (lower training.local_batch_size, or activation_checkpoint.mode = full)", carve, m,
            &m->arena);
    if (status == SY_OK)
        status = fill_rope(m);
    status = o->ep.ops->agree(&o->ep, status);
    if (status == SY_OK)
        status = sy_stage_connect(m->stage, SY_OK);
    if (status != SY_OK) {
        sy_model_destroy(m);
        return status;
    }
    *out = m;
    return SY_OK;
}

/* --- a batch -------------------------------------------------------------------------------------------- */

static sy_status forward(struct sy_model *m, const struct sy_batch *b, enum sy_pass pass) {
    const struct sy_layer_ctx *c = &m->c;
    c->x->ops->embed_fwd(c->x, &(struct sy_embed_fwd){.tokens = b->tokens,
                                                      .d = c->model->dim,
                                                      .ids = b->ids,
                                                      .w = c->weights.ends(c->weights.self)->embedding,
                                                      .y = m->x});
    return sy_stage_fwd(m->stage, 0, b, pass, m->x, m->out);
}

sy_status sy_model_train(struct sy_model *m, const struct sy_batch *b, const struct sy_grad_sink *sink) {
    SY_TRY(forward(m, b, SY_PASS_TRAIN));
    sy_head_loss(&m->c, b, &m->head, m->out, sink, m->dy);
    SY_TRY(sy_stage_bwd(m->stage, 0, m->dy, m->dx, sink));
    sink->embedding(sink->self, &b->at, b->ids, m->dx);
    sink->flush(sink->self);
    return SY_OK;
}

sy_status sy_model_eval(struct sy_model *m, const struct sy_batch *b) {
    SY_TRY(forward(m, b, SY_PASS_EVAL));
    sy_head_loss(&m->c, b, &m->head, m->out, NULL, (struct sy_mat){0});
    return SY_OK;
}

void sy_model_idle(struct sy_model *m, int backward) {
    m->c.weights.ends(m->c.weights.self);
    sy_stage_idle(m->stage, backward);
}

sy_status sy_model_logits(struct sy_model *m, const struct sy_batch *b, int64_t token, const float **logits) {
    SY_TRY(forward(m, b, SY_PASS_EVAL));
    sy_head_logits(&m->c, b, &m->head, m->out, token);
    *logits = m->head.logits;
    return SY_OK;
}

int64_t sy_model_planned_rows(const struct sy_model *m) { return m->c.moe.planned_rows; }

struct sy_moe_counters *sy_model_counters(struct sy_model *m) {
    return &m->counters;
}
