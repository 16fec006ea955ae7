/* The decoder: see model.h. */
#include "model/model.h"

#include <stdlib.h>

enum { ARRIVING = 2 }; /* batches of DOUT: the one that is read, the one that comes */

struct edge { /* batch mb's is at [mb % n] */
    struct sy_mat *at;
    int n;
};

struct part { /* a stage, and what it reads and writes */
    struct sy_model_stage o;
    struct sy_stage *stage;
    struct sy_batch *batch; /* [pending] */
    struct edge edge[SY_MODEL_DIN + 1];
};

struct sy_model {
    struct sy_layer_ctx c;
    struct sy_arena arena;
    struct part *part;
    int n_parts;
    struct sy_moe_counters counters;
    int64_t most_rows; /* of a rank's experts */
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
                                         .recount = o->recount,
                                         .goes_on = 1,
                                         .counters = &m->counters},
                                 .params = o->params,
                                 .weights = o->weights,
                                 .attention_scale = sy_attention_scale(o->model),
                                 .max_tokens = o->max_sequences * o->seq_len,
                                 .max_sequences = o->max_sequences,
                                 .max_seq_len = o->seq_len,
                                 .cache = o->cache,
                                 .scalars = o->scalars,
                                 .tally = o->tally,
                                 .counts = o->counts};
}

static void plan_rows(struct sy_moe_env *env, const struct sy_model_options *o) {
    int64_t rows = o->room > 0 ? sy_moe_rows_for(env, o->room) : 0;
    env->planned_rows = rows > 0 && o->planned_rows > rows ? o->planned_rows : rows;
}

/* A stage between others shares its edges with them; the head's dy waits for its backward. */
static void set_edges(struct part *p) {
    p->edge[SY_MODEL_IN].n = p->o.pending;
    p->edge[SY_MODEL_OUT].n = p->o.ends ? 1 : p->o.unread;
    p->edge[SY_MODEL_DOUT].n = p->o.ends || p->o.split ? p->o.pending : ARRIVING;
    p->edge[SY_MODEL_DIN].n = p->o.embeds ? 1 : p->o.unread;
}

static void carve_part(struct sy_model *m, struct part *p, struct sy_arena *a) {
    const struct sy_layer_ctx *c = &m->c;
    for (int e = 0; e <= (m->backward ? SY_MODEL_DIN : SY_MODEL_OUT); e++)
        for (int i = 0; i < p->edge[e].n; i++)
            p->edge[e].at[i] = sy_take_mat(a, "residual stream", c->max_tokens, c->model->dim, c->x->dtype);
    sy_stage_carve(p->stage, a);
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_model *m = self;
    struct sy_layer_ctx *c = &m->c;
    int64_t angles = c->max_seq_len * rope_dim(c->model) / 2;
    m->rope_cos = sy_take_f32(a, "rotary tables", angles);
    m->rope_sin = sy_take_f32(a, "rotary tables", angles);
    c->rope_cos = m->rope_cos;
    c->rope_sin = m->rope_sin;
    for (int i = 0; i < m->n_parts; i++)
        carve_part(m, &m->part[i], a);
    if (m->part[m->n_parts - 1].o.ends)
        sy_head_take(c, a, m->backward, &m->head);
}

static sy_status make_part(struct sy_model *m, const struct sy_model_options *o,
                           const struct sy_model_stage *stage, struct part *p) {
    p->o = *stage;
    set_edges(p);
    p->batch = calloc((size_t)stage->pending, sizeof *p->batch);
    for (int e = 0; e <= SY_MODEL_DIN; e++)
        if (!(p->edge[e].at = calloc((size_t)p->edge[e].n, sizeof *p->edge[e].at)))
            SY_FAIL(SY_ERR_MEMORY, "no memory for a stage of %d batches", stage->pending);
    if (!p->batch)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a stage of %d batches", stage->pending);
    return sy_stage_create(&(struct sy_stage_options){.ctx = &m->c,
                                                      .recompute = o->recompute,
                                                      .first = stage->first,
                                                      .n_layers = stage->n_layers,
                                                      .pending = stage->pending,
                                                      .split = stage->split,
                                                      .log = o->log},
                           &p->stage);
}

