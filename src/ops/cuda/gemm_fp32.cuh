// Epilogues of gemm.cuh that store fp32 by TMA, a warp's 16 rows in boxes of 32 columns (128 bytes under the
// swizzle).
//
//     STORE_F32, LEAF    from the warp's staging buffers
//     FOLD               from stages: behind a tile's blocks the producer hands over BN / 64 more, each of 128
//                        rows x 64 columns of C, which came while products ran; C + chain takes its place
//
// C is read and written past L2 (evict-first), where operands stay: with plain accesses FOLD took 1.7 times
// as long.
#ifndef SY_OPS_CUDA_GEMM_FP32_CUH
#define SY_OPS_CUDA_GEMM_FP32_CUH

#include "ops/cuda/gemm_epilogue.cuh"

namespace gemm {

// Two columns of row lane / 4 of a warp's box; 8 rows below: + 1024.
SY_DEV uint32_t at_pair(uint32_t box, int i) {
    int lane = threadIdx.x % 32, row = lane / 4;
    return box + row * 128 + (((2 * i + lane % 4 / 2) ^ row) << 4) + lane % 2 * 8;
}

// A box's outputs q to shared memory; ADD: to what is there.
template <int ADD> SY_DEV void put_fp32(uint32_t box, const float *q) {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            uint32_t at = at_pair(box, i) + r * 1024;
            float2 v = make_float2(q[4 * i + 2 * r], q[4 * i + 2 * r + 1]);
            if (ADD) {
                float2 c = ptx::shared_float2(at);
                v = make_float2(__fadd_rn(c.x, v.x), __fadd_rn(c.y, v.y));
            }
            ptx::put_shared_float2(at, v);
        }
}

template <int BN>
SY_DEV void store_fp32(shared<BN> &s, const CUtensorMap *m, int warp, int &turn, const float (&d)[BN / 2],
                       int n0, int n, int group, int row) {
#pragma unroll
    for (int box = 0; box < BN / 32; box++) {
        int column = n0 + box * 32;
        if (column >= n)
            break;
        uint32_t at = staging(s, warp, turn);
        put_fp32<0>(at, d + box * 16);
        ptx::fence_proxy_async();
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            ptx::tma_store_3d(m, at, column, row, group, ptx::evict_first());
            ptx::tma_store_commit();
        }
    }
}

// row: of the group's C.
template <int BN>
SY_DEV void fold_fp32(shared<BN> &s, const CUtensorMap *m, int n, int warp, const float (&d)[BN / 2],
                      int group, int n0, int row, int &stage, int &phase) {
    int before = 0;
#pragma unroll
    for (int box = 0; box < tail_stages<BN>(); box++) {
        int column = n0 + box * 64;
        uint32_t at = ptx::shared(s.stage[stage]) + warp * STAGING_BYTES;
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        if (column < n) {
            put_fp32<1>(at, d + box * 32);
            put_fp32<1>(at + A_BYTES, d + box * 32 + 16);
            ptx::fence_proxy_async();
            __syncwarp();
        }
        if (threadIdx.x % 32 == 0) {
            if (column < n)
                ptx::tma_store_3d(m, at, column, row, group, ptx::evict_first());
            if (column + 32 < n)
                ptx::tma_store_3d(m, at + A_BYTES, column + 32, row, group, ptx::evict_first());
            ptx::tma_store_commit();
        }
        leave_behind(s, box, before, stage, phase);
    }
    release_behind<0>(s, before);
}

} // namespace gemm

#endif
