// Attention backward of any shape with the bits of class sm90 (NUMERICS 3): the fallback of attention_bwd.
//
// Two kernels, each with the scores s and dp of 64 queries and 64 keys:
//
//     keys       a CTA owns 64 keys of a key head; over the group's heads ascending, queries ascending:
//                dV = CHAIN of (BF(p), do),  dK = CHAIN of (ds, q)      rows are keys
//     queries    a CTA owns 64 queries of a head; over keys ascending:
//                dQ = CHAIN of (ds, k)                                  rows are queries
//
// A CTA makes at most 128 columns of its outputs; of wider ones there are more CTAs, each with the scores
// again. Queries and keys meet in blocks of 64 and 128: where one pair of a block is allowed, all of it is
// multiplied, masked pairs as +0; the reference's blocks, so that NaN and Inf go where they go there.
#ifndef SY_OPS_CUDA_ATTENTION_ANY_BWD_CUH
#define SY_OPS_CUDA_ATTENTION_ANY_BWD_CUH

#include "ops/cuda/attention_tile.cuh"

namespace attention_any {

enum { CHUNKS = 2 }; // chunks of 64 columns that a CTA makes

struct query_rows { // of 64 queries
    float lse[SIDE], d[SIDE];
    int lo[SIDE], hi[SIDE]; // keys lo .. hi-1
};

// D = V64(do o) of each query, by a warp: lanes j and j + 32 of V64 in lane j.
SY_DEV void load_rows(const struct sy_attention &op, const corner &at, int64_t sequence, query_rows &rows) {
    __syncthreads();
    for (int r = threadIdx.x / 32; r < SIDE; r += THREADS / 32) {
        float low = 0.0f, high = 0.0f;
        int there = r < at.n_queries;
        const uint16_t *g = attention_any::at(op.d_o, at.query + r, at.head);
        const uint16_t *o = attention_any::at(op.o, at.query + r, at.head);
        for (int64_t i = lane(); there && i < op.dv; i += 64) {
            low = __fmaf_rn(ptx::bf16_low(g[i]), ptx::bf16_low(o[i]), low);
            if (i + 32 < op.dv)
                high = __fmaf_rn(ptx::bf16_low(g[i + 32]), ptx::bf16_low(o[i + 32]), high);
        }
        low = __fadd_rn(low, high);
        for (int h = 16; h >= 1; h /= 2)
            low = __fadd_rn(low, __shfl_xor_sync(~0u, low, h));
        if (lane() == 0) {
            int64_t i = at.query + r - sequence * op.seq_len;
            rows.d[r] = low;
            rows.lse[r] = there ? op.lse[(at.query + r) * op.heads + at.head] : 0.0f;
            rows.lo[r] = there ? (int)first_key(op, sequence, i) : 0;
            rows.hi[r] = there ? (int)i + 1 : 0;
        }
    }
    __syncthreads();
}

// s and dp become p and ds, +0 where masked. Rows are keys from j0 on, or the columns are.
SY_DEV void gradients(const struct sy_attention &op, const query_rows &rows, int rows_are_keys, int j0,
                      float (&s)[32], float (&dp)[32]) {
#pragma unroll
    for (int i = 0; i < 32; i++) {
        int row = warp_row() + lane() / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane() % 4 * 2 + i % 2;
        int r = rows_are_keys ? column : row, key = j0 + (rows_are_keys ? row : column);
        float p = ptx::exp2_whole(__fmaf_rn(s[i], op.c, -rows.lse[r]));
        int allowed = key >= rows.lo[r] && key < rows.hi[r];
        dp[i] = allowed ? __fmul_rn(p, __fsub_rn(__fadd_rn(dp[i], 0.0f), rows.d[r])) : 0.0f;
        s[i] = allowed ? p : 0.0f;
    }
}

// 64 columns of an output and of what is multiplied for them.
struct columns {
    struct sy_heads from, to;
    int64_t c0, d; // d 0: there are no such columns
    int values;    // of dV
};
// Chunk n of the outputs: of the parts of the head dimension, then, of keys, of the values.
SY_DEV columns columns_at(const struct sy_attention &op, int of_keys, int n) {
    for (int p = 0; p < op.n_slices; p++) {
        const struct sy_head_slice &part = op.slice[p];
        int chunks = (int)((part.d + SIDE - 1) / SIDE);
        if (n < chunks)
            return {of_keys ? part.q : part.k, of_keys ? part.dk : part.dq, (int64_t)n * SIDE, part.d, 0};
        n -= chunks;
    }
    columns none = {op.d_o, op.d_v, (int64_t)n * SIDE, op.dv, 1};
    if (!of_keys || none.c0 >= op.dv)
        none.d = 0;
    return none;
}
// Chunks of all outputs: on the host, too.
__host__ __device__ inline int n_columns(const struct sy_attention &op, int of_keys) {
    int64_t n = of_keys ? (op.dv + SIDE - 1) / SIDE : 0;
    for (int p = 0; p < op.n_slices; p++)
        n += (op.slice[p].d + SIDE - 1) / SIDE;
    return (int)n;
}

SY_DEV void store_columns(const struct sy_attention &op, const columns &c, int64_t t0, int64_t n,
                          int64_t head, const float *acc) {
    float factor[2] = {op.scale, op.scale};
    if (c.values)
        factor[0] = factor[1] = 1.0f;
    if (c.d > 0)
        store(c.to, t0, n, head, c.c0, c.d, acc, factor);
}

// blockIdx.x: tiles of keys, the first, which most queries see, first; blockIdx.y: chunks of columns.
__global__ void __launch_bounds__(THREADS) backward_keys(const __grid_constant__ struct sy_attention op) {
    __shared__ __align__(16) uint16_t queries[TILE], keys[TILE];
    __shared__ query_rows rows;
    int64_t across = op.kv_heads * op.sequences, group = op.heads / op.kv_heads;
    int64_t sequence = blockIdx.x % across / op.kv_heads, j0 = blockIdx.x / across * SIDE;
    int64_t t0 = sequence * op.seq_len, block = j0 / KEYS * KEYS;
    corner at = {0, 0, 0, t0 + j0, least(SIDE, op.seq_len - j0), blockIdx.x % op.kv_heads};
    columns made[CHUNKS];
    float s[32], dp[32], acc[CHUNKS][32];
    uint32_t p[16], ds[16];
    int all[2] = {1, 1};
#pragma unroll
    for (int u = 0; u < CHUNKS; u++) {
        made[u] = columns_at(op, 1, blockIdx.y * CHUNKS + u);
        clear(acc[u]);
    }
    for (at.head = at.kv * group; at.head < (at.kv + 1) * group; at.head++)
        for (int64_t i0 = block; i0 < op.seq_len && first_key(op, sequence, i0) < block + KEYS; i0 += SIDE) {
            at.query = t0 + i0;
            at.n_queries = least(SIDE, op.seq_len - i0);
            load_rows(op, at, sequence, rows);
            clear(s);
            clear(dp);
            scores(op, at, 1, queries, keys, s);
            value_products(op, at, 1, queries, keys, dp);
            gradients(op, rows, 1, (int)j0, s, dp);
            pack(p, s);
            pack(ds, dp);
#pragma unroll
            for (int u = 0; u < CHUNKS; u++) {
                if (made[u].d == 0)
                    continue;
                __syncthreads();
                stage(queries, made[u].from, at.query, at.n_queries, at.head, made[u].c0, made[u].d);
                __syncthreads();
                uint32_t a[16];
#pragma unroll
                for (int i = 0; i < 16; i++)
                    a[i] = made[u].values ? p[i] : ds[i];
                add_nn(acc[u], a, queries, all);
            }
        }
#pragma unroll
    for (int u = 0; u < CHUNKS; u++)
        store_columns(op, made[u], at.key, at.n_keys, at.kv, acc[u]);
}

// blockIdx.x: tiles of queries, the last rows first; blockIdx.y: chunks of columns.
__global__ void __launch_bounds__(THREADS) backward_queries(const __grid_constant__ struct sy_attention op) {
    __shared__ __align__(16) uint16_t queries[TILE], keys[TILE];
    __shared__ query_rows rows;
    int64_t across = op.heads * op.sequences, tiles = (op.seq_len + SIDE - 1) / SIDE;
    int64_t sequence = blockIdx.x % across / op.heads, i0 = (tiles - 1 - blockIdx.x / across) * SIDE;
    int64_t t0 = sequence * op.seq_len;
    corner at = {t0 + i0, least(SIDE, op.seq_len - i0), blockIdx.x % op.heads, 0, 0, 0};
    at.kv = at.head / (op.heads / op.kv_heads);
    columns made[CHUNKS];
    float s[32], dp[32], acc[CHUNKS][32];
    uint32_t ds[16];
    int all[2] = {1, 1};
#pragma unroll
    for (int u = 0; u < CHUNKS; u++) {
        made[u] = columns_at(op, 0, blockIdx.y * CHUNKS + u);
        clear(acc[u]);
    }
    load_rows(op, at, sequence, rows);
    int64_t end = least((i0 + at.n_queries - 1) / KEYS * KEYS + KEYS, op.seq_len);
    for (int64_t j0 = first_key(op, sequence, i0) / KEYS * KEYS; j0 < end; j0 += SIDE) {
        at.key = t0 + j0;
        at.n_keys = op.seq_len - j0;
        clear(s);
        clear(dp);
        scores(op, at, 0, queries, keys, s);
        value_products(op, at, 0, queries, keys, dp);
        gradients(op, rows, 0, (int)j0, s, dp);
        pack(ds, dp);
#pragma unroll
        for (int u = 0; u < CHUNKS; u++) {
            if (made[u].d == 0)
                continue;
            __syncthreads();
            stage(keys, made[u].from, at.key, at.n_keys, at.kv, made[u].c0, made[u].d);
            __syncthreads();
            add_nn(acc[u], ds, keys, all);
        }
    }
#pragma unroll
    for (int u = 0; u < CHUNKS; u++)
        store_columns(op, made[u], at.query, at.n_queries, at.head, acc[u]);
}

} // namespace attention_any

#endif
