// Host side of the prototypes: errors end the program; tensor maps.
#ifndef SY_BENCH_GPU_HOST_CUH
#define SY_BENCH_GPU_HOST_CUH

#include <stdio.h>
#include <stdlib.h>

#include "ops/cuda/ptx.cuh"

#define SY_CUDA(call)                                                                                \
    do {                                                                                             \
        cudaError_t sy_e = (call);                                                                   \
        if (sy_e != cudaSuccess) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(sy_e)); \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)

// A tensor of bf16, innermost dimension first: sizes, strides in elements of dimensions 1 and up, box.
// 128-byte swizzle, elements outside are zero. The driver's function comes by its name, so that no
// program links libcuda.
struct tma_shape {
    int rank;
    uint64_t size[5], stride[5];
    uint32_t box[5];
};
static inline CUtensorMap tma_map(const void *base, struct tma_shape s) {
    typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                  const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                  const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                  CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static encode_fn encode;
    if (!encode) {
        cudaDriverEntryPointQueryResult found;
        void *p = NULL;
        SY_CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &p, 12000, cudaEnableDefault,
                                                 &found));
        if (found != cudaDriverEntryPointSuccess) {
            fprintf(stderr, "the driver has no cuTensorMapEncodeTiled: CUDA 12 or later is needed\n");
            exit(1);
        }
        encode = (encode_fn)p;
    }
    CUtensorMap m;
    cuuint64_t bytes[5];
    cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    for (int i = 1; i < s.rank; i++)
        bytes[i - 1] = s.stride[i] * 2;
    CUresult r = encode(&m, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, (cuuint32_t)s.rank, (void *)base, s.size,
                        bytes, s.box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (r != CUDA_SUCCESS) {
        fprintf(stderr, "tensor map of rank %d, sizes %llu %llu %llu: CUresult %d\n", s.rank,
                (unsigned long long)s.size[0], (unsigned long long)s.size[1], (unsigned long long)s.size[2],
                (int)r);
        exit(1);
    }
    return m;
}

#endif
