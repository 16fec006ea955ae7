/* A stage: see stage.h. */
#include "model/stage.h"

#include <assert.h>
#include <stdlib.h>

#include "model/attn.h"
#include "model/cache.h"
#include "model/ffn_weights.h"
#include "ops/trace.h"

struct act { /* what one layer's backward reads; the halves as in moe/layer.h */
    struct sy_mat n1, x_mid, n2;
    float *r1, *r2;
    struct sy_attn_act attn;
    struct sy_mat ffn_gu;
    struct sy_moe_act moe;
};

struct grad { /* what one layer's weight gradients read */
    struct sy_mat dx, dn1, dn2, dx_mid;
    struct sy_attn_grad attn;
    struct sy_mlp_grad ffn;
    struct sy_moe_grad moe;
};

struct micro_batch {
    struct sy_batch batch;
    struct sy_mat *x;  /* [n_layers + 1] inputs of the layers, then the last output */
    struct act *act;   /* [n_layers] views: own memory, or in part what layers share */
    struct grad *grad; /* [n_layers] the same */
    struct sy_mat dout;
};

struct sy_stage {
    struct sy_stage_options o;
    const struct sy_attn_kind *attn;
    int backward, selective, check;
    int *recomputed;        /* [n_layers] */
    struct micro_batch *mb; /* [pending] */
    /* [pending * n_layers + 1] of each layer and micro-batch; the last is shared */
    struct sy_exchange *exchange;
    struct sy_mat y, ffn_a; /* of one call */
    struct sy_moe_scratch moe;
};

/* Of attention's output. */
static int64_t width_of(const struct sy_stage *s) {
    struct sy_attn_widths w = s->attn->widths(s->o.ctx->model);
    return w.heads * w.o;
}

static int is_moe(const struct sy_stage *s, int l) {
    return sy_layer_is_moe(s->o.ctx->model, s->o.first + l);
}

/* --- memory --------------------------------------------------------------------------------------------- */

static void take_rebuilt(const struct sy_stage *s, struct sy_arena *a, int dense, int moe, struct act *t) {
    const struct sy_layer_ctx *c = s->o.ctx;
    int64_t n = c->max_tokens, d = c->model->dim;
    t->n1 = sy_take_mat(a, "residual stream", n, d, c->x->dtype);
    t->x_mid = sy_take_mat(a, "residual stream", n, d, c->x->dtype);
    t->n2 = sy_take_mat(a, "residual stream", n, d, c->x->dtype);
    t->r1 = sy_take_f32(a, "residual stream", n);
    t->r2 = sy_take_f32(a, "residual stream", n);
    s->attn->take(c, a, &t->attn);
    if (dense)
        t->ffn_gu = sy_take_mat(a, "feed-forward", n, 2 * c->model->inter_dim, c->x->dtype);
    if (moe)
        sy_moe_take_rebuilt(&c->moe, a, &t->moe);
}

static void take_saved(const struct sy_stage *s, struct sy_arena *a, int moe, struct sy_exchange *exchange,
                       struct act *t) {
    const struct sy_layer_ctx *c = s->o.ctx;
    t->moe.exchange = exchange;
    t->attn.o = sy_take_mat(a, "attention", c->max_tokens, width_of(s), c->x->dtype);
    t->attn.lse = sy_take_f32(a, "attention", c->max_tokens * c->model->n_heads);
    if (moe)
        sy_moe_take_saved(&c->moe, a, &t->moe);
}

static void take_grad(const struct sy_stage *s, struct sy_arena *a, int dense, int moe, struct grad *g) {
    const struct sy_layer_ctx *c = s->o.ctx;
    struct sy_mat *mats[] = {&g->dx, &g->dn1, &g->dn2, &g->dx_mid};
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        *mats[i] = sy_take_mat(a, "gradients of activations", c->max_tokens, c->model->dim, c->x->dtype);
    s->attn->take_grad(c, a, &g->attn);
    if (dense)
        sy_mlp_take_grad(a, c->x->dtype, c->max_tokens, c->model->inter_dim, &g->ffn);
    if (moe)
        sy_moe_take_grad(&c->moe, a, &g->moe);
}

