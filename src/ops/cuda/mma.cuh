// Tensor core products of one warp: mma.sync and the loads of its operands, each wrapped once and named. For
// products of any shape; wgmma stands in ptx.cuh.
#ifndef SY_OPS_CUDA_MMA_CUH
#define SY_OPS_CUDA_MMA_CUH

#include "ops/cuda/ptx.cuh"

#ifndef SY_ON_CPU // else tests/ops/ptx_on_cpu.h has them

namespace ptx {

// Four matrices of 8 x 8 stored values; lane i gives the place of row i % 8 of matrix i / 8.
SY_DEV void ldmatrix_x4(uint32_t (&r)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
SY_DEV void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// d[16 x 8] = a[16 x 16] b[16 x 8] + d: one step of a chain of class sm90.
SY_DEV void mma_m16n8k16(float *d, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                 "{%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

} // namespace ptx

#endif

#endif
