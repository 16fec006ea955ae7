/* Rotary position embedding, in place: y0 = BF(fma(-x1, s, x0 c)), y1 = BF(fma(x1, c, x0 s)); backward -s for
 * s. Pairs are (2i, 2i+1) or, with halves, (i, i + d/2). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

struct angles { /* of a token */
    int64_t n;
    const float *cos, *sin;
    float sign; /* of the sine: -1 backward */
};

/* step and gap are constants where it is called, so that each kind is its own loop. */
static inline void rotate(int64_t step, int64_t gap, struct angles a, const float *restrict v,
                          float *restrict y) {
    const float *restrict c = a.cos, *restrict s = a.sin;
    for (int64_t i = 0; i < a.n; i++) {
        float x0 = v[i * step], x1 = v[i * step + gap], sn = a.sign * s[i];
        y[i * step] = fmaf(-x1, sn, x0 * c[i]);
        y[i * step + gap] = fmaf(x1, c[i], x0 * sn);
    }
}

/* Some 16 heads ahead: heads lie apart, and tokens beyond a page, where no hardware fetches for the loop. */
static void fetch_ahead(const struct sy_rope *op, int64_t t, int64_t h) {
    int64_t next = t + 1 + 15 / op->heads;
    const char *p = heads_row(op->x, next < op->tokens ? next : t, h);
    for (int64_t i = 0; i < op->d * (int64_t)sy_dtype_bytes(op->x.dtype); i += 64)
        __builtin_prefetch(p + i, 1);
}

static void rope_token(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_rope *op = arg;
    int64_t half = op->d / 2, at = op->position[t] * half;
    float *v = scratch, *y = scratch + op->d;
    struct angles a = {half, op->cos + at, op->sin + at, op->backward ? -1.0f : 1.0f};
    for (int64_t h = 0; h < op->heads; h++) {
        fetch_ahead(op, t, h);
        widen(op->x.dtype, op->d, heads_row(op->x, t, h), v);
        if (op->halves)
            rotate(1, half, a, v, y);
        else
            rotate(2, 1, a, v, y);
        narrow(x, op->x.dtype, op->d, y, heads_row(op->x, t, h));
    }
}

void SY_FN(rope)(const struct sy_exec *x, const struct sy_rope *op) {
    run_rows(x, op, op->tokens, op->heads * 2 * op->d, rope_token);
}
