// dQ of attention backward on wgmma: dQ = BF(scale CHAIN over keys ascending of (ds, k)), a triangular
// product of what attention_bwd_sm90.cuh left in the workspace.
//
// A CTA takes 256 queries of one head at a time, two consumer warpgroups of 128 each (so that a tile of K is
// read for 256: it comes from the L2 cache, whose rate is what bounds this), and walks the key tiles of 128
// from the first that a query may see to the diagonal; dS and K come in two stages by one producer warp.
#ifndef SY_OPS_CUDA_ATTENTION_DQ_SM90_CUH
#define SY_OPS_CUDA_ATTENTION_DQ_SM90_CUH

#include "ops/cuda/attention_bwd_sm90.cuh"

namespace attention_dq {

using namespace attention_bwd;

enum { DQ_STAGES = 2 };

template <int DK> struct place {
    enum {
        BOX_BYTES = SIDE * ROW_BYTES,
        DS_BYTES = 2 * BOX_BYTES, // of 128 queries
        K_BYTES = SIDE * DK * 2,
        DS = 0,
        K = DS + DQ_STAGES * 2 * DS_BYTES,
        FULL = K + DQ_STAGES * K_BYTES,
        EMPTY = FULL + DQ_STAGES * 8,
        BYTES = EMPTY + DQ_STAGES * 8
    };
};

struct tile {
    int64_t pair; // of the units
    int sequence, head, kv;
    int t, first[2], last[2]; // pair of query tiles; key tiles of each, none: last < first
};
// The longest rows first.
SY_DEV tile tile_at(const struct sy_attention &p, const units &u, int n) {
    int group = (int)(p.heads / p.kv_heads), pairs = u.n * group, tiles = (int)sy_ds_tiles(&p);
    tile a;
    a.pair = n % pairs;
    int item = u.first + (int)a.pair / group;
    a.sequence = item / (int)p.kv_heads;
    a.kv = item % (int)p.kv_heads;
    a.head = a.kv * group + (int)a.pair % group;
    a.t = (tiles + 1) / 2 - 1 - n / pairs;
#pragma unroll
    for (int w = 0; w < 2; w++) {
        int t = 2 * a.t + w, there = t < tiles;
        a.first[w] = there ? first_key(p, a.sequence, t * SIDE) / SIDE : tiles;
        a.last[w] = there ? t : -1;
    }
    return a;
}
SY_DEV int n_tiles(const struct sy_attention &p, const units &u) {
    return (int)(u.n * (p.heads / p.kv_heads) * ((sy_ds_tiles(&p) + 1) / 2));
}
SY_DEV int takes(const tile &a, int w, int t) { return t >= a.first[w] && t <= a.last[w]; }
// Every other round runs backward, so that no CTA has the longer tiles.
SY_DEV int tile_of_round(int round) {
    return round * gridDim.x + (round & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
}

template <int DK>
SY_DEV void produce(const maps &map, const struct sy_attention &p, const units &u, uint32_t base) {
    typedef place<DK> at;
    slot<DQ_STAGES> s = {0, 0};
    for (int round = 0; tile_of_round(round) < n_tiles(p, u); round++) {
        tile a = tile_at(p, u, tile_of_round(round));
        int k_head[2] = {p.slice[0].k.head ? a.kv : 0, p.slice[1].k.head ? a.kv : 0};
#pragma unroll 1
        for (int t = a.first[0]; t <= max(a.last[0], a.last[1]); t++) {
            uint32_t full = base + at::FULL + s.stage * 8, ds = base + at::DS + s.stage * 2 * at::DS_BYTES;
            ptx::mbar_wait(base + at::EMPTY + s.stage * 8, s.phase ^ 1);
            ptx::mbar_arrive_expect(full, (takes(a, 0, t) + takes(a, 1, t)) * at::DS_BYTES + at::K_BYTES);
#pragma unroll
            for (int i = 0; i < 4; i++) // of each warpgroup both boxes of keys
                if (takes(a, i / 2, t))
                    ptx::bulk_load(ds + i * at::BOX_BYTES,
                                   u.ds + ds_row(p, a.pair, t, i % 2, (2 * a.t + i / 2) * SIDE) * ROW_BYTES,
                                   at::BOX_BYTES, full);
            load<DK, SIDE>(base + at::K + s.stage * at::K_BYTES, map.k, full, k_head, t * SIDE, a.sequence);
            s.next();
        }
    }
}

// acc += ds K of twice 64 queries and 128 keys.
template <int DK> SY_DEV void product(float (&acc)[2][DK / 2], uint32_t ds, uint32_t k, int go_on) {
    uint64_t a = ptx::descriptor(ds, 16), b = ptx::descriptor(k, SIDE * ROW_BYTES);
#pragma unroll
    for (int i = 0; i < SIDE / 16; i++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            ptx::wgmma_ss<1>(acc[half],
                             a + i / 4 * (SIDE * ROW_BYTES / 16) + half * (BOX * ROW_BYTES / 16) + i % 4 * 2,
                             b + i * (16 * ROW_BYTES / 16), go_on || i > 0);
}

template <int DK>
SY_DEV void store(const struct sy_attention &p, const tile &a, int w, const float (&dq)[2][DK / 2]) {
    float scale[2] = {p.scale, p.scale};
    const int nope = DK < 128 ? DK : 128;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = (2 * a.t + w) * SIDE + half * BOX + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
        int64_t token = a.sequence * p.seq_len + row;
        int left = (int)p.seq_len - row;
        store_rows<nope / 2>(dq[half], p.slice[0].dq, token, left, a.head, scale);
        if (DK > nope)
            store_rows<(DK - nope) / 2>(dq[half] + nope / 2, p.slice[1].dq, token, left, a.head, scale);
    }
}

template <int DK> SY_DEV void consume(const struct sy_attention &p, const units &u, uint32_t base, int w) {
    typedef place<DK> at;
    slot<DQ_STAGES> s = {0, 0};
    for (int round = 0; tile_of_round(round) < n_tiles(p, u); round++) {
        tile a = tile_at(p, u, tile_of_round(round));
        int first = w ? a.first[1] : a.first[0], last = w ? a.last[1] : a.last[0];
        float dq[2][DK / 2];
#pragma unroll 1
        for (int t = a.first[0]; t <= max(a.last[0], a.last[1]); t++) {
            ptx::mbar_wait(base + at::FULL + s.stage * 8, s.phase);
            if (t >= first && t <= last) {
                ptx::wgmma_fence();
                product<DK>(dq, base + at::DS + (2 * s.stage + w) * at::DS_BYTES,
                            base + at::K + s.stage * at::K_BYTES, t > first);
                ptx::wgmma_commit();
            }
            ptx::wgmma_wait_for<0>(dq[0]);
            ptx::wgmma_wait_for<0>(dq[1]);
            if (threadIdx.x % 32 == 0)
                ptx::mbar_arrive(base + at::EMPTY + s.stage * 8);
            s.next();
        }
        store<DK>(p, a, w, dq);
    }
}

template <int DK>
__global__ void __launch_bounds__(THREADS, 1)
    queries(const __grid_constant__ maps map, const __grid_constant__ struct sy_attention p, const units u) {
    SY_SHARED_1024(raw);
    typedef place<DK> at;
    uint32_t base = ptx::shared(raw);
    if (threadIdx.x == 0) {
        for (int i = 0; i < DQ_STAGES; i++) {
            ptx::mbar_init(base + at::FULL + i * 8, 1);
            ptx::mbar_init(base + at::EMPTY + i * 8, 8); // warps of the consumers
        }
        ptx::mbar_init_done();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        ptx::registers_dec<40>();
        if (threadIdx.x == 0)
            produce<DK>(map, p, u, base);
    } else {
        ptx::registers_inc<232>();
        consume<DK>(p, u, base, consumer());
    }
}

} // namespace attention_dq

#endif
