// Attention forward of any shape with the bits of class sm90 (NUMERICS 3): the fallback of attention_fwd.
//
// A CTA takes 64 queries of one head and up to 128 columns of the values (wider values: more CTAs, each with
// the scores again). It walks the key blocks of 128 from the first that a query may see to the diagonal:
//
//     s = CHAIN over the parts of the head dimension;  softmax in registers;  o = CHAIN over the block's keys
//
// A row without an allowed key in a block keeps its o, so that NaN and Inf in values that it may not see do
// not reach it.
#ifndef SY_OPS_CUDA_ATTENTION_ANY_FWD_CUH
#define SY_OPS_CUDA_ATTENTION_ANY_FWD_CUH

#include "ops/cuda/attention_tile.cuh"

namespace attention_any {

SY_DEV void add_values(const struct sy_attention &op, const corner &at, int64_t c0, const uint32_t *p,
                       uint16_t *tile, const int (&any)[2], float *o) {
#pragma unroll
    for (int half = 0; half < KEYS / SIDE; half++) {
#pragma unroll
        for (int chunk = 0; chunk < VALUES / SIDE; chunk++) {
            int64_t c = c0 + chunk * SIDE;
            if (c >= op.dv)
                break;
            __syncthreads();
            stage(tile, op.v, at.key + half * SIDE, at.n_keys - half * SIDE, at.kv, c, op.dv);
            __syncthreads();
            add_nn(o + chunk * 32, p + half * 16, tile, any);
        }
    }
}

SY_DEV void finish(const struct sy_attention &op, const corner &at, int64_t c0, const attention::rows &w,
                   const float *o) {
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int bad = !(w.z[r] > 0.0f), row = warp_row() + lane() / 4 + 8 * r;
        inverse[r] = bad ? NAN : __frcp_rn(w.z[r]);
        if (c0 == 0 && lane() % 4 == 0 && row < at.n_queries)
            op.lse[(at.query + row) * op.heads + at.head] =
                bad ? NAN : __fadd_rn(w.m[r], sy_log2_f32(w.z[r]));
    }
#pragma unroll
    for (int chunk = 0; chunk < VALUES / SIDE; chunk++)
        store(op.o, at.query, at.n_queries, at.head, c0 + chunk * SIDE, op.dv, o + chunk * 32, inverse);
}

// blockIdx.x: tiles of queries, the last rows first, heads side by side; blockIdx.y: columns of the values.
__global__ void __launch_bounds__(THREADS) forward(const __grid_constant__ struct sy_attention op) {
    __shared__ __align__(16) uint16_t queries[TILE], keys[TILE];
    int64_t across = op.heads * op.sequences, tiles = (op.seq_len + SIDE - 1) / SIDE;
    int64_t sequence = blockIdx.x % across / op.heads, i0 = (tiles - 1 - blockIdx.x / across) * SIDE;
    int64_t t0 = sequence * op.seq_len, c0 = (int64_t)blockIdx.y * VALUES;
    corner at = {t0 + i0, least(SIDE, op.seq_len - i0), blockIdx.x % op.heads, 0, 0, 0};
    at.kv = at.head / (op.heads / op.kv_heads);
    float s[64], o[64];
    uint32_t p[32];
    attention::rows w;
    attention::begin_rows(w, (int)i0 + warp_row() + lane() / 4);
    for (int r = 0; r < 2; r++)
        w.lo[r] = (int)first_key(op, sequence, least(w.row + 8 * r, op.seq_len - 1));
    clear(o);
    for (int64_t j0 = first_key(op, sequence, i0) / KEYS * KEYS; j0 < i0 + at.n_queries; j0 += KEYS) {
        clear(s);
        for (int half = 0; half < KEYS / SIDE; half++) {
            at.key = t0 + j0 + half * SIDE;
            at.n_keys = op.seq_len - j0 - half * SIDE;
            scores(op, at, 0, queries, keys, s + half * 32);
        }
        attention::softmax(s, w, op.c, (int)j0, 1);
        attention::end_sum(w);
        if (w.moved) {
#pragma unroll
            for (int i = 0; i < 64; i++)
                o[i] = __fmul_rn(o[i], w.factor[i / 2 % 2]);
        }
        pack(p, s);
        pack(p + 16, s + 32);
        at.key = t0 + j0;
        at.n_keys = op.seq_len - j0;
        int any[2] = {w.lo[0] < j0 + KEYS, w.lo[1] < j0 + KEYS};
        add_values(op, at, c0, p, keys, any, o);
    }
    finish(op, at, c0, w, o);
}

} // namespace attention_any

#endif
