/* Sums over tokens and lanes: R64 down rows, elementwise adds, the gradient's norm (docs/NUMERICS.md 2 to
 * 4). */
#include "ops/cuda/values.cuh"

#include "base/exact_sum.h"

/* --- R64: chains over 64 rows each, into the workspace; then their sums -------------------------------- */

enum { CHAIN_WARPS = SY_THREADS / 32, COLUMNS = 4 }; /* columns of a thread */

/* Blocks of 64 rows that one launch takes of every item, and what it leaves for the next: of each item, one
 * after another, the sums so far [d] and the chains [blocks, d]. */
struct piece {
    int64_t first, blocks;
    int last;
    float *work;
};

static inline __host__ __device__ int64_t blocks_of(const struct sy_row_sum_item &q) {
    return (q.rows_per_sequence + 63) / 64 * q.sequences;
}
/* Of an item: blocks of this launch, and warps of each, with 128 columns. */
static inline __host__ __device__ int64_t blocks_now(const struct sy_row_sum_item &q, int64_t first,
                                                     int64_t most) {
    int64_t left = blocks_of(q) - first;
    return left < 0 ? 0 : left < most ? left : most;
}
static inline __host__ __device__ int64_t columns_of(const struct sy_row_sum_item &q) {
    return (q.d + 32 * COLUMNS - 1) / (32 * COLUMNS);
}
static SY_DEV float *work_of(const struct piece &p, const struct sy_row_sum_item *items, unsigned item) {
    float *at = p.work;
    for (unsigned k = 0; k < item; k++)
        at += items[k].d * (1 + p.blocks);
    return at;
}

/* Where a row's columns j .. j + n - 1 are, and the next row's: rows are (token, head). */
struct place {
    const char *at;
    int64_t head, token; /* bytes to the next head, and from a token's last head to the next token */
};
static SY_DEV struct place place_of(const struct sy_heads &m, int64_t heads, int64_t t, int64_t h,
                                    int64_t j) {
    int64_t size = m.dtype == SY_BF16 ? 2 : 4;
    return (struct place){(const char *)m.data + (t * m.token + h * m.head + j) * size, m.head * size,
                          (m.token - (heads - 1) * m.head) * size};
}
static SY_DEV void next_row(struct place *p, int last) { p->at += last ? p->token : p->head; }

/* Columns j .. j + n - 1 of a row, n <= 4; wide: all four, in bf16 and at a multiple of 8 bytes. */
template <int wide>
static SY_DEV void load4(const struct place &p, enum sy_dtype t, int64_t n, float v[COLUMNS]) {
    if (wide) {
        uint2 u = *(const uint2 *)p.at;
        v[0] = sy_f32_from_bits(u.x << 16), v[1] = sy_f32_from_bits(u.x & 0xffff0000u);
        v[2] = sy_f32_from_bits(u.y << 16), v[3] = sy_f32_from_bits(u.y & 0xffff0000u);
    } else {
#pragma unroll
        for (int k = 0; k < COLUMNS; k++)
            v[k] = k < n ? sy_load1(p.at, t, k) : 0.0f;
    }
}

/* Fma chains from +0 over rows first .. end - 1; two: of products of a and x, else of a. */
template <int wide, int two>
static SY_DEV void chain_of(const struct sy_row_sum_item &q, int64_t first, int64_t end, int64_t j,
                            float chain[COLUMNS]) {
    int64_t t = q.heads == 1 ? first : (uint32_t)first / (uint32_t)q.heads, h = first - t * q.heads;
    struct place at_a = place_of(q.a, q.heads, t, h, j), at_x = place_of(q.x, q.heads, t, h, j);
#pragma unroll
    for (int k = 0; k < COLUMNS; k++)
        chain[k] = 0.0f;
#pragma unroll 8
    for (int64_t row = first; row < end; row++) {
        float a[COLUMNS], b[COLUMNS], r = two && q.r ? q.r[row] : 1.0f;
        load4<wide>(at_a, q.a.dtype, q.d - j, a);
        if (two)
            load4<wide>(at_x, q.x.dtype, q.d - j, b);
        int last = ++h == q.heads;
        h = last ? 0 : h;
        next_row(&at_a, last);
        next_row(&at_x, last);
#pragma unroll
        for (int k = 0; k < COLUMNS; k++)
            chain[k] = two ? fmaf(a[k], b[k] * r, chain[k]) : a[k] + chain[k];
    }
}

