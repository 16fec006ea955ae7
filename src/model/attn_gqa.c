/* Grouped-query attention: q, k, v = norm(Wq n + bq), norm(Wk n + bk), Wv n + bv; rope on q and k;
 * y = Wo attention(q, k, v) + bo. Biases where the layer has them.
 *
 * qk_norm: none; head, over each head (Qwen3); full, over the whole projection (OLMoE). H query heads, G = kv
 * heads, hd wide.
 */
#include "model/attn.h"
#include "model/cache.h"

static void take(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_attn_act *act) {
    const struct sy_config_model *m = c->model;
    int64_t t = c->max_tokens, dq = m->n_heads * m->head_dim, dkv = m->n_kv_heads * m->head_dim;
    enum sy_dtype dt = c->x->dtype;
    *act = (struct sy_attn_act){0};
    act->q = sy_take_mat(a, "attention", t, dq, dt);
    act->k = sy_take_mat(a, "attention", t, dkv, dt);
    act->v = sy_take_mat(a, "attention", t, dkv, dt);
    if (m->qk_norm == SY_QK_NORM_NONE)
        return;
    int full = m->qk_norm == SY_QK_NORM_FULL;
    act->q_raw = sy_take_mat(a, "attention", t, dq, dt);
    act->k_raw = sy_take_mat(a, "attention", t, dkv, dt);
    act->rq = sy_take_f32(a, "attention", t * (full ? 1 : m->n_heads));
    act->rk = sy_take_f32(a, "attention", t * (full ? 1 : m->n_kv_heads));
}

static void take_grad(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_attn_grad *g) {
    const struct sy_config_model *m = c->model;
    int64_t t = c->max_tokens, dq = m->n_heads * m->head_dim, dkv = m->n_kv_heads * m->head_dim;
    enum sy_dtype dt = c->x->dtype;
    *g = (struct sy_attn_grad){0};
    g->d_o = sy_take_mat(a, "gradients of activations", t, dq, dt);
    g->dq = sy_take_mat(a, "gradients of activations", t, dq, dt);
    g->dk = sy_take_mat(a, "gradients of activations", t, dkv, dt);
    g->dv = sy_take_mat(a, "gradients of activations", t, dkv, dt);
    if (m->qk_norm == SY_QK_NORM_NONE)
        return;
    g->dq_norm = sy_take_mat(a, "gradients of activations", t, dq, dt);
    g->dk_norm = sy_take_mat(a, "gradients of activations", t, dkv, dt);
}

/* The norm of q or of k, its heads as it sees them: one row a token (full), or one a head. */
struct qk_norm {
    int64_t heads, d;
    const float *g;
    struct sy_heads x; /* before it */
    float *r;
};
static struct qk_norm norm_of(const struct sy_config_model *m, int64_t heads, const float *g,
                              struct sy_mat raw, float *r) {
    int full = m->qk_norm == SY_QK_NORM_FULL;
    int64_t d = full ? heads * m->head_dim : m->head_dim;
    return (struct qk_norm){full ? 1 : heads, d, g, sy_heads_of(raw, 0, d), r};
}
static struct qk_norm q_norm(const struct sy_layer_ctx *c, const struct sy_layer_weights *w,
                             const struct sy_attn_act *act) {
    return norm_of(c->model, c->model->n_heads, w->q_norm, act->q_raw, act->rq);
}
static struct qk_norm k_norm(const struct sy_layer_ctx *c, const struct sy_layer_weights *w,
                             const struct sy_attn_act *act) {
    return norm_of(c->model, c->model->n_kv_heads, w->k_norm, act->k_raw, act->rk);
}

static void qk_norm_fwd(const struct sy_layer_ctx *c, int64_t tokens, struct qk_norm n, struct sy_mat y) {
    c->x->ops->rmsnorm_fwd(c->x, &(struct sy_rmsnorm_fwd){.tokens = tokens,
                                                          .heads = n.heads,
                                                          .d = n.d,
                                                          .eps = (float)c->model->norm_eps,
                                                          .x = n.x,
                                                          .g = n.g,
                                                          .y = sy_heads_of(y, 0, n.d),
                                                          .r = n.r});
}

