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
#include "ops/ref/protos.h"

enum { MC = 64, NC = 128, KC = 256 };

struct work {
    const struct sy_exec *x;
    const struct sy_gemm *problems;
    int n_problems;
};

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

static void finish_row(const struct sy_exec *x, const struct sy_gemm *g, int64_t i, int64_t j, int64_t n, float *acc) {
    for (int64_t q = 0; q < n; q++)
        acc[q] += 0.0f;
    void *c = sy_at(g->c.data, g->c.dtype, i * g->c.row + j);
    if (g->out == SY_GEMM_FOLD) {
        float *sum = c;
        for (int64_t q = 0; q < n; q++)
            sum[q] = sum[q] + acc[q];
        return;
    }
    if (g->bias)
        for (int64_t q = 0; q < n; q++)
            acc[q] += g->bias[j + q];
    narrow(x, g->c.dtype, n, acc, c);
}

static void tile(const struct sy_exec *x, const struct sy_gemm *g, int64_t i, int64_t j, float *scratch) {
    float *a = scratch, *b = a + MC * KC, *acc = b + KC * NC;
    int64_t m = g->m - i < MC ? g->m - i : MC, n = g->n - j < NC ? g->n - j : NC;
    int64_t n_pad = round_up(n, CHAIN_NR);
    for (int64_t r = 0; r < m; r++) {
        if (g->acc)
            memcpy(acc + r * NC, g->acc + (i + r) * g->acc_row + j, (size_t)n * 4);
        else
            memset(acc + r * NC, 0, (size_t)n * 4);
    }
    for (int part = 0; part < g->n_parts; part++) {
        const struct sy_gemm_part *q = &g->parts[part];
        for (int64_t p = 0; p < q->k; p += KC) {
            int64_t k = q->k - p < KC ? q->k - p : KC, k_pad = round_up(k, x->kb);
            pack_a(sy_mat_cols(sy_mat_rows(q->a, i), p), m, k, k_pad, a);
            pack_b(sy_mat_cols(sy_mat_rows(q->b, p), j), k, k_pad, n, n_pad, b);
            chain_tile(x->cls, &(struct chain_args){m, n_pad, k_pad, a, KC, b, NC, acc, NC});
        }
    }
    for (int64_t r = 0; r < m; r++)
        finish_row(x, g, i + r, j, n, acc + r * NC);
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    float *scratch = sy_exec_scratch(w->x, thread);
    assert(w->x->scratch_bytes >= (MC * KC + KC * NC + MC * NC) * sizeof(float));
    memset(scratch, 0, MC * KC * sizeof(float)); /* rows beyond m are computed and dropped */
    int64_t turn = 0;
    for (int q = 0; q < w->n_problems; q++) {
        const struct sy_gemm *g = &w->problems[q];
        assert(g->c.col == 1);
        for (int64_t i = 0; i < g->m; i += MC)
            for (int64_t j = 0; j < g->n; j += NC)
                if (turn++ % n_threads == thread)
                    tile(w->x, g, i, j, scratch);
    }
}

void SY_FN(gemm)(const struct sy_exec *x, const struct sy_gemm *problems, int n_problems) {
    struct work w = {x, problems, n_problems};
    int64_t madds = 0;
    for (int i = 0; i < n_problems; i++)
        for (int q = 0; q < problems[i].n_parts; q++)
            madds += problems[i].m * problems[i].n * problems[i].parts[q].k;
    sy_pool_run(pool_for(x, madds / 16), run, &w);
}
