/* Rows by an index, 8 columns a thread: the embedding, tokens to the rows of their experts, and back. */
#include "ops/cuda/scan.cuh"

/* Rows of a thread: their loads are all on the way before the first is stored. */
enum { MOVED = 4 };

/* Columns i .. i + 7 of MOVED rows of n; from NULL: zeros; to NULL: none. fast: as sy_is_fast has it. */
template <int fast>
static SY_DEV void move_rows(void *const to[MOVED], const void *const from[MOVED], enum sy_dtype t, int64_t i,
                             int64_t n, int whole) {
    uint4 v[MOVED];
#pragma unroll
    for (int k = 0; k < MOVED; k++)
        if (fast)
            v[k] = from[k] ? *(const uint4 *)((const uint16_t *)from[k] + i) : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int k = 0; k < MOVED; k++)
        if (fast && to[k])
            *(uint4 *)((uint16_t *)to[k] + i) = v[k];
        else if (to[k])
            sy_copy8(to[k], from[k], t, i, n, whole);
}

/* --- y[t] = w[id[t]] ------------------------------------------------------------------------------------ */

template <int fast> SY_KERNEL(SY_THREADS) embed_rows(struct sy_embed_fwd op, int whole) {
    const void *from[MOVED];
    void *to[MOVED];
#pragma unroll
    for (int k = 0; k < MOVED; k++) {
        int64_t t = (blockIdx.x * (int64_t)MOVED + k) * blockDim.y + threadIdx.y;
        from[k] = t < op.tokens ? sy_row(op.w, op.ids[t]) : nullptr;
        to[k] = t < op.tokens ? sy_row_out(op.y, t) : nullptr;
    }
    SY_FOR_MY_COLUMNS(i, op.d)
        move_rows<fast>(to, from, op.y.dtype, i, op.d, whole);
}

