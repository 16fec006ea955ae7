/* Rows by an index, 8 columns a thread: the embedding, tokens to the rows of their experts, and back. */
#include "ops/cuda/values.cuh"

/* Rows of a thread: their loads are all on the way before the first is stored. */
enum { MOVED = 4 };

/* Columns i .. i + 7 of MOVED rows; from NULL: zeros; to NULL: none. */
static SY_DEV void move_rows(void *const to[MOVED], const void *const from[MOVED], enum sy_dtype t, int64_t i,
                             int64_t n, int whole) {
    if (!whole || i + SY_WIDE > n || t != SY_BF16) {
        for (int k = 0; k < MOVED; k++)
            if (to[k])
                sy_copy8(to[k], from[k], t, i, n, whole);
        return;
    }
    uint4 v[MOVED];
#pragma unroll
    for (int k = 0; k < MOVED; k++)
        v[k] = from[k] ? *(const uint4 *)((const uint16_t *)from[k] + i) : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int k = 0; k < MOVED; k++)
        if (to[k])
            *(uint4 *)((uint16_t *)to[k] + i) = v[k];
}

/* --- y[t] = w[id[t]] ------------------------------------------------------------------------------------ */

SY_KERNEL(SY_THREADS) embed_rows(struct sy_embed_fwd op, int whole) {
    const void *from[MOVED];
    void *to[MOVED];
#pragma unroll
    for (int k = 0; k < MOVED; k++) {
        int64_t t = (blockIdx.x * (int64_t)MOVED + k) * blockDim.y + threadIdx.y;
        from[k] = t < op.tokens ? sy_row(op.w, op.ids[t]) : nullptr;
        to[k] = t < op.tokens ? sy_row_out(op.y, t) : nullptr;
    }
    SY_FOR_MY_COLUMNS(i, op.d)
        move_rows(to, from, op.y.dtype, i, op.d, whole);
}

extern "C" void sy_cuda_embed_fwd(const struct sy_exec *x, const struct sy_embed_fwd *op) {
    struct sy_row_grid g = sy_rows_by_columns((op->tokens + MOVED - 1) / MOVED, op->d);
    if (op->tokens > 0 && op->d > 0)
        SY_LAUNCH(x, embed_rows, g.grid, g.threads, 0, *op, sy_aligned(op->w) && sy_aligned(op->y));
}

/* --- y[row] = x[t], or BF(w x[t]); +0 in rows of padding ------------------------------------------------ */

static SY_DEV void weigh_row(const struct sy_permute &op, void *to, const void *from, float w, int64_t i,
                             int whole) {
    float v[SY_WIDE];
    sy_load8(from, op.x.dtype, i, op.d, whole, v);
#pragma unroll
    for (int j = 0; j < SY_WIDE; j++)
        v[j] = w * v[j];
    sy_store8(to, op.y.dtype, i, op.d, whole, v);
}

SY_KERNEL(SY_THREADS) permute_rows(struct sy_permute op, int whole) {
    int64_t rows = sy_cuda_rows(op.rows);
    const void *from[MOVED];
    void *to[MOVED];
    float w[MOVED];
#pragma unroll
    for (int k = 0; k < MOVED; k++) {
        int64_t row = (blockIdx.x * (int64_t)MOVED + k) * blockDim.y + threadIdx.y;
        int32_t route = row < rows ? op.route[row] : -1;
        from[k] = route < 0 ? nullptr : sy_row(op.x, (uint32_t)route / (uint32_t)op.top_k);
        to[k] = row < rows ? sy_row_out(op.y, row) : nullptr;
        w[k] = op.w && route >= 0 ? op.w[route] : 1.0f;
    }
    SY_FOR_MY_COLUMNS(i, op.d) {
        if (!op.w) {
            move_rows(to, from, op.y.dtype, i, op.d, whole);
            continue;
        }
#pragma unroll
        for (int k = 0; k < MOVED; k++)
            if (from[k])
                weigh_row(op, to[k], from[k], w[k], i, whole);
            else if (to[k])
                sy_copy8(to[k], nullptr, op.y.dtype, i, op.d, whole);
    }
}

extern "C" void sy_cuda_permute(const struct sy_exec *x, const struct sy_permute *op) {
    struct sy_row_grid g = sy_rows_by_columns((op->rows.max_rows + MOVED - 1) / MOVED, op->d);
    if (op->rows.max_rows > 0 && op->d > 0)
        SY_LAUNCH(x, permute_rows, g.grid, g.threads, 0, *op, sy_aligned(op->x) && sy_aligned(op->y));
}

/* --- y[t] = BF(sum over a token's experts ascending of fma(w, o, y), + shared) -------------------------- */

static SY_DEV void add_route(const struct sy_combine &op, int64_t t, int64_t k, int64_t i, int whole,
                             float sum[SY_WIDE]) {
    float v[SY_WIDE], w = op.w ? op.w[t * op.top_k + k] : 1.0f;
    sy_load8(sy_row(op.o, op.row[t * op.top_k + k]), op.o.dtype, i, op.d, whole, v);
#pragma unroll
    for (int j = 0; j < SY_WIDE; j++)
        sum[j] = fmaf(w, v[j], sum[j]);
}

/* Ranges of `size` ids: each summed and rounded, then added in fp32; one without a chosen expert is left
 * out. */
static SY_DEV void add_ranges(const struct sy_combine &op, int64_t size, int64_t t, int64_t i, int whole,
                              float sum[SY_WIDE]) {
    const int32_t *ids = op.ids + t * op.top_k;
    for (int64_t k = 0; k < op.top_k;) {
        float range[SY_WIDE] = {0};
        int64_t end = (ids[k] / size + 1) * size;
        for (; k < op.top_k && ids[k] < end; k++)
            add_route(op, t, k, i, whole, range);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            sum[j] = sum[j] + sy_bf(range[j]);
    }
}

SY_KERNEL(SY_THREADS) combine_rows(struct sy_combine op, int whole) {
    int64_t t = sy_my_row();
    if (t >= op.tokens)
        return;
    SY_FOR_MY_COLUMNS(i, op.d) {
        float sum[SY_WIDE] = {0}, v[SY_WIDE];
        if (op.groups > 0)
            add_ranges(op, op.experts / op.groups, t, i, whole, sum);
        else
#pragma unroll 4
            for (int64_t k = 0; k < op.top_k; k++)
                add_route(op, t, k, i, whole, sum);
        if (op.shared.data) {
            sy_load8(sy_row(op.shared, t), op.shared.dtype, i, op.d, whole, v);
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                sum[j] = sum[j] + v[j];
        }
        sy_store8(sy_row_out(op.y, t), op.y.dtype, i, op.d, whole, sum);
    }
}

extern "C" void sy_cuda_combine(const struct sy_exec *x, const struct sy_combine *op) {
    int whole = sy_aligned(op->o) && sy_aligned(op->y) && (!op->shared.data || sy_aligned(op->shared));
    struct sy_row_grid g = sy_rows_by_columns(op->tokens, op->d);
    if (op->tokens > 0 && op->d > 0)
        SY_LAUNCH(x, combine_rows, g.grid, g.threads, 0, *op, whole);
}
