/* What the three products (linear.c, linear_dx.c, linear_dw.c) share: a product of one group as a list of
 * slices of k, and its outputs dealt to threads.
 *
 *     c[m, n] = [acc +] CHAIN over the slices in order of (a, b), each padded to KB by itself
 *
 * product.c computes a rectangle of outputs, by micro-tiles of the tier's kernel (product_kernel.h).
 */
#ifndef SY_OPS_REF_PRODUCTS_H
#define SY_OPS_REF_PRODUCTS_H

#include "ops/ref/tier.h"

/* Multiply-adds that take as long as a unit of SMALL_WORK. */
#if defined(__AVX512BF16__)
enum { MADDS_A_UNIT = 64 };
#else
enum { MADDS_A_UNIT = 16 };
#endif

struct k_slice {
    struct sy_mat a, b; /* [m, k], [k, n] stored */
    const void *packed; /* b in the tier's order, or NULL */
    int64_t k;
};

struct product { /* of one group */
    int64_t m, n, n_slices;
    struct k_slice (*slice)(const struct product *p, int64_t i);
    const void *op;
    int64_t group, row; /* row: the group's first */
    const float *bias;  /* [n] or NULL */
    const float *acc;   /* [m, acc_row] or NULL */
    int64_t acc_row;
    int fold;               /* c = c + chain, fp32; else c = chain + bias, rounded when c is stored */
    int stream;             /* c is more than caches hold */
    struct sy_mat c;        /* [m, n], col = 1 */
    struct sy_mat residual; /* [m, n] stored, or data NULL */
    /* of a whole row, `row` of all rows, when its outputs are stored, there; or NULL */
    void (*after)(const struct sy_exec *x, const void *op, int64_t row, const void *outputs, void *scratch);
    struct sy_mat touched[3]; /* [m, ...] what `after` reads and writes, or data NULL */
    int passing;              /* c, fp32, is for `after` alone: its outputs may stand elsewhere */
};

/* Outputs i .. i+m-1, j .. j+n-1 of a product; j a multiple of COLUMNS; all columns with an `after`. */
struct outputs {
    int64_t i, j, m, n;
};
enum { COLUMNS = 128 };

/* scratch: the thread's. */
void SY_FN(product_outputs)(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                            void *scratch);

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Group g's right-hand side. */
static inline struct sy_mat operand_of(const struct sy_operand *w, int64_t g) {
    struct sy_mat m = w->m;
    m.data = sy_at(m.data, m.dtype, g * w->step);
    return m;
}
static inline const void *packed_of(const struct sy_operand *w, int64_t g) {
    return w->packed ? (const char *)w->packed + g * w->packed_step : NULL;
}

/* Rows of segment s of group g: lo .. hi-1. */
static inline void segment_rows(const struct sy_rows *r, int64_t g, int64_t s, int64_t *lo, int64_t *hi) {
    int64_t each = r->offset ? 0 : r->max_rows / r->sequences;
    *lo = r->offset ? r->offset[g * r->sequences + s] : s * each;
    *hi = r->offset ? r->offset[g * r->sequences + s + 1] : *lo + each;
}

/* Rows of group g. */
static inline void group_rows(const struct sy_rows *r, int64_t g, int64_t *lo, int64_t *hi) {
    *lo = r->offset ? r->offset[g * r->sequences] : 0;
    *hi = r->offset ? r->offset[(g + 1) * r->sequences] : r->max_rows;
}

/* --- outputs dealt to threads --------------------------------------------------------------------------- */

/* Rows of outputs stand in a line, each as long as its work. A thread has those that begin in its part of the
 * line, so that uneven groups make even shares. */
struct deal {
    int64_t lo, hi, at; /* at: where the next row begins */
};

static inline struct deal deal_of(int64_t length, int thread, int n_threads) {
    int64_t each = length / n_threads, more = length % n_threads;
    return (struct deal){each * thread + more * thread / n_threads,
                         each * (thread + 1) + more * (thread + 1) / n_threads, 0};
}

/* The thread's of the next `rows` rows of `work` > 0 each: o->i .. o->i + o->m - 1. */
static inline void deal_rows(struct deal *d, int64_t rows, int64_t work, struct outputs *o) {
    int64_t first = d->lo > d->at ? least((d->lo - d->at + work - 1) / work, rows) : 0;
    int64_t end = d->hi > d->at ? least((d->hi - d->at + work - 1) / work, rows) : 0;
    o->i = first;
    o->m = end - first;
    d->at += rows * work;
}

/* Columns of a row of outputs that a thread takes together: all, unless rows are too few for the threads;
 * then so that each has two pieces of a row. */
static inline int64_t columns_together(int64_t rows, int64_t n, int n_threads) {
    enum { ENOUGH = 64, PIECES = 2 };
    int64_t each = (n / (PIECES * n_threads) + COLUMNS - 1) / COLUMNS * COLUMNS;
    return rows >= (int64_t)ENOUGH * n_threads || n < COLUMNS ? n : each < COLUMNS ? COLUMNS : each;
}

/* The products of rows with their group's right-hand side. */
struct row_products {
    const struct sy_exec *x;
    const struct sy_rows *rows;
    int64_t n;
    int whole; /* products have an `after` */
    /* Instead, where a row is cut: columns j and half + j stay together, what comes after has n of each. */
    int64_t half;
    void (*after)(const struct sy_exec *x, const void *op, int64_t row, int64_t j, int64_t n, void *scratch);
    /* Of `rows` rows of a group, `row` the first of them. */
    struct product (*product)(const void *op, int64_t group, int64_t row, int64_t rows);
    const void *op;
};

/* Columns j .. j + n - 1 of both halves, then `after`. */
static inline void half_products(const struct row_products *w, const struct product *p, struct outputs o,
                                 void *scratch) {
    SY_FN(product_outputs)(w->x, p, &o, scratch);
    o.j += w->half;
    SY_FN(product_outputs)(w->x, p, &o, scratch);
    for (int64_t r = 0; r < o.m; r++)
        w->after(w->x, w->op, p->row + r, o.j - w->half, o.n, scratch);
}

static inline void row_products_part(void *arg, int thread, int n_threads) {
    const struct row_products *w = arg;
    int64_t lo, rows, n = w->half ? w->half : w->n;
    group_rows(w->rows, w->rows->groups - 1, &lo, &rows);
    int64_t width = columns_together(rows, n, n_threads);
    int64_t pieces = w->whole ? 1 : width ? (n + width - 1) / width : 0;
    struct deal d = deal_of(rows * pieces, thread, n_threads);
    for (int64_t q = 0; q < pieces; q++)
        for (int64_t g = 0; g < w->rows->groups; g++) {
            int64_t first, end, j = q * width;
            struct outputs o = {.j = j, .n = w->whole ? w->n : least(n - j, width)};
            group_rows(w->rows, g, &first, &end);
            deal_rows(&d, end - first, 1, &o);
            if (o.m <= 0)
                continue;
            struct product p = w->product(w->op, g, first + o.i, o.m);
            o.i = 0;
            if (w->half)
                half_products(w, &p, o, sy_exec_scratch(w->x, thread));
            else
                SY_FN(product_outputs)(w->x, &p, &o, sy_exec_scratch(w->x, thread));
        }
}

#endif
