// One family of bf16 products with the bits of class sm90 (NUMERICS 1): every output is one chain, its
// blocks of 16 values of k in ascending order in one wgmma accumulator. No split-K, no partial sums, no
// atomics.
//
//   layout   C = A B^T     A           B           groups are
//   NT       y = x W^T     [rows, k]   [E, n, k]   segments of rows, starts at multiples of 16
//   NN       dx = dy W     [rows, k]   [E, k, n]   the same
//   TN       dW = dy^T x   [k, m]      [k, n]      segments of k; one C [m, n] for each
//   TN_LIST  the same                              products of their own, each with its shape and maps
//
// A CTA is a producer warp and two consumer warpgroups of 64 x BN outputs each; 128 x BN x 64 a stage. BN is
// 256 with four stages, 128 with six or 64 with eight: ops/tiles.h chooses.
//
//   producer   wait empty[s] -> expect bytes -> TMA of A (128 x 64) and of B's two halves (BN / 2 x 64 each)
//   consumers  wait full[s]  -> 4 wgmma m64nBNk16 -> the stage before is done: arrive at empty in both CTAs
//
// Two CTAs are a cluster and take neighbouring tiles, the same k blocks in step. Where both tiles have
// the same columns each CTA loads one half of B for both (multicast); where they do not, each loads its
// own. Tiles run down a band of row tiles, then to the next columns, so that neighbours mostly share B
// and a wave's operands stay in L2.
//
// NT with SWIGLU or STORE takes rows of A by their names (a token's, for each of its routes) without a
// permuted copy: all of the producers' group gathers them (gemm_gather.cuh), TMA brings B.
//
// A chain may go on over several pairs of operands (maps), each padded to a block by itself.
//
// Epilogues: STORE BF of the chain, STORE_F32 the chain; ADD BF of the chain added to a residual; DIRECT any
// of them with a bias, or anywhere; SWIGLU, a tile holds BN / 2 columns of g = x W1^T and the same of u =
// x W3^T (two boxes, the weights are not interleaved) and stores g, u and h = BF((g SIG(g)) u); SWIGLU_BACK
// gemm_swiglu_back.cuh; LEAF stores fp32, FOLD adds to fp32 (TN), from +0 or from an accumulator. A warp owns
// 16 rows and sends them by its own TMA store or not at all; a warpgroup without rows skips its products.
#ifndef SY_OPS_CUDA_GEMM_CUH
#define SY_OPS_CUDA_GEMM_CUH

#include "ops/cuda/gemm_epilogue.cuh"
#include "ops/cuda/gemm_fp32.cuh"
#include "ops/cuda/gemm_gather.cuh"
#include "ops/cuda/gemm_swiglu_back.cuh"
#include "ops/cuda/tensor_map.cuh"
#include "ops/cuda/wgmma.cuh"

