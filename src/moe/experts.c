/* The routed experts: see experts.h. */
#include "moe/experts.h"

#include "moe/mlp.h"

enum { BLOCK_BYTES = 1 << 20 }; /* batched: pre-activation and h of a block of experts */

static struct sy_mat at_expert(struct sy_mat m, int64_t step, int64_t e) {
    m.data = sy_at(m.data, m.dtype, e * step);
    return m;
}

/* What one list of products has in common: c = a b per expert, a and c by rows. */
struct product {
    struct sy_mat a, b, c;
    int64_t b_step, k, n;
};

static void run(const struct sy_exec *x, const struct sy_dispatch *r, int64_t first, int64_t end,
                const struct sy_expert_lists *l, const struct product *p) {
    int count = 0;
    for (int64_t e = first; e < end; e++) {
        int64_t lo = sy_dispatch_first(r, e), rows = sy_dispatch_count(r, e);
        if (rows == 0)
            continue;
        l->parts[count] = (struct sy_gemm_part){sy_mat_rows(p->a, lo), at_expert(p->b, p->b_step, e), p->k};
        l->problems[count] =
            (struct sy_gemm){.m = rows, .n = p->n, .parts = &l->parts[count], .n_parts = 1, .c = sy_mat_rows(p->c, lo)};
        count++;
    }
    x->ops->gemm(x, l->problems, count);
}

static void pre(const struct sy_exec *x, const struct sy_dispatch *r, int64_t first, int64_t end,
                const struct sy_expert_weights *w, struct sy_expert_operand w13_t, const struct sy_expert_lists *l,
                struct sy_mat in, struct sy_mat gu) {
    run(x, r, first, end, l, &(struct product){in, w13_t.b, gu, w13_t.step, w->d, 2 * w->f});
}

static void post(const struct sy_exec *x, const struct sy_dispatch *r, int64_t first, int64_t end,
                 const struct sy_expert_weights *w, struct sy_expert_operand w2_t, const struct sy_expert_lists *l,
                 struct sy_mat gu, struct sy_mat h, struct sy_mat o) {
    int64_t lo = sy_dispatch_first(r, first), hi = sy_dispatch_first(r, end);
    x->ops->swiglu_fwd(
        x, &(struct sy_swiglu_fwd){.rows = hi - lo, .f = w->f, .gu = sy_mat_rows(gu, lo), .h = sy_mat_rows(h, lo)});
    run(x, r, first, end, l, &(struct product){h, w2_t.b, o, w2_t.step, w->f, w->d});
}

void sy_experts_pre(const struct sy_exec *x, const struct sy_dispatch *r, const struct sy_expert_weights *w,
                    struct sy_expert_operand w13_t, const struct sy_expert_lists *l, struct sy_mat in, struct sy_mat gu) {
    pre(x, r, 0, r->experts, w, w13_t, l, in, gu);
}

void sy_experts_post(const struct sy_exec *x, const struct sy_dispatch *r, const struct sy_expert_weights *w,
                     struct sy_expert_operand w2_t, const struct sy_expert_lists *l, struct sy_mat gu, struct sy_mat h,
                     struct sy_mat o) {
    post(x, r, 0, r->experts, w, w2_t, l, gu, h, o);
}

int sy_experts_are_equal(const struct sy_dispatch *r) {
    for (int64_t e = 0; e < r->experts; e++)
        if (sy_dispatch_count(r, e) * r->experts != r->rows)
            return 0;
    return r->rows > 0;
}

void sy_experts_batched(const struct sy_exec *x, const struct sy_dispatch *r, const struct sy_expert_weights *w,
                        struct sy_expert_operand w13_t, struct sy_expert_operand w2_t, const struct sy_expert_lists *l,
                        struct sy_mat in, struct sy_mat gu, struct sy_mat h, struct sy_mat o) {
    int64_t bytes = sy_dispatch_count(r, 0) * 3 * w->f * (int64_t)sy_dtype_bytes(x->dtype);
    int64_t block = bytes < BLOCK_BYTES ? BLOCK_BYTES / bytes : 1;
    for (int64_t e = 0; e < r->experts; e += block) {
        int64_t end = e + block < r->experts ? e + block : r->experts;
        pre(x, r, e, end, w, w13_t, l, in, gu);
        post(x, r, e, end, w, w2_t, l, gu, h, o);
    }
}

void sy_experts_bwd(const struct sy_exec *x, const struct sy_dispatch *r, const struct sy_expert_weights *w,
                    const struct sy_expert_lists *l, struct sy_mat dy, struct sy_mat gu, const float *row_w, struct sy_mat a,
                    struct sy_mat dgu, struct sy_mat hw, float *dw, struct sy_mat dx) {
    run(x, r, 0, r->experts, l, &(struct product){dy, w->w2, a, w->w2_step, w->d, w->f});
    x->ops->swiglu_bwd(x, &(struct sy_swiglu_bwd){
                              .rows = r->rows, .f = w->f, .gu = gu, .a = a, .w = row_w, .dgu = dgu, .hw = hw, .dw = dw});
    int n = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        int64_t lo = sy_dispatch_first(r, e), rows = sy_dispatch_count(r, e);
        if (rows == 0)
            continue;
        struct sy_gemm_part *parts = l->parts + 2 * n;
        sy_swiglu_input_parts(sy_mat_rows(dgu, lo), at_expert(w->w13, w->w13_step, e), w->f, parts);
        l->problems[n++] = (struct sy_gemm){.m = rows, .n = w->d, .parts = parts, .n_parts = 2, .c = sy_mat_rows(dx, lo)};
    }
    x->ops->gemm(x, l->problems, n);
}
