/* Made-up calls of the ops of op_layer.h: see calls_make.h. */
#include <math.h>

#include "ops/calls_make.h"

static int64_t some(struct sy_make *m) { return m->size == SY_CALL_TYPICAL ? 256 : 1 + sy_make_below(m, 40); }
static int64_t heads_of(struct sy_make *m) {
    return m->size == SY_CALL_TYPICAL ? 4 : 1 + sy_make_below(m, 4);
}

/* --- norm, rope ----------------------------------------------------------------------------------------- */

/* Of a norm's row: one in four is wide, and without gaps, as kernels of wide rows want it. */
static int64_t norm_width(struct sy_make *m) {
    if (m->size == SY_CALL_EDGE && sy_make_below(m, 4) == 0)
        return 8 * (64 + sy_make_below(m, SY_CALL_MOST / 8 - 63));
    return sy_make_side(m, 128);
}
static struct sy_heads norm_rows(struct sy_make *m, const char *name, int64_t tokens, int64_t heads,
                                 int64_t d) {
    enum sy_call_size size = m->size;
    m->size = d >= 512 ? SY_CALL_TYPICAL : size;
    struct sy_heads rows = sy_make_heads(m, name, tokens, heads, d);
    m->size = size;
    return rows;
}

void sy_make_rmsnorm_fwd(struct sy_make *m, struct sy_rmsnorm_fwd *op) {
    int64_t tokens = some(m), heads = heads_of(m), d = norm_width(m);
    *op = (struct sy_rmsnorm_fwd){.tokens = tokens, .heads = heads, .d = d, .eps = 1e-6f};
    op->x = norm_rows(m, "x", tokens, heads, d);
    op->g = sy_make_f32(m, "g", d, SY_HOLDS_ANY);
    op->y = sy_make_coin(m) ? op->x : norm_rows(m, "y", tokens, heads, d);
    op->r = sy_make_coin(m) ? NULL : sy_make_f32(m, "r", tokens * heads, SY_HOLDS_ANY);
}

void sy_make_rmsnorm_bwd(struct sy_make *m, struct sy_rmsnorm_bwd *op) {
    int64_t tokens = some(m), heads = heads_of(m), d = norm_width(m);
    *op = (struct sy_rmsnorm_bwd){.tokens = tokens, .heads = heads, .d = d};
    op->dy = norm_rows(m, "dy", tokens, heads, d);
    op->x = norm_rows(m, "x", tokens, heads, d);
    op->g = sy_make_f32(m, "g", d, SY_HOLDS_ANY);
    op->r = sy_make_f32(m, "r", tokens * heads, SY_HOLDS_ANY);
    op->dx = sy_make_coin(m) ? op->dy : norm_rows(m, "dx", tokens, heads, d);
    if (sy_make_coin(m))
        op->residual = sy_make_coin(m) ? op->dx : norm_rows(m, "residual", tokens, heads, d);
}

void sy_make_rope(struct sy_make *m, struct sy_rope *op) {
    int64_t tokens = some(m), heads = heads_of(m), d = 2 * sy_make_side(m, 32),
            positions = 1 + sy_make_below(m, 300);
    *op = (struct sy_rope){.tokens = tokens, .heads = heads, .d = d, .halves = (int)sy_make_below(m, 2)};
    op->backward = sy_make_coin(m);
    op->position = sy_make_i32(m, "position", tokens, positions);
    op->cos = sy_make_f32(m, "cos", positions * d / 2, SY_HOLDS_ANY);
    op->sin = sy_make_f32(m, "sin", positions * d / 2, SY_HOLDS_ANY);
    op->x = sy_make_heads(m, "x", tokens, heads, d);
}

/* --- attention ------------------------------------------------------------------------------------------ */

static void documents(struct sy_make *m, struct sy_attention *op) {
    int64_t tokens = op->sequences * op->seq_len;
    int32_t *start = sy_make_i32(m, "doc_start", tokens, 1), *host = sy_make_host(m, start);
    op->doc_start = start;
    for (int64_t t = 0; m->filling && t < tokens; t++) {
        int64_t i = t % op->seq_len;
        host[t] = (int32_t)(i == 0 || sy_make_value_below(m, 40) == 0 ? i : host[t - 1]);
    }
}

/* Head sizes: by an even chance those that a device may have faster kernels for, their rows aligned or not;
 * else small ones, or wide ones of several vectors, that no tile divides. */
struct head_sizes {
    int64_t d[SY_HEAD_SLICES], dv;
    int n_slices, by_8;
};