namespace gemm {

// --- producer ------------------------------------------------------------------------------------------

template <int LAYOUT, int BN>
SY_DEV void load_half(const CUtensorMap *m, uint32_t dst, uint32_t full, int share, int n, int k, int g) {
    for (int i = 0; i < (LAYOUT == NT ? 1 : BN / 128); i++) {
        int c0 = LAYOUT == NT ? k : n + i * 64, c1 = LAYOUT == NT ? n : k, c2 = LAYOUT >= TN ? 0 : g;
        uint32_t at = dst + i * BOX_BYTES;
        if (share)
            ptx::tma_load_3d_multicast(at, m, full, 3, c0, c1, c2);
        else
            ptx::tma_load_3d(at, m, full, c0, c1, c2);
    }
}

// Half h of a stage's B.
template <int LAYOUT, int EPI, int BN>
SY_DEV void load_b(const maps &map, int i, uint32_t dst, uint32_t full, int share, int h, const tile &a,
                   int k) {
    const CUtensorMap *m = &map.b[EPI == SWIGLU ? h : i];
    int n = EPI == SWIGLU ? a.n * (BN / 2) : a.n * BN + h * (BN / 2);
    load_half<LAYOUT, BN>(m, dst + h * half_bytes<BN>(), full, share, n, k, a.group);
}

template <int LAYOUT> SY_DEV void load_a(const CUtensorMap *m, uint32_t dst, uint32_t full, int row, int k) {
    if (LAYOUT >= TN) {
        ptx::tma_load_3d(dst, m, full, row, k, 0);
        ptx::tma_load_3d(dst + A_BYTES / 2, m, full, row + 64, k, 0);
    } else {
        ptx::tma_load_3d(dst, m, full, k, row, 0);
    }
}

// The stages behind a tile's blocks: g and u, the residual, or C. What is not there is zeros.
template <int EPI, int BN>
SY_DEV void load_tail(const maps &map, shared<BN> &s, int column, int row, int group, int &stage,
                      int &phase) {
#pragma unroll 1
    for (int box = 0; box < tail_stages<BN>(); box++, column += 64) {
        uint32_t full = ptx::shared(&s.full[stage]), at = ptx::shared(s.stage[stage]);
        ptx::mbar_wait(ptx::shared(&s.empty[stage]), phase ^ 1);
        ptx::mbar_arrive_expect(full, EPI == ADD ? A_BYTES : 2 * A_BYTES);
        ptx::tma_load_3d(at, &map.tail[0], full, column, row, group, ptx::evict_first());
        if (EPI != ADD)
            ptx::tma_load_3d(at + A_BYTES, &map.tail[EPI != FOLD], full, EPI == FOLD ? column + 32 : column,
                             row, group, ptx::evict_first());
        next_stage<BN>(stage, phase);
    }
}

// GATHER: by all threads of the group, A's rows by name; else by one thread.
template <int LAYOUT, int EPI, int GATHER, int BN>
SY_DEV void produce(const maps &map, const args &p, shared<BN> &s) {
    int rank = ptx::cluster_rank(), mine = 0, other = 0, stage = 0, phase = 0;
    gathered rows;
    for (int t = blockIdx.x; t - rank < s.first[p.rows.groups]; t += gridDim.x) {
        tile a = tile_at<LAYOUT>(p, s, t, mine), b = tile_at<LAYOUT>(p, s, t ^ 1, other);
        const maps &from = maps_of<LAYOUT>(map, p, a.group);
        int share = a.group == b.group && a.n == b.n, start = s.offset[a.group];
        if (GATHER)
            rows.begin(p.by_name, start + a.m * BM, s.offset[a.group + 1]);
        for (int j = 0; j < (LAYOUT >= TN ? 1 : p.n_maps); j++) {
            int blocks = LAYOUT >= TN ? blocks_of<LAYOUT>(p, s, a.group) : p.blocks[j];
#pragma unroll 1
            for (int i = 0; i < blocks; i++) {
                uint32_t full = ptx::shared(&s.full[stage]), at = ptx::shared(s.stage[stage]);
                int k = i * BK + (LAYOUT >= TN ? start : 0);
                ptx::mbar_wait(ptx::shared(&s.empty[stage]), phase ^ 1);
                if (!GATHER || threadIdx.x == 0) {
                    ptx::mbar_arrive_expect(full, (GATHER ? 0 : A_BYTES) + 2 * half_bytes<BN>());
                    if (!GATHER)
                        load_a<LAYOUT>(&from.a[j], at, full, a.m * BM + (LAYOUT >= TN ? 0 : start), k);
                    for (int h = share ? rank : 0; h < (share ? rank + 1 : 2); h++)
                        load_b<LAYOUT, EPI, BN>(from, j, at + A_BYTES, full, share, h, a, k);
                }
                if (GATHER) {
                    rows.copy(p.by_name, at, k);
                    ptx::copies_arrive(full);
                }
                next_stage<BN>(stage, phase);
            }
        }
        if (tail_of<EPI, BN>(blocks_of<LAYOUT>(p, s, a.group)))
            load_tail<EPI>(from, s, a.n * BN, a.m * BM + (LAYOUT >= TN ? 0 : start),
                           LAYOUT == TN ? a.group : 0, stage, phase);
    }
}

// --- consumers: products -------------------------------------------------------------------------------

template <int LAYOUT, int BN>
SY_DEV void multiply(shared<BN> &s, int stage, int group, int step, float (&d)[BN / 2], int go_on) {
    uint32_t at = ptx::shared(s.stage[stage]);
    uint64_t a = ptx::descriptor(at + group * (A_BYTES / 2), A_BYTES / 2);
    uint64_t b = ptx::descriptor(at + A_BYTES, BOX_BYTES);
    ptx::wgmma_ss<LAYOUT != NT, (LAYOUT >= TN)>(d, a + step * (LAYOUT >= TN ? 128 : 2),
                                                b + step * (LAYOUT == NT ? 2 : 128), go_on);
}

// The chain of one tile, from +0 or (on) from d: whole blocks, then the last one's `rest` steps of 16 (TN:
// what the segment still has; else 0).
template <int LAYOUT, int BN>
SY_DEV void chain(shared<BN> &s, int whole, int rest, int group, float (&d)[BN / 2], int &stage, int &phase,
                  int on, int gathered) {
    int before = -1;
    for (int i = 0; i < whole; i++) {
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        if (gathered) // what threads copied is seen by wgmma
            ptx::fence_proxy_async();
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < BK / 16; step++)
            multiply<LAYOUT>(s, stage, group, step, d, on || i > 0 || step > 0);
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        if (i > 0)
            release(s, before);
        before = stage;
        next_stage<BN>(stage, phase);
    }
    if (LAYOUT >= TN && rest > 0) {
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        for (int step = 0; step < rest; step++) {
            ptx::wgmma_fence();
            multiply<LAYOUT>(s, stage, group, step, d, on || whole > 0 || step > 0);
            ptx::wgmma_commit();
        }
        ptx::wgmma_wait<0>();
        if (whole > 0)
            release(s, before);
        before = stage;
        next_stage<BN>(stage, phase);
    }
    ptx::wgmma_wait<0>();
    if (before >= 0)
        release(s, before);
}

