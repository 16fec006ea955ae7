/* Keys and values of texts: see cache.h. */
#include "model/cache.h"

static struct sy_mat take(const struct sy_layer_ctx *c, struct sy_arena *a, int64_t rows, int64_t width) {
    return sy_take_mat(a, "keys and values", rows, width, c->x->dtype);
}

void sy_cache_take_shared(const struct sy_layer_ctx *c, struct sy_arena *a, const struct sy_attn_widths *w,
                          struct sy_attn_cache *cache) {
    int64_t tokens = c->cache.texts * c->cache.tokens;
    cache->q = take(c, a, tokens, w->heads * w->q);
    cache->o = take(c, a, tokens, w->heads * w->o);
    cache->lse = sy_take_f32(a, "keys and values", tokens * w->heads);
}

void sy_cache_take_layer(const struct sy_layer_ctx *c, struct sy_arena *a, const struct sy_attn_widths *w,
                         struct sy_attn_cache *cache) {
    cache->k = take(c, a, c->cache.texts * w->k_heads * c->cache.tokens, w->k);
    cache->v = take(c, a, c->cache.texts * w->v_heads * c->cache.tokens, w->v);
}

/* --- views ---------------------------------------------------------------------------------------------- */

static struct sy_heads from_token(struct sy_heads v, int64_t t) {
    v.data = sy_at(v.data, v.dtype, t * v.token);
    return v;
}

/* Views from a token on. */
static struct sy_attn_views views_from(const struct sy_attn_views *v, const struct sy_attn_widths *w,
                                       int64_t t) {
    return (struct sy_attn_views){from_token(v->q, t), from_token(v->k, t), from_token(v->v, t),
                                  from_token(v->o, t), v->lse + t * w->heads};
}

static struct sy_heads slot_heads(const struct sy_layer_ctx *c, struct sy_mat m, int64_t heads, int64_t d,
                                  int slot) {
    int64_t one = c->cache.tokens * d;
    return (struct sy_heads){sy_at(m.data, m.dtype, slot * heads * one), m.dtype, d, heads > 1 ? one : 0};
}

static struct sy_attn_views slot_views(const struct sy_layer_ctx *c, const struct sy_attn_widths *w,
                                       const struct sy_attn_cache *m, int slot) {
    int64_t first = slot * c->cache.tokens;
    return (struct sy_attn_views){sy_heads_of(sy_mat_rows(m->q, first), 0, w->q),
                                  slot_heads(c, m->k, w->k_heads, w->k, slot),
                                  slot_heads(c, m->v, w->v_heads, w->v, slot),
                                  sy_heads_of(sy_mat_rows(m->o, first), 0, w->o), m->lse + first * w->heads};
}

/* --- copies --------------------------------------------------------------------------------------------- */

struct part { /* d values of each of `heads` heads of n tokens */
    int64_t n, heads, d;
};

static void copy(const struct sy_exec *x, struct part p, struct sy_heads from, struct sy_heads to) {
    int64_t size = (int64_t)sy_dtype_bytes(from.dtype), by_token = p.n <= p.heads;
    int64_t calls = by_token ? p.n : p.heads;
    struct sy_copy op = {.rows = by_token ? p.heads : p.n,
                         .bytes = p.d * size,
                         .from_row = (by_token ? from.head : from.token) * size,
                         .to_row = (by_token ? to.head : to.token) * size};
    if (p.heads == 1 || (from.head == p.d && to.head == p.d)) {
        calls = 1;
        op = (struct sy_copy){p.n, p.heads * p.d * size, from.token * size, to.token * size, NULL, NULL};
        by_token = 1;
    }
    for (int64_t i = 0; i < calls; i++) {
        op.from = sy_at(from.data, from.dtype, i * (by_token ? from.token : from.head));
        op.to = sy_at(to.data, to.dtype, i * (by_token ? to.token : to.head));
        x->ops->copy(x, &op);
    }
}

static void copy_keys(const struct sy_layer_ctx *c, const struct sy_attn_widths *w, int64_t n,
                      const struct sy_attn_views *from, const struct sy_attn_views *to) {
    copy(c->x, (struct part){n, w->k_heads, w->k}, from->k, to->k);
    copy(c->x, (struct part){n, w->v_heads, w->v}, from->v, to->v);
}

void sy_cache_copy(const struct sy_layer_ctx *c, const struct sy_attn_widths *w,
                   const struct sy_attn_cache *cache, int from, int to, int64_t n) {
    struct sy_attn_views a = slot_views(c, w, cache, from), b = slot_views(c, w, cache, to);
    copy_keys(c, w, n, &a, &b);
}

/* --- attention ------------------------------------------------------------------------------------------ */

enum { AT_ONCE = 32 };

/* What a text's attention reads and writes; its new tokens are there. */
static struct sy_attention begin(const struct sy_layer_ctx *c, const struct sy_attend *what,
                                 const struct sy_text_rows *text) {
    const struct sy_attn_widths *w = &what->widths;
    struct sy_attn_views views = views_from(&what->rows, w, text->row);
    if (c->cache.texts > 0) {
        struct sy_attn_views own = views, there;
        views = slot_views(c, w, what->cache, text->slot);
        there = views_from(&views, w, text->cached);
        copy(c->x, (struct part){text->n, w->heads, w->q}, own.q, there.q);
        copy_keys(c, w, text->n, &own, &there);
    }
    struct sy_attention op = what->op(c, &views);
    op.sequences = 1;
    op.seq_len = text->cached + text->n;
    op.first = text->cached;
    return op;
}

static void end(const struct sy_layer_ctx *c, const struct sy_attend *what, const struct sy_text_rows *text,
                const struct sy_attention *op) {
    const struct sy_attn_widths *w = &what->widths;
    if (c->cache.texts > 0)
        copy(c->x, (struct part){text->n, w->heads, w->o}, from_token(op->o, text->cached),
             from_token(what->rows.o, text->row));
}

static void attend_texts(const struct sy_layer_ctx *c, const struct sy_batch *b,
                         const struct sy_attend *what) {
    const struct sy_text_rows *text = b->texts;
    struct sy_attention op[AT_ONCE];
    for (int i = 0, n; i < b->n_texts; i += n, text += n) {
        n = b->n_texts - i < AT_ONCE ? b->n_texts - i : AT_ONCE;
        for (int k = 0; k < n; k++)
            op[k] = begin(c, what, &text[k]);
        c->x->ops->attention_fwd(c->x, &(struct sy_attention){.texts = op, .n_texts = n});
        for (int k = 0; k < n; k++)
            end(c, what, &text[k], &op[k]);
    }
}

void sy_attend(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
               const struct sy_attention *whole, const struct sy_attend *texts) {
    if (call->batch->n_texts > 0)
        attend_texts(c, call->batch, texts);
    else if (!call->saved)
        c->x->ops->attention_fwd(c->x, whole);
}
