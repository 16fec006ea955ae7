/* Products of matrices: c = [acc +] CHAIN over the parts, each part padded to KB by itself.
 *
 * Tiles of MC x NC outputs are dealt to the threads in turn. A tile walks the parts in order in blocks of KC rows; each
 * block is packed (widened to fp32, zeros where rows are missing) and the chain goes on in the tile's accumulators:
 *
 *     for tile            threads in turn
 *       for part, KC      pack a[MC, KC], b[KC, NC]
 *         chain_tile      acc[MC, NC] stays in L1
 *       c = acc + 0.0f + bias (rounded), or c + (acc + 0.0f)
 *
 * KC is a multiple of every KB, so that a cut falls between blocks: no bit depends on MC, NC, KC or the threads.
 */
#include "ops/ref/chain.h"
#include "ops/ref/gemm_tiles.h"
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

static void tile(const struct sy_exec *x, const struct sy_gemm *g, int64_t i, int64_t j, int64_t m, int64_t n,
                 void *scratch) {
    float *a = scratch, *b = a + MC * KC, *acc = b + KC * NC;
    int64_t n_pad = round_up(n, CHAIN_NR);
    begin_tile(g, i, j, m, n, acc);
    for (int part = 0; part < g->n_parts; part++) {
        const struct sy_gemm_part *q = &g->parts[part];
        for (int64_t p = 0; p < q->k; p += KC) {
            int64_t k = least(q->k - p, KC), k_pad = round_up(k, x->kb);
            pack_a(sy_mat_cols(sy_mat_rows(q->a, i), p), m, k, k_pad, a);
            pack_b(sy_mat_cols(sy_mat_rows(q->b, p), j), k, k_pad, n, n_pad, b);
            chain_tile(x->cls, &(struct chain_args){m, n_pad, k_pad, a, KC, b, NC, acc, NC});
        }
    }
    finish_tile(x, g, i, j, m, n, acc);
}

void SY_FN(gemm)(const struct sy_exec *x, const struct sy_gemm *problems, int n_problems) {
    assert(x->scratch_bytes >= (MC * KC + KC * NC + MC * NC) * sizeof(float));
    run_tiles(&(struct tile_work){x, problems, n_problems, MC * KC * sizeof(float), tile}, 16);
}
