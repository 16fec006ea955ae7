/* Cross entropy of rows of logits by blocks of 128 columns (NUMERICS 3), c = log2 e. A block is what a tile
 * of the head's product can make by itself; the last one is what is left of the columns:
 *
 *     M_b = rint(c max x), an integer;  Z_b = V64 of EXP2(fma(x, c, -M_b))
 *     M = max M_b;  Z = V64 over b of Z_b EXP2(M_b - M), exact products;  e = EXP2(fma(x, c, -M))
 *     loss = max(+0, (LOG2(Z) - (x_t c - M)) ln 2) in fp64 from LOG2(Z) on, where x_t c is exact; added as the
 *            integer rint(min(loss, 4096) 2^24)
 *     dlogit = BF((e (1/Z) - [i = t]) w)
 *
 * A logit of -Inf has e = +0. A row is counted as bad and not summed with a NaN, which EXP2 would hide, with
 * a Z that is not above 0 and finite (+Inf, no finite logit, logits so large that fp32 has no fraction left),
 * or with a loss that is not finite.
 */
#include <float.h>

#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

enum { MAX_THREADS = 1024, BLOCK = 128 };
#define LOG2_E 1.44269504f
#define LN_2 0x1.62e42fefa39efp-1

struct work {
    const struct sy_exec *x;
    const struct sy_cross_entropy *op;
    struct sums {
        int64_t loss, valid, bad;
    } sums[MAX_THREADS];
};

static int64_t blocks_of(int64_t v) { return (v + BLOCK - 1) / BLOCK; }

/* e[n] = EXP2(fma(x, c, -m)). */
static void exponentials(int64_t n, const float *restrict x, float m, float *restrict e) {
    for (int64_t i = 0; i < n; i++)
        e[i] = sy_exp2_f32(fmaf(x[i], LOG2_E, -m));
}

struct row { /* of logits x [v]; m, z [blocks] and e [v] lie in scratch */
    int64_t v;
    const float *x;
    float *m, *z, *e;
    float most, all; /* M and Z; z is then Z_b EXP2(M_b - M) */
    int nan;
};

static int64_t width(const struct row *r, int64_t b) {
    return r->v - b * BLOCK < BLOCK ? r->v - b * BLOCK : BLOCK;
}

static struct row sum_row(int64_t v, const float *x, float *scratch) {
    int64_t blocks = blocks_of(v);
    struct row r = {
        .v = v, .x = x, .m = scratch, .z = scratch + blocks, .e = scratch + 2 * blocks, .most = -INFINITY};
    for (int64_t b = 0; b < blocks; b++) {
        const float *xb = x + b * BLOCK;
        int64_t n = width(&r, b);
        int nan = 0;
        for (int64_t i = 0; i < n; i++)
            nan |= xb[i] != xb[i];
        r.nan |= nan;
        r.m[b] = rintf(LOG2_E * max_of(n, xb));
        exponentials(n, xb, r.m[b], r.e + b * BLOCK);
        r.z[b] = v64(n, r.e + b * BLOCK);
        r.most = r.m[b] > r.most ? r.m[b] : r.most;
    }
    for (int64_t b = 0; b < blocks; b++)
        r.z[b] *= sy_exp2_f32(r.m[b] - r.most);
    r.all = v64(blocks, r.z);
    return r;
}

/* e becomes dlogit before BF; a block whose maximum is the row's has its e already. */
static void gradient(const struct row *r, int64_t label, float w) {
    float inverse = 1.0f / r->all, *restrict e = r->e;
    for (int64_t b = 0; b < blocks_of(r->v); b++)
        if (r->m[b] != r->most)
            exponentials(width(r, b), r->x + b * BLOCK, r->most, e + b * BLOCK);
    float at_label = (e[label] * inverse - 1.0f) * w;
    for (int64_t i = 0; i < r->v; i++)
        e[i] = e[i] * inverse * w;
    e[label] = at_label;
}

static double loss_of(const struct row *r, int32_t label) {
    double logit = (double)r->x[label] * (double)LOG2_E - (double)r->most;
    double loss = ((double)sy_log2_f32(r->all) - logit) * LN_2;
    return loss < 0.0 ? 0.0 : loss;
}

static void one_row(const struct sy_exec *x, const struct sy_cross_entropy *op, int64_t r, float *scratch,
                    struct sums *sums) {
    int64_t v = op->vocab;
    int32_t label = op->labels[r];
    if (label < 0) {
        if (op->dlogits.data)
            memset(mat_row(op->dlogits, r), 0, (size_t)v * sy_dtype_bytes(op->dlogits.dtype));
        return;
    }
    struct row q = sum_row(v, op->logits + r * v, scratch);
    double loss = loss_of(&q, label);
    sums->valid++;
    if (q.nan || !(q.all > 0.0f) || !sy_f32_finite(q.all) || !(loss <= DBL_MAX))
        sums->bad++;
    else
        sums->loss += (int64_t)rint((loss < 4096.0 ? loss : 4096.0) * 0x1p24);
    if (!op->dlogits.data)
        return;
    gradient(&q, label, *op->w);
    narrow(x, op->dlogits.dtype, v, q.e, mat_row(op->dlogits, r));
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
    size_t floats = (size_t)(2 * blocks_of(op->vocab) + op->vocab);
    assert(floats * sizeof(float) <= x->scratch_bytes && sy_pool_size(x->pool) <= MAX_THREADS);
    (void)floats;
    sy_pool_run(x->pool, run, &w);
    for (int i = 0; i < sy_pool_size(x->pool); i++) {
        op->tally->loss += w.sums[i].loss;
        op->tally->n_valid += w.sums[i].valid;
        op->tally->n_bad += w.sums[i].bad;
    }
}
