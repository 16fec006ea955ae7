// linear_dw by the TMA product: a problem it is for: 1; else 0, and nothing was done.
#include "ops/cuda/gemm_launch.cuh"
#include "ops/cuda/products.cuh"

using namespace gemm;

// Segments are whole blocks of 16 rows; C is read and written by TMA, from an accumulator two columns at a time.
static int fits(const struct sy_dw &q) {
    const struct sy_rows &r = q.rows;
    int whole = r.offset || r.max_rows / r.sequences % 16 == 0;
    int pairs = q.n % 2 == 0 && q.c_step % 2 == 0 && q.acc_step % 2 == 0 && (uintptr_t)q.c % 8 == 0 &&
                (uintptr_t)q.acc % 8 == 0;
    int c = q.acc ? pairs : addressable_f32(q.c, q.n, q.c_step);
    return rows_fit(r) && whole && c && addressable(q.dy) && addressable(q.x);
}

int sy_cuda_linear_dw_gemm(const struct sy_exec *x, const struct sy_dw *q) {
    maps m = {};
    args p = {};
    if (!fits(*q))
        return 0;
    m.a[0] = operand(x, q->dy, 1, q->m, q->rows.max_rows, 1, 0);
    m.b[0] = operand(x, q->x, 1, q->n, q->rows.max_rows, 1, 0);
    if (!q->acc) {
        m.c[0] = fp32(x, q->c, q->n, q->m, q->n, q->rows.groups, q->c_step, 16);
        m.tail[0] = fp32(x, q->c, q->n, q->m, q->n, q->rows.groups, q->c_step, BM);
    }
    p.rows = q->rows;
    p.first = q->first;
    p.n_segments = q->n_segments;
    p.m = (int)q->m;
    p.n = (int)q->n;
    p.m_tiles = gemm::blocks(q->m, BM);
    p.n_tiles = gemm::blocks(q->n, BN);
    p.n_maps = 1;
    p.acc = q->acc;
    p.acc_step = q->acc_step;
    p.c = q->c;
    p.c_step = q->c_step;
    int64_t tiles = q->rows.groups * ((int64_t)(p.m_tiles * p.n_tiles + 1) / 2 * 2);
    if (q->acc)
        (q->fold ? tn_fold_on : tn_leaf_on)(x, m, p, tiles);
    else if (q->fold)
        launch<TN, FOLD>(x, "linear_dw", m, p, tiles);
    else
        launch<TN, LEAF>(x, "linear_dw", m, p, tiles);
    return 1;
}
