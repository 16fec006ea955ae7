/* scatter_add: rows added to rows named by an index, in ascending order of the rows added, so that every
 * element is one chain whatever the threads do. They share the columns; where these are too few, the rows of
 * out, and each then looks through the whole index. fold_rows: sums of such rows are added up, and what was
 * added is cleared. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

enum { GRAIN = 16 }; /* columns */

static void add_plain(enum sy_dtype t, int64_t d, const void *restrict src, float *restrict y) {
    if (t == SY_F32) {
        const float *s = src;
        for (int64_t i = 0; i < d; i++)
            y[i] = y[i] + s[i];
    } else {
        const uint16_t *s = src;
        for (int64_t i = 0; i < d; i++)
            y[i] = y[i] + f32_of(s[i]);
    }
}

static void part(void *arg, int thread, int n_threads) {
    const struct sy_scatter_add *op = arg;
    int64_t lo = 0, hi = op->d, first = 0, end = op->out_rows;
    if (op->d >= (int64_t)GRAIN * n_threads)
        sy_range(op->d, GRAIN, thread, n_threads, &lo, &hi);
    else
        sy_range(op->out_rows, 1, thread, n_threads, &first, &end);
    int64_t n = op->used ? *op->used : op->n;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = op->index[i] < 0 || op->top_k == 0 ? op->index[i] : op->index[i] / op->top_k;
        if (row < first || row >= end)
            continue;
        float *y = (float *)op->out.data + row * op->out.row + lo;
        const void *src = sy_at(op->src.data, op->src.dtype, i * op->src.row + lo);
        if (op->scale)
            add_scaled(op->src.dtype, hi - lo, op->scale[i], src, y);
        else
            add_plain(op->src.dtype, hi - lo, src, y);
    }
}

void SY_FN(scatter_add)(const struct sy_exec *x, const struct sy_scatter_add *op) {
    struct sy_scatter_add copy = *op;
    assert(op->out.dtype == SY_F32 && op->out.col == 1 && op->src.col == 1);
    sy_pool_run(pool_for(x, op->n * op->d), part, &copy);
}

static void fold_part(void *arg, int thread, int n_threads) {
    const struct sy_fold_rows *op = arg;
    int64_t lo, hi;
    sy_range(op->d, GRAIN, thread, n_threads, &lo, &hi);
    for (int64_t i = 0; i < op->n; i++) {
        float *x = op->x + op->index[i] * op->d, *y = op->y ? op->y + op->index[i] * op->d : NULL;
        for (int64_t j = lo; y && j < hi; j++)
            y[j] = y[j] + x[j];
        memset(x + lo, 0, (size_t)(hi - lo) * sizeof *x);
    }
}

void SY_FN(fold_rows)(const struct sy_exec *x, const struct sy_fold_rows *op) {
    sy_pool_run(pool_for(x, op->n * op->d), fold_part, (void *)(uintptr_t)op);
}
