// Epilogue of gemm.cuh, SWIGLU_BACK: d holds a' of 16 rows x BN columns a warp, the gradient of h. Behind a
// tile's blocks of k the producer sends g and u in BN / 64 more stages, 128 rows x 64 columns of each, while
// products still run:
//
//     stage   g box 16 KB | u box 16 KB    a warp reads its 16 rows of both, writes dg and du over them; they
//                                          go out from there, hw from the warp's staging buffer
//     sum     +0 -> fma(a', h, +0) at column c -> fma(a', h, that) at column c + 64: the V64 of 128 columns
//
// A stage is released when the stores behind it have read it, one box later. The V64 of each 128 columns goes
// to p.block [blocks of columns, max_rows]; dw_of_blocks (gemm_back.cu) adds them.
#ifndef SY_OPS_CUDA_GEMM_SWIGLU_BACK_CUH
#define SY_OPS_CUDA_GEMM_SWIGLU_BACK_CUH

#include "ops/cuda/gemm_epilogue.cuh"

namespace gemm {

// SIG of any 8 stored g, from local memory, one at a time.
SY_DEV void sigmoids_of_any(const uint32_t (&g)[4], float (&sig)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        sig[i] = i % 2 ? ptx::bf16_high(g[i / 2]) : ptx::bf16_low(g[i / 2]);
#pragma unroll 1
    for (int i = 0; i < 8; i++)
        sig[i] = ptx::sig(sig[i]);
}

struct back_value {
    float dg, du, s; // s: g SIG(g)
};
SY_DEV back_value back_of(float g, float u, float sig, float aw) {
    float s = __fmul_rn(g, sig), slope = __fmul_rn(sig, __fmaf_rn(g, __fsub_rn(1.0f, sig), 1.0f));
    return {__fmul_rn(__fmul_rn(aw, u), slope), __fmul_rn(aw, s), s};
}

// A box of 64 columns: g, u to dg, du in place, hw to its staging buffer; the lanes' sums go on with a' h.
// One stretch of code without a branch, so that the values are computed side by side.
template <int ORDINARY, int N>
SY_DEV void back_box(uint32_t at, uint32_t hw_at, const float (&w)[2], const float (&a)[N],
                     float (&sum)[32]) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t g[4], u[4], dg[4], du[4], hw[4];
        float sig[8];
        ptx::ldmatrix_x4(g, at_16_columns(at, j));
        ptx::ldmatrix_x4(u, at_16_columns(at + A_BYTES, j));
        if (!ORDINARY)
            sigmoids_of_any(g, sig);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int k = 8 * j + 2 * i;
            float g0 = ptx::bf16_low(g[i]), g1 = ptx::bf16_high(g[i]), r = w[i % 2];
            float u0 = ptx::bf16_low(u[i]), u1 = ptx::bf16_high(u[i]);
            back_value x = back_of(g0, u0, ORDINARY ? sigmoid(g0) : sig[2 * i], __fmul_rn(r, a[k]));
            back_value y = back_of(g1, u1, ORDINARY ? sigmoid(g1) : sig[2 * i + 1], __fmul_rn(r, a[k + 1]));
            uint32_t h = ptx::bf16_pair(__fmul_rn(x.s, u0), __fmul_rn(y.s, u1));
            float h0 = ptx::bf16_low(h), h1 = ptx::bf16_high(h);
            sum[k] = __fmaf_rn(a[k], h0, sum[k]);
            sum[k + 1] = __fmaf_rn(a[k + 1], h1, sum[k + 1]);
            dg[i] = ptx::bf16_pair(x.dg, y.dg);
            du[i] = ptx::bf16_pair(x.du, y.du);
            hw[i] = ptx::bf16_pair(__fmul_rn(r, h0), __fmul_rn(r, h1));
        }
        put_16_columns(at, j, dg);
        put_16_columns(at + A_BYTES, j, du);
        put_16_columns(hw_at, j, hw);
    }
}

template <int N>
SY_DEV void back_columns(uint32_t at, uint32_t hw_at, const float (&w)[2], const float (&a)[N],
                         float (&sum)[32]) {
    uint32_t most = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t g[4];
        ptx::ldmatrix_x4(g, at_16_columns(at, j));
        most = largest(most, g);
    }
    if (is_ordinary(most))
        back_box<1>(at, hw_at, w, a, sum);
    else
        back_box<0>(at, hw_at, w, a, sum);
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
template <int N> SY_DEV void clear_columns(float (&d)[N], int column, int n) {
    column += threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; i++)
        if (column + i / 4 * 8 + i % 2 >= n)
            d[i] = 0.0f;
}

// V64 of rows lane / 4 and 8 below over 128 columns; the lanes' sums begin anew.
SY_DEV void finish_block(float (&sum)[32], float *block, int row) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float v[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float *p = sum + 2 * r + e;
            float a = __fadd_rn(__fadd_rn(p[0], p[16]), __fadd_rn(p[8], p[24]));
            float b = __fadd_rn(__fadd_rn(p[4], p[20]), __fadd_rn(p[12], p[28]));
            v[e] = __fadd_rn(a, b);
            v[e] = __fadd_rn(v[e], __shfl_xor_sync(~0u, v[e], 2));
            v[e] = __fadd_rn(v[e], __shfl_xor_sync(~0u, v[e], 1));
        }
        if (block && lane % 4 == 0)
            block[row + r * 8 + lane / 4] = __fadd_rn(v[0], v[1]);
    }
#pragma unroll
    for (int i = 0; i < 32; i++)
        sum[i] = 0.0f;
}

// The box is always d's first: one code for all four, so that instructions are there when they are needed.
template <int N> SY_DEV void next_box(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N - 32; i++)
        d[i] = d[i + 32];
}

template <int BN>
SY_DEV void store_swiglu_back(shared<BN> &s, const maps &map, const args &p, int warp, int &turn,
                              float (&d)[BN / 2], int n0, int row, int &stage, int &phase) {
    int lane = threadIdx.x % 32, before = 0;
    float w[2] = {1.0f, 1.0f}, sum[32] = {};
    if (p.w) {
        w[0] = p.w[row + lane / 4];
        w[1] = p.w[row + 8 + lane / 4];
    }
#pragma unroll 1
    for (int box = 0; box < tail_stages<BN>(); box++, next_box(d)) {
        int column = n0 + box * 64;
        uint32_t at = ptx::shared(s.stage[stage]) + warp * STAGING_BYTES;
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        if (column < p.n) {
            uint32_t hw_at = staging(s, warp, turn);
            if (column + 64 > p.n)
                clear_columns(d, column, p.n);
            back_columns(at, hw_at, w, d, sum);
            send_back(map, at, hw_at, column, row);
        }
        if (lane == 0)
            ptx::tma_store_commit();
        if (box % 2 && column - 64 < p.n)
            finish_block(sum, p.block ? p.block + (int64_t)(column / 128) * p.rows.max_rows : nullptr, row);
        leave_behind(s, box, before, stage, phase);
    }
    release_behind<0>(s, before);
}

} // namespace gemm

#endif