static SY_DEV int is_wide(const struct sy_heads &m) {
    return m.dtype == SY_BF16 &&
           (((uint64_t)(uintptr_t)m.data | (uint64_t)m.token * 2 | (uint64_t)m.head * 2) & 7) == 0;
}

/* A warp: 128 columns of a block of an item, those of one block side by side. */
SY_KERNEL(SY_THREADS) chain_rows(const struct sy_row_sum_item *items, int n_items, struct piece p) {
    int64_t task = (int64_t)blockIdx.x * CHAIN_WARPS + threadIdx.x / 32;
    int item = 0;
    for (; item < n_items; item++) {
        int64_t n = blocks_now(items[item], p.first, p.blocks) * columns_of(items[item]);
        if (task < n)
            break;
        task -= n;
    }
    if (item == n_items)
        return;
    const struct sy_row_sum_item q = items[item];
    int64_t at = task / columns_of(q), b = p.first + at,
            j = (task % columns_of(q) * 32 + threadIdx.x % 32) * COLUMNS;
    if (j >= q.d)
        return;
    int64_t per = (q.rows_per_sequence + 63) / 64, begin = b / per * q.rows_per_sequence,
            end = begin + q.rows_per_sequence, first = begin + b % per * 64;
    int wide = j + COLUMNS <= q.d && is_wide(q.a) && (!q.x.data || is_wide(q.x));
    float chain[COLUMNS], *to = work_of(p, items, (unsigned)item) + (1 + at) * q.d + j;
    end = first + 64 < end ? first + 64 : end;
    if (wide && q.x.data)
        chain_of<1, 1>(q, first, end, j, chain);
    else if (wide)
        chain_of<1, 0>(q, first, end, j, chain);
    else if (q.x.data)
        chain_of<0, 1>(q, first, end, j, chain);
    else
        chain_of<0, 0>(q, first, end, j, chain);
#pragma unroll
    for (int k = 0; k < COLUMNS; k++)
        if (j + k < q.d)
            to[k] = chain[k];
}

enum { SUM_COLUMNS = 32, SUM_ROWS = 128, SUM_EACH = SUM_ROWS / CHAIN_WARPS };

/* This warp's of the 128 chains from block b on; beyond the last: zeros. */
static SY_DEV void fetch(const float *work, int64_t d, int64_t b, int64_t n, float v[SUM_EACH]) {
#pragma unroll
    for (int i = 0; i < SUM_EACH; i++) {
        int64_t at = b + i * CHAIN_WARPS + threadIdx.x / 32;
        v[i] = at < n ? work[(1 + at) * d] : 0.0f;
    }
}

/* A block: 32 columns of an item. The first warp adds 128 chains in their order while all fetch those
 * behind the next ones. */
SY_KERNEL(SY_THREADS) add_chains(const struct sy_row_sum_item *items, struct piece p) {
    __shared__ float tile[2][SUM_ROWS][SUM_COLUMNS];
    const struct sy_row_sum_item q = items[blockIdx.y];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t j = (int64_t)blockIdx.x * SUM_COLUMNS + lane, n = blocks_now(q, p.first, p.blocks);
    int mine = j < q.d;
    if ((int64_t)blockIdx.x * SUM_COLUMNS >= q.d)
        return;
    float *work = work_of(p, items, blockIdx.y) + j, sum = 0.0f;
    if (mine)
        sum = p.first > 0 ? work[0] : q.acc ? q.acc[j] : 0.0f;
    float next[2][SUM_EACH];
    int64_t there = mine ? n : 0;
    fetch(work, q.d, 0, there, next[0]);
    fetch(work, q.d, SUM_ROWS, there, next[1]);
    for (int64_t b = 0; b < n; b += 2 * SUM_ROWS)
#pragma unroll
        for (int turn = 0; turn < 2; turn++) {
            int64_t at = b + turn * SUM_ROWS, left = n - at < SUM_ROWS ? n - at : (int64_t)SUM_ROWS;
#pragma unroll
            for (int i = 0; i < SUM_EACH; i++)
                tile[turn][i * CHAIN_WARPS + warp][lane] = next[turn][i];
            fetch(work, q.d, at + 2 * SUM_ROWS, there, next[turn]);
            __syncthreads();
            if (warp == 0)
#pragma unroll 16
                for (int64_t i = 0; i < left; i++)
                    sum = sum + tile[turn][i][lane];
        }
    if (warp > 0 || !mine)
        return;
    if (p.last)
        q.out[j] = q.fold ? q.out[j] + sum : sum;
    else
        work[0] = sum;
}

