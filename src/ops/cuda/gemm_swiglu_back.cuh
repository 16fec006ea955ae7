// Epilogue of gemm.cuh, SWIGLU_BACK: d holds a' of 16 rows x 256 columns a warp, the gradient of h. Behind a
// tile's blocks of k the producer sends g and u in four more stages, 128 rows x 64 columns of each, while
// products still run:
//
//     stage   g box 16 KB | u box 16 KB    a warp reads its 16 rows of both, and writes dg and du over them; they
//                                          go out from there, hw from the warp's staging buffer
//     d       a'(c) -> fma(a', h, +0), then at column c + 64: fma(a', h, that): the V64 of 128 columns
//
// A stage is released when the stores behind it have read it, one box later. The V64 of each 128 columns goes
// to p.block [blocks of columns, max_rows]; dw_of_blocks (gemm_back.cu) adds them.
#ifndef SY_OPS_CUDA_GEMM_SWIGLU_BACK_CUH
#define SY_OPS_CUDA_GEMM_SWIGLU_BACK_CUH

#include "ops/cuda/gemm_epilogue.cuh"
#include "ops/cuda/mma.cuh"

namespace gemm {

SY_DEV uint32_t at_16_columns(uint32_t at, int j) {
    int lane = threadIdx.x % 32, row = lane / 8 % 2 * 8 + lane % 8, column = 2 * j + lane / 16;
    return at + row * 128 + ((column ^ (row & 7)) << 4);
}

// SIG of any 32 stored g, from local memory, one at a time.
SY_DEV void sigmoids_of_any(const uint32_t (&g)[16], float (&sig)[32]) {
#pragma unroll
    for (int i = 0; i < 32; i++)
        sig[i] = i % 2 ? ptx::bf16_high(g[i / 2]) : ptx::bf16_low(g[i / 2]);
#pragma unroll 1
    for (int i = 0; i < 32; i++)
        sig[i] = ptx::sig(sig[i]);
}

struct back_value {
    float dg, du, s; // s: g SIG(g)
};
SY_DEV back_value back_of(float g, float u, float sig, float aw) {
    float s = __fmul_rn(g, sig), slope = __fmul_rn(sig, __fmaf_rn(g, __fsub_rn(1.0f, sig), 1.0f));
    return {__fmul_rn(__fmul_rn(aw, u), slope), __fmul_rn(aw, s), s};
}

// A box of 64 columns: g, u to dg, du in place, hw to its staging buffer; q: a' becomes the lanes' sums, which
// begin with `sum`, or +0 without it. One stretch of code without a branch, so that the values are computed side by
// side.
template <int ORDINARY>
SY_DEV void back_box(uint32_t at, uint32_t hw_at, const uint32_t (&g)[16], const float (&w)[2], float *q,
                     const float *sum) {
    float sig[32];
    if (!ORDINARY)
        sigmoids_of_any(g, sig);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t u[4], dg[4], du[4], hw[4];
        ptx::ldmatrix_x4(u, at_16_columns(at + A_BYTES, j));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int k = 8 * j + 2 * i;
            float g0 = ptx::bf16_low(g[4 * j + i]), g1 = ptx::bf16_high(g[4 * j + i]), r = w[i % 2];
            float u0 = ptx::bf16_low(u[i]), u1 = ptx::bf16_high(u[i]);
            back_value a = back_of(g0, u0, ORDINARY ? sigmoid(g0) : sig[k], __fmul_rn(r, q[k]));
            back_value b = back_of(g1, u1, ORDINARY ? sigmoid(g1) : sig[k + 1], __fmul_rn(r, q[k + 1]));
            uint32_t h = ptx::bf16_pair(__fmul_rn(a.s, u0), __fmul_rn(b.s, u1));
            float h0 = ptx::bf16_low(h), h1 = ptx::bf16_high(h);
            q[k] = __fmaf_rn(q[k], h0, sum ? sum[k] : 0.0f);
            q[k + 1] = __fmaf_rn(q[k + 1], h1, sum ? sum[k + 1] : 0.0f);
            dg[i] = ptx::bf16_pair(a.dg, b.dg);
            du[i] = ptx::bf16_pair(a.du, b.du);
            hw[i] = ptx::bf16_pair(__fmul_rn(r, h0), __fmul_rn(r, h1));
        }
        put_16_columns(at, j, dg);
        put_16_columns(at + A_BYTES, j, du);
        put_16_columns(hw_at, j, hw);
    }
}

