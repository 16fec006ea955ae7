/* The decoder: see model.h. */
#include "model/model.h"

#include <stdlib.h>

#include "model/attn.h"
#include "model/ffn.h"
#include "model/head.h"
#include "model/moe_layer.h"

struct slot { /* what one layer's backward reads */
    struct sy_mat n1, x_mid, n2;
    float *r1, *r2;
    struct sy_attn_act attn;
    struct sy_mlp_act ffn;
    struct sy_moe_act moe;
};

struct scratch { /* one layer's gradients and forward scratch, reused by every layer */
    struct sy_mat y, dn1, dn2, dnorm, dx[2], dx_mid;
    struct sy_attn_grad attn;
    struct sy_mlp_grad ffn;
    struct sy_moe_work moe;
};

struct sy_model {
    struct sy_layer_ctx c;
    const struct sy_attn_part *attn;
    struct sy_arena arena;
    const struct sy_log *log;
    int n_layers, backward, check, selective, log_recompute;
    struct sy_mat *x;             /* [n_layers + 1] inputs of the layers, then the last output */
    int *recomputed;              /* [n_layers] */
    struct slot *slots;           /* [n_layers] views: own memory, or in part that of a slot which layers share */
    struct sy_prepared *prepared; /* [n_layers] */
    struct sy_moe_counters counters;
    struct scratch s;
    struct sy_head head;
    float *rope_cos, *rope_sin;
};

static int64_t rope_dim(const struct sy_config_model *m) {
    return m->attention == SY_ATTENTION_MLA ? m->qk_rope_head_dim : m->head_dim;
}

static void max_of(int64_t *m, int64_t v) { *m = v > *m ? v : *m; }

