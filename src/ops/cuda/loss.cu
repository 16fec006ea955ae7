/* Cross entropy of rows of logits (docs/NUMERICS.md 3), a block a row, a warp a block of 128 columns: thread
 * t of it has the columns 4t .. 4t + 3, which are lanes of V64 once below and once above column 64.
 *
 *     M_b = rint(c max x); Z_b = V64 of EXP2(fma(x, c, -M_b)); M = max M_b
 *     Z = V64 over b of Z_b EXP2(M_b - M);  e = EXP2(fma(x, c, -M));  dlogit = BF((e (1/Z) - [i = t]) w)
 *     loss = max(+0, (LOG2(Z) - (x_t c - M)) ln 2), in fp64 from LOG2(Z) on
 *
 * The logits are read twice, the second time from the end, where the caches have them. */
#include "ops/cuda/values.cuh"

#include <float.h>

enum { THREADS = 256, WARPS = THREADS / 32, COLUMNS = 128 };
#define LOG2_E 1.44269504f
#define LN_2 0x1.62e42fefa39efp-1

/* Four columns from i on; those beyond the row are -Inf, and their number in *missing. */
static SY_DEV int load4(const float *x, int64_t i, int64_t n, int whole, float v[4]) {
    if (whole && i + 4 <= n) {
        float4 a = *(const float4 *)(x + i);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        return 4;
    }
    for (int j = 0; j < 4; j++)
        v[j] = i + j < n ? x[i + j] : -INFINITY;
    return n - i >= 4 ? 4 : n - i < 0 ? 0 : (int)(n - i);
}

/* V64 of a block of 128: thread t and t + 16 share lanes, first the lower. */
static SY_DEV float v64_of_block(const float e[4]) {
    float lane[4];
#pragma unroll
    for (int j = 0; j < 4; j++)
        lane[j] = e[j] + __shfl_xor_sync(~0u, e[j], 16);
#pragma unroll
    for (int h = 32; h >= 4; h /= 2)
#pragma unroll
        for (int j = 0; j < 4; j++)
            lane[j] += __shfl_xor_sync(~0u, lane[j], h / 4);
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

struct row {
    const float *x;
    int64_t v, blocks;
    float *m, *z; /* [blocks] shared */
    int whole;
};

/* M_b and Z_b of this warp's blocks; whether there was a NaN. */
static SY_DEV int sum_blocks(const struct row &r) {
    int lane = threadIdx.x % 32, nan = 0;
#pragma unroll 2
    for (int64_t b = threadIdx.x / 32; b < r.blocks; b += WARPS) {
        float v[4], top;
        int n = load4(r.x, b * COLUMNS + 4 * lane, r.v, r.whole, v);
#pragma unroll
        for (int j = 0; j < 4; j++)
            nan |= v[j] != v[j];
        top = sy_max_of_warp(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])));
        float m = rintf(LOG2_E * top);
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = j < n ? sy_exp2_f32(fmaf(v[j], LOG2_E, -m)) : 0.0f;
        float z = v64_of_block(v);
        if (lane == 0) {
            r.m[b] = m;
            r.z[b] = z;
        }
    }
    return nan;
}

/* M; all threads get it. */
static SY_DEV float most_of_blocks(const struct row &r) {
    __shared__ float of_warp[WARPS];
    float m = -INFINITY;
    for (int64_t b = threadIdx.x; b < r.blocks; b += THREADS)
        m = fmaxf(m, r.m[b]);
    m = sy_max_of_warp(m);
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = m;
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        m = fmaxf(m, of_warp[w]);
    return m;
}

/* Z = V64 of Z_b EXP2(M_b - M); all threads get it. */
static SY_DEV float sum_of_blocks(const struct row &r, float most) {
    __shared__ float all;
    if (threadIdx.x < 32) {
        float low = 0.0f, high = 0.0f;
        for (int64_t b = threadIdx.x; b < r.blocks; b += 64) {
            low += r.z[b] * sy_exp2_f32(r.m[b] - most);
            if (b + 32 < r.blocks)
                high += r.z[b + 32] * sy_exp2_f32(r.m[b + 32] - most);
        }
        all = sy_v64_of_warp(low, high);
    }
    __syncthreads();
    return all;
}

static SY_DEV void count_loss(const struct sy_cross_entropy &op, const struct row &r, int32_t label, int nan,
                              float most, float all) {
    double logit = (double)r.x[label] * (double)LOG2_E - (double)most;
    double loss = ((double)sy_log2_f32(all) - logit) * LN_2;
    loss = loss < 0.0 ? 0.0 : loss;
    sy_add_i64(&op.tally->n_valid, 1);
    if (nan || !(all > 0.0f) || !sy_f32_finite(all) || !(loss <= DBL_MAX))
        sy_add_i64(&op.tally->n_bad, 1);
    else
        sy_add_i64(&op.tally->loss, (int64_t)rint((loss < 4096.0 ? loss : 4096.0) * 0x1p24));
}

static SY_DEV void gradient(const struct sy_cross_entropy &op, const struct row &r, void *out, int32_t label,
                            float most, float all) {
    float inverse = 1.0f / all, w = *op.w;
    int64_t last = (r.v - 1) / (SY_WIDE * (int)THREADS);
#pragma unroll 2
    for (int64_t at = last; at >= 0; at--) {
        int64_t i = (at * THREADS + threadIdx.x) * SY_WIDE;
        float v[SY_WIDE];
        if (i >= r.v)
            continue;
        sy_load8(r.x, SY_F32, i, r.v, r.whole, v);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++) {
            float e = sy_exp2_f32(fmaf(v[j], LOG2_E, -most));
            v[j] = i + j == label ? (e * inverse - 1.0f) * w : e * inverse * w;
        }
        sy_store8(out, op.dlogits.dtype, i, r.v, r.whole, v);
    }
}

SY_KERNEL(THREADS) losses_of_rows(struct sy_cross_entropy op, int64_t blocks, int whole) {
    SY_SHARED(float, shared);
    struct row r = {op.logits + blockIdx.x * op.vocab, op.vocab, blocks, shared, shared + blocks, whole};
    int32_t label = op.labels[blockIdx.x];
    void *out = op.dlogits.data ? sy_row_out(op.dlogits, blockIdx.x) : nullptr;
    if (label < 0) {
        for (int64_t i = SY_WIDE * threadIdx.x; out && i < op.vocab; i += SY_WIDE * (int)THREADS)
            sy_copy8(out, nullptr, op.dlogits.dtype, i, op.vocab, whole);
        return;
    }
    int nan = __syncthreads_or(sum_blocks(r));
    float most = most_of_blocks(r), all = sum_of_blocks(r, most);
    if (threadIdx.x == 0)
        count_loss(op, r, label, nan, most, all);
    if (out)
        gradient(op, r, out, label, most, all);
}

extern "C" void sy_cuda_cross_entropy(const struct sy_exec *x, const struct sy_cross_entropy *op) {
    int64_t blocks = (op->vocab + COLUMNS - 1) / COLUMNS;
    int whole = sy_aligned(op->logits, op->vocab * 4) && (!op->dlogits.data || sy_aligned(op->dlogits));
    if (op->rows > 0)
        SY_LAUNCH(x, losses_of_rows, (unsigned)op->rows, THREADS, (size_t)(8 * blocks), *op, blocks, whole);
}
