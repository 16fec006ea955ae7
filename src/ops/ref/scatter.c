/* scatter_add: rows added to rows named by an index, in ascending order of the rows added, so that every element is one
 * chain whatever the threads do. They share the columns; where these are too few, the rows of out, and each then looks
 * through the whole index. */
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
    for (int64_t i = 0; i < op->n; i++) {
        int64_t row = op->index[i];
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
