/* The routed experts: see experts.h. */
#include "moe/experts.h"

static struct sy_mat at_expert(struct sy_mat m, int64_t step, int64_t e) {
    m.data = sy_at(m.data, m.dtype, e * step);
    return m;
}

/* One product c = a b per expert that has rows, a and c by rows; returns how many. */
static int per_expert(const struct sy_dispatch *r, struct sy_gemm *problems, struct sy_gemm_part *parts, struct sy_mat a,
                      struct sy_mat b, int64_t b_step, int64_t k, struct sy_mat c, int64_t n) {
    int count = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        int64_t lo = sy_dispatch_first(r, e), hi = sy_dispatch_first(r, e + 1);
        if (lo == hi)
            continue;
        parts[count] = (struct sy_gemm_part){sy_mat_rows(a, lo), at_expert(b, b_step, e), k};
        problems[count] =
            (struct sy_gemm){.m = hi - lo, .n = n, .parts = &parts[count], .n_parts = 1, .c = sy_mat_rows(c, lo)};
        count++;
    }
    return count;
}

void sy_experts_fwd(const struct sy_exec *x, const struct sy_dispatch *r, const struct sy_expert_weights *w,
                    struct sy_gemm *problems, struct sy_gemm_part *parts, struct sy_mat in, struct sy_mat gu,
                    struct sy_mat h, struct sy_mat o) {
    int n = per_expert(r, problems, parts, in, sy_mat_t(w->w13), w->w13_step, w->d, gu, 2 * w->f);
    x->ops->gemm(x, problems, n);
    x->ops->swiglu_fwd(x, &(struct sy_swiglu_fwd){.rows = r->rows, .f = w->f, .gu = gu, .h = h});
    n = per_expert(r, problems, parts, h, sy_mat_t(w->w2), w->w2_step, w->f, o, w->d);
    x->ops->gemm(x, problems, n);
}

void sy_experts_bwd(const struct sy_exec *x, const struct sy_dispatch *r, const struct sy_expert_weights *w,
                    struct sy_gemm *problems, struct sy_gemm_part *parts, struct sy_mat dy, struct sy_mat gu,
                    const float *row_w, struct sy_mat a, struct sy_mat dgu, struct sy_mat hw, float *dw, struct sy_mat dx) {
    int n = per_expert(r, problems, parts, dy, w->w2, w->w2_step, w->d, a, w->f);
    x->ops->gemm(x, problems, n);
    x->ops->swiglu_bwd(x, &(struct sy_swiglu_bwd){
                              .rows = r->rows, .f = w->f, .gu = gu, .a = a, .w = row_w, .dgu = dgu, .hw = hw, .dw = dw});
    n = 0;
    for (int64_t e = 0; e < r->experts; e++) { /* one chain over W1's outputs, then W3's */
        int64_t lo = sy_dispatch_first(r, e), hi = sy_dispatch_first(r, e + 1);
        if (lo == hi)
            continue;
        struct sy_mat rows = sy_mat_rows(dgu, lo), w13 = at_expert(w->w13, w->w13_step, e);
        parts[2 * n] = (struct sy_gemm_part){rows, w13, w->f};
        parts[2 * n + 1] = (struct sy_gemm_part){sy_mat_cols(rows, w->f), sy_mat_rows(w13, w->f), w->f};
        problems[n] =
            (struct sy_gemm){.m = hi - lo, .n = w->d, .parts = &parts[2 * n], .n_parts = 2, .c = sy_mat_rows(dx, lo)};
        n++;
    }
    x->ops->gemm(x, problems, n);
}