struct kinds {
    int dense, moe;
};
static struct kinds kinds_of(const struct sy_stage *s) {
    struct kinds k = {0, 0};
    for (int l = 0; l < s->o.n_layers; l++) {
        k.moe |= is_moe(s, l);
        k.dense |= !is_moe(s, l);
    }
    return k;
}

/* Activations of one micro-batch: own where they stay from forward to backward; else shared, as they are
 * rebuilt. */
static void take_acts(const struct sy_stage *s, struct sy_arena *a, struct micro_batch *m,
                      const struct act *rebuilt) {
    const struct sy_layer_ctx *c = s->o.ctx;
    for (int l = 0; l < s->o.n_layers; l++) {
        struct act *t = &m->act[l];
        int moe = is_moe(s, l), again = s->recomputed[l] || !s->backward;
        *t = *rebuilt;
        if (!again || s->o.split)
            take_rebuilt(s, a, !moe, moe, t);
        if (!again || (s->backward && (s->selective || s->o.split)))
            take_saved(s, a, moe, &s->exchange[(m - s->mb) * s->o.n_layers + l], t);
        if (again && s->backward && s->check && moe)
            sy_moe_take_check(&c->moe, a, &t->moe);
        if (l > 0)
            m->x[l] = sy_take_mat(a, "residual stream", c->max_tokens, c->model->dim, c->x->dtype);
    }
}

static int any_recomputed(const struct sy_stage *s) {
    int any = !s->backward;
    for (int l = 0; l < s->o.n_layers; l++)
        any |= s->recomputed[l];
    return any;
}

/* Without backward the inputs alternate, and all layers share one activation; but for a cache's. */
static void take_forward_only(const struct sy_stage *s, struct sy_arena *a, struct micro_batch *m,
                              const struct act *one) {
    const struct sy_layer_ctx *c = s->o.ctx;
    struct sy_attn_widths w = s->attn->widths(c->model);
    struct sy_attn_cache cache = {0};
    if (c->cache.texts > 0)
        sy_cache_take_shared(c, a, &w, &cache);
    for (int l = 0; l < s->o.n_layers; l++) {
        m->act[l] = *one;
        m->act[l].attn.cache = cache;
        if (c->cache.texts > 0)
            sy_cache_take_layer(c, a, &w, &m->act[l].attn.cache);
        if (l > 0)
            m->x[l] = l < 3 ? sy_take_mat(a, "residual stream", c->max_tokens, c->model->dim, c->x->dtype)
                            : m->x[l - 2];
    }
}

static void take_grads(const struct sy_stage *s, struct sy_arena *a, struct micro_batch *m,
                       const struct grad *shared, struct sy_mat other) {
    for (int l = 0; l < s->o.n_layers; l++) {
        m->grad[l] = *shared;
        if (l % 2)
            m->grad[l].dx = other; /* a layer reads the gradient that the one above wrote */
        if (s->o.split)
            take_grad(s, a, !is_moe(s, l), is_moe(s, l), &m->grad[l]);
    }
}

