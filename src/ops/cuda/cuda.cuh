/* What every file of ops/cuda begins with: the list of ops, and what a launch function needs.
 *
 *     extern "C" void sy_cuda_copy(const struct sy_exec *x, const struct sy_copy *op) {
 *         if (op->rows == 0)
 *             return;                                  // a grid of 0 blocks is an error
 *         copy_rows<<<blocks, 256, 0, sy_cuda_stream(x)>>>(*op);
 *         sy_cuda_check_launch(x);
 *     }
 *
 * An op's struct may be a kernel's argument as it is: its views point into the device's memory; its lists are
 * the host's and go through sy_cuda_upload. Nothing here waits, and no kernel reads the host's memory.
 */
#ifndef SY_OPS_CUDA_CUDA_CUH
#define SY_OPS_CUDA_CUDA_CUH

#include <cuda_runtime.h>
#include <stdint.h>

extern "C" {
#include "device/cuda_state.h"
#include "ops/cuda/protos.h"
}

/* The exec's device's stream; also makes that GPU the calling thread's. */
static inline cudaStream_t sy_cuda_stream(const struct sy_exec *x) {
    const struct sy_cuda *g = sy_cuda_of(x->device);
    cudaSetDevice(g->ordinal);
    return g->stream;
}

static inline int sy_cuda_multiprocessors(const struct sy_exec *x) {
    return sy_cuda_of(x->device)->about.multiprocessors;
}

/* After a launch: keeps its error, with the op's name, for the next wait. */
#define sy_cuda_check_launch(x) sy_cuda_launched((x)->device, __func__)

/* A list of the host's in the device's memory, for the ops that are enqueued next. */
template <class T> static inline const T *sy_cuda_upload(const struct sy_exec *x, const T *list, size_t n) {
    return (const T *)sy_cuda_upload_to(x->device, list, n * sizeof(T));
}

/* Workspace of one op: the exec's scratch, in the device's memory; what stood there before is lost. NULL,
 * with the failure kept, if `bytes` are more than the plan has. 256-byte aligned. */
static inline void *sy_cuda_workspace(const struct sy_exec *x, size_t bytes) {
    if (bytes <= x->scratch_bytes)
        return x->scratch;
    sy_cuda_refuse(x->device, "an op needs %zu bytes of workspace, the plan has %zu", bytes,
                   x->scratch_bytes);
    return nullptr;
}

/* Rows of an op over groups, read on the device: the last offset, or the bound of dense rows. */
static __device__ __forceinline__ int64_t sy_cuda_rows(const struct sy_rows &r) {
    return r.offset ? r.offset[r.groups * r.sequences] : r.max_rows;
}

static inline unsigned sy_cuda_blocks(int64_t n, int64_t per_block) {
    return (unsigned)((n + per_block - 1) / per_block);
}

#endif
