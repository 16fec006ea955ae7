/* A stage's memory: what each micro-batch has of its own, from forward to backward, and what layers share
 * because it is rebuilt, or read at once.
 */
#include "model/stage_parts.h"

#include "model/cache.h"

static void take_rebuilt(const struct sy_stage *s, struct sy_arena *a, int dense, int moe,
                         struct sy_layer_act *t) {
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
                       struct sy_layer_act *t) {
    const struct sy_layer_ctx *c = s->o.ctx;
    t->moe.exchange = exchange;
    t->attn.o = sy_take_mat(a, "attention", c->max_tokens, sy_stage_width(s), c->x->dtype);
    t->attn.lse = sy_take_f32(a, "attention", c->max_tokens * c->model->n_heads);
    if (moe)
        sy_moe_take_saved(&c->moe, a, &t->moe);
}

static void take_grad(const struct sy_stage *s, struct sy_arena *a, int dense, int moe,
                      struct sy_layer_grad *g) {
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

/* Activations of one micro-batch: own where they stay from forward to backward; else shared, as they are
 * rebuilt. */
static void take_acts(const struct sy_stage *s, struct sy_arena *a, struct sy_micro_batch *m,
                      const struct sy_layer_act *rebuilt) {
    const struct sy_layer_ctx *c = s->o.ctx;
    for (int l = 0; l < s->o.n_layers; l++) {
        struct sy_layer_act *t = &m->act[l];
        int moe = sy_stage_is_moe(s, l), again = s->recomputed[l] || !s->backward;
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
static void take_forward_only(const struct sy_stage *s, struct sy_arena *a, struct sy_micro_batch *m,
                              const struct sy_layer_act *one) {
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

static void take_grads(const struct sy_stage *s, struct sy_arena *a, struct sy_micro_batch *m,
                       const struct sy_layer_grad *shared, struct sy_mat other) {
    for (int l = 0; l < s->o.n_layers; l++) {
        m->grad[l] = *shared;
        if (l % 2)
            m->grad[l].dx = other; /* a layer reads the gradient that the one above wrote */
        if (s->o.split)
            take_grad(s, a, !sy_stage_is_moe(s, l), sy_stage_is_moe(s, l), &m->grad[l]);
    }
}

void sy_stage_carve(struct sy_stage *s, struct sy_arena *a) {
    const struct sy_layer_ctx *c = s->o.ctx;
    struct sy_stage_kinds k = sy_stage_kinds_of(s);
    struct sy_layer_act act = {0};
    struct sy_layer_grad grad = {0};
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
