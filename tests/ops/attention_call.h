/* Calls of attention in small shapes, for the tests that look at every value: operands by a kind of scores,
 * run by any tier. Include it first.
 */
#ifndef TESTS_OPS_ATTENTION_CALL_H
#define TESTS_OPS_ATTENTION_CALL_H

#include "chain_model.h"

enum { HEADS_MAX = 4, D_MAX = 24, S_MAX = 300 };

struct shape {
    int64_t sequences, seq_len, heads, kv_heads, dv;
    int n_parts;
    int64_t d[2];
    int shared_rope; /* part 1: one key of all heads */
    int documents;
    int64_t window;
    int spread; /* 0 ordinary, 1 score jumps over 127, 2 huge finite scores, 3 scores whose c s overflows */
};

/* One call: its tensors in plain rows [T, heads * d] with two columns of gap. */
struct call {
    struct sy_attention op;
    enum sy_numeric_class cls;
    size_t bytes[16];
    void *data[16];
    int n;
    float *lse;
    int32_t *doc_start;
};

static inline void *fresh(struct call *c, size_t bytes) {
    void *p = malloc(bytes);
    assert_non_null(p);
    memset(p, 0x7b, bytes);
    c->bytes[c->n] = bytes;
    return c->data[c->n++] = p;
}

static inline struct sy_heads heads_new(struct call *c, int64_t heads, int64_t d, int shared) {
    enum sy_dtype t = sy_class_dtype(c->cls);
    int64_t row = (shared ? 1 : heads) * d + 2, tokens = c->op.sequences * c->op.seq_len;
    void *p = fresh(c, (size_t)(tokens * row) * sy_dtype_bytes(t));
    return (struct sy_heads){p, t, row, shared ? 0 : d};
}

static inline float value(struct sy_heads v, int64_t t, int64_t h, int64_t i) {
    return get(v.dtype, v.data, t * v.token + h * v.head + i);
}
static inline void set(struct sy_heads v, int64_t t, int64_t h, int64_t i, float x) {
    put(v.dtype, v.data, t * v.token + h * v.head + i, x);
}

static inline void fill_heads(const struct call *c, struct sy_heads v, int64_t heads, int64_t d, float size) {
    for (int64_t t = 0; t < c->op.sequences * c->op.seq_len; t++)
        for (int64_t h = 0; h < (v.head ? heads : 1); h++)
            for (int64_t i = 0; i < d; i++)
                set(v, t, h, i, model_bf(c->cls, size * ((float)(int32_t)(random_bits() >> 32) * 0x1p-30f)));
}

static inline struct call call_new(enum sy_numeric_class cls, const struct shape *s) {
    struct call c = {.cls = cls};
    int64_t tokens = s->sequences * s->seq_len, width = s->d[0] + (s->n_parts > 1 ? s->d[1] : 0);
    c.op = (struct sy_attention){.sequences = s->sequences,
                                 .seq_len = s->seq_len,
                                 .heads = s->heads,
                                 .kv_heads = s->kv_heads,
                                 .dv = s->dv,
                                 .n_slices = s->n_parts,
                                 .window = s->window};
    c.op.scale = (s->spread == 3 ? 64.0f : 1.0f) / sqrtf((float)width);
    c.op.c = (float)((double)c.op.scale * 0x1.71547652b82fep+0);
    for (int p = 0; p < s->n_parts; p++) {
        int shared = p == 1 && s->shared_rope;
        struct sy_head_slice *part = &c.op.slice[p];
        part->d = s->d[p];
        part->q = heads_new(&c, s->heads, part->d, 0);
        part->k = heads_new(&c, s->kv_heads, part->d, shared);
        part->dq = heads_new(&c, s->heads, part->d, 0);
        part->dk = heads_new(&c, s->kv_heads, part->d, 0);
        float size = s->spread == 0 ? 1.0f : s->spread == 1 ? 8.0f : 0x1p61f;
        fill_heads(&c, part->q, s->heads, part->d, s->spread == 1 ? 1.0f : size);
        fill_heads(&c, part->k, s->kv_heads, part->d, size);
        for (int64_t t = 0; s->spread == 1 && t < tokens;
             t++) /* later blocks have far larger scores, some far smaller */
            for (int64_t h = 0; h < (part->k.head ? s->kv_heads : 1); h++)
                for (int64_t i = 0; i < part->d; i++)
                    set(part->k, t, h, i,
                        value(part->k, t, h, i) * (t / 100 % 2 ? 32.0f : 1.0f) * (t % 7 ? 1.0f : 4.0f));
    }
    c.op.v = heads_new(&c, s->kv_heads, s->dv, 0);
    c.op.o = heads_new(&c, s->heads, s->dv, 0);
    c.op.d_o = heads_new(&c, s->heads, s->dv, 0);
    c.op.d_v = heads_new(&c, s->kv_heads, s->dv, 0);
    fill_heads(&c, c.op.v, s->kv_heads, s->dv, 1.0f);
    fill_heads(&c, c.op.d_o, s->heads, s->dv, 1.0f);
    c.op.lse = c.lse = fresh(&c, (size_t)(tokens * s->heads) * 4);
    if (s->documents) {
        c.op.doc_start = c.doc_start = fresh(&c, (size_t)tokens * 4);
        for (int64_t t = 0; t < tokens; t++) {
            int64_t i = t % s->seq_len, start = i == 0 ? 0 : c.doc_start[t - 1];
            c.doc_start[t] = (int32_t)(i > 0 && (i == 37 || i == 130 || i == 131 || i == 190) ? i : start);
        }
    }
    return c;
}

static inline void call_free(struct call *c) {
    for (int i = 0; i < c->n; i++)
        free(c->data[i]);
}

static inline void spoil(struct sy_heads v, int64_t heads, int64_t d, int64_t tokens) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < d; i++)
                set(v, t, h, i, NAN);
}

static inline void run_op(const struct call *c, const struct sy_ops *ops, int threads) {
    const struct sy_attention *op = &c->op;
    int64_t head = op->dv, width = 0, tokens = op->sequences * op->seq_len;
    for (int p = 0; p < op->n_slices; p++) {
        width += (op->slice[p].d + 15) / 16 * 16;
        spoil(op->slice[p].dq, op->heads, op->slice[p].d, tokens);
        spoil(op->slice[p].dk, op->kv_heads, op->slice[p].d, tokens);
    }
    spoil(op->o, op->heads, op->dv, tokens);
    spoil(op->d_v, op->kv_heads, op->dv, tokens);
    struct sy_exec x = exec_open(ops, c->cls, threads, width > head ? width : head, op->seq_len);
    ops->attention_fwd(&x, op);
    ops->attention_bwd(&x, op);
    exec_close(&x);
}

#endif
