/* An op without a kernel: says so at the next wait. The Makefile lists those of the build in absent.c. */
#include "device/cuda_state.h"
#include "ops/cuda/protos.h"

#define SY_CUDA_ABSENT(op, type)                                                  \
    void sy_cuda_##op(const struct sy_exec *x, const struct type *o) {            \
        (void)o;                                                                  \
        sy_cuda_refuse(x->device, "op " #op " has no CUDA kernel in this build"); \
    }
