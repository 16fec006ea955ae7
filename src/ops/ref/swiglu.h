/* SwiGLU of one row, behind a product (NUMERICS 3): s = g SIG(g), h = BF(s u). Back, a = w a' or a': du =
 * BF(a s), dg = BF((a u)(SIG(g) fma(g, 1 - SIG(g), 1))); dw = B64 over f of a' h: a V64 per 128 columns,
 * block sums added ascending. */
#ifndef SY_OPS_REF_SWIGLU_H
#define SY_OPS_REF_SWIGLU_H

#include "ops/ref/rows.h"

/* Columns j .. j + n - 1 of h, from those of g and of u. scratch: 2 n floats. */
static inline void swiglu_fwd_row(const struct sy_exec *x, const struct sy_linear *op, int64_t row, int64_t j,
                                  int64_t n, float *scratch) {
    float *g = scratch, *u = scratch + n;
    struct sy_mat gu = sy_mat_cols(op->y, j), h = sy_mat_cols(op->h, j);
    assert((size_t)(2 * n) * sizeof(float) <= x->scratch_bytes);
    widen(gu.dtype, n, mat_row(gu, row), g);
    widen(gu.dtype, n, mat_row(sy_mat_cols(gu, op->n / 2), row), u);
    for (int64_t i = 0; i < n; i++)
        g[i] = g[i] * sy_sig_f32(g[i]) * u[i];
    narrow(x, h.dtype, n, g, mat_row(h, row));
}

static inline float b64_dot(int64_t n, const float *a, const float *b) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i += 128)
        sum += v64_dot(n - i < 128 ? n - i : 128, a + i, b + i);
    return sum;
}

/* h before its rounding, and dg | du; w is 1 where routes have no weight. */
static inline void swiglu_back(int64_t f, float w, const float *restrict gu, const float *restrict a,
                               float *restrict h, float *restrict dgu) {
    for (int64_t i = 0; i < f; i++) {
        float g = gu[i], u = gu[f + i], sig = sy_sig_f32(g), s = g * sig, ai = w * a[i];
        h[i] = s * u;
        dgu[f + i] = ai * s;
        dgu[i] = ai * u * (sig * fmaf(g, 1.0f - sig, 1.0f));
    }
}

/* a: a' of the row. scratch: 5 f floats. */
static inline void swiglu_bwd_row(const struct sy_exec *x, const struct sy_linear_dx *op, int64_t row,
                                  const float *a, float *scratch) {
    int64_t f = op->n;
    float *gu = scratch, *h = gu + 2 * f, *dgu = h + f;
    float w = op->w ? op->w[row] : 1.0f;
    assert((size_t)(5 * f) * sizeof(float) <= x->scratch_bytes);
    widen(op->gu.dtype, 2 * f, mat_row(op->gu, row), gu);
    swiglu_back(f, w, gu, a, h, dgu);
    narrow(x, op->dgu.dtype, 2 * f, dgu, mat_row(op->dgu, row));
    round_all(x, f, h);
    if (op->dw)
        op->dw[row] = b64_dot(f, a, h);
    if (op->w)
        for (int64_t i = 0; i < f; i++)
            h[i] = w * h[i];
    narrow(x, op->hw.dtype, f, h, mat_row(op->hw, row));
}

#endif
