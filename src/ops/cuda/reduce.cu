/* Sums over tokens and lanes: R64 down rows, elementwise adds, the gradient's norm (docs/NUMERICS.md 2 to
 * 4). */
#include "ops/cuda/values.cuh"

#include "base/exact_sum.h"

/* --- R64: a block has 32 columns of an item, a warp 64 rows of them at a time --------------------------- */

enum { SUM_THREADS = 1024, SUM_WARPS = SUM_THREADS / 32 };

/* One fma chain from +0 over rows first .. end - 1 of column j. */
static SY_DEV float chain_of(const struct sy_row_sum_item &q, int64_t first, int64_t end, int64_t j) {
    float chain = 0.0f;
#pragma unroll 8
    for (int64_t row = first; row < end; row++) {
        int64_t t = q.heads == 1 ? row : (uint32_t)row / (uint32_t)q.heads, h = row - t * q.heads;
        float a = sy_load1(sy_head_row(q.a, t, h), q.a.dtype, j);
        if (q.x.data) {
            float b = sy_load1(sy_head_row(q.x, t, h), q.x.dtype, j);
            chain = fmaf(a, b * (q.r ? q.r[row] : 1.0f), chain);
        } else {
            chain = a + chain;
        }
    }
    return chain;
}

SY_KERNEL(SUM_THREADS) sum_rows(const struct sy_row_sum_item *items) {
    __shared__ float chains[SUM_WARPS][32];
    const struct sy_row_sum_item q = items[blockIdx.y];
    int64_t per = (q.rows_per_sequence + 63) / 64, blocks = per * q.sequences;
    int64_t j = blockIdx.x * 32 + threadIdx.x % 32;
    int warp = threadIdx.x / 32, mine = j < q.d;
    float sum = mine && q.acc ? q.acc[j] : 0.0f;
    if ((int64_t)blockIdx.x * 32 >= q.d)
        return;
    for (int64_t at = 0; at < blocks; at += SUM_WARPS) {
        int64_t b = at + warp, first = b / per * q.rows_per_sequence, end = first + q.rows_per_sequence;
        first += b % per * 64;
        if (b < blocks && mine)
            chains[warp][threadIdx.x % 32] = chain_of(q, first, first + 64 < end ? first + 64 : end, j);
        __syncthreads();
        for (int64_t k = 0; warp == 0 && mine && k < SUM_WARPS && at + k < blocks; k++)
            sum = sum + chains[k][threadIdx.x];
        __syncthreads();
    }
    if (warp == 0 && mine)
        q.out[j] = q.fold ? q.out[j] + sum : sum;
}

extern "C" void sy_cuda_row_sum(const struct sy_exec *x, const struct sy_row_sum *op) {
    int64_t widest = 0;
    for (int k = 0; k < op->n_items; k++)
        widest = op->item[k].d > widest ? op->item[k].d : widest;
    dim3 grid(sy_cuda_blocks(widest, 32), (unsigned)op->n_items);
    if (widest > 0)
        SY_LAUNCH(x, sum_rows, grid, SUM_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items));
}

/* --- y = y + x ------------------------------------------------------------------------------------------ */

enum { ADD_CHUNK = 8 * SY_THREADS * 4 };

SY_KERNEL(SY_THREADS) add_all(const struct sy_add_item *items, int n_items) {
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

extern "C" void sy_cuda_add_f32(const struct sy_exec *x, const struct sy_add_f32 *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, ADD_CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, add_all, blocks, SY_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items),
                  op->n_items);
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

SY_KERNEL(SY_THREADS) add_squares(const struct sy_norm_item *items, int n_items, struct sy_tally *tally) {
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
