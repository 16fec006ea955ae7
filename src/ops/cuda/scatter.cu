/* scatter_add: rows added to rows that an index names, in ascending order of the rows added. Block i takes
 * the whole sum of the row that index i names, if no earlier index names it: it looks for the later ones, in
 * order, and each of its threads adds some columns of theirs. So every element is one chain, and no float is
 * added by an atomic. fold_rows likewise: the first index that names a row does the work.
 *
 * Which index is a row's first and whether there are more is looked up in a table of all rows, made by
 * atomics of integers, where the workspace has room for it; else each block looks through all indices. */
#include "ops/cuda/values.cuh"

enum { SEEN = 512, LOOKED = 8 }; /* indices found before their rows are added; looked at together */

/* A row of out, and which indices name it: those from `low` on, `size` of them. */
struct named {
    const int32_t *index;
    int32_t row;
    uint32_t low, size;
};
static SY_DEV int names(const struct named &r, int32_t index) { return (uint32_t)index - r.low < r.size; }

/* The row that index i names, or -1 as its row. top_k 0: the index is the row. */
static SY_DEV struct named row_of(const int32_t *index, int64_t i, int64_t top_k, int64_t rows) {
    int32_t v = index[i];
    struct named r = {.index = index, .row = v, .low = (uint32_t)v, .size = 1};
    if (v >= 0 && top_k > 0) {
        r.row = (int32_t)((uint32_t)v / (uint32_t)top_k);
        r.size = (uint32_t)top_k;
        r.low = (uint32_t)r.row * r.size;
    }
    r.row = r.row < rows ? r.row : -1;
    return r;
}

/* Of each row: the first index that names it, and how many do. NULL: there is no table. */
struct table {
    uint32_t *first, *count;
};

SY_KERNEL(SY_THREADS) clear_table(struct table t, int64_t rows) {
    int64_t row = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x;
    if (row < rows) {
        t.first[row] = ~0u;
        t.count[row] = 0;
    }
}

SY_KERNEL(SY_THREADS)
fill_table(struct table t, const int32_t *index, const int64_t *used, int64_t n, int64_t top_k,
           int64_t rows) {
    int64_t i = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x;
    struct named r = {};
    if (i >= (used ? *used : n) || (r = row_of(index, i, top_k, rows)).row < 0)
        return;
    atomicMin(&t.first[r.row], (uint32_t)i);
    atomicAdd(&t.count[r.row], 1u);
}

static struct table table_of(const struct sy_exec *x, const int32_t *index, const int64_t *used, int64_t n,
                             int64_t top_k, int64_t rows) {
    struct table t = {};
    if (rows * 2 * (int64_t)sizeof(uint32_t) > (int64_t)x->scratch_bytes)
        return t;
    t.first = (uint32_t *)sy_cuda_workspace(x, (size_t)rows * 2 * sizeof(uint32_t));
    t.count = t.first + rows;
    SY_LAUNCH(x, clear_table, sy_cuda_blocks(rows, SY_THREADS), SY_THREADS, 0, t, rows);
    SY_LAUNCH(x, fill_table, sy_cuda_blocks(n, SY_THREADS), SY_THREADS, 0, t, index, used, n, top_k, rows);
    return t;
}

/* How many of the indices first .. end - 1 name the row. The same answer for all threads, all of which
 * call. */
static SY_DEV int names_among(const struct named &r, int64_t first, int64_t end) {
    int any = 0;
    for (int64_t at = first + threadIdx.x; at < end; at += LOOKED * (int)SY_THREADS) {
        int32_t v[LOOKED];
#pragma unroll
        for (int k = 0; k < LOOKED; k++)
            v[k] = at + k * SY_THREADS < end ? r.index[at + k * SY_THREADS] : -1;
#pragma unroll
        for (int k = 0; k < LOOKED; k++)
            any |= names(r, v[k]);
    }
    return __syncthreads_or(any);
}

/* Appends to `seen`, in order, those of i .. i + 255 (below n) that name the row; returns how many there are
 * now. */
