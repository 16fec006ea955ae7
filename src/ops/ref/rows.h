/* Row-wise ops: the rows are dealt to the threads, each row is widened into the thread's scratch, computed in
 * fp32 and rounded once. What a file gives is one function per row. */
#ifndef SY_OPS_REF_ROWS_H
#define SY_OPS_REF_ROWS_H

#include "ops/ref/tier.h"

struct row_work {
    const struct sy_exec *x;
    const void *op;
    int64_t rows;
    size_t scratch_floats; /* of one thread */
    void (*row)(const struct sy_exec *x, const void *op, int64_t row, float *scratch);
};

static inline void run_rows_part(void *arg, int thread, int n_threads) {
    struct row_work *w = arg;
    float *scratch = sy_exec_scratch(w->x, thread);
    int64_t lo, hi;
    assert(w->scratch_floats * sizeof(float) <= w->x->scratch_bytes);
    sy_range(w->rows, 1, thread, n_threads, &lo, &hi);
    for (int64_t r = lo; r < hi; r++)
        w->row(w->x, w->op, r, scratch);
}

static inline void run_rows(const struct sy_exec *x, const void *op, int64_t rows, int64_t scratch_floats,
                            void (*row)(const struct sy_exec *, const void *, int64_t, float *)) {
    struct row_work w = {x, op, rows, (size_t)scratch_floats, row};
    sy_pool_run(pool_for(x, rows * (scratch_floats + 16)), run_rows_part, &w);
}

/* Rows that there are. */
static inline int64_t rows_used(const struct sy_rows *r) {
    return r->offset ? r->offset[r->groups * r->sequences] : r->max_rows;
}

/* The largest of n values, NaN loses; -INFINITY if there is none. Which zero it is, is open: no use of it may
 * tell. */
static inline float max_of(int64_t n, const float *x) {
    float lane[16], top = -INFINITY;
    int64_t i = 0;
    for (int j = 0; j < 16; j++)
        lane[j] = -INFINITY;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (int j = 0; j < 16; j++)
        top = lane[j] > top ? lane[j] : top;
    return top;
}

static inline void *mat_row(struct sy_mat m, int64_t r) { return sy_at(m.data, m.dtype, r * m.row); }
static inline void *heads_row(struct sy_heads m, int64_t t, int64_t h) {
    return sy_at(m.data, m.dtype, t * m.token + h * m.head);
}

/* y = fma(w, src, y), widened on the way. */
static inline void add_scaled(enum sy_dtype t, int64_t d, float w, const void *restrict src,
                              float *restrict y) {
    if (t == SY_F32) {
        const float *s = src;
        for (int64_t i = 0; i < d; i++)
            y[i] = fmaf(w, s[i], y[i]);
    } else {
        const uint16_t *s = src;
        for (int64_t i = 0; i < d; i++)
            y[i] = fmaf(w, f32_of(s[i]), y[i]);
    }
}

#endif