void sy_stage_carve(struct sy_stage *s, struct sy_arena *a) {
    const struct sy_layer_ctx *c = s->o.ctx;
    struct kinds k = kinds_of(s);
    struct act act = {0};
    struct grad grad = {0};
    struct sy_mat other = {0};
    int shares = any_recomputed(s) && !s->o.split;
    if (shares) {
        take_rebuilt(s, a, k.dense, k.moe, &act);
        if (!s->selective || !s->backward)
            take_saved(s, a, k.moe, &s->exchange[s->o.pending * s->o.n_layers], &act);
    }
    if (s->backward && !s->o.split) {
        take_grad(s, a, k.dense, k.moe, &grad);
        other = sy_take_mat(a, "gradients of activations", c->max_tokens, c->model->dim, c->x->dtype);
    }
    for (int i = 0; i < s->o.pending; i++) {
        if (s->backward)
            take_acts(s, a, &s->mb[i], &act);
        else
            take_forward_only(s, a, &s->mb[i], &act);
        if (s->backward)
            take_grads(s, a, &s->mb[i], &grad, other);
    }
    s->y = sy_take_mat(a, "gradients of activations", c->max_tokens, c->model->dim, c->x->dtype);
    if (k.dense)
        s->ffn_a = sy_take_mat(a, "gradients of activations", c->max_tokens, c->model->inter_dim, SY_F32);
    if (k.moe)
        sy_moe_take_scratch(&c->moe, a, &s->moe);
}

/* --- creation ------------------------------------------------------------------------------------------- */

static int wants_recompute(const struct sy_stage_options *o, int l) {
    if (!o->recompute || o->recompute->mode == SY_AC_NONE)
        return 0;
    return o->recompute->mode == SY_AC_FULL ||
           (o->first + l + 1) % sy_config_selective_every(o->recompute) == 0;
}

static int allocate(struct sy_stage *s) {
    size_t n = (size_t)s->o.n_layers + 1, pending = (size_t)s->o.pending;
    s->recomputed = calloc(n, sizeof *s->recomputed);
    s->mb = calloc(pending, sizeof *s->mb);
    s->exchange = calloc(pending * n + 1, sizeof *s->exchange);
    if (!s->recomputed || !s->mb || !s->exchange)
        return 0;
    for (size_t i = 0; i < pending; i++) {
        s->mb[i].x = calloc(n, sizeof *s->mb[i].x);
        s->mb[i].act = calloc(n, sizeof *s->mb[i].act);
        s->mb[i].grad = calloc(n, sizeof *s->mb[i].grad);
        if (!s->mb[i].x || !s->mb[i].act || !s->mb[i].grad)
            return 0;
    }
    return 1;
}

/* What the host remembers of exchanges over ranks. */
static sy_status make_exchanges(struct sy_stage *s) {
    sy_status status = kinds_of(s).moe ? sy_moe_check_rows(&s->o.ctx->moe) : SY_OK;
    if (status == SY_OK)
        status = sy_moe_scratch_init(&s->o.ctx->moe, &s->moe);
    for (int i = 0; status == SY_OK && i <= s->o.pending * s->o.n_layers; i++)
        status = sy_moe_exchange_init(&s->o.ctx->moe, &s->exchange[i]);
    return status;
}