extern "C" void sy_cuda_row_sum(const struct sy_exec *x, const struct sy_row_sum *op) {
    int64_t widest = 0, most = 0, wide = 0;
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_row_sum_item *q = &op->item[k];
        int64_t blocks = blocks_of(*q);
        widest = q->d > widest ? q->d : widest;
        most = blocks > most ? blocks : most;
        wide += q->d;
    }
    if (widest == 0)
        return;
    int64_t fits = (int64_t)x->scratch_bytes / 4 / wide - 1;
    struct piece p = {.blocks = fits < 1 ? 1 : fits < most ? fits : most};
    p.work = (float *)sy_cuda_workspace(x, (size_t)(wide * (1 + p.blocks)) * sizeof(float));
    const struct sy_row_sum_item *items = sy_cuda_upload(x, op->item, (size_t)op->n_items);
    for (; p.work && !p.last; p.first += p.blocks) {
        p.last = p.first + p.blocks >= most;
        dim3 sums(sy_cuda_blocks(widest, SUM_COLUMNS), (unsigned)op->n_items);
        int64_t chains = 0;
        for (int k = 0; k < op->n_items; k++)
            chains += blocks_now(op->item[k], p.first, p.blocks) * columns_of(op->item[k]);
        if (chains > 0)
            SY_LAUNCH(x, chain_rows, sy_cuda_blocks(chains, CHAIN_WARPS), SY_THREADS, 0, items, op->n_items,
                      p);
        SY_LAUNCH(x, add_chains, sums, SY_THREADS, 0, items, p);
    }
}

/* --- y = y + x ------------------------------------------------------------------------------------------ */

enum { ADD_CHUNK = 8 * SY_THREADS * 4 };

SY_LIST_KERNEL add_all(const struct sy_add_item *items, int n_items) {
    sy_deal(items, n_items, ADD_CHUNK, [](const struct sy_add_item &q, int64_t lo, int64_t hi) {
        int whole = (((uint64_t)(uintptr_t)q.x | (uint64_t)(uintptr_t)q.y) & 15) == 0;
        int64_t wide = whole ? lo + (hi - lo) / 4 * 4 : lo;
#pragma unroll 4
        for (int64_t i = lo + 4 * threadIdx.x; i < wide; i += 4 * SY_THREADS) {
            float4 a = *(const float4 *)(q.x + i), b = *(float4 *)(q.y + i);
            *(float4 *)(q.y + i) = make_float4(b.x + a.x, b.y + a.y, b.z + a.z, b.w + a.w);
        }
        for (int64_t i = wide + threadIdx.x; i < hi; i += SY_THREADS)
            q.y[i] = q.y[i] + q.x[i];
    });
}

enum { ADD_LIST = 256 };

static void add_list(const struct sy_exec *x, const struct sy_add_item *items, int n_items) {
    unsigned blocks = sy_blocks_of_list(x, items, n_items, ADD_CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, add_all, blocks, SY_THREADS, 0, sy_cuda_upload(x, items, (size_t)n_items), n_items);
}

/* Whether b reads or writes what a wrote, or writes what a read. */
static int goes_on(const struct sy_add_item *a, const struct sy_add_item *b) {
    return b->x == a->y || b->y == a->y || b->y == a->x;
}

