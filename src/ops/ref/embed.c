/* Embedding: rows by id; backward adds dy in token order, fp32, the columns dealt to the threads. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void fwd_row(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_embed_fwd *op = arg;
    (void)x;
    (void)scratch;
    assert(op->w.dtype == op->y.dtype);
    memcpy(mat_row(op->y, t), mat_row(op->w, op->ids[t]), (size_t)op->d * sy_dtype_bytes(op->y.dtype));
}

void SY_FN(embed_fwd)(const struct sy_exec *x, const struct sy_embed_fwd *op) { run_rows(x, op, op->tokens, 0, fwd_row); }

struct work {
    const struct sy_exec *x;
    const struct sy_embed_bwd *op;
};

static void bwd(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    const struct sy_embed_bwd *op = w->op;
    float *v = sy_exec_scratch(w->x, thread);
    int64_t lo, hi;
    sy_range(op->d, 16, thread, n_threads, &lo, &hi);
    for (int64_t t = 0; t < op->tokens; t++) {
        float *leaf = op->leaf + op->ids[t] * op->d + lo;
        widen(op->dy.dtype, hi - lo, sy_at(op->dy.data, op->dy.dtype, t * op->dy.row + lo), v);
        for (int64_t i = 0; i < hi - lo; i++)
            leaf[i] = leaf[i] + v[i];
    }
}

void SY_FN(embed_bwd)(const struct sy_exec *x, const struct sy_embed_bwd *op) {
    struct work w = {x, op};
    assert((size_t)op->d * sizeof(float) <= x->scratch_bytes);
    sy_pool_run(pool_for(x, op->tokens * op->d), bwd, &w);
}
