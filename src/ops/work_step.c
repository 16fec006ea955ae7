/* What calls of the ops of op_step.h are: see work.h. */
#include "ops/work_make.h"

/* Each item's operands, in `one`. */
#define ITEMS(n, ...)                              \
    for (int i = 0; i < (n); i++) {                \
        struct sy_op_work one = {.from = w->from}; \
        __VA_ARGS__;                               \
        sy_work_item(w, &one);                     \
    }

OP(cross_entropy, sy_cross_entropy) {
    BEGIN;
    VALUES(w, "logits", o->logits, o->rows, o->vocab);
    VALUES(w, "labels", o->labels, o->rows);
    VIEW(w, "dlogits", o->dlogits, o->rows, o->vocab);
}

static void row_sum(const struct sy_row_sum_item *q, struct sy_op_work *one) {
    int64_t tokens = q->heads ? q->sequences * q->rows_per_sequence / q->heads : 0;
    VIEW(one, "a", q->a, tokens, q->heads, q->d);
    VIEW(one, "x", q->x, tokens, q->heads, q->d);
    VALUES(one, "r", q->r, tokens, q->heads);
    VALUES(one, "acc", q->acc, q->d);
    sy_work_add(one, "out", q->out, 4, 1 + (q->fold != 0), DIMS(q->d));
}

OP(row_sum, sy_row_sum) {
    BEGIN;
    ITEMS(o->n_items, row_sum(&o->item[i], &one));
}

static void add(const struct sy_add_item *q, struct sy_op_work *one) {
    VALUES(one, "x", q->x, q->n);
    BOTH(one, "y", q->y, 4, q->n);
}

OP(add_f32, sy_add_f32) {
    BEGIN;
    ITEMS(o->n_items, add(&o->item[i], &one));
}

OP(norm, sy_norm) {
    BEGIN;
    ITEMS(o->n_items, VALUES(&one, "x", o->item[i].x, o->item[i].n));
}

OP(judge, sy_judge) {
    BEGIN;
    VALUES(w, "tally", o->tally, 1);
    VALUES(w, "scalars", o->scalars, 1);
    VALUES(w, "verdict", o->verdict, 1);
}

static void adamw(const struct sy_adamw_item *q, int64_t element, struct sy_op_work *one) {
    VALUES(one, "g", q->g, q->n);
    BOTH(one, "m", q->m, 4, q->n);
    BOTH(one, "v", q->v, 4, q->n);
    BOTH(one, "w", q->w, 4, q->n);
    SEEN(one, "stored", q->stored == q->w ? NULL : q->stored, element, q->n);
}

OP(adamw, sy_adamw) {
    BEGIN;
    ITEMS(o->n_items, adamw(&o->item[i], (int64_t)sy_dtype_bytes(x->dtype), &one));
}

OP(expert_bias, sy_expert_bias) {
    BEGIN;
    SEEN(w, "counts", o->counts, 8, o->n_layers, o->experts);
    BOTH(w, "bias", o->bias, 4, o->n_layers, o->experts);
}

OP(digest, sy_digest_of) {
    BEGIN;
    ITEMS(o->n_items, VALUES(&one, "x", o->item[i].x, o->item[i].n));
}

static void cast(const struct sy_cast_item *q, int64_t element, struct sy_op_work *one) {
    VALUES(one, "x", q->x, q->n);
    SEEN(one, "y", q->y, element, q->n);
}

OP(cast, sy_cast) {
    BEGIN;
    ITEMS(o->n_items, cast(&o->item[i], (int64_t)sy_dtype_bytes(x->dtype), &one));
}

OP(init, sy_init_values) {
    BEGIN;
    ITEMS(o->n_items, VALUES(&one, "out", o->item[i].out, o->item[i].n));
}
