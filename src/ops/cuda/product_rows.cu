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
    backward<<<blocks, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    sy_cuda_check_launch(x);
}
