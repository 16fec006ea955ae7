/* Cross entropy of rows of logits (docs/NUMERICS.md 3), a block a row.
 *
 *     M_b = rint(c max x); Z_b = V64 of EXP2(fma(x, c, -M_b)), for each 128 columns; M = max M_b
 *     Z = V64 over b of Z_b EXP2(M_b - M);  e = EXP2(fma(x, c, -M));  dlogit = BF((e (1/Z) - [i = t]) w)
 *     loss = max(+0, (LOG2(Z) - (x_t c - M)) ln 2), in fp64 from LOG2(Z) on
 *
 * First a warp takes 4 blocks of 128 at a time, thread t the columns 4t .. 4t + 3 of each, and sums them
 * together. The logits are needed again for the gradient: as many blocks as fit stay in shared memory, the
 * others are read again, the last ones first, which the caches still have. */
#include "ops/cuda/values.cuh"

#include <float.h>

enum { MOST_THREADS = 1024, COLUMNS = 128, TOGETHER = 4, MOST_SHARED = 224 * 1024 };
#define LOG2_E 1.44269504f
#define LN_2 0x1.62e42fefa39efp-1

struct row {
    const float *x;
    int64_t v, blocks, kept; /* kept: the first blocks are in shared memory, too */
    float *m, *z, *copy;     /* shared: [blocks], [blocks], [kept, 128] */
    int whole;
};

/* This thread's four columns of block b; those beyond the row are -Inf. all: the row has the whole block. */
template <int all> static SY_DEV void load4(const struct row &r, int64_t b, float v[4]) {
    int64_t i = b * COLUMNS + 4 * (threadIdx.x % 32);
    if (all) {
        float4 a = __ldg((const float4 *)(r.x + i));
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = i + j < r.v ? r.x[i + j] : -INFINITY;
    }
}
static SY_DEV int has_all(const struct row &r, int64_t blocks) { return r.whole && blocks * COLUMNS <= r.v; }
static SY_DEV float4 *kept4(const struct row &r, int64_t b) {
    return (float4 *)(r.copy + b * COLUMNS) + threadIdx.x % 32;
}

/* --- sums of blocks ------------------------------------------------------------------------------------- */

/* Which of the four blocks a thread ends up with. */
static SY_DEV int my_block() { return threadIdx.x >> 3 & 3; }

/* The maximum of each of four blocks; this thread gets that of its own. NaN loses. */
static SY_DEV float max_of_blocks(const float v[TOGETHER][4]) {
    int t = threadIdx.x;
    float m[TOGETHER];
#pragma unroll
    for (int q = 0; q < TOGETHER; q++)
        m[q] = fmaxf(fmaxf(v[q][0], v[q][1]), fmaxf(v[q][2], v[q][3]));
#pragma unroll
    for (int q = 0; q < 2; q++)
        m[q] = fmaxf(t & 16 ? m[q + 2] : m[q], __shfl_xor_sync(~0u, t & 16 ? m[q] : m[q + 2], 16));
    m[0] = fmaxf(t & 8 ? m[1] : m[0], __shfl_xor_sync(~0u, t & 8 ? m[0] : m[1], 8));
#pragma unroll
    for (int h = 4; h >= 1; h /= 2)
        m[0] = fmaxf(m[0], __shfl_xor_sync(~0u, m[0], h));
    return m[0];
}

/* V64 of each of four blocks; this thread gets that of its own. Columns 4t + j: threads t and t + 16 share
 * lanes of V64, those of t first; what a thread keeps is halved as long as it can be (sy_halve). */
static SY_DEV float sum_of_blocks(float e[TOGETHER][4]) {
    int t = threadIdx.x;
    float *v = &e[0][0];
    sy_halve<8>(v, t & 16, 16);            /* columns 64 apart; two blocks are kept */
    sy_halve<4>(v, t & 8, 8);              /* h = 32; one block, lanes 4 (t % 8) + j */
    sy_halve<2>(v, t & 4, 4);              /* h = 16; j is 0 and 1 or 2 and 3 */
    sy_halve<1>(v, t & 2, 2);              /* h = 8; one j */
    v[0] += __shfl_xor_sync(~0u, v[0], 1); /* h = 4 */
    v[0] += __shfl_xor_sync(~0u, v[0], 4); /* h = 2: j and j + 2 */
    v[0] += __shfl_xor_sync(~0u, v[0], 2); /* h = 1 */
    return v[0];
}

