/* Row-wise ops: the rows are dealt to the threads, each row is widened into the thread's scratch, computed in fp32 and rounded
 * once. What a file gives is one function per row. */
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

static inline void *mat_row(struct sy_mat m, int64_t r) { return sy_at(m.data, m.dtype, r * m.row); }
static inline void *heads_row(struct sy_heads m, int64_t t, int64_t h) {
    return sy_at(m.data, m.dtype, t * m.token + h * m.head);
}

#endif
