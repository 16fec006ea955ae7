/* What every gemm shares, whatever its micro-kernel: MC x NC tiles of all problems dealt to the threads in turn, the
 * accumulators of a tile at its beginning, and what becomes of them at its end. */
#ifndef SY_OPS_REF_GEMM_TILES_H
#define SY_OPS_REF_GEMM_TILES_H

#include "ops/ref/tier.h"

enum { MC = 64, NC = 128 };

struct tile_work {
    const struct sy_exec *x;
    const struct sy_gemm *problems;
    int n_problems;
    size_t a_bytes; /* of scratch, zeroed first: rows beyond m are computed and dropped */
    void (*tile)(const struct sy_exec *x, const struct sy_gemm *g, int64_t i, int64_t j, int64_t m, int64_t n,
                 void *scratch);
};

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline void run_tiles_part(void *arg, int thread, int n_threads) {
    const struct tile_work *w = arg;
    void *scratch = sy_exec_scratch(w->x, thread);
    memset(scratch, 0, w->a_bytes);
    int64_t turn = 0;
    for (int q = 0; q < w->n_problems; q++) {
        const struct sy_gemm *g = &w->problems[q];
        assert(g->c.col == 1);
        for (int64_t i = 0; i < g->m; i += MC)
            for (int64_t j = 0; j < g->n; j += NC)
                if (turn++ % n_threads == thread)
                    w->tile(w->x, g, i, j, least(g->m - i, MC), least(g->n - j, NC), scratch);
    }
}

/* madds_a_unit: multiply-adds that take as long as a unit of SMALL_WORK. */
static inline void run_tiles(struct tile_work *w, int64_t madds_a_unit) {
    int64_t madds = 0;
    for (int i = 0; i < w->n_problems; i++)
        for (int q = 0; q < w->problems[i].n_parts; q++)
            madds += w->problems[i].m * w->problems[i].n * w->problems[i].parts[q].k;
    sy_pool_run(pool_for(w->x, madds / madds_a_unit), run_tiles_part, w);
}

/* acc [m, NC] as the chain begins. */
static inline void begin_tile(const struct sy_gemm *g, int64_t i, int64_t j, int64_t m, int64_t n, float *acc) {
    for (int64_t r = 0; r < m; r++) {
        if (g->acc)
            memcpy(acc + r * NC, g->acc + (i + r) * g->acc_row + j, (size_t)n * sizeof(float));
        else
            memset(acc + r * NC, 0, (size_t)n * sizeof(float));
    }
}

static inline void finish_row(const struct sy_exec *x, const struct sy_gemm *g, int64_t i, int64_t j, int64_t n,
                              float *acc) {
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

/* c = acc + 0.0f + bias (rounded), or c + (acc + 0.0f). */
static inline void finish_tile(const struct sy_exec *x, const struct sy_gemm *g, int64_t i, int64_t j, int64_t m, int64_t n,
                               float *acc) {
    for (int64_t r = 0; r < m; r++)
        finish_row(x, g, i + r, j, n, acc + r * NC);
}

#endif
