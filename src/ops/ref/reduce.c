/* Sums over tokens and lanes: R64 down rows, elementwise adds, the gradient's norm (NUMERICS 2 to 4). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

/* --- R64: per 64 rows of a sequence one fma chain from +0, block sums added ascending ------------------- */

enum { STRIP = 128 }; /* columns that a thread sums at a time */

struct row_sum_work {
    const struct sy_exec *x;
    const struct sy_row_sum *op;
};

struct strip {
    int64_t first, n;
    float *chain, *a, *b, *sum; /* [STRIP] scratch */
};

static void add_row(const struct sy_row_sum_item *q, int64_t row, const struct strip *s) {
    int64_t t = row / q->heads, h = row % q->heads;
    widen(q->a.dtype, s->n, sy_at(q->a.data, q->a.dtype, t * q->a.token + h * q->a.head + s->first), s->a);
    if (!q->x.data) {
        for (int64_t i = 0; i < s->n; i++)
            s->chain[i] = s->a[i] + s->chain[i];
        return;
    }
    float r = q->r ? q->r[row] : 1.0f;
    widen(q->x.dtype, s->n, sy_at(q->x.data, q->x.dtype, t * q->x.token + h * q->x.head + s->first), s->b);
    for (int64_t i = 0; i < s->n; i++)
        s->chain[i] = fmaf(s->a[i], s->b[i] * r, s->chain[i]);
}

static void sum_strip(const struct sy_row_sum_item *q, const struct strip *s) {
    int64_t rows = q->rows_per_sequence;
    for (int64_t i = 0; i < s->n; i++)
        s->sum[i] = q->acc ? q->acc[s->first + i] : 0.0f;
    for (int64_t seq = 0; seq < q->sequences; seq++)
        for (int64_t block = 0; block < rows; block += 64) {
            memset(s->chain, 0, (size_t)s->n * sizeof(float));
            for (int64_t r = block; r < block + 64 && r < rows; r++)
                add_row(q, seq * rows + r, s);
            for (int64_t i = 0; i < s->n; i++)
                s->sum[i] = s->sum[i] + s->chain[i];
        }
    for (int64_t i = 0; i < s->n; i++)
        q->out[s->first + i] = q->fold ? q->out[s->first + i] + s->sum[i] : s->sum[i];
}

/* Strips of all items are dealt to the threads in turn. */
static void row_sum_part(void *arg, int thread, int n_threads) {
    const struct row_sum_work *w = arg;
    float *scratch = sy_exec_scratch(w->x, thread);
    int64_t turn = 0;
    for (int k = 0; k < w->op->n_items; k++) {
        const struct sy_row_sum_item *q = &w->op->item[k];
        for (int64_t j = 0; j < q->d; j += STRIP)
            if (turn++ % n_threads == thread)
                sum_strip(q, &(struct strip){.first = j,
                                             .n = q->d - j < STRIP ? q->d - j : STRIP,
                                             .chain = scratch,
                                             .a = scratch + STRIP,
                                             .b = scratch + 2 * STRIP,
                                             .sum = scratch + 3 * STRIP});
    }
}

void SY_FN(row_sum)(const struct sy_exec *x, const struct sy_row_sum *op) {
    int64_t n = 0;
    assert(4 * STRIP * sizeof(float) <= x->scratch_bytes);
    for (int k = 0; k < op->n_items; k++)
        n += op->item[k].sequences * op->item[k].rows_per_sequence * op->item[k].d;
    sy_pool_run(pool_for(x, n), row_sum_part, &(struct row_sum_work){x, op});
}

/* --- y = y + x ------------------------------------------------------------------------------------------ */

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

/* --- blocks of squares ---------------------------------------------------------------------------------- */

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
