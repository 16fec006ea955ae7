/* scatter_add: rows added to rows that an index names, in ascending order of the rows added. Block i takes
 * the whole sum of the row that index i names, if no earlier index names it: it looks for the later ones, in
 * order, and each of its threads adds one column of theirs. So every element is one chain, without atomics
 * and without workspace. fold_rows likewise: the first index that names a row does the work. */
#include "ops/cuda/values.cuh"

enum { SEEN = 512 }; /* indices of a row that are found before their rows are added */

struct names { /* the row of out that index i names, or -1 */
    const int32_t *index;
    int64_t top_k; /* 0: the index is the row */
    int64_t rows;
};
static SY_DEV int32_t named(const struct names &w, int64_t i) {
    int32_t v = w.index[i];
    v = v < 0 || w.top_k == 0 ? v : (int32_t)((uint32_t)v / (uint32_t)w.top_k);
    return v < w.rows ? v : -1;
}

/* Whether an index before i names `row`. The same answer for all threads, all of which call. */
static SY_DEV int named_before(const struct names &w, int64_t i, int32_t row) {
    for (int64_t at = 0; at < i; at += SY_THREADS) {
        int64_t j = at + threadIdx.x;
        if (__syncthreads_or(j < i && named(w, j) == row))
            return 1;
    }
    return 0;
}

/* Appends to `seen`, in order, those of i .. i + 255 (below n) that name `row`; returns how many there are
 * now. */
static SY_DEV int append(const struct names &w, int64_t i, int64_t n, int32_t row, int32_t *seen, int count) {
    __shared__ int of_warp[SY_THREADS / 32];
    int64_t j = i + threadIdx.x;
    int hit = j < n && named(w, j) == row, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    unsigned ballot = __ballot_sync(~0u, hit);
    if (lane == 0)
        of_warp[warp] = __popc(ballot);
    __syncthreads();
    int all = 0, before = 0;
    for (int k = 0; k < SY_THREADS / 32; k++) {
        before += k < warp ? of_warp[k] : 0;
        all += of_warp[k];
    }
    if (hit)
        seen[count + before + __popc(ballot & ((1u << lane) - 1u))] = (int32_t)j;
    __syncthreads();
    return count + all;
}

static SY_DEV float add_seen(const struct sy_scatter_add &op, const int32_t *seen, int n, int64_t column,
                             float sum) {
#pragma unroll 8
    for (int k = 0; k < n; k++) {
        int64_t i = seen[k];
        float v = sy_load1(sy_row(op.src, i), op.src.dtype, column);
        sum = op.scale ? fmaf(op.scale[i], v, sum) : sum + v;
    }
    return sum;
}

SY_KERNEL(SY_THREADS) add_to_rows(struct sy_scatter_add op) {
    __shared__ int32_t seen[SEEN + (int)SY_THREADS];
    struct names w = {op.index, op.top_k, op.out_rows};
    int64_t n = op.used ? *op.used : op.n, i = blockIdx.x,
            column = (int64_t)blockIdx.y * SY_THREADS + threadIdx.x;
    int32_t row = i < n ? named(w, i) : -1;
    if (row < 0 || named_before(w, i, row))
        return;
    float *out = (float *)op.out.data + row * op.out.row + column, sum = column < op.d ? *out : 0.0f;
    while (i < n) {
        int count = 0;
        for (; i < n && count < SEEN; i += SY_THREADS)
            count = append(w, i, n, row, seen, count);
        if (column < op.d)
            sum = add_seen(op, seen, count, column, sum);
        __syncthreads();
    }
    if (column < op.d)
        *out = sum;
}

extern "C" void sy_cuda_scatter_add(const struct sy_exec *x, const struct sy_scatter_add *op) {
    dim3 grid((unsigned)op->n, sy_cuda_blocks(op->d, SY_THREADS));
    if (op->n > 0 && op->d > 0)
        SY_LAUNCH(x, add_to_rows, grid, SY_THREADS, 0, *op);
}

/* --- y[index] = y[index] + x[index], x[index] = +0 ------------------------------------------------------ */

SY_KERNEL(SY_THREADS) fold_named_rows(struct sy_fold_rows op) {
    struct names w = {op.index, 0, INT32_MAX};
    int64_t i = blockIdx.x;
    int32_t row = named(w, i);
    if (named_before(w, i, row))
        return;
    float *x = op.x + row * op.d, *y = op.y ? op.y + row * op.d : nullptr;
    for (int64_t j = threadIdx.x; j < op.d; j += SY_THREADS) {
        if (y)
            y[j] = y[j] + x[j];
        x[j] = 0.0f;
    }
}

extern "C" void sy_cuda_fold_rows(const struct sy_exec *x, const struct sy_fold_rows *op) {
    if (op->n > 0 && op->d > 0)
        SY_LAUNCH(x, fold_named_rows, (unsigned)op->n, SY_THREADS, 0, *op);
}
