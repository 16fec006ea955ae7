// Tiles of 64 x 64 stored values in shared memory and their products by mma.sync.m16n8k16: what attention of
// any shape (attention_any_*.cuh) is made of.
//
// Any base, stride, head size and length: a tile is filled value by value, +0 where rows or values are
// missing, so that the products know no tails. A CTA is four warps, a warp owns 16 rows of what it
// computes. A thread holds, of its warp's rows r and r + 8 (r its quad), the columns 8 i + 2 q and
// 8 i + 2 q + 1 (q its place in the quad): acc[4 i + 2 (row) + (column)], the layout that wgmma has, too.
#ifndef SY_OPS_CUDA_ATTENTION_TILE_CUH
#define SY_OPS_CUDA_ATTENTION_TILE_CUH

#include "ops/cuda/attention_softmax.cuh"
#include "ops/cuda/mma.cuh"
#include "ops/op_layer.h"

namespace attention_any {

// PITCH: rows of 144 bytes, so that no bank is asked twice. KEYS: of a block. VALUES: of a forward CTA.
enum { THREADS = 128, SIDE = 64, PITCH = SIDE + 8, TILE = SIDE * PITCH, KEYS = 128, VALUES = 128 };
static_assert((int)KEYS == (int)SY_ATTENTION_BLOCK, "blocks of keys are the contract's");

SY_DEV int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SY_DEV int lane() { return threadIdx.x % 32; }
SY_DEV int warp_row() { return threadIdx.x / 32 * 16; }

SY_DEV uint16_t *at(const struct sy_heads &v, int64_t token, int64_t head) {
    return (uint16_t *)v.data + token * v.token + head * v.head;
}

// tile[r][c] = values c0 + c of token t0 + r of a head, for n tokens and d values.
SY_DEV void stage(uint16_t *tile, const struct sy_heads &v, int64_t t0, int64_t n, int64_t head, int64_t c0,
                  int64_t d) {
    const uint16_t *from = at(v, t0, head) + c0;
    for (int i = threadIdx.x; i < SIDE * SIDE; i += THREADS) {
        int r = i / SIDE, c = i % SIDE;
        tile[r * PITCH + c] = r < n && c0 + c < d ? from[r * v.token + c] : (uint16_t)0;
    }
}

// Steps of 16 in the columns from c0 on of a part of d values, at most those of a tile.
SY_DEV int steps_of(int64_t c0, int64_t d) { return (int)least(SIDE / 16, (d - c0 + 15) / 16); }

// acc[16 x 64] of the warp goes on with a b^T over `steps` steps of 16 columns.
SY_DEV void add_nt(float *acc, const uint16_t *a, const uint16_t *b, int steps) {
    int l = lane();
    for (int k = 0; k < 16 * steps; k += 16) {
        uint32_t fa[4], fb[4];
        ptx::ldmatrix_x4(fa, ptx::shared(a + (warp_row() + l % 16) * PITCH + k + l / 16 * 8));
#pragma unroll
        for (int n = 0; n < SIDE / 16; n++) {
            ptx::ldmatrix_x4(fb, ptx::shared(b + (16 * n + l % 8 + l / 16 * 8) * PITCH + k + l / 8 % 2 * 8));
            ptx::mma_m16n8k16(acc + 8 * n, fa, fb);
            ptx::mma_m16n8k16(acc + 8 * n + 4, fa, fb + 2);
        }
    }
}

// acc[16 x 64] of the rows with `keep` goes on with a b, a[16 x 64] in registers, b's rows in a tile.
SY_DEV void add_nn(float *acc, const uint32_t *a, const uint16_t *b, const int (&keep)[2]) {
    int l = lane();
#pragma unroll
    for (int n = 0; n < SIDE / 16; n++) {
        float t[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            t[i] = acc[8 * n + i];
#pragma unroll
        for (int k = 0; k < SIDE / 16; k++) {
            uint32_t fb[4];
            ptx::ldmatrix_x4_trans(fb, ptx::shared(b + (16 * k + l % 16) * PITCH + 16 * n + l / 16 * 8));
            ptx::mma_m16n8k16(t, a + 4 * k, fb);
            ptx::mma_m16n8k16(t + 4, a + 4 * k, fb + 2);
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
            acc[8 * n + i] = keep[i / 2 % 2] ? t[i] : acc[8 * n + i];
    }
}

// 16 x 64 values become operands of add_nn.
SY_DEV void pack(uint32_t *to, const float *s) {
#pragma unroll
    for (int i = 0; i < 16; i++)
        to[i] = ptx::bf16_pair(s[2 * i], s[2 * i + 1]);
}

template <int N> SY_DEV void clear(float (&acc)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
        acc[i] = 0.0f;
}

// Columns c0 .. c0 + 63 of n tokens of a head become BF(acc * factor).
SY_DEV void store(const struct sy_heads &v, int64_t t0, int64_t n, int64_t head, int64_t c0, int64_t d,
                  const float *acc, const float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < 32; i++) {
        int r = warp_row() + lane() / 4 + i / 2 % 2 * 8, c = i / 4 * 8 + lane() % 4 * 2 + i % 2;
        if (r < n && c0 + c < d)
            at(v, t0 + r, head)[c0 + c] =
                (uint16_t)ptx::bf16_pair(__fmul_rn(__fadd_rn(acc[i], 0.0f), factor[i / 2 % 2]), 0.0f);
    }
}

// --- where things stand --------------------------------------------------------------------------------

// The key from which on query i of a sequence may see.
SY_DEV int64_t first_key(const struct sy_attention &op, int64_t sequence, int64_t i) {
    int64_t lo = op.doc_start ? op.doc_start[sequence * op.seq_len + i] : 0;
    return op.window > 0 && i - op.window + 1 > lo ? i - op.window + 1 : lo;
}

// acc = scores of 64 queries and keys (rows: which of both, the other one the columns), a chain over the
// parts of the head dimension; both tiles are the kernel's.
struct corner { // of a product of queries and keys: first tokens, counts, heads
    int64_t query, n_queries, head, key, n_keys, kv;
};
SY_DEV void scores(const struct sy_attention &op, const corner &at, int rows_are_keys, uint16_t *queries,
                   uint16_t *keys, float *acc) {
    for (int p = 0; p < op.n_slices; p++) {
        const struct sy_head_slice &part = op.slice[p];
        for (int64_t c0 = 0; c0 < part.d; c0 += SIDE) {
            __syncthreads();
            stage(queries, part.q, at.query, at.n_queries, at.head, c0, part.d);
            stage(keys, part.k, at.key, at.n_keys, at.kv, c0, part.d);
            __syncthreads();
            add_nt(acc, rows_are_keys ? keys : queries, rows_are_keys ? queries : keys, steps_of(c0, part.d));
        }
    }
}
// The same of gradients of outputs and values: dp.
SY_DEV void value_products(const struct sy_attention &op, const corner &at, int rows_are_keys,
                           uint16_t *queries, uint16_t *keys, float *acc) {
    for (int64_t c0 = 0; c0 < op.dv; c0 += SIDE) {
        __syncthreads();
        stage(queries, op.d_o, at.query, at.n_queries, at.head, c0, op.dv);
        stage(keys, op.v, at.key, at.n_keys, at.kv, c0, op.dv);
        __syncthreads();
        add_nt(acc, rows_are_keys ? keys : queries, rows_are_keys ? queries : keys, steps_of(c0, op.dv));
    }
}

} // namespace attention_any

#endif
