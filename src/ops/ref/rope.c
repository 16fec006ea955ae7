/* Rotary position embedding, in place: y0 = BF(fma(-x1, s, x0 c)), y1 = BF(fma(x1, c, x0 s)); backward -s for s.
 * Pairs are (2i, 2i+1) or, with halves, (i, i + d/2). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void rope_row(const struct sy_exec *x, const void *arg, int64_t row, float *scratch) {
    const struct sy_rope *op = arg;
    int64_t t = row / op->heads, h = row % op->heads, half = op->d / 2;
    int64_t step = op->halves ? 1 : 2, gap = op->halves ? half : 1;
    const float *c = op->cos + op->position[t] * half, *s = op->sin + op->position[t] * half;
    float *v = scratch, *y = scratch + op->d, sign = op->backward ? -1.0f : 1.0f;
    widen(op->x.dtype, op->d, heads_row(op->x, t, h), v);
    for (int64_t i = 0; i < half; i++) {
        float x0 = v[i * step], x1 = v[i * step + gap], sn = sign * s[i];
        y[i * step] = fmaf(-x1, sn, x0 * c[i]);
        y[i * step + gap] = fmaf(x1, c[i], x0 * sn);
    }
    narrow(x, op->x.dtype, op->d, y, heads_row(op->x, t, h));
}

void SY_FN(rope)(const struct sy_exec *x, const struct sy_rope *op) {
    run_rows(x, op, op->tokens * op->heads, 2 * op->d, rope_row);
}
