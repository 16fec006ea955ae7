/* The gradient of a value that all heads use: BF terms of the heads added ascending in fp32, one BF. */
#include "ops/ref/protos.h"
#include "ops/ref/tier.h"

struct work {
    const struct sy_exec *x;
    const struct sy_head_sum *op;
};

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    const struct sy_head_sum *op = w->op;
    float *sum = sy_exec_scratch(w->x, thread), *row = sum + op->d;
    assert(2 * (size_t)op->d * sizeof(float) <= w->x->scratch_bytes);
    int64_t lo, hi;
    sy_range(op->tokens, 1, thread, n_threads, &lo, &hi);
    for (int64_t t = lo; t < hi; t++) {
        memset(sum, 0, (size_t)op->d * sizeof(float));
        for (int64_t h = 0; h < op->heads; h++) {
            widen(op->x.dtype, op->d, sy_at(op->x.data, op->x.dtype, t * op->x.token + h * op->x.head), row);
            for (int64_t i = 0; i < op->d; i++)
                sum[i] += row[i];
        }
        narrow(w->x, op->y.dtype, op->d, sum, sy_at(op->y.data, op->y.dtype, t * op->y.token));
    }
}

void SY_FN(head_sum)(const struct sy_exec *x, const struct sy_head_sum *op) {
    struct work w = {x, op};
    sy_pool_run(pool_for(x, op->tokens * op->heads * op->d), run, &w);
}