void sy_model_extent(const struct sy_config_model *m, const struct sy_config_moe *e, int64_t *max_row, int64_t *max_head) {
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

static int wants_recompute(const struct sy_model_options *o, int layer) {
    if (!o->recompute || o->recompute->mode == SY_AC_NONE)
        return 0;
    return o->recompute->mode == SY_AC_FULL || (layer + 1) % sy_config_selective_every(o->recompute) == 0;
}

/* Of a slot, what every recompute makes again; attention output and dispatched rows, which the selective one keeps. */
static void take_made(struct sy_model *m, struct sy_arena *a, int dense, int moe, struct slot *s) {
    struct sy_layer_ctx *c = &m->c;
    int64_t t = c->max_tokens, d = c->model->dim;
    s->n1 = sy_take_mat(a, "residual stream", t, d, c->x->dtype);
    s->x_mid = sy_take_mat(a, "residual stream", t, d, c->x->dtype);
    s->n2 = sy_take_mat(a, "residual stream", t, d, c->x->dtype);
    s->r1 = sy_take_f32(a, "residual stream", t);
    s->r2 = sy_take_f32(a, "residual stream", t);
    m->attn->take(c, a, &s->attn);
    if (dense)
        sy_mlp_take(a, "feed-forward", c->x->dtype, t, c->model->inter_dim, &s->ffn);
    if (moe)
        sy_moe_take_made(&c->moe, a, &s->moe);
}
static void take_kept(struct sy_model *m, struct sy_arena *a, int moe, struct slot *s) {
    struct sy_layer_ctx *c = &m->c;
    s->attn.o = sy_take_mat(a, "attention", c->max_tokens, m->attn->width(c->model), c->x->dtype);
    s->attn.lse = sy_take_f32(a, "attention", c->max_tokens * c->model->n_heads);
    if (moe)
        sy_moe_take_kept(&c->moe, a, &s->moe);
}

static void take_scratch(struct sy_model *m, struct sy_arena *a) {
    struct sy_layer_ctx *c = &m->c;
    int64_t t = c->max_tokens, d = c->model->dim;
    struct sy_mat *mats[] = {&m->s.y, &m->s.dn1, &m->s.dn2, &m->s.dnorm, &m->s.dx[0], &m->s.dx[1], &m->s.dx_mid};
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        *mats[i] = sy_take_mat(a, "gradients of activations", t, d, c->x->dtype);
    m->attn->take_grad(c, a, &m->s.attn);
    if (c->model->n_dense_layers > 0)
        sy_mlp_take_grad(a, c->x->dtype, t, c->model->inter_dim, &m->s.ffn);
    if (c->model->n_dense_layers < m->n_layers)
        sy_moe_take_work(&c->moe, a, &m->s.moe);
}

/* The slots: one a layer that is not recomputed, one shared by those that are (by all, without backward). */
static void take_slots(struct sy_model *m, const struct sy_model_options *o, struct sy_arena *a) {
    int taken = 0, dense = m->c.model->n_dense_layers > 0, moe = m->c.model->n_dense_layers < m->n_layers;
    int keeps = m->backward && m->selective;
    struct slot shared = {0};
    for (int l = 0; l < m->n_layers; l++) {
        int is_moe = sy_layer_is_moe(m->c.model, l);
        m->recomputed[l] = wants_recompute(o, l);
        if (!m->recomputed[l] && m->backward) {
            take_made(m, a, !is_moe, is_moe, &m->slots[l]);
            take_kept(m, a, is_moe, &m->slots[l]);
            continue;
        }
        if (!taken++) {
            take_made(m, a, dense, moe, &shared);
            if (!keeps)
                take_kept(m, a, moe, &shared);
        }
        m->slots[l] = shared;
        if (keeps)
            take_kept(m, a, is_moe, &m->slots[l]);
        if (m->backward && m->check && is_moe)
            sy_moe_take_check(&m->c.moe, a, &m->slots[l].moe);
    }
    for (int l = 0; l < m->n_layers; l++)
        if (sy_layer_is_moe(m->c.model, l))
            sy_moe_take_prepared(&m->c.moe, a, &m->prepared[l]);
}

static void lay_out(struct sy_model *m, const struct sy_model_options *o, struct sy_arena *a) {
    struct sy_layer_ctx *c = &m->c;
    m->n_layers = (int)o->model->n_layers;
    m->backward = o->recompute != NULL;
    m->check = o->recompute && o->recompute->determinism_check == SY_DETERMINISM_CHECK_DEFAULT;
    m->selective = o->recompute && o->recompute->mode == SY_AC_SELECTIVE;
    m->log_recompute = o->recompute && o->recompute->debug;
    m->log = o->log;
    m->attn = o->model->attention == SY_ATTENTION_MLA ? &sy_attn_mla : &sy_attn_gqa;
    *c = (struct sy_layer_ctx){.x = o->exec,
                               .model = o->model,
                               .moe = {.x = o->exec,
                                       .config = o->moe,
                                       .ep = o->groups.ep,
                                       .d = o->model->dim,
                                       .f = o->model->moe_inter_dim,
                                       .seq_len = o->seq_len,
                                       .max_sequences = o->max_sequences,
                                       .max_rounds = 1,
                                       .combine_groups = o->combine_groups,
                                       .forced_balance = o->forced_balance,
                                       .loss_sequences = o->loss_sequences,
                                       .counters = &m->counters},
                               .w = o->weights,
                               .attention_scale = sy_attention_scale(o->model),
                               .max_tokens = o->max_sequences * o->seq_len,
                               .max_sequences = o->max_sequences,
                               .seq_len = o->seq_len};
    m->rope_cos = sy_take_f32(a, "rotary tables", o->seq_len * rope_dim(o->model) / 2);
    m->rope_sin = sy_take_f32(a, "rotary tables", o->seq_len * rope_dim(o->model) / 2);
    c->rope_cos = m->rope_cos;
    c->rope_sin = m->rope_sin;
    for (int l = 0; l <= m->n_layers; l++)
        m->x[l] = m->backward || l < 2 ? sy_take_mat(a, "residual stream", c->max_tokens, c->model->dim, c->x->dtype)
                                       : m->x[l - 2];
    take_slots(m, o, a);
    take_scratch(m, a);
    sy_head_take(c, a, m->backward, &m->head);
}

static struct sy_model *shell(int n_layers) {
    struct sy_model *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    size_t n = (size_t)n_layers + 1;
    m->x = calloc(n, sizeof *m->x);
    m->recomputed = calloc(n, sizeof *m->recomputed);
    m->slots = calloc(n, sizeof *m->slots);
    m->prepared = calloc(n, sizeof *m->prepared);
    if (m->x && m->recomputed && m->slots && m->prepared)
        return m;
    sy_model_destroy(m);
    return NULL;
}

void sy_model_destroy(struct sy_model *m) {
    if (!m)
        return;
    sy_arena_fini(&m->arena);
    free(m->x);
    free(m->recomputed);
    free(m->slots);
    free(m->prepared);
    free(m);
}

void sy_model_measure(const struct sy_model_options *o, struct sy_arena *arena) {
    struct sy_model *m = shell((int)o->model->n_layers);
    if (m)
        lay_out(m, o, arena);
    else
        arena->overflow = 1;
    sy_model_destroy(m);
}

sy_status sy_model_create(const struct sy_model_options *o, struct sy_model **out) {
    struct sy_model *m = shell((int)o->model->n_layers);
    if (!m)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a model of %lld layers", (long long)o->model->n_layers);
    struct sy_arena measure = sy_arena_measure();
    lay_out(m, o, &measure);
    sy_status status = sy_arena_check(&measure, "activations");
    if (status == SY_OK)
        status = sy_arena_init(
            measure.used, "activations (lower training.local_batch_size, or activation_checkpoint.mode = full)", &m->arena);
    if (status == SY_OK) {
        lay_out(m, o, &m->arena);
        status = sy_arena_check(&m->arena, "activations");
    }
    if (status != SY_OK) {
        sy_model_destroy(m);
        return status;
    }
    sy_rope_tables(o->model, rope_dim(o->model), o->seq_len, m->rope_cos, m->rope_sin);
    m->c.w.version = 1;
    *out = m;
    return SY_OK;
}

/* y = BF(a + b) over the batch's rows. */
static void add(const struct sy_layer_ctx *c, struct sy_mat a, struct sy_mat b, struct sy_mat y) {
    c->x->ops->join(c->x, &(struct sy_join){.rows = c->batch.tokens, .d = c->model->dim, .n = 2, .term = {a, b}, .y = y});
}

/* Routes as they were given to a pass, and as it leaves them. */
static void write_taken(const struct sy_model *m, int l) {
    size_t n = (size_t)(m->c.batch.tokens * m->c.moe.config->top_k);
    const struct sy_routes *to = m->c.batch.taken;
    if (!to || m->c.pass == SY_PASS_RECOMPUTE)
        return;
    memcpy(to[l].ids, m->slots[l].moe.ids, n * sizeof *to[l].ids);
    memcpy(to[l].w, m->slots[l].moe.w, n * sizeof *to[l].w);
}

static sy_status moe_fwd(struct sy_model *m, int l, struct sy_model_stats *stats) {
    struct sy_layer_ctx *c = &m->c;
    struct slot *s = &m->slots[l];
    struct sy_moe_weights w = sy_layer_moe_weights(c, &c->w.params->layer[l], &m->prepared[l]);
    struct sy_moe_call call = {.pass = c->pass,
                               .kept = c->kept,
                               .n_sequences = c->batch.sequences,
                               .sequences = {.rounds = 1, .of = &c->batch.sequences},
                               .given = c->batch.given ? &c->batch.given[l] : NULL};
    if (stats) {
        call.counts = stats->counts ? stats->counts + l * c->moe.config->num_experts : NULL;
        call.loss = stats->router_loss;
        call.n_bad = &stats->n_bad_router;
    }
    sy_status status = sy_moe_fwd(&c->moe, &w, &call, s->n2, &s->moe, &m->s.moe, m->s.y);
    if (status != SY_OK)
        return sy_fail_context(status, "layer %d", l);
    write_taken(m, l);
    return SY_OK;
}

/* Recompute ends with what backward reads: the pre-activation. */
static sy_status layer_fwd(struct sy_model *m, int l, struct sy_model_stats *stats) {
    struct sy_layer_ctx *c = &m->c;
    const struct sy_layer_params *p = &c->w.params->layer[l];
    struct slot *s = &m->slots[l];
    int again = c->pass == SY_PASS_RECOMPUTE;
    sy_norm_fwd(c, p->attn_norm, m->x[l], s->n1, s->r1);
    m->attn->fwd(c, p, s->n1, &s->attn, m->s.y);
    add(c, m->x[l], m->s.y, s->x_mid);
    sy_norm_fwd(c, p->ffn_norm, s->x_mid, s->n2, s->r2);
    if (sy_layer_is_moe(c->model, l)) {
        SY_TRY(moe_fwd(m, l, stats));
    } else {
        struct sy_mlp_weights w = sy_ffn_weights(c, p->w13, p->w2);
        sy_mlp_fwd(c->x, c->batch.tokens, &w, s->n2, &s->ffn, &m->s.ffn, again ? (struct sy_mat){0} : m->s.y);
    }
    if (!again)
        add(c, s->x_mid, m->s.y, m->x[l + 1]);
    return SY_OK;
}

static sy_status layer_bwd_inputs(struct sy_model *m, int l, struct sy_mat dy, struct sy_mat dx) {
    struct sy_layer_ctx *c = &m->c;
    const struct sy_layer_params *p = &c->w.params->layer[l];
    struct slot *s = &m->slots[l];
    if (sy_layer_is_moe(c->model, l)) {
        struct sy_moe_weights w = sy_layer_moe_weights(c, p, NULL);
        sy_status status = sy_moe_bwd(&c->moe, &w, c->batch.sequences, s->n2, dy, &s->moe, &m->s.moe, m->s.dn2);
        if (status != SY_OK)
            return sy_fail_context(status, "layer %d", l);
    } else {
        struct sy_mlp_weights w = sy_ffn_weights(c, p->w13, p->w2);
        sy_mlp_bwd(c->x, c->batch.tokens, &w, dy, &s->ffn, &m->s.ffn, m->s.dn2);
    }
    sy_norm_bwd(c, p->ffn_norm, m->s.dn2, s->x_mid, s->r2, m->s.dnorm);
    add(c, dy, m->s.dnorm, m->s.dx_mid);
    m->attn->bwd_inputs(c, p, m->s.dx_mid, &s->attn, &m->s.attn, m->s.dn1);
    sy_norm_bwd(c, p->attn_norm, m->s.dn1, m->x[l], s->r1, m->s.dnorm);
    add(c, m->s.dx_mid, m->s.dnorm, dx);
    return SY_OK;
}

static void layer_bwd_weights(struct sy_model *m, int l, struct sy_mat dy, const struct sy_grad_sink *sink) {
    struct sy_layer_ctx *c = &m->c;
    const struct sy_layer_params *p = &c->w.params->layer[l];
    struct slot *s = &m->slots[l];
    if (sy_layer_is_moe(c->model, l))
        sy_layer_moe_bwd_weights(c, p, sink, s->n2, dy, &s->moe, &m->s.moe);
    else
        sy_ffn_bwd_weights(c, p->w13, p->w2, sink, s->n2, dy, &m->s.ffn);
    sy_norm_weights(c, sink, p->ffn_norm, m->s.dn2, s->x_mid, s->r2);
    m->attn->bwd_weights(c, p, sink, s->n1, m->s.dx_mid, &s->attn, &m->s.attn);
    sy_norm_weights(c, sink, p->attn_norm, m->s.dn1, m->x[l], s->r1);
}

static sy_status recompute(struct sy_model *m, int l) {
    m->c.pass = SY_PASS_RECOMPUTE;
    m->c.kept = m->selective;
    sy_status status = layer_fwd(m, l, NULL);
    m->c.kept = 0;
    if (status == SY_OK && m->log_recompute)
        sy_log_info(m->log, "recomputed layer %d%s", l, m->selective ? ", but attention and dispatch" : "");
    return status;
}

static void embed(struct sy_model *m) {
    struct sy_layer_ctx *c = &m->c;
    c->x->ops->embed_fwd(c->x, &(struct sy_embed_fwd){.tokens = c->batch.tokens,
                                                      .d = c->model->dim,
                                                      .ids = c->batch.ids,
                                                      .w = sy_weight(c, c->w.params->embedding),
                                                      .y = m->x[0]});
}

/* stats of a pass TRAIN; NULL: evaluation. */
static sy_status forward(struct sy_model *m, const struct sy_batch *batch, struct sy_model_stats *stats) {
    m->c.batch = *batch;
    m->c.pass = stats ? SY_PASS_TRAIN : SY_PASS_EVAL;
    embed(m);
    for (int l = 0; l < m->n_layers; l++)
        SY_TRY(layer_fwd(m, l, stats));
    return SY_OK;
}

sy_status sy_model_train(struct sy_model *m, const struct sy_batch *batch, float w, const struct sy_grad_sink *sink,
                         struct sy_model_stats *stats) {
    SY_TRY(forward(m, batch, stats));
    struct sy_mat dy = m->s.dx[0], dx = m->s.dx[1];
    sy_head_loss(&m->c, &m->head, m->x[m->n_layers], w, sink, dy, stats);
    for (int l = m->n_layers - 1; l >= 0; l--) {
        if (m->recomputed[l])
            SY_TRY(recompute(m, l));
        SY_TRY(layer_bwd_inputs(m, l, dy, dx));
        layer_bwd_weights(m, l, dy, sink);
        struct sy_mat swap = dy;
        dy = dx;
        dx = swap;
    }
    sink->embedding(sink->self, m->c.w.params->embedding, batch->ids, dy);
    return SY_OK;
}

sy_status sy_model_eval(struct sy_model *m, const struct sy_batch *batch, struct sy_model_stats *stats) {
    SY_TRY(forward(m, batch, NULL));
    sy_head_loss(&m->c, &m->head, m->x[m->n_layers], 0.0f, NULL, (struct sy_mat){0}, stats);
    return SY_OK;
}

sy_status sy_model_logits(struct sy_model *m, const struct sy_batch *batch, int64_t token, float *logits) {
    SY_TRY(forward(m, batch, NULL));
    sy_head_logits(&m->c, &m->head, m->x[m->n_layers], token, logits);
    return SY_OK;
}

void sy_model_weights_changed(struct sy_model *m) { m->c.w.version++; }

const struct sy_moe_counters *sy_model_counters(const struct sy_model *m) { return &m->counters; }
