/* A kernel with a barrier and the same without: what test_cuda_on_cpu.c must see. */
#include "tests/ops/cuda_on_cpu.h"

/* out = in, backwards, through shared memory. */
static void backwards(const int *in, int *out, int barrier) {
    SY_SHARED(int, shared);
    shared[threadIdx.x] = in[threadIdx.x];
    if (barrier)
        __syncthreads();
    out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" void sy_on_cpu_backwards(const int *in, int *out, int n, int barrier) {
    SY_LAUNCH(0, backwards, 1, (unsigned)n, (size_t)n * sizeof(int), in, out, barrier);
}
