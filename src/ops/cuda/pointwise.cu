/* Ops on the elements of rows, 8 a thread: sums of terms, of heads, the sigmoid gate, rounding; and floats by
 * an index. */
#include "ops/cuda/values.cuh"

/* --- y = BF(((t0 + t1) + t2) + t3) ---------------------------------------------------------------------- */

template <int n> SY_KERNEL(SY_THREADS) join_rows(struct sy_join op, int whole) {
    int64_t row = sy_my_row();
    if (row >= op.rows)
        return;
    SY_FOR_MY_COLUMNS(i, op.d) {
        float v[n][SY_WIDE];
#pragma unroll
        for (int k = 0; k < n; k++)
            sy_load8(sy_row(op.term[k], row), op.term[k].dtype, i, op.d, whole, v[k]);
#pragma unroll
        for (int k = 1; k < n; k++)
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                v[0][j] = v[0][j] + v[k][j];
        sy_store8(sy_row_out(op.y, row), op.y.dtype, i, op.d, whole, v[0]);
    }
}

extern "C" void sy_cuda_join(const struct sy_exec *x, const struct sy_join *op) {
    static void (*const kernel_of[])(struct sy_join, int) = {join_rows<1>, join_rows<2>, join_rows<3>,
                                                             join_rows<SY_JOIN_TERMS>};
    int whole = sy_aligned(op->y);
    for (int k = 0; k < op->n; k++)
        whole = whole && sy_aligned(op->term[k]);
    struct sy_row_grid g = sy_rows_by_columns(op->rows, op->d);
    if (op->rows > 0 && op->d > 0)
        SY_LAUNCH(x, kernel_of[op->n - 1], g.grid, g.threads, 0, *op, whole);
}

/* --- y[t] = BF(sum over heads ascending of x[t, h]) ----------------------------------------------------- */

template <int fast> SY_KERNEL(SY_THREADS) sum_heads(struct sy_head_sum op, int whole) {
    int64_t t = sy_my_row();
    if (t >= op.tokens)
        return;
    SY_FOR_MY_COLUMNS(i, op.d) {
        float sum[SY_WIDE] = {0}, v[SY_WIDE];
#pragma unroll 4
        for (int64_t h = 0; h < op.heads; h++) {
            sy_load8<fast>(sy_head_row(op.x, t, h), op.x.dtype, i, op.d, whole, v);
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                sum[j] += v[j];
        }
        sy_store8<fast>(sy_head_row_out(op.y, t, 0), op.y.dtype, i, op.d, whole, sum);
    }
}

extern "C" void sy_cuda_head_sum(const struct sy_exec *x, const struct sy_head_sum *op) {
    struct sy_heads y = op->y;
    y.head = 0; /* not used */
    struct sy_row_grid g = sy_rows_by_columns(op->tokens, op->d);
    if (op->tokens > 0 && op->d > 0)
        SY_LAUNCH_FAST(x, sy_is_fast(op->d, op->x, y), sum_heads, g.grid, g.threads, 0, *op,
                       sy_aligned(op->x) && sy_aligned(y));
}

/* --- y = BF(SIG(l) y) ----------------------------------------------------------------------------------- */

SY_KERNEL(SY_THREADS) gate_rows(struct sy_sigmoid_gate op, int whole) {
    int64_t row = sy_my_row();
    if (row >= op.rows)
        return;
    float s = sy_sig_f32(op.logit[row]), v[SY_WIDE];
    SY_FOR_MY_COLUMNS(i, op.d) {
        sy_load8(sy_row(op.y, row), op.y.dtype, i, op.d, whole, v);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            v[j] = s * v[j];
        sy_store8(sy_row_out(op.y, row), op.y.dtype, i, op.d, whole, v);
    }
}

extern "C" void sy_cuda_sigmoid_gate(const struct sy_exec *x, const struct sy_sigmoid_gate *op) {
    struct sy_row_grid g = sy_rows_by_columns(op->rows, op->d);
    if (op->rows > 0 && op->d > 0)
        SY_LAUNCH(x, gate_rows, g.grid, g.threads, 0, *op, sy_aligned(op->y));
}

/* --- y = BF(x) ------------------------------------------------------------------------------------------ */

enum { CAST_CHUNK = 4 * SY_THREADS * (int)SY_WIDE };

SY_LIST_KERNEL cast_all(const struct sy_cast_item *items, int n_items, enum sy_dtype stored) {
    sy_deal(items, n_items, CAST_CHUNK, [=](const struct sy_cast_item &q, int64_t lo, int64_t hi) {
        int whole = (((uint64_t)(uintptr_t)q.x | (uint64_t)(uintptr_t)q.y) & 15) == 0;
#pragma unroll 4
        for (int64_t i = lo + SY_WIDE * threadIdx.x; i < hi; i += SY_WIDE * (int64_t)SY_THREADS) {
            float v[SY_WIDE];
            sy_load8(q.x, SY_F32, i, hi, whole, v);
            sy_store8(q.y, stored, i, hi, whole, v);
        }
    });
}

extern "C" void sy_cuda_cast(const struct sy_exec *x, const struct sy_cast *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, CAST_CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, cast_all, blocks, SY_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items),
                  op->n_items, x->dtype);
}

/* --- y[i] = x[index[i]] --------------------------------------------------------------------------------- */

SY_KERNEL(SY_THREADS) gather_floats(struct sy_gather_f32 op) {
    int64_t n = op.used ? *op.used : op.n, step = (int64_t)gridDim.x * SY_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x; i < n; i += step) {
        int32_t at = op.index[i];
        op.y[i] = at < 0 ? 0.0f : op.x[at];
    }
}

extern "C" void sy_cuda_gather_f32(const struct sy_exec *x, const struct sy_gather_f32 *op) {
    if (op->n > 0)
        SY_LAUNCH(x, gather_floats, sy_blocks_for(x, op->n, 1), SY_THREADS, 0, *op);
}
