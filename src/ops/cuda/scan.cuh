/* Sums over the threads of a block before this one. */
#ifndef SY_OPS_CUDA_SCAN_CUH
#define SY_OPS_CUDA_SCAN_CUH

#include "ops/cuda/values.cuh"

enum { SY_SCAN_THREADS = 1024 };

/* The sum of v over the lanes up to this one. */
SY_DEV int64_t sy_sum_up_to(int64_t v) {
    int lane = threadIdx.x % 32;
    for (int h = 1; h < 32; h *= 2) {
        int64_t other = __shfl_up_sync(~0u, v, h);
        v += lane >= h ? other : 0;
    }
    return v;
}

/* The sum of v over the threads before, of SY_SCAN_THREADS; *all: of all. All call. */
SY_DEV int64_t sy_sum_before(int64_t v, int64_t *all) {
    __shared__ int64_t of_warps[SY_SCAN_THREADS / 32]; /* of a warp, then of those up to it */
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t sum = sy_sum_up_to(v);
    __syncthreads(); /* who read the sums of the call before has done so */
    if (lane == 31)
        of_warps[warp] = sum;
    __syncthreads();
    if (warp == 0)
        of_warps[lane] = sy_sum_up_to(of_warps[lane]);
    __syncthreads();
    *all = of_warps[SY_SCAN_THREADS / 32 - 1];
    return (warp > 0 ? of_warps[warp - 1] : 0) + sum - v;
}

#endif
