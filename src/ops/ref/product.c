/* One tile of a product, MC x NC outputs: the slices in order in blocks of KC rows; each block is packed
 * (widened to fp32, zeros where rows are missing) and the chain goes on in the tile's accumulators:
 *
 *     for slice, KC     pack a[MC, KC], b[KC, NC]
 *       chain_tile      acc[MC, NC] stays in L1
 *     c = acc + 0.0f + bias (rounded), or c + (acc + 0.0f)
 *
 * KC is a multiple of every KB, so that a cut falls between blocks: no bit depends on MC, NC, KC or the
 * threads. A packed right-hand side is b by rows, [k, n] as it is stored.
 */
#include "ops/ref/chain.h"
#include "ops/ref/products.h"
#include "ops/ref/protos.h"

enum { KC = 256 };

/* dst[i, p] = a[i, p] for i < m, p < k; zero up to k_pad. */
static void pack_a(struct sy_mat a, int64_t m, int64_t k, int64_t k_pad, float *dst) {
    for (int64_t i = 0; i < m; i++) {
        float *row = dst + i * KC;
        if (a.col == 1) {
            widen(a.dtype, k, sy_at(a.data, a.dtype, i * a.row), row);
        } else if (a.dtype == SY_F32) {
            const float *s = (const float *)a.data + i * a.row;
            for (int64_t p = 0; p < k; p++)
                row[p] = s[p * a.col];
        } else {
            const uint16_t *s = (const uint16_t *)a.data + i * a.row;
            for (int64_t p = 0; p < k; p++)
                row[p] = f32_of(s[p * a.col]);
        }
        for (int64_t p = k; p < k_pad; p++)
            row[p] = 0.0f;
    }
}

/* Eight columns of a transposed b at a time, so that what is written stays in cache. */
static void pack_b_transposed(struct sy_mat b, int64_t k, int64_t n, float *dst) {
    for (int64_t j0 = 0; j0 < n; j0 += 8) {
        int64_t jn = n - j0 < 8 ? n - j0 : 8;
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < jn; j++) {
                int64_t at = p * b.row + (j0 + j) * b.col;
                dst[p * NC + j0 + j] =
                    b.dtype == SY_F32 ? ((const float *)b.data)[at] : f32_of(((const uint16_t *)b.data)[at]);
            }
    }
}

/* dst[p, j] = b[p, j] for p < k, j < n; zero up to k_pad and n_pad. */
static void pack_b(struct sy_mat b, int64_t k, int64_t k_pad, int64_t n, int64_t n_pad, float *dst) {
    if (b.col == 1)
        for (int64_t p = 0; p < k; p++)
            widen(b.dtype, n, sy_at(b.data, b.dtype, p * b.row), dst + p * NC);
    else
        pack_b_transposed(b, k, n, dst);
    for (int64_t p = 0; p < k && n < n_pad; p++)
        memset(dst + p * NC + n, 0, (size_t)(n_pad - n) * 4);
    for (int64_t p = k; p < k_pad; p++)
        memset(dst + p * NC, 0, (size_t)n_pad * 4);
}

void SY_FN(product_tile)(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                         void *scratch) {
    float *a = scratch, *b = a + MC * KC, *acc = b + KC * NC;
    int64_t i = o->i, j = o->j, m = o->m, n = o->n, n_pad = round_up(n, CHAIN_NR);
    assert(x->scratch_bytes >= (MC * KC + KC * NC + MC * NC) * sizeof(float) && p->c.col == 1);
    memset(a + m * KC, 0, (size_t)((MC - m) * KC) * sizeof *a); /* rows beyond m are computed and dropped */
    begin_tile(p, o, acc);
    for (int64_t q = 0; q < p->n_slices; q++) {
        struct k_slice s = p->slice(p, q);
        struct sy_mat right = s.packed ? sy_mat_of((void *)(uintptr_t)s.packed, s.b.dtype, p->n) : s.b;
        for (int64_t at = 0; at < s.k; at += KC) {
            int64_t k = least(s.k - at, KC), k_pad = round_up(k, x->kb);
            pack_a(sy_mat_cols(sy_mat_rows(s.a, i), at), m, k, k_pad, a);
            pack_b(sy_mat_cols(sy_mat_rows(right, at), j), k, k_pad, n, n_pad, b);
            chain_tile(x->cls, &(struct chain_args){m, n_pad, k_pad, a, KC, b, NC, acc, NC});
        }
    }
    finish_tile(x, p, o, acc);
}

/* --- a right-hand side once and for all ----------------------------------------------------------------- */

/* By rows it is read as fast as a copy. */
size_t SY_FN(pack_bytes)(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n) {
    (void)x;
    return m.col == 1 ? 0 : (size_t)(k * n) * sy_dtype_bytes(m.dtype);
}

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

static void pack_part(void *arg, int thread, int n_threads) {
    const struct sy_pack *op = arg;
    int64_t lo, hi, strips = (op->n + SQUARE - 1) / SQUARE;
    sy_range(op->groups * strips, 1, thread, n_threads, &lo, &hi);
    for (int64_t s = lo; s < hi; s++) {
        int64_t g = s / strips, i0 = s % strips * SQUARE, n = least(SQUARE, op->n - i0);
        const struct sy_mat from = sy_mat_cols(operand_of(&op->b, g), i0); /* [k, n], columns contiguous */
        void *to = sy_at((char *)op->packed + g * op->packed_step, from.dtype, i0);
        if (from.dtype == SY_F32)
            strip32(n, op->k, from.data, from.col, to, op->n);
        else
            strip16(n, op->k, from.data, from.col, to, op->n);
    }
}

void SY_FN(pack)(const struct sy_exec *x, const struct sy_pack *op) {
    assert(op->b.m.row == 1);
    sy_pool_run(pool_for(x, op->groups * op->k * op->n), pack_part, (void *)(uintptr_t)op);
}