/* Items that go on from none in one launch, those that go on from these in the next. */
extern "C" void sy_cuda_add_f32(const struct sy_exec *x, const struct sy_add_f32 *op) {
    struct sy_add_item list[ADD_LIST];
    int place[ADD_LIST];
    for (int first = 0; first < op->n_items; first += ADD_LIST) {
        const struct sy_add_item *item = op->item + first;
        int n = op->n_items - first < ADD_LIST ? op->n_items - first : ADD_LIST, longest = 0;
        for (int i = 0; i < n; i++) {
            place[i] = 0;
            for (int j = 0; j < i; j++)
                if (place[j] >= place[i] && goes_on(&item[j], &item[i]))
                    place[i] = place[j] + 1;
            longest = place[i] > longest ? place[i] : longest;
        }
        for (int p = 0, m = 0; p <= longest; p++, m = 0) {
            for (int i = 0; i < n; i++)
                if (place[i] == p)
                    list[m++] = item[i];
            add_list(x, list, m);
        }
    }
}

/* --- blocks of squares: 16 fp64 lanes of 1024 elements, four of them a thread --------------------------- */

enum { SQUARES = 1024, NORM_CHUNK = SQUARES * SY_THREADS / 4 };

/* The sum of the block [first, end) by 4 threads, which all get it. A product of two floats is exact. */
static SY_DEV double square_block(const float *x, int64_t first, int64_t end, int whole, int *bad) {
    double lane[4] = {0};
#pragma unroll 4
    for (int64_t i = first + 4 * (threadIdx.x % 4); i < end; i += 16) {
        float v[4] = {0};
        if (whole && i + 4 <= end) {
            float4 a = *(const float4 *)(x + i);
            v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        } else {
            for (int j = 0; j < 4; j++)
                v[j] = i + j < end ? x[i + j] : 0.0f;
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            lane[j] += (double)v[j] * (double)v[j];
            *bad += !sy_f32_finite(v[j]);
        }
    }
#pragma unroll
    for (int h = 2; h >= 1; h--)
#pragma unroll
        for (int j = 0; j < 4; j++)
            lane[j] += __shfl_xor_sync(~0u, lane[j], h);
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

static SY_DEV void add_digits(int64_t *bins, double v) {
    int bin;
    int64_t digit[3];
    if (!sy_exact_digits(v, &bin, digit)) {
        sy_add_i64(&bins[SY_EXACT_BINS], 1);
        return;
    }
    for (int k = 0; k < 3; k++)
        sy_add_i64(&bins[bin + k], digit[k]);
}

SY_LIST_KERNEL add_squares(const struct sy_norm_item *items, int n_items, struct sy_tally *tally) {
    __shared__ int64_t bins[SY_EXACT_BINS + 1]; /* and the blocks that are not finite */
    int bad = 0;
    for (int i = threadIdx.x; i <= SY_EXACT_BINS; i += SY_THREADS)
        bins[i] = 0;
    __syncthreads();
    sy_deal(items, n_items, NORM_CHUNK, [&](const struct sy_norm_item &q, int64_t lo, int64_t hi) {
        int64_t first = lo + threadIdx.x / 4 * SQUARES, end = first + SQUARES < hi ? first + SQUARES : hi;
        double sum = square_block(q.x, first, end, ((uint64_t)(uintptr_t)q.x & 15) == 0, &bad);
        if (threadIdx.x % 4 == 0 && first < hi)
            add_digits(bins, sum);
    });
    __syncthreads();
    for (int i = threadIdx.x; i < SY_EXACT_BINS; i += SY_THREADS)
        sy_add_i64(&tally->norm.bin[i], bins[i]);
    if (threadIdx.x == 0)
        sy_add_i64(&tally->norm.n_bad, bins[SY_EXACT_BINS]);
    bad = sy_sum_of_warp(bad);
    if (threadIdx.x % 32 == 0)
        sy_add_i64(&tally->n_bad_gradient, bad);
}

extern "C" void sy_cuda_norm(const struct sy_exec *x, const struct sy_norm *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, NORM_CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, add_squares, blocks, SY_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items),
                  op->n_items, op->tally);
}
