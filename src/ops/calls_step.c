/* Made-up calls of the ops of op_step.h: see calls_make.h. */
#include "ops/calls_make.h"

static int typical(const struct sy_make *m) { return m->size == SY_CALL_TYPICAL; }

/* --- what a step counts --------------------------------------------------------------------------------- */

/* A tally with something in it; by seed one count refuses the step. */
static struct sy_tally *some_tally(struct sy_make *m, int may_refuse) {
    int refuse = may_refuse && !typical(m) ? (int)sy_make_below(m, 10) : 9;
    struct sy_tally *p = sy_make_take(m, "tally", SY_WORDS_BYTES, 1, sizeof *p), *t = sy_make_host(m, p);
    if (!t)
        return p;
    *t = sy_tally_empty;
    t->loss = 5;
    t->n_valid = 6;
    t->n_bad = refuse == 0;
    t->n_bad_router = refuse == 1;
    t->n_bad_gradient = refuse == 2;
    t->bad_token = refuse == 3 ? 0 : SY_NO_TOKEN;
    t->changed[0] = refuse == 4 ? 0 : SY_NO_TOKEN;
    t->overflow = refuse == 6 ? 77 : 0;
    for (int i = 0; i < 5; i++) {
        double v = (double)sy_make_value(m, SY_HOLDS_ANY);
        sy_exact_add(&t->norm, refuse != 5 && v - v != 0.0 ? 1.0 : v * v);
    }
    return p;
}

static const struct sy_scalars *some_scalars(struct sy_make *m) {
    struct sy_scalars *p = sy_make_take(m, "scalars", SY_WORDS_BYTES, 1, sizeof *p), *s = sy_make_host(m, p);
    if (s)
        *s = (struct sy_scalars){0x1p-9f, 8e-4f, 0.9f, 0.1f, 0.95f, 0.05f, 1.9f, 3.3f, 1e-8f, 0.1f, 1.0};
    return p;
}

static struct sy_verdict *some_verdict(struct sy_make *m) {
    int apply = typical(m) || sy_make_below(m, 4);
    struct sy_verdict *p = sy_make_take(m, "verdict", SY_WORDS_BYTES, 1, sizeof *p), *v = sy_make_host(m, p);
    if (v)
        *v = (struct sy_verdict){.norm = 2.0, .clip = 0.7f, .apply = apply, .digest = {9, 11}};
    return p;
}

/* Items of a list, and elements of each; an empty one among them. */
static int some_items(const struct sy_make *m) { return typical(m) ? 2 : SY_CALL_ITEMS; }
static int64_t some_elements(struct sy_make *m, int item) {
    if (typical(m))
        return 1 << 17;
    return item == 2             ? 0
           : sy_make_below(m, 4) ? sy_make_side(m, 0) * (1 + sy_make_below(m, 9))
                                 : 9000 + sy_make_below(m, 9000);
}
static uint64_t some_id(struct sy_make *m) {
    return (uint64_t)sy_make_below(m, 1 << 30) * 0x9e3779b97f4a7c15u;
}

/* --- loss and sums -------------------------------------------------------------------------------------- */

void sy_make_cross_entropy(struct sy_make *m, struct sy_cross_entropy *op) {
    int64_t rows = typical(m) ? 64 : 1 + sy_make_below(m, 40), vocab = sy_make_side(m, 2048);
    *op = (struct sy_cross_entropy){.rows = rows, .vocab = vocab};
    op->logits = sy_make_f32(m, "logits", rows * vocab, SY_HOLDS_ANY);
    int32_t *labels = sy_make_i32(m, "labels", rows, vocab), *host = sy_make_host(m, labels);
    for (int64_t i = 0; m->filling && i < rows; i++)
        host[i] = sy_make_value_below(m, 6) ? host[i] : -100;
    op->labels = labels;
    const struct sy_scalars *scalars = some_scalars(m);
    op->w = scalars ? &scalars->w : NULL; /* NULL while memory is measured */
    if (!sy_make_coin(m))
        op->dlogits = sy_make_mat(m, "dlogits", m->x->dtype, rows, vocab, SY_HOLDS_ANY);
    op->tally = some_tally(m, 0);
}