static void qk_norm_bwd(const struct sy_layer_ctx *c, int64_t tokens, struct qk_norm n, struct sy_mat dy,
                        struct sy_mat dx) {
    c->x->ops->rmsnorm_bwd(c->x, &(struct sy_rmsnorm_bwd){.tokens = tokens,
                                                          .heads = n.heads,
                                                          .d = n.d,
                                                          .dy = sy_heads_of(dy, 0, n.d),
                                                          .x = n.x,
                                                          .g = n.g,
                                                          .r = n.r,
                                                          .dx = sy_heads_of(dx, 0, n.d)});
}

static void qk_norm_weights(const struct sy_span *at, const struct sy_grad_sink *sink, int param,
                            struct qk_norm n, struct sy_mat dy) {
    sink->vector(sink->self, at, &(struct sy_sink_vector){param, n.heads, sy_heads_of(dy, 0, n.d), n.x, n.r});
}

static void rope(const struct sy_layer_ctx *c, const struct sy_batch *b, int64_t heads, int backward,
                 struct sy_mat x) {
    const struct sy_config_model *m = c->model;
    c->x->ops->rope(c->x, &(struct sy_rope){.tokens = b->tokens,
                                            .heads = heads,
                                            .d = m->head_dim,
                                            .halves = m->rope == SY_ROPE_HALVES,
                                            .backward = backward,
                                            .position = b->position,
                                            .cos = c->rope_cos,
                                            .sin = c->rope_sin,
                                            .x = sy_heads_of(x, 0, m->head_dim)});
}

static struct sy_attn_widths widths(const struct sy_config_model *m) {
    int64_t hd = m->head_dim;
    return (struct sy_attn_widths){m->n_heads, hd, hd, m->n_kv_heads, hd, m->n_kv_heads, hd};
}

static struct sy_attn_views views_of(const struct sy_config_model *m, const struct sy_attn_act *act) {
    int64_t hd = m->head_dim;
    return (struct sy_attn_views){sy_heads_of(act->q, 0, hd), sy_heads_of(act->k, 0, hd),
                                  sy_heads_of(act->v, 0, hd), sy_heads_of(act->o, 0, hd), act->lse};
}

static struct sy_attention op_of(const struct sy_layer_ctx *c, const struct sy_attn_views *v) {
    const struct sy_config_model *m = c->model;
    struct sy_attention op = {.heads = m->n_heads,
                              .kv_heads = m->n_kv_heads,
                              .dv = m->head_dim,
                              .n_slices = 1,
                              .v = v->v,
                              .scale = (float)c->attention_scale,
                              .c = (float)(c->attention_scale * 0x1.71547652b82fep+0),
                              .window = m->window,
                              .o = v->o,
                              .lse = v->lse};
    op.slice[0] = (struct sy_head_slice){.d = m->head_dim, .q = v->q, .k = v->k};
    return op;
}

static struct sy_attention attention_of(const struct sy_layer_ctx *c, const struct sy_batch *b,
                                        const struct sy_attn_act *act, const struct sy_attn_grad *g) {
    int64_t hd = c->model->head_dim;
    struct sy_attn_views views = views_of(c->model, act);
    struct sy_attention op = op_of(c, &views);
    op.sequences = b->at.n;
    op.seq_len = b->at.seq_len;
    op.doc_start = b->doc_start;
    if (g) {
        op.slice[0].dq = sy_heads_of(g->dq, 0, hd);
        op.slice[0].dk = sy_heads_of(g->dk, 0, hd);
        op.d_o = sy_heads_of(g->d_o, 0, hd);
        op.d_v = sy_heads_of(g->dv, 0, hd);
    }
    return op;
}