static SY_DEV int append(const struct named &r, int64_t i, int64_t n, int32_t *seen, int count) {
    __shared__ int of_warp[SY_THREADS / 32];
    int64_t j = i + threadIdx.x;
    int hit = j < n && names(r, r.index[j]), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
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

/* Columns i .. i + 7 of `out` with those of the rows seen [n]. */
template <int fast>
static SY_DEV void add_seen(const struct sy_scatter_add &op, const int32_t *seen, int n, int64_t i, int whole,
                            float sum[SY_WIDE]) {
#pragma unroll 4
    for (int k = 0; k < n; k++) {
        float v[SY_WIDE], scale = op.scale ? op.scale[seen[k]] : 1.0f;
        sy_load8<fast>(sy_row(op.src, seen[k]), op.src.dtype, i, op.d, whole, v);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            sum[j] = op.scale ? fmaf(scale, v[j], sum[j]) : sum[j] + v[j];
    }
}

template <int fast>
static SY_DEV void add_to_row(const struct sy_scatter_add &op, float *out, const int32_t *seen, int n,
                              int whole) {
    for (int64_t i = SY_WIDE * threadIdx.x; i < op.d; i += SY_WIDE * (int64_t)SY_THREADS) {
        float sum[SY_WIDE];
        sy_load8(out, SY_F32, i, op.d, whole, sum);
        add_seen<fast>(op, seen, n, i, whole, sum);
        sy_store8(out, SY_F32, i, op.d, whole, sum);
    }
}

/* Whether no index before i names its row. */
static SY_DEV int is_first(const struct table &t, const struct named &r, int64_t i) {
    return t.first ? t.first[r.row] == (uint32_t)i : !names_among(r, 0, i);
}

template <int fast> SY_KERNEL(SY_THREADS) add_to_rows(struct sy_scatter_add op, struct table t, int whole) {
    __shared__ int32_t seen[SEEN + (int)SY_THREADS];
    int64_t n = op.used ? *op.used : op.n, i = blockIdx.x;
    if (i >= n)
        return;
    struct named r = row_of(op.index, i, op.top_k, op.out_rows);
    if (r.row < 0 || !is_first(t, r, i))
        return;
    float *out = (float *)sy_row_out(op.out, r.row);
    if (threadIdx.x == 0)
        seen[0] = (int32_t)i;
    int count = 1, more = t.first ? t.count[r.row] > 1 : names_among(r, i + 1, n);
    for (i++; more && i < n;) {
        for (; i < n && count < SEEN; i += SY_THREADS)
            count = append(r, i, n, seen, count);
        if (i >= n)
            break;
        add_to_row<fast>(op, out, seen, count, whole);
        count = 0;
        __syncthreads();
    }
    __syncthreads();
    add_to_row<fast>(op, out, seen, count, whole);
}

extern "C" void sy_cuda_scatter_add(const struct sy_exec *x, const struct sy_scatter_add *op) {
    int whole = sy_aligned(op->src) && sy_aligned(op->out);
    if (op->n <= 0 || op->d <= 0 || op->out_rows <= 0)
        return;
    struct table t = table_of(x, op->index, op->used, op->n, op->top_k, op->out_rows);
    SY_LAUNCH_FAST(x, whole && sy_is_fast(op->d, op->src), add_to_rows, (unsigned)op->n, SY_THREADS, 0, *op,
                   t, whole);
}

/* --- y[index] = y[index] + x[index], x[index] = +0 ------------------------------------------------------ */

SY_KERNEL(SY_THREADS) fold_named_rows(struct sy_fold_rows op, int whole) {
    int64_t i = blockIdx.x;
    struct named r = row_of(op.index, i, 0, INT32_MAX);
    if (names_among(r, 0, i))
        return;
    float *x = op.x + r.row * op.d, *y = op.y ? op.y + r.row * op.d : nullptr;
    for (int64_t j = SY_WIDE * threadIdx.x; j < op.d; j += SY_WIDE * (int64_t)SY_THREADS) {
        float a[SY_WIDE], b[SY_WIDE];
        sy_load8(x, SY_F32, j, op.d, whole, a);
        if (y) {
            sy_load8(y, SY_F32, j, op.d, whole, b);
#pragma unroll
            for (int k = 0; k < SY_WIDE; k++)
                b[k] = b[k] + a[k];
            sy_store8(y, SY_F32, j, op.d, whole, b);
        }
        sy_copy8(x, nullptr, SY_F32, j, op.d, whole);
    }
}

extern "C" void sy_cuda_fold_rows(const struct sy_exec *x, const struct sy_fold_rows *op) {
    if (op->n > 0 && op->d > 0)
        SY_LAUNCH(x, fold_named_rows, (unsigned)op->n, SY_THREADS, 0, *op,
                  sy_aligned(op->x, op->d * 4) && sy_aligned(op->y));
}