extern "C" void sy_cuda_embed_fwd(const struct sy_exec *x, const struct sy_embed_fwd *op) {
    struct sy_row_grid g = sy_rows_by_columns((op->tokens + MOVED - 1) / MOVED, op->d);
    if (op->tokens > 0 && op->d > 0)
        SY_LAUNCH_FAST(x, sy_is_fast(op->d, op->w, op->y), embed_rows, g.grid, g.threads, 0, *op,
                       sy_aligned(op->w) && sy_aligned(op->y));
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

enum { PIECE = 16, ORDER_THREADS = SY_SCAN_THREADS };

/* Rows first .. end - 1 of one segment. */
struct piece {
    int32_t first, end;
};

/* The pieces of all segments, sequence by sequence: the tokens of one are then read by all experts while the
 * caches have them. What is left of `most` has no rows. Every block counts all pieces and writes its share
 * of those of each ORDER_THREADS segments: a thread finds the segment of its piece. */
SY_KERNEL(ORDER_THREADS) order_pieces(struct sy_rows rows, struct piece *piece, int64_t most) {
    __shared__ int32_t before[ORDER_THREADS], start[ORDER_THREADS], end[ORDER_THREADS];
    int64_t segments = rows.groups * rows.sequences, at = 0, all;
    int64_t me = (int64_t)blockIdx.x * ORDER_THREADS + threadIdx.x, step = (int64_t)gridDim.x * ORDER_THREADS;
    for (int64_t first = 0; first < segments; first += ORDER_THREADS, at += all) {
        int64_t i = first + threadIdx.x, bin = i % rows.groups * rows.sequences + i / rows.groups;
        int64_t lo = i < segments && rows.offset ? rows.offset[bin] : 0, hi = i == 0 ? rows.max_rows : 0;
        if (rows.offset)
            hi = i < segments ? rows.offset[bin + 1] : 0;
        int64_t to =
            sy_sum_before((hi - lo + PIECE - 1) / PIECE, &all); /* after it all have read the arrays */
        before[threadIdx.x] = (int32_t)to;
        start[threadIdx.x] = (int32_t)lo;
        end[threadIdx.x] = (int32_t)hi;
        __syncthreads();
        for (int64_t k = me; k < all; k += step) {
            int s = 0; /* the last segment with before <= k: those without pieces come before it */
            for (int h = ORDER_THREADS / 2; h >= 1; h /= 2)
                s += before[s + h] <= k ? h : 0;
            int32_t row = start[s] + ((int32_t)k - before[s]) * PIECE;
            piece[at + k] = (struct piece){row, row + PIECE < end[s] ? row + PIECE : end[s]};
        }
    }
    for (at += me; at < most; at += step)
        piece[at] = (struct piece){0, 0};
}

/* fast: without weights, too. */
template <int fast>
SY_KERNEL_OF(SY_THREADS, fast ? 4 : 1)
permute_rows(struct sy_permute op, const struct piece *pieces, int whole) {
    const struct piece p = pieces[blockIdx.x];
    for (int64_t at = p.first; at < p.end; at += MOVED * blockDim.y) {
        const void *from[MOVED];
        void *to[MOVED];
        float w[MOVED];
#pragma unroll
        for (int k = 0; k < MOVED; k++) {
            int64_t row = at + k * blockDim.y + threadIdx.y;
            int32_t route = row < p.end ? op.route[row] : -1;
            from[k] = route < 0 ? nullptr : sy_row(op.x, (uint32_t)route / (uint32_t)op.top_k);
            to[k] = row < p.end ? sy_row_out(op.y, row) : nullptr;
            w[k] = op.w && route >= 0 ? op.w[route] : 1.0f;
        }
        SY_FOR_MY_COLUMNS(i, op.d) {
            if (fast || !op.w)
                move_rows<fast>(to, from, op.y.dtype, i, op.d, whole);
            else
#pragma unroll
                for (int k = 0; k < MOVED; k++)
                    if (from[k])
                        weigh_row(op, to[k], from[k], w[k], i, whole);
                    else if (to[k])
                        sy_copy8(to[k], nullptr, op.y.dtype, i, op.d, whole);
        }
    }
}

static inline unsigned blocks_of_pieces(const struct sy_exec *x, int64_t most) {
    unsigned blocks = sy_cuda_blocks(most, ORDER_THREADS), all = (unsigned)sy_cuda_multiprocessors(x);
    return blocks < all ? blocks : all;
}

/* The same where each route's row is known: a token's row is read once and written K times. The blocks
 * behind those of the tokens write the rows of padding, a warp those of 32 rows. */
template <int fast> static SY_DEV void spread_token(const struct sy_permute &op, int64_t t, int whole) {
    const int32_t *row = op.row + t * op.top_k;
    const void *from = sy_row(op.x, t);
    SY_FOR_MY_COLUMNS(i, op.d) {
        uint4 v = fast ? *(const uint4 *)((const uint16_t *)from + i) : make_uint4(0, 0, 0, 0);
        for (int64_t k = 0; k < op.top_k; k++) {
            void *to = sy_row_out(op.y, row[k]);
            if (fast)
                *(uint4 *)((uint16_t *)to + i) = v;
            else if (op.w)
                weigh_row(op, to, from, op.w[t * op.top_k + k], i, whole);
            else
                sy_copy8(to, from, op.y.dtype, i, op.d, whole);
        }
    }
}

static SY_DEV void clear_padding(const struct sy_permute &op, int64_t block, int whole) {
    int64_t n = sy_cuda_rows(op.rows), thread = threadIdx.y * blockDim.x + threadIdx.x,
            first = (block * SY_THREADS + thread) / 32 * 32, row = first + thread % 32;
    unsigned padding = __ballot_sync(~0u, row < n && op.route[row] < 0);
    for (int r = 0; r < 32; r++)
        if (padding >> r & 1)
            for (int64_t i = SY_WIDE * (thread % 32); i < op.d; i += SY_WIDE * 32)
                sy_copy8(sy_row_out(op.y, first + r), nullptr, op.y.dtype, i, op.d, whole);
}

template <int fast>
SY_KERNEL_OF(SY_THREADS, fast ? 8 : 1)
spread_tokens(struct sy_permute op, unsigned blocks_of_tokens, int whole) {
    int64_t t = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (blockIdx.x >= blocks_of_tokens)
        clear_padding(op, blockIdx.x - blocks_of_tokens, whole);
    else if (t < op.tokens)
        spread_token<fast>(op, t, whole);
}

static void spread(const struct sy_exec *x, const struct sy_permute *op, int fast, int whole) {
    struct sy_row_grid g = sy_rows_by_columns(op->tokens, op->d);
    unsigned tokens = op->tokens > 0 ? (unsigned)g.grid.x : 0;
    SY_LAUNCH_FAST(x, fast, spread_tokens, tokens + sy_cuda_blocks(op->rows.max_rows, SY_THREADS), g.threads,
                   0, *op, tokens, whole);
}

extern "C" void sy_cuda_permute(const struct sy_exec *x, const struct sy_permute *op) {
    int64_t most = op->rows.max_rows / PIECE + op->rows.groups * op->rows.sequences;
    int whole = sy_aligned(op->x) && sy_aligned(op->y), fast = !op->w && sy_is_fast(op->d, op->x, op->y);
    if (op->rows.max_rows == 0 || op->d == 0)
        return;
    if (op->row) {
        spread(x, op, fast, whole);
        return;
    }
    struct piece *pieces = (struct piece *)sy_cuda_workspace(x, (size_t)most * sizeof *pieces);
    if (!pieces)
        return;
    SY_LAUNCH(x, order_pieces, blocks_of_pieces(x, most), ORDER_THREADS, 0, op->rows, pieces, most);
    SY_LAUNCH_FAST(x, fast, permute_rows, (unsigned)most, sy_rows_by_columns(1, op->d).threads, 0, *op,
                   pieces, whole);
}

/* --- y[t] = BF(sum over a token's experts ascending of fma(w, o, y), + shared) -------------------------- */

enum { ROUTES = 8 }; /* of a token, whose rows are loaded together */

static SY_DEV void add_route(const struct sy_combine &op, int64_t t, int64_t k, int64_t i, int whole,
                             float sum[SY_WIDE]) {
    float v[SY_WIDE], w = op.w ? op.w[t * op.top_k + k] : 1.0f;
    sy_load8(sy_row(op.o, op.row[t * op.top_k + k]), op.o.dtype, i, op.d, whole, v);
#pragma unroll
    for (int j = 0; j < SY_WIDE; j++)
        sum[j] = fmaf(w, v[j], sum[j]);
}

/* ROUTES rows are on the way together, as bf16. */
static SY_DEV void add_routes_fast(const struct sy_combine &op, int64_t t, int64_t i, float sum[SY_WIDE]) {
    for (int64_t first = 0; first < op.top_k; first += ROUTES) {
        uint4 u[ROUTES];
#pragma unroll
        for (int k = 0; k < ROUTES; k++)
            if (first + k < op.top_k)
                u[k] = *(const uint4 *)((const uint16_t *)sy_row(op.o, op.row[t * op.top_k + first + k]) + i);
#pragma unroll
        for (int k = 0; k < ROUTES; k++)
            if (first + k < op.top_k) {
                float v[SY_WIDE], w = op.w ? op.w[t * op.top_k + first + k] : 1.0f;
                sy_widen8(u[k], v);
#pragma unroll
                for (int j = 0; j < SY_WIDE; j++)
                    sum[j] = fmaf(w, v[j], sum[j]);
            }
    }
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

/* fast: without ranges, too. */
template <int fast> SY_KERNEL_OF(SY_THREADS, fast ? 3 : 1) combine_rows(struct sy_combine op, int whole) {
    int64_t t = sy_my_row();
    if (t >= op.tokens)
        return;
    SY_FOR_MY_COLUMNS(i, op.d) {
        float sum[SY_WIDE] = {0}, v[SY_WIDE];
        uint4 shared = fast && op.shared.data ? *(const uint4 *)((const uint16_t *)sy_row(op.shared, t) + i)
                                              : make_uint4(0, 0, 0, 0);
        if (fast)
            add_routes_fast(op, t, i, sum);
        else if (op.groups > 0)
            add_ranges(op, op.experts / op.groups, t, i, whole, sum);
        else
            for (int64_t k = 0; k < op.top_k; k++)
                add_route(op, t, k, i, whole, sum);
        if (op.shared.data) {
            if (fast)
                sy_widen8(shared, v);
            else
                sy_load8(sy_row(op.shared, t), op.shared.dtype, i, op.d, whole, v);
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                sum[j] = sum[j] + v[j];
        }
        sy_store8<fast>(sy_row_out(op.y, t), op.y.dtype, i, op.d, whole, sum);
    }
}

extern "C" void sy_cuda_combine(const struct sy_exec *x, const struct sy_combine *op) {
    int whole = sy_aligned(op->o) && sy_aligned(op->y) && (!op->shared.data || sy_aligned(op->shared));
    int fast = op->groups == 0 && sy_is_fast(op->d, op->o, op->y) &&
               (!op->shared.data || sy_is_fast(op->d, op->shared));
    struct sy_row_grid g = sy_rows_by_columns(op->tokens, op->d);
    if (op->tokens > 0 && op->d > 0)
        SY_LAUNCH_FAST(x, fast, combine_rows, g.grid, g.threads, 0, *op, whole);
}