static void fwd(const struct sy_layer_ctx *c, const struct sy_attn_call *call, struct sy_mat n,
                const struct sy_attn_act *act, struct sy_mat x, struct sy_mat y) {
    const struct sy_layer_weights *w = call->w;
    int64_t t = call->batch->tokens;
    int normed = c->model->qk_norm != SY_QK_NORM_NONE;
    sy_linear_fwd(c->x, t, &w->wq, w->bq, n, normed ? act->q_raw : act->q);
    sy_linear_fwd(c->x, t, &w->wk, w->bk, n, normed ? act->k_raw : act->k);
    sy_linear_fwd(c->x, t, &w->wv, w->bv, n, act->v);
    if (normed) {
        qk_norm_fwd(c, t, q_norm(c, w, act), act->q);
        qk_norm_fwd(c, t, k_norm(c, w, act), act->k);
    }
    rope(c, call->batch, c->model->n_heads, 0, act->q);
    rope(c, call->batch, c->model->n_kv_heads, 0, act->k);
    struct sy_attention whole = attention_of(c, call->batch, act, NULL);
    sy_attend(c, call, &whole,
              &(struct sy_attend){widths(c->model), views_of(c->model, act), &act->cache, op_of});
    sy_linear_fwd_add(c->x, t, &w->wo, w->bo, act->o, (struct sy_added){x, y});
}

static void bwd_inputs(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
                       const struct sy_attn_back *back, struct sy_mat dn) {
    const struct sy_attn_act *act = back->act;
    const struct sy_attn_grad *g = back->grad;
    const struct sy_layer_weights *w = call->w;
    int64_t t = call->batch->tokens;
    sy_linear_bwd(c->x, t, 1, (struct sy_linear_grad[]){{&w->wo, back->dy}}, g->d_o);
    struct sy_attn_grad at = *g;
    int normed = c->model->qk_norm != SY_QK_NORM_NONE;
    if (normed) {
        at.dq = g->dq_norm;
        at.dk = g->dk_norm;
    }
    struct sy_attention op = attention_of(c, call->batch, act, &at);
    c->x->ops->attention_bwd(c->x, &op);
    rope(c, call->batch, c->model->n_heads, 1, at.dq);
    rope(c, call->batch, c->model->n_kv_heads, 1, at.dk);
    if (normed) {
        qk_norm_bwd(c, t, q_norm(c, w, act), g->dq_norm, g->dq);
        qk_norm_bwd(c, t, k_norm(c, w, act), g->dk_norm, g->dk);
    }
    sy_linear_bwd(c->x, t, 3, (struct sy_linear_grad[]){{&w->wq, g->dq}, {&w->wk, g->dk}, {&w->wv, g->dv}},
                  dn);
}

static void bwd_weights(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
                        const struct sy_attn_back *back, const struct sy_grad_sink *sink) {
    const struct sy_attn_act *act = back->act;
    const struct sy_attn_grad *g = back->grad;
    const struct sy_layer_params *p = call->p;
    const struct sy_span *at = &call->batch->at;
    sink->matrix(sink->self, at, p->wo, back->dy, act->o);
    sink->matrix(sink->self, at, p->wq, g->dq, back->n);
    sink->matrix(sink->self, at, p->wk, g->dk, back->n);
    sink->matrix(sink->self, at, p->wv, g->dv, back->n);
    sy_attn_bias(call, c, sink, p->bo, back->dy);
    sy_attn_bias(call, c, sink, p->bq, g->dq);
    sy_attn_bias(call, c, sink, p->bk, g->dk);
    sy_attn_bias(call, c, sink, p->bv, g->dv);
    if (c->model->qk_norm == SY_QK_NORM_NONE)
        return;
    qk_norm_weights(at, sink, p->q_norm, q_norm(c, call->w, act), g->dq_norm);
    qk_norm_weights(at, sink, p->k_norm, k_norm(c, call->w, act), g->dk_norm);
}

const struct sy_attn_kind sy_attn_gqa = {widths, take, take_grad, fwd, bwd_inputs, bwd_weights};
