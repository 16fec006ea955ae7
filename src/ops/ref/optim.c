/* AdamW on fp32 masters, and BF of the masters (NUMERICS 3).
 *
 * g = clip G; m = fma(b1, m, (1-b1) g); v = fma(b2, v, ((1-b2) g) g), below 2^-126 both are stored as +0;
 * q = (m c1)/(sqrt(v c2) + eps); w = fma(-lr, fma(wd, w, q), w). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

struct work {
    const struct sy_exec *x;
    const void *op;
};

static inline float at_least_normal(float v) { return (sy_f32_bits(v) & 0x7fffffffu) < 0x00800000u ? 0.0f : v; }

static void adamw_part(void *arg, int thread, int n_threads) {
    const struct sy_adamw *op = ((struct work *)arg)->op;
    const struct sy_adamw c = *op;
    int64_t lo, hi;
    sy_range(c.n, 1024, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        float g = c.clip * c.g[i];
        float m = at_least_normal(fmaf(c.b1, c.m[i], c.one_b1 * g));
        float v = at_least_normal(fmaf(c.b2, c.v[i], c.one_b2 * g * g));
        float q = (m * c.c1) / (sqrtf(v * c.c2) + c.eps);
        c.m[i] = m;
        c.v[i] = v;
        c.w[i] = fmaf(-c.lr, fmaf(c.wd, c.w[i], q), c.w[i]);
    }
}

void SY_FN(adamw)(const struct sy_exec *x, const struct sy_adamw *op) {
    struct work w = {x, op};
    sy_pool_run(pool_for(x, op->n), adamw_part, &w);
}

static void cast_part(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    const struct sy_cast *op = w->op;
    int64_t lo, hi;
    sy_range(op->n, 1024, thread, n_threads, &lo, &hi);
    narrow(w->x, w->x->dtype, hi - lo, op->x + lo, sy_at(op->y, w->x->dtype, lo));
}

void SY_FN(cast)(const struct sy_exec *x, const struct sy_cast *op) {
    struct work w = {x, op};
    sy_pool_run(pool_for(x, op->n), cast_part, &w);
}
