/* What calls of the ops of op_layer.h are: see work.h. */
#include "ops/work_make.h"

OP(rmsnorm_fwd, sy_rmsnorm_fwd) {
    BEGIN;
    VIEW(w, "x", o->x, o->tokens, o->heads, o->d);
    VALUES(w, "g", o->g, o->d);
    VIEW(w, "y", o->y, o->tokens, o->heads, o->d);
    VALUES(w, "r", o->r, o->tokens, o->heads);
}

OP(rmsnorm_bwd, sy_rmsnorm_bwd) {
    BEGIN;
    VIEW(w, "dy", o->dy, o->tokens, o->heads, o->d);
    VIEW(w, "x", o->x, o->tokens, o->heads, o->d);
    VALUES(w, "g", o->g, o->d);
    VALUES(w, "r", o->r, o->tokens, o->heads);
    VIEW(w, "dx", o->dx, o->tokens, o->heads, o->d);
    VIEW(w, "residual", o->residual, o->tokens, o->heads, o->d);
}

OP(rope, sy_rope) {
    BEGIN;
    VIEWS(w, "x", o->x, o->tokens, o->heads, o->d);
    VALUES(w, "position", o->position, o->tokens);
}

/* Keys that a sequence's queries see in all, documents left aside. */
static double pairs(int64_t seq_len, int64_t window) {
    double s = (double)seq_len, w = window > 0 && window < seq_len ? (double)window : s;
    return w * (w + 1) / 2 + (s - w) * w;
}

static int64_t slices(const struct sy_attention *o, int backward, struct sy_op_work *w) {
    static const char *const names[][4] = {{"q", "k", "dq", "dk"},
                                           {"q rope", "k rope", "dq rope", "dk rope"}};
    int64_t tokens = o->sequences * o->seq_len, d = 0;
    for (int i = 0; i < o->n_slices; i++) {
        const struct sy_head_slice *s = &o->slice[i];
        VIEW(w, names[i][0], s->q, tokens, o->heads, s->d);
        VIEW(w, names[i][1], s->k, tokens, s->k.head ? o->kv_heads : 1, s->d);
        if (backward) {
            VIEW(w, names[i][2], s->dq, tokens, o->heads, s->d);
            VIEW(w, names[i][3], s->dk, tokens, o->kv_heads, s->d);
        }
        d += s->d;
    }
    return d;
}

static void attention(const struct sy_attention *o, int backward, struct sy_op_work *w) {
    int64_t tokens = o->sequences * o->seq_len, d = slices(o, backward, w);
    double seen = (double)(o->sequences * o->heads) * pairs(o->seq_len, o->window);
    VIEW(w, "v", o->v, tokens, o->kv_heads, o->dv);
    VIEW(w, "o", o->o, tokens, o->heads, o->dv);
    VALUES(w, "lse", o->lse, tokens, o->heads);
    if (backward) {
        VIEW(w, "d_o", o->d_o, tokens, o->heads, o->dv);
        VIEW(w, "d_v", o->d_v, tokens, o->kv_heads, o->dv);
    }
    /* scores and o; scores again, dp, dv, dq, dk */
    w->flops = 2 * seen * (double)(backward ? 3 * d + 2 * o->dv : d + o->dv);
}

OP(attention_fwd, sy_attention) {
    BEGIN;
    if (o->n_texts == 0)
        attention(o, 0, w);
    w->items = o->n_texts;
    for (int i = 0; i < o->n_texts; i++) { /* operands of the last, work of all */
        double flops = w->flops;
        w->n = 0;
        attention(&o->texts[i], 0, w);
        w->flops += flops;
    }
}
OP(attention_bwd, sy_attention) {
    BEGIN;
    attention(o, 1, w);
}

OP(join, sy_join) {
    static const char *const names[SY_JOIN_TERMS] = {"t0", "t1", "t2", "t3"};
    BEGIN;
    for (int i = 0; i < o->n; i++)
        VIEW(w, names[i], o->term[i], o->rows, o->d);
    VIEW(w, "y", o->y, o->rows, o->d);
}

OP(head_sum, sy_head_sum) {
    BEGIN;
    VIEW(w, "x", o->x, o->tokens, o->heads, o->d);
    VIEW(w, "y", o->y, o->tokens, o->d);
}

OP(sigmoid_gate, sy_sigmoid_gate) {
    BEGIN;
    VALUES(w, "logit", o->logit, o->rows);
    VIEWS(w, "y", o->y, o->rows, o->d);
}

OP(sigmoid_gate_bwd, sy_sigmoid_gate_bwd) {
    BEGIN;
    VALUES(w, "logit", o->logit, o->rows);
    VIEW(w, "y_in", o->y_in, o->rows, o->d);
    VIEW(w, "dy", o->dy, o->rows, o->d);
    VIEW(w, "dy_in", o->dy_in, o->rows, o->d);
    VIEW(w, "dlogit", o->dlogit, o->rows);
}

OP(embed_fwd, sy_embed_fwd) {
    BEGIN;
    VALUES(w, "ids", o->ids, o->tokens);
    VIEW(w, "w", o->w, o->tokens, o->d);
    VIEW(w, "y", o->y, o->tokens, o->d);
}

OP(scatter_add, sy_scatter_add) {
    BEGIN;
    int64_t n = sy_work_used(w, o->used, o->n);
    VALUES(w, "index", o->index, n);
    VALUES(w, "scale", o->scale, n);
    VIEW(w, "src", o->src, n, o->d);
    VIEWS(w, "out", o->out, n < o->out_rows ? n : o->out_rows, o->d);
}

OP(fold_rows, sy_fold_rows) {
    BEGIN;
    VALUES(w, "index", o->index, o->n);
    BOTH(w, "x", o->x, 4, o->n, o->d);
    BOTH(w, "y", o->y, 4, o->n, o->d);
}

OP(fill, sy_fill) {
    BEGIN;
    SEEN(w, "data", o->data, 4, o->n);
}

OP(copy, sy_copy) {
    BEGIN;
    SEEN(w, "from", o->from, 1, o->rows, o->bytes);
    SEEN(w, "to", o->to, 1, o->rows, o->bytes);
}
