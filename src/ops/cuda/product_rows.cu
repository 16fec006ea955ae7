/* SwiGLU of rows that a product has stored, forward and back (ops/ref/swiglu.h says the formulas): behind the
 * products that have it in no epilogue. */
#include "ops/cuda/products.cuh"

using namespace products;

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

/* Row by row, a block each. */
__global__ void __launch_bounds__(THREADS) forward(const struct sy_linear op) {
    int64_t f = op.n / 2, rows = sy_cuda_rows(op.rows);
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x)
        for (int64_t i = threadIdx.x; i < f; i += THREADS) {
            float g = get(op.y, row, i), u = get(op.y, row, f + i);
            put(op.h, row, i, g * ptx::sig(g) * u);
        }
}

/* The sum of a warp's 64 lanes, two a thread: lane t and t + 32. */
SY_DEV float halve(float low, float high) {
    float v = low + high;
#pragma unroll
    for (int h = 16; h >= 1; h /= 2)
        v = v + __shfl_xor_sync(~0u, v, h);
    return v;
}

struct back {
    float a, h; /* before the route's weight; as it is stored without one */
};

SY_DEV struct back backward_at(const struct sy_linear_dx &op, int64_t row, int64_t i, float w) {
    float g = get(op.gu, row, i), u = get(op.gu, row, op.n + i), a = get(op.a, row, i), aw = w * a,
          sig = ptx::sig(g), s = g * sig, h = bf(s * u);
    put(op.dgu, row, op.n + i, aw * s);
    put(op.dgu, row, i, aw * u * (sig * __fmaf_rn(g, 1.0f - sig, 1.0f)));
    put(op.hw, row, i, op.w ? w * h : h);
    return {a, h};
}

/* Row by row, a warp each: dw is a V64 for each 128 columns, these added ascending. */
__global__ void __launch_bounds__(THREADS) backward(const struct sy_linear_dx op) {
    int64_t rows = sy_cuda_rows(op.rows), f = op.n;
    int lane = threadIdx.x % 32;
    for (int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; row < rows;
         row += (int64_t)gridDim.x * WARPS) {
        float w = op.w ? op.w[row] : 1.0f, sum = 0.0f;
        for (int64_t block = 0; block < f; block += 128) {
            float lanes[2] = {0.0f, 0.0f};
#pragma unroll
            for (int p = 0; p < 4; p++) {
                int64_t i = block + p * 32 + lane;
                if (i < f) {
                    struct back b = backward_at(op, row, i, w);
                    lanes[p % 2] = __fmaf_rn(b.a, b.h, lanes[p % 2]);
                }
            }
            sum = sum + halve(lanes[0], lanes[1]);
        }
        if (op.dw && lane == 0)
            op.dw[row] = sum;
    }
}

/* --- the same, four columns a thread -------------------------------------------------------------------- */

struct four {
    float v[4];
};

SY_DEV struct four load4(const void *row, int64_t at) {
    uint2 p = *(const uint2 *)((const uint16_t *)row + at);
    return {{ptx::bf16_low(p.x), ptx::bf16_high(p.x), ptx::bf16_low(p.y), ptx::bf16_high(p.y)}};
}
SY_DEV void store4(void *row, int64_t at, const struct four &f) {
    *(uint2 *)((uint16_t *)row + at) =
        make_uint2(ptx::bf16_pair(f.v[0], f.v[1]), ptx::bf16_pair(f.v[2], f.v[3]));
}
SY_DEV void *row_of(const struct sy_mat &m, int64_t row) { return (uint16_t *)m.data + row * m.row; }

/* V64 of a block of 128 columns, 4 lane .. 4 lane + 3 a thread: columns 64 on are those of the upper 16
 * threads. */
SY_DEV float v64_of_fours(const struct four &a, const struct four &h) {
    float s[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
        float a2 = __shfl_down_sync(~0u, a.v[e], 16), h2 = __shfl_down_sync(~0u, h.v[e], 16);
        s[e] = __fmaf_rn(a2, h2, __fmaf_rn(a.v[e], h.v[e], 0.0f));
    }
#pragma unroll
    for (int d = 8; d >= 1; d /= 2)
#pragma unroll
        for (int e = 0; e < 4; e++)
            s[e] = s[e] + __shfl_down_sync(~0u, s[e], d);
    return (s[0] + s[2]) + (s[1] + s[3]); /* of thread 0 */
}

/* Row by row, a warp each. */
__global__ void __launch_bounds__(THREADS) backward4(const struct sy_linear_dx op) {
    int64_t rows = sy_cuda_rows(op.rows), f = op.n;
    int lane = threadIdx.x % 32;
    for (int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; row < rows;
         row += (int64_t)gridDim.x * WARPS) {
        const void *gu = row_of(op.gu, row);
        void *dgu = row_of(op.dgu, row), *hw = row_of(op.hw, row);
        const float *a_row = (const float *)op.a.data + row * op.a.row;
        float w = op.w ? op.w[row] : 1.0f, sum = 0.0f;
        for (int64_t block = 0; block < f; block += 128) {
            struct four a = {}, h = {};
            int64_t i = block + 4 * lane;
            if (i < f) {
                struct four g = load4(gu, i), u = load4(gu, f + i), dg, du, weighted;
                float4 p = *(const float4 *)(a_row + i);
                a = {{p.x, p.y, p.z, p.w}};
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float aw = w * a.v[e], sig = ptx::sig(g.v[e]), s = g.v[e] * sig;
                    h.v[e] = bf(s * u.v[e]);
                    du.v[e] = aw * s;
                    dg.v[e] = aw * u.v[e] * (sig * __fmaf_rn(g.v[e], 1.0f - sig, 1.0f));
                    weighted.v[e] = op.w ? w * h.v[e] : h.v[e];
                }
                store4(dgu, i, dg);
                store4(dgu, f + i, du);
                store4(hw, i, weighted);
            }
            if (op.dw)
                sum = sum + v64_of_fours(a, h);
        }
        if (op.dw && lane == 0)
            op.dw[row] = sum;
    }
}

/* Whether fours of a row are whole and lie at multiples of their size. */
int in_fours(const struct sy_linear_dx *op) {
    const struct sy_mat *m[] = {&op->gu, &op->dgu, &op->hw};
    int whole = op->n % 4 == 0 && op->a.row % 4 == 0 && (uintptr_t)op->a.data % 16 == 0;
    for (int i = 0; i < 3; i++)
        whole &= m[i]->dtype == SY_BF16 && m[i]->row % 4 == 0 && (uintptr_t)m[i]->data % 8 == 0;
    return whole;
}

unsigned blocks_of(const struct sy_exec *x, const struct sy_rows *r, int per_block) {
    unsigned most = 8 * (unsigned)sy_cuda_multiprocessors(x), blocks = sy_cuda_blocks(r->max_rows, per_block);
    return blocks < most ? blocks : most;
}

} // namespace

void sy_cuda_swiglu_rows(const struct sy_exec *x, const struct sy_linear *op) {
    unsigned blocks = blocks_of(x, &op->rows, 1);
    if (blocks == 0)
        return;
    forward<<<blocks, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    sy_cuda_check_launch(x);
}

void sy_cuda_swiglu_back_rows(const struct sy_exec *x, const struct sy_linear_dx *op) {
    unsigned blocks = blocks_of(x, &op->rows, WARPS);
    if (blocks == 0)
        return;
    if (in_fours(op))
        backward4<<<blocks, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    else
        backward<<<blocks, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    sy_cuda_check_launch(x);
}
