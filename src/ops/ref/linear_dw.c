/* linear_dw: leaves of weights' gradients, CHAIN over the rows of a group's segments of (dy, x). Tiles of all
 * problems and groups are dealt to the threads in turn. */
#include "ops/ref/products.h"
#include "ops/ref/protos.h"

struct work {
    const struct sy_exec *x;
    const struct sy_linear_dw *op;
};

static struct k_slice segment(const struct product *p, int64_t i) {
    const struct sy_dw *q = p->op;
    int64_t lo, hi;
    segment_rows(&q->rows, p->group, q->first + i, &lo, &hi);
    return (struct k_slice){sy_mat_t(sy_mat_rows(q->dy, lo)), sy_mat_rows(q->x, lo), NULL, hi - lo};
}

static struct product product_of(const struct sy_dw *q, int64_t group) {
    return (struct product){.m = q->m,
                            .n = q->n,
                            .n_slices = q->n_segments,
                            .slice = segment,
                            .op = q,
                            .group = group,
                            .acc = q->acc ? q->acc + group * q->acc_step : NULL,
                            .acc_row = q->n,
                            .fold = q->fold,
                            .c = sy_mat_of(q->c + group * q->c_step, SY_F32, q->n)};
}

static int is_empty(const struct sy_dw *q, int64_t group) {
    int64_t lo, hi, unused;
    if (q->n_segments == 0)
        return 1;
    segment_rows(&q->rows, group, q->first, &lo, &unused);
    segment_rows(&q->rows, group, q->first + q->n_segments - 1, &unused, &hi);
    return lo == hi;
}

static void run(void *arg, int thread, int n_threads) {
    const struct work *w = arg;
    int64_t turn = 0;
    for (int q = 0; q < w->op->n_problems; q++)
        for (int64_t g = 0; g < w->op->problem[q].rows.groups; g++) {
            struct product p = product_of(&w->op->problem[q], g);
            if ((p.fold || p.acc == p.c.data) && is_empty(&w->op->problem[q], g) && !(p.fold && p.acc))
                continue; /* + 0, and nothing that is summed is ever -0 */
            for (int64_t i = 0; i < p.m; i += MC)
                for (int64_t j = 0; j < p.n; j += NC)
                    if (turn++ % n_threads == thread)
                        SY_FN(product_tile)
            (w->x, &p, &(struct outputs){i, j, least(p.m - i, MC), least(p.n - j, NC)},
             sy_exec_scratch(w->x, thread));
        }
}

void SY_FN(linear_dw)(const struct sy_exec *x, const struct sy_linear_dw *op) {
    int64_t madds = 0;
    for (int q = 0; q < op->n_problems; q++)
        madds += op->problem[q].m * op->problem[q].n * op->problem[q].rows.max_rows;
    sy_pool_run(pool_for(x, madds / MADDS_A_UNIT), run, &(struct work){x, op});
}
