/* A stage: its creation, and the calls of micro-batches, layer by layer. See stage.h. */
#include "model/stage_parts.h"

#include <assert.h>
#include <stdlib.h>

#include "model/cache.h"

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
    sy_status status = sy_stage_kinds_of(s).moe ? sy_moe_check_rows(&s->o.ctx->moe) : SY_OK;
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
    return sy_stage_kinds_of(s).moe ? sy_moe_connect(&s->o.ctx->moe, mine, &s->moe) : mine;
}

/* --- micro-batches -------------------------------------------------------------------------------------- */

static struct sy_layer_call begin(struct sy_stage *s, struct sy_micro_batch *m, int l, enum sy_pass pass) {
    const struct sy_layer_ctx *c = s->o.ctx;
    int layer = s->o.first + l;
    return (struct sy_layer_call){.c = c,
                                  .b = &m->batch,
                                  .w = c->weights.acquire(c->weights.self, layer),
                                  .p = &c->params->layer[layer],
                                  .act = &m->act[l],
                                  .l = layer,
                                  .saved = pass == SY_PASS_RECOMPUTE && s->selective,
                                  .pass = pass};
}
static void end(const struct sy_layer_call *k) { k->c->weights.release(k->c->weights.self, k->l); }

/* What a stage without layers does. */
static void pass_on(const struct sy_stage *s, const struct sy_micro_batch *m, struct sy_mat from,
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
    struct sy_micro_batch *m = &s->mb[mb];
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
        struct sy_layer_call k = begin(s, m, l, pass);
        status = sy_stage_layer_fwd(s, &k, m->x[l], m->x[l + 1]);
        end(&k);
    }
    return status;
}

static sy_status recompute(struct sy_stage *s, struct sy_micro_batch *m, int l) {
    struct sy_layer_call k = begin(s, m, l, SY_PASS_RECOMPUTE);
    sy_status status = sy_stage_layer_fwd(s, &k, m->x[l], (struct sy_mat){0});
    end(&k);
    if (status == SY_OK && s->o.recompute->debug)
        sy_log_info(s->o.log, "recomputed layer %d%s", k.l,
                    s->selective ? ", but attention and dispatch" : "");
    return status;
}

/* Layer l's input gradient; the first layer's goes to din. */
static struct sy_mat dx_of(const struct sy_stage *s, const struct sy_micro_batch *m, int l,
                           struct sy_mat din) {
    (void)s;
    return l == 0 && din.data ? din : m->grad[l].dx;
}
static struct sy_mat dy_of(const struct sy_stage *s, const struct sy_micro_batch *m, int l) {
    return l == s->o.n_layers - 1 ? m->dout : m->grad[l + 1].dx;
}

static sy_status bwd(struct sy_stage *s, int mb, struct sy_mat dout, struct sy_mat din,
                     const struct sy_grad_sink *sink) {
    struct sy_micro_batch *m = &s->mb[mb];
    const struct sy_weight_source *w = &s->o.ctx->weights;
    assert(s->backward && mb >= 0 && mb < s->o.pending);
    m->dout = dout;
    pass_on(s, m, dout, din);
    for (int l = s->o.n_layers - 1; l >= 0; l--) {
        if (l > 0)
            w->prefetch(w->self, s->o.first + l - 1);
        if (s->recomputed[l])
            SY_TRY(recompute(s, m, l));
        struct sy_layer_call k = begin(s, m, l, SY_PASS_TRAIN);
        struct sy_mat dy = dy_of(s, m, l);
        sy_status status = sy_stage_layer_bwd_inputs(s, &k, m->x[l], dy, &m->grad[l], dx_of(s, m, l, din));
        if (status == SY_OK && sink)
            sy_stage_layer_bwd_weights(s, &k, m->x[l], dy, &m->grad[l], sink);
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
    struct sy_micro_batch *m = &s->mb[mb];
    assert(s->o.split);
    for (int l = s->o.n_layers - 1; l >= 0; l--) {
        struct sy_layer_call k = begin(s, m, l, SY_PASS_TRAIN);
        sy_stage_layer_bwd_weights(s, &k, m->x[l], dy_of(s, m, l), &m->grad[l], sink);
        end(&k);
    }
}