static sy_status shell(const struct sy_model_options *o, struct sy_model **out) {
    struct sy_model_stage whole = {.n_layers = (int)o->model->n_layers, .embeds = 1, .ends = 1, .pending = 1};
    int n = o->stages ? o->n_stages : 1;
    struct sy_model *m = calloc(1, sizeof *m);
    sy_status status = SY_OK;
    if (m)
        m->part = calloc((size_t)n + 1, sizeof *m->part);
    if (!m || !m->part) {
        free(m);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a model");
    }
    m->backward = o->recompute != NULL;
    m->c = context(m, o);
    plan_rows(&m->c.moe, o);
    m->n_parts = n;
    for (int i = 0; i < n && status == SY_OK; i++)
        status = make_part(m, o, o->stages ? &o->stages[i] : &whole, &m->part[i]);
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
    for (int i = 0; i < m->n_parts; i++) {
        sy_stage_destroy(m->part[i].stage);
        free(m->part[i].batch);
        for (int e = 0; e <= SY_MODEL_DIN; e++)
            free(m->part[i].edge[e].at);
    }
    free(m->part);
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
    for (int i = 0; i < m->n_parts && status == SY_OK; i++)
        status = sy_stage_connect(m->part[i].stage, SY_OK);
    if (status != SY_OK) {
        sy_model_destroy(m);
        return status;
    }
    *out = m;
    return SY_OK;
}

/* --- a stage of a batch --------------------------------------------------------------------------------- */

static struct sy_mat edge(const struct part *p, enum sy_model_edge e, int64_t mb) {
    return p->edge[e].at[mb % p->edge[e].n];
}

struct sy_mat sy_model_edge(const struct sy_model *m, int stage, enum sy_model_edge e, int64_t mb) {
    return edge(&m->part[stage], e, mb);
}

/* Up to what the head reads. */
static sy_status layers_fwd(struct sy_model *m, struct part *p, int64_t mb, const struct sy_batch *b,
                            enum sy_pass pass) {
    const struct sy_layer_ctx *c = &m->c;
    struct sy_mat x = edge(p, SY_MODEL_IN, mb);
    int slot = (int)(mb % p->o.pending);
    p->batch[slot] = *b;
    if (p->o.embeds)
        c->x->ops->embed_fwd(c->x, &(struct sy_embed_fwd){.tokens = b->tokens,
                                                          .d = c->model->dim,
                                                          .ids = b->ids,
                                                          .w = c->weights.ends(c->weights.self)->embedding,
                                                          .y = x});
    return sy_stage_fwd(p->stage, slot, b, pass, x, edge(p, SY_MODEL_OUT, mb));
}

sy_status sy_model_fwd(struct sy_model *m, int stage, int64_t mb, const struct sy_batch *b, enum sy_pass pass,
                       const struct sy_grad_sink *sink) {
    struct part *p = &m->part[stage];
    SY_TRY(layers_fwd(m, p, mb, b, pass));
    if (p->o.ends)
        sy_head_loss(&m->c, b, &m->head, edge(p, SY_MODEL_OUT, mb), sink,
                     sink ? edge(p, SY_MODEL_DOUT, mb) : (struct sy_mat){0});
    return SY_OK;
}

static void embedding_bwd(const struct part *p, int64_t mb, const struct sy_grad_sink *sink) {
    const struct sy_batch *b = &p->batch[mb % p->o.pending];
    if (!p->o.embeds)
        return;
    sink->embedding(sink->self, &b->at, b->ids, edge(p, SY_MODEL_DIN, mb));
    sink->flush(sink->self);
}

