/* What the three products (linear.c, linear_dx.c, linear_dw.c) share, whatever their micro-kernel: a product
 * of one group as a list of slices of k, one tile of it, the accumulators at its beginning and what becomes
 * of them at its end.
 *
 *     c[m, n] = [acc +] CHAIN over the slices in order of (a, b), each padded to KB by itself
 *
 * The tile itself and the packed order of b belong to a tier: product.c, ops/simd/product_<tier>.c.
 */
#ifndef SY_OPS_REF_PRODUCTS_H
#define SY_OPS_REF_PRODUCTS_H

#include "ops/ref/tier.h"

enum { MC = SY_TILE_ROWS, NC = 128 };

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
    struct sy_mat c;        /* [m, n], col = 1 */
    struct sy_mat residual; /* [m, n] stored, or data NULL */
};

/* Outputs i .. i+m-1, j .. j+n-1 of a product; m <= MC, n <= NC, j a multiple of NC. */
struct outputs {
    int64_t i, j, m, n;
};

/* scratch: the thread's. */
void SY_FN(product_tile)(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                         void *scratch);

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* acc [m, NC] as the chain begins. */
static inline void begin_tile(const struct product *p, const struct outputs *o, float *acc) {
    for (int64_t r = 0; r < o->m; r++) {
        if (p->acc)
            memcpy(acc + r * NC, p->acc + (o->i + r) * p->acc_row + o->j, (size_t)o->n * sizeof(float));
        else
            memset(acc + r * NC, 0, (size_t)o->n * sizeof(float));
    }
}

static inline void finish_row(const struct sy_exec *x, const struct product *p, int64_t i, int64_t j,
                              int64_t n, float *acc) {
    for (int64_t q = 0; q < n; q++)
        acc[q] += 0.0f;
    void *c = sy_at(p->c.data, p->c.dtype, i * p->c.row + j);
    if (p->fold) {
        float *sum = c;
        for (int64_t q = 0; q < n; q++)
            sum[q] = sum[q] + acc[q];
        return;
    }
    if (p->bias)
        for (int64_t q = 0; q < n; q++)
            acc[q] += p->bias[j + q];
    if (!p->residual.data) {
        narrow(x, p->c.dtype, n, acc, c);
        return;
    }
    for (int64_t q = 0; q < n; q++)
        acc[q] = bf(x, acc[q]);
    float sum[NC];
    widen(p->residual.dtype, n, sy_at(p->residual.data, p->residual.dtype, i * p->residual.row + j), sum);
    for (int64_t q = 0; q < n; q++)
        sum[q] = sum[q] + acc[q];
    narrow(x, p->c.dtype, n, sum, c);
}

/* c = acc + 0.0f + bias (rounded), or c + (acc + 0.0f). */
static inline void finish_tile(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                               float *acc) {
    for (int64_t r = 0; r < o->m; r++)
        finish_row(x, p, o->i + r, o->j, o->n, acc + r * NC);
}

/* Group g's right-hand side. */
static inline struct sy_mat operand_of(const struct sy_operand *w, int64_t g) {
    struct sy_mat m = w->m;
    m.data = sy_at(m.data, m.dtype, g * w->step);
    return m;
}
static inline const void *packed_of(const struct sy_operand *w, int64_t g) {
    return w->packed ? (const char *)w->packed + g * w->packed_step : NULL;
}

/* --- tiles of rows -------------------------------------------------------------------------------------- */

static inline int64_t tiles_of(const struct sy_rows *r) {
    return r->offset ? *r->n_tiles : (r->max_rows + MC - 1) / MC;
}

struct row_tile {
    int64_t group, first, rows; /* first: of all rows */
    int64_t group_first;
};

static inline struct row_tile row_tile(const struct sy_rows *r, int64_t t) {
    if (!r->offset)
        return (struct row_tile){0, t * MC, least(r->max_rows - t * MC, MC), 0};
    const struct sy_tile *tile = &r->tile[t];
    const int64_t *offset = r->offset + tile->group * r->sequences;
    return (struct row_tile){tile->group, tile->first, least(offset[r->sequences] - tile->first, MC),
                             offset[0]};
}

/* The products of all tiles of rows: tiles of outputs are dealt to the threads in turn; or, where `after`
 * wants a whole row, tiles of rows, whose outputs are then still in the thread's cache. */
struct row_products {
    const struct sy_exec *x;
    const struct sy_rows *rows;
    struct product (*product)(const void *op, const struct row_tile *t);
    void (*after)(const struct sy_exec *x, const void *op, int64_t row, void *scratch); /* or NULL */
    const void *op;
};

static inline void row_products_part(void *arg, int thread, int n_threads) {
    const struct row_products *w = arg;
    void *scratch = sy_exec_scratch(w->x, thread);
    int64_t turn = 0, tiles = tiles_of(w->rows);
    for (int64_t i = 0; i < tiles; i++) {
        struct row_tile t = row_tile(w->rows, i);
        struct product p = w->product(w->op, &t);
        int64_t whole = w->after ? turn++ : 0;
        for (int64_t j = 0; j < p.n; j += NC)
            if ((w->after ? whole : turn++) % n_threads == thread)
                SY_FN(product_tile)(w->x, &p, &(struct outputs){0, j, t.rows, least(p.n - j, NC)}, scratch);
        if (w->after && whole % n_threads == thread)
            for (int64_t r = t.first; r < t.first + t.rows; r++)
                w->after(w->x, w->op, r, scratch);
    }
}

/* Rows of segment s of group g: lo .. hi-1. */
static inline void segment_rows(const struct sy_rows *r, int64_t g, int64_t s, int64_t *lo, int64_t *hi) {
    int64_t each = r->offset ? 0 : r->max_rows / r->sequences;
    *lo = r->offset ? r->offset[g * r->sequences + s] : s * each;
    *hi = r->offset ? r->offset[g * r->sequences + s + 1] : *lo + each;
}

#endif