static void some_row_sum(struct sy_make *m, struct sy_row_sum_item *p) {
    int64_t sequences = typical(m) ? 4 : 1 + sy_make_below(m, 3);
    int64_t heads = typical(m) ? 1 : 1 + sy_make_below(m, 3);
    int64_t tokens = typical(m) ? 256 : 1 + sy_make_below(m, 140), d = sy_make_side(m, 512);
    int acc = (int)sy_make_below(m, 3); /* none, its own, out itself */
    *p = (struct sy_row_sum_item){
        .sequences = sequences, .rows_per_sequence = tokens * heads, .heads = heads, .d = d};
    p->a = sy_make_heads(m, "a", sequences * tokens, heads, d);
    if (!sy_make_coin(m))
        p->x = sy_make_heads(m, "x", sequences * tokens, heads, d);
    p->r = sy_make_coin(m) ? NULL : sy_make_f32(m, "r", sequences * tokens * heads, SY_HOLDS_ANY);
    p->out = sy_make_f32(m, "out", d, SY_HOLDS_SUMS);
    p->acc = acc == 0 ? NULL : acc == 1 ? sy_make_f32(m, "acc", d, SY_HOLDS_SUMS) : p->out;
    p->fold = acc < 2 && sy_make_below(m, 2);
}

void sy_make_row_sum(struct sy_make *m, struct sy_row_sum *op) {
    struct sy_row_sum_item *list = m->c->list.row_sum;
    *op = (struct sy_row_sum){list, some_items(m)};
    for (int i = 0; i < op->n_items; i++)
        some_row_sum(m, &list[i]);
}

void sy_make_add_f32(struct sy_make *m, struct sy_add_f32 *op) {
    struct sy_add_item *list = m->c->list.add;
    *op = (struct sy_add_f32){list, some_items(m)};
    for (int i = 0; i < op->n_items; i++) {
        int goes_on = i > 0 && sy_make_coin(m); /* a sum of sums: y0 += x0, y1 += y0 */
        int64_t n = goes_on ? list[i - 1].n : some_elements(m, i);
        const float *from = goes_on ? list[i - 1].y : sy_make_f32(m, "x", n, SY_HOLDS_ANY);
        list[i] = (struct sy_add_item){n, from, sy_make_f32(m, "y", n, SY_HOLDS_ANY)};
    }
}

void sy_make_norm(struct sy_make *m, struct sy_norm *op) {
    struct sy_norm_item *list = m->c->list.norm;
    *op = (struct sy_norm){list, some_items(m), some_tally(m, 0)};
    for (int i = 0; i < op->n_items; i++) {
        int64_t n = some_elements(m, i);
        list[i] = (struct sy_norm_item){n, sy_make_f32(m, "x", n, SY_HOLDS_ANY)};
    }
}

void sy_make_judge(struct sy_make *m, struct sy_judge *op) {
    *op = (struct sy_judge){some_tally(m, 1), some_scalars(m), some_verdict(m)};
}

/* --- the update ----------------------------------------------------------------------------------------- */

