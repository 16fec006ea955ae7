/* SwiGLU, sums of terms, the sigmoid gate (NUMERICS 2 and 3).
 *
 * Forward: s = g SIG(g), h = BF(s u). Backward, a = w a' or a': du = BF(a s), dg = BF((a u)(SIG(g) fma(g, 1 - SIG(g), 1)));
 * dw = B64 over f of a' h: a V64 per 128 columns, block sums added ascending. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void swiglu_fwd_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_swiglu_fwd *op = arg;
    float *g = scratch, *u = scratch + op->f;
    widen(op->gu.dtype, 2 * op->f, mat_row(op->gu, row), g);
    for (int64_t i = 0; i < op->f; i++)
        g[i] = g[i] * sy_sig_f32(g[i]) * u[i];
    narrow(x, op->h.dtype, op->f, g, mat_row(op->h, row));
}

void SY_FN(swiglu_fwd)(const struct sy_exec *x, const struct sy_swiglu_fwd *op) {
    run_rows(x, op, op->rows, 2 * op->f, swiglu_fwd_row);
}

static float b64_dot(int64_t n, const float *a, const float *b) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i += 128)
        sum += v64_dot(n - i < 128 ? n - i : 128, a + i, b + i);
    return sum;
}

/* h before its rounding, and dg | du; w is 1 where routes have no weight. */
static void swiglu_back(int64_t f, float w, const float *restrict gu, const float *restrict a, float *restrict h,
                        float *restrict dgu) {
    for (int64_t i = 0; i < f; i++) {
        float g = gu[i], u = gu[f + i], sig = sy_sig_f32(g), s = g * sig, ai = w * a[i];
        h[i] = s * u;
        dgu[f + i] = ai * s;
        dgu[i] = ai * u * (sig * fmaf(g, 1.0f - sig, 1.0f));
    }
}

static void swiglu_bwd_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_swiglu_bwd *op = arg;
    int64_t f = op->f;
    float *gu = scratch, *h = gu + 2 * f, *dgu = h + f;
    const float *a = (const float *)op->a.data + row * op->a.row;
    float w = op->w ? op->w[row] : 1.0f;
    widen(op->gu.dtype, 2 * f, mat_row(op->gu, row), gu);
    swiglu_back(f, w, gu, a, h, dgu);
    narrow(x, op->dgu.dtype, 2 * f, dgu, mat_row(op->dgu, row));
    for (int64_t i = 0; i < f; i++)
        h[i] = bf(x, h[i]);
    if (op->dw)
        op->dw[row] = b64_dot(f, a, h);
    if (op->w)
        for (int64_t i = 0; i < f; i++)
            h[i] = w * h[i];
    narrow(x, op->hw.dtype, f, h, mat_row(op->hw, row));
}

void SY_FN(swiglu_bwd)(const struct sy_exec *x, const struct sy_swiglu_bwd *op) {
    run_rows(x, op, op->rows, 5 * op->f, swiglu_bwd_row);
}

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

void SY_FN(join)(const struct sy_exec *x, const struct sy_join *op) { run_rows(x, op, op->rows, 2 * op->d, join_row); }

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

void SY_FN(rowdot)(const struct sy_exec *x, const struct sy_rowdot *op) { run_rows(x, op, op->rows, 2 * op->d, rowdot_row); }
