/* Sums over tokens and lanes: R64 down rows, elementwise adds, the gradient's norm (NUMERICS 2 to 4). */
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
    float *chain = sy_exec_scratch(w->x, thread), *a = chain + n, *b = a + n, *sum = b + n;
    for (int64_t i = 0; i < n; i++)
        sum[i] = op->acc ? op->acc[lo + i] : 0.0f;
    for (int64_t s = 0; s < op->sequences; s++)
        for (int64_t block = 0; block < op->rows_per_sequence; block += 64) {
            memset(chain, 0, (size_t)n * sizeof(float));
            for (int64_t r = block; r < block + 64 && r < op->rows_per_sequence; r++)
                add_row(op, s * op->rows_per_sequence + r, lo, n, a, b, chain);
            for (int64_t i = 0; i < n; i++)
                sum[i] = sum[i] + chain[i];
        }
    for (int64_t i = 0; i < n; i++)
        op->out[lo + i] = op->fold ? op->out[lo + i] + sum[i] : sum[i];
}

void SY_FN(row_sum)(const struct sy_exec *x, const struct sy_row_sum *op) {
    struct row_sum_work w = {x, op};
    assert(4 * (size_t)op->d * sizeof(float) <= x->scratch_bytes);
    sy_pool_run(pool_for(x, op->sequences * op->rows_per_sequence * op->d), row_sum_part, &w);
}

/* --- y = y + x ------------------------------------------------------------------------------------------------ */

static void add_part(void *arg, int thread, int n_threads) {
    const struct sy_add_f32 *op = arg;
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_add_item *q = &op->item[k];
        int64_t lo, hi;
        sy_range(q->n, 1024, thread, n_threads, &lo, &hi);
        for (int64_t i = lo; i < hi; i++)
            q->y[i] = q->y[i] + q->x[i];
    }
}

void SY_FN(add_f32)(const struct sy_exec *x, const struct sy_add_f32 *op) {
    int64_t n = 0;
    for (int k = 0; k < op->n_items; k++)
        n += op->item[k].n;
    sy_pool_run(pool_for(x, n), add_part, (void *)(uintptr_t)op);
}

/* --- blocks of squares ---------------------------------------------------------------------------------------- */

enum { BLOCK = 1024, LANES = 16 };

struct norm_work {
    const struct sy_exec *x;
    const struct sy_norm *op;
};

/* Of a thread, in its scratch. */
struct norm_sums {
    struct sy_exact_sum sum;
    int64_t bad;
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

static void norm_part(void *arg, int thread, int n_threads) {
    const struct norm_work *w = arg;
    struct norm_sums *s = sy_exec_scratch(w->x, thread);
    *s = (struct norm_sums){0};
    for (int k = 0; k < w->op->n_items; k++) {
        const struct sy_norm_item *q = &w->op->item[k];
        int64_t lo, hi;
        sy_range(q->n, BLOCK, thread, n_threads, &lo, &hi);
        for (int64_t i = lo; i < hi; i += BLOCK)
            sy_exact_add(&s->sum, square_block(q->x + i, q->n - i < BLOCK ? q->n - i : BLOCK, &s->bad));
    }
}

/* The parts of a sum of integers are added in any order. */
void SY_FN(norm)(const struct sy_exec *x, const struct sy_norm *op) {
    struct norm_work w = {x, op};
    int64_t n = 0;
    for (int k = 0; k < op->n_items; k++)
        n += op->item[k].n;
    struct sy_pool *pool = pool_for(x, n);
    assert(sizeof(struct norm_sums) <= x->scratch_bytes);
    sy_pool_run(pool, norm_part, &w);
    for (int i = 0; i < sy_pool_size(pool); i++) {
        const struct norm_sums *s = sy_exec_scratch(x, i);
        sy_exact_join(&op->tally->norm, &s->sum);
        op->tally->n_bad_gradient += s->bad;
    }
}
