/* The gradient of a value that all heads use: BF terms of the heads added ascending in fp32, one BF. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void sum_row(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_head_sum *op = arg;
    float *sum = scratch, *row = scratch + op->d;
    memset(sum, 0, (size_t)op->d * sizeof(float));
    for (int64_t h = 0; h < op->heads; h++) {
        widen(op->x.dtype, op->d, heads_row(op->x, t, h), row);
        for (int64_t i = 0; i < op->d; i++)
            sum[i] += row[i];
    }
    narrow(x, op->y.dtype, op->d, sum, heads_row(op->y, t, 0));
}

void SY_FN(head_sum)(const struct sy_exec *x, const struct sy_head_sum *op) {
    run_rows(x, op, op->tokens, 2 * op->d, sum_row);
}
