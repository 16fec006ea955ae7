/* Moving rows between tokens and experts: a stable counting sort of the routes, gathers, and the combining sum.
 *
 * combine: y = BF(sum over a token's experts ascending of fma(w, o, y), from +0, shared last); with C groups each of C equal
 * id ranges is summed so, one BF each, and the ranges are added ascending in fp32, from +0. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

void SY_FN(route_sort)(const struct sy_exec *x, const struct sy_route_sort *op) {
    int64_t b_count = op->sequences, per = op->seq_len * op->top_k, n = b_count * per, bins = op->experts * b_count;
    int64_t *offset = op->offset;
    (void)x;
    memset(offset, 0, (size_t)(bins + 1) * sizeof *offset);
    for (int64_t i = 0; i < n; i++) /* counts, one place up; then starts */
        offset[op->ids[i] * b_count + i / per + 1]++;
    for (int64_t i = 0; i < bins; i++)
        offset[i + 1] += offset[i];
    for (int64_t i = 0; i < n; i++) {
        int64_t row = offset[op->ids[i] * b_count + i / per]++;
        op->row[i] = (int32_t)row;
        op->route[row] = (int32_t)i;
    }
    for (int64_t i = bins; i > 0; i--) /* each start has moved to its end */
        offset[i] = offset[i - 1];
    offset[0] = 0;
}

static void permute_row(const struct sy_exec *x, const void *arg, int64_t row, float *v) {
    const struct sy_permute *op = arg;
    int64_t route = op->route[row], t = route / op->top_k;
    if (!op->w) {
        memcpy(mat_row(op->y, row), mat_row(op->x, t), (size_t)op->d * sy_dtype_bytes(op->x.dtype));
        return;
    }
    widen(op->x.dtype, op->d, mat_row(op->x, t), v);
    for (int64_t i = 0; i < op->d; i++)
        v[i] = op->w[route] * v[i];
    narrow(x, op->y.dtype, op->d, v, mat_row(op->y, row));
}

void SY_FN(permute)(const struct sy_exec *x, const struct sy_permute *op) { run_rows(x, op, op->rows, op->d, permute_row); }

static void combine_row(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_combine *op = arg;
    int64_t d = op->d, size = op->groups > 0 ? op->experts / op->groups : op->experts, k = 0;
    float *sum = scratch, *range = scratch + d, *v = scratch + 2 * d;
    memset(sum, 0, (size_t)d * sizeof(float));
    for (int64_t g = 0; g * size < op->experts; g++) {
        float *y = op->groups > 0 ? range : sum;
        int64_t first = k;
        if (op->groups > 0)
            memset(range, 0, (size_t)d * sizeof(float));
        for (; k < op->top_k && op->ids[t * op->top_k + k] < (g + 1) * size; k++) {
            float w = op->w ? op->w[t * op->top_k + k] : 1.0f;
            add_scaled(op->o.dtype, d, w, mat_row(op->o, op->row[t * op->top_k + k]), y);
        }
        for (int64_t i = 0; op->groups > 0 && k > first && i < d; i++)
            sum[i] = sum[i] + bf(x, range[i]);
    }
    if (op->shared.data) {
        widen(op->shared.dtype, d, mat_row(op->shared, t), v);
        for (int64_t i = 0; i < d; i++)
            sum[i] = sum[i] + v[i];
    }
    narrow(x, op->y.dtype, d, sum, mat_row(op->y, t));
}

void SY_FN(combine)(const struct sy_exec *x, const struct sy_combine *op) {
    assert(op->groups == 0 || (op->groups <= op->experts && op->experts % op->groups == 0));
    run_rows(x, op, op->tokens, 3 * op->d, combine_row);
}

void SY_FN(gather_f32)(const struct sy_exec *x, const struct sy_gather_f32 *op) {
    (void)x;
    for (int64_t i = 0; i < op->n; i++) {
        if (op->scatter)
            op->y[op->index[i]] = op->x[i];
        else
            op->y[i] = op->x[op->index[i]];
    }
}
