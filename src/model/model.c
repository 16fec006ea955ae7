/* The decoder: see model.h. */
#include "model/model.h"

#include <stdlib.h>

#include "model/attn.h"
#include "model/head.h"
#include "model/moe_layer.h"

struct slot { /* what one layer's backward reads */
    struct sy_mat n1, x_mid, n2;
    float *r1, *r2;
    struct sy_attn_act attn;
    struct sy_ffn_act ffn;
    struct sy_moe_act moe;
};

struct scratch { /* one layer's gradients and forward scratch, reused by every layer */
    struct sy_mat y, dn1, dn2, dnorm, dx[2], dx_mid;
    struct sy_attn_grad attn;
    struct sy_ffn_grad ffn;
    struct sy_moe_grad moe;
};

struct kept_routes { /* what the router chose in forward, for the check of recompute */
    int32_t *ids;
    float *w;
};

struct sy_model {
    struct sy_layer_ctx c;
    const struct sy_attn_part *attn;
    struct sy_arena arena;
    const struct sy_log *log;
    int n_layers, backward, check, log_recompute;
    struct sy_mat *x; /* [n_layers + 1] inputs of the layers, then the last output */
    int *recomputed;  /* [n_layers] */
    struct slot **slot_of, *slots;
    struct kept_routes *kept;
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

static void take_slot(struct sy_model *m, struct sy_arena *a, int dense, int moe, struct slot *s) {
    struct sy_layer_ctx *c = &m->c;
    int64_t t = c->max_tokens, d = c->model->dim;
    s->n1 = sy_take_mat(a, "residual stream", t, d, c->x->dtype);
    s->x_mid = sy_take_mat(a, "residual stream", t, d, c->x->dtype);
    s->n2 = sy_take_mat(a, "residual stream", t, d, c->x->dtype);
    s->r1 = sy_take_f32(a, "residual stream", t);
    s->r2 = sy_take_f32(a, "residual stream", t);
    m->attn->take(c, a, &s->attn);
    if (dense)
        sy_ffn_take(c, a, c->model->inter_dim, &s->ffn);
    if (moe)
        sy_moe_take(c, a, &s->moe);
}

static void take_scratch(struct sy_model *m, struct sy_arena *a) {
    struct sy_layer_ctx *c = &m->c;
    int64_t t = c->max_tokens, d = c->model->dim;
    struct sy_mat *mats[] = {&m->s.y, &m->s.dn1, &m->s.dn2, &m->s.dnorm, &m->s.dx[0], &m->s.dx[1], &m->s.dx_mid};
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        *mats[i] = sy_take_mat(a, "gradients of activations", t, d, c->x->dtype);
    m->attn->take_grad(c, a, &m->s.attn);
    if (c->model->n_dense_layers > 0)
        sy_ffn_take_grad(c, a, c->model->inter_dim, &m->s.ffn);
    if (c->model->n_dense_layers < m->n_layers)
        sy_moe_take_grad(c, a, &m->s.moe);
}

/* The slots: one a layer that is not recomputed, one shared by those that are (by all, without backward). */
static void take_slots(struct sy_model *m, const struct sy_model_options *o, struct sy_arena *a) {
    int n = 0, shared = -1, dense = m->c.model->n_dense_layers > 0, moe = m->c.model->n_dense_layers < m->n_layers;
    for (int l = 0; l < m->n_layers; l++) {
        int is_moe = sy_layer_is_moe(m->c.model, l);
        m->recomputed[l] = wants_recompute(o, l);
        if (m->recomputed[l] || !m->backward) {
            if (shared < 0) {
                shared = n++;
                take_slot(m, a, dense, moe, &m->slots[shared]);
            }
            m->slot_of[l] = &m->slots[shared];
        } else {
            m->slot_of[l] = &m->slots[n++];
            take_slot(m, a, !is_moe, is_moe, m->slot_of[l]);
        }
        if (m->recomputed[l] && is_moe && m->check) {
            size_t routes = (size_t)(m->c.max_tokens * m->c.moe->top_k);
            m->kept[l].ids = sy_arena_take(a, "routes", routes, sizeof(int32_t));
            m->kept[l].w = sy_arena_take(a, "routes", routes, sizeof(float));
        }
    }
}

static void lay_out(struct sy_model *m, const struct sy_model_options *o, struct sy_arena *a) {
    struct sy_layer_ctx *c = &m->c;
    m->n_layers = (int)o->model->n_layers;
    m->backward = o->recompute != NULL;
    m->check = o->recompute && o->recompute->determinism_check == SY_DETERMINISM_CHECK_DEFAULT;
    m->log_recompute = o->recompute && o->recompute->debug;
    m->log = o->log;
    m->attn = o->model->attention == SY_ATTENTION_MLA ? &sy_attn_mla : &sy_attn_gqa;
    *c = (struct sy_layer_ctx){.x = o->exec,
                               .groups = o->groups,
                               .model = o->model,
                               .moe = o->moe,
                               .combine_groups = o->combine_groups,
                               .forced_balance = o->forced_balance,
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
    m->slot_of = calloc(n, sizeof(struct slot *));
    m->slots = calloc(n, sizeof *m->slots);
    m->kept = calloc(n, sizeof *m->kept);
    if (m->x && m->recomputed && m->slot_of && m->slots && m->kept)
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
    free(m->slot_of);
    free(m->slots);
    free(m->kept);
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
    *out = m;
    return SY_OK;
}

/* y = BF(a + b) over the batch's rows. */
static void add(const struct sy_layer_ctx *c, struct sy_mat a, struct sy_mat b, struct sy_mat y) {
    c->x->ops->join(c->x, &(struct sy_join){.rows = c->batch.tokens, .d = c->model->dim, .n = 2, .term = {a, b}, .y = y});
}

static sy_status layer_fwd(struct sy_model *m, int l, int64_t *counts) {
    struct sy_layer_ctx *c = &m->c;
    const struct sy_layer_params *p = &c->w.params->layer[l];
    struct slot *s = m->slot_of[l];
    sy_norm_fwd(c, p->attn_norm, m->x[l], s->n1, s->r1);
    m->attn->fwd(c, p, s->n1, &s->attn, m->s.y);
    add(c, m->x[l], m->s.y, s->x_mid);
    sy_norm_fwd(c, p->ffn_norm, s->x_mid, s->n2, s->r2);
    if (sy_layer_is_moe(c->model, l)) {
        sy_status status =
            sy_moe_fwd(c, p, s->n2, &s->moe, &m->s.moe, counts ? counts + l * c->moe->num_experts : NULL, m->s.y);
        if (status != SY_OK)
            return sy_fail_context(status, "layer %d", l);
    } else {
        sy_ffn_fwd(c, p->w13, p->w2, s->n2, &s->ffn, &m->s.ffn, m->s.y);
    }
    add(c, s->x_mid, m->s.y, m->x[l + 1]);
    return SY_OK;
}

static void layer_bwd_inputs(struct sy_model *m, int l, struct sy_mat dy, struct sy_mat dx) {
    struct sy_layer_ctx *c = &m->c;
    const struct sy_layer_params *p = &c->w.params->layer[l];
    struct slot *s = m->slot_of[l];
    if (sy_layer_is_moe(c->model, l))
        sy_moe_bwd_inputs(c, p, s->n2, dy, &s->moe, &m->s.moe, m->s.dn2);
    else
        sy_ffn_bwd_inputs(c, p->w13, p->w2, dy, &s->ffn, &m->s.ffn, m->s.dn2);
    sy_norm_bwd(c, p->ffn_norm, m->s.dn2, s->x_mid, s->r2, m->s.dnorm);
    add(c, dy, m->s.dnorm, m->s.dx_mid);
    m->attn->bwd_inputs(c, p, m->s.dx_mid, &s->attn, &m->s.attn, m->s.dn1);
    sy_norm_bwd(c, p->attn_norm, m->s.dn1, m->x[l], s->r1, m->s.dnorm);
    add(c, m->s.dx_mid, m->s.dnorm, dx);
}

static void layer_bwd_weights(struct sy_model *m, int l, struct sy_mat dy, const struct sy_grad_sink *sink) {
    struct sy_layer_ctx *c = &m->c;
    const struct sy_layer_params *p = &c->w.params->layer[l];
    struct slot *s = m->slot_of[l];
    if (sy_layer_is_moe(c->model, l))
        sy_moe_bwd_weights(c, p, sink, s->n2, dy, &s->moe, &m->s.moe);
    else
        sy_ffn_bwd_weights(c, p->w13, p->w2, sink, s->n2, dy, &m->s.ffn);
    sy_norm_weights(c, sink, p->ffn_norm, m->s.dn2, s->x_mid, s->r2);
    m->attn->bwd_weights(c, p, sink, s->n1, m->s.dx_mid, &s->attn, &m->s.attn);
    sy_norm_weights(c, sink, p->attn_norm, m->s.dn1, m->x[l], s->r1);
}

static void keep_routes(struct sy_model *m, int l) {
    size_t n = (size_t)(m->c.batch.tokens * m->c.moe->top_k);
    if (!m->kept[l].ids)
        return;
    memcpy(m->kept[l].ids, m->slot_of[l]->moe.ids, n * sizeof(int32_t));
    memcpy(m->kept[l].w, m->slot_of[l]->moe.w, n * sizeof(float));
}

static sy_status check_routes(struct sy_model *m, int l) {
    int64_t k = m->c.moe->top_k;
    for (int64_t i = 0; m->kept[l].ids && i < m->c.batch.tokens * k; i++) {
        const struct sy_moe_act *now = &m->slot_of[l]->moe;
        if (m->kept[l].ids[i] != now->ids[i] || memcmp(&m->kept[l].w[i], &now->w[i], sizeof(float)) != 0)
            SY_FAIL(SY_ERR_RUNTIME,
                    "recompute differs from forward in layer %d, token %lld of the batch: expert %d, now %d; memory or "
                    "hardware is faulty, or this is a bug (activation_checkpoint.determinism_check)",
                    l, (long long)(i / k), m->kept[l].ids[i], now->ids[i]);
    }
    return SY_OK;
}

static void embed(struct sy_model *m) {
    struct sy_layer_ctx *c = &m->c;
    c->x->ops->embed_fwd(c->x, &(struct sy_embed_fwd){.tokens = c->batch.tokens,
                                                      .d = c->model->dim,
                                                      .ids = c->batch.ids,
                                                      .w = sy_weight(c, c->w.params->embedding),
                                                      .y = m->x[0]});
}

static sy_status forward(struct sy_model *m, const struct sy_batch *batch, int64_t *counts) {
    m->c.batch = *batch;
    embed(m);
    for (int l = 0; l < m->n_layers; l++) {
        SY_TRY(layer_fwd(m, l, counts));
        keep_routes(m, l);
    }
    return SY_OK;
}

sy_status sy_model_train(struct sy_model *m, const struct sy_batch *batch, float w, const struct sy_grad_sink *sink,
                         struct sy_model_stats *stats) {
    SY_TRY(forward(m, batch, stats->counts));
    struct sy_mat dy = m->s.dx[0], dx = m->s.dx[1];
    sy_head_loss(&m->c, &m->head, m->x[m->n_layers], w, sink, dy, stats);
    for (int l = m->n_layers - 1; l >= 0; l--) {
        if (m->recomputed[l]) {
            SY_TRY(layer_fwd(m, l, NULL));
            SY_TRY(check_routes(m, l));
            if (m->log_recompute)
                sy_log_info(m->log, "recomputed layer %d", l);
        }
        layer_bwd_inputs(m, l, dy, dx);
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