sy_status sy_stage_create(const struct sy_stage_options *o, struct sy_stage **out) {
    struct sy_stage *s = calloc(1, sizeof *s);
    if (s)
        s->o = *o;
    if (!s || !allocate(s)) {
        sy_stage_destroy(s);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a model of %d layers", o->n_layers);
    }
    s->attn = sy_attn_kind_of(o->ctx->model);
    s->backward = o->recompute != NULL;
    s->o.split = o->split && s->backward;
    s->check = s->backward && o->recompute->determinism_check == SY_DETERMINISM_CHECK_DEFAULT;
    s->selective = s->backward && o->recompute->mode == SY_AC_SELECTIVE;
    for (int l = 0; l < o->n_layers; l++)
        s->recomputed[l] = wants_recompute(o, l);
    sy_status status = make_exchanges(s);
    if (status != SY_OK) {
        sy_stage_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

void sy_stage_destroy(struct sy_stage *s) {
    if (!s)
        return;
    for (int i = 0; s->mb && i < s->o.pending; i++) {
        free(s->mb[i].x);
        free(s->mb[i].act);
        free(s->mb[i].grad);
    }
    for (int i = 0; s->exchange && i <= s->o.pending * s->o.n_layers; i++)
        sy_exchange_fini(&s->exchange[i]);
    sy_moe_scratch_fini(&s->moe);
    free(s->exchange);
    free(s->mb);
    free(s->recomputed);
    free(s);
}

void sy_stage_copy_slot(const struct sy_stage *s, int from, int to, int64_t n) {
    struct sy_attn_widths w = s->attn->widths(s->o.ctx->model);
    for (int l = 0; l < s->o.n_layers; l++)
        sy_cache_copy(s->o.ctx, &w, &s->mb[0].act[l].attn.cache, from, to, n);
}

sy_status sy_stage_connect(struct sy_stage *s, sy_status mine) {
    return kinds_of(s).moe ? sy_moe_connect(&s->o.ctx->moe, mine, &s->moe) : mine;
}

/* --- a layer -------------------------------------------------------------------------------------------- */

struct call { /* one layer of one micro-batch, while it is computed */
    const struct sy_layer_ctx *c;
    const struct sy_batch *b;
    const struct sy_layer_weights *w;
    const struct sy_layer_params *p;
    struct act *act;
    int l, saved; /* l: of the model */
    enum sy_pass pass;
};

static struct call begin(struct sy_stage *s, struct micro_batch *m, int l, enum sy_pass pass) {
    const struct sy_layer_ctx *c = s->o.ctx;
    int layer = s->o.first + l;
    return (struct call){.c = c,
                         .b = &m->batch,
                         .w = c->weights.acquire(c->weights.self, layer),
                         .p = &c->params->layer[layer],
                         .act = &m->act[l],
                         .l = layer,
                         .saved = pass == SY_PASS_RECOMPUTE && s->selective,
                         .pass = pass};
}
static void end(const struct call *k) { k->c->weights.release(k->c->weights.self, k->l); }

static struct sy_attn_call attn_call(const struct call *k) {
    return (struct sy_attn_call){k->b, k->w, k->p, k->saved};
}

/* y = BF(a + b) over the batch's rows. */
static void add(const struct call *k, struct sy_mat a, struct sy_mat b, struct sy_mat y) {
    const struct sy_exec *x = k->c->x;
    x->ops->join(
        x, &(struct sy_join){.rows = k->b->tokens, .d = k->c->model->dim, .n = 2, .term = {a, b}, .y = y});
}

/* The routes as this pass leaves them. */
static void write_taken(const struct call *k) {
    const struct sy_exec *x = k->c->x;
    int64_t bytes = k->b->tokens * k->c->moe.config->top_k * 4;
    const struct sy_routes *to = k->b->taken;
    if (!to || k->pass == SY_PASS_RECOMPUTE)
        return;
    x->ops->copy(x,
                 &(struct sy_copy){.rows = 1, .bytes = bytes, .from = k->act->moe.ids, .to = to[k->l].ids});
    x->ops->copy(x, &(struct sy_copy){.rows = 1, .bytes = bytes, .from = k->act->moe.w, .to = to[k->l].w});
}

static struct sy_sequences sequences_of(const struct sy_batch *b) {
    const struct sy_group_batch *g = b->group;
    return g ? (struct sy_sequences){g->rounds, g->of, 1} : (struct sy_sequences){1, &b->at.n, 0};
}

/* Shows a value of the pass to whoever looks. */
static void show(const struct call *k, const char *what, struct sy_mat x, int64_t d) {
    const struct sy_trace *t = k->c->x->trace;
    const struct sy_span *at = &k->b->at;
    if (t && k->pass == SY_PASS_TRAIN && x.data)
        t->rows(t->self, &(struct sy_trace_rows){what, k->l, at->first, at->n, at->seq_len, d, x});
}

/* Of the exchanges of a layer's rows, too. */
static sy_status at_layer(sy_status status, const struct call *k) {
    return status == SY_OK ? SY_OK : sy_fail_context(status, "layer %d", k->l);
}

static sy_status moe_fwd(struct sy_stage *s, const struct call *k) {
    const struct sy_layer_ctx *c = k->c;
    struct sy_moe_call call = {.pass = k->pass,
                               .saved = k->saved,
                               .n_sequences = k->b->at.n,
                               .seq_len = k->b->at.seq_len,
                               .sequences = sequences_of(k->b),
                               .place = k->b->sequence,
                               .layer = k->l,
                               .layers = c->model->n_layers,
                               .given = k->b->given ? &k->b->given[k->l] : NULL,
                               .counts = c->counts ? c->counts + k->l * c->moe.config->num_experts : NULL,
                               .tally = c->tally};
    SY_TRY(at_layer(sy_moe_fwd(&c->moe, &k->w->moe, &call,
                               &(struct sy_moe_memory){&k->act->moe, NULL, &s->moe}, k->act->n2, s->y),
                    k));
    write_taken(k);
    return SY_OK;
}

/* Recompute ends with what backward reads: the pre-activation. */
static sy_status layer_fwd(struct sy_stage *s, const struct call *k, struct sy_mat x, struct sy_mat y) {
    const struct sy_layer_ctx *c = k->c;
    struct act *t = k->act;
    struct sy_attn_call attn = attn_call(k);
    int64_t d = c->model->dim, tokens = k->b->tokens;
    int again = k->pass == SY_PASS_RECOMPUTE;
    double eps = c->model->norm_eps;
    show(k, "input", x, d);
    sy_norm_fwd(c, eps, tokens, &(struct sy_row_norm){d, k->w->attn_norm, x, t->r1}, t->n1);
    show(k, "norm before attention", t->n1, d);
    s->attn->fwd(c, &attn, t->n1, &t->attn, x, t->x_mid);
    show(k, "attention", t->attn.o, width_of(s));
    show(k, "input + attention", t->x_mid, d);
    sy_norm_fwd(c, eps, tokens, &(struct sy_row_norm){d, k->w->ffn_norm, t->x_mid, t->r2}, t->n2);
    show(k, "norm before feed-forward", t->n2, d);
    if (!sy_layer_is_moe(c->model, k->l)) {
        sy_mlp_fwd(c->x, &k->w->ffn,
                   &(struct sy_mlp_fwd){.rows = sy_rows_dense(1, tokens),
                                        .in = t->n2,
                                        .gu = t->ffn_gu,
                                        .scratch = s->ffn_a,
                                        .residual = t->x_mid,
                                        .y = again ? (struct sy_mat){0} : y});
        show(k, "output", y, d);
        return SY_OK;
    }
    SY_TRY(moe_fwd(s, k));
    show(k, "experts", s->y, d);
    if (!again)
        add(k, t->x_mid, s->y, y);
    show(k, "output", y, d);
    return SY_OK;
}

static sy_status layer_bwd_inputs(struct sy_stage *s, const struct call *k, struct sy_mat x, struct sy_mat dy,
                                  const struct grad *g, struct sy_mat dx) {
    const struct sy_layer_ctx *c = k->c;
    struct act *t = k->act;
    struct sy_attn_call attn = attn_call(k);
    int64_t d = c->model->dim, tokens = k->b->tokens;
    show(k, "gradient of output", dy, d);
    if (sy_layer_is_moe(c->model, k->l))
        SY_TRY(at_layer(sy_moe_bwd(&c->moe, &k->w->moe, &(struct sy_moe_memory){&t->moe, &g->moe, &s->moe},
                                   t->n2, dy, g->dn2),
                        k));
    else
        sy_mlp_bwd(c->x, &k->w->ffn,
                   &(struct sy_mlp_bwd){.rows = sy_rows_dense(1, tokens),
                                        .dy = dy,
                                        .gu = t->ffn_gu,
                                        .scratch = s->ffn_a,
                                        .grad = &g->ffn,
                                        .dx = g->dn2});
    sy_norm_bwd(c, tokens, &(struct sy_row_norm){d, k->w->ffn_norm, t->x_mid, t->r2}, g->dn2, dy, g->dx_mid);
    show(k, "gradient of feed-forward's input", g->dn2, d);
    show(k, "gradient of input + attention", g->dx_mid, d);
    s->attn->bwd_inputs(c, &attn, &(struct sy_attn_back){t->n1, g->dx_mid, &t->attn, &g->attn}, g->dn1);
    sy_norm_bwd(c, tokens, &(struct sy_row_norm){d, k->w->attn_norm, x, t->r1}, g->dn1, g->dx_mid, dx);
    show(k, "gradient of attention's input", g->dn1, d);
    show(k, "gradient of input", dx, d);
    return SY_OK;
}

/* --- weight gradients ----------------------------------------------------------------------------------- */

static void layer_bwd_weights(struct sy_stage *s, const struct call *k, struct sy_mat x, struct sy_mat dy,
                              const struct grad *g, const struct sy_grad_sink *sink) {
    const struct act *t = k->act;
    struct sy_attn_call attn = attn_call(k);
    struct sy_row_norm norm1 = {.d = k->c->model->dim, .x = x, .r = t->r1};
    struct sy_row_norm norm2 = {.d = k->c->model->dim, .x = t->x_mid, .r = t->r2};
    if (sy_layer_is_moe(k->c->model, k->l))
        sy_moe_hand(sink, &k->b->at,
                    &(struct sy_moe_handed){.env = &k->c->moe,
                                            .layer = k->l,
                                            .params = k->p,
                                            .n = t->n2,
                                            .dy = dy,
                                            .act = &t->moe,
                                            .grad = &g->moe,
                                            .source = k->b->group ? k->b->group->source : NULL,
                                            .n_sources = k->b->group ? k->b->group->n_sources : 0});
    else
        sy_mlp_hand(sink, &k->b->at, &(struct sy_mlp_handed){k->p->w13, k->p->w2, t->n2, dy, &g->ffn});
    sy_norm_weights(k->b, sink, k->p->ffn_norm, &norm2, g->dn2);
    s->attn->bwd_weights(k->c, &attn, &(struct sy_attn_back){t->n1, g->dx_mid, &t->attn, &g->attn}, sink);
    sy_norm_weights(k->b, sink, k->p->attn_norm, &norm1, g->dn1);
    sink->flush(sink->self);
}

/* --- micro-batches -------------------------------------------------------------------------------------- */

/* What a stage without layers does. */
static void pass_on(const struct sy_stage *s, const struct micro_batch *m, struct sy_mat from,
                    struct sy_mat to) {
    const struct sy_layer_ctx *c = s->o.ctx;
    int64_t bytes = c->model->dim * (int64_t)sy_dtype_bytes(c->x->dtype);
    if (s->o.n_layers == 0 && to.data)
        c->x->ops->copy(c->x, &(struct sy_copy){.rows = m->batch.tokens,
                                                .bytes = bytes,
                                                .from = from.data,
                                                .from_row = bytes,
                                                .to = to.data,
                                                .to_row = bytes});
}

sy_status sy_stage_fwd(struct sy_stage *s, int mb, const struct sy_batch *batch, enum sy_pass pass,
                       struct sy_mat in, struct sy_mat out) {
    struct micro_batch *m = &s->mb[mb];
    const struct sy_weight_source *w = &s->o.ctx->weights;
    sy_status status = SY_OK;
    assert(mb >= 0 && mb < s->o.pending && batch->tokens <= s->o.ctx->max_tokens);
    m->batch = *batch;
    m->x[0] = in;
    m->x[s->o.n_layers] = out;
    pass_on(s, m, in, out);
    for (int l = 0; l < s->o.n_layers && status == SY_OK; l++) {
        if (l + 1 < s->o.n_layers)
            w->prefetch(w->self, s->o.first + l + 1);
        struct call k = begin(s, m, l, pass);
        status = layer_fwd(s, &k, m->x[l], m->x[l + 1]);
        end(&k);
    }
    return status;
}

static sy_status recompute(struct sy_stage *s, struct micro_batch *m, int l) {
    struct call k = begin(s, m, l, SY_PASS_RECOMPUTE);
    sy_status status = layer_fwd(s, &k, m->x[l], (struct sy_mat){0});
    end(&k);
    if (status == SY_OK && s->o.recompute->debug)
        sy_log_info(s->o.log, "recomputed layer %d%s", k.l,
                    s->selective ? ", but attention and dispatch" : "");
    return status;
}

/* Layer l's input gradient; the first layer's goes to din. */
static struct sy_mat dx_of(const struct sy_stage *s, const struct micro_batch *m, int l, struct sy_mat din) {
    (void)s;
    return l == 0 && din.data ? din : m->grad[l].dx;
}
static struct sy_mat dy_of(const struct sy_stage *s, const struct micro_batch *m, int l) {
    return l == s->o.n_layers - 1 ? m->dout : m->grad[l + 1].dx;
}

static sy_status bwd(struct sy_stage *s, int mb, struct sy_mat dout, struct sy_mat din,
                     const struct sy_grad_sink *sink) {
    struct micro_batch *m = &s->mb[mb];
    const struct sy_weight_source *w = &s->o.ctx->weights;
    assert(s->backward && mb >= 0 && mb < s->o.pending);
    m->dout = dout;
    pass_on(s, m, dout, din);
    for (int l = s->o.n_layers - 1; l >= 0; l--) {
        if (l > 0)
            w->prefetch(w->self, s->o.first + l - 1);
        if (s->recomputed[l])
            SY_TRY(recompute(s, m, l));
        struct call k = begin(s, m, l, SY_PASS_TRAIN);
        struct sy_mat dy = dy_of(s, m, l);
        sy_status status = layer_bwd_inputs(s, &k, m->x[l], dy, &m->grad[l], dx_of(s, m, l, din));
        if (status == SY_OK && sink)
            layer_bwd_weights(s, &k, m->x[l], dy, &m->grad[l], sink);
        end(&k);
        SY_TRY(status);
    }
    return SY_OK;
}

static void pass_by(const struct sy_weight_source *w, int layer) {
    w->acquire(w->self, layer);
    w->release(w->self, layer);
}

void sy_stage_idle(struct sy_stage *s, enum sy_stage_call call) {
    const struct sy_weight_source *w = &s->o.ctx->weights;
    int n = s->o.n_layers, forward = call == SY_STAGE_FWD;
    for (int i = 0; i < n; i++) {
        int l = s->o.first + (forward ? i : n - 1 - i), next = forward ? l + 1 : l - 1;
        if (i + 1 < n && call != SY_STAGE_BWD_WEIGHTS)
            w->prefetch(w->self, next);
        pass_by(w, l);
    }
}

sy_status sy_stage_bwd(struct sy_stage *s, int mb, struct sy_mat dout, struct sy_mat din,
                       const struct sy_grad_sink *sink) {
    return bwd(s, mb, dout, din, sink);
}

sy_status sy_stage_bwd_inputs(struct sy_stage *s, int mb, struct sy_mat dout, struct sy_mat din) {
    assert(s->o.split);
    return bwd(s, mb, dout, din, NULL);
}

void sy_stage_bwd_weights(struct sy_stage *s, int mb, const struct sy_grad_sink *sink) {
    struct micro_batch *m = &s->mb[mb];
    assert(s->o.split);
    for (int l = s->o.n_layers - 1; l >= 0; l--) {
        struct call k = begin(s, m, l, SY_PASS_TRAIN);
        layer_bwd_weights(s, &k, m->x[l], dy_of(s, m, l), &m->grad[l], sink);
        end(&k);
    }
}