// Steps of one block from d, each waited for: products that are open may not follow values that were loaded
// (C7515).
template <int LAYOUT, int BN>
SY_DEV void block_on(shared<BN> &s, int steps, int group, float (&d)[BN / 2], int &stage, int &phase) {
    ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        ptx::wgmma_fence();
        multiply<LAYOUT>(s, stage, group, step, d, 1);
        ptx::wgmma_commit();
        ptx::wgmma_wait_for<0>(d);
    }
    release(s, stage);
    next_stage<BN>(stage, phase);
}

template <int BN> SY_DEV void skip(shared<BN> &s, int blocks, int &stage, int &phase) {
    for (int i = 0; i < blocks; i++) {
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        release(s, stage);
        next_stage<BN>(stage, phase);
    }
}

// --- consumers -----------------------------------------------------------------------------------------

// What a tile's chain begins with; 0: nothing is to be done, as nothing would change.
template <int EPI, int N>
SY_DEV int begin_leaf(const args &p, const tile &a, int blocks, int row, float (&d)[N]) {
    const float *acc = p.acc + a.group * p.acc_step;
    if (blocks == 0 && (EPI == FOLD || (EPI == LEAF_ON && acc == p.c + a.group * p.c_step)))
        return 0; // + 0, and nothing that is summed is ever -0
    if (is_on<EPI>())
        load_fp32(acc, p.m, p.n, d, row, a.n * 2 * N);
    else if (blocks == 0)
        for (int i = 0; i < N; i++)
            d[i] = 0.0f;
    return 1;
}

