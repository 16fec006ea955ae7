/* Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1):
 *
 *     q = Wq n, or Wqb norm(Wqa n + bqa);  (c, k_pe) = Wkva n + bkva;  (k_nope, v) = Wkvb norm(c)
 *     rope on q_pe and on the one k_pe
 *     s = CHAIN over (nope, then rope);  y = Wo attention + bo
 *
 * q [T, H (nope | rope)], kva [T, kv_lora | rope], kv [T, H (nope | v)]. k_pe is rotated in place in kva: its
 * norm reads the other columns. The norms of Wqa n and of c have eps 1e-6 whatever model.norm_eps is, as
 * DeepSeek's do. Backward: the heads' gradients of the shared k_pe, one BF each, are added ascending in fp32,
 * one BF.
 */
#include "model/attn.h"
#include "model/cache.h"

static const double latent_eps = 1e-6;

struct dims {
    int64_t h, nope, rope, qk, v, kv_lora, q_lora;
};

static struct dims dims_of(const struct sy_config_model *m) {
    return (struct dims){
        m->n_heads,    m->qk_nope_head_dim, m->qk_rope_head_dim, m->qk_nope_head_dim + m->qk_rope_head_dim,
        m->v_head_dim, m->kv_lora_rank,     m->q_lora_rank};
}

static void take(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_attn_act *act) {
    struct dims d = dims_of(c->model);
    int64_t t = c->max_tokens;
    enum sy_dtype dt = c->x->dtype;
    *act = (struct sy_attn_act){0};
    if (d.q_lora > 0) {
        act->qa = sy_take_mat(a, "attention", t, d.q_lora, dt);
        act->qan = sy_take_mat(a, "attention", t, d.q_lora, dt);
        act->r_qa = sy_take_f32(a, "attention", t);
    }
    act->q = sy_take_mat(a, "attention", t, d.h * d.qk, dt);
    act->kvn = sy_take_mat(a, "attention", t, d.kv_lora, dt);
    act->r_kva = sy_take_f32(a, "attention", t);
    act->kva = sy_take_mat(a, "attention", t, d.kv_lora + d.rope, dt);
    act->kv = sy_take_mat(a, "attention", t, d.h * (d.nope + d.v), dt);
}

static void take_grad(const struct sy_layer_ctx *c, struct sy_arena *a, struct sy_attn_grad *g) {
    struct dims d = dims_of(c->model);
    int64_t t = c->max_tokens;
    enum sy_dtype dt = c->x->dtype;
    *g = (struct sy_attn_grad){0};
    g->d_o = sy_take_mat(a, "gradients of activations", t, d.h * d.v, dt);
    g->dq = sy_take_mat(a, "gradients of activations", t, d.h * d.qk, dt);
    g->dkv = sy_take_mat(a, "gradients of activations", t, d.h * (d.nope + d.v), dt);
    g->dk_rope = sy_take_mat(a, "gradients of activations", t, d.h * d.rope, dt);
    g->dkva = sy_take_mat(a, "gradients of activations", t, d.kv_lora + d.rope, dt);
    g->dkvn = sy_take_mat(a, "gradients of activations", t, d.kv_lora, dt);
    if (d.q_lora > 0) {
        g->dqa = sy_take_mat(a, "gradients of activations", t, d.q_lora, dt);
        g->dqan = sy_take_mat(a, "gradients of activations", t, d.q_lora, dt);
    }
}

static void rope(const struct sy_layer_ctx *c, const struct sy_batch *b, int64_t heads, int backward,
                 struct sy_heads x) {
    c->x->ops->rope(c->x, &(struct sy_rope){.tokens = b->tokens,
                                            .heads = heads,
                                            .d = c->model->qk_rope_head_dim,
                                            .halves = c->model->rope == SY_ROPE_HALVES,
                                            .backward = backward,
                                            .position = b->position,
                                            .cos = c->rope_cos,
                                            .sin = c->rope_sin,
                                            .x = x});
}

/* Keys and values as attention reads them, not the latent c that they are made from: making all of them again
 * would be most of a token's work. */
static struct sy_attn_widths widths(const struct sy_config_model *m) {
    struct dims d = dims_of(m);
    return (struct sy_attn_widths){d.h, d.qk, d.v, d.h, d.nope + d.v, 1, d.rope};
}

