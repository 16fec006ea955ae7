/* linear_dw: leaves of weights' gradients, CHAIN over the rows of a group's segments of (dy, x). The outputs
 * of all problems and groups are dealt to the threads by their work. */
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

/* Sums that are still in cache when the next op reads them. */
enum { CACHED = 1 << 18 };

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
                            .stream = (q->acc != q->c) && q->rows.groups * q->m * q->n > CACHED,
                            .c = sy_mat_of(q->c + group * q->c_step, SY_F32, q->n)};
}

/* Rows that are summed. */
static int64_t depth(const struct sy_dw *q, int64_t group) {
    int64_t lo = 0, hi = 0, unused;
    if (q->n_segments > 0) {
        segment_rows(&q->rows, group, q->first, &lo, &unused);
        segment_rows(&q->rows, group, q->first + q->n_segments - 1, &unused, &hi);
    }
    return hi - lo;
}

/* + 0, and nothing that is summed is ever -0. */
static int changes_nothing(const struct product *p, int64_t depth) {
    return depth == 0 && (p->fold ? !p->acc : p->acc == p->c.data);
}

/* What an output costs beside its sum, and a packed row or column beside its products, in rows that are
 * summed. */
enum { STORING = 32, PACKING = 32 };

/* Columns that a thread takes together: both sides are packed, so its outputs are about as many rows; and
 * equal pieces of them all. */
static int64_t columns_of(const struct sy_dw *q, int64_t outputs, int n_threads) {
    int64_t width = COLUMNS;
    while (width < q->n && width * width * n_threads < outputs)
        width += COLUMNS;
    int64_t pieces = (q->n + width - 1) / width;
    return pieces > 1 ? ((q->n + pieces - 1) / pieces + COLUMNS - 1) / COLUMNS * COLUMNS : q->n;
}

/* With d, what is the thread's of all outputs is computed; returns their work. Columns are packed by who
 * begins with them, so at the first row of all, and once by every thread, which makes no difference between
 * them. */
static int64_t walk(const struct work *w, struct deal *d, int thread, int n_threads) {
    int64_t all = 0, outputs = 0;
    for (int q = 0; q < w->op->n_problems; q++)
        outputs += w->op->problem[q].m * w->op->problem[q].n * w->op->problem[q].rows.groups;
    for (int q = 0; q < w->op->n_problems; q++)
        for (int64_t g = 0; g < w->op->problem[q].rows.groups; g++) {
            const struct sy_dw *problem = &w->op->problem[q];
            struct product p = product_of(problem, g);
            int64_t k = depth(problem, g), width = columns_of(problem, outputs, n_threads);
            for (int64_t j = 0; j < p.n && !changes_nothing(&p, k); j += width) {
                struct outputs o = {.j = j, .n = least(p.n - j, width)};
                int64_t columns = PACKING * k * o.n, row = o.n * (k + STORING) + PACKING * k;
                all += columns + p.m * row;
                if (!d)
                    continue;
                d->at += columns;
                deal_rows(d, p.m, row, &o);
                if (o.m > 0)
                    SY_FN(product_outputs)(w->x, &p, &o, sy_exec_scratch(w->x, thread));
            }
        }
    return all;
}

static void run(void *arg, int thread, int n_threads) {
    struct deal d = deal_of(walk(arg, NULL, thread, n_threads), thread, n_threads);
    walk(arg, &d, thread, n_threads);
}

void SY_FN(linear_dw)(const struct sy_exec *x, const struct sy_linear_dw *op) {
    int64_t madds = 0;
    for (int q = 0; q < op->n_problems; q++)
        madds += op->problem[q].m * op->problem[q].n * op->problem[q].rows.max_rows;
    sy_pool_run(pool_for(x, madds / MADDS_A_UNIT), run, &(struct work){x, op});
}
