/* Sums of terms, the sigmoid gate, dot products of rows (NUMERICS 2 and 3). SwiGLU stands behind its
 * products: swiglu.h. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void join_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_join *op = arg;
    float *sum = scratch, *t = scratch + op->d;
    widen(op->term[0].dtype, op->d, mat_row(op->term[0], row), sum);
    for (int k = 1; k < op->n; k++) {
        widen(op->term[k].dtype, op->d, mat_row(op->term[k], row), t);
        for (int64_t i = 0; i < op->d; i++)
            sum[i] = sum[i] + t[i];
    }
    narrow(x, op->y.dtype, op->d, sum, mat_row(op->y, row));
}

void SY_FN(join)(const struct sy_exec *x, const struct sy_join *op) {
    run_rows(x, op, op->rows, 2 * op->d, join_row);
}

static void gate_row(const struct sy_exec *x, const void *arg, int64_t row, float *y) {
    const struct sy_sigmoid_gate *op = arg;
    float s = sy_sig_f32(op->logit[row]);
    widen(op->y.dtype, op->d, mat_row(op->y, row), y);
    for (int64_t i = 0; i < op->d; i++)
        y[i] = s * y[i];
    narrow(x, op->y.dtype, op->d, y, mat_row(op->y, row));
}

void SY_FN(sigmoid_gate)(const struct sy_exec *x, const struct sy_sigmoid_gate *op) {
    run_rows(x, op, op->rows, op->d, gate_row);
}

static void gate_bwd_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_sigmoid_gate_bwd *op = arg;
    float *y = scratch, *dy = scratch + op->d, s = sy_sig_f32(op->logit[row]);
    widen(op->y_in.dtype, op->d, mat_row(op->y_in, row), y);
    widen(op->dy.dtype, op->d, mat_row(op->dy, row), dy);
    float dl = v64_dot(op->d, dy, y) * (s * (1.0f - s));
    narrow(x, op->dlogit.dtype, 1, &dl, mat_row(op->dlogit, row));
    for (int64_t i = 0; i < op->d; i++)
        dy[i] = s * dy[i];
    narrow(x, op->dy_in.dtype, op->d, dy, mat_row(op->dy_in, row));
}

void SY_FN(sigmoid_gate_bwd)(const struct sy_exec *x, const struct sy_sigmoid_gate_bwd *op) {
    run_rows(x, op, op->rows, 2 * op->d, gate_bwd_row);
}

static void rowdot_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_rowdot *op = arg;
    (void)x;
    widen(op->a.dtype, op->d, mat_row(op->a, row), scratch);
    widen(op->b.dtype, op->d, mat_row(op->b, row), scratch + op->d);
    op->y[row] = v64_dot(op->d, scratch, scratch + op->d);
}

void SY_FN(rowdot)(const struct sy_exec *x, const struct sy_rowdot *op) {
    run_rows(x, op, rows_used(&op->rows), 2 * op->d, rowdot_row);
}
