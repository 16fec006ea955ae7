/* Moving bits inside an exec's memory: fill and copy. */
#include "ops/ref/protos.h"

enum { GRAIN = 4096 };

static void fill_part(void *arg, int thread, int n_threads) {
    const struct sy_fill *op = arg;
    int64_t lo, hi;
    sy_range(op->n, GRAIN, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++)
        ((uint32_t *)op->data)[i] = op->word;
}

void SY_FN(fill)(const struct sy_exec *x, const struct sy_fill *op) {
    sy_pool_run(pool_for(x, op->n), fill_part, (void *)(uintptr_t)op);
}

void SY_FN(copy)(const struct sy_exec *x, const struct sy_copy *op) {
    (void)x;
    for (int64_t r = 0; r < op->rows && op->bytes > 0; r++)
        memcpy((char *)op->to + r * op->to_row, (const char *)op->from + r * op->from_row, (size_t)op->bytes);
}
