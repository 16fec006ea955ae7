// dQ of attention backward on wgmma: dQ = BF(scale CHAIN over keys ascending of (ds, k)), a triangular product
// of what attention_bwd_sm90.cuh left in the workspace.
//
// A CTA takes 128 queries of one head at a time, two consumer warpgroups of 64 each, and walks the key tiles
// of 128 from the first that a query may see to the diagonal; dS and K come in two stages by one producer
// warp.
#ifndef SY_OPS_CUDA_ATTENTION_DQ_SM90_CUH
#define SY_OPS_CUDA_ATTENTION_DQ_SM90_CUH

#include "ops/cuda/attention_bwd_sm90.cuh"

namespace attention_dq {

using namespace attention_bwd;

enum { DQ_STAGES = 2 };

template <int DK> struct place {
    enum {
        BOX_BYTES = SIDE * ROW_BYTES,
        DS_BYTES = 2 * BOX_BYTES,
        K_BYTES = SIDE * DK * 2,
        DS = 0,
        K = DS + DQ_STAGES * DS_BYTES,
        FULL = K + DQ_STAGES * K_BYTES,
        EMPTY = FULL + DQ_STAGES * 8,
        BYTES = EMPTY + DQ_STAGES * 8
    };
};

struct tile {
    int unit, sequence, head_of_group, head, kv, t, first; // t: of queries, and the last of keys
};
SY_DEV int64_t pairs_of(const struct sy_attention &p, const units &u) { return u.n * (p.heads / p.kv_heads); }
// The longest rows first.
SY_DEV tile tile_at(const struct sy_attention &p, const units &u, int n) {
    int group = (int)(p.heads / p.kv_heads), pairs = u.n * group, pair = n % pairs;
    tile a;
    a.unit = pair / group;
    a.head_of_group = pair % group;
    a.sequence = (u.first + a.unit) / (int)p.kv_heads;
    a.kv = (u.first + a.unit) % (int)p.kv_heads;
    a.head = a.kv * group + a.head_of_group;
    a.t = (int)sy_ds_tiles(&p) - 1 - n / pairs;
    a.first = first_key(p, a.sequence, a.t * SIDE) / SIDE;
    return a;
}
SY_DEV int n_tiles(const struct sy_attention &p, const units &u) {
    return (int)(pairs_of(p, u) * sy_ds_tiles(&p));
}
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
        char *pair = pair_at(p, u, a.unit, a.head_of_group);
        int k_head[2] = {p.slice[0].k.head ? a.kv : 0, p.slice[1].k.head ? a.kv : 0};
#pragma unroll 1
        for (int t = a.first; t <= a.t; t++) {
            uint32_t full = base + at::FULL + s.stage * 8, ds = base + at::DS + s.stage * at::DS_BYTES;
            ptx::mbar_wait(base + at::EMPTY + s.stage * 8, s.phase ^ 1);
            ptx::mbar_arrive_expect(full, at::DS_BYTES + at::K_BYTES);
            for (int b = 0; b < 2; b++)
                ptx::bulk_load(ds + b * at::BOX_BYTES, pair + ds_row(p, t, b, a.t * SIDE) * ROW_BYTES,
                               at::BOX_BYTES, full);
            load<DK, SIDE>(base + at::K + s.stage * at::K_BYTES, map.k, full, k_head, t * SIDE, a.sequence);
            s.next();
        }
    }
}

// acc += ds K of 64 queries and 128 keys.
template <int DK> SY_DEV void product(float (&acc)[DK / 2], uint32_t ds, uint32_t k, int go_on) {
    uint64_t a = ptx::descriptor(ds, 16), b = ptx::descriptor(k, SIDE * ROW_BYTES);
#pragma unroll
    for (int i = 0; i < SIDE / 16; i++)
        ptx::wgmma_ss<1>(acc, a + i / 4 * (SIDE * ROW_BYTES / 16) + i % 4 * 2, b + i * (16 * ROW_BYTES / 16),
                         go_on || i > 0);
}

template <int DK> SY_DEV void consume(const struct sy_attention &p, const units &u, uint32_t base, int w) {
    typedef place<DK> at;
    slot<DQ_STAGES> s = {0, 0};
    float scale[2] = {p.scale, p.scale};
    const int nope = DK < 128 ? DK : 128;
    for (int round = 0; tile_of_round(round) < n_tiles(p, u); round++) {
        tile a = tile_at(p, u, tile_of_round(round));
        float dq[DK / 2];
        int before = -1; // the stage whose products are still running
#pragma unroll 1
        for (int t = a.first; t <= a.t; t++) {
            ptx::mbar_wait(base + at::FULL + s.stage * 8, s.phase);
            ptx::wgmma_fence();
            product<DK>(dq, base + at::DS + s.stage * at::DS_BYTES + w * BOX * ROW_BYTES,
                        base + at::K + s.stage * at::K_BYTES, t > a.first);
            ptx::wgmma_commit();
            ptx::wgmma_wait<1>();
            if (before >= 0 && threadIdx.x % 32 == 0)
                ptx::mbar_arrive(base + at::EMPTY + before * 8);
            before = s.stage;
            s.next();
        }
        ptx::wgmma_wait_for<0>(dq);
        if (threadIdx.x % 32 == 0)
            ptx::mbar_arrive(base + at::EMPTY + before * 8);
        int row = a.t * SIDE + w * BOX + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
        int64_t token = a.sequence * p.seq_len + row;
        store_rows<nope / 2>(dq, p.slice[0].dq, token, (int)p.seq_len - row, a.head, scale);
        if (DK > nope)
            store_rows<(DK - nope) / 2>(dq + nope / 2, p.slice[1].dq, token, (int)p.seq_len - row, a.head,
                                        scale);
    }
}

template <int DK>
__global__ void __launch_bounds__(THREADS, 1)
    queries(const __grid_constant__ maps map, const __grid_constant__ struct sy_attention p, const units u) {
    extern __shared__ __align__(1024) char raw[];
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
        consume<DK>(p, u, base, threadIdx.x / 128 - 1);
    }
}

} // namespace attention_dq

#endif