static struct head_sizes head_sizes(struct sy_make *m) {
    static const struct head_sizes usual[] = {{{64}, 64, 1, 1},
                                              {{128}, 128, 1, 1},
                                              {{128, 64}, 128, 2, 1},
                                              {{128, 64}, 128, 2, 0},
                                              {{80}, 136, 1, 0}};
    if (m->size == SY_CALL_TYPICAL)
        return (struct head_sizes){{32, 32}, 64, 1 + (int)sy_make_below(m, SY_HEAD_SLICES), 0};
    if (sy_make_coin(m))
        return usual[sy_make_below(m, 5)];
    struct head_sizes h = {.n_slices = 1 + (int)sy_make_below(m, SY_HEAD_SLICES)};
    int wide = (int)sy_make_below(m, 2);
    h.dv = wide ? 16 + sy_make_below(m, SY_CALL_HEAD - 15) : 1 + sy_make_below(m, 24);
    for (int p = 0; p < h.n_slices; p++) /* each part is padded by itself: 128 and 64 are SY_CALL_HEAD */
        h.d[p] = 1 + sy_make_below(m, !wide ? 24 : h.n_slices == 1 ? SY_CALL_HEAD : p == 0 ? 128 : 64);
    return h;
}

/* One length in eight is of several tiles for the sizes that have them. */
static int64_t length_of(struct sy_make *m, const struct head_sizes *h) {
    static const int64_t lengths[] = {1, 2, 5, 17, 63, 64, 65, 127, 128, 129, 150};
    if (m->size == SY_CALL_TYPICAL)
        return 192;
    if (h->by_8 && sy_make_below(m, 8) == 0)
        return 257 + sy_make_below(m, 128);
    return lengths[sy_make_below(m, 11)];
}

static struct sy_heads attention_heads(struct sy_make *m, const struct head_sizes *h, const char *name,
                                       int64_t tokens, int64_t heads, int64_t d) {
    return h->by_8 ? sy_make_heads_by_8(m, name, tokens, heads, d) : sy_make_heads(m, name, tokens, heads, d);
}

static void attention(struct sy_make *m, struct sy_attention *op, int backward) {
    struct head_sizes h = head_sizes(m);
    int typical = m->size == SY_CALL_TYPICAL;
    int64_t group = typical ? 2 : 1 + sy_make_below(m, 2), kv = typical ? 1 : 1 + sy_make_below(m, 2),
            width = 0;
    *op = (struct sy_attention){.sequences = 1 + sy_make_coin(m),
                                .seq_len = length_of(m, &h),
                                .heads = group * kv,
                                .kv_heads = kv,
                                .dv = h.dv,
                                .n_slices = h.n_slices,
                                .window = sy_make_coin(m) ? 1 + sy_make_below(m, 150) : 0};
    int64_t tokens = op->sequences * op->seq_len;
    for (int p = 0; p < op->n_slices; p++) {
        struct sy_head_slice *s = &op->slice[p];
        int shared = p == 1 && sy_make_below(m, 2);
        s->d = h.d[p];
        width += s->d;
        s->q = attention_heads(m, &h, "q", tokens, op->heads, s->d);
        s->k = attention_heads(m, &h, "k", tokens, shared ? 1 : kv, s->d);
        s->k.head = shared ? 0 : s->k.head;
        if (!backward)
            continue;
        s->dq = attention_heads(m, &h, "dq", tokens, op->heads, s->d);
        s->dk = attention_heads(m, &h, "dk", tokens, kv, s->d);
    }
    op->v = attention_heads(m, &h, "v", tokens, kv, op->dv);
    op->o = attention_heads(m, &h, "o", tokens, op->heads, op->dv);
    op->lse = sy_make_f32(m, "lse", tokens * op->heads, SY_HOLDS_ANY);
    op->scale = 1.0f / sqrtf((float)width);
    op->c = (float)((double)op->scale * 0x1.71547652b82fep+0);
    if (sy_make_below(m, 2))
        documents(m, op);
    if (!backward)
        return;
    op->d_o = attention_heads(m, &h, "d_o", tokens, op->heads, op->dv);
    op->d_v = attention_heads(m, &h, "d_v", tokens, kv, op->dv);
}

void sy_make_attention_fwd(struct sy_make *m, struct sy_attention *op) { attention(m, op, 0); }
void sy_make_attention_bwd(struct sy_make *m, struct sy_attention *op) { attention(m, op, 1); }

/* --- pointwise ------------------------------------------------------------------------------------------ */

void sy_make_join(struct sy_make *m, struct sy_join *op) {
    int64_t rows = some(m), d = sy_make_side(m, 512);
    *op = (struct sy_join){
        .rows = rows, .d = d, .n = m->size == SY_CALL_TYPICAL ? 3 : 1 + (int)sy_make_below(m, SY_JOIN_TERMS)};
    for (int i = 0; i < op->n; i++)
        op->term[i] = sy_make_any_mat(m, "term", rows, d);
    op->y = sy_make_coin(m) ? op->term[sy_make_below(m, op->n)] : sy_make_any_mat(m, "y", rows, d);
}

void sy_make_head_sum(struct sy_make *m, struct sy_head_sum *op) {
    int64_t tokens = some(m), heads = heads_of(m), d = sy_make_side(m, 64);
    *op = (struct sy_head_sum){.tokens = tokens, .heads = heads, .d = d};
    op->x = sy_make_heads(m, "x", tokens, heads, d);
    op->y = sy_make_heads(m, "y", tokens, 1, d);
}

