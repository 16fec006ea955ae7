/* Sums over tokens and lanes: R64 down rows, elementwise adds, sums of squares of 1024-blocks (NUMERICS 2 and 4). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

/* --- R64: per 64 rows of a sequence one fma chain from +0, block sums added ascending; columns dealt to the threads ---- */

struct row_sum_work {
    const struct sy_exec *x;
    const struct sy_row_sum *op;
};

static void add_row(const struct sy_row_sum *op, int64_t row, int64_t lo, int64_t n, float *a, float *b, float *chain) {
    int64_t t = row / op->heads, h = row % op->heads;
    widen(op->a.dtype, n, sy_at(op->a.data, op->a.dtype, t * op->a.token + h * op->a.head + lo), a);
    if (!op->x.data) {
        for (int64_t i = 0; i < n; i++)
            chain[i] = a[i] + chain[i];
        return;
    }
    float r = op->r ? op->r[row] : 1.0f;
    widen(op->x.dtype, n, sy_at(op->x.data, op->x.dtype, t * op->x.token + h * op->x.head + lo), b);
    for (int64_t i = 0; i < n; i++)
        chain[i] = fmaf(a[i], b[i] * r, chain[i]);
}

static void row_sum_part(void *arg, int thread, int n_threads) {
    struct row_sum_work *w = arg;
    const struct sy_row_sum *op = w->op;
    int64_t lo, hi;
    sy_range(op->d, 16, thread, n_threads, &lo, &hi);
    int64_t n = hi - lo;
    float *chain = sy_exec_scratch(w->x, thread), *a = chain + n, *b = a + n;
    for (int64_t s = 0; s < op->sequences; s++)
        for (int64_t block = 0; block < op->rows_per_sequence; block += 64) {
            memset(chain, 0, (size_t)n * sizeof(float));
            for (int64_t r = block; r < block + 64 && r < op->rows_per_sequence; r++)
                add_row(op, s * op->rows_per_sequence + r, lo, n, a, b, chain);
            for (int64_t i = 0; i < n; i++)
                op->out[lo + i] = op->out[lo + i] + chain[i];
        }
}

void SY_FN(row_sum)(const struct sy_exec *x, const struct sy_row_sum *op) {
    struct row_sum_work w = {x, op};
    assert(3 * (size_t)op->d * sizeof(float) <= x->scratch_bytes);
    sy_pool_run(pool_for(x, op->sequences * op->rows_per_sequence * op->d), row_sum_part, &w);
}

/* --- y = y + x ------------------------------------------------------------------------------------------------ */

static void add_part(void *arg, int thread, int n_threads) {
    const struct sy_add_f32 *op = arg;
    int64_t lo, hi;
    sy_range(op->n, 1024, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++)
        op->y[i] = op->y[i] + op->x[i];
}

void SY_FN(add_f32)(const struct sy_exec *x, const struct sy_add_f32 *op) {
    struct sy_add_f32 copy = *op;
    sy_pool_run(pool_for(x, op->n), add_part, &copy);
}

/* --- blocks of squares ---------------------------------------------------------------------------------------- */

enum { BLOCK = 1024, LANES = 16, MAX_THREADS = 1024 };

struct square_work {
    const struct sy_square_sum *op;
    int64_t bad[MAX_THREADS];
};

static double square_block(const float *x, int64_t n, int64_t *bad) {
    double lane[LANES] = {0};
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int64_t i = whole; i < n; i++)
        lane[i - whole] += (double)x[i] * (double)x[i];
    for (int64_t i = 0; i < n; i++)
        *bad += !sy_f32_finite(x[i]);
    for (int h = LANES / 2; h >= 1; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

static void square_part(void *arg, int thread, int n_threads) {
    struct square_work *w = arg;
    int64_t lo, hi, bad = 0;
    sy_range(w->op->n, BLOCK, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i += BLOCK)
        w->op->out[i / BLOCK] = square_block(w->op->x + i, w->op->n - i < BLOCK ? w->op->n - i : BLOCK, &bad);
    w->bad[thread] = bad;
}

void SY_FN(square_sum)(const struct sy_exec *x, const struct sy_square_sum *op) {
    struct square_work w = {.op = op};
    assert(sy_pool_size(x->pool) <= MAX_THREADS);
    sy_pool_run(x->pool, square_part, &w);
    for (int i = 0; i < sy_pool_size(x->pool); i++)
        *op->n_bad += w.bad[i];
}