sy_status sy_model_bwd(struct sy_model *m, int stage, int64_t mb, const struct sy_grad_sink *sink) {
    struct part *p = &m->part[stage];
    SY_TRY(sy_stage_bwd(p->stage, (int)(mb % p->o.pending), edge(p, SY_MODEL_DOUT, mb),
                        edge(p, SY_MODEL_DIN, mb), sink));
    embedding_bwd(p, mb, sink);
    return SY_OK;
}

sy_status sy_model_bwd_inputs(struct sy_model *m, int stage, int64_t mb, const struct sy_grad_sink *sink) {
    struct part *p = &m->part[stage];
    SY_TRY(sy_stage_bwd_inputs(p->stage, (int)(mb % p->o.pending), edge(p, SY_MODEL_DOUT, mb),
                               edge(p, SY_MODEL_DIN, mb)));
    embedding_bwd(p, mb, sink);
    return SY_OK;
}

void sy_model_bwd_weights(struct sy_model *m, int stage, int64_t mb, const struct sy_grad_sink *sink) {
    const struct part *p = &m->part[stage];
    sy_stage_bwd_weights(p->stage, (int)(mb % p->o.pending), sink);
}

/* --- a batch, of a model of one stage ------------------------------------------------------------------- */

sy_status sy_model_train(struct sy_model *m, const struct sy_batch *b, const struct sy_grad_sink *sink) {
    SY_TRY(sy_model_fwd(m, 0, 0, b, SY_PASS_TRAIN, sink));
    return sy_model_bwd(m, 0, 0, sink);
}

sy_status sy_model_eval(struct sy_model *m, const struct sy_batch *b) {
    return sy_model_fwd(m, 0, 0, b, SY_PASS_EVAL, NULL);
}

void sy_model_idle_stage(struct sy_model *m, int stage, enum sy_stage_call call) {
    const struct part *p = &m->part[stage];
    if (call == SY_STAGE_FWD && p->o.embeds)
        m->c.weights.ends(m->c.weights.self);
    sy_stage_idle(p->stage, call);
    if (call == SY_STAGE_FWD && p->o.ends)
        m->c.weights.ends(m->c.weights.self);
}

void sy_model_idle(struct sy_model *m, int backward) {
    sy_model_idle_stage(m, 0, SY_STAGE_FWD);
    if (backward)
        sy_model_idle_stage(m, 0, SY_STAGE_BWD);
}

sy_status sy_model_logits(struct sy_model *m, const struct sy_batch *b, int64_t token, const float **logits) {
    SY_TRY(layers_fwd(m, &m->part[0], 0, b, SY_PASS_EVAL));
    sy_head_logits(&m->c, b, &m->head, edge(&m->part[0], SY_MODEL_OUT, 0), token);
    *logits = m->head.logits;
    return SY_OK;
}

sy_status sy_model_logits_begin(struct sy_model *m, const struct sy_batch *b) {
    SY_TRY(layers_fwd(m, &m->part[0], 0, b, SY_PASS_EVAL));
    sy_head_norm(&m->c, b, &m->head, edge(&m->part[0], SY_MODEL_OUT, 0));
    return SY_OK;
}

void sy_model_loss_rows(struct sy_model *m, const struct sy_batch *b, int64_t first, int64_t n) {
    sy_head_loss_rows(&m->c, b, &m->head, first, n);
}

void sy_model_copy_text(const struct sy_model *m, int from, int to, int64_t n) {
    sy_stage_copy_slot(m->part[0].stage, from, to, n);
}

int64_t sy_model_logits_most(const struct sy_model *m) { return m->head.size.chunk; }

const float *sy_model_logits_rows(struct sy_model *m, int64_t first, int64_t n) {
    sy_head_rows(&m->c, &m->head, first, n);
    return m->head.logits;
}

int64_t sy_model_planned_rows(const struct sy_model *m) { return m->c.moe.planned_rows; }

struct sy_moe_counters *sy_model_counters(struct sy_model *m) {
    return &m->counters;
}