/* M_b and Z_b of this warp's blocks; whether there was a NaN. */
static SY_DEV int sum_blocks(const struct row &r) {
    int lane = threadIdx.x % 32, nan = 0;
    for (int64_t b = threadIdx.x / 32 * TOGETHER; b < r.blocks; b += blockDim.x / 32 * TOGETHER) {
        float v[TOGETHER][4];
        if (has_all(r, b + TOGETHER)) {
#pragma unroll
            for (int q = 0; q < TOGETHER; q++)
                load4<1>(r, b + q, v[q]);
        } else {
#pragma unroll
            for (int q = 0; q < TOGETHER; q++)
                load4<0>(r, b + q, v[q]);
        }
#pragma unroll
        for (int q = 0; q < TOGETHER; q++) {
            nan |= v[q][0] != v[q][0] || v[q][1] != v[q][1] || v[q][2] != v[q][2] || v[q][3] != v[q][3];
            if (b + q < r.kept)
                *kept4(r, b + q) = make_float4(v[q][0], v[q][1], v[q][2], v[q][3]);
        }
        float m = rintf(LOG2_E * max_of_blocks(v));
#pragma unroll
        for (int q = 0; q < TOGETHER; q++) {
            float m_q = __shfl_sync(~0u, m, 8 * q);
            int64_t left = r.v - (b + q) * COLUMNS - 4 * lane; /* columns that there are */
#pragma unroll
            for (int j = 0; j < 4; j++)
                v[q][j] = j < left ? sy_exp2_f32(fmaf(v[q][j], LOG2_E, -m_q)) : 0.0f;
        }
        float z = sum_of_blocks(v);
        if (lane % 8 == 0 && b + my_block() < r.blocks) {
            r.m[b + my_block()] = m;
            r.z[b + my_block()] = z;
        }
    }
    return nan;
}

/* --- the row -------------------------------------------------------------------------------------------- */

struct sums {
    float most, all; /* M and Z */
};

/* Z = V64 of Z_b EXP2(M_b - M), by the first warp; all threads get both. */
static SY_DEV struct sums sum_row(const struct row &r) {
    __shared__ struct sums row;
    if (threadIdx.x < 32) {
        float most = -INFINITY, low = 0.0f, high = 0.0f;
        for (int64_t b = threadIdx.x; b < r.blocks; b += 32)
            most = fmaxf(most, r.m[b]);
        most = sy_max_of_warp(most);
        for (int64_t b = threadIdx.x; b < r.blocks; b += 64) {
            low += r.z[b] * sy_exp2_f32(r.m[b] - most);
            if (b + 32 < r.blocks)
                high += r.z[b + 32] * sy_exp2_f32(r.m[b + 32] - most);
        }
        float all = sy_v64_of_warp(low, high);
        if (threadIdx.x == 0)
            row = (struct sums){most, all};
    }
    __syncthreads();
    return row;
}

static SY_DEV void count_loss(const struct sy_cross_entropy &op, float logit, int nan, struct sums s) {
    double loss = ((double)sy_log2_f32(s.all) - ((double)logit * (double)LOG2_E - (double)s.most)) * LN_2;
    loss = loss < 0.0 ? 0.0 : loss;
    sy_add_i64(&op.tally->n_valid, 1);
    if (nan || !(s.all > 0.0f) || !sy_f32_finite(s.all) || !(loss <= DBL_MAX))
        sy_add_i64(&op.tally->n_bad, 1);
    else
        sy_add_i64(&op.tally->loss, (int64_t)rint((loss < 4096.0 ? loss : 4096.0) * 0x1p24));
}

/* What the gradient of a row needs. */
struct back {
    uint16_t *out; /* bf16, or */
    float *out_f32;
    int64_t label;
    float most, inverse, w;
};

