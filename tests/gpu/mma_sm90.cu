// Hopper's bf16 products as a plain function, for test_sm90.c: C[M, N] = chain over K of A[M, K] B[N, K]^T, going on from C.
//
// Two instructions, one step of 16 each, in order along K: mma.sync.m16n8k16 (a warp per 16 x 8 outputs) and
// wgmma.m64n64k16 (a warpgroup per 64 x 64, operands in shared memory without swizzle: 8 x 16-byte core matrices,
// 128 bytes apart along K, 256 along rows; PTX ISA 9, "Asynchronous warpgroup-level matrix shared memory layout").
#include <cuda_runtime.h>
#include <stdint.h>
#include <stdio.h>

__global__ void mma_sync(const uint16_t *a, const uint16_t *b, float *c, int n, int k) {
    int lane = threadIdx.x, row = blockIdx.x * 16 + lane / 4, col = blockIdx.y * 8 + lane % 4 * 2;
    float d[4];
    for (int i = 0; i < 4; i++)
        d[i] = c[(row + i / 2 * 8) * n + col + i % 2];
    for (int p = 0; p < k; p += 16) {
        uint32_t fa[4], fb[2];
        for (int i = 0; i < 4; i++)
            fa[i] = *(const uint32_t *)(a + (row + i % 2 * 8) * k + p + lane % 4 * 2 + i / 2 * 8);
        for (int i = 0; i < 2; i++)
            fb[i] = *(const uint32_t *)(b + (blockIdx.y * 8 + lane / 4) * k + p + lane % 4 * 2 + i * 8);
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    }
    for (int i = 0; i < 4; i++)
        c[(row + i / 2 * 8) * n + col + i % 2] = d[i];
}

// Address, leading and stride byte offsets of a matrix descriptor, in units of 16 bytes.
__device__ uint64_t descriptor(const void *p) {
    uint64_t at = __cvta_generic_to_shared(p);
    return (at & 0x3ffff) >> 4 | (uint64_t)(128 >> 4) << 16 | (uint64_t)(256 >> 4) << 32;
}

// Element (r, p) of 64 rows of 16 in core matrices.
__device__ int core(int r, int p) { return r / 8 * 128 + p / 8 * 64 + r % 8 * 8 + p % 8; }

#define D8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

__global__ void wgmma(const uint16_t *a, const uint16_t *b, float *c, int n, int k) {
    __shared__ __align__(128) uint16_t sa[64 * 16], sb[64 * 16];
    int t = threadIdx.x, lane = t % 32, row = blockIdx.x * 64 + t / 32 * 16 + lane / 4, col = blockIdx.y * 64 + lane % 4 * 2;
    float d[32];
    for (int i = 0; i < 32; i++)
        d[i] = c[(row + i / 2 % 2 * 8) * n + col + i / 4 * 8 + i % 2];
    for (int p = 0; p < k; p += 16) {
        __syncthreads();
        for (int i = t; i < 64 * 16; i += 128) {
            sa[core(i / 16, i % 16)] = a[(blockIdx.x * 64 + i / 16) * k + p + i % 16];
            sb[core(i / 16, i % 16)] = b[(blockIdx.y * 64 + i / 16) * k + p + i % 16];
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, 1, 1, 1, 0, 0;"
                     : D8(0), D8(8), D8(16), D8(24)
                     : "l"(descriptor(sa)), "l"(descriptor(sb)));
        asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
    }
    for (int i = 0; i < 32; i++)
        c[(row + i / 2 % 2 * 8) * n + col + i / 4 * 8 + i % 2] = d[i];
}

// Both matrices are multiples of 64 rows, k of 16. NULL, or what failed. use_wgmma: 0 mma.sync, 1 wgmma.
extern "C" const char *gpu_product(int use_wgmma, const uint16_t *a, const uint16_t *b, float *c, int m, int n, int k) {
    uint16_t *da = NULL, *db = NULL;
    float *dc = NULL;
    size_t na = (size_t)m * k * 2, nb = (size_t)n * k * 2, nc = (size_t)m * n * 4;
    cudaError_t e = cudaMalloc(&da, na);
    if (e == cudaSuccess)
        e = cudaMalloc(&db, nb);
    if (e == cudaSuccess)
        e = cudaMalloc(&dc, nc);
    if (e == cudaSuccess)
        e = cudaMemcpy(da, a, na, cudaMemcpyHostToDevice);
    if (e == cudaSuccess)
        e = cudaMemcpy(db, b, nb, cudaMemcpyHostToDevice);
    if (e == cudaSuccess)
        e = cudaMemcpy(dc, c, nc, cudaMemcpyHostToDevice);
    if (e == cudaSuccess) {
        if (use_wgmma)
            wgmma<<<dim3(m / 64, n / 64), 128>>>(da, db, dc, n, k);
        else
            mma_sync<<<dim3(m / 16, n / 8), 32>>>(da, db, dc, n, k);
        e = cudaGetLastError();
    }
    if (e == cudaSuccess)
        e = cudaMemcpy(c, dc, nc, cudaMemcpyDeviceToHost);
    cudaFree(da);
    cudaFree(db);
    cudaFree(dc);
    return e == cudaSuccess ? NULL : cudaGetErrorString(e);
}

extern "C" const char *gpu_name(void) {
    static cudaDeviceProp p;
    return cudaGetDeviceProperties(&p, 0) == cudaSuccess ? p.name : NULL;
}