void sy_make_sigmoid_gate(struct sy_make *m, struct sy_sigmoid_gate *op) {
    int64_t rows = some(m), d = sy_make_side(m, 512);
    *op =
        (struct sy_sigmoid_gate){.rows = rows, .d = d, .logit = sy_make_f32(m, "logit", rows, SY_HOLDS_ANY)};
    op->y = sy_make_mat(m, "y", m->x->dtype, rows, d, SY_HOLDS_ANY);
}

void sy_make_sigmoid_gate_bwd(struct sy_make *m, struct sy_sigmoid_gate_bwd *op) {
    int64_t rows = some(m), d = sy_make_side(m, 512);
    *op = (struct sy_sigmoid_gate_bwd){
        .rows = rows, .d = d, .logit = sy_make_f32(m, "logit", rows, SY_HOLDS_ANY)};
    op->y_in = sy_make_mat(m, "y_in", m->x->dtype, rows, d, SY_HOLDS_ANY);
    op->dy = sy_make_mat(m, "dy", m->x->dtype, rows, d, SY_HOLDS_ANY);
    op->dy_in = sy_make_coin(m) ? op->dy : sy_make_mat(m, "dy_in", m->x->dtype, rows, d, SY_HOLDS_ANY);
    op->dlogit = sy_make_mat(m, "dlogit", m->x->dtype, rows, 1, SY_HOLDS_ANY);
}

/* --- rows by an index ----------------------------------------------------------------------------------- */

void sy_make_embed_fwd(struct sy_make *m, struct sy_embed_fwd *op) {
    int64_t tokens = some(m), d = sy_make_side(m, 512), vocab = 1 + sy_make_below(m, 100);
    *op = (struct sy_embed_fwd){.tokens = tokens, .d = d, .ids = sy_make_i32(m, "ids", tokens, vocab)};
    op->w = sy_make_mat(m, "w", m->x->dtype, vocab, d, SY_HOLDS_ANY);
    op->y = sy_make_mat(m, "y", m->x->dtype, tokens, d, SY_HOLDS_ANY);
}

void sy_make_scatter_add(struct sy_make *m, struct sy_scatter_add *op) {
    int64_t n = some(m), d = sy_make_side(m, 512), rows = 1 + sy_make_below(m, 2 * n);
    *op = (struct sy_scatter_add){
        .n = n, .d = d, .out_rows = rows, .top_k = sy_make_coin(m) ? 1 + sy_make_below(m, 4) : 0};
    int32_t *index = sy_make_i32(m, "index", n, rows * (op->top_k ? op->top_k : 1)),
            *host = sy_make_host(m, index);
    for (int64_t i = 0; m->filling && m->size == SY_CALL_EDGE && i < n; i++)
        host[i] = sy_make_value_below(m, 5) ? host[i] : -1; /* padding */
    op->index = index;
    op->used = sy_make_coin(m) ? sy_make_i64(m, "used", 1, sy_make_below(m, n + 1)) : NULL;
    op->scale = sy_make_coin(m) ? NULL : sy_make_f32(m, "scale", n, SY_HOLDS_ANY);
    op->src = sy_make_any_mat(m, "src", n, d);
    op->out = sy_make_mat(m, "out", SY_F32, rows, d, SY_HOLDS_ANY);
}

void sy_make_fold_rows(struct sy_make *m, struct sy_fold_rows *op) {
    int64_t n = some(m), d = sy_make_side(m, 512), rows = 1 + sy_make_below(m, 2 * n);
    *op = (struct sy_fold_rows){.n = n, .d = d, .index = sy_make_i32(m, "index", n, rows)};
    op->x = sy_make_f32(m, "x", rows * d, SY_HOLDS_SUMS);
    op->y = sy_make_coin(m) ? NULL : sy_make_f32(m, "y", rows * d, SY_HOLDS_SUMS);
}

/* --- bits ----------------------------------------------------------------------------------------------- */

void sy_make_fill(struct sy_make *m, struct sy_fill *op) {
    int64_t n = some(m) * sy_make_side(m, 1024), first = sy_make_coin(m) ? sy_make_below(m, n) : 0;
    *op = (struct sy_fill){.n = n - first, .word = sy_make_coin(m) ? 0 : 0x3f800001u};
    op->data = sy_make_f32(m, "data", n, SY_HOLDS_ANY) + first;
}

void sy_make_copy(struct sy_make *m, struct sy_copy *op) {
    int64_t rows = some(m), d = sy_make_side(m, 2048);
    struct sy_mat from = sy_make_any_mat(m, "from", rows, d), to = sy_make_any_mat(m, "to", rows, d);
    *op = (struct sy_copy){.rows = rows, .bytes = 2 * d, .from = from.data, .to = to.data};
    op->from_row = from.row * (int64_t)sy_dtype_bytes(from.dtype);
    op->to_row = to.row * (int64_t)sy_dtype_bytes(to.dtype);
}