static struct sy_attn_views views_of(const struct sy_config_model *m, const struct sy_attn_act *act) {
    struct dims d = dims_of(m);
    return (struct sy_attn_views){sy_heads_of(act->q, 0, d.qk), sy_heads_of(act->kv, 0, d.nope + d.v),
                                  sy_heads_of(act->kva, d.kv_lora, 0), sy_heads_of(act->o, 0, d.v), act->lse};
}

/* Of each head the values behind its first n. */
static struct sy_heads behind(struct sy_heads h, int64_t n) {
    h.data = sy_at(h.data, h.dtype, n);
    return h;
}

static struct sy_attention op_of(const struct sy_layer_ctx *c, const struct sy_attn_views *v) {
    struct dims d = dims_of(c->model);
    struct sy_attention op = {.heads = d.h,
                              .kv_heads = d.h,
                              .dv = d.v,
                              .n_slices = 2,
                              .v = behind(v->k, d.nope),
                              .scale = (float)c->attention_scale,
                              .c = (float)(c->attention_scale * 0x1.71547652b82fep+0),
                              .window = c->model->window,
                              .o = v->o,
                              .lse = v->lse};
    op.slice[0] = (struct sy_head_slice){.d = d.nope, .q = v->q, .k = v->k};
    op.slice[1] = (struct sy_head_slice){.d = d.rope, .q = behind(v->q, d.nope), .k = v->v};
    return op;
}

static struct sy_attention attention_of(const struct sy_layer_ctx *c, const struct sy_batch *b,
                                        const struct sy_attn_act *act, const struct sy_attn_grad *g) {
    struct dims d = dims_of(c->model);
    struct sy_attn_views views = views_of(c->model, act);
    struct sy_attention op = op_of(c, &views);
    op.sequences = b->at.n;
    op.seq_len = b->at.seq_len;
    op.doc_start = b->doc_start;
    if (g) {
        op.slice[0].dq = sy_heads_of(g->dq, 0, d.qk);
        op.slice[0].dk = sy_heads_of(g->dkv, 0, d.nope + d.v);
        op.slice[1].dq = sy_heads_of(g->dq, d.nope, d.qk);
        op.slice[1].dk = sy_heads_of(g->dk_rope, 0, d.rope);
        op.d_o = sy_heads_of(g->d_o, 0, d.v);
        op.d_v = sy_heads_of(g->dkv, d.nope, d.nope + d.v);
    }
    return op;
}

static void fwd(const struct sy_layer_ctx *c, const struct sy_attn_call *call, struct sy_mat n,
                const struct sy_attn_act *act, struct sy_mat x, struct sy_mat y) {
    const struct sy_layer_weights *w = call->w;
    int64_t t = call->batch->tokens;
    struct dims d = dims_of(c->model);
    if (d.q_lora > 0) {
        sy_linear_fwd(c->x, t, &w->wqa, w->bqa, n, act->qa);
        struct sy_row_norm norm = {d.q_lora, w->qa_norm, act->qa, act->r_qa};
        sy_norm_fwd(c, latent_eps, t, &norm, act->qan);
        sy_linear_fwd(c->x, t, &w->wqb, NULL, act->qan, act->q);
    } else {
        sy_linear_fwd(c->x, t, &w->wq, NULL, n, act->q);
    }
    sy_linear_fwd(c->x, t, &w->wkva, w->bkva, n, act->kva);
    struct sy_row_norm norm = {d.kv_lora, w->kva_norm, act->kva, act->r_kva};
    sy_norm_fwd(c, latent_eps, t, &norm, act->kvn);
    sy_linear_fwd(c->x, t, &w->wkvb, NULL, act->kvn, act->kv);
    rope(c, call->batch, d.h, 0, sy_heads_of(act->q, d.nope, d.qk));
    rope(c, call->batch, 1, 0, sy_heads_of(act->kva, d.kv_lora, 0));
    struct sy_attention whole = attention_of(c, call->batch, act, NULL);
    sy_attend(c, call, &whole,
              &(struct sy_attend){widths(c->model), views_of(c->model, act), &act->cache, op_of});
    sy_linear_fwd_add(c->x, t, &w->wo, w->bo, act->o, (struct sy_added){x, y});
}

