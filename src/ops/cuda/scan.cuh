/* Sums over the threads of a block before this one. */
#ifndef SY_OPS_CUDA_SCAN_CUH
#define SY_OPS_CUDA_SCAN_CUH

#include "ops/cuda/values.cuh"

enum { SY_SCAN_THREADS = 1024 };

/* The sum of v over the threads before, of SY_SCAN_THREADS; *all: of all. All call. */
SY_DEV int64_t sy_sum_before(int64_t v, int64_t *all) {
    __shared__ int64_t of_warp[SY_SCAN_THREADS / 32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t sum = v;
    for (int h = 1; h < 32; h *= 2) {
        int64_t other = __shfl_up_sync(~0u, sum, h);
        sum += lane >= h ? other : 0;
    }
    __syncthreads(); /* who read the sums of the call before has done so */
    if (lane == 31)
        of_warp[warp] = sum;
    __syncthreads();
    *all = 0;
    int64_t before = 0;
    for (int k = 0; k < SY_SCAN_THREADS / 32; k++) {
        before += k < warp ? of_warp[k] : 0;
        *all += of_warp[k];
    }
    return before + sum - v;
}

#endif