/* The thread's four columns of block b. all: the row has the whole block, and out is bf16. */
template <int all>
static SY_DEV void gradient4(const struct back &g, const struct row &r, int64_t b, float v[4]) {
    int64_t i = b * COLUMNS + 4 * (threadIdx.x % 32);
    uint32_t label = g.label - i < 4 && g.label >= i ? (uint32_t)(g.label - i) : 4;
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
        float share = sy_exp2_f32(fmaf(v[j], LOG2_E, -g.most)) * g.inverse;
        v[j] = (j == label ? share - 1.0f : share) * g.w;
    }
    if (all) {
        *(uint2 *)(g.out + i) = make_uint2(sy_narrow2(v[0], v[1]), sy_narrow2(v[2], v[3]));
    } else {
        for (int j = 0; j < 4 && i + j < r.v; j++)
            if (g.out)
                g.out[i + j] = sy_narrow(v[j]);
            else
                g.out_f32[i + j] = v[j];
    }
}

/* Blocks from the last to the first: a warp TOGETHER at a time. */
static SY_DEV void gradient(const struct back &g, const struct row &r) {
    int64_t groups = (r.blocks + TOGETHER - 1) / TOGETHER;
    for (int64_t k = groups - 1 - threadIdx.x / 32; k >= 0; k -= blockDim.x / 32) {
        int64_t b = k * TOGETHER;
        float v[TOGETHER][4];
        if (!has_all(r, b + TOGETHER) || !g.out) {
            for (int q = 0; q < TOGETHER; q++) {
                load4<0>(r, b + q, v[0]);
                gradient4<0>(g, r, b + q, v[0]);
            }
            continue;
        }
        if (b + TOGETHER <= r.kept) {
#pragma unroll
            for (int q = 0; q < TOGETHER; q++) {
                float4 a = *kept4(r, b + q);
                v[q][0] = a.x, v[q][1] = a.y, v[q][2] = a.z, v[q][3] = a.w;
            }
        } else {
#pragma unroll
            for (int q = 0; q < TOGETHER; q++)
                load4<1>(r, b + q, v[q]);
        }
#pragma unroll
        for (int q = 0; q < TOGETHER; q++)
            gradient4<1>(g, r, b + q, v[q]);
    }
}

SY_KERNEL(MOST_THREADS) losses_of_rows(struct sy_cross_entropy op, int64_t blocks, int64_t kept, int whole) {
    SY_SHARED(float, shared);
    struct row r = {.x = op.logits + blockIdx.x * op.vocab,
                    .v = op.vocab,
                    .blocks = blocks,
                    .kept = kept,
                    .m = shared + kept * COLUMNS,
                    .z = shared + kept * COLUMNS + blocks,
                    .copy = shared,
                    .whole = whole};
    int32_t label = op.labels[blockIdx.x];
    void *out = op.dlogits.data ? sy_row_out(op.dlogits, blockIdx.x) : nullptr;
    if (label < 0) {
        for (int64_t i = SY_WIDE * threadIdx.x; out && i < op.vocab; i += SY_WIDE * (int64_t)blockDim.x)
            sy_copy8(out, nullptr, op.dlogits.dtype, i, op.vocab, whole);
        return;
    }
    int nan = __syncthreads_or(sum_blocks(r));
    struct sums s = sum_row(r);
    if (threadIdx.x == 0)
        count_loss(op, r.x[label], nan, s);
    if (out)
        gradient((struct back){.out = op.dlogits.dtype == SY_BF16 ? (uint16_t *)out : nullptr,
                               .out_f32 = (float *)out,
                               .label = label,
                               .most = s.most,
                               .inverse = 1.0f / s.all,
                               .w = *op.w},
                 r);
}

extern "C" void sy_cuda_cross_entropy(const struct sy_exec *x, const struct sy_cross_entropy *op) {
    int64_t blocks = (op->vocab + COLUMNS - 1) / COLUMNS, room = MOST_SHARED / 4 - 2 * blocks, kept = 0;
    int whole = sy_aligned(op->logits, op->vocab * 4) && (!op->dlogits.data || sy_aligned(op->dlogits));
    unsigned threads = 64;
    while (threads < MOST_THREADS && threads / 32 * TOGETHER < blocks)
        threads *= 2;
    if (op->dlogits.data)
        kept = blocks * COLUMNS < room ? blocks : room / COLUMNS;
    if (op->rows > 0)
        SY_LAUNCH(x, losses_of_rows, (unsigned)op->rows, threads, (size_t)(4 * (2 * blocks + kept * COLUMNS)),
                  *op, blocks, kept, whole);
}
