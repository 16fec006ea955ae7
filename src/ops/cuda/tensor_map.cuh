// Tensor maps, made on the host for each call: what TMA copies boxes by.
#ifndef SY_OPS_CUDA_TENSOR_MAP_CUH
#define SY_OPS_CUDA_TENSOR_MAP_CUH

#include "ops/cuda/launch.cuh"

// bf16, or fp32, innermost dimension first: sizes, strides in elements of dimensions 1 and up (multiples of 16
// bytes), box.
// 128-byte swizzle; elements outside are zero.
struct sy_tensor {
    const void *base; // 16-byte aligned
    int rank;
    int64_t size[5], stride[5];
    int box[5];
    int fp32;
};

#ifdef SY_ON_CPU
typedef struct sy_tensor CUtensorMap;
static inline CUtensorMap sy_cuda_tensor_map(const struct sy_exec *, const struct sy_tensor &t) { return t; }
#else
#include <cuda.h>

typedef CUresult (*sy_encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                 const cuuint64_t *, const cuuint32_t *, const cuuint32_t *,
                                 CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill);

// The driver's function by its name, so that no program links libcuda; NULL: there is none.
static inline sy_encode_fn sy_cuda_find_encode() {
    void *encode = NULL;
    cudaDriverEntryPointQueryResult found;
    cudaError_t e =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found);
    return e == cudaSuccess && found == cudaDriverEntryPointSuccess ? (sy_encode_fn)encode : NULL;
}

// Local. The map of a tensor; a failure is kept for the next wait.
static inline CUtensorMap sy_cuda_tensor_map(const struct sy_exec *x, const struct sy_tensor &t) {
    static const sy_encode_fn encode = sy_cuda_find_encode();
    CUtensorMap map = {};
    if (!encode) {
        sy_cuda_refuse(x->device, "the driver has no cuTensorMapEncodeTiled: CUDA 12 or later is needed");
        return map;
    }
    cuuint64_t size[5], bytes[5];
    cuuint32_t box[5], steps[5] = {1, 1, 1, 1, 1};
    for (int i = 0; i < t.rank; i++) {
        size[i] = (cuuint64_t)t.size[i];
        bytes[i > 0 ? i - 1 : 0] = (cuuint64_t)t.stride[i] * (t.fp32 ? 4 : 2);
        box[i] = (cuuint32_t)t.box[i];
    }
    CUresult r = encode(&map, t.fp32 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                        (cuuint32_t)t.rank, (void *)t.base, size, bytes, box, steps,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (r != CUDA_SUCCESS)
        sy_cuda_refuse(x->device, "tensor map of rank %d, sizes %lld %lld %lld: CUresult %d", t.rank,
                       (long long)t.size[0], (long long)t.size[1], (long long)t.size[2], (int)r);
    return map;
}

#endif

#endif
