/* Deterministic top-k of each row as an op of its own: see topk.h. smallest: of the negated values, so that
 * ties go the same way. */
#include "ops/ref/topk.h"

#include "ops/ref/protos.h"

enum { MAX_THREADS = 1024 };

struct work {
    const struct sy_exec *x;
    const struct sy_topk *op;
    int64_t bad[MAX_THREADS];
};

static void one_row(const struct sy_topk *op, int64_t r, float *c) {
    const float *x = op->x + r * op->n;
    int32_t *ids = op->ids + r * op->k;
    for (int64_t i = 0; i < op->n; i++)
        c[i] = op->smallest ? -x[i] : x[i];
    top_k(op->n, op->k, c, ids);
    if (!op->sorted)
        sort_ids(op->k, ids);
    for (int64_t i = 0; op->values && i < op->k; i++)
        op->values[r * op->k + i] = x[ids[i]];
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    const struct sy_topk *op = w->op;
    int64_t lo, hi;
    sy_range(op->rows, 1, thread, n_threads, &lo, &hi);
    w->bad[thread] = -1;
    for (int64_t r = lo; r < hi; r++) {
        int nan = 0;
        for (int64_t i = 0; i < op->n; i++)
            nan |= op->x[r * op->n + i] != op->x[r * op->n + i];
        if (nan && w->bad[thread] < 0)
            w->bad[thread] = r;
        one_row(op, r, sy_exec_scratch(w->x, thread));
    }
}

void SY_FN(topk)(const struct sy_exec *x, const struct sy_topk *op) {
    struct work w = {.x = x, .op = op};
    assert(op->k <= op->n && (size_t)op->n * sizeof(float) <= x->scratch_bytes && sy_pool_size(x->pool) <= MAX_THREADS);
    sy_pool_run(x->pool, run, &w);
    *op->bad_row = lowest_bad(w.bad, sy_pool_size(x->pool));
}
