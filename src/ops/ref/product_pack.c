/* A right-hand side packed once and for all: as panels where the tier's kernel reads them, in its own order;
 * else by rows [k, n] as stored, and not at all where it already lies so. */
#include "ops/ref/product_kernel.h"
#include "ops/ref/products.h"
#include "ops/ref/protos.h"

static int64_t panel_words(const struct sy_exec *x, const struct product_kernel *t, int64_t k) {
    return up_to(k, x->kb) / t->per_word * t->nr;
}

size_t SY_FN(pack_bytes)(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n) {
    const struct product_kernel *t = SY_FN(product_kernel)(x->cls);
    if (t->panels)
        return (size_t)((n + t->nr - 1) / t->nr * panel_words(x, t, k)) * sizeof(uint32_t);
    return m.col == 1 ? 0 : (size_t)(k * n) * sy_dtype_bytes(m.dtype);
}

struct packing {
    const struct sy_exec *x;
    const struct sy_pack *op;
};

/* --- panels --------------------------------------------------------------------------------------------- */

static void panels_part(void *arg, int thread, int n_threads) {
    const struct packing *w = arg;
    const struct sy_pack *op = w->op;
    const struct product_kernel *t = SY_FN(product_kernel)(w->x->cls);
    int64_t panels = (op->n + t->nr - 1) / t->nr, words = panel_words(w->x, t, op->k), lo, hi;
    sy_range(op->groups * panels, 1, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        int64_t g = i / panels, j = i % panels * t->nr;
        uint32_t *to = (uint32_t *)((char *)op->packed + g * op->packed_step) + i % panels * words;
        struct sy_mat columns = sy_mat_t(operand_of(&op->b, g));
        for (int l = 0; l < t->nr; l += t->lanes) {
            int64_t n = op->n - j - l;
            t->pack(&(struct lanes){w->x->cls, sy_mat_rows(columns, j + l), n < 0 ? 0 : least(n, t->lanes),
                                    op->k, up_to(op->k, w->x->kb), 0},
                    to + l, t->nr);
        }
    }
}

/* --- rows ----------------------------------------------------------------------------------------------- */

/* to[cols, n] from `from` [n, cols], n at most SQUARE; rows of `to` are to_row apart, of `from` row. In
 * squares, so that what is read and what is written stay in cache. Bits move; nothing is computed. */
enum { SQUARE = 32 };
static void strip16(int64_t n, int64_t cols, const uint16_t *from, int64_t row, uint16_t *to,
                    int64_t to_row) {
    for (int64_t j0 = 0; j0 < cols; j0 += SQUARE)
        for (int64_t j = j0; j < j0 + SQUARE && j < cols; j++)
            for (int64_t i = 0; i < n; i++)
                to[j * to_row + i] = from[i * row + j];
}
static void strip32(int64_t n, int64_t cols, const uint32_t *from, int64_t row, uint32_t *to,
                    int64_t to_row) {
    for (int64_t j0 = 0; j0 < cols; j0 += SQUARE)
        for (int64_t j = j0; j < j0 + SQUARE && j < cols; j++)
            for (int64_t i = 0; i < n; i++)
                to[j * to_row + i] = from[i * row + j];
}

static void rows_part(void *arg, int thread, int n_threads) {
    const struct packing *w = arg;
    const struct sy_pack *op = w->op;
    int64_t lo, hi, strips = (op->n + SQUARE - 1) / SQUARE;
    sy_range(op->groups * strips, 1, thread, n_threads, &lo, &hi);
    for (int64_t s = lo; s < hi; s++) {
        int64_t g = s / strips, i0 = s % strips * SQUARE, n = least(SQUARE, op->n - i0);
        const struct sy_mat from = sy_mat_cols(operand_of(&op->b, g), i0); /* [k, n], columns contiguous */
        void *to = sy_at((char *)op->packed + g * op->packed_step, from.dtype, i0);
        assert(from.row == 1);
        if (from.dtype == SY_F32)
            strip32(n, op->k, from.data, from.col, to, op->n);
        else
            strip16(n, op->k, from.data, from.col, to, op->n);
    }
}

void SY_FN(pack)(const struct sy_exec *x, const struct sy_pack *op) {
    int panels = SY_FN(product_kernel)(x->cls)->panels;
    sy_pool_run(pool_for(x, op->groups * op->k * op->n), panels ? panels_part : rows_part,
                &(struct packing){x, op});
}
