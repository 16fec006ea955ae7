/* RMSNorm (NUMERICS 3): ss = V64(x x); r = 1/sqrt(fma(ss, fp32(1/d), eps)); y = BF((x r) g). Backward: t = dy
 * g; c = V64(t x); k = ((c r) r) fp32(1/d); dx = BF(r fma(-k, x, t)), or BF(residual + that). dg is a row_sum
 * (reduce.c). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void fwd_row(const struct sy_exec *x, const void *arg, int64_t row, float *v) {
    const struct sy_rmsnorm_fwd *op = arg;
    int64_t t = row / op->heads, h = row % op->heads, d = op->d;
    widen(op->x.dtype, d, heads_row(op->x, t, h), v);
    float r = 1.0f / sqrtf(fmaf(v64_dot(d, v, v), (float)(1.0 / (double)d), op->eps));
    for (int64_t i = 0; i < d; i++)
        v[i] = v[i] * r * op->g[i];
    narrow(x, op->y.dtype, d, v, heads_row(op->y, t, h));
    if (op->r)
        op->r[row] = r;
}

void SY_FN(rmsnorm_fwd)(const struct sy_exec *x, const struct sy_rmsnorm_fwd *op) {
    run_rows(x, op, op->tokens * op->heads, op->d, fwd_row);
}

/* t = residual + BF(t), in fp32; as stored BF(t) lies in `rounded` for a while. */
static void add_residual(const struct sy_exec *x, enum sy_dtype dtype, int64_t d, const struct sy_heads *from,
                         const void *row, float *rounded, float *t) {
    narrow(x, dtype, d, t, rounded);
    widen(dtype, d, rounded, t);
    widen(from->dtype, d, row, rounded);
    for (int64_t i = 0; i < d; i++)
        t[i] = rounded[i] + t[i];
}

static void bwd_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_rmsnorm_bwd *op = arg;
    int64_t token = row / op->heads, h = row % op->heads, d = op->d;
    float *v = scratch, *t = scratch + d, r = op->r[row];
    widen(op->x.dtype, d, heads_row(op->x, token, h), v);
    widen(op->dy.dtype, d, heads_row(op->dy, token, h), t);
    for (int64_t i = 0; i < d; i++)
        t[i] = t[i] * op->g[i];
    float k = v64_dot(d, t, v) * r * r * (float)(1.0 / (double)d);
    for (int64_t i = 0; i < d; i++)
        t[i] = r * fmaf(-k, v[i], t[i]);
    if (op->residual.data)
        add_residual(x, op->dx.dtype, d, &op->residual, heads_row(op->residual, token, h), v, t);
    narrow(x, op->dx.dtype, d, t, heads_row(op->dx, token, h));
}

void SY_FN(rmsnorm_bwd)(const struct sy_exec *x, const struct sy_rmsnorm_bwd *op) {
    run_rows(x, op, op->tokens * op->heads, 2 * op->d, bwd_row);
}
