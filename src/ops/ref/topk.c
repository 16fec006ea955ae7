/* Deterministic top-k of each row as an op of its own: see topk.h. smallest: of the negated values, so that
 * ties go the same way. Backward places the gradients of the values among zeros. */
#include "ops/ref/topk.h"

#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

enum { MAX_THREADS = 1024 };

struct work {
    const struct sy_exec *x;
    const struct sy_topk *op;
    int64_t bad[MAX_THREADS];
};

/* The chosen in ascending order: those that are not after the last of them. */
static void in_order(int64_t n, int64_t k, const float *c, int32_t *ids) {
    int32_t last = ids[k - 1];
    for (int32_t i = 0; i < n; i++)
        if (i == last || before(c, i, last))
            *ids++ = i;
}

static void one_row(const struct sy_topk *op, int64_t r, float *c) {
    const float *x = op->x + r * op->n;
    int32_t *ids = op->ids + r * op->k;
    for (int64_t i = 0; i < op->n; i++)
        c[i] = op->smallest ? -x[i] : x[i];
    top_k(op->n, op->k, c, ids);
    if (!op->sorted)
        in_order(op->n, op->k, c, ids);
}

/* A row with a NaN: in range and defined. */
static void reported_row(const struct sy_topk *op, int64_t r) {
    for (int64_t i = 0; i < op->k; i++)
        op->ids[r * op->k + i] = (int32_t)i;
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
        if (nan)
            reported_row(op, r);
        else
            one_row(op, r, sy_exec_scratch(w->x, thread));
        for (int64_t i = r * op->k; op->values && i < (r + 1) * op->k; i++)
            op->values[i] = op->x[r * op->n + op->ids[i]];
    }
}

void SY_FN(topk)(const struct sy_exec *x, const struct sy_topk *op) {
    struct work w = {.x = x, .op = op};
    assert(op->k >= 1 && op->k <= op->n && (size_t)op->n * sizeof(float) <= x->scratch_bytes &&
           sy_pool_size(x->pool) <= MAX_THREADS);
    sy_pool_run(x->pool, run, &w);
    *op->bad_row = lowest_bad(w.bad, sy_pool_size(x->pool));
}

static void place_row(const struct sy_exec *x, const void *arg, int64_t r, float *scratch) {
    const struct sy_topk_bwd *op = arg;
    float *dx = op->dx + r * op->n;
    (void)x;
    (void)scratch;
    memset(dx, 0, (size_t)op->n * sizeof *dx);
    for (int64_t i = r * op->k; i < (r + 1) * op->k; i++)
        dx[op->ids[i]] = op->dvalues[i];
}

void SY_FN(topk_bwd)(const struct sy_exec *x, const struct sy_topk_bwd *op) {
    run_rows(x, op, op->rows, 0, place_row);
}