template <int LAYOUT, int EPI, int BN> SY_DEV void consume(const maps &map, const args &p, shared<BN> &s) {
    int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 - 4, rank = ptx::cluster_rank(), cursor = 0;
    int stage = 0, phase = 0, turn = 0;
    float d[BN / 2];
    for (int t = blockIdx.x; t - rank < s.first[p.rows.groups]; t += gridDim.x) {
        tile a = tile_at<LAYOUT>(p, s, t, cursor);
        int start = s.offset[a.group], end = end_of<LAYOUT>(s, a.group);
        int blocks = __shfl_sync(~0u, blocks_of<LAYOUT>(p, s, a.group),
                                 0); // the same in all lanes, for the compiler
        int row = (LAYOUT >= TN ? 0 : start) + a.m * BM + group * 64,
            rows_end = LAYOUT >= TN ? m_of<LAYOUT>(p, a.group) : end;
        if (a.dead || row >= rows_end) {
            skip(s, blocks + tail_of<EPI, BN>(blocks), stage, phase);
            continue;
        }
        if (LAYOUT >= TN && !begin_leaf<EPI>(p, a, blocks, row + warp % 4 * 16, d))
            continue;
        int rest = LAYOUT >= TN ? __shfl_sync(~0u, (end - start) % BK / 16, 0) : 0;
        int whole = rest ? blocks - 1 : blocks;
        if (is_on<EPI>() && blocks > 0)
            block_on<LAYOUT>(s, whole > 0 ? BK / 16 : rest, group, d, stage, phase);
        if (!is_on<EPI>())
            chain<LAYOUT>(s, whole, rest, group, d, stage, phase, 0,
                          may_gather<LAYOUT, EPI>() && p.by_name.route);
        else if (blocks > 1)
            chain<LAYOUT>(s, whole - 1, rest, group, d, stage, phase, 1, 0);
        row += warp % 4 * 16;
        if (row >= rows_end) {
            skip(s, tail_of<EPI, BN>(blocks), stage, phase);
            continue;
        }
        if (EPI == STORE)
            store_bf16(s, &map.c[0], warp, turn, d, a.n * BN, p.n, row);
        else if (EPI == STORE_F32)
            store_fp32(s, &map.c[0], warp, turn, d, a.n * BN, p.n, 0, row);
        else if (EPI == LEAF)
            store_fp32(s, maps_of<LAYOUT>(map, p, a.group).c, warp, turn, d, a.n * BN,
                       n_of<LAYOUT>(p, a.group), LAYOUT == TN ? a.group : 0, row);
        else if (EPI == FOLD)
            fold_fp32(s, maps_of<LAYOUT>(map, p, a.group).c, n_of<LAYOUT>(p, a.group), warp, d,
                      LAYOUT == TN ? a.group : 0, a.n * BN, row, stage, phase);
        else if (EPI == ADD)
            store_added(s, &map.c[0], warp, d, a.n * BN, p.n, row, stage, phase);
        else if (EPI == SWIGLU)
            store_swiglu(s, map.c, warp, turn, d, a.n * BN / 2, p.n, row);
        else if (EPI == SWIGLU_BACK)
            store_swiglu_back(s, map, p, warp, turn, d, a.n * BN, row, stage, phase);
        else if (EPI == DIRECT)
            store_direct(p, d, row, rows_end, a.n * BN);
        else
            store_on<EPI>(p.c + a.group * p.c_step, p.m, p.n, d, row, a.n * BN);
    }
    ptx::tma_store_wait<0>();
}

// --- the kernel ----------------------------------------------------------------------------------------

template <int LAYOUT, int EPI, int BN>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ maps map, const __grid_constant__ args p) {
    extern __shared__ __align__(1024) char raw[];
    shared<BN> &s = *(shared<BN> *)raw;
    int gathers = may_gather<LAYOUT, EPI>() && p.by_name.route;
    if (threadIdx.x < 32)
        count_tiles<LAYOUT>(p, s);
    if (threadIdx.x == 32) {
        for (int i = 0; i < stages<BN>(); i++) {
            ptx::mbar_init(ptx::shared(&s.full[i]), gathers ? 1 + 128 : 1);
            ptx::mbar_init(ptx::shared(&s.empty[i]), 2 * 8); // warps of the consumers of both CTAs
        }
        ptx::mbar_init_done();
    }
    __syncthreads();
    ptx::cluster_sync();
    if (threadIdx.x < 128) {
        ptx::registers_dec<40>();
        if (gathers)
            produce<LAYOUT, EPI, may_gather<LAYOUT, EPI>()>(map, p, s);
        else if (threadIdx.x == 0)
            produce<LAYOUT, EPI, 0>(map, p, s);
        __syncwarp();
    } else {
        ptx::registers_inc<232>();
        consume<LAYOUT, EPI>(map, p, s);
        __syncwarp();
    }
    ptx::cluster_sync(); // neither leaves while the other may still write into it
}

} // namespace gemm

#endif
