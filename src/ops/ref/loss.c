/* Cross entropy of rows of logits (NUMERICS 3): m = row max; e = EXP(x - m); Z = V64(e) over exactly V columns;
 * loss = LOG(Z) - (x_t - m), added as the integer rint(min(loss, 4096) 2^24); dlogit = BF((e (1/Z) - [i = t]) w). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

enum { MAX_THREADS = 1024 };

struct work {
    const struct sy_exec *x;
    const struct sy_cross_entropy *op;
    struct sums {
        int64_t loss, valid, bad;
    } sums[MAX_THREADS];
};

/* e becomes EXP(x - m); returns Z. A NaN logit would vanish in max and EXP: it is looked for. */
static float exponentials(int64_t v, const float *x, float *e, float *top, int *finite) {
    float m = max_of(v, x);
    int ok = 1;
    for (int64_t i = 0; i < v; i++)
        ok &= sy_f32_finite(x[i]);
    for (int64_t i = 0; i < v; i++)
        e[i] = sy_exp_f32(x[i] - m);
    *top = m;
    *finite = ok;
    return v64(v, e);
}

static void one_row(const struct sy_exec *x, const struct sy_cross_entropy *op, int64_t r, float *e, struct sums *sums) {
    int64_t v = op->vocab;
    int32_t label = op->labels[r];
    if (label < 0) {
        if (op->dlogits.data)
            memset(mat_row(op->dlogits, r), 0, (size_t)v * sy_dtype_bytes(op->dlogits.dtype));
        return;
    }
    float top;
    int finite;
    const float *logits = op->logits + r * v;
    float z = exponentials(v, logits, e, &top, &finite), loss = sy_log_f32(z) - (logits[label] - top);
    sums->valid++;
    if (!finite || !sy_f32_finite(loss))
        sums->bad++;
    else
        sums->loss += (int64_t)rint((double)(loss < 4096.0f ? loss : 4096.0f) * 0x1p24);
    if (!op->dlogits.data)
        return;
    float inverse = 1.0f / z;
    for (int64_t i = 0; i < v; i++)
        e[i] = e[i] * inverse;
    e[label] = e[label] - 1.0f;
    for (int64_t i = 0; i < v; i++)
        e[i] = e[i] * *op->w;
    narrow(x, op->dlogits.dtype, v, e, mat_row(op->dlogits, r));
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    struct sums sums = {0, 0, 0};
    int64_t lo, hi;
    sy_range(w->op->rows, 1, thread, n_threads, &lo, &hi);
    for (int64_t r = lo; r < hi; r++)
        one_row(w->x, w->op, r, sy_exec_scratch(w->x, thread), &sums);
    w->sums[thread] = sums;
}

void SY_FN(cross_entropy)(const struct sy_exec *x, const struct sy_cross_entropy *op) {
    struct work w = {.x = x, .op = op};
    assert((size_t)op->vocab * sizeof(float) <= x->scratch_bytes && sy_pool_size(x->pool) <= MAX_THREADS);
    sy_pool_run(x->pool, run, &w);
    for (int i = 0; i < sy_pool_size(x->pool); i++) {
        op->tally->loss += w.sums[i].loss;
        op->tally->n_valid += w.sums[i].valid;
        op->tally->n_bad += w.sums[i].bad;
    }
}