/* dkva's rope columns = BF of the heads' dk_rope added ascending in fp32: a head_sum over H heads. */
static void join_rope_keys(const struct sy_layer_ctx *c, int64_t tokens, struct dims d,
                           const struct sy_attn_grad *g) {
    c->x->ops->head_sum(c->x, &(struct sy_head_sum){.tokens = tokens,
                                                    .heads = d.h,
                                                    .d = d.rope,
                                                    .x = sy_heads_of(g->dk_rope, 0, d.rope),
                                                    .y = sy_heads_of(g->dkva, d.kv_lora, 0)});
}

static void bwd_inputs(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
                       const struct sy_attn_back *back, struct sy_mat dn) {
    const struct sy_attn_act *act = back->act;
    const struct sy_attn_grad *g = back->grad;
    const struct sy_layer_weights *w = call->w;
    int64_t t = call->batch->tokens;
    struct dims d = dims_of(c->model);
    sy_linear_bwd(c->x, t, 1, (struct sy_linear_grad[]){{&w->wo, back->dy}}, g->d_o);
    struct sy_attention op = attention_of(c, call->batch, act, g);
    c->x->ops->attention_bwd(c->x, &op);
    rope(c, call->batch, d.h, 1, sy_heads_of(g->dq, d.nope, d.qk));
    join_rope_keys(c, t, d, g);
    rope(c, call->batch, 1, 1, sy_heads_of(g->dkva, d.kv_lora, 0));
    sy_linear_bwd(c->x, t, 1, (struct sy_linear_grad[]){{&w->wkvb, g->dkv}}, g->dkvn);
    sy_norm_bwd(c, t, &(struct sy_row_norm){d.kv_lora, w->kva_norm, act->kva, act->r_kva}, g->dkvn,
                (struct sy_mat){0}, g->dkva);
    struct sy_linear_grad maps[2] = {{&w->wq, g->dq}, {&w->wkva, g->dkva}};
    if (d.q_lora > 0) {
        sy_linear_bwd(c->x, t, 1, (struct sy_linear_grad[]){{&w->wqb, g->dq}}, g->dqan);
        sy_norm_bwd(c, t, &(struct sy_row_norm){d.q_lora, w->qa_norm, act->qa, act->r_qa}, g->dqan,
                    (struct sy_mat){0}, g->dqa);
        maps[0] = (struct sy_linear_grad){&w->wqa, g->dqa};
    }
    sy_linear_bwd(c->x, t, 2, maps, dn);
}

static void bwd_weights(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
                        const struct sy_attn_back *back, const struct sy_grad_sink *sink) {
    const struct sy_attn_act *act = back->act;
    const struct sy_attn_grad *g = back->grad;
    const struct sy_layer_params *p = call->p;
    const struct sy_span *at = &call->batch->at;
    struct sy_row_norm kva = {.d = c->model->kv_lora_rank, .x = act->kva, .r = act->r_kva};
    struct sy_row_norm qa = {.d = c->model->q_lora_rank, .x = act->qa, .r = act->r_qa};
    sink->matrix(sink->self, at, p->wo, back->dy, act->o);
    sy_attn_bias(call, c, sink, p->bo, back->dy);
    sink->matrix(sink->self, at, p->wkvb, g->dkv, act->kvn);
    sy_norm_weights(call->batch, sink, p->kva_norm, &kva, g->dkvn);
    sink->matrix(sink->self, at, p->wkva, g->dkva, back->n);
    sy_attn_bias(call, c, sink, p->bkva, g->dkva);
    if (c->model->q_lora_rank > 0) {
        sink->matrix(sink->self, at, p->wqb, g->dq, act->qan);
        sy_norm_weights(call->batch, sink, p->qa_norm, &qa, g->dqan);
        sink->matrix(sink->self, at, p->wqa, g->dqa, back->n);
        sy_attn_bias(call, c, sink, p->bqa, g->dqa);
    } else {
        sink->matrix(sink->self, at, p->wq, g->dq, back->n);
    }
}

const struct sy_attn_kind sy_attn_mla = {widths, take, take_grad, fwd, bwd_inputs, bwd_weights};