SY_DEV void back_columns(uint32_t at, uint32_t hw_at, const float (&w)[2], float *q, const float *sum) {
    uint32_t g[16];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t four[4];
        ptx::ldmatrix_x4(four, at_16_columns(at, j));
#pragma unroll
        for (int i = 0; i < 4; i++)
            g[4 * j + i] = four[i];
    }
    if (is_ordinary(g))
        back_box<1>(at, hw_at, g, w, q, sum);
    else
        back_box<0>(at, hw_at, g, w, q, sum);
}

SY_DEV void send_back(const maps &map, uint32_t at, uint32_t hw_at, int column, int row) {
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        ptx::tma_store_2d(&map.c[0], at, column, row);
        ptx::tma_store_2d(&map.c[1], at + A_BYTES, column, row);
        ptx::tma_store_2d(&map.c[2], hw_at, column, row);
    }
}

// Columns that are not there: no sum has them, whatever the chain was.
SY_DEV void clear_columns(float *q, int column, int n) {
    column += threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; i++)
        if (column + i / 4 * 8 + i % 2 >= n)
            q[i] = 0.0f;
}

// V64 of rows lane / 4 and 8 below over 128 columns; in q the lanes' sums of columns c and c + 64.
SY_DEV void finish_block(const float *q, float *block, int row) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float v[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float *p = q + 2 * r + e;
            float a = __fadd_rn(__fadd_rn(p[0], p[16]), __fadd_rn(p[8], p[24]));
            float b = __fadd_rn(__fadd_rn(p[4], p[20]), __fadd_rn(p[12], p[28]));
            v[e] = __fadd_rn(a, b);
            v[e] = __fadd_rn(v[e], __shfl_xor_sync(~0u, v[e], 2));
            v[e] = __fadd_rn(v[e], __shfl_xor_sync(~0u, v[e], 1));
        }
        if (lane % 4 == 0)
            block[row + r * 8 + lane / 4] = __fadd_rn(v[0], v[1]);
    }
}

SY_DEV void store_swiglu_back(shared &s, const maps &map, const args &p, int warp, int &turn, float (&d)[128],
                              int n0, int row, int &stage, int &phase) {
    int lane = threadIdx.x % 32, before = 0;
    float w[2] = {1.0f, 1.0f};
    if (p.w) {
        w[0] = p.w[row + lane / 4];
        w[1] = p.w[row + 8 + lane / 4];
    }
#pragma unroll
    for (int box = 0; box < TAIL_STAGES; box++) {
        int column = n0 + box * 64;
        float *q = d + box * 32;
        uint32_t at = ptx::shared(s.stage[stage]) + warp * STAGING_BYTES;
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        if (column < p.n) {
            uint32_t hw_at = staging(s, warp, turn);
            if (column + 64 > p.n)
                clear_columns(q, column, p.n);
            back_columns(at, hw_at, w, q, box % 2 ? q - 32 : nullptr);
            send_back(map, at, hw_at, column, row);
        } else if (box % 2) { // the block of 128 columns is its first half alone
#pragma unroll
            for (int i = 0; i < 32; i++)
                q[i] = q[i - 32];
        }
        if (lane == 0)
            ptx::tma_store_commit();
        if (box % 2 && p.block && column - 64 < p.n)
            finish_block(q, p.block + (int64_t)(column / 128) * p.rows.max_rows, row);
        leave_behind(s, box, before, stage, phase);
    }
    release_behind<0>(s, before);
}

} // namespace gemm

#endif