void sy_make_adamw(struct sy_make *m, struct sy_adamw *op) {
    struct sy_adamw_item *list = m->c->list.adamw;
    const struct sy_scalars *scalars = some_scalars(m);
    *op = (struct sy_adamw){list, some_items(m), scalars, some_verdict(m)};
    for (int i = 0; i < op->n_items; i++) {
        int64_t n = some_elements(m, i);
        struct sy_adamw_item q = {.n = n, .id = some_id(m), .first = (uint64_t)sy_make_below(m, 1 << 20)};
        q.g = sy_make_f32(m, "g", n, SY_HOLDS_ANY);
        q.m = sy_make_f32(m, "m", n, SY_HOLDS_ANY);
        q.v = sy_make_f32(m, "v", n, SY_HOLDS_SQUARES);
        q.w = sy_make_f32(m, "w", n, SY_HOLDS_ANY);
        int itself = m->x->dtype == SY_F32 && sy_make_below(m, 2);
        q.frozen = sy_make_below(m, 8) == 0;
        q.grouped = (int)sy_make_below(m, 2);
        q.lr_factor = (float)sy_make_below(m, 9) / 4;
        q.wd = (float)sy_make_below(m, 3) / 16;
        q.stored = itself ? q.w : sy_make_mat(m, "stored", m->x->dtype, 1, n, SY_HOLDS_ANY).data;
        list[i] = q;
    }
}

void sy_make_expert_bias(struct sy_make *m, struct sy_expert_bias *op) {
    int64_t experts = typical(m) ? 256 : 1 + sy_make_below(m, 130);
    *op = (struct sy_expert_bias){.experts = experts, .routes = 3 * experts, .n_layers = SY_CALL_ITEMS};
    op->coeff = 1e-3;
    op->center = (int)sy_make_below(m, 2);
    for (int i = 0; i < op->n_layers; i++) {
        int64_t *counts = sy_make_i64(m, "counts", experts, 3), *host = sy_make_host(m, counts);
        for (int64_t e = 0; m->filling && e < experts; e++)
            host[e] = sy_make_value_below(m, 7);
        m->c->list.layers.counts[i] = counts;
        m->c->list.layers.bias[i] = sy_make_f32(m, "bias", experts, SY_HOLDS_ANY);
    }
    op->counts = m->c->list.layers.counts;
    op->bias = m->c->list.layers.bias;
    op->verdict = sy_make_coin(m) ? NULL : some_verdict(m);
}

void sy_make_digest(struct sy_make *m, struct sy_digest_of *op) {
    struct sy_digest_item *list = m->c->list.digest;
    *op = (struct sy_digest_of){list, some_items(m), (uint64_t *)sy_make_i64(m, "sum", 2, 5)};
    for (int i = 0; i < op->n_items; i++) {
        int64_t n = some_elements(m, i);
        struct sy_digest_item q = {.n = n, .id = some_id(m), .first = (uint64_t)sy_make_below(m, 1 << 20)};
        q.x = sy_make_f32(m, "x", n, SY_HOLDS_ANY);
        list[i] = q;
    }
}

void sy_make_cast(struct sy_make *m, struct sy_cast *op) {
    struct sy_cast_item *list = m->c->list.cast;
    *op = (struct sy_cast){list, some_items(m)};
    for (int i = 0; i < op->n_items; i++) {
        int64_t n = some_elements(m, i);
        list[i] = (struct sy_cast_item){.n = n, .x = sy_make_f32(m, "x", n, SY_HOLDS_ANY)};
        list[i].y = sy_make_mat(m, "y", m->x->dtype, 1, n, SY_HOLDS_ANY).data;
    }
}

void sy_make_init(struct sy_make *m, struct sy_init_values *op) {
    struct sy_init_item *list = m->c->list.init;
    *op = (struct sy_init_values){list, typical(m) ? 1 : some_items(m)};
    for (int i = 0; i < op->n_items; i++) {
        int64_t n = typical(m) ? 4096 : some_elements(m, i);
        struct sy_init_item q = {
            .n = n, .first = sy_make_below(m, 1 << 20), .key = some_id(m), .constant = 0.5f};
        q.sd = typical(m) || sy_make_below(m, 3) ? 0.02 : 0.0;
        q.cut = sy_make_coin(m) ? 0.04 : 0.0;
        q.out = sy_make_f32(m, "out", n, SY_HOLDS_ANY);
        list[i] = q;
    }
}
